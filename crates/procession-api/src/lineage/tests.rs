//! Processes of a real table.

use std::time::{Duration, SystemTime};

use procession::{
    Arguments, BootId, BootTime, Capabilities, CapabilitySet, Cgroup, Change, Context, Credentials, Event,
    EventKind, Exec, Exit, ExitStatus, FileIdentity, Fork, MINIMUM_BUDGET, Namespaces, Pid, PrivilegeChange,
    ProcessKey, Program, Running, Subject, Table, TableConfig, Uid, WallClock,
};
use prost_types::Timestamp;

use super::process;
use crate::messages::MessageEncoder;
use crate::proto::procession::v1::{self, Origin, Provenance, end};
use crate::users::Users;

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
}

fn date(nanos: i32) -> Timestamp {
    Timestamp { seconds: 0, nanos }
}

/// What a table that heard of `events` knows of `key`.
fn known(table: &Table, key: ProcessKey) -> v1::Process {
    let encoder = MessageEncoder { node_name: "n".into(), ..MessageEncoder::default() };
    let clock = WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH);
    let boot: BootId = "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap();
    process(&encoder, table.get(key).unwrap(), None, Some(&boot), &clock, &Users::default())
}

#[expect(clippy::large_types_passed_by_value, reason = "reads better, and only tests pay")]
fn apply(table: &mut Table, time: u64, kind: EventKind<'_>) {
    let applied = table.apply(&Event { time: BootTime::from_nanos(time), kind });
    assert!(applied.process.is_some());
}

fn fork(table: &mut Table, parent: ProcessKey, child: ProcessKey) {
    let fork = Fork { child: Subject::exact(child, child.start), parent: parent.into(), ..Fork::default() };
    apply(table, child.start.as_nanos(), EventKind::Fork(fork));
}

fn exec(table: &mut Table, began: u64, key: ProcessKey, binary: &str) {
    let process = Subject::exact(key, BootTime::from_nanos(began));
    let credentials = Some(Credentials::default());
    let exec = Exec {
        process,
        context: Context { credentials, session: Some(Pid(100)), ..Context::default() },
        program: Program { binary: binary.as_bytes(), ..Program::default() },
        ..Exec::default()
    };
    apply(table, key.start.as_nanos(), EventKind::Exec(exec));
}

fn exit(table: &mut Table, time: u64, began: u64, key: ProcessKey, status: u32) {
    let process = Subject::exact(key, BootTime::from_nanos(began));
    let status = Some(ExitStatus::from_raw(status));
    apply(table, time, EventKind::Exit(Exit { process, status, ..Exit::default() }));
}

/// Init, found running; a shell that it forked; and a child of the shell.
fn family() -> Table {
    let mut table = Table::new(TableConfig::default());
    let init = Running {
        process: Subject::exact(key(1, 2), BootTime::from_nanos(2)),
        program: Program { binary: b"/sbin/init", ..Program::default() },
        ..Running::default()
    };
    apply(&mut table, 10, EventKind::Running(init));
    fork(&mut table, key(1, 2), key(100, 20));
    exec(&mut table, 20, key(100, 30), "/bin/sh");
    fork(&mut table, key(100, 30), key(101, 40));
    table
}

#[test]
fn each_says_how_it_came_to_be_known() {
    let mut table = family();
    let init = known(&table, key(1, 2));
    assert_eq!((init.origin(), init.parent_provenance()), (Origin::Running, Provenance::Unspecified));
    assert_eq!((init.depth, &*init.parent_binary), (0, ""));

    let shell = known(&table, key(100, 30));
    assert_eq!((shell.origin(), shell.parent_provenance()), (Origin::Exec, Provenance::Observed));
    assert_eq!((&*shell.parent_binary, shell.session), ("/sbin/init", 100));
    assert_eq!((shell.began, shell.process.unwrap().start_time), (Some(date(20)), Some(date(30))));

    let child = known(&table, key(101, 40));
    assert_eq!((child.origin(), &*child.parent_binary), (Origin::Fork, "/bin/sh"));
    assert_eq!(child.end, None);

    fork(&mut table, key(7, 5), key(8, 50));
    assert_eq!(known(&table, key(7, 5)).origin(), Origin::Inferred);
}

#[test]
fn the_uid_is_the_same_whatever_the_process_runs() {
    let mut table = family();
    let uid = known(&table, key(101, 40)).process_uid;
    exec(&mut table, 40, key(101, 60), "/bin/ls");
    assert_eq!(known(&table, key(101, 60)).process_uid, uid);
    assert_ne!(known(&table, key(100, 30)).process_uid, uid);
    assert_eq!(uid.len(), "6b9d2876-8430-58a2-af46-731e2d1df665".len());

    let entry = table.get(key(101, 60)).unwrap();
    let clock = WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let without = process(&MessageEncoder::default(), entry, None, None, &clock, &Users::default());
    assert_eq!(without.process_uid, "");
    assert_eq!(without.began, Some(Timestamp { seconds: 1, nanos: 40 }));
}

#[test]
fn each_end_has_its_form() {
    for (status, how) in [
        (3 << 8, end::How::Status(3)),
        (9, end::How::Signal("SIGKILL".into())),
        (34, end::How::Signal("signal 34".into())),
    ] {
        let mut table = family();
        exit(&mut table, 70, 40, key(101, 40), status);
        let end = known(&table, key(101, 40)).end.unwrap();
        assert_eq!((end.time, end.how), (Some(date(70)), Some(how)));
    }

    let mut table = family();
    exec(&mut table, 20, key(100, 80), "/bin/bash");
    let replaced = known(&table, key(100, 30)).end.unwrap();
    assert_eq!((replaced.time, replaced.how), (Some(date(80)), Some(end::How::Replaced(end::Replaced {}))));

    fork(&mut table, key(1, 2), key(101, 90));
    let vanished = known(&table, key(101, 40)).end.unwrap();
    assert_eq!(vanished.how, Some(end::How::Vanished(end::Vanished {})));
}

#[test]
fn an_owner_is_told_when_it_is_not_the_parent() {
    let mut table = family();
    assert_eq!(known(&table, key(101, 40)).owner_exec_id, "");
    exec(&mut table, 20, key(100, 50), "/bin/bash");
    assert_eq!(known(&table, key(101, 40)).owner_exec_id, "", "the parent, in another image");

    exit(&mut table, 70, 20, key(100, 50), 0);
    let orphan = known(&table, key(101, 40));
    assert_eq!(orphan.owner_exec_id, key(1, 2).exec_id("n"));
    assert_eq!(orphan.owner_provenance(), v1::Provenance::Inferred, "it may be another");
    exit(&mut table, 80, 40, key(101, 40), 0);
    assert_eq!(known(&table, key(101, 40)).owner_exec_id, "", "nobody owns what has ended");
}

#[test]
fn what_it_was_before_is_told_with_its_capabilities() {
    let mut table = family();
    let capabilities = Capabilities { effective: CapabilitySet(1 << 21), ..Capabilities::default() };
    let change = |time, credentials, namespaces, path: &'static [u8]| {
        let cgroup = Some(Cgroup { id: 1, path });
        let context = Context { credentials: Some(credentials), namespaces, cgroup, ..Context::default() };
        let process = Subject::exact(key(100, 30), BootTime::from_nanos(20));
        (time, EventKind::Change(Change { process, context }))
    };
    let user = Credentials { uid: Uid(1000), capabilities, ..Credentials::default() };
    let namespaces = Some(Namespaces { net: 7, ..Namespaces::default() });
    for (time, kind) in
        [change(50, user, namespaces, b"/a"), change(60, Credentials::default(), namespaces, b"/b")]
    {
        apply(&mut table, time, kind);
    }

    let past = known(&table, key(100, 30)).past;
    assert_eq!(
        past.iter().map(|spell| spell.until).collect::<Vec<_>>(),
        [50, 60].map(|nanos| Some(date(nanos)))
    );
    assert_eq!((&*past[0].cgroup, &*past[1].cgroup), ("", "/a"));
    let credentials = past[1].credentials.clone().unwrap();
    assert_eq!((credentials.uid, credentials.caps.unwrap().effective), (Some(1000), vec![21]));
    let net = past[1].namespaces.unwrap().net.unwrap();
    assert_eq!((net.inum, net.is_host), (7, false), "nobody said which are the host's");
    assert_eq!(past[0].namespaces, None);
}

#[test]
fn its_rights_and_its_file_are_told_whatever_events_tell() {
    let mut table = family();
    let file = Some(FileIdentity { inode: 9, links: 0, ..FileIdentity::default() });
    let exec = Exec {
        process: Subject::exact(key(101, 60), BootTime::from_nanos(40)),
        context: Context { credentials: Some(Credentials::default()), ..Context::default() },
        program: Program {
            binary: b"/dev/fd/3",
            executable: b"/memfd:x",
            file,
            privileges: PrivilegeChange { setuid: true, ..PrivilegeChange::default() },
            ..Program::default()
        },
        ..Exec::default()
    };
    apply(&mut table, 60, EventKind::Exec(exec));
    let process = known(&table, key(101, 60)).process.unwrap();
    assert!(process.cap.is_some() && process.process_credentials.is_some());
    let properties = process.binary_properties.unwrap();
    assert_eq!((properties.setuid, properties.setgid), (Some(0), None));
    assert_eq!(properties.file.unwrap().path, "/memfd:x");

    let plain = known(&table, key(100, 30)).process.unwrap();
    assert_eq!(plain.binary_properties, None);
}

#[test]
fn one_whose_file_is_not_known_has_the_name_of_its_thread() {
    let mut table = family();
    for (pid, binary, comm) in [(200, "", "worker"), (201, "/bin/ls", "")] {
        let process = Subject::exact(key(pid, 70), BootTime::from_nanos(70));
        let program = Program { binary: binary.as_bytes(), comm: b"worker", ..Program::default() };
        apply(&mut table, 80, EventKind::Running(Running { process, program, ..Running::default() }));
        assert_eq!(known(&table, key(pid, 70)).comm, comm);
    }
}

#[test]
fn a_tombstone_still_has_its_program() {
    let mut table = Table::new(TableConfig { budget: MINIMUM_BUDGET, ..TableConfig::default() });
    let arguments = [b'a'; 400];
    let mut parent = key(1, 1);
    for number in 1..8_000 {
        let child = key(1 + number, u64::from(number) * 10);
        let program = Program {
            binary: b"/bin/link",
            arguments: Arguments::complete(&arguments),
            ..Program::default()
        };
        fork(&mut table, parent, child);
        let image = key(child.pid.0, child.start.as_nanos() + 1);
        let process = Subject::exact(image, child.start);
        let context = Context::default();
        apply(
            &mut table,
            image.start.as_nanos(),
            EventKind::Exec(Exec { process, program, context, ..Exec::default() }),
        );
        if number > 1 {
            exit(&mut table, image.start.as_nanos() + 1, parent.start.as_nanos() - 1, parent, 0);
        }
        parent = image;
    }
    let tombstones: Vec<_> = table.entries().filter(|entry| entry.snapshot().tombstone.is_some()).collect();
    assert!(!tombstones.is_empty());
    let mut stand_for = 0;
    for entry in tombstones {
        let message = known(&table, entry.key());
        assert_eq!(message.process.unwrap().binary, "/bin/link");
        assert!(message.stands_for >= 1);
        stand_for = stand_for.max(message.stands_for);
    }
    assert!(stand_for > 1, "runs of them are folded");
    assert_eq!(known(&table, parent).stands_for, 0);
}
