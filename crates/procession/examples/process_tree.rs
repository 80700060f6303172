//! Builds a process tree from events, and asks it questions.
//!
//! ```text
//! cargo run -p procession --example process_tree
//! ```
//!
//! The events are made up here; a program of yours takes them from wherever it observes processes,
//! or from `procession-sensor`, which takes them from the kernel.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;

use procession::{
    Arguments, BootTime, Context, Credentials, Entry, Event, EventKind, Exec, Exit, ExitStatus, Fork, Image,
    Outcome, Pid, ProcessKey, Program, Running, Subject, Table, TableConfig, Uid, text,
};

fn main() {
    let mut table = Table::new(TableConfig::default());
    for (time, kind) in what_happened() {
        let applied = table.apply(&Event { time: BootTime::from_nanos(time), kind });
        assert_eq!(applied.outcome, Outcome::Applied);
    }

    println!("what runs:");
    print_tree(&table);

    let compiler = table.get(key(13, 90)).expect("it has ended, but not long ago");
    println!("\nwho started {}?", name(compiler));
    for ancestor in compiler.ancestors() {
        println!("  {} {}", ancestor.key().pid, name(ancestor));
    }

    let account = table.ledger();
    println!(
        "\n{} events received, {} lost; {} bytes used",
        account.received(),
        account.lost(),
        table.memory()
    );
}

/// A user logs in, becomes root, and builds something; the shell that started the build exits.
fn what_happened() -> Vec<(u64, EventKind<'static>)> {
    let (init, shell, make, compiler) = (key(1, 1), key(10, 20), key(12, 70), key(13, 90));
    let found = Running {
        process: Subject::exact(init, init.start),
        owner: ProcessKey::NONE.into(),
        context: user(0),
        program: program("/sbin/init", ""),
        gap: None,
    };
    vec![
        (5, EventKind::Running(found)),
        (10, fork(init, key(10, 10))),
        (20, exec(shell, 10, init, user(1000), program("/bin/bash", "bash\0-l\0"))),
        (60, fork(shell, key(12, 60))),
        (70, exec(make, 60, shell, user(0), program("/usr/bin/make", "make\0all\0"))),
        (80, fork(make, key(13, 80))),
        (90, exec(compiler, 80, make, user(0), program("/usr/bin/cc", "cc\0-O2\0main.c\0"))),
        (95, exit(shell, 10)),
        (99, exit(compiler, 80)),
    ]
}

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
}

fn user(uid: u32) -> Context<'static> {
    let credentials = Credentials { uid: Uid(uid), euid: Uid(uid), ..Credentials::default() };
    Context { credentials: Some(credentials), ..Context::default() }
}

fn program(binary: &'static str, arguments: &'static str) -> Program<'static> {
    let arguments = Arguments::complete(arguments.as_bytes());
    Program { binary: binary.as_bytes(), arguments, ..Program::default() }
}

fn fork(parent: ProcessKey, child: ProcessKey) -> EventKind<'static> {
    EventKind::Fork(Fork {
        child: Subject::exact(child, child.start),
        parent: parent.into(),
        parent_tid: parent.pid,
        owner: parent.into(),
        context: Context::default(),
    })
}

/// An exec of the process that began at `began`. Its image gets a start of its own.
fn exec(
    image: ProcessKey,
    began: u64,
    owner: ProcessKey,
    context: Context<'static>,
    program: Program<'static>,
) -> EventKind<'static> {
    let process = Subject::exact(image, BootTime::from_nanos(began));
    EventKind::Exec(Exec { process, replaces: None, tid: image.pid, owner: owner.into(), context, program })
}

fn exit(image: ProcessKey, began: u64) -> EventKind<'static> {
    EventKind::Exit(Exit {
        process: Subject::exact(image, BootTime::from_nanos(began)),
        tid: image.pid,
        owner: ProcessKey::NONE.into(),
        status: Some(ExitStatus::from_raw(0)),
        comm: b"",
    })
}

/// Each live process below the one that owns it now.
fn print_tree(table: &Table) {
    let mut households: BTreeMap<ProcessKey, Vec<Entry<'_>>> = BTreeMap::new();
    for entry in table.entries().filter(|entry| entry.is_running()) {
        let owner = entry.owner().map_or(ProcessKey::NONE, |owner| owner.key);
        households.entry(owner).or_default().push(entry);
    }
    let below = |owner: ProcessKey, depth: usize| {
        households.get(&owner).into_iter().flatten().map(move |entry| (depth, *entry))
    };
    let mut open: Vec<_> = below(ProcessKey::NONE, 0).collect();
    while let Some((depth, entry)) = open.pop() {
        let arguments = entry.image().map(Image::arguments_text).unwrap_or_default();
        let user = entry.credentials().map_or(u32::MAX, |credentials| credentials.euid.0);
        let (indent, arguments) = ("  ".repeat(depth), text::to_valid_utf8(&arguments));
        println!("{indent}{} {} {arguments} (user {user})", entry.key().pid, name(entry));
        open.extend(below(entry.key(), depth + 1));
    }
}

fn name(entry: Entry<'_>) -> String {
    text::to_valid_utf8(entry.binary()).into_owned()
}
