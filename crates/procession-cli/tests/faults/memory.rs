//! A control group with a limit of memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::agent::{Agent, run_marked, wait_until};
use crate::groups::{Group, Purpose};
use crate::site::{Running, Site, Written, end, number_before, run_marked_long, settle, without};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 5] = [
    ("memory::a_limit_below_the_options_is_told", Needs::Here(no_groups), a_limit_below_the_options_is_told),
    (
        "memory::a_limit_of_version_2_is_told",
        Needs::Installed(|| without("unshare")),
        a_limit_of_version_2_is_told,
    ),
    ("memory::a_storm_within_the_limit", Needs::Here(no_groups), a_storm_within_the_limit),
    ("memory::a_storm_with_room_to_spare", Needs::Here(no_groups), a_storm_with_room_to_spare),
    ("memory::killed_for_want_of_memory", Needs::Here(no_groups), killed_for_want_of_memory),
];

/// MiB that the agent says that it may need, with the options that it has by itself.
const PROMISED: u64 = 216;

/// Programs of a storm.
const STORM: usize = 1_500;

fn no_groups() -> Option<String> {
    Purpose::Memory.is_missing()
}

fn a_limit_below_the_options_is_told() {
    let site = Site::new();
    let group = Group::with_memory("told", 150);
    let agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let said = end(agent);
    assert!(
        said.contains("has a limit of 150 MiB of memory, and with these options it may need 216"),
        "{said}"
    );
    drop(group);
    let site = Site::new();
    let group = Group::with_memory("enough", PROMISED);
    let agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let said = end(agent);
    assert!(!said.contains("MiB of memory"), "{said}");
    drop(group);
}

/// Groups of version 2, where this machine has those of version 1: what the agent sees of them is files.
fn a_limit_of_version_2_is_told() {
    let site = Site::new();
    let script =
        "mount -t tmpfs none /sys/fs/cgroup && echo 157286400 > /sys/fs/cgroup/memory.max && exec \"$@\"";
    let by = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"];
    let said = end(site.setup().by(&by).start());
    assert!(
        said.contains("has a limit of 150 MiB of memory, and with these options it may need 216"),
        "{said}"
    );
}

/// An agent in a group with a limit, of which queue and journal were full of long arguments.
fn after_a_storm(site: &Site, mib: u64) -> (Group, Agent) {
    let group = Group::with_memory("storm", mib);
    let mut agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    run_marked_long("storm", STORM, 100_000);
    // The last of the storm may be lost; of these one is told.
    let is_over = || {
        run_marked("over", 1);
        agent.exported().contains("over-0")
    };
    wait_until(is_over, || format!("the storm has no end in the export: {}", agent.errors()));
    assert!(agent.ended().is_none());
    (group, agent)
}

/// What the agent says that it may need is enough. What is lost nevertheless, because all this is too slow for it, is
/// counted: in the journal are all events that it has seen, or their number is; and of a program that the export does
/// not have, the kernel lost the exec, or queue and export two facts.
fn a_storm_within_the_limit() {
    let site = Site::new();
    let (_group, agent) = after_a_storm(&site, PROMISED);
    settle(&agent);
    let metric = |name: &str| agent.metric(name).unwrap();
    // Of a program that nobody was told of both were lost, its exec and its end.
    let unsaid =
        metric("procession_export_lost_events_total") + metric("procession_queue_dropped_facts_total");
    let told = marks_in(&agent.exported());
    let said = end(agent);
    let written = Written::read(&site.journal(), "storm");

    let untold = (STORM - told.len()) as u64;
    assert!(untold <= written.lost_in_kernel + unsaid / 2, "{untold} {unsaid} {said}");
    let unwritten = (STORM - written.marks.len()) as u64;
    assert!(unwritten <= written.lost_in_kernel + written.missing(), "{unwritten} {said}");
    assert!(written.marks.values().all(|times| *times == 1), "{:?} {said}", written.marks);
    // A note of what the kernel lost is in the journal, and is no event that was seen.
    let seen = number_before(&said, " events seen,").unwrap();
    let notes = (written.events + written.missing()).checked_sub(seen);
    assert!(
        written.is_closed && notes.is_some_and(|notes| notes <= written.lost_in_kernel),
        "{notes:?} {said}"
    );
}

/// The programs of the storm that the export tells of.
fn marks_in(exported: &str) -> BTreeSet<usize> {
    let after = exported.match_indices("\"storm-").map(|(at, word)| &exported[at + word.len()..]);
    after.filter_map(|text| text.split_once(' ')?.0.parse().ok()).collect()
}

/// Nor does it need more where there is more: memory of its own at the peak, and what the kernel keeps for it. What
/// is of files can be given back, and fills whatever there is, so the group's own peak says nothing.
fn a_storm_with_room_to_spare() {
    let site = Site::new();
    let (group, agent) = after_a_storm(&site, 4 * PROMISED);
    let own = kib_of(&agent, "VmHWM") - kib_of(&agent, "RssFile");
    let kernel = group.kernel_bytes() >> 10;
    assert!(own + kernel <= PROMISED << 10, "{own} KiB of its own and {kernel} KiB of the kernel");
    end(agent);
}

fn kib_of(agent: &Agent, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The kernel kills it, and the next one goes on as after any death.
fn killed_for_want_of_memory() {
    let site = Site::new();
    let group = Group::with_memory("killed", 512);
    let mut agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let sleeper = Running::sleeper();
    run_marked("before", 20);
    agent.wait_for_export("before-19");
    let before = site.exec_id(sleeper.pid());
    group.forbid_swap();
    let script = format!(
        "{}; echo 1000 > /proc/{}/oom_score_adj; head -c 600m /dev/zero | tail -c 600m > /dev/null",
        group.enter(),
        agent.pid()
    );
    let hog = Running::start(Command::new("sh").args(["-c", &script]).stdin(Stdio::null()));
    wait_until(|| agent.ended().is_some(), || "it is not killed".to_owned());
    assert_eq!(agent.ended().unwrap().signal(), Some(Signal::KILL.as_raw()));
    drop((hog, group, agent));
    run_marked("gap", 20);
    let agent = site.setup().start();
    agent.wait_for_word("going on from the journal", 1);
    assert_eq!(site.exec_id(sleeper.pid()), before);
    run_marked("after", 20);
    agent.wait_for_export("after-19");
    let said = end(agent);
    for marker in ["before", "gap", "after"] {
        let written = Written::read(&site.journal(), marker);
        assert!(written.has_all(20), "{marker}: {:?} {said}", written.marks);
        assert_eq!((written.lost_in_kernel, written.missing()), (0, 0), "{said}");
    }
}
