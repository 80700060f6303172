//! A process and all that descends from it.

use std::cmp::Reverse;
use std::collections::HashMap;

use futures_util::StreamExt as _;
use procession_api::proto::procession::v1::GetTreeResponse;
use tonic::Status;

use super::super::bound::Shared;
use super::super::feed::Streamed;
use super::super::scan::{Identity, Row, rows};
use super::super::turns::{drained, worked_out};
use super::list::seen_in_chunks;
use super::target::Target;

pub(super) async fn tree(
    shared: &Shared,
    root: Option<Target>,
    with_ended: bool,
) -> Result<Streamed<GetTreeResponse>, Status> {
    let Shared { node, turns, .. } = shared;
    let place = turns.place().await?;
    let asking = node.clone();
    let noted = turns.ask(node, place.clone(), move |view| {
        let root = root.map(|root| root.find(view.table, &asking)).transpose()?;
        Ok::<_, Status>((root.map(Identity::of), rows(view.table)))
    });
    let (root, rows) = noted.await??;
    let ordered = worked_out(move || order(rows, root, with_ended)).await?;
    let told = seen_in_chunks(node.clone(), ordered, 0)
        .map(|seen| seen.map(|(level, seen)| Some(GetTreeResponse { process: Some(seen.process), level })));
    Ok(drained(told, place, shared.config.read_timeout))
}

/// The processes below `root`, or below all that have no parent, each after its parent and with its
/// level. Without the ended ones, their children stand with the nearest that lives.
fn order(rows: Vec<Row>, root: Option<Identity>, with_ended: bool) -> Vec<(Row, u32)> {
    let processes = processes(rows);
    let is_shown =
        |row: &Row| row.is_running() || with_ended || root.is_some_and(|root| row.identity() == root);
    // Who stands for a process: itself, or the nearest ancestor that is shown.
    let mut stands_for: HashMap<Identity, usize> = HashMap::new();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); processes.len()];
    let mut tops = Vec::new();
    for (place, row) in processes.iter().enumerate() {
        // The parent began before, so it has been looked at.
        let above = row.parent.and_then(|parent| stands_for.get(&parent).copied());
        let stands = if is_shown(row) { Some(place) } else { above };
        if let Some(stands) = stands {
            stands_for.insert(row.identity(), stands);
        }
        match above {
            _ if !is_shown(row) => {}
            Some(above) => children[above].push(place),
            None => tops.push(place),
        }
    }
    if let Some(root) = root {
        tops = processes.iter().position(|row| row.identity() == root).into_iter().collect();
    }
    let mut ordered = Vec::with_capacity(processes.len());
    let mut waiting: Vec<(usize, u32)> = tops.into_iter().rev().map(|place| (place, 0)).collect();
    while let Some((place, level)) = waiting.pop() {
        ordered.push((processes[place], level));
        waiting.extend(children[place].iter().rev().map(|child| (*child, level + 1)));
    }
    ordered
}

/// Of each process its last image, in the order in which they began.
fn processes(mut rows: Vec<Row>) -> Vec<Row> {
    // Of each process the last image first: it is the one that is kept.
    rows.sort_unstable_by_key(|row| (row.identity(), Reverse((row.is_last(), row.key.start))));
    rows.dedup_by_key(|row| row.identity());
    rows.sort_unstable_by_key(Row::rank);
    rows
}

#[cfg(test)]
mod tests {
    use procession::{
        BootTime, Event, EventKind, Exec, Exit, Fork, Pid, ProcessKey, Running, Subject, Table,
    };

    use super::*;

    fn key(pid: u32) -> ProcessKey {
        ProcessKey::new(Pid(pid), BootTime::from_ticks(pid.into()))
    }

    fn subject(pid: u32) -> Subject {
        Subject::exact(key(pid), key(pid).start)
    }

    fn table(events: impl IntoIterator<Item = EventKind<'static>>) -> Table {
        let mut table = Table::default();
        for kind in events {
            let _ = table.apply(&Event { time: BootTime::from_ticks(10_000), kind });
        }
        table
    }

    fn running(pid: u32) -> EventKind<'static> {
        EventKind::Running(Running { process: subject(pid), ..Running::default() })
    }

    fn fork(parent: u32, child: u32) -> EventKind<'static> {
        EventKind::Fork(Fork { child: subject(child), parent: key(parent).into(), ..Fork::default() })
    }

    fn exec(pid: u32, start: u64) -> EventKind<'static> {
        let image = ProcessKey::new(Pid(pid), BootTime::from_ticks(start));
        let process = Subject::exact(image, key(pid).start);
        EventKind::Exec(Exec { process, ..Exec::default() })
    }

    fn exit(pid: u32) -> EventKind<'static> {
        EventKind::Exit(Exit { process: subject(pid), ..Exit::default() })
    }

    fn ordered(table: &Table, root: Option<u32>, with_ended: bool) -> Vec<(u32, u32)> {
        let root = root.map(|pid| Identity::of(table.entries().find(|e| e.key().pid.0 == pid).unwrap()));
        let ordered = order(rows(table), root, with_ended);
        ordered.into_iter().map(|(row, level)| (row.key.pid.0, level)).collect()
    }

    #[test]
    fn parents_come_first_and_the_living_stand_with_the_nearest_that_lives() {
        let table = table([
            running(1),
            fork(1, 10),
            fork(10, 11),
            fork(11, 12),
            exit(11),
            fork(1, 20),
            exec(20, 500),
            fork(20, 21),
            exit(21),
        ]);
        assert_eq!(ordered(&table, None, false), [(1, 0), (10, 1), (12, 2), (20, 1)]);
        let all = [(1, 0), (10, 1), (11, 2), (12, 3), (20, 1), (21, 2)];
        assert_eq!(ordered(&table, None, true), all);
        assert_eq!(ordered(&table, Some(10), false), [(10, 0), (12, 1)]);
        assert_eq!(ordered(&table, Some(11), false), [(11, 0), (12, 1)], "who is asked for is shown");
    }

    #[test]
    fn a_process_is_told_once_whatever_it_ran() {
        let table = table([running(1), exec(1, 300), fork(1, 5), exec(5, 400), exec(5, 500), exec(1, 600)]);
        assert_eq!(ordered(&table, None, true), [(1, 0), (5, 1)]);
        assert_eq!(ordered(&table, None, false), [(1, 0), (5, 1)]);
    }

    #[test]
    fn a_long_chain_is_no_recursion() {
        let forks = (1..20_000).map(|pid| fork(pid, pid + 1));
        let table = table(std::iter::once(running(1)).chain(forks));
        let ordered = ordered(&table, None, false);
        assert_eq!(ordered.len(), 20_000);
        assert_eq!(ordered.last(), Some(&(20_000, 19_999)));
    }
}
