//! Where a soak takes place: what it makes on the machine, and takes away again however it ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::programs::Programs;

/// A working directory, and names for what is outside of it.
#[derive(Debug)]
pub(crate) struct Place {
    home: TempDir,
    pub(crate) agent: PathBuf,
    /// A copy of the actor, which every user may run.
    pub(crate) actor: PathBuf,
    pub(crate) pins: PathBuf,
}

impl Place {
    pub(crate) fn new(programs: &Programs, keep: bool) -> Result<Self> {
        let mut home = tempfile::Builder::new().prefix("procession-soak-").tempdir()?;
        home.disable_cleanup(keep);
        fs::set_permissions(home.path(), Permissions::from_mode(0o711))?;
        let stage = home.path().canonicalize()?.join("stage");
        fs::create_dir(&stage)?;
        // Whatever credentials a process has, it may run the actor.
        fs::set_permissions(&stage, Permissions::from_mode(0o755))?;
        let actor = stage.join("actor");
        fs::copy(&programs.actor, &actor).context("cannot copy the actor")?;
        fs::set_permissions(&actor, Permissions::from_mode(0o755))?;
        let pins = PathBuf::from(format!("/sys/fs/bpf/procession-soak-{}", std::process::id()));
        Ok(Self { home, agent: programs.agent.clone(), actor, pins })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Where the acts are performed.
    pub(crate) fn stage(&self) -> &Path {
        self.actor.parent().unwrap_or(self.home.path())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("agent.sock")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path("journal")
    }

    pub(crate) fn export(&self) -> PathBuf {
        self.path("export")
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut detach = Command::new(&self.agent);
        detach.args(["agent", "--detach-all", "--pin-dir"]).arg(&self.pins);
        // What cannot be removed here was not made.
        let _ = detach.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The machine's limit of pids, as long as this lives; then what it was before.
#[derive(Debug)]
pub(crate) struct PidMax {
    before: String,
}

const PID_MAX: &str = "/proc/sys/kernel/pid_max";

/// So low that pids come round within two minutes, and far enough above what is in use.
const LOW: u32 = 32_000;
const ROOM: u32 = 4_000;

impl PidMax {
    /// As low as it may be where this runs.
    pub(crate) fn low() -> Result<Self> {
        // Never more than it is.
        let limit = fs::read_to_string(PID_MAX)?.trim().parse().context("the limit of pids is no number")?;
        Self::set(LOW.max(highest_pid()? + ROOM).min(limit))
    }

    pub(crate) fn set(limit: u32) -> Result<Self> {
        let before = fs::read_to_string(PID_MAX)?;
        let highest = highest_pid()?;
        if highest >= limit {
            bail!("a process has the pid {highest}: --pid-max has to be above it");
        }
        fs::write(PID_MAX, limit.to_string()).context("cannot set the machine's limit of pids")?;
        Ok(Self { before })
    }
}

impl Drop for PidMax {
    fn drop(&mut self) {
        let _ = fs::write(PID_MAX, &self.before);
    }
}

fn highest_pid() -> Result<u32> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.max().unwrap_or(0))
}
