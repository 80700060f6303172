//! What is said on standard error: which source is used, and at the end what was seen.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use procession_agent::{Account, Tally};
use procession_sensor::{SourceKind, Unusable};

use crate::render::duration;

/// Says one line on standard error. That nobody can read it there is no reason to stop.
pub(crate) fn tell(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "procession: {line}");
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
    let mut line = format!("{} events seen, {lost}", thousands(ledger.received()));
    let skipped = skipped(account);
    if skipped > 0 {
        let _ =
            write!(line, " and up to {} more that the kernel did not let the sensor see", thousands(skipped));
    }
    if account.malformed > 0 {
        let _ = write!(line, ", {} unreadable", thousands(account.malformed));
    }
    if account.dropped > 0 {
        let _ = write!(line, ", {} not shown because the output was too slow", thousands(account.dropped));
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
    let _ = write!(line, "; {about}{} processes running", thousands(account.live as u64));
    line
}

/// What a recording had: one line.
pub(crate) fn replayed(account: &Account, node: &str) {
    let ledger = &account.ledger;
    let lost = match ledger.lost() {
        0 => "none lost".to_owned(),
        lost => format!("{} lost when they were recorded or since", thousands(lost)),
    };
    tell(format_args!(
        "{} recorded on {node}, {lost}; {} running at the end",
        count(ledger.received(), "event", "events"),
        count(account.live as u64, "process", "processes")
    ));
}

/// What a recorded command came to: one line.
pub(crate) fn replayed_command(tally: &Tally) {
    tell(format_args!("{}", command_line(tally, None)));
}

/// What a recording has that was just made: two lines.
pub(crate) fn recorded(account: &Account, path: &Path, bytes: u64) {
    let counts = account.journal.unwrap_or_default();
    let each = bytes.checked_div(counts.events).unwrap_or_default();
    tell(format_args!(
        "{} in {} bytes, {each} each; {} running at the end",
        count(counts.events, "event", "events"),
        thousands(bytes),
        count(account.live as u64, "process", "processes")
    ));
    if counts.lost_events > 0 {
        tell(format_args!(
            "{} events are missing in it, because they came faster than they could be written",
            thousands(counts.lost_events)
        ));
    }
    tell(format_args!("to look at it: procession replay {}", path.display()));
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
    if !tally.longest_chain.is_empty() {
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

/// A chain that is too long to read is shown by its ends.
fn shorten(chain: &[String]) -> String {
    const ENDS: usize = 4;
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
    }

    #[test]
    fn long_chains_show_their_ends() {
        let chain: Vec<_> = (1..=12).map(|n| n.to_string()).collect();
        assert_eq!(shorten(&chain[..3]), "1 → 2 → 3");
        assert_eq!(shorten(&chain), "1 → 2 → 3 → 4 → … → 9 → 10 → 11 → 12");
    }
}
