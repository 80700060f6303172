//! The agent under test, at work.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::args::Args;
use crate::metrics::Metrics;
use crate::place::Place;

/// Longer than a start or an end takes on the busiest machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A child that is killed when nobody has ended it.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    /// Where it serves metrics.
    pub(crate) metrics: String,
}

impl Agent {
    /// Starts it, and waits until it observes.
    pub(crate) fn start(place: &Place, args: &Args) -> Result<Self> {
        let metrics = free_address()?;
        let log = OpenOptions::new().append(true).create(true).open(place.path("agent.log"))?;
        let mut command = Command::new(&place.agent);
        command.args([
            "agent",
            "--source=ebpf",
            "--no-runtimes",
            "--enable-process-cred",
            "--enable-process-ns",
        ]);
        command.args([
            "--node-name",
            "soak",
            "--server-address",
            &place.address(),
            "--metrics-server",
            &metrics,
        ]);
        command.arg("--journal-dir").arg(place.journal()).arg("--pin-dir").arg(&place.pins);
        command.args(["--journal-max-size-mb", &args.journal_mb.to_string()]);
        command.arg("--export-filename").arg(place.export().join("events.log"));
        command.args(["--export-file-max-size-mb", &args.export_mb.to_string()]);
        command.args(["--export-file-max-backups", &args.export_backups.to_string()]);
        command.args(["--ring-size", &args.ring_size, "--table-budget", &args.table_budget]);
        command.args(["--event-queue-size", &args.event_queue.to_string()]);
        command.args(["--event-queue-bytes", &args.event_queue_bytes]);
        // Not what the terminal sends to this program.
        command.process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot run {}", place.agent.display()))?;
        let mut agent = Self { child, metrics };
        agent.wait_until_it_observes(place)?;
        Ok(agent)
    }

    fn wait_until_it_observes(&mut self, place: &Place) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent has ended with {status}:\n{}", log_of(place));
            }
            let is_there = Metrics::of(&self.metrics).is_ok_and(|it| it.get("procession_observing") == 1.0);
            if is_there && place.socket().exists() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("the agent does not observe after {PATIENCE:?}:\n{}", log_of(place))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Why it is gone, if it is.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as a service manager does.
    pub(crate) fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the agent ended with {status}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("the agent does not end within {PATIENCE:?}")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of what it has logged.
pub(crate) fn log_of(place: &Place) -> String {
    let log = fs::read_to_string(place.path("agent.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Somebody may take it before the agent does; then that says so.
fn free_address() -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
