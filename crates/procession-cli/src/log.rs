//! What libraries have to say, on standard error and in the form of all that the program says there.

use std::{fmt, io};

use anyhow::Context as _;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::render::Sentence;

/// Which messages are wanted, as `TARGET=LEVEL,...`.
const WANTED: &str = "PROCESSION_LOG";

/// Shows from now on what is missing and what is over, or else what [`WANTED`] names.
pub(crate) fn start() -> anyhow::Result<()> {
    let wanted: Targets = match std::env::var(WANTED) {
        Ok(text) => text.parse().with_context(|| format!("cannot read {WANTED}"))?,
        // Other crates repeat at each attempt what Procession says once.
        Err(_) => Targets::new().with_target("procession", Level::INFO),
    };
    let fields = debug_fn(|line, field, value| match field.name() {
        "message" => write!(line, "{value:?}"),
        name => write!(line, "; {}: {value:?}", name.replace('_', " ")),
    });
    let lines = layer().with_writer(io::stderr).with_ansi(false).fmt_fields(fields).event_format(Line);
    // Nothing else in this program sets one.
    let _ = tracing_subscriber::registry().with(wanted).with(lines).try_init();
    Ok(())
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
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        writeln!(line, "procession: {}", Sentence(&text))
    }
}
