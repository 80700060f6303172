//! Secrets in argument vectors and environments as the kernel keeps them.
//!
//! Expressions match text, in which arguments stand side by side; so what is to be hidden is found in the
//! text, and then hidden in the arguments of which that was made.

use std::ops::Range;

use procession::reference::environment_variable;
use procession::text::to_valid_utf8;
use procession::{Arguments, Program};
use regex::bytes::Regex;

use super::{HIDDEN, hide, spans};

/// `argv[0]` stays: the text does not have it. `None`: there is nothing to hide.
pub(super) fn hide_in_arguments<'s>(
    secrets: impl Iterator<Item = &'s Regex>,
    program: &Program<'_>,
) -> Option<Vec<u8>> {
    let Program { arguments, cwd, .. } = program;
    let has_trailing = !matches!(cwd.as_bytes(), b"" | b"/");
    let mut vector: Vec<_> = arguments.iter().skip(1).map(|it| to_valid_utf8(it).into_owned()).collect();
    let mut is_changed = false;
    for secret in secrets {
        let (text, places) = join(&vector, has_trailing);
        let spans = spans(secret, &text);
        if !spans.is_empty() {
            vector = without(&text, &places, &spans);
            is_changed = true;
        }
    }
    is_changed.then(|| {
        let vector = vector.iter().map(String::as_bytes);
        block(arguments.iter().take(1).chain(vector), arguments)
    })
}

/// Each entry by itself. `None`: there is nothing to hide.
pub(super) fn hide_in_environment<'s>(
    secrets: &(impl Iterator<Item = &'s Regex> + Clone),
    program: &Program<'_>,
) -> Option<Vec<u8>> {
    let environment = &program.environment;
    let mut is_changed = false;
    let entries: Vec<Vec<u8>> = environment
        .iter()
        .map(|entry| {
            let (name, value) = environment_variable(entry);
            let whole = format!("{}={}", to_valid_utf8(name), to_valid_utf8(value));
            let hidden = secrets.clone().fold(None, |text: Option<String>, secret| {
                hide(secret, text.as_deref().unwrap_or(&whole)).or(text)
            });
            is_changed |= hidden.is_some();
            hidden.map_or_else(|| entry.to_owned(), String::into_bytes)
        })
        .collect();
    is_changed.then(|| block(entries.iter().map(Vec::as_slice), environment))
}

/// The text of arguments, by the rule of [`Arguments::joined`], and where in it each of them stands.
fn join(vector: &[String], has_trailing: bool) -> (String, Vec<Range<usize>>) {
    let (mut text, mut places) = (String::new(), Vec::with_capacity(vector.len()));
    let with_text = vector.iter().rposition(|argument| !argument.is_empty()).map_or(0, |last| last + 1);
    for (index, argument) in vector.iter().enumerate() {
        if index >= with_text && !has_trailing {
            places.push(text.len()..text.len());
            continue;
        }
        let quote = if argument.contains(' ') { "\"" } else { "" };
        if !text.is_empty() || !quote.is_empty() {
            text.push(' ');
        }
        text.push_str(quote);
        places.push(text.len()..text.len() + argument.len());
        text.push_str(argument);
        text.push_str(quote);
    }
    (text, places)
}

/// The arguments at `places` of the text without what is in `spans`, which are in order. Those that a span
/// joins, with what is between them, become one.
fn without(text: &str, places: &[Range<usize>], spans: &[(usize, usize)]) -> Vec<String> {
    let mut is_shown = vec![false; spans.len()];
    let mut vector: Vec<String> = Vec::with_capacity(places.len());
    for place in places {
        let (mut argument, mut at, mut continues) = (String::new(), place.start, false);
        for ((start, end), is_shown) in spans.iter().copied().zip(&mut is_shown) {
            if start > place.end || end < at || (start < end && (start == place.end || end == at)) {
                continue;
            }
            if *is_shown && start == end {
                continue;
            }
            continues |= *is_shown;
            argument += text.get(at..start.max(at)).unwrap_or_default();
            argument += if *is_shown { "" } else { HIDDEN };
            *is_shown = true;
            at = end.min(place.end);
        }
        argument += text.get(at..place.end).unwrap_or_default();
        match vector.last_mut() {
            Some(last) if continues => *last += &argument,
            _ => vector.push(argument),
        }
    }
    vector
}

/// A block of them in the form of `original`: its last may be cut off.
fn block<'a>(entries: impl Iterator<Item = &'a [u8]>, original: &Arguments<'_>) -> Vec<u8> {
    let mut block = Vec::with_capacity(original.bytes.len());
    for entry in entries {
        block.extend_from_slice(entry);
        block.push(0);
    }
    if !original.bytes.ends_with(b"\0") {
        block.pop();
    }
    block
}

#[cfg(test)]
mod tests {
    use procession::WorkingDirectory;
    use procession_api::proto::tetragon::Process;
    use procession_api::proto::tetragon::RedactionFilter;
    use proptest::prelude::*;

    use super::super::Redaction;
    use super::*;

    fn redaction(patterns: &[&str]) -> Redaction {
        let redact = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Redaction::new(&[RedactionFilter { redact, ..RedactionFilter::default() }]).unwrap()
    }

    fn program(arguments: &[u8]) -> Program<'_> {
        let arguments = Arguments::complete(arguments);
        Program { binary: b"/bin/x", cwd: WorkingDirectory::Path(b"/tmp"), arguments, ..Program::default() }
    }

    fn hidden(patterns: &[&str], arguments: &str) -> Option<String> {
        let block = arguments.replace('|', "\0");
        let hidden = redaction(patterns).arguments(&program(block.as_bytes()));
        hidden.map(|block| String::from_utf8(block).unwrap().replace('\0', "|"))
    }

    #[test]
    fn secrets_are_hidden_in_the_arguments_in_which_they_are() {
        for (pattern, arguments, expected) in [
            (r"--password[= ](\S+)", "x|--password=geheim|y|", Some("x|--password=*****|y|")),
            (r"--password[= ](\S+)", "x|--password|geheim|y|", Some("x|--password|*****|y|")),
            (r"--password (.*)", "x|--password|a|b|c|", Some("x|--password|*****|")),
            (r"(b c)d", "x|a|b|cd|", Some("x|a|*****d|")),
            (r#"-p ("[^"]*"|\S+)"#, "x|-p|two words|y|", Some("x|-p|*****|y|")),
            (r"token:(\S+)", "x|header token:abc more|", Some("x|header token:***** more|")),
            (r"^(\S+)", "geheim|other|", Some("geheim|*****|")),
            (r"(b) (c)", "x|a|b|c|d|", Some("x|a|*****|*****|d|")),
            (r"secret=(.*)$", "x|secret=cut of", Some("x|secret=*****")),
            (r"geheim", "x|geheim|", None),
            (r"(geheim)", "x|y||", None),
        ] {
            let expected = expected.map(str::to_owned);
            let got = hidden(&[pattern], arguments);
            assert_eq!(got, expected, "{pattern} in {arguments}");
        }
    }

    #[test]
    fn filters_follow_one_another_and_bytes_that_are_no_text_are_hidden_too() {
        assert_eq!(hidden(&["(a)", r"\*(b)"], "x|ab|"), Some("x|**********|".into()));
        let block = b"x\0pw=\xff\xfe\0";
        let hidden = redaction(&["pw=(.+)"]).arguments(&program(block)).unwrap();
        assert_eq!(hidden, b"x\0pw=*****\0");
    }

    #[test]
    fn entries_of_the_environment_stand_alone() {
        let environment = Arguments::complete(b"A=1\0TOKEN=abc\0nonsense\0");
        let program = Program { environment, ..Program::default() };
        let hidden = redaction(&["TOKEN=(.*)", "invalid=(.*)"]).environment(&program).unwrap();
        assert_eq!(hidden, b"A=1\0TOKEN=*****\0invalid=*****\0");
        assert_eq!(redaction(&["B=(.*)"]).environment(&program), None);
    }

    proptest! {
        /// Arguments without spaces: the text of what is left is what becomes of the text, but for spaces where a
        /// secret begins with one.
        #[test]
        fn the_text_is_what_becomes_of_the_text(
            arguments in prop::collection::vec("[a-c=]{1,4}", 0..6),
            pattern in prop::sample::select(vec!["(a)", "a=(.*)", "(b+)c", "b (\\S+)", "(a.*c)", "c ?(.)", "(^a)|(b)"]),
        ) {
            let block: String = arguments.iter().fold("x\0".into(), |block, argument| block + argument + "\0");
            let redaction = redaction(&[pattern]);
            let mut process = Process { arguments: arguments.join(" "), ..Process::default() };
            redaction.apply_process(&mut process);
            let hidden = redaction.arguments(&program(block.as_bytes())).unwrap_or(block.into_bytes());
            let text = String::from_utf8(Arguments::complete(&hidden).joined(true)).unwrap();
            prop_assert_eq!(text.replace(' ', ""), process.arguments.replace(' ', ""));
        }
    }
}
