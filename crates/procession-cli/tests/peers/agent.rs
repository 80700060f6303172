//! The agent at work.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The node that it says it is on.
pub(crate) const NODE: &str = "peer";

/// How an agent is started: in a folder, which outlives it for who holds it.
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    export: PathBuf,
    stdout: Stdio,
    options: Vec<String>,
    wrapper: Vec<String>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::within(&Arc::new(TempDir::new().unwrap()))
    }

    /// In a folder where there may have been an agent before.
    pub(crate) fn within(folder: &Arc<TempDir>) -> Self {
        Self {
            folder: Arc::clone(folder),
            export: folder.path().join("events.log"),
            stdout: Stdio::null(),
            options: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Started by a program that changes something and then becomes the agent, such as `prlimit`.
    pub(crate) fn by(mut self, words: &[&str]) -> Self {
        self.wrapper.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(crate) fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    pub(crate) fn export(mut self, path: impl Into<PathBuf>) -> Self {
        self.export = path.into();
        self
    }

    pub(crate) fn stdout(mut self, stdout: Stdio) -> Self {
        self.stdout = stdout;
        self
    }

    /// Listens on a unix socket, on TCP and for HTTP, exports to a file, and has these options.
    pub(crate) fn start(self) -> Agent {
        let mut agent = self.spawn();
        agent.wait_until_ready();
        agent
    }

    /// Starts what is expected to end by itself: how it does, and what it says.
    pub(crate) fn fail(self) -> (ExitStatus, String) {
        let mut agent = self.spawn();
        let mut status = None;
        let has_ended = || {
            status = agent.ended();
            status.is_some()
        };
        wait_until(has_ended, || "it starts, and should not".to_owned());
        (status.unwrap(), agent.errors())
    }

    /// Starts it, whatever becomes of that.
    pub(crate) fn spawn(self) -> Agent {
        let Self { folder, export, stdout, options, wrapper } = self;
        let [port, web] = free_ports();
        let words = [&*wrapper, &[env!("CARGO_BIN_EXE_procession").to_owned()]].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("agent").args(["--no-runtimes", "--node-name", NODE]);
        command.arg(format!("--server-address=unix://{}", folder.path().join("socket").display()));
        command.arg(format!("--server-address=localhost:{port}"));
        command.arg(format!("--metrics-server=localhost:{web}"));
        command.arg("--export-filename").arg(&export);
        if export != Path::new("-") {
            // All in one file: an event may have its ancestors' arguments, as long as they like.
            command.arg("--export-file-max-size-mb=4096");
        }
        // What is configured on this machine is of no interest.
        let toml = folder.path().join("agent.toml");
        if !toml.exists() {
            fs::write(&toml, "").unwrap();
        }
        command.arg("--config").arg(toml);
        let errors = folder.path().join(format!("errors-{port}"));
        let log = File::create(&errors).unwrap();
        let child = command.args(options).stdin(Stdio::null()).stdout(stdout).stderr(log).spawn();
        Agent { child: child.unwrap(), folder, export, errors, port, web }
    }
}

/// `procession agent`, in a folder.
pub(crate) struct Agent {
    child: Child,
    folder: Arc<TempDir>,
    export: PathBuf,
    errors: PathBuf,
    port: u16,
    web: u16,
}

impl Agent {
    /// With these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        options.iter().fold(Setup::new(), |setup, option| setup.option(*option)).start()
    }

    pub(crate) fn wait_until_ready(&mut self) {
        let begin = Instant::now();
        // It listens before it observes.
        while self.metric("procession_observing") != Some(1) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.errors());
            assert!(begin.elapsed() < PATIENCE, "it does not observe: {}", self.errors());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn web(&self) -> u16 {
        self.web
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn export(&self) -> PathBuf {
        self.export.clone()
    }

    pub(crate) fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// The file of `--config`.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    /// The file with what it said on standard error.
    pub(crate) fn errors_file(&self) -> PathBuf {
        self.errors.clone()
    }

    /// What it said on standard error.
    pub(crate) fn errors(&self) -> String {
        read(&self.errors)
    }

    /// What is in its export.
    pub(crate) fn exported(&self) -> String {
        read(&self.export)
    }

    /// Waits until the export has a line with `text`.
    pub(crate) fn wait_for_export(&self, text: &str) {
        wait_until(
            || self.exported().contains(text),
            || format!("no {text} in the export: {}", self.errors()),
        );
    }

    /// Waits until it said that `times` times.
    pub(crate) fn wait_for_word(&self, text: &str, times: usize) {
        let is_said = || self.errors().matches(text).count() >= times;
        wait_until(is_said, || format!("{text:?} is not said {times} times: {}", self.errors()));
    }

    /// Waits until a metric has a value from `least` on.
    pub(crate) fn wait_for_metric(&self, series: &str, least: u64) {
        let is_there = || self.metric(series).is_some_and(|value| value >= least);
        wait_until(is_there, || format!("{series} is {:?}, not {least}", self.metric(series)));
    }

    /// The value of a metric, as `name{label="value"}`.
    pub(crate) fn metric(&self, series: &str) -> Option<u64> {
        let page = self.get("/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.trim().parse().unwrap())
    }

    /// What it answers over HTTP.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("localhost", self.web)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    /// Bytes of memory that it has.
    pub(crate) fn memory(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(pid(&self.child), signal);
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Ends it without a word.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Asks it to end: how it ended, how long it took, and the lines of its export.
    pub(crate) fn end(mut self) -> (ExitStatus, Duration, String) {
        let begin = Instant::now();
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        (status, begin.elapsed(), read(&self.export()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // By its number another may go, once it has been waited for.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Waits until that is so; `why` is said when it does not become so.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool, why: impl Fn() -> String) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{}", why());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `true MARKER-NUMBER` so many times, one after the other.
pub(crate) fn run_marked(marker: &str, times: usize) {
    let script = format!("i=0; while [ $i -lt {times} ]; do /bin/true {marker}-$i; i=$((i+1)); done");
    assert!(Command::new("/bin/sh").args(["-c", &script]).status().unwrap().success());
}

/// The markers of [`run_marked`].
pub(crate) fn markers(marker: &str, times: usize) -> BTreeSet<String> {
    (0..times).map(|number| format!("{marker}-{number}")).collect()
}

/// Of a child that has not been waited for.
pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap()).unwrap()
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    // A device may have no end.
    if path.is_file() || path.starts_with("/proc") {
        let _ = File::open(path).map(|mut file| file.read_to_end(&mut bytes));
    }
    // A character may be in the making.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Both are held until both are there: one that is free again may be given out again.
fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("localhost:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Runs `echo MARKER` again and again until it is dropped.
pub(crate) struct Echo {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(marker: &str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (marker, ends) = (marker.to_owned(), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let mut echo = Command::new("/bin/echo");
                echo.arg(&marker).stdout(Stdio::null()).status().unwrap();
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}
