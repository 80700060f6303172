//! Names of containers for which a reader has no room.

use std::time::{Duration, SystemTime};

use procession::{
    BootTime, Event, EventKind, Fork, Pid, ProcessKey, Relative, Subject, Table, TableConfig, WallClock,
};
use procession_journal::{BlockBuilder, Container, Directory, DirectoryConfig, Fsync, RawBlock, Recording};
use tempfile::TempDir;

use crate::run::Said;
use crate::trials::Test;

pub(crate) const TESTS: [Test; 2] = [
    ("names::what_has_no_room_is_told_with_every_question", what_has_no_room_is_told_with_every_question),
    ("names::names_are_kept_once_for_all_boots", names_are_kept_once_for_all_boots),
];

/// Of a boot, as the agent has it from the start.
pub(crate) fn recording(boot: u64) -> Recording {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000 + 1_000 * boot);
    Recording {
        node_name: "node1".into(),
        boot_id: format!("6ba7b810-9dad-11d1-80b4-{boot:012x}").parse().unwrap(),
        clock: WallClock::new(BootTime::ZERO, wall),
        source: "a test".into(),
        root: None,
        host_namespaces: None,
        table: TableConfig::default(),
    }
}

/// More names than there is room for: 256 MiB.
fn names() -> impl Iterator<Item = Container> {
    (0..42).map(|number| Container {
        id: format!("{number:064x}"),
        name: "x".repeat(7 << 20),
        ..Container::default()
    })
}

/// Process 100, which process 1 has forked.
pub(crate) fn fork() -> Event<'static> {
    let time = BootTime::from_nanos(1_000_000_000);
    let key = ProcessKey::new(Pid(100), time);
    let init = BootTime::from_nanos(1);
    let parent = Relative { key: ProcessKey::new(Pid(1), init), began: Some(init) };
    let child = Subject::exact(key, time);
    Event {
        time,
        kind: EventKind::Fork(Fork { child, parent, parent_tid: Pid(1), owner: parent, ..Fork::default() }),
    }
}

fn write_boot(directory: &TempDir, recording: &Recording, names: impl Iterator<Item = Container>) {
    let config = DirectoryConfig { fsync: Fsync::Never, ..DirectoryConfig::new(directory.path()) };
    let (mut journal, mut table) = (Directory::open(config).unwrap(), Table::new(TableConfig::default()));
    journal.begin(recording, &table.checkpoint(), 0, &[]).unwrap();
    for container in names {
        for block in RawBlock::names(recording, &[container]) {
            journal.append(&block).unwrap();
        }
    }
    let mut builder = BlockBuilder::new(0);
    builder.push(&fork());
    _ = table.apply(&fork());
    journal.append(&builder.take(recording, &[])).unwrap();
    journal.close(recording, table.ledger(), 1).unwrap();
}

fn what_has_no_room_is_told_with_every_question() {
    let directory = tempfile::tempdir().unwrap();
    write_boot(&directory, &recording(1), std::iter::empty());
    write_boot(&directory, &recording(2), names());
    let place = directory.path().to_str().unwrap();
    let questions: [&[&str]; 6] = [
        &["tree", "--journal", place],
        &["processes", "--journal", place],
        &["why", "100", "--journal", place],
        &["descendants", "1", "--journal", place],
        &["history", "100", "--journal", place],
        &["replay", place],
    ];
    for question in questions {
        let said = Said::with(question);
        let told = said.err.matches("the journal names more containers than there is room for").count();
        assert_eq!((said.code, told), (Some(0), 1), "{question:?}: {said:?}");
    }
}

/// With a copy for each boot they would take 3 GiB.
fn names_are_kept_once_for_all_boots() {
    const BOOTS: u64 = 12;
    let directory = tempfile::tempdir().unwrap();
    write_boot(&directory, &recording(1), names());
    for boot in 2..=BOOTS {
        write_boot(&directory, &recording(boot), std::iter::empty());
    }
    let place = directory.path().to_str().unwrap();
    let question = ["descendants", "100", "--ever", "-o", "json", "--journal", place];
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"ulimit -v 2097152 && exec "$@""#, "sh", env!("CARGO_BIN_EXE_procession")]);
    let output = command.args(question).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).lines().count() as u64;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told, BOOTS, "{output:?}");
}
