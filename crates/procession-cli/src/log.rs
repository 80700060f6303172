//! What libraries have to say, on standard error and in the form of all that the program says there.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::credentials;
use crate::notice::{self, without_numbers};
use crate::render::Sentence;

/// Which messages are wanted, as `TARGET=LEVEL,...`.
pub(crate) const WANTED: &str = "PROCESSION_LOG";

/// With what the names of our crates begin.
const OURS: &str = "procession";

/// How much is logged: this, and what is more urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// What does not work
    Error,
    /// What is missing
    #[value(alias = "warning")]
    Warn,
    /// What has changed
    #[default]
    Info,
    /// Why
    Debug,
    /// Every step
    Trace,
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

impl Level {
    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Changes what is logged while the program runs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    wanted: reload::Handle<Targets, Registry>,
    /// Whether [`WANTED`] has said it, in more detail than a level.
    is_explicit: bool,
}

impl Control {
    /// The level of our messages. `None`: there are none.
    pub(crate) fn level(&self) -> Option<Level> {
        self.wanted.with_current(level).ok().flatten()
    }

    /// Sets the level, whatever was said before: for who asks the running program.
    pub(crate) fn set_level(&self, level: Level) {
        // It fails only when the subscriber is gone, and with it all messages.
        let _ = self.wanted.reload(targets(level));
    }

    /// Sets the level from a configuration, over which the environment wins.
    pub(crate) fn configure(&self, level: Level) {
        if !self.is_explicit {
            self.set_level(level);
        }
    }
}

/// Other crates repeat at each attempt what Procession says once.
fn targets(level: Level) -> Targets {
    Targets::new().with_target(OURS, level.filter())
}

fn level(targets: &Targets) -> Option<Level> {
    let is_logged = |level: &&Level| {
        let level = level.filter().into_level();
        level.is_some_and(|level| targets.would_enable(OURS, &level))
    };
    Level::value_variants().iter().rev().find(is_logged).copied()
}

/// With what the names of the modules begin that write journals.
const JOURNAL: &str = "procession_agent::journal";

/// Why a recording could not be written, as far as that was logged. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(crate) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What there is to say of a message that a journal could not be written: what it advises is for agents.
    /// `None`: it is another message.
    fn said(&self, event: &Event<'_>) -> Option<String> {
        if !event.metadata().target().starts_with(JOURNAL) {
            return None;
        }
        let mut members = Members::default();
        event.record(&mut members);
        let why = without_numbers(members.fields.get("error")?.as_str()?).into_owned();
        let text = format!("the recording cannot be written ({why}): what happens meanwhile may be missing");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        Some(text)
    }
}

/// Shows from now on what is as urgent as `level`, or else what [`WANTED`] names.
pub(crate) fn start(level: Level, format: Format) -> anyhow::Result<Control> {
    start_as(level, format, None)
}

/// The same of a program that is no agent. Why it could not write a recording is to be had from the result.
pub(crate) fn start_with_recording() -> anyhow::Result<Trouble> {
    let trouble = Trouble::default();
    start_as(Level::Info, Format::Text, Some(trouble.clone()))?;
    Ok(trouble)
}

fn start_as(level: Level, format: Format, trouble: Option<Trouble>) -> anyhow::Result<Control> {
    let explicit: Option<Targets> = match std::env::var(WANTED) {
        Ok(text) => Some(text.parse().with_context(|| format!("cannot read {WANTED}"))?),
        Err(_) => None,
    };
    let is_explicit = explicit.is_some();
    let (filter, wanted) = reload::Layer::new(explicit.unwrap_or_else(|| targets(level)));
    let lines = layer().with_writer(io::stderr).with_ansi(false);
    let lines = match format {
        Format::Text => {
            let fields = debug_fn(|line, field, value| match field.name() {
                "message" => write!(line, "{value:?}"),
                name => write!(line, "; {}: {value:?}", name.replace('_', " ")),
            });
            lines.fmt_fields(fields).event_format(Line { trouble }).boxed()
        }
        Format::Json => lines.event_format(Object).boxed(),
    };
    // Nothing else in this program sets one.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(Control { wanted, is_explicit })
}

/// `procession: the message; field: value`, with the level before the message unless it is `info`.
struct Line {
    /// Where it is noted that a recording could not be written.
    trouble: Option<Trouble>,
}

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
        match self.trouble.as_ref().and_then(|trouble| trouble.said(event)) {
            Some(said) => text = said,
            None => context.format_fields(Writer::new(&mut text), event)?,
        }
        let text = credentials::hidden(&text);
        line.write_str(&notice::shaped(&format!("{}{}", mark(*event.metadata().level()), Sentence(&text))))
    }
}

/// How urgent it is, where that is not as usual.
fn mark(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "error: ",
        tracing::Level::WARN => "warning: ",
        tracing::Level::INFO => "",
        tracing::Level::DEBUG => "debug: ",
        tracing::Level::TRACE => "trace: ",
    }
}

/// `{"time":…,"level":…,"target":…,"message":…,"fields":{…}}`.
struct Object;

impl<S, F> FormatEvent<S, F> for Object
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    F: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, F>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut members = Members::default();
        event.record(&mut members);
        let object = object(&jiff::Timestamp::now().to_string(), event, members);
        writeln!(line, "{}", Visible(&credentials::hidden(&object.to_string())))
    }
}

fn object(time: &str, event: &Event<'_>, members: Members) -> Value {
    let mut object = Map::new();
    object.insert("time".to_owned(), time.into());
    object.insert("level".to_owned(), event.metadata().level().as_str().to_lowercase().into());
    object.insert("target".to_owned(), event.metadata().target().into());
    object.insert("message".to_owned(), members.message.into());
    if !members.fields.is_empty() {
        object.insert("fields".to_owned(), members.fields.into());
    }
    object.into()
}

/// JSON whose strings hold nothing that a terminal would obey.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = [0; 2];
        for c in self.0.chars() {
            if crate::render::is_deceptive(c) {
                for unit in c.encode_utf16(&mut units) {
                    write!(f, "\\u{unit:04x}")?;
                }
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// What a message says.
#[derive(Default)]
struct Members {
    message: String,
    fields: Map<String, Value>,
}

impl Members {
    fn add(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Members {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, value.into()),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.add(field, format!("{value:?}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Where lines go that a test reads.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged_as_json(say: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = layer().with_writer(move || writer.clone()).with_ansi(false).event_format(Object);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), say);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_keeps_types_and_stays_on_a_line() {
        let name = "a\"\n\u{9b}31m\u{202e}\u{e0041}";
        let text = logged_as_json(|| tracing::warn!(count = 3_u64, is_last = true, name, "lost {}", name));
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.trim_end().contains(crate::render::is_deceptive), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "warn");
        assert_eq!(value["target"], module_path!());
        assert_eq!(value["message"], format!("lost {name}"));
        assert_eq!(value["fields"], serde_json::json!({"count": 3, "is_last": true, "name": name}));
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn a_recording_that_cannot_be_written_has_no_advice_for_agents() {
        let (sink, trouble) = (Sink::default(), Trouble::default());
        let writer = sink.clone();
        let line = Line { trouble: Some(trouble.clone()) };
        let lines = layer().with_writer(move || writer.clone()).with_ansi(false).event_format(line);
        let error = io::Error::from_raw_os_error(28);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::warn!(target: "procession_agent::journal::scribe", %error, "set journal-max-size-mb");
            tracing::info!(target: "procession_agent::journal::scribe", "it is written again");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("(No space left on device)") && !text.contains("journal-max"), "{text}");
        assert!(text.contains("procession: warning: the recording"), "{text}");
        assert!(text.contains("\nprocession: it is written again"), "{text}");
        assert_eq!(trouble.why().as_deref(), Some("No space left on device"));
    }

    #[test]
    fn the_level_is_that_of_our_messages() {
        for level in Level::value_variants() {
            assert_eq!(super::level(&targets(*level)), Some(*level));
        }
        for (wanted, shown) in [
            ("procession=debug", Some(Level::Debug)),
            ("trace", Some(Level::Trace)),
            ("procession_kube=trace", None),
            ("off", None),
        ] {
            assert_eq!(super::level(&wanted.parse().unwrap()), shown, "{wanted}");
        }
    }

    #[test]
    fn an_explicit_filter_wins_over_the_configuration_but_not_over_a_request() {
        for (is_explicit, configured) in [(false, Level::Error), (true, Level::Info)] {
            let (filter, wanted) = reload::Layer::new(targets(Level::Info));
            let subscriber = tracing_subscriber::registry().with(filter);
            let control = Control { wanted, is_explicit };
            tracing::subscriber::with_default(subscriber, || {
                control.configure(Level::Error);
                assert_eq!(control.level(), Some(configured));
                control.set_level(Level::Trace);
                assert_eq!(control.level(), Some(Level::Trace));
            });
        }
    }
}
