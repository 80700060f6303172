//! Where an agent with a journal works, what happens there, and the account of it afterwards.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use procession::EventKind;
use procession_journal::{Journal, Piece};
use procession_sensor::detach_all;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::agent::{Agent, Setup, wait_until};

/// A folder, and a place for pins.
pub(crate) struct Site {
    pub(crate) folder: Arc<TempDir>,
    pins: PathBuf,
}

impl Site {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let pins = format!("/sys/fs/bpf/procession-faults-{}-{made}", std::process::id()).into();
        Self { folder: Arc::new(TempDir::new().unwrap()), pins }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path("state/journal")
    }

    /// The files of the journal, the newest last.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.journal()).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> =
            all.filter(|path| path.extension().is_some_and(|it| it == "procession")).collect();
        all.sort();
        all
    }

    pub(crate) fn pins(&self) -> &Path {
        &self.pins
    }

    /// Another agent with a journal and pins, that serves nobody.
    pub(crate) fn another(&self, options: &[&str]) -> Answer {
        let mut arguments = vec!["agent", "--no-runtimes", "--config", "/dev/null", "--server-address="];
        let journal = format!("--journal-dir={}", self.journal().display());
        if !options.iter().any(|option| option.starts_with("--journal-dir")) {
            arguments.push(&journal);
        }
        arguments.extend(options);
        self.ask(&arguments)
    }

    /// An agent with a journal and pins.
    pub(crate) fn setup(&self) -> Setup {
        self.setup_without_pins().option(format!("--pin-dir={}", self.pins.display()))
    }

    /// An agent with a journal. Its programs end with it.
    pub(crate) fn setup_without_pins(&self) -> Setup {
        Setup::within(&self.folder).option(format!("--journal-dir={}", self.journal().display()))
    }

    /// Asks the agent, or a journal in its place: the lines of the answer.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
        command.args(arguments).stdin(Stdio::null());
        command.env("PROCESSION_SERVER_ADDRESS", format!("unix://{}", self.path("socket").display()));
        let output = command.output().unwrap();
        Answer {
            is_given: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The `exec_id` of a process that runs, as the agent has it.
    pub(crate) fn exec_id(&self, pid: u32) -> String {
        let answer = self.ask(&["why", &pid.to_string(), "-o", "json"]);
        assert!(answer.is_given, "{pid}: {}", answer.err);
        let process: serde_json::Value = serde_json::from_str(answer.out.lines().next().unwrap()).unwrap();
        let found = exec_ids(&process["chain"]);
        assert!(!found.is_empty(), "{pid}: {process}");
        found.join(" ")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = detach_all(&self.pins);
    }
}

/// A program that runs until this is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// One that does nothing.
    pub(crate) fn sleeper() -> Self {
        Self::start(Command::new("sleep").arg("1000").stdin(Stdio::null()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) is_given: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn exec_ids(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(fields) => {
            let own = fields.get("exec_id").and_then(|id| id.as_str()).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(exec_ids)).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(exec_ids).collect(),
        _ => Vec::new(),
    }
}

/// What is in a journal.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Events that can be read.
    pub(crate) events: u64,
    /// How often each mark was seen to begin.
    pub(crate) marks: BTreeMap<u32, u32>,
    /// Events that the kernel had no room for.
    pub(crate) lost_in_kernel: u64,
    /// Events up to its end, written or not.
    pub(crate) sequence: u64,
    pub(crate) is_closed: bool,
}

impl Written {
    /// Reads all of it. Marks are those of `run_marked`.
    pub(crate) fn read(path: &Path, marker: &str) -> Self {
        let mut written = Self::default();
        let prefix = format!("{marker}-");
        let journal = Journal::open(path).unwrap();
        journal
            .read(None, &mut |piece: Piece<'_>| {
                if let Piece::Event(event) = piece {
                    written.note(&event.kind, &prefix);
                }
                true
            })
            .unwrap();
        let latest = journal.latest().unwrap();
        (written.sequence, written.is_closed) = (latest.sequence, latest.is_closed);
        written
    }

    fn note(&mut self, kind: &EventKind<'_>, prefix: &str) {
        self.events += 1;
        match kind {
            EventKind::Exec(exec) => {
                let mark = exec.program.arguments.bytes.split(|byte| *byte == 0).nth(1).unwrap_or_default();
                let number = std::str::from_utf8(mark).ok().and_then(|mark| mark.strip_prefix(prefix));
                if let Some(number) = number.and_then(|number| number.parse().ok()) {
                    *self.marks.entry(number).or_default() += 1;
                }
            }
            EventKind::Lost(count) => self.lost_in_kernel += count,
            _ => {}
        }
    }

    /// Events that are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.sequence - self.events
    }

    /// Each of `times` marks is there once.
    pub(crate) fn has_all(&self, times: u32) -> bool {
        (0..times).all(|mark| self.marks.get(&mark) == Some(&1))
    }
}

/// Text that hardly gets shorter when it is compressed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new() -> Self {
        Self(u64::from(std::process::id()) | 1)
    }

    /// So many bytes of it, or a few more; others each time.
    pub(crate) fn text(&mut self, bytes: usize) -> String {
        let mut text = String::new();
        while text.len() < bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(text, "{:08x}", self.0 >> 32).unwrap();
        }
        text
    }
}

/// Runs `true MARKER-NUMBER`, each with so many bytes of arguments besides, that hardly get shorter.
pub(crate) fn run_marked_long(marker: &str, times: usize, bytes: usize) {
    let mut noise = Noise::new();
    for number in 0..times {
        let mut program = Command::new("/bin/true");
        program.arg(format!("{marker}-{number}")).arg(noise.text(bytes));
        assert!(program.status().unwrap().success());
    }
}

/// Waits until all that waits to be written now is written or lost: what still does when the agent stops gets
/// little time. Others may make more meanwhile.
pub(crate) fn settle(agent: &Agent) {
    // Who asks within half a second gets the answer of before.
    std::thread::sleep(Duration::from_millis(600));
    let metric = |name: &str| agent.metric(name).unwrap();
    let done = || metric("procession_journal_events_total") + metric("procession_journal_lost_events_total");
    let goal = done() + metric("procession_journal_waiting_events");
    wait_until(|| done() >= goal, || format!("{} of {goal} events: {}", done(), agent.errors()));
}

/// Stops an agent: none of its threads does anything until it is told to go on.
pub(crate) fn halt(agent: &Agent) {
    agent.signal(Signal::STOP);
    let tasks = format!("/proc/{}/task", agent.pid());
    let is_stopped = |task: fs::DirEntry| {
        // One that has ended meanwhile does nothing either.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    let are_stopped = || fs::read_dir(&tasks).unwrap().all(|task| is_stopped(task.unwrap()));
    wait_until(are_stopped, || "it is told to stop, and goes on".to_owned());
}

/// Waits until all of these marks are in the journal, and so in blocks that hold nothing later.
pub(crate) fn wait_until_written(site: &Site, agent: &Agent, marker: &str, times: u32) {
    let is_written = || Written::read(&site.journal(), marker).has_all(times);
    wait_until(is_written, || format!("{marker} is not written: {}", agent.errors()));
}

/// Ends in order, when all is written that can be; what it said in all.
pub(crate) fn end(agent: Agent) -> String {
    settle(&agent);
    end_now(agent)
}

/// Ends in order; what it said in all.
pub(crate) fn end_now(agent: Agent) -> String {
    let (errors, _folder) = (agent.errors_file(), agent.folder());
    let (status, _, _) = agent.end();
    let said = fs::read_to_string(errors).unwrap();
    assert!(status.success(), "{status}: {said}");
    said
}

/// A number that a sentence has behind `name=`.
pub(crate) fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(name)?;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The number that a sentence has before `words`, as in "1,234 events seen".
pub(crate) fn number_before(text: &str, words: &str) -> Option<u64> {
    let (before, _) = text.split_once(words)?;
    before.trim_end().rsplit(' ').next()?.replace(',', "").parse().ok()
}

/// Whether a program is there. If not, that is why.
pub(crate) fn without(program: &str) -> Option<String> {
    let found =
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().any(|at| Path::new(at).join(program).exists());
    (!found).then(|| format!("there is no `{program}`"))
}

/// Runs a command that has to go well.
pub(crate) fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
