//! What the kernel says of processes, by `/proc`.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use procession::BootTime;
use rustix::time::{ClockId, clock_gettime};

/// A process that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) owner: u32,
    /// In ticks since boot.
    pub(crate) began: u64,
    /// What it runs. `None`: a kernel thread.
    pub(crate) file: Option<PathBuf>,
}

/// All that run, by pid. Those that have ended and were not waited for are none of them.
pub(crate) fn running() -> HashMap<u32, Running> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(process) = look(pid) {
            all.insert(pid, process);
        }
    }
    all
}

fn look(pid: u32) -> Option<Running> {
    let fields = stat(pid)?;
    // A leader that has ended before its other threads is no dead process.
    let is_dead = matches!(fields.first()?.as_str(), "Z" | "X") && fields.get(17)? == "1";
    let file = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let it = Running { owner: fields.get(1)?.parse().ok()?, began: fields.get(19)?.parse().ok()?, file };
    (!is_dead).then_some(it)
}

/// What stands in `/proc/PID/stat` after the name: the state is the first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

/// The time since boot.
pub(crate) fn now() -> BootTime {
    let time = clock_gettime(ClockId::Boottime);
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    BootTime::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The pid that was given last.
pub(crate) fn last_pid() -> Option<u32> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().last()?.parse().ok()
}

/// Pids are below this.
pub(crate) fn pid_max() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()
}

/// What a process takes of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    /// Of those, the ones that are its own: not pages of files, which the kernel takes back when it needs them, nor the
    /// ring, which is the kernel's and counts twice because it is mapped twice.
    pub(crate) own_bytes: u64,
    /// Its own, in ticks.
    pub(crate) cpu: u64,
    /// That of its children that were waited for.
    pub(crate) children_cpu: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let fields = stat(pid)?;
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
    Some(Usage {
        resident_bytes: number(21) * page,
        own_bytes: own_bytes(pid)?,
        cpu: number(11) + number(12),
        children_cpu: number(13) + number(14),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count() as u64),
        threads: number(17),
    })
}

fn own_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // Who has ended and was not waited for has no such line.
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Ticks a second, in which the kernel tells times.
pub(crate) fn ticks_a_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}
