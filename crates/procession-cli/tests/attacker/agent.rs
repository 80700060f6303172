//! An agent with everything that it can write to, in a folder of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_sensor::detach_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where agents work, one after the other. It goes with what they left in the kernel.
pub(crate) struct Place {
    home: TempDir,
    pins: PathBuf,
    web: u16,
}

impl Place {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (pid, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let pins = PathBuf::from(format!("/sys/fs/bpf/procession-attacker-{pid}-{made}"));
        let web = TcpListener::bind("localhost:0").unwrap().local_addr().unwrap().port();
        let home = tempfile::tempdir().unwrap();
        // Others may come in, as in /var/log and /run: what is there must protect itself.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(home.path().join("agent.toml"), "").unwrap();
        Self { home, pins, web }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn pins(&self) -> &Path {
        &self.pins
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// The command that starts one, with a journal, an export and metrics, as far as `options` say nothing else.
    pub(crate) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
        command.args(["agent", "--no-runtimes", "--node-name=node"]);
        let path = |name| self.path(name).display().to_string();
        for (option, value) in [
            ("--config", path("agent.toml")),
            ("--server-address", self.address()),
            ("--journal-dir", path("journal")),
            ("--pin-dir", self.pins.display().to_string()),
            ("--export-filename", path("events.log")),
            ("--metrics-server", format!("localhost:{}", self.web)),
            // Others use the machine too, and not all that they do finds room at once.
            ("--event-queue-size", "1000000".to_owned()),
        ] {
            let option = format!("{option}=");
            if !options.iter().any(|given| given.starts_with(&option)) {
                command.arg(option + &value);
            }
        }
        command.args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(self.path("log")).unwrap());
        command
    }

    /// Starts one, and waits until it observes.
    pub(crate) fn start(&self, options: &[&str]) -> Agent<'_> {
        self.spawn(self.command(options))
    }

    pub(crate) fn spawn(&self, mut command: Command) -> Agent<'_> {
        let mut agent = Agent { child: command.spawn().unwrap(), place: self };
        self.until("the agent observes", || {
            let ended = agent.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.metric("procession_observing") == Some(1)
        });
        agent
    }

    /// What one that does not start has to say.
    pub(crate) fn refusal(&self, options: &[&str]) -> String {
        let status = self.command(options).spawn().unwrap().wait().unwrap();
        assert!(!status.success(), "it starts: {}", self.log());
        self.log()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What a command of the program prints about the agent.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
        command.args(arguments).args(["--server-address", &self.address()]).output().unwrap()
    }

    /// The programs that were told to start, of which the line in the export has `text`: `process` of each.
    pub(crate) fn execs(&self, text: &str) -> Vec<Value> {
        let lines = fs::read_to_string(self.path("events.log")).unwrap_or_default();
        let lines = lines.lines().filter(|line| line.contains(text));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.map(|mut event| event["process_exec"]["process"].take()).filter(Value::is_object).collect()
    }

    /// Waits for the first program that is told to have `argument` as its last.
    pub(crate) fn exec_with(&self, argument: &str) -> Value {
        let mut found = None;
        self.until(&format!("an exec with {argument} is exported"), || {
            let is_last = |all: &str| all.split(' ').next_back() == Some(argument);
            let has = |exec: &Value| exec["arguments"].as_str().is_some_and(is_last);
            found = self.execs(argument).into_iter().find(has);
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn metric(&self, series: &str) -> Option<u64> {
        let page = self.metrics()?;
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// The page of metrics.
    pub(crate) fn metrics(&self) -> Option<String> {
        self.get("/metrics")
    }

    /// What is answered there, with its head.
    pub(crate) fn get(&self, page: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("localhost", self.web)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not so: {what}; the log: {}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not in the way of what a test has to say.
        let _ = detach_all(&self.pins);
    }
}

/// An agent that observes. It ends with this.
pub(crate) struct Agent<'p> {
    child: Child,
    place: &'p Place,
}

impl Agent<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.place.log());
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that runs until this goes.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a script, which must succeed.
pub(crate) fn shell(script: impl AsRef<OsStr>) {
    let status = Command::new("sh").arg("-ec").arg(script).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
}
