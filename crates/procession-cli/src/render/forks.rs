//! Forks that a tree has to show: of processes that ran nothing of their own, but started what did.
//!
//! Without them what a subshell runs would stand a level too deep, below nothing.

use std::collections::HashSet;

use procession::{BootTime, Fact, FactKind, Origin, Pid, Process};
use procession_agent::Told;

/// Forks that are remembered. Who makes more sees some of them twice.
const MOST: usize = 16_384;

/// Which forks have a line.
#[derive(Debug, Default)]
pub(super) struct Forks(HashSet<(Pid, BootTime)>);

impl Forks {
    /// The fork of the parent of what is told, if that has run nothing of its own and has no line yet.
    pub(super) fn above(&mut self, told: &Told) -> Option<Told> {
        let Fact { kind, process, depth, .. } = &told.fact;
        if matches!(kind, FactKind::Exit { .. }) {
            self.0.remove(&name_of(process));
        }
        let parent = told.fact.parent().filter(|parent| parent.origin == Origin::Fork)?;
        let is_other = name_of(parent) != name_of(process);
        let depth = depth.checked_sub(1).filter(|_| is_other)?;
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let is_news = self.0.insert(name_of(parent));
        is_news.then(|| Told { fact: fork_of(parent, &told.fact, depth), ..told.clone() })
    }
}

fn name_of(process: &Process) -> (Pid, BootTime) {
    (process.pid(), process.began)
}

fn fork_of(parent: &Process, of: &Fact, depth: u16) -> Fact {
    Fact {
        sequence: of.sequence,
        time: parent.began,
        kind: FactKind::Fork,
        process: parent.clone(),
        lineage: Vec::new(),
        depth,
    }
}
