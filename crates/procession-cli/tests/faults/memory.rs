//! A control group with a limit of memory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Test;
use crate::agent::{run_marked, wait_until};
use crate::site::{Site, Written, end, run_marked_long};
use crate::stopped::Sleeper;

pub(crate) const TESTS: [Test; 3] = [
    ("memory::a_limit_below_the_options_is_told", no_groups, a_limit_below_the_options_is_told),
    ("memory::a_storm_within_the_limit", no_groups, a_storm_within_the_limit),
    ("memory::killed_for_want_of_memory", no_groups, killed_for_want_of_memory),
];

const MEMORY: &str = "/sys/fs/cgroup/memory";

fn no_groups() -> Option<String> {
    let is_there = Path::new(MEMORY).join("memory.limit_in_bytes").exists();
    (!is_there).then(|| "there are no control groups of memory, version 1".to_owned())
}

/// A control group with a limit.
struct Group(PathBuf);

impl Group {
    fn new(name: &str, mib: u64) -> Self {
        let path = Path::new(MEMORY).join(format!("procession-faults-{name}-{}", std::process::id()));
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

    /// How a program is started in it.
    fn script(&self) -> String {
        format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
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
    let group = Group::new("enough", 216);
    let agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let said = end(agent);
    assert!(!said.contains("MiB of memory"), "{said}");
    drop(group);
}

/// What the agent says that it may need is enough, with a queue and a journal that are full of long arguments.
fn a_storm_within_the_limit() {
    let site = Site::new();
    let group = Group::new("storm", 216);
    let mut agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    run_marked_long("storm", 1_500, 100_000);
    agent.wait_for_export("storm-1499");
    assert!(agent.ended().is_none());
    let [peak, budget] = [group.number("memory.max_usage_in_bytes"), 216 << 20];
    let table = agent.metric("procession_table_budget_bytes").unwrap();
    assert!(table <= 48 << 20 && peak <= budget, "{peak}");
    let said = end(agent);
    let written = Written::read(&site.journal(), "storm");
    assert!(written.lost_in_kernel + written.missing() > 0 || written.has_all(1_500), "{said}");
    drop(group);
}

/// The kernel kills it, and the next one goes on as after any death.
fn killed_for_want_of_memory() {
    let site = Site::new();
    let group = Group::new("killed", 512);
    let mut agent = site.setup().by(&["sh", "-c", &group.script(), "sh"]).start();
    let sleeper = Sleeper::start();
    run_marked("before", 20);
    agent.wait_for_export("before-19");
    let before = site.exec_id(sleeper.pid());
    // No swap here or elsewhere: who has no room ends.
    group.set("memory.swappiness", "0");
    let mut hog = std::process::Command::new("sh");
    let script = format!(
        "echo $$ > {0}/cgroup.procs; echo -1000 > /proc/$$/oom_score_adj; echo 1000 > /proc/{1}/oom_score_adj; \
         exec head -c 600m /dev/zero | tail -c 600m > /dev/null",
        group.0.display(),
        agent.pid()
    );
    let mut hog = hog.args(["-c", &script]).spawn().unwrap();
    wait_until(|| agent.ended().is_some(), || "it is not killed".to_owned());
    let _ = hog.kill();
    let _ = hog.wait();
    drop(agent);
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
    drop(group);
}
