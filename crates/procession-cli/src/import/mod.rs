//! `procession import`: from the lines of an export to a journal.
//!
//! ```text
//! lines ──▶ translate ──▶ draft, a journal in a file without a name ──▶ journal
//!               └──▶ what comes before events that speak of it ─────────┘
//! ```
//!
//! It takes two passes because the last line may tell of what was there before the first.

mod arguments;
mod compose;
mod described;
mod draft;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod translate;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use crossbeam_channel::RecvTimeoutError;
use procession_api::dynamic::{self, EVENT, NotAMessage, Unknown};
use procession_api::proto::tetragon::GetEventsResponse;

use crate::args::ImportArgs;
use crate::client::input;
use crate::signals::{INTERRUPTED, Signals};
use crate::summary::{self, thousands};
use crate::target::{refuse_same_file, refuse_what_is_there};
use crate::watch::TICK;

use draft::Draft;
use translate::{Taken, Translator};

/// Bad lines that are told of one by one.
const TOLD_LINES: u64 = 5;

/// Characters of a bad line that are shown.
const BEGINNING: usize = 40;

/// Nodes that are named when there are several.
const NAMED_NODES: usize = 10;

/// How often it is told how far it is.
const PROGRESS: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    refuse_what_is_there(&args.to, args.force)?;
    refuse_same_file(&args.input, &args.to)?;
    let signals = Signals::catch()?;
    let name = if args.input == Path::new("-") {
        "standard input".to_owned()
    } else {
        args.input.display().to_string()
    };
    let lines = input::open(&args.input).with_context(|| format!("cannot read {name}"))?;
    let mut reading = Reading {
        translator: Translator::new(args.node.clone()),
        draft: Draft::new(&args.to)?,
        counts: Counts::default(),
        name,
        told: Instant::now(),
        is_terminal: io::stderr().is_terminal(),
    };
    while !signals.is_any() {
        match lines.recv_timeout(TICK) {
            Ok(line) => reading.line(&line.with_context(|| format!("cannot read {}", reading.name))?)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return reading.finish(args),
        }
    }
    reading.end_progress();
    Ok(ExitCode::from(INTERRUPTED))
}

#[derive(Default)]
struct Counts {
    lines: u64,
    bad: u64,
    other_kinds: u64,
    other_nodes: u64,
}

/// The first pass.
struct Reading {
    translator: Translator,
    draft: Draft,
    counts: Counts,
    name: String,
    told: Instant,
    is_terminal: bool,
}

impl Reading {
    fn line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.counts.lines += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        match self.translate(line) {
            Ok(Taken::Told) => {}
            Ok(Taken::OtherKind) => self.counts.other_kinds += 1,
            Ok(Taken::OtherNode) => self.counts.other_nodes += 1,
            Err(why) => self.refuse(line, &why),
        }
        if let Some(clock) = self.translator.clock() {
            self.draft.write_if_full(clock)?;
        }
        self.tell_progress();
        Ok(())
    }

    fn translate(&mut self, line: &[u8]) -> Result<Taken, String> {
        translate(line, &mut self.translator, &mut self.draft)
    }

    /// Says why a line is left out, of the first few.
    fn refuse(&mut self, line: &[u8], why: &str) {
        self.counts.bad += 1;
        if self.counts.bad <= TOLD_LINES {
            self.end_progress();
            let (name, number) = (&self.name, thousands(self.counts.lines));
            let begins = beginning(line);
            summary::tell(format_args!(
                "line {number} of {name} is left out: {why}; it begins with `{begins}`"
            ));
        }
    }

    fn tell_progress(&mut self) {
        if !self.is_terminal || self.told.elapsed() < PROGRESS {
            return;
        }
        self.told = Instant::now();
        let (lines, events) = (thousands(self.counts.lines), thousands(self.draft.events()));
        // Who cannot read it misses nothing.
        let _ = write!(io::stderr(), "\r\x1b[Kimporting: {lines} lines, {events} events");
    }

    fn end_progress(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// The second pass, and what came of both.
    fn finish(self, args: &ImportArgs) -> anyhow::Result<ExitCode> {
        self.end_progress();
        let Self { translator, draft, counts, name, .. } = self;
        if args.node.is_none() && !translator.others().is_empty() {
            bail!("{}", several(&name, translator.node(), translator.others()));
        }
        let Some(whole) = translator.finish() else {
            bail!("{}", nothing(&name, args.node.as_deref(), &counts));
        };
        let composed = compose::compose(draft, &whole, &args.to, args.force)?;
        tell(&counts);
        summary::tell(format_args!(
            "{} of {} in {} bytes, {} running at the end",
            summary::count(composed.events, "event", "events"),
            whole.node,
            thousands(composed.bytes),
            summary::count(composed.live as u64, "process", "processes")
        ));
        summary::tell(format_args!("to look at it: procession tree --ended --journal {}", args.to.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Puts what a line tells into the draft.
fn translate(line: &[u8], translator: &mut Translator, draft: &mut Draft) -> Result<Taken, String> {
    let text = str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let event: GetEventsResponse =
        dynamic::parse_json(EVENT, text, Unknown::Ignore).map_err(|error| no_event(&error))?;
    translator.take(&event, &mut |event| draft.push(event)).map_err(|refusal| refusal.to_string())
}

/// What is wrong with a line that is to be an event, in the words of who reads it.
fn no_event(error: &NotAMessage) -> String {
    // Of a text of one line it says "at line 1 column 7".
    let why =
        error.source().map(|why| why.to_string().replace(" line 1 column ", " column ")).unwrap_or_default();
    format!("it is no event as agents export them, a JSON object such as {{\"process_exec\":{{…}}}} ({why})")
}

/// Enough of a line to find it by.
fn beginning(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.trim_ascii());
    match text.char_indices().nth(BEGINNING) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

fn tell(counts: &Counts) {
    for (count, what) in [
        (counts.bad, "lines that could not be taken"),
        (counts.other_nodes, "events of other nodes"),
        (counts.other_kinds, "events that start or end no process"),
    ] {
        if count > 0 {
            summary::tell(format_args!("left out: {} {what}", thousands(count)));
        }
    }
}

/// Names a few of the nodes, those with the most events first.
fn several(name: &str, first: Option<&str>, others: &BTreeMap<String, u64>) -> String {
    let mut nodes: Vec<_> = others.iter().map(|(node, count)| (*count, node.as_str())).collect();
    nodes.sort_by_key(|(count, node)| (std::cmp::Reverse(*count), *node));
    let named = first.into_iter().chain(nodes.iter().map(|(_, node)| *node)).take(NAMED_NODES);
    let named: Vec<_> = named.map(|node| format!("`{node}`")).collect();
    let more = if others.len() < NAMED_NODES { "" } else { " and more" };
    format!(
        "the events of {name} name several nodes: {}{more}; `--node NAME` takes those of one, and each gets a \
         recording of its own",
        named.join(", ")
    )
}

fn nothing(name: &str, node: Option<&str>, counts: &Counts) -> String {
    match node {
        Some(node) if counts.other_nodes > 0 => {
            format!("there is no event of the node `{node}` in {name}, but {} of others", counts.other_nodes)
        }
        _ => format!(
            "there is no event in {name} that tells of a process; it is to have a JSON object in each line"
        ),
    }
}

#[cfg(test)]
mod tests;
