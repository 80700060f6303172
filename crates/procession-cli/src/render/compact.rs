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
use procession::{CapabilitySet, ExitStatus, FactKind, Process, Signal, text};
use procession_agent::Told;
use procession_kube::Whose;

use super::escape::GoText;
use super::palette::CompactPalette;
use super::{Palette, Surroundings};

/// The column at which a marker ends, give or take the space before it.
const MARKER_END: usize = 120;
const CAP_SYS_ADMIN: CapabilitySet = CapabilitySet(1 << 21);

/// Writes facts in the reference client's compact form.
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
    pub(super) fn render(&self, told: &Told, surroundings: &Surroundings, out: &mut Vec<u8>) {
        let fact = &told.fact;
        if matches!(fact.kind, FactKind::Fork | FactKind::Change) {
            return;
        }
        if self.timestamps {
            let time = surroundings.clock.at(fact.time);
            let time = jiff::Timestamp::try_from(time).unwrap_or_default();
            let printer = DateTimePrinter::new().precision(Some(9));
            out.extend_from_slice(printer.timestamp_to_string(&time).as_bytes());
            out.push(b' ');
        }
        let start = out.len();
        self.event(told, out);
        let width = out.len() - start;
        self.marker(&fact.process, width, out);
        out.push(b'\n');
    }

    fn event(&self, told: &Told, out: &mut Vec<u8>) {
        let fact = &told.fact;
        let CompactPalette { event, source, binary, arguments, status } = self.palette.compact;
        let what = match fact.kind {
            FactKind::Exit { .. } => "💥 exit   ",
            FactKind::Fork | FactKind::Exec | FactKind::Running | FactKind::Change => "🚀 process",
        };
        put(out, event, what);
        out.push(b' ');
        match told.whose(&fact.process).and_then(Whose::pod) {
            Some(pod) => put(out, source, GoText(&format!("{}/{}", pod.namespace, pod.name))),
            None => put(out, source, GoText(&self.node_name)),
        }
        out.push(b' ');
        put(out, binary, GoText(&text::to_valid_utf8(fact.process.binary())));
        out.push(b' ');
        let list = fact.process.image.as_ref().map(procession::Image::arguments_text).unwrap_or_default();
        put(out, arguments, GoText(&text::to_valid_utf8(&list)));
        if let FactKind::Exit { status: how, .. } = fact.kind {
            out.push(b' ');
            put_status(out, status, how);
        }
    }

    /// The width counts bytes, those of colours too, and in colours an absent marker is padded all
    /// the same: so it is in the reference.
    fn marker(&self, process: &Process, width: usize, out: &mut Vec<u8>) {
        let marker = if self.capabilities && is_admin(process) { "🛑 CAP_SYS_ADMIN" } else { "" };
        let style = self.palette.compact.binary;
        let marker = format!("{style}{marker}{style:#}");
        if !marker.is_empty() {
            let padding = MARKER_END.saturating_sub(width);
            put(out, Style::new(), format_args!(" {marker:>padding$}"));
        }
    }
}

fn is_admin(process: &Process) -> bool {
    let effective = process.credentials().map_or(0, |credentials| credentials.capabilities.effective.0);
    effective & CAP_SYS_ADMIN.0 != 0
}

/// The signal's name when it has one, else the exit code.
fn put_status(out: &mut Vec<u8>, style: Style, status: Option<ExitStatus>) {
    match status.map(|status| (status.signal().and_then(Signal::name), status.code())) {
        Some((Some(signal), _)) => put(out, style, signal),
        Some((None, code)) => put(out, style, code),
        None => put(out, style, '?'),
    }
}

fn put(out: &mut Vec<u8>, style: Style, content: impl Display) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{style}{content}{style:#}");
}
