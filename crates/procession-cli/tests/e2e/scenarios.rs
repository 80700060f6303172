//! What was seen, compared with what was done: each event once, with the right fields.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use procession::{Fact, FactKind, LONGEST_HISTORY, Origin, Pid, Provenance};

use crate::observer::Observer;
use crate::truth::{Change, Event, Exec, Exit, Fork, Ids, Status};

/// `has_changes`: the sensor sees what a process changes about itself.
pub(crate) fn trials(has_changes: bool) -> Vec<Trial> {
    let list = Command::new(crate::actor()).arg("--list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let trial = |name: &str| {
        let scenario = name.to_owned();
        Trial::test(format!("scenario::{name}"), move || {
            play(&scenario, has_changes);
            Ok(())
        })
        .with_ignored_flag(!has_changes && name.starts_with("change-"))
    };
    let trials: Vec<_> = names.map(trial).collect();
    assert!(trials.len() > 20, "the actor lists its scenarios");
    trials
}

fn play(scenario: &str, has_changes: bool) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("truth");
    let facts = Observer::run(Command::new(crate::actor()).arg(scenario).arg("--truth").arg(&file));
    let mut truth = read(&file);
    truth.retain(|event| has_changes || !matches!(event, Event::Change(_)));
    assert!(!truth.is_empty(), "{scenario} does something");

    let mut unexplained = facts;
    for event in &truth {
        let position = unexplained.iter().position(|fact| is_about(fact, event));
        let Some(position) = position else { panic!("not seen: {event:?}\nleft over: {unexplained:#?}") };
        let fact = unexplained.remove(position);
        match event {
            Event::Fork(fork) => check_fork(&fact, fork),
            Event::Exec(exec) => check_exec(&fact, exec),
            Event::Exit(exit) => check_exit(&fact, exit),
            Event::Change(change) => check_change(&fact, change),
            Event::Count(_) => unreachable!("scenarios tell each event"),
        }
    }
    assert!(unexplained.is_empty(), "seen but never done: {unexplained:#?}");
}

pub(crate) fn read(truth: &Path) -> Vec<Event> {
    let text = fs::read_to_string(truth).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Same kind and pid: of those, the truth and the facts of one process are in the same order.
fn is_about(fact: &Fact, event: &Event) -> bool {
    let pid = fact.process.pid().0;
    match (event, fact.kind) {
        (Event::Fork(fork), FactKind::Fork) => fork.pid == pid,
        (Event::Exec(exec), FactKind::Exec) => exec.pid == pid,
        (Event::Exit(exit), FactKind::Exit { .. }) => exit.pid == pid,
        (Event::Change(change), FactKind::Change) => change.pid == pid,
        _ => false,
    }
}

fn owner(fact: &Fact) -> Option<u32> {
    fact.process.owner.map(|key| key.pid.0)
}

fn ns_pid(fact: &Fact) -> Option<u32> {
    fact.process.ns_pid.map(|pid| pid.0)
}

fn check_fork(fact: &Fact, fork: &Fork) {
    let process = &fact.process;
    let parent = process.parent.unwrap();
    assert_eq!(process.origin, Origin::Fork, "{fork:?}");
    assert_eq!((parent.key.pid.0, parent.provenance), (fork.parent, Provenance::Observed), "{fork:?}");
    assert_eq!(fact.parent().unwrap().key, parent.key);
    assert_eq!(owner(fact), fork.owner, "{fork:?}");
    assert_eq!(ns_pid(fact), fork.ns_pid, "{fork:?}");
    assert_eq!(process.key.start, process.began);
}

fn check_exec(fact: &Fact, exec: &Exec) {
    let process = &fact.process;
    let image = process.image.as_ref().unwrap();
    assert_eq!(image.binary().escape_ascii().to_string(), expected_binary(exec), "{exec:?}");
    assert_eq!(image.executable().escape_ascii().to_string(), exec.executable, "{exec:?}");
    let arguments: Vec<_> = image.arguments().iter().collect();
    assert_eq!(arguments.len(), exec.arguments.len(), "{exec:?}");
    assert!(arguments.iter().zip(&exec.arguments).all(|(seen, told)| *seen == told.0), "{exec:?}");
    assert_eq!(image.arguments().missing(), 0, "{exec:?}");
    match (&exec.cwd, &exec.cwd_end) {
        (Some(cwd), _) => assert_eq!(image.cwd().as_bytes(), cwd.as_bytes(), "{exec:?}"),
        (None, Some(end)) => assert!(image.cwd().as_bytes().ends_with(end.as_bytes()), "{exec:?}"),
        (None, None) => {}
    }
    let ids = image.credentials().unwrap();
    assert_eq!(
        (ids.uid.0, ids.euid.0, ids.gid.0, ids.egid.0),
        (exec.ids.uid, exec.ids.euid, exec.ids.gid, exec.ids.egid),
        "{exec:?}"
    );
    let privileges = image.privileges();
    assert_eq!((privileges.setuid, privileges.setgid), (exec.setuid, exec.setgid), "{exec:?}");
    assert_eq!(image.file().unwrap().is_unlinked(), exec.unlinked, "{exec:?}");
    assert_eq!(owner(fact), exec.owner, "{exec:?}");
    assert_eq!(ns_pid(fact), exec.ns_pid, "{exec:?}");
    assert_eq!(process.key.start, fact.time);
    assert!(process.began < process.key.start);
    assert!(image.namespaces().is_some_and(|namespaces| namespaces.mnt != 0 && namespaces.pid != 0));
    assert!(image.cgroup_id() != 0 && image.cgroup_path().starts_with(b"/"));
}

fn check_change(fact: &Fact, change: &Change) {
    let process = &fact.process;
    let image = process.image.as_ref().unwrap();
    let (credentials, namespaces) = (image.credentials().unwrap(), image.namespaces().unwrap());
    assert_eq!(ids(fact), change.ids, "{change:?}");
    assert_eq!(credentials.capabilities.effective.0, change.capabilities, "{change:?}");
    // The first process of a machine is in no session before it begins one.
    let session = Some(Pid(change.session)).filter(|leader| leader.0 != 0);
    assert_eq!(process.session, session, "{change:?}");
    let places = (namespaces.mnt, namespaces.uts);
    assert_eq!(places, (change.mnt, change.uts), "{change:?}");
    if change.pid_for_children != 0 {
        assert_eq!(namespaces.pid_for_children, change.pid_for_children, "{change:?}");
    }
    assert!(image.past().len() <= LONGEST_HISTORY);
    assert!(image.cgroup_path().starts_with(b"/"), "it is still known");
}

fn ids(fact: &Fact) -> Ids {
    let ids = fact.process.credentials().unwrap();
    Ids { uid: ids.uid.0, euid: ids.euid.0, gid: ids.gid.0, egid: ids.egid.0 }
}

/// A file that was given as a descriptor is named by its own path, not by the descriptor's number.
fn expected_binary(exec: &Exec) -> &str {
    if exec.named.starts_with("/dev/fd/") { &exec.executable } else { &exec.binary }
}

fn check_exit(fact: &Fact, exit: &Exit) {
    let FactKind::Exit { status: Some(status), .. } = fact.kind else { panic!("{exit:?} without a status") };
    let told = match exit.status {
        Status::Exited { code } => (code, None, false),
        Status::Signaled { signal, core } => (0, Some(signal), core),
    };
    let seen =
        (i32::from(status.code()), status.signal().map(|it| i32::from(it.number())), status.core_dumped());
    assert_eq!(seen, told, "{exit:?}");
    assert_eq!(owner(fact), exit.owner, "{exit:?}");
    if let Some(expected) = exit.ids {
        assert_eq!(ids(fact), expected, "{exit:?}");
        assert!(fact.process.image.as_ref().unwrap().past().is_empty(), "{exit:?}");
    }
}
