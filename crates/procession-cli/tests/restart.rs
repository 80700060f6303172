//! The agent, killed again and again while processes start without end: it forgets nothing.
//!
//! Needs root and eBPF. Without them the test is reported as ignored and why is said; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, it fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told what was skipped")]

#[path = "support/run.rs"]
#[allow(dead_code, reason = "has more than is needed here")]
mod run;
#[path = "../../procession-sensor/tests/support/trials.rs"]
mod trials;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use libtest_mimic::Arguments;
use procession::{Counted, EventKind, Ledger};
use procession_journal::{Journal, Piece};
use procession_sensor::{EbpfConfig, EbpfSource, KernelCounts, Resumed, Source as _, SourceKind, detach_all};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use run::procession;
use trials::{Test, gate, trial};

/// How often the agent is killed.
const KILLS: u64 = 6;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let unable = procession_sensor::open(SourceKind::Ebpf, EbpfConfig::default()).err();
    let unable = unable.map(|error| error.to_string());
    let tests: [Test; 1] =
        [("an_agent_that_is_killed_forgets_nothing", an_agent_that_is_killed_forgets_nothing)];
    let trials = gate("the test of restarts", unable.as_deref(), tests.iter().map(trial));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Where one agent after the other works.
struct Place {
    home: TempDir,
    pins: PathBuf,
}

impl Place {
    fn new() -> Self {
        let pins = PathBuf::from(format!("/sys/fs/bpf/procession-restart-{}", std::process::id()));
        Self { home: tempfile::tempdir().unwrap(), pins }
    }

    fn journal(&self) -> PathBuf {
        self.home.path().join("journal")
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    fn address(&self) -> String {
        format!("unix://{}/socket", self.home.path().display())
    }

    fn start(&self) -> Agent {
        let mut agent =
            procession(["agent", "--no-runtimes", "--source=ebpf", "--server-address", &self.address()]);
        agent.arg("--journal-dir").arg(self.journal()).arg("--pin-dir").arg(&self.pins);
        let log = fs::OpenOptions::new().append(true).create(true).open(self.log()).unwrap();
        Agent(agent.stderr(log).spawn().unwrap())
    }

    fn ask(&self, arguments: &[&str]) -> Option<Vec<Value>> {
        let output = procession(arguments).args(["--server-address", &self.address()]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let all = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        output.status.success().then_some(all)
    }

    /// Asks until there is an answer: the agent may not be ready yet.
    fn insist(&self, arguments: &[&str]) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask(arguments) {
                Some(answer) if !answer.is_empty() => return answer,
                _ if Instant::now() < deadline => {}
                _ => panic!("no answer to {arguments:?}: {}", fs::read_to_string(self.log()).unwrap()),
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the agent knows of each process, by pid: of those that run, the names.
    fn running(&self) -> HashMap<u64, Names> {
        let names = |process: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let of = &process["process"];
            let exec_id = text(&of["exec_id"]);
            let names = Names { exec_id, process_uid: text(&process["process_uid"]) };
            Some((of["pid"].as_u64()?, names))
        };
        let all = self.insist(&["dump"]);
        let is_running = |process: &&Value| process.get("end").is_none();
        all.iter().filter(is_running).filter_map(names).collect()
    }

    /// From a process up to the first one: what each is called, and its name.
    fn chain(&self, pid: u32) -> String {
        let answer = self.insist(&["why", &pid.to_string(), "-o", "json"]);
        let mut names = Vec::new();
        collect(&answer[0]["chain"], "exec_id", &mut names);
        assert!(names.len() >= 4, "{pid}: {names:?}");
        names.join(" ")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = detach_all(&self.pins);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    exec_id: String,
    process_uid: String,
}

/// All texts with that key, in order.
fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == key => found.push(text.clone()),
                    value => collect(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

struct Agent(Child);

impl Agent {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processes that outlast all agents: a shell, another one in it, and one whose parent is gone.
struct Family {
    shell: Child,
    pids: Vec<u32>,
}

impl Family {
    fn start(home: &Path) -> Self {
        let file = home.join("pids");
        let script = format!(
            "sh -c 'sleep 1000 & echo $! >>{0}; wait' &
            sh -c 'sh -c \"sleep 1001 & echo \\$! >>{0}; exit\"; exit' &
            echo $! >>{0}
            wait; sleep 1002",
            file.display()
        );
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script]).process_group(0).stdout(Stdio::null()).spawn().unwrap();
        let mut family = Self { shell, pids: Vec::new() };
        while family.pids.len() < 3 {
            thread::sleep(Duration::from_millis(20));
            let text = fs::read_to_string(&file).unwrap_or_default();
            family.pids = text.lines().filter_map(|line| line.parse().ok()).collect();
        }
        // The second shell ends at once: who it started does not.
        family.pids.retain(|pid| is_called(*pid, "sleep"));
        assert!(family.pids.len() >= 2, "{:?}", family.pids);
        family.pids.push(family.shell.id());
        family
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.shell), Signal::KILL);
        let _ = self.shell.wait();
    }
}

fn is_called(pid: u32, name: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(comm) if comm.trim_end() == name => return true,
            Ok(_) => thread::sleep(Duration::from_millis(10)),
            Err(_) => return false,
        }
    }
    false
}

/// Ends the storm also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// When each process began, in ticks: those that run now.
fn truth() -> HashMap<u64, String> {
    let mut truth = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().into_string().unwrap().parse() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<_> = rest.split(' ').collect();
        // A leader that has ended before its other threads is no dead process.
        if !rest.starts_with(['Z', 'X']) || fields[17] != "1" {
            truth.insert(pid, fields[19].to_owned());
        }
    }
    truth
}

fn an_agent_that_is_killed_forgets_nothing() {
    let place = Place::new();
    let agent = place.start();
    place.insist(&["dump"]);
    // It sees them begin, and knows who has started them when those are gone.
    let family = Family::start(place.home.path());
    let lived = truth();
    let before = place.running();
    let chains: Vec<String> = family.pids.iter().map(|pid| place.chain(*pid)).collect();

    let is_over = AtomicBool::new(false);
    let (agent, marks) = thread::scope(|scope| {
        let mut agent = agent;
        let _end = Ends(&is_over);
        let storm = scope.spawn(|| {
            let mut marks = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert!(Command::new("true").arg(format!("mark-{marks}")).status().unwrap().success());
                marks += 1;
            }
            marks
        });
        let mut random = u64::from(std::process::id());
        for _ in 0..KILLS {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Also before it serves anybody.
            thread::sleep(Duration::from_millis(300 + (random >> 33) % 3_000));
            agent.kill();
            thread::sleep(Duration::from_millis((random >> 40) % 300));
            agent = place.start();
        }
        let chains_now: Vec<String> = family.pids.iter().map(|pid| place.chain(*pid)).collect();
        assert_eq!(chains_now, chains, "ancestors are the same, also those that have ended");
        is_over.store(true, Ordering::Relaxed);
        (agent, storm.join().unwrap())
    });

    compare(&before, &place.running(), &lived);
    check_ghosts(&place);
    agent.end();
    let lost = check_marks(&place.journal(), marks);
    check_ledger(&place, lost);
}

/// Who lived all the while is called as before.
fn compare(before: &HashMap<u64, Names>, after: &HashMap<u64, Names>, lived: &HashMap<u64, String>) {
    let by_now = truth();
    let mut compared = 0;
    for (pid, began) in lived.iter().filter(|(pid, began)| by_now.get(pid) == Some(began)) {
        // One that came between the look at /proc and the answer may have had another image.
        let (Some(before), Some(after)) = (before.get(pid), after.get(pid)) else {
            panic!("{pid}, which began at {began}: {:?} {:?}", before.get(pid), after.get(pid));
        };
        // Another program may have been begun since, by the same process.
        assert_eq!(before.process_uid, after.process_uid, "{pid}");
        compared += u32::from(before.exec_id == after.exec_id);
    }
    assert!(compared >= 10, "{compared}");
}

/// Nobody who has ended is thought to run, except for the moment that it takes to hear of it.
fn check_ghosts(place: &Place) {
    let lives = truth();
    let thought = place.running();
    let mut ghosts: Vec<_> = thought.into_iter().filter(|(pid, _)| !lives.contains_key(pid)).collect();
    for _ in 0..20 {
        if ghosts.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
        let thought = place.running();
        ghosts.retain(|(pid, names)| thought.get(pid) == Some(names) && !truth().contains_key(pid));
    }
    let all = place.insist(&["dump"]);
    let of_ghosts = all.iter().filter(|it| ghosts.iter().any(|(pid, _)| it["process"]["pid"] == *pid));
    panic!("they have ended and are thought to run: {:#?}", of_ghosts.collect::<Vec<_>>());
}

/// Each exec of the storm is in the journal once, but for what is known to be lost. Returns the losses.
fn check_marks(journal: &Path, marks: u32) -> u64 {
    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    let mut lost = 0;
    let visit = &mut |piece: Piece<'_>| {
        let Piece::Event(event) = piece else { return true };
        match &event.kind {
            EventKind::Exec(exec) => {
                let mark = exec.program.arguments.bytes.split(|byte| *byte == 0).nth(1).unwrap_or_default();
                let number = std::str::from_utf8(mark).ok().and_then(|mark| mark.strip_prefix("mark-"));
                if let Some(number) = number.and_then(|number| number.parse().ok()) {
                    *seen.entry(number).or_default() += 1;
                }
            }
            EventKind::Lost(count) => lost += count,
            _ => {}
        }
        true
    };
    Journal::open(journal).unwrap().read(None, visit).unwrap();
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    let missing: Vec<_> = (0..marks).filter(|mark| !seen.contains_key(mark)).collect();
    assert!(
        missing.len() as u64 <= lost,
        "{lost} are known to be lost, and {missing:?} of {marks} are missing"
    );
    lost
}

/// What the kernel tried to tell was received, by one agent or another, or is counted as lost.
fn check_ledger(place: &Place, lost: u64) {
    let restored = Journal::open(&place.journal()).unwrap().latest().unwrap();
    assert!(restored.is_closed && restored.damage.is_empty());
    let ledger = restored.table.ledger();
    assert_eq!(ledger.lost(), lost);
    let config = EbpfConfig { pin: Some(place.pins.clone()), ..EbpfConfig::default() };
    let mut source = EbpfSource::open(config).unwrap();
    assert_eq!(source.resume(&restored.bookmark).unwrap(), Resumed::Continued);
    let mut since: HashMap<Counted, u64> = HashMap::new();
    let mut newly_lost = 0;
    // What others do at the same moment may not have been read yet.
    let is_closed = (0..200).any(|_| {
        let sink = &mut |event: &procession::Event<'_>| match (Counted::of(&event.kind), &event.kind) {
            (Some(kind), _) => *since.entry(kind).or_default() += 1,
            (None, EventKind::Lost(count)) => newly_lost += count,
            (None, _) => {}
        };
        source.poll(Duration::from_millis(20), sink).unwrap();
        is_balanced(&source.kernel_counts().unwrap(), ledger, &since, lost + newly_lost)
    });
    assert!(is_closed, "{:?} {ledger:?} {since:?}", source.kernel_counts());
}

fn is_balanced(kernel: &KernelCounts, ledger: &Ledger, since: &HashMap<Counted, u64>, lost: u64) -> bool {
    let kinds = [
        (Counted::Fork, kernel.fork),
        (Counted::Exec, kernel.exec),
        (Counted::Exit, kernel.exit),
        (Counted::Change, kernel.change),
    ];
    let balances = |(kind, count): &(Counted, procession_sensor::Count)| {
        let received = ledger.account(*kind).received + since.get(kind).copied().unwrap_or_default();
        received + count.lost == count.attempted
    };
    kinds.iter().all(balances) && kinds.iter().map(|(_, count)| count.lost).sum::<u64>() == lost
}
