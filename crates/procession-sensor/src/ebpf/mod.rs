//! The best source: programs in the kernel that tell of every fork, exec and exit, and of changes
//! between execs.

pub(crate) mod bookmark;
mod losses;
mod object;
mod pin;
pub(crate) mod raw;
mod reader;
pub(crate) mod ring;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use procession::{Arguments, BootTime, Event, EventKind, Pid, ProcessKey, Subject};

use crate::clock;
use crate::error::{SourceError, chain};
use crate::namespace::own_pid_namespace;
use crate::proc::{Details, Procfs};
use crate::record::layout::{kind, stat};
use crate::record::{RecordId, identify};
use crate::source::{KernelCounts, Resumed, Sink, Source, SourceKind};
use crate::walk::{self, Owners};

use bookmark::Bookmark;
use losses::Losses;
pub use pin::FreshPins;
pub use raw::EbpfError;
use raw::{RawConfig, RawSensor};
use reader::Reader;
use ring::Ring;

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
    ring: Ring,
    /// The kernel's number of the ring.
    ring_id: u32,
    reader: Reader,
    /// When the kernel was last asked what it has lost and skipped.
    counted: Instant,
    /// Something is lost. It is told of when all that lies before this position has been.
    loss_at: Option<u64>,
    /// How often the ring had been given up when that was last accounted for.
    accounted: u64,
    /// What the last survey saw was written into the ring before this position.
    surveyed: u64,
    /// Programs that the kernel has skipped, and tasks of which a program could keep nothing, when the kernel was
    /// last asked.
    doubts: u64,
    /// What the kernel said of skipped programs when they were detached.
    skipped: u64,
}

/// The most records that are handed over before others get their turn: while processes start without end
/// the ring is never empty.
const MOST_AT_ONCE: usize = 1 << 13;

/// How often the kernel is asked what it has lost: a CPU that falls silent says nothing of its losses.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// A kernel lists a new process, and lets it do an exec, some moments before the programs are called. So much
/// older is what a survey can be sure about.
const SETTLED: Duration = Duration::from_millis(20);

/// The most bytes of arguments of a process that is found: a look may have to keep those of all that run.
const FOUND_ARGUMENTS: usize = 24 << 10;

/// How often to look for a moment in which no program is about to write.
const LOOKS: usize = 200;

impl EbpfSource {
    /// Loads and attaches the programs: from here on every event is recorded. If programs that record
    /// are pinned already, it takes over from them.
    pub fn open(config: EbpfConfig) -> Result<Self, SourceError> {
        let EbpfConfig { ring_bytes, pin } = config;
        let (raw, ring) = RawSensor::load(&RawConfig { ring_bytes, pin, ..RawConfig::default() })?;
        release_loader_memory();
        let ring_id = raw.ring_id()?;
        let accounted = ring.broken();
        let mut source = Self {
            raw,
            ring,
            accounted,
            ring_id,
            reader: Reader::default(),
            counted: Instant::now(),
            loss_at: None,
            surveyed: 0,
            doubts: 0,
            skipped: 0,
        };
        if source.raw.was_at_work() {
            let (behind, _) = source.counts_behind()?;
            source.reader.begin_after(behind);
        }
        Ok(source)
    }

    /// Hands over what is in the ring, up to [`MOST_AT_ONCE`]. Returns whether there was anything.
    fn drain(&mut self, sink: Sink<'_>) -> Result<bool, SourceError> {
        let mut any = false;
        for _ in 0..MOST_AT_ONCE {
            let Some((position, record)) = self.ring.next() else { break };
            any = true;
            self.reader.hand_over(position, record, &self.raw, sink)?;
        }
        self.tell_given_up(sink)?;
        if !any {
            self.reader.report_overdue(&self.raw, sink)?;
        }
        self.report_quiet_losses(sink)?;
        Ok(any)
    }

    /// Reports as lost what a ring held that was given up: the kernel's own counts of losses do not have it.
    fn tell_given_up(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        let given_up = self.ring.broken();
        if given_up == self.accounted {
            return Ok(());
        }
        let (behind, is_settled) = self.counts_behind()?;
        // Else at the next turn.
        if is_settled {
            self.accounted = given_up;
            self.reader.tell_unread(&behind, sink);
        }
        Ok(())
    }

    /// Hands over what was written until now, unless a record is in the making for so long that it may never be
    /// complete.
    fn drain_to_end(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        let end = self.ring.produced();
        for _ in 0..LOOKS {
            if self.ring.position() >= end {
                break;
            }
            if !self.drain(sink)? {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Reports what was lost where no record comes after it, behind the events that came before.
    fn report_quiet_losses(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        let now = Instant::now();
        if now.saturating_duration_since(self.counted) >= COUNT_EVERY {
            self.counted = now;
            let stats = self.raw.stats()?;
            self.doubts = self.raw.skipped().saturating_add(stats[stat::STORAGE_FAILED]);
            if self.loss_at.is_none() && self.reader.losses.has_news(&stats) {
                self.loss_at = Some(self.ring.produced());
            }
        }
        if self.loss_at.is_none_or(|at| self.ring.position() < at) {
            return Ok(());
        }
        self.loss_at = None;
        // Nothing, if a record of that CPU has shown it meanwhile.
        self.reader.report_losses(&self.raw, clock::now(), sink)
    }

    /// The kernel's counts without what lies ahead in the ring: of what was read, or lost. Not so surely if programs
    /// were writing all the while: then the second is false.
    fn counts_behind(&self) -> Result<([u64; stat::COUNT], bool), SourceError> {
        let mut ahead = self.ring.ahead();
        let mut behind = [0; stat::COUNT];
        let mut counted = [0; stat::COUNT];
        for _ in 0..LOOKS {
            for (_, record) in ahead.by_ref() {
                if let Some(slot) = identify(record).ok().and_then(|id| slot_of(id.kind)) {
                    counted[slot] += 1;
                }
            }
            let stats = self.raw.stats()?;
            behind = std::array::from_fn(|slot| stats[slot].saturating_sub(counted[slot]));
            // A program counts before it writes.
            std::thread::sleep(Duration::from_micros(20));
            if ahead.position() == self.ring.produced() && stats == self.raw.stats()? {
                return Ok((behind, true));
            }
        }
        Ok((behind, false))
    }

    /// Hands over the records of a walk, each with the arguments that `/proc` has: the kernel side does not touch
    /// the memory of others.
    fn tell_found(&mut self, found: &[(RecordId, &[u8])], procfs: Option<&Procfs>, sink: Sink<'_>) {
        let mut details = Details::default();
        for (id, record) in found {
            let began = id.began.as_ticks();
            self.reader.decode(record, &mut |event| {
                let EventKind::Running(mut running) = event.kind else { return sink(event) };
                let is_meant = |other: BootTime| other.as_ticks() == began;
                if let Some(procfs) = procfs
                    && let Some(bytes) = details.arguments(procfs, id.subject.pid, FOUND_ARGUMENTS, is_meant)
                {
                    // The kernel knows how many there are, also where some cannot be read.
                    let total_len = running.program.arguments.total_len.max(bytes.len());
                    running.program.arguments = Arguments { bytes, total_len };
                }
                sink(&Event { time: event.time, kind: EventKind::Running(running) });
            });
        }
    }

    /// Passes over what is in the ring: a walk that begins now finds what came of it.
    fn begin_afresh(&mut self) -> Result<(), SourceError> {
        while self.ring.next().is_some() {}
        let (behind, _) = self.counts_behind()?;
        self.accounted = self.ring.broken();
        self.reader.begin_after(behind);
        Ok(())
    }

    /// Whether the ring still has all that came after `mark`.
    fn continues(&self, mark: &Bookmark) -> bool {
        (self.ring.position()..=self.ring.produced()).contains(&mark.position)
    }

    /// Forgets the changes of a process that came before it was found: it was found as they had made
    /// it. The last of them stays, for it is written a moment before it takes effect.
    fn forget_what_was_found(&mut self, found: &HashMap<Pid, BootTime>) {
        let is_change = |id: &RecordId| id.kind == kind::CHANGE;
        let changes = self.ring.ahead().filter_map(|(at, record)| Some((at, identify(record).ok()?)));
        let changes: Vec<_> = changes.filter(|(_, id)| is_change(id)).collect();
        let mut has_later = HashSet::new();
        for (position, change) in changes.into_iter().rev() {
            let pid = change.subject.pid;
            let is_news = found.get(&pid).is_none_or(|seen| change.time > *seen) || has_later.insert(pid);
            if !is_news {
                self.reader.forgotten.insert(position);
            }
        }
    }
}

impl Source for EbpfSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    /// With the kernel's task iterator; from `/proc` where the kernel has none that we can use.
    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        if self.raw.was_at_work() {
            self.begin_afresh()?;
        }
        let procfs = Procfs::open(Path::new("/proc"))?;
        if self.raw.walk_refused().is_some() {
            let mut sightings = walk::survey(&procfs)?;
            let owners = Owners::of(&sightings);
            sightings.retain(|it| !it.is_ending(&procfs));
            walk::tell(&procfs, &mut sightings, &owners, sink);
            self.forget_what_was_found(&sightings.iter().map(|it| (it.pid, it.seen)).collect());
            return Ok(());
        }
        let records = self.raw.walk().map_err(SourceError::io(WALK))?;
        // In a pid namespace /proc calls processes by other numbers than the kernel does.
        let is_comparable = own_pid_namespace().is_none();
        let mut sightings = if is_comparable { walk::survey(&procfs)? } else { Vec::new() };
        let born: HashSet<ProcessKey> = self.ring.ahead().filter_map(|(_, record)| birth(record)).collect();
        let born_pids: HashSet<Pid> = born.iter().map(|key| key.pid).collect();

        // Kernels can keep processes out of the iterator; such a one is known from /proc alone.
        // This goes first: what is hidden is the machine's own init, if anything.
        let mut found = split(&records, &mut self.reader.malformed);
        let found_pids: HashSet<Pid> = found.iter().map(|(id, _)| id.subject.pid).collect();
        let owners = Owners::of(&sightings);
        sightings.retain(|it| !found_pids.contains(&it.pid) && !born_pids.contains(&it.pid));
        // The exit of such a one may have been told before anybody listened: /proc shows it for longer.
        sightings.retain(|it| !it.is_ending(&procfs));
        walk::tell(&procfs, &mut sightings, &owners, sink);

        // A process whose birth is in the ring is told of by that. Of the others, parents began
        // before their children.
        found.retain(|(id, _)| !born.contains(&id.subject));
        found.sort_by_key(|(id, _)| (id.began, id.subject.pid));
        let found_at = found.iter().map(|(id, _)| (id.subject.pid, id.time));
        self.forget_what_was_found(&found_at.chain(sightings.iter().map(|it| (it.pid, it.seen))).collect());
        self.tell_found(&found, is_comparable.then_some(&procfs), sink);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        if self.drain(sink)? {
            return Ok(());
        }
        self.ring.wait(timeout).map_err(SourceError::io("wait for records of the eBPF programs"))?;
        self.drain(sink).map(|_| ())
    }

    /// Empty without pins: nobody can take over.
    fn bookmark(&self) -> Vec<u8> {
        if !self.raw.is_pinned() {
            return Vec::new();
        }
        let (losses, position) = (&self.reader.losses, self.ring.position());
        let bookmark = Bookmark {
            ring: self.ring_id,
            position,
            needless: self.reader.first_needed().unwrap_or(position),
            reported: losses.reported(),
            read: self.reader.read,
            base: losses.base(),
        };
        bookmark.encode()
    }

    fn keep(&mut self) {
        if self.raw.is_pinned() {
            self.ring.keep();
        }
    }

    fn release(&mut self, bookmark: &[u8]) {
        if let Some(mark) = Bookmark::decode(bookmark).filter(|mark| mark.ring == self.ring_id) {
            self.ring.release(mark.needless);
        }
    }

    /// Afresh also if the ring has lost its older part: what it still has is handed over nevertheless.
    fn resume(&mut self, bookmark: &[u8]) -> Result<Resumed, SourceError> {
        let mark = Bookmark::decode(bookmark);
        let Some(mark) = mark.filter(|mark| self.raw.was_at_work() && mark.ring == self.ring_id) else {
            return Ok(Resumed::Afresh);
        };
        if !self.continues(&mark) {
            // Somebody has read further, and what that was is nowhere. `read` has what lies behind.
            let unkept = self.reader.read.saturating_sub(mark.read);
            self.reader.continue_from(Losses::from(mark.base, mark.reported).and_unkept(unkept));
            return Ok(Resumed::Afresh);
        }
        while self.ring.position() < mark.position
            && let Some((position, record)) = self.ring.next()
        {
            self.reader.pass_over(position, record);
        }
        // What an open saw is no count of what was read, if a record was held up meanwhile or all were writing.
        self.reader.read = mark.read;
        self.reader.continue_from(Losses::from(mark.base, mark.reported));
        Ok(Resumed::Continued)
    }

    /// The iterator passes every process that runs all the while. One that begins or ends meanwhile is
    /// found or not; but then the record of its fork or exit has its place in the ring before the iterator
    /// is done, or a moment after. The kernel lists a new process shortly before it tells of its fork:
    /// that one is younger than what counts as the survey's begin. It takes a dying one off the list
    /// shortly before its exit is told: that one is still to be seen in `/proc`
    /// ([`still_runs`](Source::still_runs)).
    fn survey(&mut self, sink: Sink<'_>) -> Result<Option<BootTime>, SourceError> {
        let began = clock::now();
        if self.raw.walk_refused().is_some() {
            let procfs = Procfs::open(Path::new("/proc"))?;
            let mut sightings = walk::survey(&procfs)?;
            let owners = Owners::of(&sightings);
            sightings.retain(|it| !it.is_ending(&procfs));
            walk::tell(&procfs, &mut sightings, &owners, sink);
        } else {
            let records = self.raw.walk().map_err(SourceError::io(WALK))?;
            let found = split(&records, &mut self.reader.malformed);
            let pids = found.iter().map(|(id, _)| id.subject.pid).collect();
            let procfs = comparable_procfs()?;
            self.tell_found(&found, procfs.as_ref(), sink);
            if let Some(procfs) = procfs {
                tell_hidden(&procfs, &pids, began, sink)?;
            }
        }
        self.surveyed = self.ring.produced();
        Ok(Some(began.before(SETTLED)))
    }

    /// A record that another CPU is still writing holds up those behind it: so it is the position that
    /// counts, and not that nothing more comes.
    fn has_told_survey(&self) -> bool {
        self.ring.position() >= self.surveyed
    }

    fn still_runs(&self, process: Subject) -> bool {
        let procfs = comparable_procfs().ok().flatten();
        let stat = procfs.and_then(|procfs| procfs.stat(process.key.pid, &mut Vec::new()));
        stat.is_some_and(|stat| !stat.has_ended() && stat.began.as_ticks() == process.began.as_ticks())
    }

    /// With pins the programs go on, and so may another reader.
    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.skipped = self.raw.skipped();
        self.raw.detach();
        if !self.raw.is_pinned() {
            // A program that was running when it was detached may still begin its last record.
            std::thread::sleep(Duration::from_millis(1));
        }
        self.drain_to_end(sink)?;
        if self.raw.is_pinned() {
            self.tell_given_up(sink)?;
        } else {
            // Nobody writes any more, and nobody reads on: what was not read is lost.
            self.reader.tell_unread(&self.raw.stats()?, sink);
        }
        self.reader.report_losses(&self.raw, clock::now(), sink)
    }

    fn fresh_pins(&self) -> Option<FreshPins> {
        self.raw.pins().filter(|_| !self.raw.was_at_work()).map(FreshPins::of)
    }

    fn malformed(&self) -> u64 {
        self.reader.malformed + self.ring.broken()
    }

    fn doubts(&self) -> u64 {
        self.doubts
    }

    fn unseen_changes(&self) -> Option<String> {
        let refused = self.raw.changes_refused();
        let what: Vec<_> = refused.iter().map(|(what, _)| *what).collect();
        let line = |why| format!("changes of {} between execs are not seen: {why}", what.join(", "));
        let changes = refused.first().map(|(_, error)| line(chain(error)));
        let line = |why| format!("how often the kernel skips the eBPF programs is not known: {why}");
        let skips = self.raw.uncounted().map(|error| line(chain(&error)));
        let lines: Vec<_> = changes.into_iter().chain(skips).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        let stats = self.raw.stats().ok()?;
        Some(self.reader.losses.counts(&stats, self.skipped.max(self.raw.skipped())))
    }
}

/// What a walk does, for errors.
const WALK: &str = "walk over the running processes";

/// `/proc`, where it calls processes by the numbers that the kernel does: not in a pid namespace.
fn comparable_procfs() -> Result<Option<Procfs>, SourceError> {
    own_pid_namespace().is_none().then(|| Procfs::open(Path::new("/proc"))).transpose()
}

/// Kernels can keep processes out of the iterator; such a one is known from `/proc` alone.
///
/// What began before the iterator did and was not found is one of them, if it still runs.
fn tell_hidden(
    procfs: &Procfs,
    found: &HashSet<Pid>,
    began: BootTime,
    sink: Sink<'_>,
) -> Result<(), SourceError> {
    let mut hidden = walk::survey_others(procfs, found)?;
    // The iterator leaves out who ends, and so must this: its exit was told, or is about to be.
    hidden.retain(|it| it.stat.began.as_ticks() < began.as_ticks() && !it.is_ending(procfs));
    if hidden.is_empty() {
        return Ok(());
    }
    let owners = Owners::of(&hidden);
    walk::tell(procfs, &mut hidden, &owners, sink);
    Ok(())
}

/// Ends what earlier processes left in `pin` ([`EbpfConfig::pin`]), and removes the directory. Returns
/// whether there was anything.
///
/// It is an error if another process reads from there, or if there cannot be any pins.
pub fn detach_all(pin: &Path) -> Result<bool, SourceError> {
    Ok(pin::remove_all(pin)?)
}

/// Where the kernel counts how many records of a kind it tried to write.
fn slot_of(kind: u16) -> Option<usize> {
    match kind {
        kind::FORK => Some(stat::FORK),
        kind::EXEC => Some(stat::EXEC),
        kind::EXIT => Some(stat::EXIT),
        kind::CHANGE => Some(stat::CHANGE),
        kind::ARGS => Some(stat::ARGS),
        _ => None,
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
