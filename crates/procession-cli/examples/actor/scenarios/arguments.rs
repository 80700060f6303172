//! Argument vectors of every size and kind.

use std::{io, iter};

use anyhow::{Result, bail};

use crate::program::{Program, hex, words};
use crate::scene::Scene;
use crate::sys;
use crate::truth::Status;

/// The kernel allows arguments a quarter of the stack: 2 MiB of this, the usual one.
const USUAL_STACK: u64 = 8 << 20;

fn usual_stack() -> io::Result<()> {
    sys::limit(libc::RLIMIT_STACK, USUAL_STACK)
}

/// The helper with `count` more arguments of `length` bytes, each of another letter. One argument
/// must be shorter than 128 KiB.
fn helper_with(scene: &Scene, count: u8, length: usize) -> Result<Program> {
    let front = ["large", "helper:exit:3"].map(|word| word.as_bytes().to_vec());
    scene.helper(front.into_iter().chain((0..count).map(|index| vec![b'0' + index; length])))
}

pub(super) fn refused(scene: &mut Scene) -> Result<()> {
    let program = helper_with(scene, 50, 100_000)?;
    let pid = scene.fork(|| match usual_stack().map(|()| program.exec().raw_os_error()) {
        Ok(Some(libc::E2BIG)) => 2,
        _ => sys::FAILED,
    })?;
    scene.reap(pid).map(drop)
}

pub(super) fn hundred_kilobytes(scene: &mut Scene) -> Result<()> {
    let program = helper_with(scene, 4, 25_000)?;
    scene.perform(&program, usual_stack).map(drop)
}

pub(super) fn one_mebibyte(scene: &mut Scene) -> Result<()> {
    let program = helper_with(scene, 10, (1 << 20) / 10)?;
    scene.perform(&program, usual_stack).map(drop)
}

pub(super) fn empty(scene: &mut Scene) -> Result<()> {
    let program = scene.helper(["", "helper:exit:3", "", "between", "", ""])?;
    scene.perform(&program, || Ok(()))?;

    // Newer kernels (5.18) give a program without arguments one empty argument. Only the program
    // itself can tell: it exits with the number that it received.
    let mut program = Program::new(&scene.exe, Vec::new())?;
    let pid = scene.fork(|| program.run())?;
    let raw = sys::wait(pid)?;
    let Status::Exited { code: received @ 0..=1 } = sys::status(raw) else {
        bail!("a program without arguments ended with {raw:#x}");
    };
    program.truth.arguments.extend(iter::repeat_n(hex(c""), usize::try_from(received)?));
    scene.executed(pid, &program);
    scene.exited(pid, None, raw).map(drop)
}

pub(super) fn odd(scene: &mut Scene) -> Result<()> {
    let arguments: [&[u8]; 14] = [
        b"odd name",
        b"helper:exit:4",
        b" ",
        b"  two  spaces  ",
        b"tab\tnewline\nreturn\r",
        b"\n",
        b"'single' \"double\" `back`",
        b"back\\slash \\n \\x41",
        b"\x1b[31mred\x1b[0m\x07\x08",
        b"\xff\xfe\x80",
        b"cut \xe2\x82",
        "zażółć 進程 \u{1f980}".as_bytes(),
        b"$HOME *?[] {} ; | & < > # ! %s",
        b"\x01\x7f\xc2\x85",
    ];
    let program = Program::new(&scene.exe, words(arguments)?)?;
    scene.perform(&program, || Ok(())).map(drop)
}
