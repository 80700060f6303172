//! How long it takes to export a journal, how long its parts are, and how much memory that needs.
//!
//! ```text
//! cargo bench -p procession-parquet --bench export              # a million events
//! cargo bench -p procession-parquet --bench export -- 10000000
//! ```
//!
//! The journal is that of a large build: `make` runs shells, these compilers with long arguments, these
//! assemblers. Each of them forks, execs and exits.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

use std::env;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Context, Credentials, Event, EventKind, Exec,
    Exit, ExitStatus, FileIdentity, Fork, Namespaces, Pid, ProcessKey, Program, Subject, TableConfig,
    WallClock, WorkingDirectory,
};
use procession_journal::{BlockBuilder, Journal, RawBlock, Recording, Writer};
use procession_parquet::{Options, export};

/// Bytes of a block with which it is written.
const BLOCK: usize = 256 << 10;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    // `cargo test --benches` wants to see that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let events = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("build.journal");
    write(&journal, events);
    let before = peak_memory();
    let options = Options {
        directory: folder.path().join("export"),
        from: None,
        to: None,
        is_forced: false,
        program: "benchmark".to_owned(),
    };
    let began = Instant::now();
    let written = export(&Journal::open(&journal).unwrap(), &options, &mut |_| ControlFlow::Continue(()))
        .unwrap()
        .written;
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap().max(1);
    let bytes_of_journal = journal.metadata().unwrap().len();
    println!("{} rows, {} files", written.rows, written.files);
    println!("{} rows a second ({millis} ms)", written.rows * 1_000 / millis);
    println!(
        "{} bytes a row; the journal has {}",
        written.bytes / written.rows,
        bytes_of_journal / written.rows
    );
    println!("{} MiB of memory at the most; {before} before", peak_memory());
}

/// The most memory that this program had, in MiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

fn recording() -> Recording {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000);
    Recording {
        node_name: "builder-1".to_owned(),
        boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap(),
        clock: WallClock::new(BootTime::ZERO, wall),
        source: "eBPF".to_owned(),
        root: None,
        host_namespaces: None,
        table: TableConfig::default(),
    }
}

/// Writes a journal of about so many events.
fn write(path: &Path, events: u64) {
    let mut writer = Writer::new(File::create(path).unwrap());
    writer.write(&RawBlock::head(&recording())).unwrap();
    let mut build = Build { builder: BlockBuilder::new(0), writer, now: 1_000_000_000, pid: 1_000 };
    let make =
        build.start(ProcessKey::new(Pid(1), BootTime::from_nanos(1)), b"/usr/bin/make", b"make\0-j2\0");
    for unit in 0..events / 9 {
        let shell = build.start(make.key, b"/usr/bin/dash", b"/bin/sh\0-c\0cc -c unit.c\0");
        let arguments = format!(
            "cc\0-std=gnu11\0-O2\0-g\0-Wall\0-Wextra\0-fstack-protector-strong\0-fPIC\0-pthread\0-DNDEBUG\0\
             -D_GNU_SOURCE\0-DVERSION=\"1.2.3\"\0-I.\0-Iinclude\0-Isrc/library/include\0-I/usr/include/glib-2.0\0\
             -MMD\0-MF\0build/objects/library/unit_{unit}.d\0-c\0-o\0build/objects/library/unit_{unit}.o\0\
             src/library/unit_{unit}.c\0"
        );
        let compiler = build.start(shell.key, b"/usr/bin/x86_64-linux-gnu-gcc-14", arguments.as_bytes());
        let object = format!("as\0--64\0-o\0build/objects/library/unit_{unit}.o\0/tmp/cc{unit:06x}.s\0");
        let assembler = build.start(compiler.key, b"/usr/bin/x86_64-linux-gnu-as", object.as_bytes());
        for ended in [assembler, compiler, shell] {
            build.end(ended, u32::from(unit % 97 == 0) << 8);
        }
        build.write_if_full();
    }
    build.flush();
}

struct Build {
    builder: BlockBuilder,
    writer: Writer<File>,
    now: u64,
    pid: u32,
}

impl Build {
    fn tick(&mut self) -> BootTime {
        // Not even steps: those would compress to nothing.
        self.now += 100_000 + self.now.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 300_000;
        BootTime::from_nanos(self.now)
    }

    fn start(&mut self, parent: ProcessKey, binary: &[u8], arguments: &[u8]) -> Subject {
        let began = self.tick();
        self.pid = if self.pid < 4_000_000 { self.pid + 1 } else { 1_000 };
        let forked = Subject::exact(ProcessKey::new(Pid(self.pid), began), began);
        let fork = Fork { child: forked, parent: parent.into(), parent_tid: parent.pid, ..Fork::default() };
        self.builder.push(&Event { time: began, kind: EventKind::Fork(fork) });
        let start = self.tick();
        let process = Subject::exact(ProcessKey::new(Pid(self.pid), start), began);
        let program = Program {
            binary,
            executable: binary,
            comm: b"cc",
            cwd: WorkingDirectory::Path(b"/home/builder/work/project"),
            arguments: Arguments::complete(arguments),
            file: Some(FileIdentity { inode: 4711, device: 8, links: 1, mode: 0o100_755, uid: 0, gid: 0 }),
            ..Program::default()
        };
        let (replaces, owner) = (Some(forked.key), parent.into());
        let exec = Exec { process, replaces, tid: forked.key.pid, owner, context: context(), program };
        self.builder.push(&Event { time: start, kind: EventKind::Exec(exec) });
        process
    }

    fn end(&mut self, process: Subject, status: u32) {
        let status = Some(ExitStatus::from_raw(status));
        let exit = Exit { process, tid: process.key.pid, status, comm: b"cc", ..Exit::default() };
        let time = self.tick();
        self.builder.push(&Event { time, kind: EventKind::Exit(exit) });
    }

    fn write_if_full(&mut self) {
        if self.builder.bytes() >= BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let block = self.builder.take(&recording(), b"");
        self.writer.write(&block).unwrap();
    }
}

/// As root, who has many capabilities to tell of.
fn context() -> Context<'static> {
    let all = CapabilitySet((1 << 41) - 1);
    let capabilities =
        Capabilities { effective: all, permitted: all, bounding: all, ..Capabilities::default() };
    let own = 4_026_531_840;
    let namespaces = Namespaces {
        uts: own,
        ipc: own,
        mnt: own,
        pid: own,
        net: own,
        cgroup: own,
        user: own,
        ..Namespaces::default()
    };
    Context {
        session: Some(Pid(1_000)),
        credentials: Some(Credentials { capabilities, ..Credentials::default() }),
        namespaces: Some(namespaces),
        cgroup: Some(Cgroup { id: 4711, path: b"/system.slice/build.service" }),
        ..Context::default()
    }
}
