//! What this process takes of the machine.

use std::fs;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What this process takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Time that it ran on a CPU, in user and in kernel mode.
    pub cpu: Duration,
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
    /// Bytes of its address space.
    pub virtual_bytes: u64,
    /// Files that are open.
    pub open_files: u64,
    /// The most that may be. `None`: no limit.
    pub max_files: Option<u64>,
    /// When it started.
    pub started: SystemTime,
}

/// In which the kernel tells the starts of processes.
const TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// Reads it now.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read, or is not as it should be.
    pub fn read() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name| kilobytes(&status, name).ok_or(io::ErrorKind::InvalidData);
        Ok(Self {
            cpu: now(ClockId::ProcessCPUTime),
            resident_bytes: field("VmRSS:")?,
            virtual_bytes: field("VmSize:")?,
            // One of them is the directory itself.
            open_files: (fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1),
            max_files: getrlimit(Resource::Nofile).current,
            started: started()?,
        })
    }
}

/// The field of a status file that has this name, in bytes.
fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// When this process started: always the same, whatever becomes of the clock.
fn started() -> io::Result<SystemTime> {
    static STARTED: OnceLock<SystemTime> = OnceLock::new();
    if let Some(started) = STARTED.get() {
        return Ok(*started);
    }
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = start_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let age = now(ClockId::Boottime).saturating_sub(TICK.saturating_mul(ticks));
    let started = SystemTime::now().checked_sub(age).ok_or(io::ErrorKind::InvalidData)?;
    Ok(*STARTED.get_or_init(|| started))
}

/// The start in ticks since boot, of a line that begins with the pid and the name in parentheses.
fn start_ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn now(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_takes() {
        let usage = Usage::read().unwrap();
        assert!(usage.resident_bytes > 0 && usage.resident_bytes <= usage.virtual_bytes, "{usage:?}");
        assert!(usage.open_files >= 1, "{usage:?}");
        assert!(usage.started <= SystemTime::now(), "{usage:?}");
        assert_eq!(Usage::read().unwrap().started, usage.started);
    }

    #[test]
    fn open_files_are_counted() {
        let before = Usage::read().unwrap().open_files;
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = Usage::read().unwrap().open_files;
        // Other tests of this process open and close files too.
        assert!(after >= before + 50, "{before} {after}");
        drop(files);
    }

    #[test]
    fn a_name_may_have_parentheses_and_blanks() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1234 20 21";
        assert_eq!(start_ticks(stat), Some(1234));
        assert_eq!(start_ticks("7 (a"), None);
    }
}
