//! The best source: programs in the kernel that tell of every fork, exec and exit, and of changes
//! between execs.

pub(crate) mod raw;

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use procession::{BootTime, Event, EventKind, Pid, ProcessKey};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::clock;
use crate::error::{SourceError, chain};
use crate::namespace::own_pid_namespace;
use crate::proc::Procfs;
use crate::record::layout::{kind, stat};
use crate::record::{Decoder, Malformed, RecordId, identify};
use crate::source::{Count, KernelCounts, Sink, Source, SourceKind};
use crate::walk::{self, Owners};

pub use raw::EbpfError;
use raw::{RawConfig, RawSensor};

/// How the eBPF source behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EbpfConfig {
    /// Bytes of kernel memory in which records wait to be read; rounded up to a power of two.
    pub ring_bytes: u32,
    /// A directory in a BPF filesystem (`/sys/fs/bpf/procession`), where the programs stay when the
    /// process ends, and record for the one that takes over. `None`: they end with the process.
    ///
    /// What an earlier process left there is taken over if it fits, with its ring, whatever its size;
    /// else it is replaced.
    pub pin: Option<PathBuf>,
}

impl Default for EbpfConfig {
    /// 8 MiB: about 4,000 processes from fork to exit.
    fn default() -> Self {
        Self { ring_bytes: RawConfig::default().ring_bytes, pin: None }
    }
}

/// Process events from eBPF programs.
pub struct EbpfSource {
    raw: RawSensor,
    decoder: Decoder,
    losses: Losses,
    /// Records that came in during the walk, to be handed over by the first poll.
    waiting: Vec<Vec<u8>>,
    malformed: u64,
    /// What the kernel said of skipped programs when they were detached.
    skipped: u64,
}

/// The most records that are handed over before others get their turn: while processes start without end
/// the ring is never empty.
const MOST_AT_ONCE: usize = 1 << 16;

impl EbpfSource {
    /// Loads and attaches the programs: from here on every event is recorded.
    pub fn open(config: EbpfConfig) -> Result<Self, SourceError> {
        let raw = RawSensor::load(RawConfig { ring_bytes: config.ring_bytes, ..RawConfig::default() })?;
        release_loader_memory();
        Ok(Self {
            raw,
            decoder: Decoder::default(),
            losses: Losses::default(),
            waiting: Vec::new(),
            malformed: 0,
            skipped: 0,
        })
    }

    /// Hands over what is in the ring, up to [`MOST_AT_ONCE`]. Returns whether there was anything.
    fn drain(&mut self, sink: Sink<'_>) -> Result<bool, SourceError> {
        let mut any = false;
        for record in std::mem::take(&mut self.waiting) {
            any = true;
            self.hand_over(&record, sink)?;
        }
        for _ in 0..MOST_AT_ONCE {
            // The ring cannot be asked for its losses while it lends a record, so one that comes
            // after a gap is copied.
            let after_gap = {
                let Some(record) = self.raw.ring().next() else { break };
                any = true;
                if identify(&record).is_ok_and(|id| self.losses.is_next(id)) {
                    self.decoder.hand_over(&record, sink, &mut self.malformed);
                    continue;
                }
                record.to_vec()
            };
            self.hand_over(&after_gap, sink)?;
        }
        Ok(any)
    }

    /// Hands over one record, and before it a report of what was lost since the one before.
    fn hand_over(&mut self, record: &[u8], sink: Sink<'_>) -> Result<(), SourceError> {
        if let Ok(id) = identify(record)
            && self.losses.has_gap_before(id)
        {
            self.report_losses(id.time, sink)?;
        }
        self.decoder.hand_over(record, sink, &mut self.malformed);
        Ok(())
    }

    fn report_losses(&mut self, time: BootTime, sink: Sink<'_>) -> Result<(), SourceError> {
        let lost = self.losses.since_last_report(&self.raw.stats()?);
        if lost > 0 {
            sink(&Event { time, kind: EventKind::Lost(lost) });
        }
        Ok(())
    }

    /// Forgets the changes of a process that came before it was found: it was found as they had made
    /// it. The last of them stays, for it is written a moment before it takes effect.
    fn forget_what_was_found(&mut self, found: &HashMap<Pid, BootTime>) {
        let mut has_later = HashSet::new();
        let mut is_news = |record: &[u8]| {
            let Some(change) = identify(record).ok().filter(|id| id.kind == kind::CHANGE) else {
                return true;
            };
            let pid = change.subject.pid;
            found.get(&pid).is_none_or(|seen| change.time > *seen) || has_later.insert(pid)
        };
        self.waiting.reverse();
        self.waiting.retain(|record| is_news(record));
        self.waiting.reverse();
    }

    /// Takes what is in the ring without handing it over yet.
    fn set_aside(&mut self) {
        while let Some(record) = self.raw.ring().next() {
            self.waiting.push(record.to_vec());
        }
    }
}

impl Source for EbpfSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    /// With the kernel's task iterator; from `/proc` where the kernel has none that we can use.
    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        let procfs = Procfs::open(Path::new("/proc"))?;
        if self.raw.walk_refused().is_some() {
            let seen = walk::walk(&procfs, sink)?;
            self.set_aside();
            self.forget_what_was_found(&seen.iter().map(|it| (it.pid, it.seen)).collect());
            return Ok(());
        }
        let records = self.raw.walk().map_err(SourceError::io("walk over the running processes"))?;
        // In a pid namespace /proc calls processes by other numbers than the kernel does.
        let is_comparable = own_pid_namespace().is_none();
        let mut sightings = if is_comparable { walk::survey(&procfs)? } else { Vec::new() };
        self.set_aside();
        let born: HashSet<ProcessKey> = self.waiting.iter().filter_map(|record| birth(record)).collect();
        let born_pids: HashSet<Pid> = born.iter().map(|key| key.pid).collect();

        // Kernels can keep processes out of the iterator; such a one is known from /proc alone.
        // This goes first: what is hidden is the machine's own init, if anything.
        let mut found = split(&records, &mut self.malformed);
        let found_pids: HashSet<Pid> = found.iter().map(|(id, _)| id.subject.pid).collect();
        let owners = Owners::of(&sightings);
        sightings.retain(|it| !found_pids.contains(&it.pid) && !born_pids.contains(&it.pid));
        walk::tell(&procfs, &mut sightings, &owners, sink);

        // A process whose birth is in the ring is told of by that. Of the others, parents began
        // before their children.
        found.retain(|(id, _)| !born.contains(&id.subject));
        found.sort_by_key(|(id, _)| (id.began, id.subject.pid));
        let found_at = found.iter().map(|(id, _)| (id.subject.pid, id.time));
        self.forget_what_was_found(&found_at.chain(sightings.iter().map(|it| (it.pid, it.seen))).collect());
        for (_, record) in found {
            self.decoder.hand_over(record, sink, &mut self.malformed);
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        if self.drain(sink)? {
            return Ok(());
        }
        let timeout = Timespec::try_from(timeout)
            .map_err(|_| SourceError::io("wait")(ErrorKind::InvalidInput.into()))?;
        let mut ring = [PollFd::new(self.raw.ring(), PollFlags::IN)];
        match poll(&mut ring, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(SourceError::io("wait for records of the eBPF programs")(error.into())),
        }
        self.drain(sink).map(|_| ())
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.skipped = self.raw.skipped();
        self.raw.detach();
        // A program that was running when it was detached may still be writing its last record.
        while self.drain(sink)? {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.report_losses(clock::now(), sink)
    }

    fn malformed(&self) -> u64 {
        self.malformed
    }

    fn unseen_changes(&self) -> Option<String> {
        let refused = self.raw.changes_refused();
        let what: Vec<_> = refused.iter().map(|(what, _)| *what).collect();
        let line = |why| format!("changes of {} between execs are not seen: {why}", what.join(", "));
        refused.first().map(|(_, error)| line(chain(error)))
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        let stats = self.raw.stats().ok()?;
        let count = |attempted: usize, lost: usize| Count { attempted: stats[attempted], lost: stats[lost] };
        Some(KernelCounts {
            fork: count(stat::FORK, stat::FORK_LOST),
            exec: count(stat::EXEC, stat::EXEC_LOST),
            exit: count(stat::EXIT, stat::EXIT_LOST),
            change: count(stat::CHANGE, stat::CHANGE_LOST),
            arguments: count(stat::ARGS, stat::ARGS_LOST),
            skipped: self.skipped.max(self.raw.skipped()),
        })
    }
}

/// Finds out where in the order records are missing, and how many.
///
/// Each CPU numbers what it tries to submit, so a gap in its numbers shows that something was lost
/// there. How many events that were, the kernel's own counts tell: not every record is an event.
#[derive(Debug, Default)]
struct Losses {
    last_seq: HashMap<u32, u64>,
    reported: u64,
}

impl Losses {
    /// Whether `id` directly follows the record before it on its CPU. It is remembered if so.
    fn is_next(&mut self, id: RecordId) -> bool {
        let last = self.last_seq.entry(id.cpu).or_default();
        let is_next = id.seq == last.wrapping_add(1);
        if is_next {
            *last = id.seq;
        }
        is_next
    }

    /// Whether records are missing before `id`, which is remembered.
    fn has_gap_before(&mut self, id: RecordId) -> bool {
        let last = self.last_seq.insert(id.cpu, id.seq).unwrap_or_default();
        id.seq > last.saturating_add(1)
    }

    fn since_last_report(&mut self, stats: &[u64; stat::COUNT]) -> u64 {
        let kinds = [stat::FORK_LOST, stat::EXEC_LOST, stat::EXIT_LOST, stat::CHANGE_LOST];
        let lost: u64 = kinds.into_iter().map(|kind| stats[kind]).sum();
        lost.saturating_sub(std::mem::replace(&mut self.reported, lost))
    }
}

impl Decoder {
    fn hand_over(&mut self, record: &[u8], sink: Sink<'_>, malformed: &mut u64) {
        match self.decode(record) {
            Ok(Some(event)) => sink(&event),
            Ok(None) => {}
            Err(Malformed) => *malformed += 1,
        }
    }
}

/// Ends what earlier processes left in `pin` ([`EbpfConfig::pin`]), and removes the directory. Returns
/// whether there was anything.
pub fn detach_all(pin: &Path) -> Result<bool, SourceError> {
    match std::fs::remove_dir_all(pin) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SourceError::io(format!("remove {}", pin.display()))(error)),
    }
}

/// The image that `record` tells the begin of.
fn birth(record: &[u8]) -> Option<ProcessKey> {
    let id = identify(record).ok()?;
    matches!(id.kind, kind::FORK | kind::EXEC).then_some(id.subject)
}

/// The records of a walk, which stand one after the other. What follows a bad one cannot be told
/// apart, and counts as one.
fn split<'a>(mut bytes: &'a [u8], malformed: &mut u64) -> Vec<(RecordId, &'a [u8])> {
    let mut records = Vec::new();
    while let Ok(id) = identify(bytes)
        && let Some((record, rest)) = bytes.split_at_checked(id.len).filter(|_| id.len > 0)
    {
        records.push((id, record));
        bytes = rest;
    }
    *malformed += u64::from(!bytes.is_empty());
    records
}

/// Gives back what parsing the kernel's types took: some 20 MB that the allocator would keep.
fn release_loader_memory() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator has no safe interface for this")]
    // SAFETY: malloc_trim(3) takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
