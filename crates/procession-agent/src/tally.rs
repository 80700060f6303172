//! Running totals over the processes of a scope.

use procession::{EndKind, FactKind, Origin, ProcessId, Table, text};

/// What a command and its descendants came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Processes that were started.
    pub processes: u64,
    /// Of those, the ones that have ended.
    pub ended: u64,
    /// Of those, the ones that ended by a signal or with a code other than zero.
    pub failures: u64,
    /// The names of the programs in the longest chain of parents and children, oldest first.
    pub longest_chain: Vec<String>,
}

impl Tally {
    /// Takes note of what happened to `id`, whose oldest ancestor in scope descends from `root`.
    pub(crate) fn note(&mut self, table: &Table, root: ProcessId, id: ProcessId, kind: FactKind) {
        match kind {
            FactKind::Fork => self.processes += 1,
            FactKind::Exec => self.note_chain(table, root, id),
            FactKind::Exit { status, .. } => {
                self.ended += 1;
                self.failures += u64::from(status.is_some_and(|status| !status.success()));
                self.note_chain(table, root, id);
                // A process whose fork was missed is known from its end only.
                let unseen = table.process(id).is_some_and(|process| process.origin == Origin::Inferred);
                self.processes += u64::from(unseen);
            }
            FactKind::Running => {}
        }
    }

    fn note_chain(&mut self, table: &Table, root: ProcessId, id: ProcessId) {
        let in_scope = || table.ancestors(id).take_while(|ancestor| !same_process(table, *ancestor, root));
        if in_scope().count() < self.longest_chain.len() {
            return;
        }
        let mut names: Vec<_> = std::iter::once(id).chain(in_scope()).map(|id| name(table, id)).collect();
        names.reverse();
        self.longest_chain = names;
    }
}

fn same_process(table: &Table, one: ProcessId, other: ProcessId) -> bool {
    match (table.process(one), table.process(other)) {
        (Some(one), Some(other)) => one.pid() == other.pid() && one.began == other.began,
        _ => false,
    }
}

/// The last part of the path of the program that `id` runs, or ran last.
fn name(table: &Table, id: ProcessId) -> String {
    let process = table.process(id);
    let ended = process
        .as_ref()
        .is_some_and(|process| matches!(process.end, Some(end) if end.how == EndKind::Replaced));
    let process =
        if ended { table.current_image(id).and_then(|id| table.process(id)).or(process) } else { process };
    let binary = process.as_ref().map_or(&b""[..], |process| process.binary());
    let base = binary.rsplit(|byte| *byte == b'/').next().unwrap_or(binary);
    text::to_valid_utf8(base).into_owned()
}
