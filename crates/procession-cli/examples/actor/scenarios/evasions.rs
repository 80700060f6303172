//! What somebody may try who does not want to be seen as what it is.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Barrier};
use std::{io, process, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::program::{Program, hex, words};
use crate::scene::Scene;
use crate::sys;
use crate::truth::{Event, Exit, Fork, Status};

/// A script that a script interprets, which the actor interprets.
pub(super) fn script_chain(scene: &mut Scene) -> Result<()> {
    let order = "helper:exit:5 x";
    let interpreter = scene.copy("interpreter")?;
    let write = |name: &str, line: String| -> Result<_> {
        let script = scene.directory.join(name);
        ensure!(line.len() < 256, "the temporary directory's path is too long for a script");
        fs::write(&script, line)?;
        fs::set_permissions(&script, Permissions::from_mode(0o755))?;
        Ok(script)
    };
    let inner = write("inner", format!("#!{} {order}\n", interpreter.display()))?;
    let outer = write("outer", format!("#!{} one\n", inner.display()))?;
    let mut program =
        Program::new(&outer, words(["replaced", "last"])?)?.interpreted_by(&interpreter, order)?;
    let path = |path: &Path| words([path.as_os_str().as_encoded_bytes()]);
    let between = [path(&inner)?, words(["one"])?].concat();
    program.truth.arguments.splice(2..2, between.iter().map(|word| hex(word)));
    scene.perform(&program, || Ok(())).map(drop)
}

/// An exec that fails when there is no way back: nothing has run, and the process is killed.
pub(super) fn no_return(scene: &mut Scene) -> Result<()> {
    let broken = scene.copy("broken")?;
    break_first_segment(&broken)?;
    let program = Program::new(&broken, words(["broken"])?)?;
    let pid = scene.fork(|| sys::limit(libc::RLIMIT_CORE, 0).map_or(sys::FAILED, |()| program.run()))?;
    let status = scene.reap(pid)?;
    ensure!(matches!(status, Status::Signaled { .. }), "it led to {status:?}");
    Ok(())
}

/// Makes an ELF file say that its first segment has more bytes in the file than in memory: the kernel sees
/// that when it has given up the old image.
fn break_first_segment(file: &Path) -> Result<()> {
    const LOAD: u32 = 1;
    let image = fs::read(file)?;
    let number = |at: usize, len: usize| -> Result<u64> {
        let bytes = image.get(at..at + len).context("the file is too short")?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let header = usize::try_from(table + index * size)?;
        if number(header, 4)? == u64::from(LOAD) {
            let in_file = number(header + 32, 8)?;
            let file = OpenOptions::new().write(true).open(file)?;
            return Ok(file.write_all_at(&(in_file - 1).to_le_bytes(), header as u64 + 40)?);
        }
    }
    bail!("the file has no segment")
}

/// A child of vfork execs when its parent has been killed.
pub(super) fn vfork_orphan(scene: &mut Scene) -> Result<()> {
    let actor = scene.actor;
    let report = &scene.board[0].id;
    let mut program = scene.helper(["vforked-orphan", "helper:exit:3"])?;
    program.truth.owner = Some(actor);
    let before = || {
        report.store(process::id(), SeqCst);
        sys::until(|| sys::parent() == actor);
    };
    let parent = scene.fork(|| program.vfork_after(&before).map_or(sys::FAILED, |_| sys::FAILED))?;
    sys::until(|| report.load(SeqCst) != 0);
    sys::kill(parent, libc::SIGKILL)?;
    scene.reap(parent)?;

    let orphan = scene.id_on_board(0)?;
    scene.forked(orphan, parent);
    scene.executed(orphan, &program);
    scene.reap_orphan(orphan).map(drop)
}

/// Two threads, neither the leader, exec at the same moment: one of them wins, the other is killed.
pub(super) fn rival_execs(scene: &mut Scene) -> Result<()> {
    const ROUNDS: usize = 20;
    for _ in 0..ROUNDS {
        let rivals = [scene.helper(["first", "helper:exit:3"])?, scene.helper(["second", "helper:exit:4"])?];
        let board = scene.board;
        let pid = scene.fork(|| {
            let start = Barrier::new(rivals.len());
            let run = |index: usize| {
                board[index].id.store(sys::thread(), SeqCst);
                start.wait();
                rivals[index].run()
            };
            thread::scope(|scope| {
                let other = scope.spawn(|| run(1));
                scope.spawn(|| run(0)).join().unwrap_or(sys::FAILED).max(other.join().unwrap_or(sys::FAILED))
            })
        })?;
        let status = sys::wait(pid)?;
        let Status::Exited { code } = sys::status(status) else { bail!("it was killed") };
        let winner = usize::try_from(code - 3)?;
        let mut program = rivals.into_iter().nth(winner).context("neither of them won")?;
        program.truth.tid = Some(scene.id_on_board(winner)?);
        scene.executed(pid, &program);
        scene.exited(pid, None, status)?;
    }
    Ok(())
}

/// A thread writes over the arguments while another execs with them: what the program got is what counts.
pub(super) fn changing_arguments(scene: &mut Scene) -> Result<()> {
    const ROUNDS: usize = 30;
    for _ in 0..ROUNDS {
        let word = Arc::new(b"helper:exit:3 \0".map(AtomicU8::new));
        let program = scene.helper(["changing", "helper:exit:3 "])?;
        let is_on = Arc::new(AtomicBool::new(false));
        let pid = scene.fork(|| {
            let (digit, is_running) = (Arc::clone(&word), Arc::clone(&is_on));
            thread::spawn(move || {
                for number in (b'3'..b'9').cycle() {
                    digit[12].store(number, SeqCst);
                    is_running.store(true, SeqCst);
                }
            });
            sys::until(|| is_on.load(SeqCst));
            program.run_with(1, &word[..])
        })?;
        let status = sys::wait(pid)?;
        let Status::Exited { code } = sys::status(status) else { bail!("it was killed") };
        let mut program = program;
        program.truth.arguments[1].0[12] = b'0' + u8::try_from(code)?;
        scene.executed(pid, &program);
        scene.exited(pid, None, status)?;
    }
    Ok(())
}

/// A process that is stopped, and killed without ever going on.
pub(super) fn killed_while_stopped(scene: &mut Scene) -> Result<()> {
    let pid = scene.fork(|| sys::stop().map_or(sys::FAILED, |()| sys::FAILED))?;
    sys::wait_for_stop(pid)?;
    sys::kill(pid, libc::SIGKILL)?;
    scene.reap(pid).map(drop)
}

/// The first process of a pid namespace ends, and the kernel kills all others in it.
pub(super) fn namespace_ends(scene: &mut Scene) -> Result<()> {
    let (first, others) = scene.board.split_at(1);
    let (gate, others) = (&first[0], &others[..3]);
    let init = || -> io::Result<i32> {
        for other in others {
            let pid = sys::fork(|| {
                loop {
                    thread::park();
                }
            })?;
            other.status.store(pid.cast_signed(), SeqCst);
        }
        sys::until(|| gate.status.load(SeqCst) != 0);
        Ok(9)
    };
    let mut diary = scene.diary()?;
    let mut outside = || -> io::Result<i32> {
        sys::unshare_pid_namespace()?;
        diary.note()?;
        let pid = sys::fork(|| init().unwrap_or(sys::FAILED))?;
        gate.id.store(pid, SeqCst);
        sys::until(|| others.iter().all(|other| other.status.load(SeqCst) != 0));
        for other in others {
            let inside = other.status.load(SeqCst).cast_unsigned();
            other.id.store(outer_pid(pid, inside)?, SeqCst);
        }
        gate.status.store(1, SeqCst);
        let status = sys::wait(pid)?;
        gate.status.store(status, SeqCst);
        Ok(12)
    };
    let parent = scene.fork(|| outside().unwrap_or(sys::FAILED))?;
    // Not yet noted: its child's events come first.
    let status = sys::wait(parent)?;
    scene.changed()?;
    let init = scene.id_on_board(0)?;
    scene.push(Event::Fork(Fork { pid: init, parent, owner: None, ns_pid: Some(1) }));
    for (slot, other) in others.iter().enumerate() {
        let pid = scene.id_on_board(1 + slot)?;
        let ns_pid = Some(other.status.load(SeqCst).cast_unsigned());
        scene.push(Event::Fork(Fork { pid, parent: init, owner: None, ns_pid }));
        let status = Status::Signaled { signal: libc::SIGKILL, core: false };
        scene.push(Event::Exit(Exit { pid, owner: None, ids: None, status }));
    }
    scene.exited(init, None, gate.status.load(SeqCst))?;
    scene.exited(parent, None, status).map(drop)
}

/// What a child of `parent` is called here that calls itself `inside`.
fn outer_pid(parent: u32, inside: u32) -> io::Result<u32> {
    let field = |status: &str, name: &str| -> Option<Vec<u32>> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().filter_map(|number| number.parse().ok()).collect())
    };
    for entry in fs::read_dir("/proc")? {
        let status = fs::read_to_string(entry?.path().join("status")).unwrap_or_default();
        let pids = field(&status, "NSpid:").unwrap_or_default();
        if field(&status, "PPid:") == Some(vec![parent]) && pids.last() == Some(&inside) {
            return Ok(pids[0]);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Who watches a process as a debugger does is its parent for wait(2) alone.
pub(super) fn traced(scene: &mut Scene) -> Result<()> {
    const WATCHED: i32 = 1;
    const REFUSED: i32 = 2;
    let (is_watched, gate) = (&scene.board[0].status, &scene.board[1].status);
    let program = scene.helper(["watched", "helper:exit:3"])?;
    let watched = scene.fork(|| {
        sys::until(|| is_watched.load(SeqCst) != 0);
        if is_watched.load(SeqCst) == WATCHED { program.run() } else { sys::FAILED }
    })?;
    let tracer = scene.fork(|| {
        let is_traced = sys::trace(watched).is_ok();
        is_watched.store(if is_traced { WATCHED } else { REFUSED }, SeqCst);
        let has_seen_the_end = is_traced && sys::wait(watched).is_ok();
        // Until the watcher has seen the end, the parent does not. Whoever cannot watch keeps nobody waiting.
        gate.store(1, SeqCst);
        if has_seen_the_end { 4 } else { sys::FAILED }
    })?;
    sys::until(|| gate.load(SeqCst) != 0);
    scene.executed(watched, &program);
    scene.reap(watched)?;
    scene.reap(tracer).map(drop)
}
