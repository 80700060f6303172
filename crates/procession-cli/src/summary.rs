//! What is said on standard error: which source is used, and at the end what was seen.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use procession_agent::{Account, Tally, Unread};
use procession_sensor::{SourceKind, Unusable};

use crate::notice;
use crate::render::duration;

/// Says something on standard error. That nobody can read it there is no reason to stop.
pub(crate) fn tell(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(notice::shaped(&line.to_string()).as_bytes());
}

/// Which source is used, why not a better one, and what is missing with this one.
pub(crate) fn source(kind: SourceKind, passed_over: &[Unusable]) {
    if kind == SourceKind::Ebpf {
        return;
    }
    for unusable in passed_over {
        tell(format_args!("cannot use {unusable}"));
    }
    tell(format_args!("using {kind}: {}", kind.shortcomings()));
}

/// Tells a person that it has begun, though nothing may be shown for a while. `is_selective`: only some of what
/// happens is shown.
pub(crate) fn begun(what: &str, is_selective: bool) {
    if io::stderr().is_terminal() {
        let now = TimeZone::system().to_datetime(Timestamp::now()).strftime("%H:%M:%S").to_string();
        tell(format_args!("{}", begun_line(what, &now, is_selective)));
    }
}

fn begun_line(what: &str, now: &str, is_selective: bool) -> String {
    let shown = if is_selective { ": what the options select is shown when it happens" } else { "" };
    format!("{what} since {now}{shown}; Ctrl-C ends it")
}

/// Events seen and lost, processes now known: one line.
pub(crate) fn account(account: &Account) {
    tell(format_args!("{}", account_line(account)));
}

/// The same, to be said elsewhere.
pub(crate) fn account_line(account: &Account) -> String {
    let ledger = &account.ledger;
    let lost = if account.kernel.is_some() || ledger.lost() > 0 {
        match ledger.lost() {
            0 => "none lost".to_owned(),
            lost => format!("{} lost in the kernel (a larger --ring-size helps)", thousands(lost)),
        }
    } else {
        "losses unknown with this source".to_owned()
    };
    let mut line = format!("{} seen, {lost}", count(ledger.received(), "event", "events"));
    let skipped = skipped(account);
    if skipped > 0 {
        let _ =
            write!(line, " and up to {} more that the kernel did not let the sensor see", thousands(skipped));
    }
    if account.malformed > 0 {
        let _ = write!(line, ", {} unreadable", thousands(account.malformed));
    }
    if account.dropped > 0 {
        let _ = write!(line, ", {} that nobody was told of", thousands(account.dropped));
    }
    if account.told.incomplete > 0 {
        let _ = write!(line, ", {} without the name of their container", thousands(account.told.incomplete));
    }
    if account.told.unplaced > 0 {
        let _ = write!(
            line,
            ", {} not shown because nobody said whose container they were in",
            thousands(account.told.unplaced)
        );
    }
    // Of those whose exit was lost nobody knows.
    let about = if misses_events(account) { "about " } else { "" };
    let running = count(account.live as u64, "process", "processes");
    let _ = write!(line, "; {about}{running} running");
    line
}

/// What is missing in a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// At most so many events.
    events: u64,
    /// And of some part nobody knows how many were in it.
    is_unknown: bool,
    /// Events that were read, but not understood.
    passed_over: u64,
}

impl Missing {
    /// What was in parts that cannot be read, and so many events that were `passed_over`. What a whole file had may
    /// be told of once more, as a hole between its neighbours: so it is at most as many.
    pub(crate) fn of<'u>(unread: impl IntoIterator<Item = &'u Unread>, passed_over: u64) -> Self {
        let none = Self { passed_over, ..Self::default() };
        let parts = unread.into_iter().filter(|part| !part.comes_again());
        parts.fold(none, |missing, part| match part.damage.missing() {
            Some(events) => Self { events: missing.events.saturating_add(events), ..missing },
            // The last bytes of what is being written.
            None => Self { is_unknown: missing.is_unknown || !part.damage.is_torn(), ..missing },
        })
    }

    /// `up to 12 events are missing`, and how many were passed over. `None`: all was shown.
    fn told(self) -> Option<String> {
        let told = [self.told_unread(), passed_over(self.passed_over)];
        let told: Vec<_> = told.into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn told_unread(self) -> Option<String> {
        let are = if self.events == 1 { "is" } else { "are" };
        let events = count(self.events, "event", "events");
        match (self.events, self.is_unknown) {
            (0, false) => None,
            (0, true) => Some("nobody knows how many are missing".to_owned()),
            (_, false) => Some(format!("up to {events} {are} missing")),
            (_, true) => Some(format!("{events} or more {are} missing")),
        }
    }
}

/// `passed over: 2 events of a kind that this version does not know`. `None`: none was.
pub(crate) fn passed_over(events: u64) -> Option<String> {
    let told = |events| format!("passed over: {events} of a kind that this version does not know");
    (events > 0).then(|| told(count(events, "event", "events")))
}

/// What a recording had: one line.
pub(crate) fn replayed(account: &Account, node: &str, missing: &Missing) {
    tell(format_args!("{}", replayed_line(account, node, missing)));
}

fn replayed_line(account: &Account, node: &str, missing: &Missing) -> String {
    let ledger = &account.ledger;
    let lost = match ledger.lost() {
        0 => None,
        lost => Some(format!("{} lost when they were recorded or since", thousands(lost))),
    };
    let all: Vec<_> = lost.into_iter().chain(missing.told()).collect();
    // Of those whose exit is missing nobody knows.
    let about = if all.is_empty() { "" } else { "about " };
    let lost = if all.is_empty() { "none lost".to_owned() } else { all.join(", ") };
    format!(
        "{} recorded on {node}, {lost}; {about}{} running at the end",
        count(ledger.received(), "event", "events"),
        count(account.live as u64, "process", "processes")
    )
}

/// What a recorded command came to: one line.
pub(crate) fn replayed_command(tally: &Tally, missing: &Missing) {
    let missing = missing.told().map(|missing| format!("; {missing}")).unwrap_or_default();
    tell(format_args!("{}{missing}", command_line(tally, None)));
}

/// What a recording has that was just made. Whether all could be written. `why`: why something could not.
pub(crate) fn recorded(account: &Account, path: &Path, bytes: u64, why: Option<&str>) -> bool {
    let counts = account.journal.unwrap_or_default();
    let each = bytes.checked_div(counts.events).unwrap_or_default();
    tell(format_args!(
        "{} in {} bytes, {each} each; {} running at the end",
        count(counts.events, "event", "events"),
        thousands(bytes),
        count(account.live as u64, "process", "processes")
    ));
    // Those that still wait are not written any more.
    let missing = counts.lost_events + counts.waiting_events;
    let is_whole = missing == 0 || (counts.errors == 0 && why.is_none());
    if missing > 0 {
        tell(format_args!("{}", missing_line(missing, why, is_whole)));
    }
    tell(format_args!("to look at it: procession replay {}", path.display()));
    is_whole
}

fn missing_line(missing: u64, why: Option<&str>, was_too_fast: bool) -> String {
    let (events, are) = (count(missing, "event", "events"), if missing == 1 { "is" } else { "are" });
    if was_too_fast {
        let came = if missing == 1 { "it" } else { "they" };
        return format!("{events} {are} missing in it, because {came} came faster than could be written");
    }
    let it = if missing == 1 { "it" } else { "they" };
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("the recording is incomplete: {events} {are} missing because {it} could not be written{why}")
}

/// Whether something is missing from what was shown.
pub(crate) fn is_incomplete(account: &Account) -> bool {
    misses_events(account) || account.told.incomplete > 0 || account.told.unplaced > 0
}

fn misses_events(account: &Account) -> bool {
    account.ledger.lost() > 0 || skipped(account) > 0 || account.malformed > 0 || account.dropped > 0
}

fn skipped(account: &Account) -> u64 {
    account.kernel.map_or(0, |kernel| kernel.skipped)
}

/// What a watched command came to: one line.
pub(crate) fn command(tally: &Tally, elapsed: Duration) {
    tell(format_args!("{}", command_line(tally, Some(elapsed))));
}

fn command_line(tally: &Tally, elapsed: Option<Duration>) -> String {
    let mut line = count(tally.processes, "process", "processes");
    if let Some(elapsed) = elapsed {
        let _ = write!(line, " in {}", duration(elapsed));
    }
    // Programs that were too quick for a source have no name; a chain of none that has says nothing.
    if tally.longest_chain.iter().any(|name| !name.is_empty()) {
        let chain = &tally.longest_chain;
        let _ = write!(line, "; longest chain {}: {}", chain.len(), shorten(chain));
    }
    let _ = write!(line, "; {}", count(tally.failures, "failure", "failures"));
    if tally.unknown_ends > 0 {
        let _ = write!(line, ", and {} of which nobody saw how they ended", thousands(tally.unknown_ends));
    }
    let running = tally.processes.saturating_sub(tally.ended);
    if running > 0 {
        let _ = write!(line, "; {running} still running");
    }
    line
}

/// A chain that is too long to read is shown by its ends. What nobody saw the name of is `?`.
fn shorten(chain: &[String]) -> String {
    const ENDS: usize = 4;
    let chain: Vec<_> = chain.iter().map(|name| if name.is_empty() { "?" } else { name }).collect();
    if chain.len() <= 2 * ENDS {
        return chain.join(" → ");
    }
    let (first, last) = (&chain[..ENDS], &chain[chain.len() - ENDS..]);
    format!("{} → … → {}", first.join(" → "), last.join(" → "))
}

/// `1 process`, `1,234 processes`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `1 event was`, `7 events were`.
pub(crate) fn events_were(number: u64) -> String {
    format!("{} {}", count(number, "event", "events"), if number == 1 { "was" } else { "were" })
}

/// Digits in groups of three: `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!([1, 2_000].map(events_were), ["1 event was", "2,000 events were"]);
    }

    #[test]
    fn what_a_recording_misses_has_its_reason() {
        let full = missing_line(1_200, Some("No space left on device"), false);
        assert!(
            full.contains("1,200 events are missing") && full.contains("(No space left on device)"),
            "{full}"
        );
        assert!(missing_line(1, None, true).contains("1 event is missing in it, because it came faster"));
    }

    #[test]
    fn what_cannot_be_read_is_in_the_account() {
        let account = Account::default();
        let line = |missing| replayed_line(&account, "n1", &missing);
        assert!(line(Missing::default()).contains("none lost; 0"));
        let some = line(Missing { events: 109, ..Missing::default() });
        assert!(
            some.contains("up to 109 events are missing; about") && !some.contains("none lost"),
            "{some}"
        );
        let unknown = |events| line(Missing { events, is_unknown: true, passed_over: 0 });
        assert!(unknown(0).contains("nobody knows how many"));
        assert!(unknown(1).contains("1 event or more is missing"));
        let newer = line(Missing::of(&[], 2));
        assert!(newer.contains("n1, passed over: 2 events of a kind that this version does not know; about"));
        let both = line(Missing { events: 109, is_unknown: false, passed_over: 1 });
        assert!(both.contains("up to 109 events are missing, passed over: 1 event of a kind"), "{both}");
    }

    #[test]
    fn long_chains_show_their_ends() {
        let chain: Vec<_> = (1..=12).map(|n| n.to_string()).collect();
        assert_eq!(shorten(&chain[..3]), "1 → 2 → 3");
        assert_eq!(shorten(&chain), "1 → 2 → 3 → 4 → … → 9 → 10 → 11 → 12");
    }

    #[test]
    fn who_waits_is_told_for_what() {
        assert_eq!(begun_line("watching", "14:03:07", false), "watching since 14:03:07; Ctrl-C ends it");
        let some = begun_line("watching", "14:03:07", true);
        assert!(some.starts_with("watching since 14:03:07: what the options select"), "{some}");
    }

    #[test]
    fn a_chain_without_names_is_not_told() {
        let line = |chain: &[&str]| {
            let longest_chain = chain.iter().map(ToString::to_string).collect();
            command_line(&Tally { processes: 1, ended: 1, longest_chain, ..Tally::default() }, None)
        };
        assert_eq!(line(&[""]), "1 process; 0 failures");
        assert_eq!(line(&[]), "1 process; 0 failures");
        assert_eq!(line(&["sh", "", "ls"]), "1 process; longest chain 3: sh → ? → ls; 0 failures");
    }
}
