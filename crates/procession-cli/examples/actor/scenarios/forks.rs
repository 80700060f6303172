//! Who forks whom, and how.

use std::sync::atomic::Ordering::SeqCst;
use std::{io, process};

use anyhow::Result;

use crate::scene::Scene;
use crate::sys::{self, Slot};
use crate::truth::{Event, Fork};

pub(super) fn chain(scene: &mut Scene) -> Result<()> {
    const DEPTH: usize = 20;
    let links = &scene.board[..DEPTH];
    let first = sys::fork(|| descend(links))?;
    let status = sys::wait(first)?;
    links[0].id.store(first, SeqCst);
    links[0].status.store(status, SeqCst);

    let mut parent = scene.actor;
    for depth in 0..DEPTH {
        let pid = scene.id_on_board(depth)?;
        scene.forked(pid, parent);
        parent = pid;
    }
    for depth in (0..DEPTH).rev() {
        let status = scene.board[depth].status.load(SeqCst);
        scene.exited(scene.id_on_board(depth)?, None, status)?;
    }
    Ok(())
}

/// The first of `links`: forks the others, tells what became of the next, and exits with its own
/// distance from the end of the chain.
fn descend(links: &[Slot]) -> i32 {
    if let [_, rest @ ..] = links
        && let [next, ..] = rest
    {
        let Ok(pid) = sys::fork(|| descend(rest)) else { return sys::FAILED };
        next.id.store(pid, SeqCst);
        let Ok(status) = sys::wait(pid) else { return sys::FAILED };
        next.status.store(status, SeqCst);
    }
    i32::try_from(links.len()).unwrap_or(sys::FAILED)
}

pub(super) fn fan(scene: &mut Scene) -> Result<()> {
    let actor = scene.actor;
    let gate = &scene.board[0].id;
    // No child outlives an actor that gave up.
    let open = || gate.load(SeqCst) != 0 || sys::parent() != actor;
    let wait_and_exit = |code| {
        sys::until(open);
        code
    };
    let children = (0..50).map(|code| scene.fork(|| wait_and_exit(code)));
    let children = children.collect::<Result<Vec<u32>>>()?;
    gate.store(1, SeqCst);
    children.into_iter().try_for_each(|child| scene.reap(child).map(drop))
}

pub(super) fn vfork(scene: &mut Scene) -> Result<()> {
    let program = scene.helper(["vforked", "helper:exit:3"])?;
    let pid = program.vfork()?;
    scene.forked(pid, scene.actor);
    scene.executed(pid, &program);
    scene.reap(pid).map(drop)
}

pub(super) fn posix_spawn(scene: &mut Scene) -> Result<()> {
    let program = scene.helper(["spawned", "helper:exit:4"])?;
    let pid = program.spawn()?;
    scene.forked(pid, scene.actor);
    scene.executed(pid, &program);
    scene.reap(pid).map(drop)
}

pub(super) fn double_fork(scene: &mut Scene) -> Result<()> {
    let actor = scene.actor;
    let report = &scene.board[0].id;
    let mut program = scene.helper(["orphan", "helper:exit:6"])?;
    program.truth.owner = Some(actor);
    let orphan = || {
        sys::until(|| sys::parent() == actor);
        program.run()
    };
    let parent = scene.fork(|| match sys::fork(orphan) {
        Ok(pid) => {
            report.store(pid, SeqCst);
            5
        }
        Err(_) => sys::FAILED,
    })?;
    scene.reap(parent)?;

    let orphan = scene.id_on_board(0)?;
    scene.forked(orphan, parent);
    scene.executed(orphan, &program);
    scene.reap_orphan(orphan).map(drop)
}

pub(super) fn clone_parent(scene: &mut Scene) -> Result<()> {
    let report = &scene.board[0].id;
    let forker = scene.fork(|| match sys::fork_sibling(|| 9) {
        Ok(pid) => {
            report.store(pid, SeqCst);
            8
        }
        Err(_) => sys::FAILED,
    })?;
    scene.reap(forker)?;

    let pid = scene.id_on_board(0)?;
    let owner = Some(scene.actor);
    scene.push(Event::Fork(Fork { pid, parent: forker, owner, ns_pid: None }));
    scene.reap_orphan(pid).map(drop)
}

pub(super) fn unshare_pid(scene: &mut Scene) -> Result<()> {
    let report = &scene.board[0];
    let mut program = scene.helper(["init", "helper:exit:11"])?;
    program.truth.ns_pid = Some(1);
    let init = || if process::id() == 1 { program.run() } else { sys::FAILED };
    let mut diary = scene.diary()?;
    let mut outside = || -> io::Result<i32> {
        sys::unshare_pid_namespace()?;
        diary.note()?;
        let pid = sys::fork(init)?;
        report.id.store(pid, SeqCst);
        report.status.store(sys::wait(pid)?, SeqCst);
        Ok(12)
    };
    let parent = scene.fork(|| outside().unwrap_or(sys::FAILED))?;
    // Not yet noted: its child's events come first.
    let status = sys::wait(parent)?;
    scene.changed()?;

    let pid = scene.id_on_board(0)?;
    scene.push(Event::Fork(Fork { pid, parent, owner: None, ns_pid: Some(1) }));
    scene.executed(pid, &program);
    scene.exited(pid, None, report.status.load(SeqCst))?;
    scene.exited(parent, None, status).map(drop)
}
