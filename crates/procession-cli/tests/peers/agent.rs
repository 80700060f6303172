//! The agent at work.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// `procession agent`, in a folder of its own.
pub(crate) struct Agent {
    child: Child,
    folder: TempDir,
    port: u16,
    web: u16,
}

impl Agent {
    /// Listens on a unix socket, on TCP and for HTTP, exports to a file, and has these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let [port, web] = [free_port(), free_port()];
        let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
        command.arg("agent").args(["--no-runtimes", "--node-name", "peer"]);
        command.arg(format!("--server-address=unix://{}", folder.path().join("socket").display()));
        command.arg(format!("--server-address=localhost:{port}"));
        command.arg(format!("--metrics-server=localhost:{web}"));
        command.arg("--export-filename").arg(folder.path().join("events.log"));
        // What is configured on this machine is of no interest.
        fs::write(folder.path().join("agent.toml"), "").unwrap();
        command.arg("--config").arg(folder.path().join("agent.toml"));
        let log = File::create(folder.path().join("errors")).unwrap();
        let child = command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut agent = Self { child: child.unwrap(), folder, port, web };
        agent.wait_until_ready();
        agent
    }

    fn wait_until_ready(&mut self) {
        let begin = Instant::now();
        while !self.socket().exists() || TcpStream::connect(("localhost", self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.errors());
            assert!(begin.elapsed() < PATIENCE, "it does not listen: {}", self.errors());
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
        self.folder.path().join("events.log")
    }

    /// What it said on standard error.
    pub(crate) fn errors(&self) -> String {
        read(&self.folder.path().join("errors"))
    }

    /// Asks it to end: how it ended, how long it took, and the lines of its export.
    pub(crate) fn end(mut self) -> (ExitStatus, Duration, String) {
        let begin = Instant::now();
        self.ask_to_end();
        let status = self.child.wait().unwrap();
        (status, begin.elapsed(), read(&self.export()))
    }

    fn ask_to_end(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.ask_to_end();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    let _ = File::open(path).map(|mut file| file.read_to_string(&mut text));
    text
}

fn free_port() -> u16 {
    TcpListener::bind("localhost:0").unwrap().local_addr().unwrap().port()
}

/// Runs `echo MARKER` again and again until it is dropped.
pub(crate) struct Echo {
    is_over: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(marker: &str) -> Self {
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (marker, ends) = (marker.to_owned(), std::sync::Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
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
        self.is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}
