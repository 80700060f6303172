//! Standard output, as commands that ask an agent use it.

use std::io::{self, ErrorKind, IsTerminal as _};
use std::time::Duration;

use crate::args::ColorArg;
use crate::display;
use crate::output::{cannot_write, write_patiently};
use crate::render::{List, Palette};
use crate::signals::Signals;

/// Lines to be written, and whether anybody still reads them.
pub(super) struct Screen<'s> {
    signals: &'s Signals,
    lines: Vec<u8>,
    is_unread: bool,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    /// It went away, or Ctrl-C was pressed while it stood still.
    Gone,
}

/// Bytes that are gathered before they are written.
const ENOUGH: usize = 64 << 10;

impl<'s> Screen<'s> {
    pub(super) fn new(signals: &'s Signals) -> Self {
        Self { signals, lines: Vec::new(), is_unread: false }
    }

    /// Where lines are put.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Puts a line.
    pub(super) fn put_line(&mut self, line: &str) {
        self.lines.extend_from_slice(line.as_bytes());
        self.lines.push(b'\n');
    }

    /// Puts what is to stand above all, where there is something.
    pub(super) fn put_heading(&mut self, heading: Option<&str>) {
        if let Some(heading) = heading {
            self.put_line(heading);
        }
    }

    /// Writes what is gathered if it is worth the trouble.
    pub(super) fn write_some(&mut self) -> anyhow::Result<Reader> {
        if self.lines.len() < ENOUGH { Ok(Reader::Reads) } else { self.write() }
    }

    /// Writes what is gathered. For a reader that is gone nothing is.
    pub(super) fn write(&mut self) -> anyhow::Result<Reader> {
        let reader = if self.is_unread { Ok(Reader::Gone) } else { self.write_lines() };
        self.lines.clear();
        self.is_unread = !matches!(reader, Ok(Reader::Reads));
        reader
    }

    fn write_lines(&self) -> anyhow::Result<Reader> {
        let go_on = |_: Duration| !self.signals.is_any();
        match write_patiently(&self.lines, &go_on) {
            Ok(true) => Ok(Reader::Reads),
            Ok(false) => Ok(Reader::Gone),
            // `procession tree | head` is no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(cannot_write(error)),
        }
    }
}

/// The colours that fit where the output goes.
pub(super) fn palette(color: ColorArg) -> Palette {
    let is_coloured = display::is_coloured(color, io::stdout().is_terminal());
    if is_coloured { Palette::coloured() } else { Palette::plain() }
}

/// Columns that lines are cut to. `None`: they are not, as programs want it that read a pipe.
pub(super) fn width(is_wide: bool) -> Option<usize> {
    display::terminal_width().filter(|_| io::stdout().is_terminal() && !is_wide)
}

/// Lines of processes that fit where the output goes.
pub(super) fn list(show: &super::args::ListShowArgs) -> List {
    List::new(palette(show.terminal.color), width(show.terminal.wide))
}
