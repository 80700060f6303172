//! `/proc`, read again and again: for users who may do nothing else.
//!
//! What changed between two scans is told in the terms of events, as far as that is honest:
//!
//! | seen | told |
//! |---|---|
//! | a new process | `Running`: whether it did an exec since its fork is not to be seen, nor who forked it if that process is gone |
//! | another program in a known process | `Exec`, at the time of the scan, replacing whatever ran before |
//! | a process is gone, or has become a zombie | `Exit` without status, at the time of the scan |
//!
//! A process that begins and ends between two scans is not seen, and of several execs between two
//! scans one is. These losses cannot be counted.
//!
//! A scan costs one directory listing and one small file per process. That file is enough to see
//! that a pid has a new owner (another start time), and that a process may run another program:
//! an exec draws new addresses for stack and code, and nearly always changes the command name. The
//! addresses of other users' processes are hidden, so there, and without address randomisation,
//! the name must change for an exec to be seen. A process may also change its name itself; that is
//! an exec only if its program file or command line is another, too.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use procession::{
    BootTime, Event, EventKind, Exec, Exit, Nature, Pid, Precision, ProcessKey, Program, Subject,
};

use crate::clock;
use crate::error::SourceError;
use crate::proc::{Details, Procfs, Stat};
use crate::source::{KernelCounts, Sink, Source, SourceKind};
use crate::walk::{Owners, Sighting, survey};

/// Events made up from the differences between two readings of `/proc`.
#[derive(Debug)]
pub struct PollSource {
    procfs: Procfs,
    interval: Duration,
    next_scan: Instant,
    known: BTreeMap<Pid, Known>,
    details: Details,
}

/// What the last scan saw of a process.
#[derive(Debug)]
struct Known {
    stat: Stat,
    /// When its image began, or was first seen.
    image: BootTime,
    owner: ProcessKey,
    program: ProgramMark,
}

impl PollSource {
    /// How often to look, when there is no reason for anything else.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(100);

    /// A source that scans `proc_root`, usually `/proc`, every `interval`.
    pub fn new(interval: Duration, proc_root: &Path) -> Result<Self, SourceError> {
        let procfs = Procfs::open(proc_root)?;
        let next_scan = Instant::now();
        Ok(Self { procfs, interval, next_scan, known: BTreeMap::new(), details: Details::default() })
    }

    fn scan(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        let sightings = survey(&self.procfs)?;
        let owners = Owners::of(&sightings);
        // Ends come first, so that a pid is free when its next owner is told of.
        self.tell_ends(&owners, sink);
        for sighting in sightings {
            let owner = owners.key_of(sighting.stat.parent);
            match self.known.get(&sighting.pid) {
                None => self.tell_new(sighting, owner, sink),
                Some(known) if known.may_have_changed(&sighting.stat) => {
                    self.look_again(sighting.pid, owner, sink);
                }
                Some(_) => {}
            }
        }
        self.next_scan = Instant::now() + self.interval;
        Ok(())
    }

    fn tell_ends(&mut self, owners: &Owners, sink: Sink<'_>) {
        let time = clock::now();
        self.known.retain(|pid, known| {
            let lives = owners.key_of(*pid) == ProcessKey::new(*pid, known.stat.began);
            if !lives {
                sink(&Event { time, kind: EventKind::Exit(known.exit(*pid)) });
            }
            lives
        });
    }

    fn tell_new(&mut self, mut sighting: Sighting, owner: ProcessKey, sink: Sink<'_>) {
        sighting.tell(&self.procfs, owner, &mut self.details, sink);
        let stat = sighting.stat;
        let program = ProgramMark::of(&self.details.program());
        self.known.insert(sighting.pid, Known { stat, image: stat.began, owner, program });
    }

    fn look_again(&mut self, pid: Pid, owner: ProcessKey, sink: Sink<'_>) {
        let Some(known) = self.known.get_mut(&pid) else { return };
        let time = clock::now();
        // When it is gone by now, the next scan tells of that.
        let Some(stat) = self.details.read(&self.procfs, pid, |began| began == known.stat.began) else {
            return;
        };
        let program = ProgramMark::of(&self.details.program());
        let is_exec = known.has_moved(&stat) || program != known.program;
        let image = if is_exec { time } else { known.image };
        *known = Known { stat, image, owner, program };
        if is_exec {
            let exec = Exec {
                process: known.subject(pid),
                replaces: None,
                tid: pid,
                owner: owner.into(),
                context: self.details.context(),
                program: self.details.program(),
            };
            sink(&Event { time, kind: EventKind::Exec(exec) });
        }
    }
}

impl Source for PollSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Polling
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.scan(sink)
    }

    /// Sleeps until the next scan is due, or for `timeout` when that is earlier.
    fn finish(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.scan(sink)
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        let due = self.next_scan.saturating_duration_since(Instant::now());
        thread::sleep(due.min(timeout));
        if due > timeout { Ok(()) } else { self.scan(sink) }
    }

    fn unseen_changes(&self) -> Option<String> {
        Some("changes between execs are not seen: nothing in /proc tells of them".into())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

impl Known {
    /// Threads of the kernel never do an exec; what changes is what they show as their name.
    fn may_have_changed(&self, now: &Stat) -> bool {
        self.stat.nature() == Nature::User && (self.has_moved(now) || self.stat.comm != now.comm)
    }

    /// Its memory is another, which takes an exec.
    fn has_moved(&self, now: &Stat) -> bool {
        // The kernel shows 0 or 1 where it hides an address.
        let moved = |before: u64, now: u64| before > 1 && now > 1 && before != now;
        moved(self.stat.start_stack, now.start_stack) || moved(self.stat.start_code, now.start_code)
    }

    fn subject(&self, pid: Pid) -> Subject {
        let key = ProcessKey::new(pid, self.image);
        Subject { key, began: self.stat.began, precision: Precision::Ticks }
    }

    fn exit(&self, pid: Pid) -> Exit<'_> {
        Exit {
            process: self.subject(pid),
            tid: pid,
            owner: self.owner.into(),
            status: None,
            comm: self.stat.comm.as_bytes(),
        }
    }
}

/// By which one program with its arguments is told from another, without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProgramMark(u64);

impl ProgramMark {
    fn of(program: &Program<'_>) -> Self {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Self(hasher.hash_one((program.executable, program.arguments.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::proc::fake::{FakeProc, FakeStat};

    /// What a scan tells, in short.
    fn scan(source: &mut PollSource) -> Vec<String> {
        let mut told = Vec::new();
        source
            .scan(&mut |event| {
                told.push(match event.kind {
                    EventKind::Running(it) => format!("running {}", it.process.key.pid),
                    EventKind::Exec(it) => {
                        assert_eq!(it.process.key.start, event.time);
                        format!("exec {}", it.process.key.pid)
                    }
                    EventKind::Exit(it) => {
                        assert_eq!(it.status, None);
                        format!("exit {} {}", it.process.key.pid, String::from_utf8_lossy(it.comm))
                    }
                    kind => panic!("{kind:?}"),
                });
            })
            .unwrap();
        told
    }

    fn source(fake: &FakeProc) -> PollSource {
        PollSource::new(Duration::ZERO, fake.path()).unwrap()
    }

    #[test]
    fn differences_become_events() {
        let fake = FakeProc::new();
        fake.process(1, &FakeStat { parent: 0, ..FakeStat::default() });
        fake.process(20, &FakeStat { comm: b"old", ..FakeStat::default() });
        let mut source = source(&fake);
        assert_eq!(scan(&mut source), ["running 1", "running 20"]);
        assert!(scan(&mut source).is_empty(), "nothing has changed");

        fake.process(9, &FakeStat { parent: 30, ..FakeStat::default() });
        fake.process(30, &FakeStat::default());
        fake.remove(20);
        assert_eq!(scan(&mut source), ["exit 20 old", "running 30", "running 9"]);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat { comm: b"a", start: 1, ..FakeStat::default() });
        let mut source = source(&fake);
        scan(&mut source);
        fake.process(5, &FakeStat { comm: b"a", start: 2, ..FakeStat::default() });
        assert_eq!(scan(&mut source), ["exit 5 a", "running 5"]);
    }

    #[test]
    fn a_zombie_has_ended() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat { comm: b"a", ..FakeStat::default() });
        let mut source = source(&fake);
        scan(&mut source);
        fake.process(5, &FakeStat { comm: b"a", state: 'Z', ..FakeStat::default() });
        assert_eq!(scan(&mut source), ["exit 5 a"]);
        assert!(scan(&mut source).is_empty());
    }

    #[test]
    fn new_addresses_are_an_exec_and_hidden_ones_are_not() {
        let fake = FakeProc::new();
        let at = |stack| fake.process(5, &FakeStat { stack, ..FakeStat::default() });
        at(0x1000);
        let mut source = source(&fake);
        scan(&mut source);
        at(0x2000);
        assert_eq!(scan(&mut source), ["exec 5"]);
        at(0);
        assert!(scan(&mut source).is_empty());
    }

    #[test]
    fn a_new_name_is_an_exec_only_with_a_new_program() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat { comm: b"a", ..FakeStat::default() });
        fake.file(5, "cmdline", b"a\0");
        let mut source = source(&fake);
        scan(&mut source);
        fake.process(5, &FakeStat { comm: b"renamed", ..FakeStat::default() });
        assert!(scan(&mut source).is_empty());
        fake.process(5, &FakeStat { comm: b"b", ..FakeStat::default() });
        fake.file(5, "cmdline", b"b\0");
        assert_eq!(scan(&mut source), ["exec 5"]);
    }

    #[test]
    fn a_timeout_before_the_next_scan_is_kept() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat::default());
        let mut source = PollSource::new(Duration::from_hours(1), fake.path()).unwrap();
        source.walk(&mut |_| ()).unwrap();
        fake.remove(5);
        source.poll(Duration::from_millis(1), &mut |event| panic!("{event:?}")).unwrap();
    }

    #[test]
    fn a_real_process_is_seen_through_its_life() {
        let mut source = PollSource::new(Duration::ZERO, Path::new("/proc")).unwrap();
        source.walk(&mut |_| ()).unwrap();
        // The shell waits for a line, then becomes another program.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read line; exec sleep 60"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(scan(&mut source).contains(&format!("running {pid}")));
        drop(child.stdin.take());
        wait_for(&mut source, &format!("exec {pid}"));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for(&mut source, &format!("exit {pid} sleep"));
    }

    fn wait_for(source: &mut PollSource, wanted: &str) {
        let found = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            scan(source).iter().any(|told| told == wanted)
        });
        assert!(found, "{wanted}");
    }
}
