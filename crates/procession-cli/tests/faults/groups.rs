//! Control groups, of the versions that the machine has: one that limits memory, and one that can be frozen.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::agent::wait_until;
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 1] =
    [("groups::what_the_kernel_keeps_is_read", Needs::Nothing, what_the_kernel_keeps_is_read)];

/// Which control groups: the two have different files for the same. A machine may have both, each with a part of what
/// groups can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

const ROOT: &str = "/sys/fs/cgroup";

/// What a group is for. All of version 2 are in one place, those of version 1 each in its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Memory,
    Freezer,
}

impl Purpose {
    /// The file of a group that shows that it is of use for that.
    fn file(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, Version::One) => "memory.limit_in_bytes",
            (Self::Memory, Version::Two) => "memory.max",
            (Self::Freezer, Version::One) => "freezer.state",
            (Self::Freezer, Version::Two) => "cgroup.freeze",
        }
    }

    /// Where groups for that may be: those in which the agent looks for its limit.
    fn roots(self, version: Version) -> Vec<PathBuf> {
        let root = Path::new(ROOT);
        match (self, version) {
            (Self::Memory, Version::One) => vec![root.join("memory")],
            (Self::Freezer, Version::One) => vec![root.join("freezer")],
            (_, Version::Two) => vec![root.to_owned(), root.join("unified")],
        }
    }

    /// The versions in which this machine has it.
    pub(crate) fn versions(self) -> Vec<Version> {
        let all = [Version::One, Version::Two];
        all.into_iter().filter(|version| Group::make(self, *version, "probe").is_some()).collect()
    }

    /// Why it has it in none, if so.
    pub(crate) fn is_missing(self) -> Option<String> {
        let is_missing = self.versions().is_empty();
        is_missing.then(|| format!("there are no control groups for this ({self:?}), of version 1 or 2"))
    }
}

/// A control group. When it is dropped, it thaws, all in it are killed, and it is removed.
pub(crate) struct Group {
    path: PathBuf,
    version: Version,
    /// What was switched on above it, and is switched off with it.
    _switch: Option<Switch>,
}

/// Groups of version 2 have limits of memory only where the one above says so.
struct Switch(PathBuf);

impl Switch {
    /// `None`: that is on already, or it is not ours to say.
    fn on(root: &Path) -> Option<Self> {
        let file = root.join("cgroup.subtree_control");
        let is_on =
            fs::read_to_string(&file).is_ok_and(|all| all.split_whitespace().any(|it| it == "memory"));
        (!is_on && fs::write(&file, "+memory").is_ok()).then_some(Self(file))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "-memory");
    }
}

impl Group {
    /// `None`: there are none for that purpose.
    fn make(purpose: Purpose, version: Version, name: &str) -> Option<Self> {
        let roots = purpose.roots(version);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let needs_switch = (purpose, version) == (Purpose::Memory, Version::Two);
        let switch = if needs_switch { Switch::on(&root) } else { None };
        let path = root.join(format!("procession-faults-{name}-{}", std::process::id()));
        // A dead run may have had this number.
        let _ = fs::remove_dir(&path);
        fs::create_dir(&path).ok()?;
        let group = Self { path, version, _switch: switch };
        group.path.join(purpose.file(version)).exists().then_some(group)
    }

    /// One that limits memory, in a version that the machine has.
    pub(crate) fn with_memory(name: &str, mib: u64) -> Self {
        let version = Purpose::Memory.versions()[0];
        let group = Self::make(Purpose::Memory, version, name).unwrap();
        group.set(Purpose::Memory.file(version), &(mib << 20).to_string());
        group
    }

    /// One that can be frozen.
    pub(crate) fn to_freeze(version: Version) -> Self {
        Self::make(Purpose::Freezer, version, "frozen").unwrap()
    }

    /// Whoever has no room ends, and does not go to swap space.
    pub(crate) fn forbid_swap(&self) {
        match self.version {
            Version::One => self.set("memory.swappiness", "0"),
            // Not there where the kernel has no swap space.
            Version::Two if self.path.join("memory.swap.max").exists() => self.set("memory.swap.max", "0"),
            Version::Two => {}
        }
    }

    /// Bytes that the kernel keeps for who is in it.
    pub(crate) fn kernel_bytes(&self) -> u64 {
        let read = |file| fs::read_to_string(self.path.join(file)).unwrap();
        match self.version {
            Version::One => read("memory.kmem.usage_in_bytes").trim().parse().unwrap(),
            Version::Two => kernel_bytes(&read("memory.stat")),
        }
    }

    pub(crate) fn take(&self, pid: u32) {
        self.set("cgroup.procs", &pid.to_string());
    }

    /// How a program is started in it.
    pub(crate) fn script(&self) -> String {
        format!("{} && exec \"$@\"", self.enter())
    }

    /// How a shell goes there.
    pub(crate) fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.path.display())
    }

    /// Waits until all in it stand still.
    pub(crate) fn freeze(&self) {
        let (file, word, state, frozen) = match self.version {
            Version::One => ("freezer.state", "FROZEN", "freezer.state", "FROZEN"),
            Version::Two => ("cgroup.freeze", "1", "cgroup.events", "frozen 1"),
        };
        self.set(file, word);
        let state = || fs::read_to_string(self.path.join(state)).unwrap();
        wait_until(|| state().lines().any(|line| line == frozen), || format!("it is {}", state()));
    }

    pub(crate) fn thaw(&self) {
        let (file, word) = match self.version {
            Version::One => ("freezer.state", "THAWED"),
            Version::Two => ("cgroup.freeze", "0"),
        };
        // Not every group can be frozen.
        let _ = fs::write(self.path.join(file), word);
    }

    fn set(&self, file: &str, value: &str) {
        let path = self.path.join(file);
        fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn members(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.thaw();
        for _ in 0..500 {
            for member in self.members() {
                let _ = kill_process(member, Signal::KILL);
            }
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// In a `memory.stat` of version 2. Before Linux 5.18 only its parts are there.
fn kernel_bytes(stat: &str) -> u64 {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.trim().parse::<u64>().unwrap())
    };
    let parts = ["kernel_stack", "pagetables", "percpu", "slab"];
    value("kernel").unwrap_or_else(|| parts.into_iter().filter_map(value).sum())
}

fn what_the_kernel_keeps_is_read() {
    let stat = "anon 900\nfile 800\nkernel 70\nkernel_stack 1\npagetables 2\npercpu 4\nsock 8\nslab 16\n";
    assert_eq!(kernel_bytes(stat), 70);
    assert_eq!(kernel_bytes(&stat.replace("kernel 70\n", "")), 1 + 2 + 4 + 16);
}
