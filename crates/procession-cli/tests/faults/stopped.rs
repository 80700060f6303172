//! An agent that is stopped, or frozen with all that runs, and goes on.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::process::Signal;

use crate::agent::{Agent, PATIENCE, run_marked, wait_until};
use crate::groups::{Group, Purpose, Version};
use crate::site::{Running, Site, Written, end};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 5] = [
    ("stopped::under_load", Needs::Nothing, under_load),
    ("stopped::the_watchdog_ends_it", Needs::Nothing, the_watchdog_ends_it),
    ("stopped::frozen_with_its_load", Needs::Here(no_freezer), frozen_with_its_load),
    ("stopped::others_are_frozen", Needs::Here(no_freezer), others_are_frozen),
    ("stopped::another_clock_since_boot", Needs::Here(no_time_namespaces), another_clock_since_boot),
];

/// How long it stands still: as long as the ring is small, a short while shows what a minute does.
const PAUSE: &str = "PROCESSION_FAULTS_PAUSE";

fn pause() -> Duration {
    let seconds = env::var(PAUSE).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

/// The sum over all kinds of a metric that has them.
fn sum(agent: &Agent, name: &str) -> u64 {
    let kinds = ["fork", "exec", "exit", "change"];
    kinds.iter().filter_map(|kind| agent.metric(&format!("{name}{{kind=\"{kind}\"}}"))).sum()
}

/// The ring overflows while nobody reads it. What is missing is what the kernel counted, and afterwards it is
/// known who lives and who does not.
fn under_load() {
    let site = Site::new();
    let agent = site.setup().option("--ring-size=256K").start();
    let (lives, ends) = (Running::sleeper(), Running::sleeper());
    let ended = ends.pid();
    agent.wait_for_export("\"1000\"");
    let (lives_as, _) = (site.exec_id(lives.pid()), site.exec_id(ended));

    agent.signal(Signal::STOP);
    let start = Instant::now();
    let mut marks = 0;
    let mut born = Vec::new();
    drop(ends);
    while start.elapsed() < pause() || marks < 3_000 {
        run_marked(&format!("stopped{}", marks / 100), 100);
        marks += 100;
        if marks % 1_000 == 0 {
            born.push(Running::sleeper());
        }
    }
    let stopped = start.elapsed();
    agent.signal(Signal::CONT);

    agent.wait_for_metric("procession_ledger_lost_events_total", 1);
    agent.wait_for_metric("procession_repair_surveys_total", 1);
    run_marked("after", 20);
    agent.wait_for_export("after-19");
    assert_eq!(site.exec_id(lives.pid()), lives_as, "who lives is called as before");
    for sleeper in &born {
        site.exec_id(sleeper.pid());
    }
    wait_until(|| !is_running(&site, ended), || format!("{ended} is gone, and thought to run"));
    check_ghosts(&site);
    // Who lost how many is the same, whoever is asked.
    let lost = agent.metric("procession_ledger_lost_events_total").unwrap();
    assert_eq!(sum(&agent, "procession_kernel_lost_records_total"), lost);
    let lost_execs = agent.metric("procession_kernel_lost_records_total{kind=\"exec\"}").unwrap();
    let said = end(agent);
    assert!(said.contains("lost in the kernel (a larger --ring-size helps)"), "{said}");
    let written = Written::read(&site.journal(), "after");
    assert_eq!((written.lost_in_kernel, written.missing()), (lost, 0), "the hole is marked: {said}");
    assert!(written.has_all(20), "{said}");
    let missing = missing_marks(&site, marks);
    eprintln!(
        "stopped for {stopped:?}: {marks} programs were run, and {missing} of their execs are missing; without room: {lost} \
         events by the kernel's count, the ledger's and the journal's, of which {lost_execs} are execs"
    );
    // Others' are among those too.
    assert!(missing > 0 && missing <= lost_execs, "{missing} are missing, and {lost_execs} are counted");
}

/// How many of the programs that ran while it was stopped are not in the journal.
fn missing_marks(site: &Site, marks: u32) -> u64 {
    let seen: u64 = (0..marks / 100)
        .map(|turn| Written::read(&site.journal(), &format!("stopped{turn}")).marks.len() as u64)
        .sum();
    u64::from(marks) - seen
}

/// Where an agent tells the service manager that all is well.
struct Manager {
    socket: PathBuf,
    signs: UnixDatagram,
}

impl Manager {
    const WITHIN: Duration = Duration::from_secs(2);

    fn of(site: &Site) -> Self {
        let socket = site.path("notify");
        let signs = UnixDatagram::bind(&socket).unwrap();
        Self { socket, signs }
    }

    /// An agent that it watches over, and that has given a sign.
    fn start(&self, site: &Site) -> Agent {
        let variables = [
            format!("NOTIFY_SOCKET={}", self.socket.display()),
            format!("WATCHDOG_USEC={}", Self::WITHIN.as_micros()),
        ];
        let agent = site.setup().by(&["env", &variables[0], &variables[1]]).start();
        self.wait_for_sign();
        agent
    }

    fn wait_for_sign(&self) {
        self.signs.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut message = [0; 1024];
        loop {
            let length = self.signs.recv(&mut message).expect("no sign of the agent");
            if message[..length].starts_with(b"WATCHDOG=1") {
                return;
            }
        }
    }

    /// Waits until no sign came for as long as the watchdog does.
    fn wait_for_silence(&self) {
        // What it said before it was stopped is still to be read.
        self.signs.set_read_timeout(Some(Self::WITHIN)).unwrap();
        let end = Instant::now() + PATIENCE;
        while self.signs.recv(&mut [0; 1024]).is_ok() {
            assert!(Instant::now() < end, "it is stopped, and gives signs");
        }
    }
}

/// What the unit's `WatchdogSec` does to one that stands still: SIGABRT, SIGCONT, and a new one by `Restart=always`.
fn the_watchdog_ends_it() {
    let site = Site::new();
    let manager = Manager::of(&site);
    let mut agent = manager.start(&site);
    let sleeper = Running::sleeper();
    run_marked("before", 20);
    agent.wait_for_export("before-19");
    let before = site.exec_id(sleeper.pid());

    agent.signal(Signal::STOP);
    run_marked("unwatched", 100);
    manager.wait_for_silence();
    agent.signal(Signal::ABORT);
    agent.signal(Signal::CONT);
    wait_until(|| agent.ended().is_some(), || "it goes on".to_owned());
    assert_eq!(agent.ended().unwrap().signal(), Some(Signal::ABORT.as_raw()), "a failure, which the log has");
    run_marked("nobody", 100);

    let agent = manager.start(&site);
    assert_eq!(site.exec_id(sleeper.pid()), before);
    agent.wait_for_export("nobody-99");
    let lost = agent.metric("procession_ledger_lost_events_total");
    let said = end(agent);
    assert!(said.contains("going on from the journal"), "{said}");
    for (marker, times) in [("before", 20), ("unwatched", 100), ("nobody", 100)] {
        let written = Written::read(&site.journal(), marker);
        assert!(written.has_all(times) && written.missing() == 0, "{marker}: {written:?} {said}");
    }
    assert_eq!(lost, Some(0), "{said}");
}

fn is_running(site: &Site, pid: u32) -> bool {
    let answer = site.ask(&["dump"]);
    assert!(answer.is_given, "{}", answer.err);
    running(&answer.out).contains(&u64::from(pid))
}

/// Pids of those that run, in the lines of `dump`.
fn running(lines: &str) -> BTreeSet<u64> {
    let all = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let running = all.filter(|process| process.get("end").is_none());
    running.filter_map(|process| process["process"]["pid"].as_u64()).collect()
}

/// Nobody is thought to run who does not, but for the moment that it takes to hear of it.
fn check_ghosts(site: &Site) {
    let ghosts = || {
        let dump = site.ask(&["dump"]);
        assert!(dump.is_given, "{dump:?}");
        let thought = running(&dump.out);
        let gone = |pid: &u64| !Path::new(&format!("/proc/{pid}")).exists();
        thought.into_iter().filter(gone).collect::<BTreeSet<_>>()
    };
    let mut left = ghosts();
    wait_until(
        || left.is_empty() || left.intersection(&ghosts()).next().is_none(),
        || format!("they are gone, and thought to run: {left:?}"),
    );
    left.clear();
}

fn no_freezer() -> Option<String> {
    Purpose::Freezer.is_missing()
}

/// What counts what goes wrong: to stand still is nothing of that.
const UNHARMED: [&str; 7] = [
    "procession_ledger_lost_events_total",
    "procession_repair_surveys_total",
    "procession_ledger_inferred_exits_total",
    "procession_incomplete_facts_total",
    "procession_journal_lost_events_total",
    "procession_journal_write_errors_total",
    "procession_export_lost_events_total",
];

/// As a machine that sleeps: neither the agent nor what it observes does anything, and time goes on.
fn frozen_with_its_load() {
    Purpose::Freezer.versions().into_iter().for_each(frozen_with_its_load_in);
}

fn frozen_with_its_load_in(version: Version) {
    let site = Site::new();
    let agent = site.setup().start();
    let script = "i=0; while :; do /bin/true frozen-$i; i=$((i+1)); sleep 0.02; done";
    let load = Running::start(Command::new("sh").args(["-c", script]).stdin(Stdio::null()));
    agent.wait_for_export("frozen-20");
    let before = site.exec_id(load.pid());
    let group = Group::to_freeze(version);
    group.take(agent.pid());
    group.take(load.pid());
    let counted = || UNHARMED.map(|name| (name, agent.metric(name).unwrap()));
    let counted_before = counted();
    group.freeze();
    thread::sleep(Duration::from_secs(5));
    group.thaw();
    run_marked("after", 20);
    agent.wait_for_export("after-19");
    assert_eq!(site.exec_id(load.pid()), before);
    assert_eq!(counted(), counted_before, "{}", agent.errors());
    drop(load);
    let said = end(agent);
    assert!(!said.contains("does not answer") && !said.contains("lost in the kernel"), "{said}");
    let written = Written::read(&site.journal(), "frozen");
    let last = written.marks.last_key_value().unwrap().0 + 1;
    assert!(written.has_all(last) && written.missing() == 0, "{written:?}");
    drop(group);
}

/// Who is frozen is found by an agent that starts then, and is not gone before it is, though it has been killed.
fn others_are_frozen() {
    Purpose::Freezer.versions().into_iter().for_each(others_are_frozen_in);
}

fn others_are_frozen_in(version: Version) {
    let site = Site::new();
    // Before the group: should this panic, that goes first and thaws it, for whoever is frozen may not end.
    let sleeper = Running::start(Command::new("sleep").arg("1001").stdin(Stdio::null()));
    let group = Group::to_freeze(version);
    let pid = sleeper.pid();
    group.take(pid);
    group.freeze();
    let agent = site.setup().start();
    agent.wait_for_export("\"1001\"");
    let name = site.exec_id(pid);
    let dying = thread::spawn(move || drop(sleeper));
    run_marked("meanwhile", 20);
    agent.wait_for_export("meanwhile-19");
    // In version 2 it ends as it is.
    if version == Version::One {
        assert!(is_running(&site, pid), "it was killed, and is there");
        assert_eq!(site.exec_id(pid), name);
        group.thaw();
    }
    dying.join().unwrap();
    wait_until(|| !is_running(&site, pid), || format!("{pid} is gone, and thought to run"));
    end(agent);
}

fn no_time_namespaces() -> Option<String> {
    let is_there = Path::new("/proc/self/ns/time").exists();
    (!is_there).then(|| "this kernel has no time namespaces".to_owned())
}

/// Where the clock since boot is another than the kernel's own, every time would be wrong.
fn another_clock_since_boot() {
    let site = Site::new();
    let by = ["unshare", "--time", "--boottime", "1000000", "--fork", "--kill-child"];
    let (status, said) = site.setup_without_pins().by(&by).fail();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("time namespace") && said.contains("1000000 s"), "{said}");
}
