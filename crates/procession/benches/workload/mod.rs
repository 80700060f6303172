//! The processes of the benchmark: made up, and the same in every run.
//!
//! Process number *i* is a child of one of 1,000 long-lived parents, runs one of 200 binaries in
//! one of 64 containers, and has five arguments, of which 65,536 variants exist.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::LazyLock;

use procession::{BootTime, Pid, ProcessKey};

pub(crate) const NODE: &str = "worker-01.example.org";
pub(crate) const PARENTS: u32 = 1_000;
pub(crate) const DIRECTORY: &str = "/usr/local/lib/app/bin/";
pub(crate) const CWD: &str = "/var/lib/app/workdir-01";
pub(crate) const CAPABILITIES: u64 = 0xa804_25fb;
pub(crate) const USER: u32 = 1_000;
/// Inode numbers in the order uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children,
/// cgroup, user: of the host, and of every process here.
pub(crate) const HOST_NAMESPACES: [u32; 10] = [
    4_026_531_838,
    4_026_531_839,
    4_026_531_841,
    4_026_531_836,
    4_026_531_836,
    4_026_531_840,
    4_026_531_834,
    4_026_531_834,
    4_026_531_835,
    4_026_531_837,
];
pub(crate) const NAMESPACES: [u32; 10] = [
    4_026_532_838,
    4_026_532_839,
    4_026_532_841,
    4_026_532_836,
    4_026_532_836,
    4_026_532_840,
    4_026_531_834,
    4_026_531_834,
    4_026_532_835,
    4_026_531_837,
];
pub(crate) const INIT: ProcessKey = ProcessKey::new(Pid(1), BootTime::from_nanos(10_000_000));

/// Nanoseconds since boot at which the first process may start.
pub(crate) const BEGIN: u64 = 100_000 * SECOND;
pub(crate) const SECOND: u64 = 1_000_000_000;

static BINARIES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..200).map(|i| format!("{DIRECTORY}svc-{i:03}")).collect());
static CONTAINERS: LazyLock<Vec<Container>> = LazyLock::new(|| (0..64).map(Container::new).collect());

/// Where a process runs.
pub(crate) struct Container {
    pub(crate) cgroup_id: u64,
    pub(crate) cgroup_path: String,
    /// Where in the path the id stands.
    id: Range<usize>,
}

impl Container {
    fn new(number: u64) -> Self {
        let directory = "/kubepods.slice/kubepods-burstable.slice/cri-containerd-";
        let mut cgroup_path = directory.to_owned();
        for part in 0..4_u64 {
            let word = (number * 4 + part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let _ = write!(cgroup_path, "{word:016x}");
        }
        cgroup_path.push_str(".scope");
        Self { cgroup_id: 5_000 + number, cgroup_path, id: directory.len()..directory.len() + 64 }
    }

    /// What the kernel side of the reference hands on of the container's id.
    pub(crate) fn short_id(&self) -> &str {
        &self.cgroup_path[self.id.clone()][..31]
    }
}

/// One process of the workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) number: u32,
    pub(crate) forked: u64,
    pub(crate) execed: u64,
}

impl Who {
    /// Number `number`, forked at `forked` and running its program almost at once.
    pub(crate) fn new(number: u32, forked: u64) -> Self {
        Self { number, forked, execed: forked + 400 }
    }

    pub(crate) fn ended(self) -> u64 {
        self.execed + 400
    }

    /// Not taken round at the kernel's limit of 4,194,304, so that 10⁷ can be alive at once.
    pub(crate) fn pid(self) -> Pid {
        Pid(2_000 + self.number)
    }

    pub(crate) fn key_of_fork(self) -> ProcessKey {
        ProcessKey::new(self.pid(), BootTime::from_nanos(self.forked))
    }

    pub(crate) fn key_of_exec(self) -> ProcessKey {
        ProcessKey::new(self.pid(), BootTime::from_nanos(self.execed))
    }

    pub(crate) fn parent(self) -> Parent {
        Parent(self.number % PARENTS)
    }

    pub(crate) fn binary(self) -> &'static str {
        &BINARIES[self.number as usize % BINARIES.len()]
    }

    pub(crate) fn container(self) -> &'static Container {
        &CONTAINERS[self.number as usize % CONTAINERS.len()]
    }
}

/// One of the long-lived parents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent(pub(crate) u32);

impl Parent {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..PARENTS).map(Self)
    }

    pub(crate) fn key(self) -> ProcessKey {
        let start = BEGIN - 1_000 * SECOND + u64::from(self.0) * 1_000;
        ProcessKey::new(Pid(100 + self.0), BootTime::from_nanos(start))
    }

    pub(crate) fn binary(self) -> String {
        format!("{DIRECTORY}parent-{:04}", self.0)
    }

    pub(crate) fn container(self) -> &'static Container {
        &CONTAINERS[self.0 as usize % CONTAINERS.len()]
    }
}

/// What a program was started with, in the form that either side takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// `argv[0]`, the arguments and the working directory, each but the last followed by NUL.
    text: String,
    after_name: usize,
}

impl Arguments {
    pub(crate) fn of(who: Who) -> Self {
        let mut arguments = Self::default();
        arguments.set(who);
        arguments
    }

    /// Becomes those of `who`, in the same memory.
    pub(crate) fn set(&mut self, who: Who) {
        self.start(who.binary());
        let file = who.number % 65_536;
        let _ = write!(self.text, "--config\0/etc/app/{file:08}.yaml\0--verbose\0run job\0--once\0{CWD}");
    }

    /// A program with `count` arguments.
    pub(crate) fn many(count: u32) -> Self {
        let mut arguments = Self::default();
        arguments.start("/usr/local/lib/app/bin/svc-000");
        for i in 0..count {
            let _ = write!(arguments.text, "--argument-{i:06}\0");
        }
        arguments.text.push_str(CWD);
        arguments
    }

    fn start(&mut self, name: &str) {
        self.text.clear();
        self.text.push_str(name);
        self.text.push('\0');
        self.after_name = self.text.len();
    }

    /// The kernel's argument block.
    pub(crate) fn argv(&self) -> &[u8] {
        &self.text.as_bytes()[..self.text.len() - CWD.len()]
    }

    /// The reference's block: without `argv[0]`, and with the working directory at the end.
    pub(crate) fn block(&self) -> &str {
        &self.text[self.after_name..]
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}
