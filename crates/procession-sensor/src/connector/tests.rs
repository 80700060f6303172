//! The tracker on a fake `/proc`, and the source on the running kernel.

use std::collections::HashSet;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;

use procession::{Exec, Exit, Fork, Pid, ProcessKey};

use super::message::{Notice, Task};
use super::*;
use crate::proc::Comm;
use crate::proc::fake::{FakeProc, FakeStat};

const NOW: BootTime = BootTime::from_ticks(1_000);

fn task(tid: u32, process: u32) -> Task {
    Task { tid: Pid(tid), process: Pid(process) }
}

fn fork(parent: u32, child: u32) -> Notice {
    Notice::Fork { parent: task(parent, parent), child: task(child, child) }
}

fn thread(process: u32, tid: u32) -> Notice {
    Notice::Fork { parent: task(process, process), child: task(tid, process) }
}

fn exec(pid: u32) -> Notice {
    Notice::Exec { process: Pid(pid) }
}

fn exit(tid: u32, process: u32, status: u32) -> Notice {
    Notice::Exit { task: task(tid, process), status, parent: Pid(1) }
}

fn key(pid: u32, start: BootTime) -> ProcessKey {
    ProcessKey::new(Pid(pid), start)
}

/// A host that runs init since tick 1.
fn host() -> (FakeProc, Tracker) {
    let fake = FakeProc::new();
    fake.process(1, &FakeStat { comm: b"init", parent: 0, start: 1, ..FakeStat::default() });
    let tracker = Tracker::new(fake.open());
    (fake, tracker)
}

/// What the tracker tells, in short.
fn follow(tracker: &mut Tracker, time: BootTime, notices: &[Notice]) -> Vec<String> {
    let mut told = Vec::new();
    for notice in notices {
        tracker.follow(*notice, time, &mut |event| told.push(short(&event.kind)));
    }
    told
}

fn walk(tracker: &mut Tracker) -> Vec<String> {
    let mut told = Vec::new();
    tracker.walk(&mut |event| told.push(short(&event.kind))).unwrap();
    told
}

fn short(kind: &EventKind<'_>) -> String {
    let text = String::from_utf8_lossy;
    match kind {
        EventKind::Fork(it) => format!("fork {} -> {}", it.parent.key.pid, it.child.key.pid),
        EventKind::Exec(it) => format!("exec {} {}", it.process.key.pid, text(it.program.comm)),
        EventKind::Exit(Exit { process, status: Some(status), comm, .. }) => {
            format!("exit {} {} {status}", process.key.pid, text(comm))
        }
        EventKind::Exit(it) => format!("gone {} {}", it.process.key.pid, text(it.comm)),
        EventKind::Running(it) => format!("running {}", it.process.key.pid),
        EventKind::Change(it) => format!("change {}", it.process.key.pid),
        EventKind::Gone(it) => format!("not there {}", it.process.key.pid),
        EventKind::Lost(count) => format!("lost {count}"),
    }
}

#[test]
fn a_life_from_fork_to_exit() {
    let (fake, mut tracker) = host();
    walk(&mut tracker);
    let now = clock::now();
    fake.process(7, &FakeStat { comm: b"init", start: 5, ..FakeStat::default() });
    assert_eq!(follow(&mut tracker, now, &[fork(1, 7)]), ["fork 1 -> 7"]);
    fake.process(7, &FakeStat { comm: b"ls", start: 5, ..FakeStat::default() });
    assert_eq!(follow(&mut tracker, now.after(BootTime::TICK), &[exec(7)]), ["exec 7 ls"]);
    fake.remove(7);
    let end = follow(&mut tracker, now.after(2 * BootTime::TICK), &[exit(7, 7, 256)]);
    assert_eq!(end, ["exit 7 ls exit 1"]);
    assert_eq!(tracker.began(Pid(7)), None);
}

#[test]
fn keys_are_made_of_proc_ticks_for_beginnings_and_of_notices_for_execs() {
    let (fake, mut tracker) = host();
    fake.process(7, &FakeStat { start: 900, ..FakeStat::default() });
    let began = BootTime::from_ticks(900);
    let init = key(1, BootTime::from_ticks(1));
    let mut seen = Vec::new();
    let mut time = NOW;
    for notice in [fork(1, 7), exec(7), exit(7, 7, 0)] {
        tracker.follow(notice, time, &mut |event| {
            let (subject, owner) = match event.kind {
                EventKind::Fork(Fork { child, owner, .. }) => (child, owner),
                EventKind::Exec(Exec { process, owner, .. })
                | EventKind::Exit(Exit { process, owner, .. }) => (process, owner),
                kind => panic!("{kind:?}"),
            };
            assert_eq!((subject.began, owner.key), (began, init));
            seen.push(subject.key);
        });
        time = time.after(BootTime::TICK);
    }
    let image = NOW.after(BootTime::TICK);
    assert_eq!(seen, [key(7, began), key(7, image), key(7, image)]);
}

#[test]
fn a_process_that_is_gone_at_once_has_its_times_from_the_notices() {
    let (_fake, mut tracker) = host();
    let told = follow(&mut tracker, NOW, &[fork(1, 7)]);
    assert_eq!(told, ["fork 1 -> 7"]);
    assert_eq!(tracker.began(Pid(7)), Some(NOW));
    let later = NOW.after(BootTime::TICK);
    assert_eq!(follow(&mut tracker, later, &[exec(7), exit(7, 7, 9)]), ["exec 7 ", "exit 7  SIGKILL"]);
}

#[test]
fn a_process_ends_with_its_last_thread() {
    let (_fake, mut tracker) = host();
    let told = follow(&mut tracker, NOW, &[fork(1, 7), thread(7, 8), exit(7, 7, 0), exit(9, 7, 0)]);
    assert_eq!(told, ["fork 1 -> 7"], "the leader's end is not the process's");
    assert_eq!(follow(&mut tracker, NOW, &[exit(8, 7, 512)]), ["exit 7  exit 2"]);
}

fn changed(tid: u32, process: u32) -> Notice {
    Notice::Changed { task: task(tid, process) }
}

/// What is told of changes when all is clear.
fn changes(tracker: &mut Tracker) -> Vec<String> {
    let mut told = Vec::new();
    tracker.tell_changes(BootTime::from_nanos(u64::MAX), &mut |event| told.push(short(&event.kind)));
    told
}

#[test]
fn a_change_is_told_once_it_is_clear_that_it_is_no_part_of_an_exec() {
    let (fake, mut tracker) = host();
    fake.process(7, &FakeStat { start: 900, ..FakeStat::default() });
    let later = NOW.after(BootTime::TICK);
    assert_eq!(follow(&mut tracker, NOW, &[fork(1, 7)]), ["fork 1 -> 7"]);
    assert_eq!(follow(&mut tracker, later, &[changed(7, 7), changed(7, 7)]), [""; 0]);
    tracker.tell_changes(later, &mut |event| panic!("too soon: {event:?}"));
    assert_eq!(changes(&mut tracker), ["change 7"], "two notices of one change");
    assert!(!tracker.has_changes());

    let told = follow(&mut tracker, later, &[changed(7, 7), exec(7)]);
    assert_eq!((told, changes(&mut tracker)), (vec!["exec 7 sh".to_owned()], Vec::new()));
    follow(&mut tracker, later, &[changed(8, 7), changed(9, 9)]);
    assert_eq!(changes(&mut tracker), [""; 0], "of a thread, and of a process that nobody knows");
    follow(&mut tracker, later, &[changed(7, 7)]);
    fake.remove(7);
    assert_eq!(changes(&mut tracker), [""; 0], "it is gone");
}

#[test]
fn a_child_is_as_its_parent_has_become() {
    let (fake, mut tracker) = host();
    for pid in [7, 8] {
        fake.process(pid, &FakeStat { start: 900, ..FakeStat::default() });
    }
    follow(&mut tracker, NOW, &[fork(1, 7)]);
    let told = follow(&mut tracker, NOW.after(BootTime::TICK), &[changed(7, 7), fork(7, 8)]);
    assert_eq!(told, ["change 7", "fork 7 -> 8"]);
}

#[test]
fn an_exec_leaves_one_thread_that_has_the_leaders_name() {
    let (_fake, mut tracker) = host();
    follow(&mut tracker, NOW, &[fork(1, 7), thread(7, 8), thread(7, 9)]);
    // 9 calls exec: 7 and 8 end, 9 becomes 7.
    let later = NOW.after(BootTime::TICK);
    let told = follow(&mut tracker, later, &[exit(7, 7, 9), exit(8, 7, 9), exec(7), exit(7, 7, 0)]);
    assert_eq!(told, ["exec 7 ", "exit 7  exit 0"]);
}

#[test]
fn what_queued_up_during_the_walk_is_told_once() {
    let (fake, mut tracker) = host();
    fake.process(7, &FakeStat { comm: b"sh", start: 900, ..FakeStat::default() });
    assert_eq!(walk(&mut tracker), ["running 1", "running 7"]);
    // Of another process, before: the pid's last owner. Then this one's fork and exec.
    assert!(follow(&mut tracker, BootTime::from_ticks(800), &[exit(7, 7, 0)]).is_empty());
    assert!(follow(&mut tracker, NOW, &[fork(1, 7), exec(7)]).is_empty());
    assert_eq!(follow(&mut tracker, clock::now(), &[exit(7, 7, 0)]), ["exit 7 sh exit 0"]);
}

#[test]
fn threads_of_the_walk_and_of_the_queue_are_the_same() {
    let (fake, mut tracker) = host();
    fake.process(7, &FakeStat { state: 'Z', threads: 3, start: 900, ..FakeStat::default() });
    for tid in [7, 8, 9] {
        fake.directory(&format!("7/task/{tid}"));
    }
    walk(&mut tracker);
    assert!(follow(&mut tracker, NOW, &[thread(7, 9), exit(9, 7, 0)]).is_empty());
    assert_eq!(follow(&mut tracker, NOW, &[exit(8, 7, 0)]).len(), 1, "the leader had exited before");
}

#[test]
fn a_process_may_rename_itself() {
    let (_fake, mut tracker) = host();
    let renamed = |tid| Notice::Renamed { task: task(tid, 7), comm: Comm::new(b"new") };
    follow(&mut tracker, NOW, &[fork(1, 7), renamed(8)]);
    assert_eq!(follow(&mut tracker, NOW, &[renamed(7), exit(7, 7, 0)]), ["exit 7 new exit 0"]);
}

#[test]
fn a_process_whose_fork_was_lost_is_known_from_its_exec_on() {
    let (fake, mut tracker) = host();
    assert!(follow(&mut tracker, NOW, &[exit(7, 7, 0)]).is_empty());
    fake.process(7, &FakeStat { comm: b"ls", start: 900, ..FakeStat::default() });
    assert_eq!(follow(&mut tracker, NOW, &[exec(7)]), ["exec 7 ls"]);
    assert_eq!(tracker.began(Pid(7)), Some(BootTime::from_ticks(900)));
}

#[test]
fn a_repair_finds_who_came_and_who_went() {
    let (fake, mut tracker) = host();
    fake.process(7, &FakeStat { comm: b"went", start: 900, ..FakeStat::default() });
    walk(&mut tracker);
    fake.remove(7);
    fake.process(8, &FakeStat { start: 950, ..FakeStat::default() });
    let mut repair = Repair::default();
    repair.request();
    assert_eq!(step(&mut repair, &mut tracker), ["running 8"]);
    assert_eq!(step(&mut repair, &mut tracker), ["gone 7 went"]);
    assert!(repair.is_idle());

    // An exit that was in the queue after all has the last word.
    fake.remove(8);
    repair.request();
    step(&mut repair, &mut tracker);
    assert_eq!(follow(&mut tracker, clock::now(), &[exit(8, 8, 0)]), ["exit 8 sh exit 0"]);
    assert!(step(&mut repair, &mut tracker).is_empty());
}

/// What a step of a repair tells.
fn step(repair: &mut Repair, tracker: &mut Tracker) -> Vec<String> {
    let mut told = Vec::new();
    repair.step(tracker, &mut |event| told.push(short(&event.kind))).unwrap();
    told
}

/// All of a repair, while no notices come.
fn repair(tracker: &mut Tracker) -> Vec<String> {
    let mut repair = Repair::default();
    repair.request();
    let mut told = Vec::new();
    while !repair.is_idle() {
        told.extend(step(&mut repair, tracker));
    }
    told
}

/// Process 7 has these threads, each with its state.
fn have_threads(fake: &FakeProc, threads: &[(u32, char)]) {
    let state = threads.iter().find(|(tid, _)| *tid == 7).map_or('Z', |(_, state)| *state);
    // A leader that has exited stays, and counts.
    let count = threads.iter().filter(|(tid, _)| *tid != 7).count() + 1;
    let stat = FakeStat { state, threads: count.try_into().unwrap(), start: 900, ..FakeStat::default() };
    let _ = std::fs::remove_dir_all(fake.path().join("7"));
    fake.process(7, &stat);
    for (tid, state) in threads.iter().chain([&(7, state)]) {
        fake.directory(&format!("7/task/{tid}"));
        let stat = FakeStat { state: *state, start: 900, ..FakeStat::default() };
        fake.file(7, &format!("task/{tid}/stat"), &stat.line(*tid));
    }
}

#[test]
fn a_repair_finds_which_threads_came_and_went() {
    let (fake, mut tracker) = host();
    have_threads(&fake, &[(7, 'S'), (8, 'S')]);
    walk(&mut tracker);
    // The end of 8 is lost, and the begin of 9.
    have_threads(&fake, &[(7, 'S'), (9, 'S')]);
    assert_eq!(repair(&mut tracker), [""; 0]);
    let now = clock::now();
    assert_eq!(follow(&mut tracker, now, &[exit(7, 7, 0)]), [""; 0], "9 still runs");
    assert_eq!(follow(&mut tracker, now, &[exit(9, 7, 0)]), ["exit 7 sh exit 0"]);
}

#[test]
fn a_thread_that_is_seen_by_its_tracer_alone_has_ended() {
    let (fake, mut tracker) = host();
    have_threads(&fake, &[(7, 'S'), (8, 'S')]);
    walk(&mut tracker);
    have_threads(&fake, &[(7, 'S'), (8, 'Z')]);
    assert_eq!(repair(&mut tracker), [""; 0]);
    assert_eq!(follow(&mut tracker, clock::now(), &[exit(7, 7, 0)]), ["exit 7 sh exit 0"]);
}

#[test]
fn a_process_of_which_no_thread_runs_is_gone() {
    let (fake, mut tracker) = host();
    have_threads(&fake, &[(7, 'S'), (8, 'S')]);
    walk(&mut tracker);
    have_threads(&fake, &[(7, 'Z'), (8, 'Z')]);
    assert_eq!(repair(&mut tracker), ["gone 7 sh"]);
}

/// In `/proc` an exec of a thread is done at once; its notices come one after the other.
#[test]
fn what_is_in_the_queue_is_not_repaired() {
    let (fake, mut tracker) = host();
    have_threads(&fake, &[(7, 'S'), (8, 'S'), (9, 'S')]);
    walk(&mut tracker);
    have_threads(&fake, &[(7, 'S')]);
    let mut repair = Repair::default();
    repair.request();
    assert_eq!(step(&mut repair, &mut tracker), [""; 0]);
    let now = clock::now();
    let told = follow(&mut tracker, now, &[exit(7, 7, 9), exit(8, 7, 9), exec(7)]);
    assert_eq!(told, ["exec 7 sh"], "9 has become the leader");
    assert_eq!(step(&mut repair, &mut tracker), [""; 0]);
    assert!(repair.is_idle());
    assert_eq!(follow(&mut tracker, now.after(BootTime::TICK), &[exit(7, 7, 0)]), ["exit 7 sh exit 0"]);
}

proptest! {
    /// Whichever notices are lost: after the repair it ends with the last of those that really run, not before.
    #[test]
    fn after_a_repair_a_process_ends_with_its_last_thread(
        steps in vec((7u32..13, any::<bool>(), any::<bool>()), 0..40),
    ) {
        let (fake, mut tracker) = host();
        have_threads(&fake, &[(7, 'S')]);
        walk(&mut tracker);
        let now = clock::now();
        let mut living = std::collections::BTreeSet::from([7]);
        for (tid, begins, is_lost) in steps {
            let notice = match begins {
                // The leader begins with the process only, and one thread is always left.
                true if tid != 7 && living.insert(tid) => thread(7, tid),
                false if living.len() > 1 && living.remove(&tid) => exit(tid, 7, 0),
                _ => continue,
            };
            if !is_lost {
                follow(&mut tracker, now, &[notice]);
            }
        }
        let threads: Vec<_> = living.iter().map(|tid| (*tid, 'S')).collect();
        have_threads(&fake, &threads);
        repair(&mut tracker);
        let ends: Vec<_> = living.iter().map(|tid| follow(&mut tracker, now, &[exit(*tid, 7, 0)]).len()).collect();
        let (last, others) = ends.split_last().unwrap();
        prop_assert_eq!((*last, others.iter().sum::<usize>()), (1, 0), "{:?}", living);
    }

    #[test]
    fn any_notices_are_survived_and_ends_are_told_once(notices in vec((any_notice(), 0u64..2_000), 0..60)) {
        let (_fake, mut tracker) = host();
        walk(&mut tracker);
        let mut living = HashSet::from([Pid(1)]);
        for (notice, ticks) in notices {
            tracker.follow(notice, BootTime::from_ticks(ticks), &mut |event| match event.kind {
                EventKind::Fork(it) => drop(living.insert(it.child.key.pid)),
                EventKind::Exec(it) => drop(living.insert(it.process.key.pid)),
                EventKind::Exit(it) => assert!(living.remove(&it.process.key.pid)),
                _ => {}
            });
        }
        prop_assert_eq!(tracker.living().map(|(pid, _)| pid).collect::<HashSet<_>>(), living);
    }
}

fn any_notice() -> impl Strategy<Value = Notice> {
    let any_task = || (0u32..6, 0u32..6).prop_map(|(tid, process)| task(tid, process));
    prop_oneof![
        (any_task(), any_task()).prop_map(|(parent, child)| Notice::Fork { parent, child }),
        (0u32..6).prop_map(exec),
        (any_task(), 0u32..6).prop_map(|(task, parent)| Notice::Exit {
            task,
            status: 0,
            parent: Pid(parent)
        }),
        any_task().prop_map(|task| Notice::Renamed { task, comm: Comm::new(b"x") }),
        Just(Notice::Other),
    ]
}

// On the running kernel.

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A source, or `None` after saying why there is none here; where all tests have to run, that is a failure.
fn open() -> Option<ConnectorSource> {
    let source = ConnectorSource::open();
    if let Err(error) = &source {
        let required = std::env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some();
        assert!(!required, "{}", crate::error::chain(error));
        eprintln!("SKIPPED: {}", crate::error::chain(error));
    }
    source.ok()
}

fn start(program: &str, arguments: &[&str]) -> Child {
    Command::new(program).args(arguments).stdin(Stdio::null()).spawn().unwrap()
}

/// Polls until the end of `pid` was told, and returns what was told of it.
fn life_of(source: &mut ConnectorSource, pid: u32) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut told = Vec::new();
    while Instant::now() < deadline && !told.iter().any(|it: &String| it.starts_with("exit")) {
        let poll = source.poll(Duration::from_millis(100), &mut |event| {
            let text = short(&event.kind);
            if text.split(' ').any(|word| word == pid.to_string()) {
                told.push(text);
            }
        });
        poll.unwrap();
    }
    told
}

#[test]
fn the_kernel_tells_of_a_childs_life() {
    let Some(mut source) = open() else { return };
    source.walk(&mut |_| ()).unwrap();
    let mut child = start("/bin/sh", &["-c", "exit 3"]);
    let told = life_of(&mut source, child.id());
    child.wait().unwrap();
    let (own, pid) = (std::process::id(), child.id());
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], format!("fork {own} -> {pid}"));
    assert!(told[1].starts_with(&format!("exec {pid}")), "{told:?}");
    assert!(told[2].starts_with(&format!("exit {pid}")) && told[2].ends_with("exit 3"), "{told:?}");
}

#[test]
fn a_child_of_the_walk_is_told_of_once() {
    let Some(mut source) = open() else { return };
    // It ends with its input: not before it was found.
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let mut running = 0;
    source
        .walk(&mut |event| {
            running += usize::from(short(&event.kind) == format!("running {pid}"));
        })
        .unwrap();
    drop(child.stdin.take());
    let told = life_of(&mut source, child.id());
    child.wait().unwrap();
    assert_eq!((running, told.len()), (1, 1), "{told:?}");
}

#[test]
fn losses_are_counted_and_repaired() {
    let Some(mut source) = open() else { return };
    source.walk(&mut |_| ()).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(source.socket.as_fd(), 4096).unwrap();
    let mut children: Vec<Child> = (0..40).map(|_| start("/bin/sleep", &["1"])).collect();
    for child in &mut children {
        child.wait().unwrap();
    }
    let mut lost = 0;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && (lost == 0 || !source.repair.is_idle()) {
        let poll = source.poll(Duration::from_millis(10), &mut |event| {
            if let EventKind::Lost(count) = event.kind {
                lost += count;
            }
        });
        poll.unwrap();
    }
    assert!(lost > 0);
    for child in children {
        assert_eq!(source.tracker.began(Pid(child.id())), None);
    }
}
