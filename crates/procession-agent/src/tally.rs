//! Running totals over the processes of a scope.

use procession::{Entry, FactKind, Handle, Origin, ProcessId, Table, text};

/// What a command and its descendants came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Processes that were started.
    pub processes: u64,
    /// Of those, the ones that have ended.
    pub ended: u64,
    /// Of those, the ones that ended by a signal or with a code other than zero.
    pub failures: u64,
    /// Of those that ended, the ones of which nobody saw how.
    pub unknown_ends: u64,
    /// The names of the programs in the longest chain of parents and children, oldest first.
    pub longest_chain: Vec<String>,
}

/// A [`Tally`] in the making.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    tally: Tally,
    /// The process at the end of the longest chain, kept in the table until the chain is named.
    deepest: Option<(u16, ProcessId, Handle)>,
}

impl Counter {
    /// Takes note of what happened to `id`.
    pub(crate) fn note(&mut self, table: &mut Table, id: ProcessId, kind: FactKind) {
        match kind {
            FactKind::Fork | FactKind::Running => self.tally.processes += 1,
            FactKind::Exec | FactKind::Change => {}
            FactKind::Exit { status, .. } => {
                self.tally.ended += 1;
                self.tally.failures += u64::from(status.is_some_and(|status| !status.success()));
                self.tally.unknown_ends += u64::from(status.is_none());
                // A process whose fork was missed is known from its end only.
                let is_unseen = table.entry(id).is_some_and(|entry| entry.origin() == Origin::Inferred);
                self.tally.processes += u64::from(is_unseen);
            }
        }
        let depth = table.entry(id).map_or(0, Entry::depth);
        let is_deepest = self.deepest.as_ref().is_none_or(|(deepest, ..)| depth > *deepest);
        // A fork goes on to run something else, which is what the chain should name.
        if kind != FactKind::Fork && is_deepest {
            self.deepest = table.hold(id).map(|handle| (depth, id, handle));
        }
    }

    /// The totals so far.
    pub(crate) fn tally(&self, table: &Table) -> Tally {
        let mut chain = Vec::new();
        if let Some((depth, id, _)) = self.deepest
            && let Some(deepest) = table.entry(id)
        {
            let ancestors = deepest.ancestors().take(usize::from(depth));
            chain.extend(std::iter::once(deepest).chain(ancestors).map(name));
            chain.reverse();
        }
        Tally { longest_chain: chain, ..self.tally.clone() }
    }
}

/// The last part of the path of the program that the process runs, or ran last.
fn name(entry: Entry<'_>) -> String {
    let binary = entry.current().unwrap_or(entry).binary();
    let base = binary.rsplit(|byte| *byte == b'/').next().unwrap_or(binary);
    text::to_valid_utf8(base).into_owned()
}
