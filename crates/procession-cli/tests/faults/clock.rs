//! The wall clock of the machine, set forward and back for a moment each.
//!
//! Everybody on the machine notices. So it is done only where it is asked for, alone and last, and undone by the
//! clock since boot, which nobody sets, whatever becomes of the test.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::Value;

use crate::agent::{Agent, run_marked, wait_until};
use crate::site::{Running, Site, Written, end};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 1] = [("clock::is_set", Needs::Here(not_asked_for), is_set)];

/// More than the journal remembers, and far more than anything here takes.
const STEP: i64 = 180;

const ASKED_FOR: &str = "PROCESSION_FAULTS_CLOCK";

fn not_asked_for() -> Option<String> {
    env::var_os(ASKED_FOR)
        .is_none()
        .then(|| format!("it sets the clock of this machine for a moment: {ASKED_FOR}=1 asks for that"))
}

/// A clock that is wrong until this is dropped.
struct Wrong {
    real: Duration,
    boot: Duration,
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap()
}

impl Wrong {
    fn by(seconds: i64) -> Self {
        let right = Self { real: read(ClockId::Realtime), boot: read(ClockId::Boottime) };
        let now = clock_gettime(ClockId::Realtime);
        clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec + seconds, ..now }).unwrap();
        right
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        let right = self.real + read(ClockId::Boottime).saturating_sub(self.boot);
        let right =
            Timespec { tv_sec: right.as_secs().cast_signed(), tv_nsec: i64::from(right.subsec_nanos()) };
        let _ = clock_settime(ClockId::Realtime, right);
    }
}

/// The phases, in the order in which they happen.
const PHASES: [&str; 5] = ["before", "forward", "between", "back", "after"];
const MARKS: usize = 10;

fn is_set() {
    let site = Site::new();
    let agent = site.setup().option("--journal-max-age=150s").start();
    let first = Running::sleeper();
    phase(&agent, "before");
    let first_as = site.exec_id(first.pid());
    thread::sleep(Duration::from_secs(1));
    let early = SystemTime::now();
    thread::sleep(Duration::from_secs(1));

    let wrong = Wrong::by(STEP);
    let second = Running::sleeper();
    run_marked("forward", MARKS);
    wait_for_another_file(&site);
    drop(wrong);
    agent.wait_for_export("forward-9");
    let second_as = site.exec_id(second.pid());
    phase(&agent, "between");
    let wrong = Wrong::by(-STEP);
    run_marked("back", MARKS);
    drop(wrong);
    agent.wait_for_export("back-9");
    phase(&agent, "after");
    // Until it has come to the disk.
    thread::sleep(Duration::from_secs(3));
    let late = SystemTime::now();
    thread::sleep(Duration::from_secs(1));

    assert_eq!((site.exec_id(first.pid()), site.exec_id(second.pid())), (first_as, second_as));
    let at = |time: SystemTime, pid: u32| {
        let time = jiff::Timestamp::try_from(time).unwrap().to_string();
        let journal = site.journal();
        site.ask(&["why", &pid.to_string(), "--at", &time, "--journal", journal.to_str().unwrap()])
    };
    assert!(at(early, first.pid()).is_given, "{:?}", at(early, first.pid()));
    assert!(!at(early, second.pid()).is_given, "it was not there: {:?}", at(early, second.pid()));
    assert!(
        at(late, first.pid()).is_given && at(late, second.pid()).is_given,
        "{:?}",
        at(late, second.pid())
    );

    let files = names(&site.journal());
    let exported = agent.exported();
    let said = end(agent);
    // The oldest is there as well: 150 s have not passed, whatever the clock said.
    assert!(files.first().is_some_and(|name| name.starts_with("0000000001-")), "{files:?} {said}");
    check_export(&exported);
    for phase in PHASES {
        let written = Written::read(&site.journal(), phase);
        assert!(written.has_all(u32::try_from(MARKS).unwrap()), "{phase}: {said}");
        assert_eq!((written.missing(), written.lost_in_kernel), (0, 0), "{said}");
    }
    // The next one goes on with a number of its own.
    end(site.setup().start());
    let later = names(&site.journal());
    assert!(
        files.iter().all(|name| later.contains(name)) && later.last() > files.last(),
        "{files:?} {later:?}"
    );
}

fn phase(agent: &Agent, name: &str) {
    run_marked(name, MARKS);
    agent.wait_for_export(&format!("{name}-{}", MARKS - 1));
}

/// Files are looked through for old ones when another is begun, some seconds after the last, and only by who has
/// something to write.
fn wait_for_another_file(site: &Site) {
    let before = names(&site.journal());
    let is_begun = || {
        run_marked("meanwhile", 1);
        names(&site.journal()) != before
    };
    wait_until(is_begun, || "no file is begun".to_owned());
}

fn names(journal: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".procession")).collect()
}

/// What has happened stands in the order in which it did, and took as long as it did.
fn check_export(lines: &str) {
    let mut execs = Vec::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let arguments = |kind: &str| event[kind]["process"]["arguments"].as_str().map(str::to_owned);
        let is_mark =
            |arguments: &String| PHASES.iter().any(|phase| arguments.starts_with(&format!("{phase}-")));
        execs.extend(arguments("process_exec").filter(is_mark));
        if arguments("process_exit").is_some_and(|arguments| is_mark(&arguments)) {
            let time = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            let took =
                time(&event["time"]).duration_since(time(&event["process_exit"]["process"]["start_time"]));
            assert!(!took.is_negative() && took.as_secs() < STEP / 2, "{took:?}: {line}");
        }
    }
    let expected: Vec<_> =
        PHASES.iter().flat_map(|phase| (0..MARKS).map(move |mark| format!("{phase}-{mark}"))).collect();
    assert_eq!(execs, expected);
}
