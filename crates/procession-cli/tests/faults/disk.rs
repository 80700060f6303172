//! Disks that are full, cannot be written, or do not answer; directories that somebody takes away.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::agent::{Agent, markers, run_marked, wait_until};
use crate::blocks::checkpoint_of;
use crate::site::{
    Noise, Site, Written, end, end_now, halt, number_after, number_before, run, run_marked_long, settle,
    wait_until_written, without,
};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 9] = [
    ("disk::full_for_the_journal", Needs::Nothing, full_for_the_journal),
    ("disk::full_for_the_journal_at_the_end", Needs::Nothing, full_for_the_journal_at_the_end),
    ("disk::full_for_journal_and_export", Needs::Nothing, full_for_journal_and_export),
    ("disk::read_only_at_the_start", Needs::Nothing, read_only_at_the_start),
    (
        "disk::of_somebody_else_at_the_start",
        Needs::Installed(|| without("setpriv")),
        of_somebody_else_at_the_start,
    ),
    ("disk::fails_in_mid_run", Needs::Installed(no_disk), fails_in_mid_run),
    ("disk::fails_before_all_is_forced", Needs::Installed(no_disk), fails_before_all_is_forced),
    ("disk::does_not_answer_for_a_while", Needs::Installed(no_disk), does_not_answer_for_a_while),
    ("disk::the_journal_is_taken_away", Needs::Nothing, the_journal_is_taken_away),
];

/// A file system at a path.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// One in memory, of some room.
    pub(crate) fn small(path: &Path, options: &std::ffi::CStr) -> Self {
        fs::create_dir_all(path).unwrap();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options)).unwrap();
        Self(path.to_owned())
    }

    /// One on a disk, which is a file.
    fn disk(path: &Path, image: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        run(&["mount", "-o", "loop,errors=remount-ro", image.to_str().unwrap(), path.to_str().unwrap()]);
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A file with an empty file system, in a folder.
fn image(folder: &Path) -> PathBuf {
    let image = folder.join("image");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    run(&["mkfs.ext4", "-q", "-F", image.to_str().unwrap()]);
    image
}

/// Why there can be no disk that is a file.
fn no_disk() -> Option<String> {
    without("mkfs.ext4").or_else(|| without("fsfreeze")).or_else(|| {
        let has_loop = Path::new("/dev/loop-control").exists();
        (!has_loop).then(|| "there are no loop devices".to_owned())
    })
}

/// All room but so much is taken, whoever writes there meanwhile.
fn fill(path: &Path, left: u64) -> PathBuf {
    let ballast = path.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 4 << 10]).is_ok() {}
    let bytes = file.metadata().unwrap().len();
    file.set_len(bytes.saturating_sub(left)).unwrap();
    ballast
}

/// What is missing in the journal is what was counted, here and in the log.
fn check_account(site: &Site, said: &str, counted: u64, marker: &str) -> Written {
    let written = Written::read(&site.journal(), marker);
    assert!(written.is_closed, "{said}");
    assert_eq!(written.missing(), counted, "{said}");
    assert_eq!(written.lost_in_kernel, 0, "a disk holds up nobody: {said}");
    written
}

/// The journal's losses, when all is written that can be.
fn lost(agent: &Agent) -> u64 {
    settle(agent);
    agent.metric("procession_journal_lost_events_total").unwrap()
}

fn full_for_the_journal() {
    let site = Site::new();
    let small = Mounted::small(&site.path("state"), c"size=64m");
    let agent = site.setup().start();
    let ballast = fill(&site.path("state"), 128 << 10);
    // More than waits: some must be lost.
    run_marked_twice("full", 300, 50_000);
    agent.wait_for_word("the journal cannot be written: free some space", 1);
    agent.wait_for_metric("procession_journal_failing", 1);
    agent.wait_for_metric("procession_journal_lost_events_total", 1);
    // Others get everything.
    agent.wait_for_export("full-299");

    fs::remove_file(ballast).unwrap();
    agent.wait_for_word("the journal is written again", 1);
    // Until then there may be no room for others.
    settle(&agent);
    run_marked("later", 20);
    agent.wait_for_metric("procession_journal_files", 2);
    let counted = lost(&agent);
    let said = end(agent);
    assert_eq!(said.matches("the journal cannot be written").count(), 1, "{said}");
    assert!(number_after(&said, "lost:").is_some_and(|told| told <= counted), "{said}");
    let written = check_account(&site, &said, counted, "later");
    assert!(written.has_all(20), "{:?} {said}", written.marks);
    assert!(counted > 0 && said.contains("missing in the journal"), "{said}");
    check_what_waited(&site, 100_000);
    check_checkpoint(&site, &written);
    drop(small);
}

/// Runs `true MARKER-NUMBER`, each with so many bytes of arguments besides, twice. Of these the journal needs a quarter:
/// all that may wait does not fill a file, and another begins only because some are missing.
fn run_marked_twice(marker: &str, times: usize, bytes: usize) {
    let mut noise = Noise::new();
    for number in 0..times {
        let text = noise.text(bytes);
        run(&["/bin/true", &format!("{marker}-{number}"), &text, &text]);
    }
}

/// Of programs with so many bytes of arguments, as many are there as may wait, and what little was written before. A
/// block of up to 4 MiB is lost as a whole, and others run programs too.
fn check_what_waited(site: &Site, bytes: usize) {
    const MAY_WAIT: usize = 16 << 20;
    let kept = Written::read(&site.journal(), "full").marks.len() * bytes;
    assert!((MAY_WAIT / 2..MAY_WAIT + (1 << 20)).contains(&kept), "{kept} bytes are there");
}

/// All that is missing is before the checkpoint with which the newest file begins.
fn check_checkpoint(site: &Site, written: &Written) {
    let newest = site.files().pop().unwrap();
    let behind = Written::read(&newest, "later");
    assert_eq!(checkpoint_of(&newest) + behind.events, written.sequence, "{written:?} {behind:?}");
}

/// Who stops before there is room again is told what is missing.
fn full_for_the_journal_at_the_end() {
    let site = Site::new();
    let small = Mounted::small(&site.path("state"), c"size=64m");
    let agent = site.setup().start();
    fill(&site.path("state"), 1 << 20);
    run_marked_long("full", 60, 100_000);
    agent.wait_for_word("the journal cannot be written: free some space", 1);
    let said = end_now(agent);
    let written = Written::read(&site.journal(), "full");
    assert!(!written.is_closed, "there is no room to say so");
    let missing = number_before(&said, " events are missing in the journal, because it could not be written");
    // The journal ends before what is missing, so that it shows no hole.
    let seen = number_before(&said, " events seen,");
    assert_eq!(written.missing(), 0, "{written:?} {said}");
    assert_eq!(missing, seen.map(|seen| seen - written.events), "{written:?} {said}");
    assert!(missing.is_some_and(|missing| missing >= 60 - written.marks.len() as u64), "{written:?} {said}");
    drop(small);
}

fn full_for_journal_and_export() {
    let site = Site::new();
    let small = Mounted::small(&site.path("state"), c"size=64m");
    let export = site.path("state/events.log");
    let agent = site.setup().export(&export).start();
    let ballast = fill(&site.path("state"), 192 << 10);
    run_marked("both", 1_000);
    agent.wait_for_word("the journal cannot be written: free some space", 1);
    agent.wait_for_word("events cannot be exported: free some space", 1);
    assert!(agent.get("/readyz").is_none(), "it is of no use as it is");
    assert!(agent.get("/healthz").is_some(), "and a new start would not help");
    fs::remove_file(ballast).unwrap();
    agent.wait_for_word("the journal is written again", 1);
    agent.wait_for_word("events are exported again", 1);
    agent.wait_for_export("both-999");
    let (counted, exported) = (lost(&agent), agent.exported());
    assert_eq!(agent.metric("procession_export_lost_events_total"), Some(0));
    let said = end(agent);
    let written = check_account(&site, &said, counted, "both");
    assert!(counted > 0 || written.has_all(1_000), "{said}");
    for mark in markers("both", 1_000) {
        assert!(exported.contains(&format!("\"{mark}\"")), "{mark} is not exported: {said}");
    }
    drop(small);
}

fn read_only_at_the_start() {
    let site = Site::new();
    let small = Mounted::small(&site.path("state"), c"size=6m,ro");
    let (status, said) = site.setup().fail();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("cannot keep a journal; an empty `journal-dir` does without"), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("state/journal"), "{said}");
    drop(small);
}

/// Root without the right to pass over permissions, as in many a container.
fn of_somebody_else_at_the_start() {
    let site = Site::new();
    fs::create_dir_all(site.journal()).unwrap();
    std::os::unix::fs::chown(site.journal(), Some(4321), Some(4321)).unwrap();
    run(&["chmod", "700", site.journal().to_str().unwrap()]);
    let drop = "-dac_override,-dac_read_search";
    let by = ["setpriv", "--inh-caps", drop, "--bounding-set", drop];
    let (status, said) = site.setup().by(&by).fail();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("others can write in") && said.contains("state/journal"), "{said}");
}

/// A disk that takes nothing any more becomes read-only under the agent. What comes in its place is taken as it is, and
/// what is on neither is counted, where each block is forced to the disk.
fn fails_in_mid_run() {
    let account = fail_in_mid_run("always");
    assert_eq!(account.on_both + account.counted, account.seen, "{account:?}");
}

/// The same where blocks are not forced to the disk yet: what only the system had of them is gone with the disk, and
/// was counted as written.
fn fails_before_all_is_forced() {
    let account = fail_in_mid_run("1h");
    let uncounted = account.seen - account.on_both - account.counted;
    eprintln!("{uncounted} events are missing that were not forced to the disk: {account:?}");
    assert!(uncounted <= account.counted_as_written, "{account:?}");
}

/// What became of events where a disk has failed, and another has come in its place.
#[derive(Debug)]
struct Account {
    /// All that there were.
    seen: u64,
    /// Those that are in the journal of the old disk or of the new.
    on_both: u64,
    /// Those that are said to be lost.
    counted: u64,
    /// Those that were said to be written when the disk had failed.
    counted_as_written: u64,
}

/// An agent that forces its journal to the disk so often.
fn fail_in_mid_run(fsync: &str) -> Account {
    let site = Site::new();
    // The room that the disk itself has.
    let room = Mounted::small(&site.path("room"), c"size=128m");
    let (state, image) = (site.path("state"), image(&site.path("room")));
    let disk = Mounted::disk(&state, &image);
    let agent = site.setup().option(format!("--journal-fsync={fsync}")).start();
    run_marked("before", 20);
    wait_until_written(&site, &agent, "before", 20);
    let ballast = fill(&site.path("room"), 0);
    run_marked_long("meanwhile", 20, 20_000);
    // Whatever of it the disk refuses.
    let _ = Command::new("sync").arg("-f").arg(&state).output();
    agent.wait_for_word("the journal cannot be written", 1);
    agent.wait_for_metric("procession_journal_failing", 1);
    agent.wait_for_export("meanwhile-19");
    let counted_as_written = agent.metric("procession_journal_events_total").unwrap();

    drop(disk);
    let other = Mounted::small(&state, c"size=32m");
    agent.wait_for_word("the journal is written again", 1);
    run_marked("after", 20);
    agent.wait_for_export("after-19");
    let counted = lost(&agent);
    let said = end(agent);
    let new = Written::read(&site.journal(), "after");
    assert!(new.is_closed && new.has_all(20), "{new:?} {said}");
    drop(other);
    fs::remove_file(ballast).unwrap();
    // Nobody has it open any more.
    let disk = Mounted::disk(&state, &image);
    let old = Written::read(&site.journal(), "before");
    drop((disk, room));
    Account { seen: new.sequence, on_both: old.events + new.events, counted, counted_as_written }
}

/// Whoever waits for the disk is the journal's thread alone.
fn does_not_answer_for_a_while() {
    /// Lets the file system go on, also when the test fails.
    struct Frozen(PathBuf);
    impl Drop for Frozen {
        fn drop(&mut self) {
            let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
        }
    }
    let site = Site::new();
    let (state, image) = (site.path("state"), image(site.folder.path()));
    let disk = Mounted::disk(&state, &image);
    let agent = site.setup().start();
    run(&["fsfreeze", "-f", state.to_str().unwrap()]);
    let frozen = Frozen(state);
    run_marked_long("frozen", 300, 100_000);
    agent.wait_for_export("frozen-299");
    agent.wait_for_metric("procession_journal_lost_events_total", 1);
    agent.wait_for_word("the journal's disk does not answer", 1);
    let is_ready = || agent.get("/readyz").is_some();
    wait_until(is_ready, || "events are told, so it is of use".to_owned());
    drop(frozen);
    agent.wait_for_word("the journal is written again", 1);
    // Until then there may still be no room for more.
    settle(&agent);
    run_marked("later", 20);
    agent.wait_for_export("later-19");
    let counted = lost(&agent);
    let said = end(agent);
    let written = check_account(&site, &said, counted, "later");
    assert!(written.has_all(20) && counted > 0, "{said}");
    drop(disk);
}

/// Somebody cleans up. It is noticed at once, not with the next file, and what was in all files is told.
fn the_journal_is_taken_away() {
    let site = Site::new();
    run_marked("older", 20);
    end(site.setup().start());
    let agent = site.setup().start();
    for (turn, take_away) in
        [fs::remove_dir_all, |path: PathBuf| fs::rename(&path, path.with_extension("old"))]
            .into_iter()
            .enumerate()
    {
        let marker = format!("before{turn}");
        run_marked(&marker, 20);
        wait_until_written(&site, &agent, &marker, 20);
        // So that nothing is written between what is read here and the end of it, nor before it looks again whether
        // the file is there.
        halt(&agent);
        let gone = told_of_gone(&site.files());
        take_away(site.journal()).unwrap();
        thread::sleep(Duration::from_millis(500));
        agent.signal(Signal::CONT);
        agent.wait_for_word("somebody has removed or replaced the journal file", turn + 1);
        agent.wait_for_word(&gone, 1);
        agent.wait_for_word("the journal is written again", turn + 1);
        wait_until(
            || site.journal().exists() && !site.files().is_empty(),
            || "there is no other file".to_owned(),
        );
        assert_eq!(agent.metric("procession_journal_files"), Some(1));
    }
    run_marked("after", 20);
    agent.wait_for_export("after-19");
    // The other's lock is as new as the directory.
    let other = site.another(&[]);
    assert!(!other.is_given && other.err.contains("another program writes the journal"), "{other:?}");
    let said = end(agent);
    let written = Written::read(&site.journal(), "after");
    assert!(written.is_closed && written.has_all(20), "{written:?} {said}");
    let old = Written::read(&site.journal().with_extension("old"), "after");
    assert!(!old.is_closed && old.marks.is_empty(), "{old:?}");
    // What a new agent goes on from is what this one knew.
    let agent = site.setup().start();
    agent.wait_for_word("going on from the journal", 1);
    end(agent);
}

/// What is to be said when these files have gone, of which the last is the newest.
fn told_of_gone(files: &[PathBuf]) -> String {
    let (newest, older) = files.split_last().unwrap();
    let events = Written::read(newest, "").events;
    let also = match older {
        [] => String::new(),
        [older] => format!(", and so is an older file of {} bytes", older.metadata().unwrap().len()),
        _ => panic!("{files:?}"),
    };
    format!("; the {events} events in it are gone{also}")
}
