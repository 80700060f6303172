//! Real captures, told again: from the records of `capture` to facts, compared with what is known to
//! have happened.
//!
//! `PROCESSION_UPDATE_EXPECTED=1` writes what comes out as what is expected.

use std::fmt::Write as _;
use std::{env, fs};

use procession::{
    BootTime, Counted, Event, EventKind, Fact, FactKind, Image, LineageDetail, Nature, Process, ProcessKey,
    Table, TableConfig,
};

use super::capture::directory;
use super::{Decoder, recorded};

/// A line for each fact, then the ledger, then what is alive.
///
/// A process is `PID@START`; times are in microseconds since the first record.
struct Story {
    text: String,
    begin: BootTime,
}

impl Story {
    fn tell(file: &[u8]) -> String {
        let mut story = Self { text: String::new(), begin: BootTime::default() };
        let mut decoder = Decoder::default();
        let mut table = Table::new(TableConfig::default());
        for record in recorded(file) {
            let Some(event) = decoder.decode(record).unwrap() else { continue };
            let process = table.apply(&event).process.unwrap();
            let kind = FactKind::of(&event.kind).unwrap();
            if story.text.is_empty() {
                story.begin = event.time;
            }
            story.add(&table.fact(process, event.time, kind, LineageDetail::Parent).unwrap(), &event);
        }
        story.add_ledger(&table);
        story.text
    }

    fn time(&self, time: BootTime) -> i128 {
        (i128::from(time.as_nanos()) - i128::from(self.begin.as_nanos())) / 1_000
    }

    fn key(&self, key: ProcessKey) -> String {
        format!("{}@{}", key.pid, self.time(key.start))
    }

    fn add(&mut self, fact: &Fact, event: &Event<'_>) {
        let (time, key) = (self.time(fact.time), self.key(fact.process.key));
        let parent = fact.parent().map_or(String::new(), |parent| format!(" < {}", self.key(parent.key)));
        let (kind, tid, status) = match &event.kind {
            EventKind::Fork(fork) => ("fork", fork.parent_tid, None),
            EventKind::Exec(exec) => ("exec", exec.tid, None),
            EventKind::Exit(exit) => ("exit", exit.tid, exit.status),
            EventKind::Running(running) => ("running", running.process.key.pid, None),
            EventKind::Change(change) => ("change", change.process.key.pid, None),
            EventKind::Gone(_) | EventKind::Lost(_) => unreachable!("no record of the kernel side says so"),
        };
        let status = status.map_or(String::new(), |status| format!(" {status}"));
        writeln!(self.text, "{time} {kind} {key}{parent}{status} by thread {tid}").unwrap();
        match fact.kind {
            FactKind::Exec | FactKind::Running => self.text.push_str(&program(&fact.process)),
            FactKind::Change => self.text.push_str(&context(&fact.process)),
            FactKind::Fork | FactKind::Exit { .. } => {}
        }
    }

    fn add_ledger(&mut self, table: &Table) {
        self.text.push('\n');
        for kind in Counted::ALL {
            let account = table.ledger().account(kind);
            let sum = account.applied + account.duplicate + account.late + account.rejected;
            assert_eq!(account.received, sum, "{kind:?}");
            writeln!(self.text, "{kind:?}: {} received, {} applied", account.received, account.applied)
                .unwrap();
        }
        let (known, alive) = (table.len(), table.live());
        writeln!(self.text, "{known} images, {alive} of them alive").unwrap();
    }
}

/// As whom and where it runs, and for how many changes.
fn context(process: &Process) -> String {
    let image = process.image.as_ref().unwrap();
    let (credentials, namespaces) = (image.credentials().unwrap(), image.namespaces().unwrap());
    let effective = credentials.capabilities.effective.0;
    let (user, mnt, changes) = (credentials.euid, namespaces.mnt, image.past().len());
    let session = process.session.unwrap();
    format!("    user {user} capabilities {effective:#x} mnt {mnt} session {session}, {changes} changes\n")
}

fn program(process: &Process) -> String {
    let image = process.image.as_ref().unwrap();
    let mut text = format!("    {}", image.binary().escape_ascii());
    if image.executable() != image.binary() {
        write!(text, " loaded {}", image.executable().escape_ascii()).unwrap();
    }
    writeln!(text, " as {} in {}", image.comm().escape_ascii(), image.cwd().as_bytes().escape_ascii())
        .unwrap();
    writeln!(text, "    {}", arguments(image)).unwrap();
    let credentials = image.credentials().unwrap();
    let (user, real) = (credentials.euid, credentials.uid);
    writeln!(text, "    user {user} real {real} cgroup {}", image.cgroup_path().escape_ascii()).unwrap();
    assert_eq!(image.nature(), Nature::User);
    if !image.privileges().is_none() {
        writeln!(text, "    {:?}", image.privileges()).unwrap();
    }
    if image.file().is_some_and(|file| file.is_unlinked()) {
        text.push_str("    the file has no name\n");
    }
    text
}

/// All of them, or the ends of a long list.
fn arguments(image: &Image) -> String {
    let quote = |argument: &[u8]| format!("\"{}\"", argument.escape_ascii());
    let arguments: Vec<_> = image.arguments().iter().map(quote).collect();
    if let ([first, second, .., last], true) = (&arguments[..], arguments.len() > 10) {
        let (count, len) = (arguments.len(), image.arguments().bytes.len());
        let missing = image.arguments().missing();
        return format!("{first} {second} ... {last}: {count} arguments, {len} bytes and {missing} missing");
    }
    arguments.join(" ")
}

#[track_caller]
fn check(name: &str) {
    let path = directory().join(name);
    let told = Story::tell(&fs::read(path.with_extension("records")).unwrap());
    let expected = path.with_extension("expected");
    if env::var_os("PROCESSION_UPDATE_EXPECTED").is_some() {
        fs::write(&expected, &told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(expected).unwrap());
}

#[test]
fn a_pipeline_of_a_shell() {
    check("pipeline");
}

#[test]
fn a_script_named_by_a_relative_path() {
    check("script");
}

#[test]
fn arguments_of_a_hundred_kilobytes() {
    check("long_arguments");
    let expected: Vec<_> = (1..=20_000).map(|number: u32| number.to_string().into_bytes()).collect();
    let file = fs::read(directory().join("long_arguments.records")).unwrap();
    let mut decoder = Decoder::default();
    let found = recorded(&file).any(|record| match decoder.decode(record).unwrap().map(|event| event.kind) {
        Some(EventKind::Exec(exec)) => exec.program.arguments.iter().skip(1).eq(&expected),
        _ => false,
    });
    assert!(found, "every one of them is in its place");
}

#[test]
fn an_exec_by_a_thread_that_is_not_the_leader() {
    check("thread_exec");
}

#[test]
fn a_set_user_id_program() {
    check("privileges");
}

#[test]
fn a_child_that_changes_as_whom_and_where_it_runs() {
    check("change");
}

#[test]
fn a_file_without_a_name_in_a_directory_that_is_gone() {
    check("nameless");
}

#[test]
fn arguments_of_every_kind_in_the_root_directory() {
    check("arguments");
}

#[test]
fn children_that_signals_end() {
    check("signals");
}

#[test]
fn what_a_container_runs() {
    check("container");
}
