//! What the journal costs beside the table, what an event takes on disk, and how long answers take.
//!
//! ```text
//! cargo bench -p procession-journal --bench journal            # some two minutes, 200 MB of disk
//! cargo bench -p procession-journal --bench journal -- PATH    # with the events of a recorded journal
//! ```
//!
//! Costs are CPU time of this thread, medians of rounds in which the two sides take turns. Ratios hold on
//! any machine, nanoseconds on one. Answers come from files in the page cache: how long the disk takes is not
//! in their times.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

mod build;
#[path = "../../../procession/benches/measure/mod.rs"]
#[expect(dead_code, reason = "here nothing but the time counts")]
mod measure;

use std::env;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use procession::{BootTime, Pid, Table, TableConfig, WallClock};
use procession_journal::{
    BlockBuilder, Directory, DirectoryConfig, Fsync, Journal, Piece, RawBlock, Recording, Target,
};
use tempfile::TempDir;

use build::Build;
use measure::{Cost, resident};

const ROUNDS: usize = 9;

/// Events of a round.
const EVENTS: u32 = 200_000;

fn main() {
    // `cargo bench` says that this is one; `cargo test --benches` wants to see that it starts.
    let mut arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    match arguments.pop() {
        Some(path) => recorded(&PathBuf::from(path)),
        None => writing(),
    }
    restoring(100_000);
    asking(DirectoryConfig::new("").segment_bytes);
    asking(64 << 20);
}

fn recording() -> Recording {
    Recording {
        node_name: "node1".into(),
        boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap(),
        clock: WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)),
        source: "a benchmark".into(),
        root: None,
        host_namespaces: None,
        table: TableConfig { seed: 1, ..TableConfig::default() },
    }
}

/// Cost and bytes of each event of a build.
fn writing() {
    let mut tables = Vec::new();
    let mut costs = [const { Vec::new() }; 2];
    let (mut events, mut bytes) = (0.0, 0.0);
    let (mut table_build, mut build) = (Build::new(), Build::new());
    let mut table = Table::new(recording().table);
    let mut builder = BlockBuilder::new(0);
    for _ in 0..ROUNDS {
        let making = Cost::of(EVENTS, || {
            Build::new().events(EVENTS, &mut |event| {
                black_box(event);
            });
        });
        let applying = Cost::of(EVENTS, || {
            table_build.events(EVENTS, &mut |event| {
                let _ = table.apply(event);
            });
        });
        let mut blocks = Vec::new();
        let encoding = Cost::of(EVENTS, || {
            build.events(EVENTS, &mut |event| {
                builder.push(event);
                if builder.bytes() >= BlockBuilder::FULL {
                    blocks.push(builder.take(&recording(), b""));
                }
            });
        });
        blocks.push(builder.take(&recording(), b""));
        let packing = Cost::of(EVENTS, || bytes += packed(&blocks));
        events += f64::from(EVENTS);
        tables.push(applying.nanos - making.nanos);
        costs[0].push(encoding.nanos - making.nanos);
        costs[1].push(packing.nanos);
    }
    let [table, encode, pack] = [tables, costs[0].clone(), costs[1].clone()].map(median);
    println!("a build, {EVENTS} events a round");
    print_costs(table, encode, pack, bytes / events);
}

/// Compresses `blocks`: the bytes that they take.
fn packed(blocks: &[RawBlock]) -> f64 {
    figure(blocks.iter().map(|block| block.to_bytes().unwrap().len()).sum())
}

/// The same, of a journal that was recorded; what reading it costs is in none of the figures.
fn recorded(path: &Path) {
    let journal = Journal::open(path).unwrap();
    let (mut encode, mut apply, mut pack) = (Vec::new(), Vec::new(), Vec::new());
    let (mut events, mut bytes) = (0, 0.0);
    for _ in 0..ROUNDS {
        events = 0;
        let reading = cost_of_all(&journal, &mut |event| {
            black_box(event);
            events += 1;
        });
        let mut table = Table::new(journal.recording().table);
        let applying = cost_of_all(&journal, &mut |event| {
            let _ = table.apply(event);
        });
        apply.push(applying - reading);
        let (mut builder, mut blocks) = (BlockBuilder::new(0), Vec::new());
        let encoding = cost_of_all(&journal, &mut |event| {
            builder.push(event);
            if builder.bytes() >= BlockBuilder::FULL {
                blocks.push(builder.take(&recording(), b""));
            }
        });
        encode.push(encoding - reading);
        blocks.push(builder.take(&recording(), b""));
        pack.push(Cost::of(1, || bytes = packed(&blocks)).nanos);
    }
    println!("{}, {events} events", path.display());
    let each = |costs: Vec<f64>| median(costs) / f64::from(events);
    print_costs(each(apply), each(encode), each(pack), bytes / f64::from(events));
}

fn cost_of_all(journal: &Journal, visit: &mut dyn FnMut(&procession::Event<'_>)) -> f64 {
    let work = || {
        let each = &mut |piece: Piece<'_>| {
            if let Piece::Event(event) = piece {
                visit(event);
            }
            true
        };
        journal.read(None, each).unwrap();
    };
    Cost::of(1, work).nanos
}

fn print_costs(table: f64, encode: f64, pack: f64, bytes: f64) {
    println!("  {:<46} {table:>9.0} ns", "Table::apply, per event");
    println!("  {:<46} {encode:>9.0} ns  {:>6.2} of it", "encode, in the thread that folds", encode / table);
    println!("  {:<46} {pack:>9.0} ns  {:>6.2} of it", "compress, in the journal's thread", pack / table);
    println!("  {:<46} {bytes:>9.1}", "bytes per event on disk");
}

/// How long it takes to have a table of so many processes again.
fn restoring(processes: u32) {
    let directory = TempDir::new().unwrap();
    let recording = Recording { table: TableConfig { budget: 1 << 30, ..recording().table }, ..recording() };
    let mut table = Table::new(recording.table);
    Build::new().processes(processes, &mut |event| {
        let _ = table.apply(event);
    });
    assert_eq!(table.live(), processes as usize);
    let config = DirectoryConfig { fsync: Fsync::Never, ..DirectoryConfig::new(directory.path()) };
    let mut writer = Directory::open(config).unwrap();
    let checkpoint = table.checkpoint();
    let written = time(|| _ = writer.begin(&recording, &checkpoint, 0, b"").unwrap());
    let before = resident();
    let mut held = None;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(time(|| {
            let latest = Journal::open(directory.path()).unwrap().latest().unwrap();
            assert_eq!(latest.table.live(), table.live());
            held.get_or_insert(latest);
        }));
    }
    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!("\na checkpoint of {processes} live processes, {} kB on disk", writer.bytes() / 1_000);
    println!("  {:<46} {:>9.0} ms", "write it: encode, compress", median(vec![written]));
    println!("  {:<46} {:>9.0} ms", "open, read and restore it", median(times));
    println!("  {:<46} {:>9} MB", "memory of the table that is restored", megabytes(resident() - before));
}

/// How long it takes to know how things were, in a file without a checkpoint but the first.
fn asking(bytes: u64) {
    let directory = TempDir::new().unwrap();
    let (events, last) = fill(directory.path(), bytes);
    let open = || Journal::open(directory.path()).unwrap();
    println!("\na file of {} MiB, {events} events, one checkpoint at its start", bytes >> 20);
    let opening = (0..ROUNDS).map(|_| time(|| drop(black_box(open())))).collect();
    println!("  {:<46} {:>9.1} ms", "open: scan the headers", median(opening));
    let journal = open();
    let reading = time(|| {
        let _ = cost_of_all(&journal, &mut |event| {
            black_box(event);
        });
    });
    println!("  {:<46} {reading:>9.0} ms", "read all events, and do nothing with them");
    let (start, end) = journal.span();
    let length = end.duration_since(start).unwrap();
    for tenths in [0, 1, 5, 9] {
        let moment = start + length / 10 * tenths;
        let times = (0..3).map(|_| time(|| drop(black_box(journal.at(moment).unwrap())))).collect();
        println!("  {:<46} {:>9.0} ms", format!("as of {tenths}0 % of it"), median(times));
    }
    let latest = (0..3).map(|_| time(|| drop(black_box(journal.latest().unwrap())))).collect();
    println!("  {:<46} {:>9.0} ms", "the latest", median(latest));
    let history = time(|| drop(black_box(journal.history(Target::Pid(last), None, 100).unwrap())));
    println!("  {:<46} {history:>9.0} ms", "the history of one pid");
    let ever = time(|| drop(black_box(journal.descendants_ever(Target::Pid(last), 10_000).unwrap())));
    println!("  {:<46} {ever:>9.0} ms", "all that ever descended from it");
}

/// Records a build until the file has so many bytes: how many events that were, and one of the pids.
fn fill(directory: &Path, bytes: u64) -> (u64, Pid) {
    let config = DirectoryConfig { fsync: Fsync::Never, ..DirectoryConfig::new(directory) };
    let mut writer = Directory::open(config).unwrap();
    let recording = recording();
    let mut builder = BlockBuilder::new(0);
    let mut build = Build::new();
    let table = Table::new(recording.table);
    writer.begin(&recording, &table.checkpoint(), 0, b"").unwrap();
    while writer.bytes() < bytes {
        build.events(1_000, &mut |event| builder.push(event));
        if builder.bytes() >= BlockBuilder::FULL {
            writer.append(&builder.take(&recording, b"")).unwrap();
        }
    }
    (builder.sequence(), Build::MAKE)
}

/// Milliseconds of CPU time of this thread: all is done by it.
fn time(work: impl FnOnce()) -> f64 {
    Cost::of(1, work).nanos / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "no benchmark has 2^52 bytes")]
fn figure(count: usize) -> f64 {
    count as f64
}
