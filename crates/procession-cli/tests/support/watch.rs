//! The program at work, whose lines are read as they come.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use procession_kube::ContainerId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::run::procession;
use crate::schema::schema_errors;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// `procession watch`.
pub(crate) struct Watch {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    errors: NamedTempFile,
}

/// How it ended, and what it had to say.
pub(crate) struct Report {
    pub(crate) status: ExitStatus,
    pub(crate) lines: Vec<String>,
    /// What came on standard error.
    pub(crate) errors: String,
}

impl Watch {
    /// Watches with these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        let errors = NamedTempFile::new().unwrap();
        let mut command = procession(["watch"]);
        command.args(options);
        let log = File::create(errors.path()).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        Self { child, lines, seen: Vec::new(), errors }
    }

    /// Runs a program of the host under a name of its own until it is seen.
    pub(crate) fn see_host(&mut self, name: &str) {
        let begin = Instant::now();
        loop {
            Command::new("true").arg(name).status().unwrap();
            let soon = Instant::now() + Duration::from_millis(100);
            if self.look_until(soon, |line| line.contains(name)).is_some() {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{name} is not seen; {}", self.errors());
        }
    }

    /// Whether it has taken in what runs, and shows what happens from now on: then a thread does that.
    pub(crate) fn is_watching(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |thread: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default()
        };
        threads.map(name).any(|name| name.trim() == "pipeline")
    }

    /// Waits for an event, which may have been seen before.
    pub(crate) fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(event) = self.events().find(&is_it) {
            return event;
        }
        let line = self.look_until(Instant::now() + PATIENCE, |line| is_it(&parse(line)));
        parse(&line.unwrap_or_else(|| panic!("never seen: {what}; {}\n{:#?}", self.errors(), self.seen)))
    }

    /// The events of a container so far.
    pub(crate) fn of(&self, container: ContainerId) -> Vec<Value> {
        self.events().filter(|event| process(event)["docker"] == container.wire()).collect()
    }

    /// Waits until something was said on standard error.
    pub(crate) fn until_said(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.errors().contains(text) {
            assert!(Instant::now() < end, "never said: {text}; {}", self.errors());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a line, which may have been seen before.
    pub(crate) fn until_line(&mut self, is_it: impl Fn(&str) -> bool) {
        let is_there = self.seen.iter().any(|line| is_it(line));
        let comes = is_there || self.look_until(Instant::now() + PATIENCE, is_it).is_some();
        assert!(comes, "{:#?}; {}", self.seen, self.errors());
    }

    /// Waits for so many lines.
    pub(crate) fn until_shown(&mut self, count: usize) {
        while self.seen.len() < count {
            let line = self.look_until(Instant::now() + PATIENCE, |_| true);
            assert!(line.is_some(), "{count} lines are expected: {:#?}; {}", self.seen, self.errors());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops as Ctrl-C does, which is no failure.
    pub(crate) fn finish(self) -> Report {
        self.signal(Signal::INT);
        let report = self.end();
        assert!(report.status.success(), "{}", report.errors);
        report
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> Report {
        let status = self.child.wait().unwrap();
        let lines = self.seen.iter().cloned().chain(self.lines.iter()).collect();
        Report { status, lines, errors: self.errors() }
    }

    fn events(&self) -> impl Iterator<Item = Value> {
        self.seen.iter().map(|line| parse(line))
    }

    /// What came on standard error so far.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.errors.path()).unwrap()
    }

    fn look_until(&mut self, end: Instant, is_it: impl Fn(&str) -> bool) -> Option<String> {
        loop {
            match self.lines.recv_deadline(end) {
                Ok(line) => {
                    if line.starts_with('{') {
                        assert_eq!(schema_errors(&line), "", "{line}");
                    }
                    self.seen.push(line.clone());
                    if is_it(&line) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("it has ended: {}", self.errors()),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // After a failure; otherwise it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process that an event is about.
pub(crate) fn process(event: &Value) -> &Value {
    let kinds = ["process_exec", "process_exit"];
    kinds.iter().find_map(|kind| event.get(kind)).map_or(&Value::Null, |event| &event["process"])
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Lines as they come, so that nobody who writes them ever waits.
fn read_lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = unbounded();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}
