//! What a restart costs: a checkpoint of a table with 100,000 live processes, taken, taken apart, made of
//! its parts again and restored; and what it costs to compare the table with a look at all of them.
//!
//! ```text
//! cargo bench -p procession --bench checkpoint
//! ```
//!
//! Each process was forked by a shell, runs one of a hundred programs with arguments of its own, and has
//! credentials, namespaces and a control group, as the eBPF source would tell. Printed is the least CPU
//! time of five rounds.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::env;
use std::hint::black_box;
use std::time::Duration;

use procession::{
    Arguments, BootTime, Cgroup, Checkpoint, CheckpointBuilder, Context, Credentials, Event, EventKind, Exec,
    Fork, Namespaces, Pid, ProcessKey, Program, Relative, Subject, Survey, Table, TableConfig,
    WorkingDirectory,
};
use rustix::time::{ClockId, clock_gettime};

const PROCESSES: u32 = 100_000;

const ROUNDS: usize = 5;

fn main() {
    // `cargo test --benches` wants to see that it starts.
    let processes = if env::args().any(|argument| argument == "--test") { 100 } else { PROCESSES };
    let table = table(processes);
    let checkpoint = table.checkpoint();
    println!("{} entries, {} live, {} KiB", table.len(), table.live(), table.memory() >> 10);
    show("Table::checkpoint", || table.checkpoint());
    show("Checkpoint::parts", || checkpoint.parts().count());
    show("CheckpointBuilder", || rebuilt(&checkpoint));
    show("Table::restore", || Table::restore(&checkpoint));
    show("CheckpointBuilder and Table::restore", || Table::restore(&rebuilt(&checkpoint)));
    let survey = survey(&table);
    show("Table::suspects", || table.suspects(&survey));
}

fn show<T>(what: &str, mut work: impl FnMut() -> T) {
    let rounds = (0..ROUNDS).map(|_| {
        let began = cpu_time();
        let made = black_box(work());
        let took = cpu_time().saturating_sub(began);
        drop(made);
        took
    });
    let shortest = rounds.min().unwrap_or(Duration::ZERO);
    println!("{what:<40} {:>8.1} ms", shortest.as_secs_f64() * 1e3);
}

/// That of this thread: others may want the machine too.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("time does not go back")
}

fn rebuilt(checkpoint: &Checkpoint) -> Checkpoint {
    let mut builder = CheckpointBuilder::new(checkpoint.config(), checkpoint.state());
    for part in checkpoint.parts() {
        builder.add(&part).expect("a part of a checkpoint");
    }
    builder.finish().expect("all parts of a checkpoint")
}

fn survey(table: &Table) -> Survey {
    let mut survey = Survey::new(table.now());
    for entry in table.entries().filter(|entry| entry.is_running()) {
        survey.saw(Subject::exact(entry.key(), entry.began()));
    }
    survey
}

fn table(processes: u32) -> Table {
    let mut table = Table::new(TableConfig { budget: 256 << 20, ..TableConfig::default() });
    let shell = ProcessKey::new(Pid(1), BootTime::from_nanos(1));
    for number in 0..processes {
        let began = BootTime::from_nanos(u64::from(number) * 1_000_000 + 1_000_000);
        let forked = ProcessKey::new(Pid(number + 2), began);
        let child = Subject::exact(forked, began);
        let parent = Relative { key: shell, began: Some(shell.start) };
        tell(&mut table, began, EventKind::Fork(Fork { child, parent, ..Fork::default() }));
        let start = BootTime::from_nanos(began.as_nanos() + 400_000);
        let (binary, cgroup) = (format!("/usr/bin/program-{}", number % 100), number % 1_000);
        let arguments = format!("{binary}\0--number\0{number}\0--with-some-text\0{}\0", "x".repeat(100));
        let cgroup_path = format!("/kubepods.slice/pod{cgroup}/container");
        let exec = Exec {
            process: Subject::exact(ProcessKey::new(forked.pid, start), began),
            replaces: Some(forked),
            tid: forked.pid,
            owner: parent,
            context: Context {
                credentials: Some(Credentials::default()),
                namespaces: Some(Namespaces::default()),
                cgroup: Some(Cgroup { id: cgroup.into(), path: cgroup_path.as_bytes() }),
                ..Context::default()
            },
            program: Program {
                binary: binary.as_bytes(),
                executable: binary.as_bytes(),
                comm: b"program",
                cwd: WorkingDirectory::Path(b"/srv"),
                arguments: Arguments::complete(arguments.as_bytes()),
                ..Program::default()
            },
        };
        tell(&mut table, start, EventKind::Exec(exec));
    }
    table
}

#[expect(clippy::large_types_passed_by_value, reason = "made for one call")]
fn tell(table: &mut Table, time: BootTime, kind: EventKind<'_>) {
    let _ = table.apply(&Event { time, kind });
}
