//! The command that is run to be watched.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, bounded};
use rustix::process::{Pid, Signal, kill_process};

/// A command at work.
pub(crate) struct Watched {
    pid: Pid,
    ended: Receiver<ExitStatus>,
}

impl Watched {
    /// Starts `command`, its words as they were typed. It shares the terminal with this program.
    pub(crate) fn start(command: &[OsString]) -> anyhow::Result<Option<Self>> {
        let Some((program, arguments)) = command.split_first() else { return Ok(None) };
        let child = Command::new(program).args(arguments).spawn();
        let child = child.with_context(|| format!("cannot run `{}`", program.display()))?;
        let pid = Pid::from_child(&child);
        let (sender, ended) = bounded(1);
        thread::Builder::new()
            .name("child".into())
            .spawn(move || wait(child, &sender))
            .context("cannot start a thread")?;
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
