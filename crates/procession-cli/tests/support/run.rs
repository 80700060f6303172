//! The `procession` program, as a person or a script runs it.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// The program with these arguments: it has nothing to read, does not know of what is configured on this
/// machine, and shows times in UTC.
pub(crate) fn procession<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
    command.args(arguments).stdin(Stdio::null()).env("TZ", "UTC");
    let is_own = |name: &OsStr| name.as_encoded_bytes().starts_with(b"PROCESSION_");
    for (name, _) in env::vars_os().filter(|(name, _)| is_own(name)) {
        command.env_remove(name);
    }
    command
}

/// What the program said, and the status with which it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Of the program with these arguments.
    pub(crate) fn with<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::by(&mut procession(arguments))
    }

    pub(crate) fn by(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}
