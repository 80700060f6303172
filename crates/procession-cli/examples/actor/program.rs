//! A program to exec, together with the truth about its exec.

use std::env;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicU8;

use anyhow::{Context, Result};

use crate::sys::{self, Vector};
use crate::truth::{Exec, Hex};

/// What to exec and what an observer must see of it.
pub(crate) struct Program {
    file: Named,
    arguments: Vec<CString>,
    /// The truth, but for the pid. A scenario writes here what it does differently.
    pub(crate) truth: Exec,
}

/// How exec is told the file.
enum Named {
    Path(CString),
    Open(OwnedFd),
}

impl Program {
    /// The program at an absolute path, run as whoever runs this, in the same working directory.
    pub(crate) fn new(binary: &Path, arguments: Vec<CString>) -> Result<Self> {
        let path = text(binary)?;
        Ok(Self {
            file: Named::Path(CString::new(path.clone())?),
            truth: Exec {
                pid: 0,
                tid: None,
                owner: None,
                ns_pid: None,
                named: path.clone(),
                binary: path.clone(),
                executable: path,
                arguments: arguments.iter().map(|argument| hex(argument)).collect(),
                cwd: Some(text(&env::current_dir()?)?),
                cwd_end: None,
                ids: sys::ids(),
                unlinked: false,
                setuid: false,
                setgid: false,
            },
            arguments,
        })
    }

    /// The same, but exec is given the path `named`, relative to `cwd`.
    pub(crate) fn named_from(mut self, cwd: &Path, named: &str) -> Result<Self> {
        self.file = Named::Path(CString::new(named)?);
        named.clone_into(&mut self.truth.named);
        self.truth.cwd = Some(text(cwd)?);
        Ok(self)
    }

    /// The same, but exec is given an open file that has no name (any more).
    pub(crate) fn without_name(mut self, file: OwnedFd) -> Self {
        self.truth.named = format!("/dev/fd/{}", file.as_raw_fd());
        self.truth.binary.clone_from(&self.truth.named);
        self.truth.unlinked = true;
        self.file = Named::Open(file);
        self
    }

    /// The same, but the file is a script: the kernel loads `interpreter` and gives it the line's
    /// argument and the script's name in place of `argv[0]`.
    pub(crate) fn interpreted_by(mut self, interpreter: &Path, argument: &str) -> Result<Self> {
        let interpreter = text(interpreter)?;
        let front = [interpreter.as_str(), argument, self.truth.named.as_str()];
        let front = front.map(|word| Hex(word.as_bytes().to_vec()));
        self.truth.arguments.splice(..1, front);
        self.truth.executable = interpreter;
        Ok(self)
    }

    /// Execs it. It returns only when it failed.
    pub(crate) fn exec(&self) -> io::Error {
        match &self.file {
            Named::Path(path) => sys::exec(path, &self.vector()),
            Named::Open(file) => sys::exec_open(file.as_fd(), &self.vector()),
        }
    }

    /// Execs it, or else returns the code to exit with.
    pub(crate) fn run(&self) -> i32 {
        self.exec();
        sys::FAILED
    }

    /// Starts it with vfork.
    pub(crate) fn vfork(&self) -> Result<u32> {
        self.vfork_after(&|| {})
    }

    /// The same, but the child does something before it execs.
    pub(crate) fn vfork_after(&self, before: &dyn Fn()) -> Result<u32> {
        Ok(sys::vfork_exec_after(self.path()?, &self.vector(), before)?)
    }

    /// Execs it with `memory` as the argument at `index`, or else returns the code to exit with.
    pub(crate) fn run_with(&self, index: usize, memory: &[AtomicU8]) -> i32 {
        if let Ok(path) = self.path() {
            sys::exec(path, &self.vector().with(index, memory));
        }
        sys::FAILED
    }

    /// Starts it with posix_spawn.
    pub(crate) fn spawn(&self) -> Result<u32> {
        Ok(sys::spawn(self.path()?, &self.vector())?)
    }

    fn path(&self) -> Result<&CStr> {
        match &self.file {
            Named::Path(path) => Ok(path),
            Named::Open(_) => anyhow::bail!("an open file is given to execveat alone"),
        }
    }

    fn vector(&self) -> Vector<'_> {
        Vector::new(&self.arguments)
    }
}

/// Bytes that hold no zero as the kernel takes them.
pub(crate) fn words<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Result<Vec<CString>> {
    words.into_iter().map(|word| CString::new(word.as_ref()).context("a zero byte in an argument")).collect()
}

pub(crate) fn hex(word: &CStr) -> Hex {
    Hex(word.to_bytes().to_vec())
}

pub(crate) fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}
