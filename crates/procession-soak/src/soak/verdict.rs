//! What a run came to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clients::{Asked, Tally};
use crate::kept::Compared;
use crate::plan::{Counts, Kind};

/// How many failures of one check are told word for word.
const TOLD: usize = 8;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// What differs. Empty: all agrees.
    pub(crate) failures: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) checkpoints: u64,
    pub(crate) restarts: u64,
    /// How long the storm blew.
    pub(crate) blown: Duration,
    /// What was done: acts, and what belongs to them.
    pub(crate) acts: u64,
    pub(crate) done: Counts,
    pub(crate) containers: u64,
    /// Of the act that is held: what was begun and is not done.
    pub(crate) held: Counts,
    /// What was told of it.
    pub(crate) told: Counts,
    pub(crate) kinds: BTreeMap<Kind, Counts>,
    pub(crate) missing: Counts,
    pub(crate) found: u64,
    pub(crate) deviations: u64,
    pub(crate) lost: BTreeMap<&'static str, u64>,
    pub(crate) reader: Tally,
    pub(crate) slow: Tally,
    pub(crate) asked: Asked,
    /// Comparisons of live processes.
    pub(crate) compared: u64,
    pub(crate) identities: u64,
    pub(crate) evicted: BTreeMap<&'static str, u64>,
    pub(crate) rotations: u64,
    /// The machine's limit of pids, and how often they came round.
    pub(crate) pid_max: u32,
    pub(crate) pid_rounds: u64,
    pub(crate) journal: Compared,
    /// Of so many bytes that were written, so many are left.
    pub(crate) journal_bytes: (u64, u64),
    pub(crate) export: Compared,
    pub(crate) export_files: u64,
    pub(crate) histories: u64,
    pub(crate) descriptors: (u64, u64),
    pub(crate) threads: (u64, u64),
}

impl Verdict {
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// A check that found these differences.
    pub(crate) fn fail_each(&mut self, check: &str, differences: &[String]) {
        self.failures
            .extend(differences.iter().take(TOLD).map(|difference| format!("{check}: {difference}")));
        if differences.len() > TOLD {
            self.failures.push(format!("{check}: and {} more", differences.len() - TOLD));
        }
    }

    pub(crate) fn fail_unless(&mut self, holds: bool, check: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(check());
        }
    }
}
