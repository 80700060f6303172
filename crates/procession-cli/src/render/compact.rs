//! The compact form of the reference system's own client, for eyes and scripts that know it.
//!
//! `<icon> <verb, 7 columns> <pod or node> <binary> <arguments> [<status>] [<capability marker>]`, joined
//! by one space each, even where a field is empty.
//!
//! Two departures, both where the reference's line would mislead. Text with control characters is
//! quoted. And the marker says whether the process has `CAP_SYS_ADMIN`; the reference shows it for
//! any 22 capabilities.

use std::fmt::Display;
use std::io::Write as _;

use anstyle::Style;
use jiff::fmt::temporal::DateTimePrinter;
use procession::Signal;

use super::Palette;
use super::escape::GoText;
use super::palette::CompactPalette;
use super::view::{Kind, Outcome, Place, View};

/// The column at which a marker ends, give or take the space before it.
const MARKER_END: usize = 120;

/// Writes what happens in the reference client's compact form.
#[derive(Clone, Debug)]
pub(crate) struct Compact {
    /// The name of this machine.
    pub(crate) node_name: String,
    /// Begin each line with the time, in UTC to the nanosecond.
    pub(crate) timestamps: bool,
    /// Mark processes that have `CAP_SYS_ADMIN`. The reference does so when its events carry
    /// credentials.
    pub(crate) capabilities: bool,
    pub(crate) palette: Palette,
}

impl Compact {
    pub(super) fn render(&self, view: &dyn View, out: &mut Vec<u8>) {
        if matches!(view.kind(), Kind::Fork | Kind::Change) {
            return;
        }
        if self.timestamps {
            let printer = DateTimePrinter::new().precision(Some(9));
            out.extend_from_slice(printer.timestamp_to_string(&view.time()).as_bytes());
            out.push(b' ');
        }
        let start = out.len();
        self.event(view, out);
        let width = out.len() - start;
        self.marker(view, width, out);
        out.push(b'\n');
    }

    fn event(&self, view: &dyn View, out: &mut Vec<u8>) {
        let CompactPalette { event, source, binary, arguments, status } = self.palette.compact;
        let what = match view.kind() {
            Kind::Exit(_) => "💥 exit   ",
            Kind::Fork | Kind::Exec | Kind::Running | Kind::Change => "🚀 process",
        };
        put(out, event, what);
        out.push(b' ');
        match view.place() {
            Some(Place::Pod { namespace, name }) => put(out, source, GoText(&format!("{namespace}/{name}"))),
            _ => put(out, source, GoText(view.node().unwrap_or(&self.node_name))),
        }
        out.push(b' ');
        put(out, binary, GoText(&view.binary_text()));
        out.push(b' ');
        put(out, arguments, GoText(&view.arguments_text()));
        if let Kind::Exit(outcome) = view.kind() {
            out.push(b' ');
            put_status(out, status, outcome);
        }
    }

    /// The width counts bytes, those of colours too, and in colours an absent marker is padded all
    /// the same: so it is in the reference.
    fn marker(&self, view: &dyn View, width: usize, out: &mut Vec<u8>) {
        let marker = if self.capabilities && view.is_admin() { "🛑 CAP_SYS_ADMIN" } else { "" };
        let style = self.palette.compact.binary;
        let marker = format!("{style}{marker}{style:#}");
        if !marker.is_empty() {
            let padding = MARKER_END.saturating_sub(width);
            put(out, Style::new(), format_args!(" {marker:>padding$}"));
        }
    }
}

/// The signal's name when it has one, else the exit code.
fn put_status(out: &mut Vec<u8>, style: Style, outcome: Outcome<'_>) {
    match outcome {
        Outcome::Status(status) => match status.signal().and_then(Signal::name) {
            Some(signal) => put(out, style, signal),
            None => put(out, style, status.code()),
        },
        Outcome::Code(code) => put(out, style, code),
        Outcome::Signal(name) => put(out, style, GoText(name)),
        Outcome::Gone => put(out, style, '?'),
    }
}

fn put(out: &mut Vec<u8>, style: Style, content: impl Display) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{style}{content}{style:#}");
}
