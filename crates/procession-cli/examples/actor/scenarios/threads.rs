//! Processes with several threads: whose end or exec is the process's.
//!
//! All threads are made in a forked child, so that the actor itself never has a second one.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier};
use std::{fs, process, thread};

use anyhow::Result;

use crate::scene::Scene;
use crate::sys;
use crate::threads::hold_threads;

pub(super) fn leader_execs(scene: &mut Scene) -> Result<()> {
    let program = scene.helper(["leader", "helper:exit:3"])?;
    let prepare = || {
        hold_threads(4);
        Ok(())
    };
    scene.perform(&program, prepare).map(drop)
}

pub(super) fn other_execs(scene: &mut Scene) -> Result<()> {
    let mut program = scene.helper(["other", "helper:exit:4"])?;
    let report = &scene.board[0].id;
    let pid = scene.fork(|| {
        hold_threads(3);
        let exec = || {
            report.store(sys::thread(), SeqCst);
            program.run()
        };
        thread::scope(|scope| scope.spawn(exec).join().unwrap_or(sys::FAILED))
    })?;
    let status = sys::wait(pid)?;
    program.truth.tid = Some(scene.id_on_board(0)?);
    scene.executed(pid, &program);
    scene.exited(pid, None, status).map(drop)
}

/// With these codes the leader ends alone, and after it the last thread.
const LEADER_CODE: i32 = 3;
const LAST_CODE: i32 = 5;

/// In one process the last thread ends by exit_group(2), in another by exit(2). Kernels that give
/// every process a group exit code report the last thread's in both; older ones the leader's in the
/// second.
pub(super) fn leader_exits_first(scene: &mut Scene) -> Result<()> {
    for end in [sys::exit_process as fn(i32) -> !, sys::exit_thread] {
        let pid = scene.fork(|| {
            thread::spawn(move || {
                sys::until(leader_is_gone);
                end(LAST_CODE)
            });
            sys::exit_thread(LEADER_CODE)
        })?;
        scene.reap(pid)?;
    }
    Ok(())
}

/// The leader is a zombie, kept for the sake of the process's pid.
fn leader_is_gone() -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", process::id()));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

pub(super) fn exit_race(scene: &mut Scene) -> Result<()> {
    let children = (0..200).map(|index| scene.fork(|| race(index))).collect::<Result<Vec<u32>>>()?;
    children.into_iter().try_for_each(|child| scene.reap(child).map(drop))
}

/// 16 threads, the leader one of them, end at once: in the first of every three processes each by
/// exit(2), in the second each by exit_group(2), in the third half of them by each. Each has its
/// own code; which becomes the process's, only wait(2) can say.
fn race(index: i32) -> i32 {
    const THREADS: usize = 16;
    fn end(index: i32, thread: i32) -> ! {
        let alone = match index % 3 {
            0 => true,
            1 => false,
            _ => thread % 2 == 0,
        };
        let code = 1 + thread;
        if alone { sys::exit_thread(code) } else { sys::exit_process(code) }
    }
    let start = Arc::new(Barrier::new(THREADS));
    for thread in (1..).take(THREADS - 1) {
        let start = Arc::clone(&start);
        thread::spawn(move || {
            start.wait();
            end(index, thread)
        });
    }
    start.wait();
    end(index, 0)
}
