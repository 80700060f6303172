//! From the kernel's bytes to text.

use std::borrow::Cow;

/// `bytes` as UTF-8, each run of invalid bytes replaced by one U+FFFD.
///
/// This is the rule of the reference system (Go's `strings.ToValidUTF8`). It differs from
/// [`String::from_utf8_lossy`], which may put several replacement characters for one run.
///
/// ```
/// assert_eq!(procession::text::to_valid_utf8(b"a\xff\xfeb"), "a\u{fffd}b");
/// ```
pub fn to_valid_utf8(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 2);
    let mut in_bad_run = false;
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() {
            in_bad_run = false;
            text.push_str(chunk.valid());
        }
        if !chunk.invalid().is_empty() && !in_bad_run {
            in_bad_run = true;
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::to_valid_utf8;

    #[test]
    fn a_run_of_invalid_bytes_becomes_one_mark() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            (b"", ""),
            (b"\xff", "\u{fffd}"),
            (b"\xff\xff\xc3\xa9\xff", "\u{fffd}\u{e9}\u{fffd}"),
            (b"a\xe2\x82b\xe2\x82", "a\u{fffd}b\u{fffd}"),
        ] {
            assert_eq!(to_valid_utf8(bytes), text);
        }
    }
}
