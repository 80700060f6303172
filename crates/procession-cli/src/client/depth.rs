//! How deep to draw a process whose events come in a stream.

use std::collections::{HashMap, VecDeque};

use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{GetEventsResponse, Process};

/// Ended programs that are kept, for children whose events come later.
const ENDED: usize = 16_384;

/// The depth of each program that runs, by its id.
#[derive(Debug, Default)]
pub(super) struct Depths {
    depths: HashMap<String, u16>,
    ended: VecDeque<String>,
}

impl Depths {
    /// Of the process of an event: one below its parent, if that was seen.
    pub(super) fn of_event(&mut self, event: &GetEventsResponse) -> u16 {
        match &event.event {
            Some(Event::ProcessExec(exec)) => {
                exec.process.as_ref().map_or(0, |process| self.started(process, exec.parent.as_ref()))
            }
            Some(Event::ProcessExit(exit)) => {
                let Some(process) = &exit.process else { return 0 };
                let depth = self.started(process, exit.parent.as_ref());
                self.end(&process.exec_id);
                depth
            }
            _ => 0,
        }
    }

    /// Remembers a process that already runs.
    pub(super) fn running(&mut self, process: &Process, depth: u16) {
        self.depths.insert(process.exec_id.clone(), depth);
    }

    fn started(&mut self, process: &Process, parent: Option<&Process>) -> u16 {
        if let Some(depth) = self.depths.get(&process.exec_id) {
            return *depth;
        }
        let above = self.depths.get(&process.parent_exec_id).copied().or_else(|| self.forked(parent?));
        // A program that was replaced ran in the same process.
        let is_same = parent.is_some_and(|parent| parent.pid == process.pid);
        let depth = above.map_or(0, |above| if is_same { above } else { above.saturating_add(1) });
        if is_same {
            self.end(&process.parent_exec_id);
        }
        self.depths.insert(process.exec_id.clone(), depth);
        depth
    }

    /// Of a parent that has run nothing of its own, so that no event was about it: a subshell.
    fn forked(&self, parent: &Process) -> Option<u16> {
        self.depths.get(&parent.parent_exec_id).map(|above| above.saturating_add(1))
    }

    fn end(&mut self, exec_id: &str) {
        self.ended.push_back(exec_id.to_owned());
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.depths.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use procession_api::proto::tetragon::{ProcessExec, ProcessExit};

    use super::*;

    fn process(pid: u32, id: &str, parent: &str) -> Process {
        Process {
            exec_id: id.to_owned(),
            parent_exec_id: parent.to_owned(),
            pid: Some(pid),
            ..Process::default()
        }
    }

    fn exec(pid: u32, id: &str, parent_pid: u32, parent: &str) -> GetEventsResponse {
        let exec = ProcessExec {
            process: Some(process(pid, id, parent)),
            parent: Some(process(parent_pid, parent, "")),
            ..ProcessExec::default()
        };
        GetEventsResponse { event: Some(Event::ProcessExec(exec)), ..GetEventsResponse::default() }
    }

    fn exit(pid: u32, id: &str) -> GetEventsResponse {
        let exit = ProcessExit { process: Some(process(pid, id, "")), ..ProcessExit::default() };
        GetEventsResponse { event: Some(Event::ProcessExit(exit)), ..GetEventsResponse::default() }
    }

    #[test]
    fn a_child_is_one_deeper_and_another_program_is_not() {
        let mut depths = Depths::default();
        assert_eq!(depths.of_event(&exec(1, "a", 0, "unseen")), 0);
        assert_eq!(depths.of_event(&exec(2, "b", 1, "a")), 1);
        assert_eq!(depths.of_event(&exec(2, "b2", 2, "b")), 1);
        assert_eq!(depths.of_event(&exec(3, "c", 2, "b2")), 2);
        assert_eq!(depths.of_event(&exit(2, "b2")), 1);
        assert_eq!(depths.of_event(&exec(4, "d", 2, "b2")), 2, "told later than the end of its parent");
    }

    #[test]
    fn a_parent_that_ran_nothing_of_its_own_is_a_level_too() {
        let mut depths = Depths::default();
        depths.of_event(&exec(1, "a", 0, "unseen"));
        let subshell = process(2, "fork", "a");
        let exec = ProcessExec {
            process: Some(process(3, "c", "fork")),
            parent: Some(subshell),
            ..ProcessExec::default()
        };
        let event = Event::ProcessExec(exec);
        let event = GetEventsResponse { event: Some(event), ..GetEventsResponse::default() };
        assert_eq!(depths.of_event(&event), 2);
    }

    #[test]
    fn what_ended_is_forgotten_in_time() {
        let mut depths = Depths::default();
        for n in 0..3 * ENDED {
            depths.of_event(&exec(5, &n.to_string(), 1, "a"));
            depths.of_event(&exit(5, &n.to_string()));
        }
        assert!(depths.depths.len() <= ENDED + 1);
    }
}
