//! How a message for people looks, whoever says it: the program's name before it, nothing in it that a terminal
//! would obey, no numbers of errors, and folded between words where it goes to a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};

use clap::error::ErrorKind;

use crate::args::ColorArg;
use crate::display::is_coloured;
use crate::fold::folded;
use crate::render::Sentence;

/// What the system adds to the text of an error: it says nothing that the text does not say.
const NUMBER: &str = " (os error ";

/// A message as it is written to standard error, with the line feed at its end.
pub(crate) fn shaped(text: &str) -> String {
    shaped_to(text, width())
}

/// What is wrong with what was typed, as it is written to standard error.
pub(crate) fn of_typed(error: &clap::Error) -> String {
    let text = error.render();
    let is_coloured = is_coloured(ColorArg::Auto, io::stderr().is_terminal());
    let text = if is_coloured { text.ansi().to_string() } else { text.to_string() };
    // A help has its width already.
    let width = width().filter(|_| error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
    match width {
        Some(width) => folded(&text, width),
        None => text,
    }
}

fn shaped_to(text: &str, width: Option<usize>) -> String {
    let text = without_numbers(text);
    let mut lines = String::from("procession: ");
    for line in text.lines() {
        lines.push_str(&Sentence(line).to_string());
        lines.push('\n');
    }
    if text.is_empty() {
        lines.push('\n');
    }
    match width {
        Some(width) => folded(&lines, width),
        None => lines,
    }
}

/// Columns of the terminal that standard error goes to. `None`: it goes elsewhere, where lines stay whole.
fn width() -> Option<usize> {
    let stderr = io::stderr();
    let size = stderr.is_terminal().then(|| rustix::termios::tcgetwinsize(stderr).ok())??;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// `No space left on device`, without ` (os error 28)`, wherever that stands. Of a file whose name only looks so it
/// takes nothing.
pub(crate) fn without_numbers(text: &str) -> Cow<'_, str> {
    if !text.contains(NUMBER) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(NUMBER) {
        plain.push_str(before);
        rest = after;
        match after_number(&plain, after) {
            Some(after) => rest = after,
            None => plain.push_str(NUMBER),
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// What follows the number that `rest` begins with, if `before` ends with the words that belong to it.
fn after_number<'t>(before: &str, rest: &'t str) -> Option<&'t str> {
    let (number, after) = rest.split_once(')')?;
    let error = io::Error::from_raw_os_error(number.parse().ok()?).to_string();
    let words = error.strip_suffix(&format!("{NUMBER}{number})"))?;
    before.ends_with(words).then_some(after)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn numbers_of_errors_are_left_out() {
        let missing = io::Error::from_raw_os_error(2).to_string();
        assert!(missing.contains(NUMBER), "{missing}");
        for (text, plain) in [
            (missing.as_str(), "No such file or directory"),
            ("", ""),
            (
                "(Permission denied (os error 13)): No such file or directory (os error 2)",
                "(Permission denied): No such file or directory",
            ),
            ("a (os error 2): it is no file", "a (os error 2): it is no file"),
            ("Permission denied (os error 2)", "Permission denied (os error 2)"),
            ("a (os error two) (os error )", "a (os error two) (os error )"),
            ("a (os error 2", "a (os error 2"),
        ] {
            assert_eq!(without_numbers(text), plain, "{text}");
        }
    }

    #[test]
    fn a_message_is_folded_for_a_terminal_alone_and_never_within_a_word() {
        let text = "cannot write /a/long/path: No such file or directory (os error 2)";
        assert_eq!(
            shaped_to(text, None),
            "procession: cannot write /a/long/path: No such file or directory\n"
        );
        assert_eq!(
            shaped_to(text, Some(40)),
            "procession: cannot write /a/long/path:\n    No such file or directory\n"
        );
    }

    #[test]
    fn lines_stay_lines_and_a_terminal_obeys_none_of_them() {
        assert_eq!(shaped_to("one\n  \u{1b}[31mtwo\n", None), "procession: one\n  \\x1b[31mtwo\n");
        assert_eq!(shaped_to("", None), "procession: \n");
    }
}
