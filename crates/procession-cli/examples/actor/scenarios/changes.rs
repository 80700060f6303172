//! Processes that change as whom and where they run, without an exec.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use anyhow::{Result, ensure};

use crate::scene::{Diary, Scene};
use crate::sys::{self, Namespace};

/// Needs to have no name.
const USER: u32 = 1000;
const GROUP: u32 = 1001;

/// Capabilities by number: `CAP_SYS_ADMIN`, and `CAP_NET_RAW`.
const SYS_ADMIN: u32 = 21;
const NET_RAW: u32 = 13;

/// The code of a child that did its part.
const DONE: i32 = 6;

fn done(result: io::Result<()>) -> i32 {
    result.map_or(sys::FAILED, |()| DONE)
}

/// Forks a child that changes itself, and waits for its end.
fn child(scene: &mut Scene, part: impl FnOnce(&mut Diary) -> io::Result<()>) -> Result<()> {
    let mut diary = scene.diary()?;
    let pid = scene.fork(|| done(part(&mut diary)))?;
    let status = sys::wait(pid)?;
    scene.changed()?;
    scene.exited(pid, None, status).map(drop)
}

fn change_ids(diary: &mut Diary) -> io::Result<()> {
    sys::drop_groups()?;
    sys::keep_capabilities()?;
    diary.note()?;
    sys::set_groups_of_process(GROUP)?;
    diary.note()?;
    sys::set_users(USER)?;
    diary.note()?;
    let permitted = sys::capabilities()?;
    permitted.only([NET_RAW, SYS_ADMIN]).set()?;
    diary.note()?;
    permitted.only([NET_RAW]).set()?;
    diary.note()
}

/// The parent forks before and after its child changes; it stays what it is.
pub(super) fn ids(scene: &mut Scene) -> Result<()> {
    let mut diary = scene.diary()?;
    let report = scene.board;
    let parent = scene.fork(|| {
        for (slot, is_changing) in report.iter().zip([true, false]) {
            let part = || if is_changing { done(change_ids(&mut diary)) } else { DONE };
            let Ok(pid) = sys::fork(part) else { return sys::FAILED };
            slot.id.store(pid, SeqCst);
            let Ok(status) = sys::wait(pid) else { return sys::FAILED };
            slot.status.store(status, SeqCst);
        }
        DONE
    })?;
    let own = sys::ids();
    // Not yet noted: its children's events come first.
    let status = sys::wait(parent)?;
    for (slot, child) in report.iter().enumerate().take(2) {
        let pid = scene.id_on_board(slot)?;
        scene.forked(pid, parent);
        if slot == 0 {
            scene.changed()?;
        }
        scene.exited(pid, None, child.status.load(SeqCst))?;
    }
    scene.exited_as(parent, own, status)
}

pub(super) fn namespaces(scene: &mut Scene) -> Result<()> {
    child(scene, |diary| {
        let original = [Namespace::Mounts, Namespace::HostName].map(|kind| (kind, kind.open()));
        for kind in [Namespace::HostName, Namespace::Mounts] {
            kind.leave()?;
            diary.note()?;
        }
        for (kind, file) in original {
            kind.enter(&file?)?;
            diary.note()?;
        }
        Ok(())
    })
}

/// In the second child the caller is not the leader: a session is the whole process's all the same.
pub(super) fn session(scene: &mut Scene) -> Result<()> {
    child(scene, |diary| {
        sys::begin_session()?;
        diary.note()?;
        match sys::begin_session() {
            Err(_) => Ok(()),
            Ok(()) => Err(io::Error::other("it led a session already")),
        }
    })?;
    child(scene, |diary| {
        thread::scope(|scope| scope.spawn(sys::begin_session).join())
            .map_err(|_| io::Error::other("panic"))??;
        diary.note()
    })
}

pub(super) fn nothing(scene: &mut Scene) -> Result<()> {
    let own = sys::ids();
    ensure!(own.uid == own.euid && own.gid == own.egid, "the actor runs as one user");
    child(scene, |_| {
        sys::drop_groups()?;
        sys::set_users(own.uid)?;
        sys::set_groups_of_process(own.gid)?;
        sys::set_effective_user(own.euid)?;
        sys::capabilities()?.set()?;
        let kind = Namespace::HostName;
        let here: File = kind.open()?;
        kind.enter(&here)
    })
}

/// The C library would make every thread follow; the calls of `sys` are the kernel's own.
pub(super) fn thread(scene: &mut Scene) -> Result<()> {
    child(scene, |_| {
        let part = || {
            Namespace::HostName.leave()?;
            sys::set_groups_of_process(GROUP)?;
            sys::set_users(USER)
        };
        thread::scope(|scope| scope.spawn(part).join()).map_err(|_| io::Error::other("panic"))?
    })
}

pub(super) fn toggle(scene: &mut Scene) -> Result<()> {
    let own = sys::ids();
    child(scene, |diary| {
        (0..10).flat_map(|_| [USER, own.euid]).try_for_each(|user| {
            sys::set_effective_user(user)?;
            diary.note()
        })
    })
}
