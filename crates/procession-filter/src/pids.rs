//! Processes that are followed: those with given pids, and their descendants.

use std::collections::{BTreeMap, HashMap, HashSet};

use procession_api::proto::tetragon::{EventType, Process};

use crate::view::View;

/// Most descendants that are followed at a time. What is more makes the oldest forgotten.
const MAX_LIVE: usize = 65_536;

/// How many that ended are remembered: their children may be told of after them.
const MAX_ENDED: usize = 4_096;

/// What a stream has seen of the families of some pids.
///
/// The pids mean the processes that have them now, or next: when one ends, its pid means it no longer,
/// so that whoever gets the number afterwards is not followed. All others are known by their `exec_id`,
/// which no two processes share.
#[derive(Clone, Debug)]
pub(crate) struct PidSet {
    roots: HashSet<u32>,
    live: Recent,
    ended: Recent,
    live_limit: usize,
}

/// A set of ids that knows which was put into it first.
#[derive(Clone, Debug, Default)]
struct Recent {
    ids: HashMap<String, u64>,
    order: BTreeMap<u64, String>,
    next: u64,
}

impl PidSet {
    pub(crate) fn new(pids: &[u32]) -> Self {
        let roots = pids.iter().copied().collect();
        Self { roots, live: Recent::default(), ended: Recent::default(), live_limit: MAX_LIVE }
    }

    /// Takes notice of an event. Says whether it is about one of the family.
    pub(crate) fn follow(&mut self, view: &View<'_>) -> bool {
        let Some(process) = view.process else { return false };
        if !self.has(process) && !self.has_child(process, view.parent) {
            return false;
        }
        if view.kind == Some(EventType::ProcessExit) {
            self.end(process);
        } else if !process.exec_id.is_empty() {
            self.live.insert(&process.exec_id, self.live_limit);
        }
        true
    }

    fn is_root(&self, process: &Process) -> bool {
        process.pid.is_some_and(|pid| self.roots.contains(&pid))
    }

    fn knows(&self, exec_id: &str) -> bool {
        self.live.contains(exec_id) || self.ended.contains(exec_id)
    }

    fn has(&self, process: &Process) -> bool {
        self.is_root(process) || self.knows(&process.exec_id)
    }

    fn has_child(&self, process: &Process, parent: Option<&Process>) -> bool {
        self.knows(&process.parent_exec_id) || parent.is_some_and(|parent| self.has(parent))
    }

    fn end(&mut self, process: &Process) {
        if let Some(pid) = process.pid {
            self.roots.remove(&pid);
        }
        self.live.remove(&process.exec_id);
        if !process.exec_id.is_empty() {
            self.ended.insert(&process.exec_id, MAX_ENDED);
        }
    }
}

impl Recent {
    fn contains(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// Forgets the oldest if there are more than `limit` then.
    fn insert(&mut self, id: &str, limit: usize) {
        if self.contains(id) {
            return;
        }
        self.ids.insert(id.to_owned(), self.next);
        self.order.insert(self.next, id.to_owned());
        self.next += 1;
        if self.ids.len() > limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.ids.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(place) = self.ids.remove(id) {
            self.order.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, exec_id: &str, parent: &str) -> Process {
        let (exec_id, parent_exec_id) = (exec_id.to_owned(), parent.to_owned());
        Process { pid: Some(pid), exec_id, parent_exec_id, ..Process::default() }
    }

    fn follow(set: &mut PidSet, kind: EventType, process: &Process, parent: Option<&Process>) -> bool {
        set.follow(&View::of_process(kind, process, parent))
    }

    #[test]
    fn descendants_are_followed_past_the_end_of_their_parents() {
        use EventType::{ProcessExec, ProcessExit};
        let mut set = PidSet::new(&[10]);
        let (root, child) = (process(10, "r", "init"), process(11, "c", "r"));
        let (late, other) = (process(12, "l", "c"), process(13, "o", "init"));
        assert!(!follow(&mut set, ProcessExec, &other, None));
        assert!(follow(&mut set, ProcessExec, &child, Some(&root)));
        assert!(follow(&mut set, ProcessExit, &child, Some(&root)));
        assert!(follow(&mut set, ProcessExec, &late, None));
        assert!(follow(&mut set, ProcessExit, &root, None));
        assert!(follow(&mut set, ProcessExit, &late, None));
        assert_eq!(set.live.ids.len(), 0);
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        use EventType::{ProcessExec, ProcessExit};
        let mut set = PidSet::new(&[10]);
        let child = process(11, "c", "r");
        assert!(follow(&mut set, ProcessExec, &process(10, "r", "init"), None));
        assert!(follow(&mut set, ProcessExec, &child, None));
        assert!(follow(&mut set, ProcessExit, &child, None));
        assert!(!follow(&mut set, ProcessExec, &process(11, "c2", "init"), None));
        assert!(follow(&mut set, ProcessExit, &process(10, "r", "init"), None));
        assert!(!follow(&mut set, ProcessExec, &process(10, "r2", "init"), None));
        assert!(!follow(&mut set, ProcessExec, &process(14, "x", "r2"), Some(&process(10, "r2", ""))));
    }

    #[test]
    fn memory_is_bounded() {
        let mut set = PidSet { live_limit: 3, ..PidSet::new(&[10]) };
        for pid in 20..20_000 {
            let child = process(pid, &pid.to_string(), "r");
            let root = process(10, "r", "init");
            assert!(follow(&mut set, EventType::ProcessExec, &child, Some(&root)));
            if pid % 2 == 0 {
                follow(&mut set, EventType::ProcessExit, &child, Some(&root));
            }
        }
        for recent in [&set.live, &set.ended] {
            assert_eq!(recent.ids.len(), recent.order.len());
        }
        assert!(set.live.ids.len() <= 3 && set.ended.ids.len() <= MAX_ENDED);
    }

    #[test]
    fn processes_without_id_are_no_family() {
        let mut set = PidSet::new(&[10]);
        assert!(follow(&mut set, EventType::ProcessExec, &process(10, "", ""), None));
        assert!(!follow(&mut set, EventType::ProcessExec, &process(11, "", ""), None));
    }
}
