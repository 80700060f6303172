//! What else a tired operator meets.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io::{BufRead as _, BufReader, PipeReader, Write as _, pipe};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use procession_journal::Damage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::Signal;

use crate::agent::{Agent, PATIENCE, Setup, run_marked, wait_until};
use crate::blocks::{begins_and_ends_from, damage_blocks_with, damage_in};
use crate::disk::Mounted;
use crate::site::{
    Noise, Running, Site, Written, end, number_before, run_marked_long, settle, wait_until_written,
};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 10] = [
    ("operator::stops_while_it_starts", Needs::Nothing, stops_while_it_starts),
    ("operator::stops_twice", Needs::Nothing, stops_twice),
    ("operator::stops_in_the_middle_of_a_checkpoint", Needs::Nothing, stops_in_the_middle_of_a_checkpoint),
    ("operator::is_killed_while_it_writes", Needs::Nothing, is_killed_while_it_writes),
    ("operator::nobody_reads_its_output_any_more", Needs::Nothing, nobody_reads_its_output_any_more),
    ("operator::reads_its_output_slowly", Needs::Nothing, reads_its_output_slowly),
    ("operator::reloads_a_broken_file_under_load", Needs::Nothing, reloads_a_broken_file_under_load),
    ("operator::the_newest_file_is_damaged", Needs::Nothing, the_newest_file_is_damaged),
    ("operator::the_newest_file_is_overwritten", Needs::Nothing, the_newest_file_is_overwritten),
    ("operator::the_journal_is_of_a_newer_version", Needs::Nothing, the_journal_is_of_a_newer_version),
];

/// At any moment from the first on: it ends by itself and leaves nothing that is in the way of the next.
fn stops_while_it_starts() {
    let site = Site::new();
    for step in 0..12 {
        let agent = site.setup().spawn();
        // Up to a second and a half: by then it serves, also where it is slow.
        thread::sleep(Duration::from_millis(step * step * 12));
        let (status, took, _) = agent.end();
        // Before it has said which signals it wants, it ends as anybody does.
        let is_orderly = status.success() || status.signal() == Some(15);
        assert!(is_orderly && took < Duration::from_secs(20), "{status} after {took:?}");
        assert!(!site.path("socket").exists(), "its socket is left, step {step}");
    }
    let agent = site.setup().start();
    run_marked("after", 20);
    agent.wait_for_export("after-19");
    let said = end(agent);
    let written = Written::read(&site.journal(), "after");
    assert!(written.is_closed && written.has_all(20), "{said}");
    assert_eq!((written.missing(), written.lost_in_kernel), (0, 0), "{said}");
}

/// The second time it ends at once, in the middle of what the first has asked for; and the next one takes over. What
/// runs meanwhile, and while there is no agent, is there once.
fn stops_twice() {
    let site = Site::new();
    // It takes its time to stop: nobody reads what it exports.
    let (unread, output) = pipe().unwrap();
    let mut agent = site.setup().export("-").stdout(Stdio::from(output)).start();
    let sleeper = Running::sleeper();
    run_marked_long("before", 50, 5_000);
    settle(&agent);
    let before = site.exec_id(sleeper.pid());
    run_marked("right", 50);
    agent.signal(Signal::TERM);
    // No more: it takes some seconds to stop.
    run_marked("between", 1);
    assert_eq!(agent.ended(), None, "it has to be in the middle of it");
    agent.signal(Signal::TERM);
    wait_until(|| agent.ended().is_some(), || "it goes on".to_owned());
    assert_eq!(agent.ended().unwrap().code(), Some(128 + Signal::TERM.as_raw()));
    run_marked("nobody", 50);
    drop((agent, unread));
    let agent = site.setup().start();
    assert_eq!(site.exec_id(sleeper.pid()), before);
    agent.wait_for_export("nobody-49");
    let said = end(agent);
    for (marker, times) in [("before", 50), ("right", 50), ("between", 1), ("nobody", 50)] {
        let written = Written::read(&site.journal(), marker);
        assert!(written.has_all(times), "{marker}: {:?} {said}", written.marks);
        assert_eq!((written.missing(), written.lost_in_kernel), (0, 0), "{said}");
    }
}

/// How often to try to ask an agent to end just when it writes a checkpoint.
const TURNS: usize = 7;
/// How often to try to kill it in the middle of a block.
const KILLS: usize = 30;

/// The table is large, and one file begins soon after the other: what is asked to end just then ends the file
/// that it has begun, or leaves the one before as it was. Both an agent that has begun already and one that goes on
/// from there are asked until it came in the middle once.
fn stops_in_the_middle_of_a_checkpoint() {
    let site = Site::new();
    let _lives = large_table();
    // Who has nothing to write begins no file.
    let _load = load();
    let mut turns = Vec::new();
    for stop in [stop_at_the_next_file, stop_at_the_first_file] {
        let mut is_hit = false;
        for _ in 0..TURNS {
            let turn = format!("turn{}", turns.len());
            is_hit = stop(&site, &turn);
            turns.push(turn);
            if is_hit {
                break;
            }
        }
        assert!(is_hit, "in {TURNS} turns each checkpoint was whole before anybody could ask");
    }
    let said = end(frequent(&site).start());
    for turn in &turns {
        let written = Written::read(&site.journal(), turn);
        assert!(written.is_closed && written.has_all(50), "{turn}: {written:?} {said}");
        assert_eq!((written.missing(), written.lost_in_kernel), (0, 0), "{said}");
    }
    assert_eq!(unfinished(&site), Vec::<PathBuf>::new(), "what was not whole is removed: {said}");
}

/// It begins another file every 30 s, an eighth of what it keeps: all of the turns, and not for ever.
fn frequent(site: &Site) -> Setup {
    site.setup().option("--journal-max-age=4m")
}

/// Whether a checkpoint was still in the making when the agent, which had written some before, had been asked.
fn stop_at_the_next_file(site: &Site, turn: &str) -> bool {
    let agent = frequent(site).start();
    run_marked(turn, 50);
    agent.wait_for_export(&format!("{turn}-49"));
    settle(&agent);
    assert_eq!(agent.metric("procession_journal_lost_events_total"), Some(0));
    let beginnings = Beginnings::of(&site.journal());
    let (is_hit, status, said) = stop_when_one_begins(agent, &beginnings);
    assert!(status.success(), "{status}: {said}");
    let written = Written::read(&site.journal(), turn);
    // What takes too long is left as it is, and said.
    assert!(written.is_closed || said.contains("the journal takes too long"), "{said}");
    assert!(written.has_all(50) && written.missing() == 0, "{written:?} {said}");
    is_hit
}

/// The same of an agent that has just started: the first thing that it writes is a checkpoint.
fn stop_at_the_first_file(site: &Site, turn: &str) -> bool {
    run_marked(turn, 50);
    let beginnings = Beginnings::of(&site.journal());
    let (is_hit, status, said) = stop_when_one_begins(frequent(site).spawn(), &beginnings);
    assert!(status.success() || status.signal() == Some(Signal::TERM.as_raw()), "{status}: {said}");
    is_hit
}

/// Asks it to end at once: whether the file was not whole when that was done, how it ended, and what it said.
fn stop_when_one_begins(mut agent: Agent, beginnings: &Beginnings) -> (bool, ExitStatus, String) {
    let file = beginnings.wait(&agent);
    agent.signal(Signal::TERM);
    let is_hit = file.exists();
    wait_until(|| agent.ended().is_some(), || "it goes on".to_owned());
    (is_hit, agent.ended().unwrap(), agent.errors())
}

/// Who lives is in each checkpoint, with all arguments.
fn large_table() -> Vec<Running> {
    let mut noise = Noise::new();
    let mut live = || {
        let mut reads = Command::new("sh");
        Running::start(reads.args(["-c", "read line", "sh", &noise.text(100_000)]).stdin(Stdio::piped()))
    };
    (0..60).map(|_| live()).collect()
}

/// What a file of the journal is called until its checkpoint is whole.
fn is_unfinished(name: &[u8]) -> bool {
    name.starts_with(b".") && name.ends_with(b".new")
}

fn unfinished(site: &Site) -> Vec<PathBuf> {
    let all = fs::read_dir(site.journal()).unwrap().map(|entry| entry.unwrap());
    all.filter(|entry| is_unfinished(entry.file_name().as_bytes())).map(|entry| entry.path()).collect()
}

/// Sees the moment in which a file of the journal is begun, however short it is.
struct Beginnings {
    journal: PathBuf,
    watch: OwnedFd,
}

impl Beginnings {
    /// Those from now on. The directory has to be there.
    fn of(journal: &Path) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, journal, WatchFlags::CREATE).unwrap();
        Self { journal: journal.to_owned(), watch }
    }

    /// Waits for the next: the file, as it is called until it is whole. Something has to happen meanwhile.
    fn wait(&self, agent: &Agent) -> PathBuf {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(file) = self.next() {
                return file;
            }
            assert!(Instant::now() < end, "no file is begun: {}", agent.errors());
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut [PollFd::new(&self.watch, PollFlags::IN)], Some(&second)).unwrap();
        }
    }

    fn next(&self) -> Option<PathBuf> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        while let Ok(event) = events.next() {
            if let Some(name) = event.file_name().map(CStr::to_bytes).filter(|name| is_unfinished(name)) {
                return Some(self.journal.join(OsStr::from_bytes(name)));
            }
        }
        None
    }
}

/// A program every few milliseconds, until it is dropped.
fn load() -> Running {
    Running::start(Command::new("sh").args(["-c", "while true; do sleep 0.01; done"]).stdin(Stdio::null()))
}

/// Again and again, until it was in the middle of a block: what is torn is passed over, and what was not written is
/// still in the ring.
fn is_killed_while_it_writes() {
    let site = Site::new();
    // There a block grows page by page.
    let small = Mounted::small(&site.path("state"), c"size=512m");
    let mut torn = Vec::new();
    while torn.len() < 3 || !torn.contains(&true) {
        assert!(torn.len() < KILLS, "each block was whole before anybody could kill");
        torn.push(kill_in_a_block(&site, &format!("torn{}", torn.len())));
    }
    eprintln!("killed in the middle of a block: {torn:?}");
    let agent = all_kept(&site).start();
    let lost = agent.metric("procession_ledger_lost_events_total");
    let said = end(agent);
    assert_eq!(lost, Some(0), "{said}");
    for turn in 0..torn.len() {
        let written = Written::read(&site.journal(), &format!("torn{turn}"));
        assert!(written.has_all(40), "{turn}: {:?} {said}", written.marks);
        assert_eq!(written.missing(), 0, "{said}");
    }
    drop(small);
}

/// Its ring has room for what two agents have not written.
fn all_kept(site: &Site) -> Setup {
    site.setup().option("--ring-size=32M")
}

/// Kills an agent as soon as a large block begins to be written: whether that is not whole.
fn kill_in_a_block(site: &Site, marker: &str) -> bool {
    let agent = all_kept(site).start();
    settle(&agent);
    // All that happens meanwhile is read at once, and comes into one block.
    agent.signal(Signal::STOP);
    let newest = site.files().pop().unwrap();
    let length = || newest.metadata().unwrap().len();
    let before = length();
    run_marked_long(marker, 40, 100_000);
    agent.signal(Signal::CONT);
    let end = Instant::now() + PATIENCE;
    while length() == before {
        assert!(Instant::now() < end, "nothing is written: {}", agent.errors());
        // Who sleeps in between has its turn at once when it is due.
        thread::sleep(Duration::from_micros(10));
    }
    agent.kill();
    damage_in(&newest).iter().any(Damage::is_torn)
}

/// The reader of the pipe is gone: that is said once, events go on elsewhere, and those that are missing are counted.
fn nobody_reads_its_output_any_more() {
    let site = Site::new();
    let (output, pipe) = pipe().unwrap();
    let agent = site.setup().export("-").stdout(Stdio::from(pipe)).start();
    run_marked("pipe", 50);
    read_until(output, "\"pipe-49\"");
    run_marked("later", 50);
    agent.wait_for_word("nobody reads the output any more", 1);
    assert!(agent.get("/readyz").is_none() && agent.get("/healthz").is_some());
    let said = end(agent);
    assert_eq!(said.matches("nobody reads the output any more").count(), 1, "{said}");
    assert!(said.contains("not all events could be exported"), "{said}");
    let written = Written::read(&site.journal(), "later");
    assert!(written.is_closed && written.has_all(50), "{said}");
    // A begin and an end of each that came later; of what came before the last that was read, nothing.
    let missing = number_before(&said, " events could not be exported to ").unwrap();
    let most = begins_and_ends_from(&site.journal(), b"pipe-49");
    assert!((2 * 50..most).contains(&missing), "{missing} of at most {most}: {said}");
}

/// Reads up to a line with that, and no more.
fn read_until(output: PipeReader, text: &str) {
    let mut lines = BufReader::new(output).lines();
    assert!(lines.any(|line| line.unwrap().contains(text)), "{text} is not exported");
}

/// Whoever reads too slowly loses the oldest events, and is told how many, in their place.
fn reads_its_output_slowly() {
    let site = Site::new();
    let output = site.path("output");
    // It begins to read when it is told to.
    let begin = site.path("begin");
    let script = format!("while [ ! -e {} ]; do sleep 0.1; done; exec cat", begin.display());
    let mut slow = Command::new("sh");
    let file = fs::File::create(&output).unwrap();
    let mut slow = slow.args(["-c", &script]).stdin(Stdio::piped()).stdout(file).spawn().unwrap();
    let pipe = slow.stdin.take().unwrap();
    let agent = site.setup().export("-").stdout(Stdio::from(pipe)).option("--event-queue-size=100").start();
    run_marked_long("slow", 900, 5_000);
    agent.wait_for_metric("procession_export_lost_events_total", 1);
    fs::write(begin, "").unwrap();
    run_marked("last", 1);
    wait_until(
        || fs::read_to_string(&output).unwrap().contains("last-0"),
        || "the last is not exported".to_owned(),
    );
    let lost = agent.metric("procession_export_lost_events_total").unwrap();
    let said = end(agent);
    slow.wait().unwrap();
    let lines = fs::read_to_string(&output).unwrap();
    let told: Vec<_> = (0..900).filter(|mark| lines.contains(&format!("\"slow-{mark} "))).collect();
    assert!(
        lost > 0 && told.len() < 900 && (900 - told.len()) as u64 <= lost,
        "{lost} {}: {said}",
        told.len()
    );
    let written = Written::read(&site.journal(), "slow");
    assert!(written.has_all(900) && written.missing() == 0, "the journal has all: {said}");
}

fn reloads_a_broken_file_under_load() {
    let site = Site::new();
    let agent = site.setup().start();
    let load = Command::new("sh")
        .args(["-c", "i=0; while [ $i -lt 400 ]; do /bin/true load-$i; i=$((i+1)); done"])
        .spawn();
    let mut load = load.unwrap();
    for turn in 0..10 {
        let text = if turn % 2 == 0 { "log-level = 'shouting'" } else { "no toml [" };
        fs::write(agent.config(), text).unwrap();
        agent.signal(Signal::HUP);
        agent.wait_for_word("nothing changes", turn + 1);
    }
    assert!(load.wait().unwrap().success());
    agent.wait_for_export("load-399");
    let said = end(agent);
    let written = Written::read(&site.journal(), "load");
    assert!(written.has_all(400) && written.missing() == 0, "{said}");
}

/// The blocks that hold some programs are damaged, but for their headers, which say how many events are missing: all
/// say that number, and what can be read is used.
fn the_newest_file_is_damaged() {
    let site = Site::new();
    let agent = site.setup().start();
    for marker in ["first", "second", "third"] {
        run_marked(marker, 20);
        wait_until_written(&site, &agent, marker, 20);
    }
    end(agent);
    let newest = site.files().pop().unwrap();
    let damaged = damage_blocks_with(&newest, b"second-");
    let agent = site.setup().start();
    agent.wait_for_word("in the journal, ", damaged.len());
    let lost = agent.metric("procession_ledger_lost_events_total");
    let said = end(agent);
    assert_eq!(said.matches("in the journal, ").count(), damaged.len(), "{said}");
    for marker in ["first", "third"] {
        let written = Written::read(&site.journal(), marker);
        assert!(written.has_all(20), "{marker}: {:?} {said}", written.marks);
    }
    let written = Written::read(&site.journal(), "second");
    assert!(written.marks.is_empty(), "{:?}", written.marks);
    let missing = damaged.iter().sum();
    assert!(missing >= 20 * 3 && written.missing() == missing, "{missing} {written:?}");
    assert_eq!(lost, Some(missing), "{said}");
    let told = site.ask(&["replay", site.journal().to_str().unwrap()]);
    let summary = told.err.lines().find(|line| line.contains(" recorded on ")).unwrap_or_default();
    assert_eq!(number_before(summary, " events are missing"), Some(missing), "{}", told.err);
}

/// Nothing is left of what was in the file, and nobody knows how much that was: this is said. What can be read of
/// others is used, and who runs is looked for.
fn the_newest_file_is_overwritten() {
    let site = Site::new();
    let sleeper = Running::sleeper();
    for marker in ["first", "second"] {
        let agent = site.setup().start();
        run_marked(marker, 20);
        agent.wait_for_export(&format!("{marker}-19"));
        end(agent);
    }
    let newest = site.files().pop().unwrap();
    let length = newest.metadata().unwrap().len();
    let file = fs::File::options().write(true).open(&newest).unwrap();
    file.write_all_at(&vec![0x55; usize::try_from(length).unwrap()], 0).unwrap();
    let told = site.ask(&["replay", site.journal().to_str().unwrap()]);
    assert!(told.err.contains("nobody knows how many events are missing"), "{}", told.err);
    let agent = site.setup().start();
    agent.wait_for_word("in the journal, ", 1);
    site.exec_id(sleeper.pid());
    run_marked("third", 20);
    agent.wait_for_export("third-19");
    let said = end(agent);
    assert!(newest.exists(), "it stays for who can read it: {said}");
    for marker in ["first", "third"] {
        let written = Written::read(&site.journal(), marker);
        assert!(written.has_all(20), "{marker}: {said}");
    }
}

/// After a downgrade: nothing of it is removed or believed.
fn the_journal_is_of_a_newer_version() {
    let site = Site::new();
    fs::create_dir_all(site.journal()).unwrap();
    let newer = site.journal().join("0000000007-20400101T000000Z.procession");
    let agent = site.setup().start();
    run_marked("old", 20);
    end(agent);
    // A block as ours, but for the version, and a header that says so rightly.
    let own = site.files().pop().unwrap();
    let mut bytes = fs::read(&own).unwrap();
    let stored = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    bytes.truncate(64 + usize::try_from(stored).unwrap());
    bytes[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    fs::File::create(&newer).unwrap().write_all(&bytes).unwrap();
    fs::remove_file(own).unwrap();
    let agent = site.setup().start();
    run_marked("new", 20);
    agent.wait_for_export("new-19");
    let said = end(agent);
    assert!(said.contains("newer"), "{said}");
    assert_eq!(fs::read(&newer).unwrap(), bytes, "it stays as it is");
    assert!(site.files().pop().unwrap() > newer, "numbers go on");
}
