//! The life of `procession agent`, as a service manager sees it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "support/run.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod run;

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use run::procession;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// An agent that observes what anybody may, and serves nobody.
struct Agent {
    child: Child,
    manager: UnixDatagram,
    home: TempDir,
}

impl Agent {
    fn start(config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (socket, file) = (home.path().join("notify"), home.path().join("agent.toml"));
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        fs::write(&file, config).unwrap();
        let child = command(&file)
            .args(["--source=polling", "--server-address=", "--no-runtimes"])
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "100000")
            .stderr(fs::File::create(home.path().join("errors")).unwrap())
            .spawn()
            .unwrap();
        Self { child, manager, home }
    }

    fn configure(&self, config: &str) {
        fs::write(self.home.path().join("agent.toml"), config).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Leaves no room for anything that the service manager is told from now on.
    fn fill(&self) {
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = other.send_to(b"X_OTHER=1", self.home.path().join("notify")) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock, "{full}");
    }

    /// Waits until it has ended.
    fn wait(&mut self) {
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the service manager has been told something that begins so.
    fn tells(&self, what: &str) -> String {
        let mut message = [0; 1024];
        loop {
            let length = self.manager.recv(&mut message).unwrap();
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.starts_with(what) {
                return text;
            }
        }
    }

    /// What it said so far.
    fn said(&self) -> String {
        fs::read_to_string(self.home.path().join("errors")).unwrap()
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.said())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(config: &Path) -> Command {
    procession([OsStr::new("agent"), OsStr::new("--config"), config.as_os_str()])
}

#[test]
fn it_says_when_it_serves_reloads_and_stops() {
    let agent = Agent::start("log-level = 'info'");
    agent.tells("READY=1");
    agent.tells("WATCHDOG=1");

    agent.configure("log-level = 'debug'\nring-size = '16M'");
    agent.signal(Signal::HUP);
    assert!(agent.tells("RELOADING=1").contains("\nMONOTONIC_USEC="));
    agent.tells("READY=1");

    agent.configure("log-level = 'debug'\nbanana = 1");
    agent.signal(Signal::HUP);
    agent.tells("RELOADING=1");
    agent.tells("READY=1");

    agent.signal(Signal::TERM);
    agent.tells("STOPPING=1");
    let (status, said) = agent.end();
    assert!(status.success(), "{status} {said}");
    for sentence in [
        "procession: `log-level` changed; from: info; to: debug",
        "procession: warning: `ring-size` changes only with a restart; from: 8M; to: 16M",
        "agent.toml:2: there is no option `banana`",
        "procession: error: the options are wrong now, so nothing changes",
    ] {
        assert!(said.contains(sentence), "{sentence} in {said}");
    }
}

#[test]
fn a_service_manager_that_does_not_read_keeps_it_from_nothing() {
    let mut agent = Agent::start("log-level = 'debug'");
    agent.tells("READY=1");
    agent.fill();
    let untold = |agent: &Agent| agent.said().matches("the service manager cannot be told").count();
    let begin = Instant::now();
    while untold(&agent) == 0 {
        assert!(begin.elapsed() < PATIENCE, "it waits with its pings, or does not say what becomes of them");
        thread::sleep(Duration::from_millis(20));
    }
    agent.signal(Signal::TERM);
    agent.wait();
    let (status, said) = agent.end();
    assert!(status.success(), "{status} {said}");
}

#[test]
fn the_log_can_be_json() {
    let agent = Agent::start("log-format = 'json'");
    agent.tells("READY=1");
    agent.signal(Signal::HUP);
    agent.tells("RELOADING=1");
    agent.tells("READY=1");
    agent.signal(Signal::INT);
    agent.tells("STOPPING=1");
    let (status, said) = agent.end();
    assert!(status.success(), "{status} {said}");
    assert!(!said.is_empty());
    for line in said.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["time"].is_string(), "{line}");
    }
}

#[test]
fn wrong_options_end_it_with_a_status_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("agent.toml");
    fs::write(&file, "ring-sise = '8M'\nlog-level = 'loud'").unwrap();
    let output = command(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.lines().all(|line| line.starts_with("procession: ") && line.contains("agent.toml:")),
        "{said}"
    );
}

#[test]
fn what_applies_is_printed_as_a_file() {
    let home = tempfile::tempdir().unwrap();
    let (file, copy) = (home.path().join("agent.toml"), home.path().join("copy.toml"));
    fs::write(&file, "cluster-name = 'a \"b\"'").unwrap();
    let printed = command(&file).args(["--print-config", "--enable-ancestors"]).output().unwrap();
    assert!(printed.status.success());
    fs::write(&copy, &printed.stdout).unwrap();
    let again = command(&copy).arg("--print-config").output().unwrap();
    let settings = |text: Vec<u8>| -> Vec<String> {
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once("  #"));
        lines.map(|(setting, _)| setting.trim().to_owned()).collect()
    };
    let (printed, again) = (settings(printed.stdout), settings(again.stdout));
    assert!(printed.len() > 30);
    assert_eq!(printed, again);
}

#[test]
fn options_of_the_reference_system_are_translated() {
    let output = command(Path::new("/dev/null")).args(["--rb-size", "3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("tip: use `ring-size`"), "{said}");
}
