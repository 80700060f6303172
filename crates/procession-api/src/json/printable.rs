//! JSON that may be shown on a terminal.

use memchr::memchr2_iter;

/// Escapes the control characters that JSON lets stand in what follows `start`: DEL, and those of
/// ISO 6429 (C1), with which a process could still talk to the terminal through its name. Readers see
/// the same text, because JSON has such characters nowhere but in strings.
pub(crate) fn escape(json: &mut Vec<u8>, start: usize) {
    let Some((first, ..)) = find(&json[start..]) else { return };
    let raw = json.split_off(start + first);
    let mut rest = &raw[..];
    while let Some((place, code, length)) = find(rest) {
        json.extend_from_slice(&rest[..place]);
        json.extend_from_slice(format!("\\u{code:04x}").as_bytes());
        rest = &rest[place + length..];
    }
    json.extend_from_slice(rest);
}

/// Where the first such character stands, which it is, and how many bytes it takes.
fn find(text: &[u8]) -> Option<(usize, u8, usize)> {
    memchr2_iter(0x7f, 0xc2, text).find_map(|place| match text[place..] {
        [0x7f, ..] => Some((place, 0x7f, 1)),
        [0xc2, code @ 0x80..=0x9f, ..] => Some((place, code, 2)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn control_characters_and_nothing_else_are_escaped() {
        for (text, escaped) in [
            ("", ""),
            ("é£©\u{a0}", "é£©\u{a0}"),
            ("\u{7f}", "\\u007f"),
            ("£\u{80}a\u{9f}\u{7f}£b", "£\\u0080a\\u009f\\u007f£b"),
        ] {
            let mut json = format!("\u{7f}{text}").into_bytes();
            escape(&mut json, 1);
            assert_eq!(String::from_utf8(json).unwrap(), format!("\u{7f}{escaped}"));
        }
    }
}
