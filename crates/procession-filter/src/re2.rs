//! Patterns as RE2 means them, in the syntax of the `regex` crate.
//!
//! The two differ where they look the same: `\d`, `\w`, `\s` and `\b` are ASCII in RE2, `[a&&b]` is
//! three characters and no intersection, `\<` is a character, `{` may be one. What RE2 has and `regex`
//! has not is put otherwise, or refused with the reason.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// The most often that something may be repeated, as in RE2.
const MAX_REPEAT: u32 = 1000;

/// The pattern in the syntax of the `regex` crate, with Unicode on. The error says what is wrong.
///
/// What neither understands is left for `regex` to refuse.
pub(crate) fn translate(pattern: &str) -> Result<String, String> {
    let mut translation = Translation { rest: pattern.chars().peekable(), out: String::new() };
    translation.pattern()?;
    Ok(translation.out)
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Translation<'_> {
    fn pattern(&mut self) -> Result<(), String> {
        while let Some(char) = self.rest.next() {
            match char {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '{' => self.repetition()?,
                '(' => self.group()?,
                '}' | ']' => self.literal(char),
                _ => self.out.push(char),
            }
        }
        Ok(())
    }

    fn literal(&mut self, char: char) {
        let mut buffer = [0; 4];
        self.out += &regex::escape(char.encode_utf8(&mut buffer));
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(char) = self.rest.next() else { return Err("it ends in a backslash".to_owned()) };
        match char {
            'Q' => self.quoted(),
            'd' => self.out += "[0-9]",
            'D' => self.out += "[^0-9]",
            'w' => self.out += "[0-9A-Za-z_]",
            'W' => self.out += "[^0-9A-Za-z_]",
            's' => self.out += r"[\t\n\f\r ]",
            'S' => self.out += r"[^\t\n\f\r ]",
            'b' => self.out += r"(?-u:\b)",
            'B' => self.out += r"(?-u:\B)",
            'A' | 'z' => self.out.extend(['\\', char]),
            'C' => return Err(r"`\C` is not supported: use `(?s:.)` for any character".to_owned()),
            _ => self.character(char)?,
        }
        Ok(())
    }

    /// `\Q...\E`, or to the end.
    fn quoted(&mut self) {
        while let Some(char) = self.rest.next() {
            if char == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(char);
        }
    }

    /// What may be escaped in a class too, but for the classes of Perl.
    fn character(&mut self, char: char) -> Result<(), String> {
        match char {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => self.out.extend(['\\', char]),
            'p' | 'P' | 'x' => {
                self.out.extend(['\\', char]);
                self.argument(if char == 'x' { 2 } else { 1 });
            }
            '0'..='7' => self.octal(char)?,
            'E' => {}
            _ if char.is_ascii_punctuation() => self.literal(char),
            _ => return Err(format!("`\\{char}` means nothing")),
        }
        Ok(())
    }

    /// What belongs to `\p` or `\x`: in braces, or so many characters.
    fn argument(&mut self, width: usize) {
        if self.rest.next_if_eq(&'{').is_some() {
            self.out.push('{');
            let argument = self.rest.by_ref();
            for char in argument {
                self.out.push(char);
                if char == '}' {
                    break;
                }
            }
            return;
        }
        for _ in 0..width {
            self.out.extend(self.rest.next_if(char::is_ascii_alphanumeric));
        }
    }

    /// Up to three octal digits. One that is not 0 refers to a group, which RE2 has not either.
    fn octal(&mut self, first: char) -> Result<(), String> {
        let digit = |char: char| char.to_digit(8);
        let mut value = digit(first).unwrap_or_default();
        let mut digits = 1;
        while let Some(next) = self.rest.peek().copied().and_then(digit).filter(|_| digits < 3) {
            self.rest.next();
            value = value * 8 + next;
            digits += 1;
        }
        if digits == 1 && first != '0' {
            return Err(format!("`\\{first}` refers to a group, which is not supported"));
        }
        write!(self.out, r"\x{{{value:x}}}").map_err(|error| error.to_string())
    }

    /// A repetition that is well-formed; any other brace is a character.
    fn repetition(&mut self) -> Result<(), String> {
        let ahead: String = self.rest.clone().take_while(|char| *char != '}').take(16).collect();
        let is_closed = self.rest.clone().nth(ahead.chars().count()) == Some('}');
        let (least, most) =
            ahead.split_once(',').map_or((&*ahead, None), |(least, most)| (least, Some(most)));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_closed || !is_number(least) || !most.is_none_or(|most| most.is_empty() || is_number(most)) {
            self.literal('{');
            return Ok(());
        }
        let is_over =
            |text: &str| !text.is_empty() && !text.parse().is_ok_and(|times: u32| times <= MAX_REPEAT);
        if is_over(least) || most.is_some_and(is_over) {
            return Err(format!("nothing may be repeated more than {MAX_REPEAT} times"));
        }
        self.out.push('{');
        self.out.push_str(&ahead);
        self.out.push('}');
        self.rest.nth(ahead.chars().count());
        Ok(())
    }

    /// The beginning of a group. Flags that RE2 has not are refused: `x` would change what follows,
    /// and `u` what `\xff` is.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        while let Some(flag) = self.rest.next_if(|char| char.is_ascii_alphabetic() || *char == '-') {
            self.out.push(flag);
            match flag {
                'i' | 'm' | 's' | 'U' | '-' => {}
                // `(?P<name>`
                'P' => break,
                _ => return Err(format!("the flag `{flag}` is not supported")),
            }
        }
        if self.rest.next_if_eq(&'<').is_some() {
            self.out.push('<');
            while let Some(char) = self.rest.next_if(|char| char.is_ascii_alphanumeric() || *char == '_') {
                self.out.push(char);
            }
        }
        Ok(())
    }

    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let Some(char) = self.rest.next() else {
                return Err("a `[` is not closed".to_owned());
            };
            match char {
                ']' if !is_first => break,
                '[' if self.rest.peek() == Some(&':') => self.named_class()?,
                '\\' if self.perl_class() => {}
                _ => self.range(char)?,
            }
            is_first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:alpha:]` if it is one, else the characters.
    fn named_class(&mut self) -> Result<(), String> {
        let name: String = self.rest.clone().skip(1).take_while(|char| *char != ':').take(12).collect();
        let end: String = self.rest.clone().skip(1 + name.chars().count()).take(2).collect();
        let letters = name.strip_prefix('^').unwrap_or(&name);
        if end != ":]" || letters.is_empty() || !letters.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return self.range('[');
        }
        self.out.extend(["[:", &name, ":]"]);
        self.rest.nth(name.chars().count() + 2);
        Ok(())
    }

    /// A class in the class. Says whether there was one.
    fn perl_class(&mut self) -> bool {
        let class = match self.rest.peek() {
            Some('d') => "0-9",
            Some('D') => "[^0-9]",
            Some('w') => "0-9A-Za-z_",
            Some('W') => "[^0-9A-Za-z_]",
            Some('s') => r"\t\n\f\r ",
            Some('S') => r"[^\t\n\f\r ]",
            Some(property @ ('p' | 'P')) => {
                self.out.extend(['\\', *property]);
                self.rest.next();
                self.argument(1);
                return true;
            }
            _ => return false,
        };
        self.out += class;
        self.rest.next();
        true
    }

    /// A character, or two with a hyphen between.
    fn range(&mut self, low: char) -> Result<(), String> {
        self.member(low)?;
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || ahead.peek().is_none_or(|char| *char == ']') {
            return Ok(());
        }
        self.rest = ahead;
        self.out.push('-');
        match self.rest.next() {
            Some(high) => self.member(high),
            None => Ok(()),
        }
    }

    fn member(&mut self, char: char) -> Result<(), String> {
        match (char, self.rest.peek().copied()) {
            ('\\', Some(escaped)) => {
                self.rest.next();
                if matches!(escaped, 'p' | 'P' | 'E') {
                    return Err(format!("`\\{escaped}` cannot be there"));
                }
                self.character(escaped)
            }
            ('\\', None) => Err("it ends in a backslash".to_owned()),
            _ => {
                self.literal(char);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::bytes::Regex;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Regex::new(&translate(pattern).unwrap()).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn it_means_what_re2_means() {
        for (pattern, yes, no) in [
            (r"^\d$", "7", "٣"),
            (r"^\w$", "_", "é"),
            (r"^\W$", "é", "e"),
            (r"^\s$", "\t", "\u{b}"),
            (r"^[\s]$", "\n", "\u{a0}"),
            (r"^[^\d]$", "é", "1"),
            (r"^[\D]$", "é", "1"),
            (r"\bx", "éx", "ax"),
            (r"a\B", "ab", "a b"),
            (r"^.$", "é", "ab"),
            (r"^[é-ü]$", "ö", "o"),
            (r"(?i)^É$", "é", "e"),
            (r"^\Qa.b|c\E+$", "a.b|ccc", "axb|c"),
            (r"^\Q[x", "[x", "x"),
            (r"^[a&&b]$", "&", "x"),
            (r"^[a&&b]$", "a", "&&"),
            (r"^[a~~b]$", "~", "x"),
            (r"^[[a]$", "[", "]"),
            (r"^[[]$", "[", "]"),
            (r"^[]a]$", "]", "["),
            (r"^[^]a]$", "[", "]"),
            (r"^[+--]$", ",", "."),
            (r"^[a-]$", "-", "b"),
            (r"^[-a]$", "-", "b"),
            (r"^[\d-x]$", "-", "y"),
            (r"^[[:alpha:]_]$", "z", "1"),
            (r"^[[:^alpha:]]$", "1", "z"),
            (r"^[[:a]$", ":", "b"),
            (r"^\101$", "A", "101"),
            (r"^[\101]$", "A", "1"),
            (r"^\0$", "\0", "0"),
            (r"^\x41\x{e9}$", "Aé", "A"),
            (r"^\<$", "<", ""),
            (r"^\/\-\_$", "/-_", ""),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{2,}$", "aaa", "a"),
            (r"^{x}$", "{x}", "x"),
            (r"^x}$", "x}", "x"),
            (r"^(?P<n>a)(?:b)(?i:C)$", "abc", "Abc"),
            (r"^# $", "# ", ""),
        ] {
            assert!(matches(pattern, yes), "{pattern} matches {yes:?}");
            assert!(!matches(pattern, no), "{pattern} does not match {no:?}");
        }
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for (pattern, why) in [
            (r"\C", "any character"),
            (r"\1", "group"),
            (r"a{1001}", "1000"),
            (r"a{2,99999999999}", "1000"),
            (r"(?x)a", "flag `x`"),
            (r"(?-u)a", "flag `u`"),
            (r"\h", r"`\h` means nothing"),
            (r"[a", "not closed"),
            ("\\", "backslash"),
            ("[\\", "backslash"),
        ] {
            let error = translate(pattern).unwrap_err();
            assert!(error.contains(why), "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_text_matches_itself(text in "[^\\\\]{0,20}") {
            let pattern = format!(r"^\Q{text}\E$");
            prop_assert!(matches(&pattern, &text), "{}", pattern);
        }

        #[test]
        fn a_class_has_its_members(members in "[!-Z^-~]{1,8}", other in "[!-~]") {
            // Without hyphens and brackets every character stands for itself.
            let members = members.replace(['-', '[', '^'], "a");
            prop_assert_eq!(matches(&format!("^[{members}]$"), &other), members.contains(&other));
        }

        #[test]
        fn nothing_panics(pattern in r"[\[\]\\(){}?:^&~\-,0-9a-zA-Z]{0,24}") {
            if let Ok(translated) = translate(&pattern) {
                let _ = Regex::new(&translated);
            }
        }
    }
}
