//! A control group with a limit of memory.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::agent::{Agent, run_marked, wait_until};
use crate::site::{Running, Site, Written, end, run_marked_long};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 4] = [
    ("memory::a_limit_below_the_options_is_told", Needs::Here(no_groups), a_limit_below_the_options_is_told),
    ("memory::a_storm_within_the_limit", Needs::Here(no_groups), a_storm_within_the_limit),
    ("memory::a_storm_with_room_to_spare", Needs::Here(no_groups), a_storm_with_room_to_spare),
    ("memory::killed_for_want_of_memory", Needs::Here(no_groups), killed_for_want_of_memory),
];

const MEMORY: &str = "/sys/fs/cgroup/memory";

/// MiB that the agent says that it may need, with the options that it has by itself.
const PROMISED: u64 = 216;

/// Programs of a storm.
const STORM: usize = 1_500;

fn no_groups() -> Option<String> {
    let is_there = Path::new(MEMORY).join("memory.limit_in_bytes").exists();
    (!is_there).then(|| "there are no control groups of memory, version 1".to_owned())
}

/// A control group with a limit. When it is dropped, all in it are killed.
struct Group(PathBuf);

impl Group {
    fn new(name: &str, mib: u64) -> Self {
        let path = Path::new(MEMORY).join(format!("procession-faults-{name}-{}", std::process::id()));
        // A dead run may have had this number.
        let _ = fs::remove_dir(&path);
        fs::create_dir(&path).unwrap();
        let group = Self(path);
        group.set("memory.limit_in_bytes", &(mib << 20).to_string());
        group
    }

    fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).unwrap();
    }

    fn number(&self, file: &str) -> u64 {
        fs::read_to_string(self.0.join(file)).unwrap().trim().parse().unwrap()
    }

    fn members(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }

    /// How a program is started in it.
    fn script(&self) -> String {
        format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..500 {
            for member in self.members() {
                let _ = kill_process(member, Signal::KILL);
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn a_limit_below_the_options_is_told() {
    let site = Site::new();
    let group = Group::new("told", 150);
    let agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let said = end(agent);
    assert!(
        said.contains("has a limit of 150 MiB of memory, and with these options it may need 216"),
        "{said}"
    );
    drop(group);
    let site = Site::new();
    let group = Group::new("enough", PROMISED);
    let agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let said = end(agent);
    assert!(!said.contains("MiB of memory"), "{said}");
    drop(group);
}

/// An agent in a group with a limit, of which queue and journal were full of long arguments.
fn after_a_storm(site: &Site, mib: u64) -> (Group, Agent) {
    let group = Group::new("storm", mib);
    let mut agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    run_marked_long("storm", STORM, 100_000);
    agent.wait_for_export(&format!("storm-{}", STORM - 1));
    assert!(agent.ended().is_none());
    (group, agent)
}

/// What the agent says that it may need is enough.
fn a_storm_within_the_limit() {
    let site = Site::new();
    let (_group, agent) = after_a_storm(&site, PROMISED);
    let said = end(agent);
    let written = Written::read(&site.journal(), "storm");
    let has_all = written.has_all(u32::try_from(STORM).unwrap());
    assert!(written.lost_in_kernel + written.missing() > 0 || has_all, "{said}");
}

/// Nor does it need more where there is more: memory of its own at the peak, and what the kernel keeps for it. What
/// is of files can be given back, and fills whatever there is, so the group's own peak says nothing.
fn a_storm_with_room_to_spare() {
    let site = Site::new();
    let (group, agent) = after_a_storm(&site, 4 * PROMISED);
    let own = kib_of(&agent, "VmHWM") - kib_of(&agent, "RssFile");
    let kernel = group.number("memory.kmem.usage_in_bytes") >> 10;
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
    let group = Group::new("killed", 512);
    let mut agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let sleeper = Running::sleeper();
    run_marked("before", 20);
    agent.wait_for_export("before-19");
    let before = site.exec_id(sleeper.pid());
    // No swap here or elsewhere: who has no room ends.
    group.set("memory.swappiness", "0");
    let script = format!(
        "echo $$ > {0}/cgroup.procs; echo 1000 > /proc/{1}/oom_score_adj; \
         head -c 600m /dev/zero | tail -c 600m > /dev/null",
        group.0.display(),
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
