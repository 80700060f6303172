//! Files that make their program run as somebody else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::Result;

use crate::program::{Program, words};
use crate::scene::Scene;
use crate::sys;
use crate::truth::Ids;

/// Who owns the set-user-id file, and who execs it: neither needs to have a name.
const OWNER: u32 = 1234;
const CALLER: u32 = 4321;

/// To become the caller is two changes; the exec itself is none.
fn run_as_caller(scene: &mut Scene, program: &Program) -> Result<()> {
    let mut diary = scene.diary()?;
    let mut prepare = || {
        sys::drop_groups()?;
        sys::set_groups_of_process(CALLER)?;
        diary.note()?;
        sys::set_users(CALLER)?;
        diary.note()
    };
    let pid = scene.fork(|| prepare().map_or(sys::FAILED, |()| program.run()))?;
    let status = sys::wait(pid)?;
    scene.changed()?;
    scene.executed(pid, program);
    scene.exited(pid, None, status).map(drop)
}

pub(super) fn set_user_and_group(scene: &mut Scene) -> Result<()> {
    let copy = scene.copy("setuid")?;
    // In this order: chown takes the bits away.
    chown(&copy, Some(OWNER), Some(OWNER))?;
    fs::set_permissions(&copy, Permissions::from_mode(0o6755))?;
    let mut program = Program::new(&copy, words(["setuid", "helper:exit:3"])?)?;
    program.truth.ids = Ids { uid: CALLER, euid: OWNER, gid: CALLER, egid: OWNER };
    program.truth.setuid = true;
    program.truth.setgid = true;
    run_as_caller(scene, &program)
}

pub(super) fn set_user_root(scene: &mut Scene) -> Result<()> {
    let copy = scene.copy("setuid-root")?;
    chown(&copy, Some(0), Some(0))?;
    fs::set_permissions(&copy, Permissions::from_mode(0o4755))?;
    let mut program = Program::new(&copy, words(["setuid-root", "helper:exit:4"])?)?;
    program.truth.ids = Ids { uid: CALLER, euid: 0, gid: CALLER, egid: CALLER };
    program.truth.setuid = true;
    run_as_caller(scene, &program)
}
