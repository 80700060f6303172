//! A machine on which processes come and go, and a recorder that does what the agent does.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot write is a broken test")]

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use procession::{
    Arguments, BootId, BootTime, Change, Context, Credentials, Event, EventKind, Exec, Exit, ExitStatus,
    Fork, Pid, ProcessKey, Program, Running, Subject, Table, TableConfig, Uid, WallClock, WorkingDirectory,
};
use procession_journal::{BlockBuilder, Directory, DirectoryConfig, Fsync, Recording, Restored};

/// Numbers that are the same in each run (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const PROGRAMS: [&[u8]; 6] =
    [b"/usr/bin/make", b"/bin/sh", b"/usr/bin/cc1", b"/usr/bin/as", b"/usr/bin/ld", b"/usr/sbin/sshd"];
const ARGUMENTS: [&[u8]; 4] =
    [b"cc1\0-quiet\0-O2\0main.c\0", b"sh\0-c\0make all\0", b"as\0-o\0main.o\0", b"ld\0"];

/// A process that runs.
#[derive(Clone, Copy, Debug)]
struct Live {
    key: ProcessKey,
    began: BootTime,
    parent: ProcessKey,
}

impl Live {
    fn subject(self) -> Subject {
        Subject::exact(self.key, self.began)
    }

    fn name(self) -> Name {
        (self.key.pid, self.began)
    }
}

/// What happens on a machine, one event after the other.
#[derive(Debug)]
pub(crate) struct Machine {
    random: Random,
    now: u64,
    live: Vec<Live>,
    pid: u32,
    pids: u32,
    /// Of each process that ever was, in the order in which they began: the process that led to it.
    pub(crate) parents: Vec<(Name, Option<Name>)>,
}

/// What tells one process from all others: its pid, and when it began.
pub(crate) type Name = (Pid, BootTime);

impl Machine {
    /// With so many pids: they are used again.
    pub(crate) fn new(seed: u64, pids: u32) -> Self {
        Self { random: Random(seed), now: 1_000_000_000, live: Vec::new(), pid: 1, pids, parents: Vec::new() }
    }

    /// So many events. Some come a little too late, as from another processor; some were lost.
    pub(crate) fn events(&mut self, count: usize) -> Vec<Event<'static>> {
        let mut events: Vec<_> = (0..count).map(|_| self.event()).collect();
        for index in 1..events.len() {
            if self.random.one_in(40) {
                events.swap(index - 1, index);
            }
        }
        events
    }

    fn event(&mut self) -> Event<'static> {
        let pause = if self.random.one_in(200) { 20_000_000_000 } else { 40_000_000 };
        self.now += 1 + self.random.next() % pause;
        let time = BootTime::from_nanos(self.now);
        Event { time, kind: self.kind(time) }
    }

    fn kind(&mut self, time: BootTime) -> EventKind<'static> {
        if self.live.len() < 3 {
            return self.running(time);
        }
        let which = 1 + self.random.below(self.live.len() - 1);
        match self.random.below(100) {
            0..40 => self.fork(which, time),
            40..60 => self.exec(which, time),
            60..95 => self.exit(which),
            95..99 => self.change(which),
            _ => EventKind::Lost(1 + self.random.next() % 9),
        }
    }

    fn new_pid(&mut self) -> Pid {
        loop {
            self.pid = if self.pid >= self.pids { 2 } else { self.pid + 1 };
            if self.live.iter().all(|live| live.key.pid.0 != self.pid) {
                return Pid(self.pid);
            }
        }
    }

    fn running(&mut self, time: BootTime) -> EventKind<'static> {
        let pid = if self.live.is_empty() { Pid(1) } else { self.new_pid() };
        let parent = self.live.first().map_or(ProcessKey::NONE, |init| init.key);
        let began = BootTime::from_nanos(time.as_nanos() - 1_000);
        let live = Live { key: ProcessKey::new(pid, began), began, parent };
        self.parents.push((live.name(), self.live.first().map(|init| init.name())));
        self.live.push(live);
        let (owner, program) = (parent.into(), self.program());
        EventKind::Running(Running { process: live.subject(), owner, program, ..Running::default() })
    }

    fn fork(&mut self, which: usize, time: BootTime) -> EventKind<'static> {
        if u32::try_from(self.live.len()).unwrap() > self.pids / 2 {
            return self.exit(which);
        }
        let Live { key: parent, began, .. } = self.live[which];
        let live = Live { key: ProcessKey::new(self.new_pid(), time), began: time, parent };
        self.parents.push((live.name(), Some((parent.pid, began))));
        self.live.push(live);
        EventKind::Fork(Fork {
            child: live.subject(),
            parent: parent.into(),
            parent_tid: parent.pid,
            owner: parent.into(),
            ..Fork::default()
        })
    }

    fn exec(&mut self, which: usize, time: BootTime) -> EventKind<'static> {
        let program = self.program();
        let live = &mut self.live[which];
        let old = std::mem::replace(&mut live.key.start, time);
        let (process, owner) = (live.subject(), live.parent.into());
        let replaces = Some(ProcessKey::new(live.key.pid, old));
        EventKind::Exec(Exec { process, replaces, tid: live.key.pid, owner, program, ..Exec::default() })
    }

    fn exit(&mut self, which: usize) -> EventKind<'static> {
        let live = self.live.swap_remove(which);
        let status = Some(ExitStatus::from_raw(u32::from(self.random.one_in(3)) << 8));
        let owner = live.parent.into();
        EventKind::Exit(Exit { process: live.subject(), tid: live.key.pid, owner, status, comm: b"comm" })
    }

    fn change(&mut self, which: usize) -> EventKind<'static> {
        let uid = Uid(u32::try_from(self.random.below(4)).unwrap());
        let credentials = Some(Credentials { uid, euid: uid, ..Credentials::default() });
        let session = self.random.one_in(2).then(|| self.live[which].key.pid);
        let context = Context { credentials, session, ..Context::default() };
        EventKind::Change(Change { process: self.live[which].subject(), context })
    }

    fn program(&mut self) -> Program<'static> {
        let binary = PROGRAMS[self.random.below(PROGRAMS.len())];
        let arguments = Arguments::complete(ARGUMENTS[self.random.below(ARGUMENTS.len())]);
        Program { binary, arguments, cwd: WorkingDirectory::Path(b"/src"), ..Program::default() }
    }
}

/// A time to which all others are relative.
pub(crate) const WALL: SystemTime = SystemTime::UNIX_EPOCH;

/// The wall clock that shows `seconds` after 2033 at boot.
pub(crate) fn clock(seconds: u64) -> WallClock {
    WallClock::new(BootTime::ZERO, WALL + Duration::from_secs(2_000_000_000 + seconds))
}

pub(crate) fn boot_id(number: u8) -> BootId {
    format!("6ba7b810-9dad-11d1-80b4-0000000000{number:02x}").parse().unwrap()
}

pub(crate) fn recording(clock: WallClock) -> Recording {
    Recording {
        node_name: "node1".into(),
        boot_id: boot_id(1),
        clock,
        source: "a test".into(),
        root: None,
        host_namespaces: None,
        table: TableConfig { grace: Duration::from_secs(5), ..TableConfig::default() },
    }
}

/// A configuration without limits that a test reaches by accident.
pub(crate) fn config(path: &Path) -> DirectoryConfig {
    DirectoryConfig { fsync: Fsync::Never, max_age: None, ..DirectoryConfig::new(path) }
}

/// A table, and the events that it was told, on their way into a directory.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) directory: Directory,
    pub(crate) recording: Recording,
    pub(crate) table: Table,
    pub(crate) builder: BlockBuilder,
}

impl Recorder {
    pub(crate) fn new(config: DirectoryConfig, recording: Recording) -> Self {
        let table = Table::new(recording.table);
        Self { directory: Directory::open(config).unwrap(), builder: BlockBuilder::new(0), recording, table }
    }

    /// What a program does that begins when another was killed.
    pub(crate) fn resume(config: DirectoryConfig, restored: Restored) -> Self {
        let Restored { table, recording, sequence, .. } = restored;
        let builder = BlockBuilder::new(sequence);
        let mut recorder = Self { directory: Directory::open(config).unwrap(), builder, recording, table };
        recorder.begin();
        recorder
    }

    /// Reads the clock, which is as right as it was.
    fn tick(&mut self) {
        let now = self.table.now().max(self.recording.clock.boot());
        self.recording.clock = WallClock::new(now, self.recording.clock.at(now));
    }

    /// Begins another file.
    pub(crate) fn begin(&mut self) {
        self.flush();
        self.try_begin().unwrap();
    }

    /// Begins another file, which may be refused.
    pub(crate) fn try_begin(&mut self) -> io::Result<()> {
        self.tick();
        let sequence = self.builder.sequence();
        let checkpoint = self.table.checkpoint();
        self.directory.begin(&self.recording, &checkpoint, sequence, &sequence.to_le_bytes()).map(drop)
    }

    /// Tells of an event.
    pub(crate) fn push(&mut self, event: &Event<'_>) {
        self.builder.push(event);
        let _ = self.table.apply(event);
    }

    pub(crate) fn push_all(&mut self, events: &[Event<'_>]) {
        for event in events {
            self.push(event);
        }
    }

    /// Ends the block.
    pub(crate) fn flush(&mut self) {
        self.tick();
        if self.builder.events() > 0 {
            let bookmark = self.builder.sequence().to_le_bytes();
            let block = self.builder.take(&self.recording, &bookmark);
            self.directory.append(&block).unwrap();
        }
    }

    pub(crate) fn close(mut self) {
        self.flush();
        let sequence = self.builder.sequence();
        self.directory.close(&self.recording, self.table.ledger(), sequence).unwrap();
    }
}

/// The table that is told all of `events`.
pub(crate) fn fold<'a>(config: TableConfig, events: impl IntoIterator<Item = &'a Event<'static>>) -> Table {
    let mut table = Table::new(config);
    for event in events {
        let _ = table.apply(event);
    }
    table
}
