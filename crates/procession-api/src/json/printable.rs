//! JSON that may be shown on a terminal.

use std::io::{self, Write};

use serde_json::ser::Formatter;

/// Escapes the control characters that JSON lets stand: DEL, and those of ISO 6429 (C1), with
/// which a process could still talk to the terminal through its name. Readers see the same text.
pub(super) struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((place, control)) = rest.char_indices().find(|(_, c)| c.is_control()) {
            writer.write_all(&rest.as_bytes()[..place])?;
            write!(writer, "\\u{:04x}", u32::from(control))?;
            rest = &rest[place + control.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}
