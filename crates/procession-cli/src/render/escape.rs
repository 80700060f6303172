//! Foreign bytes made safe to show on a terminal.
//!
//! Escaped are control characters (they move the cursor, change the colours, end the line), bytes
//! that are not UTF-8, and characters that are invisible or turn the writing direction, so that
//! two different names never look the same because of them.

use std::fmt::{self, Write as _};

/// An argument as it could be typed into a shell: bare where possible, else in single quotes, else
/// as `$'…'`, which alone can hold escapes.
///
/// Pasted into bash it gives the same bytes again.
pub(crate) struct ShellWord<'a>(pub(crate) &'a [u8]);

impl fmt::Display for ShellWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match str::from_utf8(self.0) {
            Ok(word) if !word.is_empty() && word.chars().all(is_bare) => f.write_str(word),
            Ok(word) if !word.contains(|c| c == '\'' || is_deceptive(c)) => write!(f, "'{word}'"),
            _ => {
                f.write_str("$'")?;
                write_escaped(f, self.0, |c| c == '\\' || c == '\'')?;
                f.write_char('\'')
            }
        }
    }
}

/// A text that is no shell word, such as a command name: shown bare, its backslashes escaped so
/// that the escapes cannot be forged.
pub(crate) struct Visible<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0, |c| c == '\\')
    }
}

/// A sentence that may quote others: as it is, but for what cannot be shown.
pub(crate) struct Sentence<'a>(pub(crate) &'a str);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0.as_bytes(), |_| false)
    }
}

/// A text in the reference client's form: as it is, or quoted as Go quotes it when it holds what
/// must not be printed.
pub(super) struct GoText<'a>(pub(super) &'a str);

impl fmt::Display for GoText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.contains(is_deceptive) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        write_escaped(f, self.0.as_bytes(), |c| c == '\\' || c == '"')?;
        f.write_char('"')
    }
}

/// Writes `bytes` with a backslash before what `is_special` names, and escapes for the rest of
/// what cannot be shown.
fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8], is_special: fn(char) -> bool) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_special(c) {
                write!(f, "\\{c}")?;
            } else if is_deceptive(c) {
                write_escape(f, c)?;
            } else {
                f.write_char(c)?;
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

fn write_escape(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(c)),
        '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c)),
        _ => write!(f, "\\U{:08x}", u32::from(c)),
    }
}

/// Whether a character would not show as itself, and nothing but itself.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'                        // soft hyphen
            | '\u{61c}'                     // Arabic letter mark
            | '\u{180e}'                    // Mongolian vowel separator
            | '\u{200b}'..='\u{200f}'       // zero width, direction marks
            | '\u{2028}'..='\u{202e}'       // line and paragraph separators, direction overrides
            | '\u{2060}'..='\u{206f}'       // invisible operators, direction isolates
            | '\u{feff}'                    // byte order mark
            | '\u{fff9}'..='\u{fffb}'       // annotations
            | '\u{e0000}'..='\u{e007f}'     // tags
        )
}

/// Whether a character of an argument means itself to a shell.
fn is_bare(c: char) -> bool {
    let is_plain_ascii = c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    is_plain_ascii || !(c.is_ascii() || c.is_whitespace() || is_deceptive(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_needs_it() {
        for (word, shown) in [
            (&b"--color=auto"[..], "--color=auto"),
            (b"/usr/bin/x86_64-linux-gnu-g++", "/usr/bin/x86_64-linux-gnu-g++"),
            ("grüße-🚀".as_bytes(), "grüße-🚀"),
            ("a\u{a0}b".as_bytes(), "'a\u{a0}b'"),
            (b"", "''"),
            (b"a b", "'a b'"),
            (b"$HOME/*", "'$HOME/*'"),
            (b"C:\\n", "'C:\\n'"),
            (b"say \"hi\"", "'say \"hi\"'"),
            (b"it's", "$'it\\'s'"),
            (b"a\nb\\", "$'a\\nb\\\\'"),
            (b"\x1b[31m", "$'\\x1b[31m'"),
            (b"\xff\xfea", "$'\\xff\\xfea'"),
            ("\u{9b}31m".as_bytes(), "$'\\u009b31m'"),
            ("txt\u{202e}exe".as_bytes(), "$'txt\\u202eexe'"),
            ("\u{e0041}".as_bytes(), "$'\\U000e0041'"),
        ] {
            assert_eq!(ShellWord(word).to_string(), shown);
        }
    }

    #[test]
    fn a_name_is_shown_bare_and_its_backslashes_cannot_forge_an_escape() {
        for (name, shown) in [
            (&b"[kworker/0:1]"[..], "[kworker/0:1]"),
            (b"tmux: server", "tmux: server"),
            (b"a\nb", "a\\nb"),
            (b"a\\nb", "a\\\\nb"),
            (b"\xc3", "\\xc3"),
        ] {
            assert_eq!(Visible(name).to_string(), shown);
        }
    }

    #[test]
    fn go_quotes_only_what_must_not_be_printed() {
        for (text, shown) in [
            ("-l \"a b\" \\", "-l \"a b\" \\"),
            ("a\tb \"c\" \\", "\"a\\tb \\\"c\\\" \\\\\""),
            ("\x1b[0m", "\"\\x1b[0m\""),
            ("\u{fffd}", "\u{fffd}"),
        ] {
            assert_eq!(GoText(text).to_string(), shown);
        }
    }
}
