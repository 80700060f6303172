//! What libraries have to say, on standard error and in the form of all that the program says there.

use std::{fmt, io};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Which messages are wanted, as `TARGET=LEVEL,...`.
const WANTED: &str = "PROCESSION_LOG";

/// Shows warnings from now on, and what else [`WANTED`] names.
pub(crate) fn start() {
    // Other crates repeat at each attempt what Procession says once.
    let usual = || Targets::new().with_target("procession", Level::INFO);
    let wanted = std::env::var(WANTED).ok().and_then(|text| text.parse().ok());
    let fields = debug_fn(|line, field, value| match field.name() {
        "message" => write!(line, "{value:?}"),
        name => write!(line, "; {}: {value:?}", name.replace('_', " ")),
    });
    let lines = layer().with_writer(Lines).with_ansi(false).fmt_fields(fields).event_format(Line);
    // Nothing else in this program sets one.
    let _ = tracing_subscriber::registry().with(wanted.unwrap_or_else(usual)).with(lines).try_init();
}

/// `procession: the message; field: value`.
struct Line;

impl<S, F> FormatEvent<S, F> for Line
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    F: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, F>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        line.write_str("procession: ")?;
        context.format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// Standard error. That nobody can read it there is no reason to stop.
struct Lines;

impl<'w> MakeWriter<'w> for Lines {
    type Writer = io::Stderr;

    fn make_writer(&'w self) -> io::Stderr {
        io::stderr()
    }
}
