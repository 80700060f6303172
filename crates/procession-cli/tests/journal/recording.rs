//! What the program records, and what it says of that.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Said, procession};
use crate::schema::schema_errors;

/// What a shell runs that starts some processes of each kind: a program in its own process, in a subshell,
/// one after the other in the same process, and one that fails.
pub(crate) const SCRIPT: &str = "/bin/true; (/bin/sleep 0.1; /bin/true 'a b' c); \
    /bin/sh -c 'exec /bin/cat /dev/null'; /bin/false; kill -9 $$";

impl Said {
    /// Its standard output, if it has not failed.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Events, of which the published schema has nothing to say.
    pub(crate) fn events(self) -> Vec<Value> {
        self.text().lines().map(event).collect()
    }
}

pub(crate) fn event(line: &str) -> Value {
    assert_eq!(schema_errors(line), "", "{line}");
    serde_json::from_str(line).unwrap()
}

/// A recording in a directory of its own.
pub(crate) struct Recording {
    directory: TempDir,
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// Of what a shell does.
    pub(crate) fn of_script(script: &str) -> Self {
        let recording = Self::new();
        let path = recording.path();
        let said = Said::with([
            "record".as_ref(),
            path.as_os_str(),
            "--".as_ref(),
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
        ]);
        assert!(path.is_file(), "{said:?}");
        recording
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.file("a.journal")
    }

    /// Another file beside it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is said of it: `arguments` after the command and the file.
    pub(crate) fn replay(&self, arguments: &[&str]) -> Said {
        let path = self.path();
        let all = ["replay".as_ref(), path.as_os_str()];
        Said::with(all.into_iter().chain(arguments.iter().map(OsStr::new)))
    }

    /// What a command says that looks into it.
    pub(crate) fn asked(&self, arguments: &[&str]) -> Said {
        let path = self.path();
        let journal = ["--journal".as_ref(), path.as_os_str()];
        Said::with(arguments.iter().map(OsStr::new).chain(journal))
    }
}

/// Records everything until it is told to stop.
pub(crate) struct Recorder {
    child: Child,
}

impl Recorder {
    pub(crate) fn start(path: &Path) -> Self {
        let child = procession(["record".as_ref(), path.as_os_str()]);
        let child = { child }.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The file begins when everything is observed.
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::metadata(path).map_or(0, |file| file.len()) == 0 {
            assert!(Instant::now() < deadline, "nothing was recorded");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child }
    }

    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

/// The pid of the first process whose arguments are these, by its exec.
pub(crate) fn pid_of(events: &[Value], binary: &str, arguments: &str) -> u64 {
    let found = events.iter().find_map(|event| {
        let process = &event["process_exec"]["process"];
        let is_it = process["binary"].as_str()?.ends_with(binary)
            && process["arguments"].as_str().unwrap_or_default() == arguments;
        is_it.then(|| process["pid"].as_u64())?
    });
    found.unwrap_or_else(|| panic!("no {binary} {arguments} in {events:#?}"))
}
