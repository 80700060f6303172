//! The command that is run to be watched.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::{io, thread};

use crossbeam_channel::{Receiver, bounded};
use rustix::process::{Pid, Signal, kill_process};

use crate::summary;

/// A command at work.
pub(crate) struct Watched {
    pid: Pid,
    ended: Receiver<ExitStatus>,
}

impl Watched {
    /// Starts `command`, its words as they were typed. It shares the terminal with this program.
    pub(crate) fn start(command: &[OsString]) -> Result<Option<Self>, CannotRun> {
        let Some((program, arguments)) = command.split_first() else { return Ok(None) };
        let cannot_run = |error| CannotRun { program: program.clone(), error };
        let child = Command::new(program).args(arguments).spawn().map_err(cannot_run)?;
        let pid = Pid::from_child(&child);
        let (sender, ended) = bounded(1);
        let waiter = thread::Builder::new().name("child".into());
        waiter.spawn(move || wait(child, &sender)).map_err(cannot_run)?;
        Ok(Some(Self { pid, ended }))
    }

    /// Where its status comes out when it has ended.
    pub(crate) fn ended(&self) -> &Receiver<ExitStatus> {
        &self.ended
    }

    /// Passes on that this program was asked to terminate.
    pub(crate) fn terminate(&self) {
        // It may have ended in this moment; then there is nobody to tell.
        let _ = kill_process(self.pid, Signal::TERM);
    }
}

/// A command that cannot be run.
pub(crate) struct CannotRun {
    program: OsString,
    error: io::Error,
}

impl CannotRun {
    /// Says why, and gives the status that a shell would give.
    pub(crate) fn tell(&self) -> ExitCode {
        summary::tell(format_args!("cannot run `{}`: {}", self.program.display(), self.error));
        ExitCode::from(if self.error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
    }
}

fn wait(mut child: Child, ended: &crossbeam_channel::Sender<ExitStatus>) {
    if let Ok(status) = child.wait() {
        let _ = ended.send(status);
    }
}

/// The status a shell would give: the command's own, or 128 and the signal that ended it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
