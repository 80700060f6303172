//! The way to what was recorded: which journal, and what to say when there is none.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::anyhow;
use jiff::tz::TimeZone;
use procession_journal::{Damage, Journal, JournalError, LeftOut, Restored};

use crate::summary;
use crate::when::{When, shown};

/// Where an agent keeps its journal unless it is told otherwise.
pub(crate) const DEFAULT_DIRECTORY: &str = "/var/lib/procession/journal";

/// Says that it is elsewhere.
const DIRECTORY_VARIABLE: &str = "PROCESSION_JOURNAL_DIR";

/// The agent's own journal.
pub(crate) fn default_path() -> PathBuf {
    let set = env::var_os(DIRECTORY_VARIABLE).filter(|value| !value.is_empty());
    set.map_or(DEFAULT_DIRECTORY.into(), PathBuf::from)
}

/// Opens a journal, or says why that does not work and what would.
pub(crate) fn open(path: &Path) -> anyhow::Result<Journal> {
    Journal::open(path).map_err(|error| explained(path, error))
}

/// The same where the journal was the argument, and no option named it.
pub(crate) fn open_named(path: &Path) -> anyhow::Result<Journal> {
    Journal::open(path).map_err(|error| match &error {
        JournalError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            anyhow!("there is no recording {}: `procession record FILE` makes one", path.display())
        }
        _ => explained(path, error),
    })
}

/// Whether a directory has files that look like an agent's.
fn has_files(path: &Path) -> bool {
    let is_one = |name: &Path| name.extension().is_some_and(|extension| extension == "procession");
    path.read_dir().is_ok_and(|entries| entries.flatten().any(|entry| is_one(&entry.path())))
}

fn explained(path: &Path, error: JournalError) -> anyhow::Error {
    let place = path.display();
    match &error {
        JournalError::Io { source, .. } if source.kind() == ErrorKind::NotFound => anyhow!(
            "no journal at {place}: does the agent keep one (`--journal-dir`)? `--journal` names another, \
             `procession record` makes one"
        ),
        JournalError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            anyhow!("no permission to read {place}: a journal is for its owner alone; try `sudo`")
        }
        JournalError::Nothing { .. } if path.is_dir() && !has_files(path) => {
            anyhow!("there is no journal in {place}")
        }
        JournalError::Nothing { .. } if path.is_dir() => {
            anyhow!(
                "nothing is recorded in {place}: the agent that keeps its journal there writes some now and then"
            )
        }
        JournalError::Nothing { .. } => anyhow!(
            "{place} is no recording: there is nothing in it that can be read; `procession import` makes one \
             of JSON lines"
        ),
        _ => error.into(),
    }
}

/// A table as it was, and for when it is told.
pub(crate) struct Asked {
    pub(crate) restored: Restored,
    pub(crate) time: SystemTime,
    /// Whether that is the end of the journal.
    is_end: bool,
    path: PathBuf,
}

impl Asked {
    /// The table at that time, or else at the end of the journal.
    pub(crate) fn of(path: &Path, at: Option<When>) -> anyhow::Result<Self> {
        let journal = open(path)?;
        let (_, last) = journal.span();
        let asked = at.map(When::here_told).transpose()?;
        let inside = asked.filter(|time| *time <= last);
        let restored = match inside {
            Some(time) => journal.at(time),
            None => journal.latest(),
        };
        let restored = restored.map_err(|error| not_then(path, error))?;
        if let Some(time) = asked.filter(|time| *time > last) {
            let zone = TimeZone::system();
            summary::tell(format_args!(
                "nothing is recorded at {}: the journal ends at {}, and that is told",
                shown(time, &zone),
                shown(last, &zone)
            ));
        }
        Ok(Self { restored, time: inside.unwrap_or(last), is_end: inside.is_none(), path: path.into() })
    }

    /// Whether it is told how things were at the end of the journal.
    pub(crate) fn is_end(&self) -> bool {
        self.is_end
    }

    /// The journal.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For when it is told: a line above it.
    pub(crate) fn heading(&self) -> String {
        let when = shown(self.time, &TimeZone::system());
        let end = if self.is_end { ", the end of the journal" } else { "" };
        format!("{} at {when}{end}:", self.restored.recording.node_name)
    }

    /// Says what makes it uncertain.
    pub(crate) fn tell_doubts(&self) {
        let lost = self.restored.table.ledger().lost();
        tell_damage(&self.path, &self.restored.damage);
        tell_left_out(self.restored.names.left_out());
        if lost > 0 {
            summary::tell(format_args!(
                "missing before that time: {}; some processes may not be there, and others have ended",
                summary::count(lost, "event", "events")
            ));
        }
    }
}

/// Says which containers have less of a name than the journal gave them.
pub(crate) fn tell_left_out(left_out: LeftOut) {
    let LeftOut { labels, containers } = left_out;
    if left_out.is_nothing() {
        return;
    }
    let [labels, containers] = [labels, containers].map(|it| summary::count(it, "container", "containers"));
    summary::tell(format_args!(
        "the journal names more containers than there is room for: up to {labels} without labels, and up to \
         {containers} without any name"
    ));
}

fn not_then(path: &Path, error: JournalError) -> anyhow::Error {
    let zone = TimeZone::system();
    let place = path.display();
    match &error {
        JournalError::OutOfRange { first, last } => anyhow!(
            "nothing was recorded then: {place} is from {} to {}",
            shown(*first, &zone),
            shown(*last, &zone)
        ),
        JournalError::NotRecorded { before, after } => anyhow!(
            "nothing was recorded between {} and {}: ask for a time before or after that",
            shown(*before, &zone),
            shown(*after, &zone)
        ),
        _ => explained(path, error),
    }
}

/// Says which parts cannot be read.
pub(crate) fn tell_damage(path: &Path, damage: &[Damage]) {
    // What is being written is torn at its end, and nothing is missing.
    let parts: Vec<_> = damage.iter().filter(|part| !part.is_torn()).collect();
    tell_unreadable(&parts, |part| unreadable(path, part), |part| part.missing());
}

/// Places that are told of one by one.
const MOST_PLACES: usize = 5;

/// Says what cannot be read: of the first few places where, and of all others how much is missing.
pub(crate) fn tell_unreadable<T>(
    parts: &[T],
    told: impl Fn(&T) -> String,
    events: impl Fn(&T) -> Option<u64>,
) {
    let (first, rest) = parts.split_at(parts.len().min(MOST_PLACES));
    for part in first {
        summary::tell(format_args!("{}", told(part)));
    }
    if rest.is_empty() {
        return;
    }
    let missing = rest.iter().filter_map(&events).fold(0, u64::saturating_add);
    let or_more = if rest.iter().all(|part| events(part).is_some()) { "up to" } else { "at least" };
    summary::tell(format_args!(
        "and so on in {}: {or_more} {} missing there",
        summary::count(rest.len() as u64, "more place", "more places"),
        summary::count(missing, "event", "events"),
    ));
}

/// `4096 bytes at 128 of FILE cannot be read (why): up to 12 events are missing`.
pub(crate) fn unreadable(path: &Path, part: &Damage) -> String {
    let place = path.display();
    let Damage { offset, bytes, why, events } = part;
    let missing = match events {
        _ if part.is_repeated() => "nothing is missing for their sake".to_owned(),
        Some(0) => "no event was in them".to_owned(),
        Some(1) => "an event is missing".to_owned(),
        Some(count) => format!("up to {} events are missing", summary::thousands(*count)),
        None => "nobody knows how many events are missing".to_owned(),
    };
    if *bytes == 0 {
        return format!("at {offset} of {place} {why}: {missing}");
    }
    format!("{} bytes at {offset} of {place} cannot be read ({why}): {missing}", summary::thousands(*bytes))
}
