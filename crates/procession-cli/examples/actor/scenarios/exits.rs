//! How a process ends.

use std::env;

use anyhow::{Result, ensure};

use crate::scene::Scene;
use crate::sys;
use crate::truth::Status;

pub(super) fn codes(scene: &mut Scene) -> Result<()> {
    for code in [0, 1, 2, 42, 127, 255] {
        let pid = scene.fork(|| code)?;
        scene.reap(pid)?;
    }
    Ok(())
}

pub(super) fn signals(scene: &mut Scene) -> Result<()> {
    const REAL_TIME: i32 = 40;
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, REAL_TIME] {
        // No core file: `core-dump` is about those.
        let pid =
            scene.fork(|| sys::limit(libc::RLIMIT_CORE, 0).map_or(sys::FAILED, |()| sys::die_by(signal)))?;
        let status = scene.reap(pid)?;
        ensure!(
            matches!(status, Status::Signaled { signal: by, .. } if by == signal),
            "signal {signal} led to {status:?}"
        );
    }
    Ok(())
}

/// Whether there is a core file depends on the hard limit and on `kernel.core_pattern`.
pub(super) fn core_dump(scene: &mut Scene) -> Result<()> {
    let directory = scene.directory.clone();
    let prepare = || {
        env::set_current_dir(directory)?;
        sys::limit(libc::RLIMIT_CORE, u64::MAX)
    };
    let pid = scene.fork(|| prepare().map_or(sys::FAILED, |()| sys::abort()))?;
    scene.reap(pid).map(drop)
}
