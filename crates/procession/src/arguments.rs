//! Argument vectors, as the kernel keeps them and as text.

use crate::reference::join_arguments;

/// The arguments of an image: NUL-terminated strings one after the other, `argv[0]` first.
///
/// Nothing is interpreted: empty arguments, line breaks and bytes that are not UTF-8 are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// The bytes that were captured.
    pub bytes: &'a [u8],
    /// How many there were; more than `bytes.len()` when the capture is incomplete.
    pub total_len: usize,
}

impl<'a> Arguments<'a> {
    /// A complete argument block.
    pub const fn complete(bytes: &'a [u8]) -> Self {
        Self { bytes, total_len: bytes.len() }
    }

    /// The first `most` bytes of them.
    pub(crate) fn cut(self, most: usize) -> Self {
        Self { bytes: &self.bytes[..self.bytes.len().min(most)], ..self }
    }

    /// Bytes that were not captured.
    pub const fn missing(&self) -> usize {
        self.total_len.saturating_sub(self.bytes.len())
    }

    /// Every argument, `argv[0]` included, exactly as it was passed.
    ///
    /// ```
    /// use procession::Arguments;
    ///
    /// let arguments = Arguments::complete(b"ls\0\0-l\0");
    /// assert_eq!(arguments.iter().collect::<Vec<_>>(), [&b"ls"[..], b"", b"-l"]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // Each argument ends in NUL, so the text after the last NUL is one only if it is cut off.
        let block = self.bytes.strip_suffix(b"\0").unwrap_or(self.bytes);
        let empty = self.bytes.is_empty();
        block.split(|byte| *byte == 0).filter(move |_| !empty)
    }

    /// The arguments after `argv[0]` as one text, joined by the reference system's rule.
    ///
    /// A space separates; an argument that holds a space is put in double quotes, with nothing
    /// inside it escaped; leading empty arguments vanish, and a first argument in quotes is
    /// preceded by a space. `trailing_empty_kept` is false when the working directory was the
    /// root or unknown: the reference then loses empty arguments at the end.
    ///
    /// It is what [`decode_arguments`](crate::reference::decode_arguments) makes of the same
    /// arguments in a block. It cannot be read back into them; use [`iter`](Self::iter) for that.
    pub fn joined(&self, trailing_empty_kept: bool) -> Vec<u8> {
        let rest = || self.iter().skip(1);
        let last_with_text = || (1..).zip(rest()).filter(|(_, argument)| !argument.is_empty()).last();
        let kept =
            if trailing_empty_kept { usize::MAX } else { last_with_text().map_or(0, |(count, _)| count) };
        join_arguments(rest().take(kept), self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    #[test]
    fn arguments_are_split_without_loss() {
        let list = |bytes| Arguments::complete(bytes).iter().collect::<Vec<_>>();
        assert!(list(b"").is_empty());
        assert_eq!(list(b"\0"), [b""]);
        assert_eq!(list(b"a\0\0b\n\xff\0"), [&b"a"[..], b"", b"b\n\xff"]);
        assert_eq!(list(b"a\0cut o"), [&b"a"[..], b"cut o"], "a capture that ends early");
    }

    #[test]
    fn joined_text_has_the_quirks_of_the_reference() {
        for (block, text) in [
            (&b"0\0a b\0c\0"[..], " \"a b\" c"),
            (b"0\0say \"hi\"\0", " \"say \"hi\"\""),
            (b"0\0\0x\0", "x"),
            (b"0\0x\0\0y\0", "x  y"),
            (b"0\0x\0\0", "x "),
            (b"0\0a\tb\0", "a\tb"),
            (b"0\0", ""),
            (b"", ""),
        ] {
            assert_eq!(Arguments::complete(block).joined(true), text.as_bytes(), "{block:?}");
        }
        assert_eq!(Arguments::complete(b"0\0x\0y\0\0").joined(false), b"x y", "root directory");
    }
}
