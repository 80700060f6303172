//! Exact lines for answers of an agent. Over a socket it is asked in `tests/client`.

use clap::Parser as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use procession_api::proto::procession::v1::{self, end};
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    self, BinaryProperties, Container, GetEventsResponse, Pod, ProcessCredentials, ProcessExec, ProcessExit,
    RateLimitInfo, UserRecord,
};
use proptest::prelude::*;
use v1::Relation::{Parent, Previous, Self_};

use super::events::{Presenter, Told};
use super::words::Moment;
use super::{processes, status, tree, why};
use crate::args::{Cli, Command};
use crate::render::tests::hostile_text;
use crate::render::{List, Palette};

/// 12:00:00 of a day.
const NOON: i64 = 1_795_521_600;

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: NOON + seconds, nanos: 0 })
}

fn moment() -> Moment {
    Moment { now: Timestamp::new(NOON + 600, 0).unwrap(), zone: TimeZone::UTC }
}

/// A process of root's with this command line, that was run at this second.
fn process(pid: u32, binary: &str, arguments: &str, start: i64) -> tetragon::Process {
    tetragon::Process {
        exec_id: format!("id-{pid}-{start}"),
        pid: Some(pid),
        uid: Some(0),
        binary: binary.to_owned(),
        arguments: arguments.to_owned(),
        flags: "execve clone".to_owned(),
        start_time: at(start),
        user: Some(UserRecord { name: "root".to_owned() }),
        ..tetragon::Process::default()
    }
}

fn of_user(uid: u32, name: &str, process: tetragon::Process) -> tetragon::Process {
    let user = (!name.is_empty()).then(|| UserRecord { name: name.to_owned() });
    tetragon::Process { uid: Some(uid), user, ..process }
}

fn in_pod(namespace: &str, name: &str, container: &str, process: tetragon::Process) -> tetragon::Process {
    let container = Container { name: container.to_owned(), ..Container::default() };
    let pod = Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        container: Some(container),
        ..Pod::default()
    };
    tetragon::Process { pod: Some(pod), docker: "0123456789abcdef0123456789abcde".to_owned(), ..process }
}

/// Seen from its fork on, a second before it ran this.
fn seen(process: tetragon::Process) -> v1::Process {
    let began =
        process.start_time.map(|start| prost_types::Timestamp { seconds: start.seconds - 1, ..start });
    v1::Process {
        process: Some(process),
        began,
        origin: v1::Origin::Exec.into(),
        parent_provenance: v1::Provenance::Observed.into(),
        ..v1::Process::default()
    }
}

fn found(process: tetragon::Process) -> v1::Process {
    v1::Process {
        began: process.start_time,
        process: Some(process),
        origin: v1::Origin::Running.into(),
        parent_provenance: v1::Provenance::Found.into(),
        ..v1::Process::default()
    }
}

fn ended(seconds: i64, how: end::How, process: v1::Process) -> v1::Process {
    v1::Process { end: Some(v1::End { time: at(seconds), how: Some(how) }), ..process }
}

fn init() -> v1::Process {
    v1::Process { parent_provenance: 0, ..found(process(1, "/usr/lib/systemd/systemd", "--system", -3600)) }
}

fn chain(links: Vec<(v1::Relation, v1::Process)>) -> v1::GetLineageResponse {
    let link = |(relation, process): (v1::Relation, _)| v1::Link {
        process: Some(process),
        relation: relation.into(),
    };
    v1::GetLineageResponse { chain: links.into_iter().map(link).collect(), is_cut: false }
}

#[track_caller]
fn check_story(lineage: &v1::GetLineageResponse, owners: &[(&str, &str)], expected: &str) {
    let owners = owners.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect();
    let story = why::Story { lineage, owners, moment: moment() }.told();
    assert_eq!(story, expected, "\n{story}");
}

#[test]
fn why_a_command_of_a_shell_runs() {
    let lineage = chain(vec![
        (Self_, seen(of_user(1000, "alice", process(4711, "/usr/bin/sleep", "60", 300)))),
        (Parent, seen(of_user(1000, "alice", process(4700, "/bin/bash", "-c \"run cart\"", 100)))),
        (Parent, ended(500, end::How::Status(0), seen(process(900, "/usr/sbin/sshd", "-D", -60)))),
        (Parent, init()),
    ]);
    check_story(
        &lineage,
        &[],
        "\
sleep (pid 4711) runs /usr/bin/sleep 60 as alice, since 12:05:00, 5 minutes ago.
  It was started at 12:04:59 by bash (pid 4700), which was running /bin/bash -c 'run cart' as alice.

bash (pid 4700) still runs that.
  It was started at 12:01:39 by sshd (pid 900), which was running /usr/sbin/sshd -D as root.

sshd (pid 900) exited with status 0 at 12:08:20, 1 minute ago.
  It was started at 11:58:59 by systemd (pid 1), which was running /usr/lib/systemd/systemd --system as root.

systemd (pid 1) still runs that. [found running: its start was not seen]
  The kernel starts it when the machine boots.
",
    );
}

#[test]
fn why_a_container_s_program_runs() {
    let entrypoint = in_pod("shop", "cart-0", "app", process(4711, "/bin/sh", "/entrypoint.sh", 420));
    let cart =
        of_user(33, "", in_pod("shop", "cart-0", "app", process(4711, "/usr/bin/cart", "--serve", 427)));
    let shim = process(800, "/usr/bin/containerd-shim", "-id x", -7200 - 86_400);
    let lineage = chain(vec![
        (Self_, seen(cart)),
        (Previous, ended(427, end::How::Replaced(end::Replaced {}), seen(entrypoint))),
        (Parent, found(shim)),
    ]);
    check_story(
        &v1::GetLineageResponse { is_cut: true, ..lineage },
        &[],
        "\
cart (pid 4711) runs /usr/bin/cart --serve as user 33 in pod shop/cart-0 (container app), since 12:07:07, 2 minutes ago.
  Before that it ran /bin/sh /entrypoint.sh as root, from 12:07:00.
  It was started at 12:06:59 by containerd-shim (pid 800), which was running /usr/bin/containerd-shim -id x as root, outside the container.

containerd-shim (pid 800) still runs that. [found running: its start was not seen]
  It ran before the agent began to watch, and who started it is not known.
",
    );
}

#[test]
fn why_somebody_became_root() {
    let mut sudo = process(20, "/usr/bin/sudo", "id", 300);
    sudo.binary_properties = Some(BinaryProperties { setuid: Some(0), ..BinaryProperties::default() });
    let uid = Some(1000);
    sudo.process_credentials = Some(ProcessCredentials { uid, ..ProcessCredentials::default() });
    sudo.auid = uid;
    let euid = |euid| Some(ProcessCredentials { euid: Some(euid), ..ProcessCredentials::default() });
    let spell = |until, uid| v1::Spell { until: at(until), credentials: euid(uid), ..v1::Spell::default() };
    let sudo = v1::Process { past: vec![spell(301, 0), spell(302, 5)], ..seen(sudo) };
    let parent = ended(310, end::How::Signal("SIGHUP".to_owned()), {
        seen(of_user(1000, "alice", process(10, "/bin/bash", "", 200)))
    });
    check_story(
        &chain(vec![(Self_, sudo), (Parent, parent)]),
        &[],
        "\
sudo (pid 20) runs /usr/bin/sudo id as root, since 12:05:00, 5 minutes ago.
  Its file gave it the rights of its owner (set-user-ID).
  Its real user is alice; it acts as root.
  It changed from root to user 5 at 12:05:01, within the same program.
  It changed from user 5 to root at 12:05:02, within the same program.
  It belongs to a login session of alice.
  It was started at 12:04:59 by bash (pid 10), which was running /bin/bash as alice.

bash (pid 10) was ended by SIGHUP at 12:05:10, 4 minutes ago.
  Who started it is not known.
",
    );
}

#[test]
fn why_a_daemon_belongs_to_init() {
    let daemon = seen(process(50, "/usr/sbin/daemon", "", 300));
    let daemon = v1::Process { owner_exec_id: "init".to_owned(), ..daemon };
    let orphan = v1::Process {
        owner_exec_id: "gone".to_owned(),
        owner_provenance: v1::Provenance::Inferred.into(),
        ..seen(process(40, "/bin/sh", "start", 299))
    };
    let orphan = ended(301, end::How::Vanished(end::Vanished {}), orphan);
    check_story(
        &chain(vec![(Self_, daemon), (Parent, orphan)]),
        &[("init", "systemd (pid 1)")],
        "\
daemon (pid 50) runs /usr/sbin/daemon as root, since 12:05:00, 5 minutes ago.
  It was started at 12:04:59 by sh (pid 40), which was running /bin/sh start as root.
  Its parent has ended since, and it belongs to systemd (pid 1) now.

sh (pid 40) must have ended by 12:05:01, 4 minutes ago; how is not known [inferred: its pid went to another process].
  Who started it is not known.
  Its parent has ended since, and it belongs to another process now [inferred: who took it over shows with its next event].
",
    );
}

#[test]
fn why_says_what_was_not_seen() {
    let inferred = v1::Process {
        origin: v1::Origin::Inferred.into(),
        parent_provenance: v1::Provenance::Inferred.into(),
        process: Some(tetragon::Process {
            pid: Some(60),
            exec_id: "id-60".to_owned(),
            ..tetragon::Process::default()
        }),
        ..v1::Process::default()
    };
    let found = found(process(50, "/bin/found", "", -60));
    let tombstone = process(40, "/bin/old", "", -120);
    let tombstone = v1::Process { stands_for: 7, ..seen(tombstone) };
    let lineage = chain(vec![(Self_, inferred), (Parent, found), (Parent, tombstone)]);
    check_story(
        &v1::GetLineageResponse { is_cut: true, ..lineage },
        &[],
        "\
Process 60 runs a program that nobody saw. [inferred: others speak of it, its own events were missed]
  It must have been started by found (pid 50), which was running /bin/found as root [inferred: the event that says so is missing].

found (pid 50) still runs that. [found running: its start was not seen]
  It began at 11:59:00. When it was found running, its parent was old (pid 40), which was running /bin/old as root [found, not seen: another may have started it].

old (pid 40) still runs that.
  Memory was short, and this name is all that is left of 7 programs in the chain.
  Who started it is not known: the record begins here.
",
    );
}

#[test]
fn why_a_thread_of_the_kernel_is_there() {
    let kthreadd = v1::Process { parent_provenance: 0, ..found(process(2, "[kthreadd]", "", -3600)) };
    let worker = found(process(33, "[kworker/0:1]", "", -3000));
    check_story(
        &chain(vec![(Self_, worker), (Parent, kthreadd)]),
        &[],
        "\
[kworker/0:1] (pid 33) is a thread of the kernel, since 11:10:00, 1 hour ago. [found running: its start was not seen]
  It began at 11:10:00. When it was found running, its parent was [kthreadd] (pid 2), a thread of the kernel [found, not seen: another may have started it].

[kthreadd] (pid 2) is a thread of the kernel. [found running: its start was not seen]
  The kernel starts it when the machine boots.
",
    );
}

#[test]
fn why_an_ended_one_was_there_and_all_that_it_ran() {
    let run = |start, name: &str| seen(process(7, &format!("/bin/{name}"), "", start));
    let last = ended(590, end::How::Status(3), run(300, "last"));
    let mut links = vec![(Self_, last)];
    links.extend((0..25).map(|n| (Previous, run(299 - n, &format!("p{n}")))));
    let story = why::Story { lineage: &chain(links), owners: [].into(), moment: moment() }.told();
    let told: Vec<_> = story.lines().collect();
    assert_eq!(told[0], "last (pid 7) ran /bin/last as root, from 12:05:00, 5 minutes ago.");
    assert_eq!(told[1], "  It exited with status 3 at 12:09:50, 10 seconds ago.");
    assert_eq!(told[2..4], ["  Before that it ran, latest first:", "    from 12:04:59: /bin/p0"]);
    assert_eq!(
        told[22..],
        ["    from 12:04:40: /bin/p19", "    and 5 others before", "  Who started it is not known."]
    );
}

#[test]
fn why_leaves_names_as_they_are() {
    let lineage = chain(vec![(Self_, seen(process(7, "/bin/process", "", 0)))]);
    let story = why::Story { lineage: &lineage, owners: [].into(), moment: moment() }.told();
    assert!(story.starts_with("process (pid 7) runs /bin/process as root"), "{story}");
}

#[test]
fn why_knows_each_way_to_end() {
    for (how, told) in [
        (Some(end::How::Signal("signal 40".to_owned())), "was ended by signal 40 at 12:05:00, 5 minutes ago"),
        (Some(end::How::Status(1)), "exited with status 1 at 12:05:00, 5 minutes ago"),
        (
            Some(end::How::Replaced(end::Replaced {})),
            "went on to run another program at 12:05:00, 5 minutes ago",
        ),
        (None, "ended at 12:05:00, 5 minutes ago; with which status nobody saw"),
    ] {
        let process = seen(process(7, "/bin/x", "", 0));
        let process = v1::Process { end: Some(v1::End { time: at(300), how }), ..process };
        let lineage = chain(vec![(Self_, process)]);
        let story = why::Story { lineage: &lineage, owners: [].into(), moment: moment() }.told();
        assert!(story.contains(&format!("\n  It {told}.\n")), "{story}");
    }
}

#[test]
fn why_knows_that_a_process_was_found_whatever_it_ran_since() {
    let lineage = chain(vec![
        (Self_, seen(process(7, "/bin/new", "", 300))),
        (Previous, found(process(7, "/bin/old", "", -60))),
    ]);
    check_story(
        &v1::GetLineageResponse { is_cut: true, ..lineage },
        &[],
        "\
new (pid 7) runs /bin/new as root, since 12:05:00, 5 minutes ago.
  Before that it ran /bin/old [found running: its start was not seen], from 11:59:00.
  It ran before the agent began to watch, and who started it is not known.
",
    );
}

fn a_status() -> v1::GetStatusResponse {
    v1::GetStatusResponse {
        version: "0.1.0".to_owned(),
        node_name: "node1".to_owned(),
        started: at(-10_000),
        uptime: Some(prost_types::Duration { seconds: 10_600, nanos: 0 }),
        source: "the proc connector".to_owned(),
        shortcomings: vec!["short-lived programs\x1b[0m are missed".to_owned()],
        processes: 1_312,
        last_event: at(599),
        is_observing: true,
        clients: 2,
        capabilities: vec!["CAP_SYS_PTRACE".to_owned()],
    }
}

#[test]
fn status_tells_how_the_agent_does() {
    let account = |kind: &str, received, applied, late| v1::Account {
        kind: kind.to_owned(),
        received,
        applied,
        late,
        ..v1::Account::default()
    };
    let ledger = v1::GetLedgerResponse {
        accounts: vec![account("fork", 1_000, 1_000, 0), account("exec", 500, 498, 2)],
        lost: 12,
        inferred_exits: 3,
        readers: vec![v1::ReaderAccount { name: "grpc".to_owned(), read: 1_400, lost: 5, waiting: 1 }],
        memory: Some(v1::Memory {
            budget: 48 << 20,
            used: 3 << 19,
            running: 1_312,
            ancestors: 4,
            folded: 9,
            ..v1::Memory::default()
        }),
        ..v1::GetLedgerResponse::default()
    };
    let told = status::told(&a_status(), &ledger, &moment());
    assert_eq!(
        told,
        "\
agent       observing
version     0.1.0
node        node1
up          2h56m, since 09:13:20
source      the proc connector
            ! short-lived programs\\x1b[0m are missed
processes   1,312 running
last event  12:09:59, 1 second ago
clients     2
rights      CAP_SYS_PTRACE
events      1,500 received = 1,498 applied + 0 duplicate + 2 late + 0 rejected
lost        12 before they were received, 5 by readers that were too slow
inferred    0 processes and 3 exits, of which no event came
reader      grpc: 1,400 read, 5 lost, 1 waiting
memory      1.5 MiB of 48.0 MiB for the table
            1,312 running, 0 just ended, 0 held by readers, 4 kept for their descendants, 0 tombstones
            ! memory was short: 0 ended ones dropped early, 9 folded into tombstones, 0 running ones given up
",
        "\n{told}"
    );
    let idle = v1::GetStatusResponse { is_observing: false, last_event: None, ..a_status() };
    let told = status::told(&idle, &v1::GetLedgerResponse::default(), &moment());
    assert!(told.starts_with("agent       NOT observing: it tells nothing new\n"), "{told}");
    assert!(told.contains("\nlast event  none yet\n") && told.contains("\nlost        none\n"), "{told}");
}

#[test]
fn counts_that_no_agent_has_are_told_as_they_are() {
    let most = v1::Account { received: u64::MAX, applied: u64::MAX, ..v1::Account::default() };
    let reader = v1::ReaderAccount { lost: u64::MAX, ..v1::ReaderAccount::default() };
    let memory = v1::Memory {
        dropped_early: u64::MAX,
        folded: u64::MAX,
        evicted_live: u64::MAX,
        ..v1::Memory::default()
    };
    let ledger = v1::GetLedgerResponse {
        accounts: vec![most.clone(), most],
        readers: vec![reader.clone(), reader],
        memory: Some(memory),
        ..v1::GetLedgerResponse::default()
    };
    let told = status::told(&a_status(), &ledger, &moment());
    let most = "18,446,744,073,709,551,615";
    assert!(
        told.contains(&format!("! memory was short: {most} ended ones dropped early, {most} folded")),
        "{told}"
    );
    assert!(told.contains(&format!("\nlost        {most} by readers that were too slow\n")), "{told}");
}

fn lines_of(draw: impl FnOnce(&mut List, &mut Vec<u8>), width: Option<usize>) -> String {
    let mut out = Vec::new();
    draw(&mut List::new(Palette::plain(), width), &mut out);
    String::from_utf8(out).unwrap()
}

fn some_processes() -> Vec<v1::Process> {
    let cart =
        in_pod("shop", "cart-0", "app", of_user(33, "", process(4711, "/usr/bin/cart", "\"a b\"", 427)));
    let docker = tetragon::Process { pod: None, ..in_pod("", "", "", process(300, "/bin/web", "", 1)) };
    let gone = ended(400, end::How::Signal("SIGKILL".to_owned()), seen(process(300, "/bin/before", "", 0)));
    vec![seen(cart), seen(docker), init(), gone]
}

#[test]
fn processes_are_a_table_in_the_order_of_their_pids() {
    let processes = processes::sorted(some_processes().into_iter(), false);
    let table = lines_of(|list, out| processes::table(&processes, &moment(), list, out), None);
    assert_eq!(
        table,
        "    PID USER        AGE CONTAINER    COMMAND
      1 root      1h10m -            /usr/lib/systemd/systemd --system
    300 root     10m01s -            /bin/before  SIGKILL
    300 root     10m00s 0123456789ab /bin/web
   4711 33        2m54s shop/cart-0  /usr/bin/cart 'a b'
",
        "\n{table}"
    );
    let table = lines_of(|list, out| processes::table(&processes, &moment(), list, out), Some(50));
    assert!(table.lines().all(|line| line.chars().count() <= 50), "{table}");
    let on_host: Vec<_> = processes::sorted(some_processes().into_iter(), true);
    assert_eq!(on_host.len(), 2, "neither the pod nor the other container");
}

fn leaf(level: u32, parent: &str, process: tetragon::Process) -> v1::GetTreeResponse {
    let process = tetragon::Process { parent_exec_id: parent.to_owned(), ..process };
    v1::GetTreeResponse { process: Some(seen(process)), level }
}

fn drawn(responses: Vec<v1::GetTreeResponse>) -> String {
    lines_of(|list, out| tree::Tree::of(responses).draw(list, out), None)
}

#[test]
fn a_tree_is_drawn_by_parents_and_in_the_order_of_pids() {
    let pod = in_pod("shop", "cart-0", "app", process(30, "/bin/cart", "", 9));
    let expected = "\
1 root /sbin/init
├─ 10 root /bin/sh -l
│  ├─ 12 alice /bin/ls '*'
│  └─ 30 root [shop/cart-0] /bin/cart
└─ 20 root /bin/last
   └─ 21 root /bin/deep
2 root [kthreadd]
";
    let by_level = vec![
        leaf(0, "", process(2, "[kthreadd]", "", 0)),
        leaf(0, "", process(1, "/sbin/init", "", 0)),
        leaf(1, "id-1-0", process(20, "/bin/last", "", 2)),
        leaf(1, "id-1-0", process(10, "/bin/sh", "-l", 1)),
        leaf(2, "id-10-1", pod.clone()),
        leaf(2, "id-20-2", process(21, "/bin/deep", "", 3)),
        leaf(2, "id-10-1", of_user(7, "alice", process(12, "/bin/ls", "*", 4))),
    ];
    assert_eq!(drawn(by_level), expected);
    // Parents that ran other programs when they forked; depth first.
    let by_depth = vec![
        leaf(0, "", process(1, "/sbin/init", "", 0)),
        leaf(1, "x", process(10, "/bin/sh", "-l", 1)),
        leaf(2, "y", of_user(7, "alice", process(12, "/bin/ls", "*", 4))),
        leaf(2, "y", pod),
        leaf(1, "x", process(20, "/bin/last", "", 2)),
        leaf(2, "z", process(21, "/bin/deep", "", 3)),
        leaf(0, "", process(2, "[kthreadd]", "", 0)),
    ];
    assert_eq!(drawn(by_depth), expected);
}

#[test]
fn a_tree_as_deep_as_there_are_pids_is_drawn_all_the_same() {
    const DEPTH: u32 = 50_000;
    let chain = (0..DEPTH).map(|level| leaf(level, "", process(level + 1, "/bin/x", "", 0)));
    let drawn = drawn(chain.collect());
    let last = drawn.lines().last().unwrap();
    assert!(last.ends_with("└─ (level 49999) 50000 root /bin/x") && last.len() < 300, "{last}");
    assert_eq!(drawn.lines().count(), DEPTH as usize);
}

fn presenter(options: &str) -> Presenter {
    let words = ["procession", "events", "--color=never"].into_iter().chain(options.split_whitespace());
    let Command::Events(args) = Cli::try_parse_from(words).unwrap().command else { unreachable!() };
    Presenter::new(&args, TimeZone::UTC)
}

fn exec(process: tetragon::Process, parent: Option<tetragon::Process>) -> GetEventsResponse {
    let time = process.start_time;
    let exec = ProcessExec { process: Some(process), parent, ancestors: Vec::new() };
    GetEventsResponse {
        event: Some(Event::ProcessExec(exec)),
        node_name: "node1".to_owned(),
        time,
        ..GetEventsResponse::default()
    }
}

fn exit(process: tetragon::Process, signal: &str, status: u32, end: i64) -> GetEventsResponse {
    let exit = ProcessExit {
        process: Some(process),
        signal: signal.to_owned(),
        status,
        time: at(end),
        ..ProcessExit::default()
    };
    GetEventsResponse {
        event: Some(Event::ProcessExit(exit)),
        node_name: "node1".to_owned(),
        time: at(end),
        ..GetEventsResponse::default()
    }
}

fn losses(count: u64) -> GetEventsResponse {
    let info = RateLimitInfo { number_of_dropped_process_events: count };
    GetEventsResponse { event: Some(Event::RateLimitInfo(info)), ..GetEventsResponse::default() }
}

fn shown(presenter: &mut Presenter, told: impl IntoIterator<Item = Told>) -> String {
    let mut out = Vec::new();
    told.into_iter().for_each(|told| presenter.show(&told, &mut out));
    String::from_utf8(out).unwrap()
}

fn a_shell_and_its_child() -> Vec<Told> {
    let shell = process(10, "/bin/sh", "-l", 0);
    let child = tetragon::Process {
        parent_exec_id: shell.exec_id.clone(),
        ..in_pod("shop", "cart-0", "app", of_user(33, "", process(11, "/bin/ls", "-l \"a b\"", 1)))
    };
    vec![
        Told::Event(exec(shell.clone(), None)),
        Told::Event(exec(child.clone(), Some(shell))),
        Told::Event(exit(child.clone(), "", 3, 4)),
        Told::Event(exit(child, "SIGKILL", 0, 79)),
    ]
}

#[test]
fn events_look_as_in_watch() {
    let text = shown(&mut presenter("--tree --ancestors"), a_shell_and_its_child());
    assert_eq!(
        text,
        "\
12:00:00.000      10 root     exec /bin/sh -l
12:00:01.000      11 33       exec └─[shop/cart-0] /bin/ls -l 'a b' ← sh(10)
12:00:04.000      11 33       end  └─[shop/cart-0] /bin/ls -l 'a b'  exit 3  3.0s
12:01:19.000      11 33       end  └─[shop/cart-0] /bin/ls -l 'a b'  SIGKILL  1m18s
",
        "\n{text}"
    );
    let compact = shown(&mut presenter("-o compact"), a_shell_and_its_child());
    assert_eq!(
        compact,
        "\
🚀 process node1 /bin/sh -l
🚀 process shop/cart-0 /bin/ls -l \"a b\"
💥 exit    shop/cart-0 /bin/ls -l \"a b\" 3
💥 exit    shop/cart-0 /bin/ls -l \"a b\" SIGKILL
"
    );
}

#[test]
fn what_is_running_comes_first_and_losses_are_sentences() {
    let told = || [Told::Running(init()), Told::SnapshotEnd, Told::Lost(7), Told::Event(losses(1_234))];
    let mut text = presenter("--snapshot");
    let lines = shown(&mut text, told());
    assert_eq!(lines, "11:00:00.000       1 root     live /usr/lib/systemd/systemd --system\n");
    assert_eq!(
        text.notes,
        [
            "7 events were lost: more came than were read here",
            "1,234 events were left out by the agent: there were too many"
        ]
    );
    let mut json = presenter("--snapshot -o json");
    let lines = shown(&mut json, told());
    let [running, losses] = lines.lines().collect::<Vec<_>>()[..] else { panic!("{lines}") };
    assert!(
        running.starts_with(r#"{"process_exec":{"process":{"exec_id":"id-1--3600","pid":1,"#),
        "{running}"
    );
    assert_eq!(losses, r#"{"rate_limit_info":{"number_of_dropped_process_events":"1234"}}"#);
    assert_eq!(json.notes.len(), 1);
    // Who asks for some types hears of losses beside them.
    let mut json = presenter("-e PROCESS_EXEC -o json");
    assert_eq!(shown(&mut json, [Told::Event(self::losses(5))]), "");
    assert_eq!(json.notes.len(), 1);
}

#[test]
fn the_host_is_what_is_in_no_container() {
    let text = shown(&mut presenter("--host"), a_shell_and_its_child());
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// What names and texts an agent may tell of a process.
#[derive(Clone, Debug)]
struct Hostile {
    binary: String,
    arguments: String,
    user: String,
    namespace: String,
    /// Without, it is in a container of no pod.
    pod: Option<String>,
    container: String,
    docker: String,
    signal: String,
    flags: String,
}

fn any_hostile() -> impl Strategy<Value = Hostile> {
    let has_pod = any::<bool>();
    let texts = prop::array::uniform9(hostile_text());
    (texts, has_pod).prop_map(
        |([binary, arguments, user, namespace, pod, container, docker, signal, flags], has_pod)| {
            let pod = has_pod.then_some(pod);
            Hostile { binary, arguments, user, namespace, pod, container, docker, signal, flags }
        },
    )
}

impl Hostile {
    /// The same with `x` for each control character.
    fn tamed(&self) -> Self {
        let tame = |text: &String| text.replace(char::is_control, "x");
        Self {
            binary: tame(&self.binary),
            arguments: tame(&self.arguments),
            user: tame(&self.user),
            namespace: tame(&self.namespace),
            pod: self.pod.as_ref().map(tame),
            container: tame(&self.container),
            docker: tame(&self.docker),
            signal: tame(&self.signal),
            flags: tame(&self.flags),
        }
    }

    fn process(&self) -> tetragon::Process {
        let pod = self.pod.as_deref().unwrap_or_default();
        let process = process(7, &self.binary, &self.arguments, 0);
        let process = of_user(5, &self.user, in_pod(&self.namespace, pod, &self.container, process));
        let process = tetragon::Process { flags: self.flags.clone(), ..process };
        if self.pod.is_some() {
            return process;
        }
        tetragon::Process { pod: None, docker: self.docker.clone(), ..process }
    }

    fn entry(&self) -> v1::Process {
        ended(5, end::How::Signal(self.signal.clone()), seen(self.process()))
    }

    /// What all commands make of it that do not look at the width of a terminal.
    fn told(&self) -> String {
        let (process, entry) = (self.process(), self.entry());
        let mut all = String::new();
        for options in ["--tree --ancestors", "-o compact", "-o json"] {
            let told = [
                Told::Running(seen(process.clone())),
                Told::Event(exec(process.clone(), Some(process.clone()))),
                Told::Event(exit(process.clone(), &self.signal, 0, 1)),
            ];
            all += &shown(&mut presenter(options), told);
        }
        let lineage = chain(vec![(Self_, entry.clone()), (Previous, entry.clone()), (Parent, entry)]);
        all + &why::Story { lineage: &lineage, owners: [].into(), moment: moment() }.told()
            + &self.listed(None)
    }

    fn listed(&self, width: Option<usize>) -> String {
        let entry = self.entry();
        let table =
            lines_of(|list, out| processes::table(std::slice::from_ref(&entry), &moment(), list, out), width);
        let answer = v1::GetTreeResponse { process: Some(entry.clone()), level: 0 };
        table + &lines_of(|list, out| tree::Tree::of(vec![answer]).draw(list, out), width)
    }
}

proptest! {
    #[test]
    fn no_line_and_no_sentence_holds_a_raw_control_character(hostile in any_hostile()) {
        let told = hostile.told();
        let all = told.clone() + &hostile.listed(Some(40));
        prop_assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{all:?}");
        let json = all.lines().filter(|line| line.starts_with('{')).count();
        prop_assert!(json >= 3, "{all:?}");
        // Nor does a line end where a name says so.
        let tamed = hostile.tamed().told();
        prop_assert_eq!(told.lines().count(), tamed.lines().count(), "{:?} {:?}", told, tamed);
    }
}
