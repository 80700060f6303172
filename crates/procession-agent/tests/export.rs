//! The export, with real files: what is written, rotated, kept and told, and what happens when that fails.

#![expect(clippy::print_stderr, reason = "whoever runs it sees what was left out")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "../../procession-journal/tests/support/small_disk.rs"]
mod small_disk;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use flate2::read::GzDecoder;
use procession_agent::{
    Event, EventLog, ExportConfig, ExportCounts, ExportHandle, ExportSink, Exporter, FileConfig, Form,
    LogConfig, Rotation,
};
use procession_api::proto::tetragon::get_events_response::Event as Kind;
use procession_api::proto::tetragon::{GetEventsResponse, Process, ProcessExec};
use serde_json::Value;
use small_disk::SmallDisk;
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

/// Longer than anything takes on a busy machine: for what would otherwise be waited for without end.
const PATIENCE: Duration = Duration::from_mins(1);

/// An export into a file of a directory that goes with it.
struct Lab {
    directory: TempDir,
    log: EventLog,
    exporter: Exporter,
    handle: ExportHandle,
    appended: u64,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// This event.
    Event(u64),
    /// So many events are missing.
    Missing(u64),
}

impl Lab {
    fn new(change: impl FnOnce(&mut ExportConfig, &mut FileConfig)) -> Self {
        Self::with(TempDir::new().unwrap(), LogConfig::default(), change)
    }

    fn with(
        directory: TempDir,
        log: LogConfig,
        change: impl FnOnce(&mut ExportConfig, &mut FileConfig),
    ) -> Self {
        let log = EventLog::new(log);
        let mut file = FileConfig::new(directory.path().join("events.log"));
        let mut config = config(ExportSink::Stdout);
        change(&mut config, &mut file);
        config.sink = ExportSink::File(file);
        let exporter = Exporter::start(&log, config).unwrap();
        let handle = exporter.handle();
        Self { directory, log, exporter, handle, appended: 0 }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("events.log")
    }

    fn append(&mut self, events: u64) {
        self.append_long(events, 10);
    }

    fn append_long(&mut self, events: u64, length: usize) {
        let numbers = self.appended..self.appended + events;
        self.log.append(numbers.map(|number| Event::new(number, message(number, length))));
        self.appended += events;
    }

    /// Appends so slowly that nothing is lost.
    fn append_all(&mut self, events: u64, length: usize) {
        let mut left = events;
        while left > 0 {
            let some = left.min(500);
            self.append_long(some, length);
            left -= some;
            let appended = self.appended;
            self.wait(|counts| counts.exported == appended);
        }
    }

    fn wait(&self, is_so: impl Fn(ExportCounts) -> bool) -> ExportCounts {
        wait(&self.handle, is_so)
    }

    /// Ends it as an agent does.
    fn finish(self) -> Finished {
        self.log.close();
        let result = self.exporter.finish(PATIENCE);
        Finished { directory: self.directory, counts: self.handle.counts(), result }
    }
}

struct Finished {
    directory: TempDir,
    counts: ExportCounts,
    result: io::Result<()>,
}

fn wait(handle: &ExportHandle, is_so: impl Fn(ExportCounts) -> bool) -> ExportCounts {
    let end = Instant::now() + PATIENCE;
    loop {
        let counts = handle.counts();
        if is_so(counts) {
            return counts;
        }
        assert!(Instant::now() < end, "waited too long: {counts:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited too long: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn config(sink: ExportSink) -> ExportConfig {
    ExportConfig {
        sink,
        rate_limit: None,
        filter: Box::new(|_| true),
        form: Form::default(),
        envelope: Box::new(|| GetEventsResponse { node_name: "node".to_owned(), ..Default::default() }),
    }
}

fn message(number: u64, length: usize) -> GetEventsResponse {
    let process =
        Process { binary: format!("/bin/{number}"), arguments: "x".repeat(length), ..Process::default() };
    GetEventsResponse {
        node_name: "node".to_owned(),
        time: Some(SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(number)).unwrap().into()),
        event: Some(Kind::ProcessExec(ProcessExec { process: Some(process), ..ProcessExec::default() })),
        ..GetEventsResponse::default()
    }
}

fn parse(line: &str) -> Line {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    if let Some(info) = value.get("rate_limit_info") {
        return Line::Missing(info["number_of_dropped_process_events"].as_str().unwrap().parse().unwrap());
    }
    let binary = value["process_exec"]["process"]["binary"].as_str().unwrap();
    Line::Event(binary.strip_prefix("/bin/").unwrap().parse().unwrap())
}

fn read(path: &Path) -> Vec<Line> {
    let file = File::open(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        (&file).read_to_string(&mut text).unwrap();
    }
    assert!(text.is_empty() || text.ends_with('\n'), "{}: cut off", path.display());
    text.lines().map(parse).collect()
}

/// Backups, oldest first, and the file.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn lines(directory: &Path) -> Vec<Line> {
    files(directory).iter().flat_map(|path| read(path)).collect()
}

fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<Line> {
    numbers.into_iter().map(Line::Event).collect()
}

/// Every event is there once, in order, or it is told where it is missing. Returns how many are.
fn check_gaps(lines: &[Line], appended: u64) -> u64 {
    let (mut next, mut lost) = (0, 0);
    for line in lines {
        match line {
            Line::Event(number) => {
                assert_eq!(*number, next, "{lines:?}");
                next += 1;
            }
            Line::Missing(missing) => {
                next += missing;
                lost += missing;
            }
        }
    }
    assert_eq!(next, appended);
    lost
}

/// What is said in this thread, and in those it starts.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt().with_writer(self.clone()).with_ansi(false).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(text).count()
    }
}

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Said {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

const FAILING: &str = "events cannot be exported";
const RECOVERED: &str = "events are exported again";

#[test]
fn events_are_lines_as_soon_as_they_happen() {
    let mut lab = Lab::new(|_, _| {});
    lab.append(3);
    let counts = lab.wait(|counts| counts.exported == 3);
    assert_eq!(read(&lab.file()), events(0..3));
    assert_eq!(counts.bytes, fs::metadata(lab.file()).unwrap().len());
    assert_eq!(counts.last_exported, SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(2)));
    lab.append(2);
    let finished = lab.finish();
    finished.result.unwrap();
    assert_eq!(finished.counts.exported, 5);
    assert_eq!(lines(finished.directory.path()), events(0..5));
}

#[test]
fn what_is_in_the_log_at_the_end_is_written() {
    let mut lab = Lab::new(|_, _| {});
    lab.append(9_000);
    let finished = lab.finish();
    finished.result.unwrap();
    assert_eq!(lines(finished.directory.path()), events(0..9_000));
}

#[test]
fn it_ends_even_if_the_log_does_not() {
    let mut lab = Lab::new(|_, _| {});
    lab.append(100);
    lab.exporter.finish(PATIENCE).unwrap();
    assert_eq!(read(&lab.directory.path().join("events.log")), events(0..100));
}

#[test]
fn a_file_is_continued() {
    let directory = TempDir::new().unwrap();
    let mut first = Lab::with(directory, LogConfig::default(), |_, _| {});
    first.append(2);
    let directory = first.finish().directory;
    let mut file = fs::OpenOptions::new().append(true).open(directory.path().join("events.log")).unwrap();
    file.write_all(b"{\"process_exec\":{\"pro").unwrap();
    let mut second = Lab::with(directory, LogConfig::default(), |_, _| {});
    second.append(2);
    let finished = second.finish();
    assert_eq!(lines(finished.directory.path()), events([0, 1, 0, 1]));
}

#[test]
fn no_line_is_lost_or_broken_however_often_it_rotates() {
    let mut lab = Lab::new(|_, file| {
        file.rotation = Rotation { max_size_bytes: 20_000, max_backups: 0, interval: None };
        file.compress = true;
    });
    let follower = follow(lab.file());
    lab.append_all(5_000, 100);
    lab.append_all(1, 50_000);
    lab.append_all(999, 0);
    // The follower has to see the last file before it goes.
    let seen = follower.join().unwrap();
    let finished = lab.finish();
    finished.result.unwrap();
    let directory = finished.directory.path();
    assert_eq!(lines(directory), events(0..6_000));
    assert_eq!(finished.counts.bytes, files(directory).iter().map(|path| plain_size(path)).sum::<u64>());
    assert_eq!(finished.counts.rotations + 1, files(directory).len() as u64);
    let too_large = |path: &&PathBuf| plain_size(path) > 20_000 && read(path).len() > 1;
    assert_eq!(files(directory).iter().find(too_large), None);
    let is_plain = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let plain: Vec<_> = files(directory).into_iter().filter(|path| is_plain(&path)).collect();
    assert_eq!(plain, [directory.join("events.log")], "all others are compressed");
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "what a follower sees is in order");
}

fn plain_size(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        io::copy(&mut GzDecoder::new(file), &mut io::sink()).unwrap()
    } else {
        file.metadata().unwrap().len()
    }
}

/// The last event of the test above.
const LAST: u64 = 5_999;

/// Reads lines as `tail -F` does, until the last event.
fn follow(path: PathBuf) -> thread::JoinHandle<Vec<u64>> {
    thread::spawn(move || {
        let (mut seen, end) = (Vec::new(), Instant::now() + PATIENCE);
        while seen.last() != Some(&LAST) && Instant::now() < end {
            let Ok(file) = File::open(&path) else { continue };
            let inode = file.metadata().unwrap().ino();
            let mut reader = BufReader::new(file);
            let mut line = String::new();
            loop {
                let is_replaced = fs::metadata(&path).map(|metadata| metadata.ino()).ok() != Some(inode);
                while reader.read_line(&mut line).unwrap() > 0 {
                    if !line.ends_with('\n') {
                        // The kernel shows a write page by page.
                        continue;
                    }
                    match parse(&line) {
                        // Opened again after it had been read to its end.
                        Line::Event(number) if seen.last().is_some_and(|last| *last >= number) => {}
                        Line::Event(number) => seen.push(number),
                        Line::Missing(missing) => panic!("{missing} are missing"),
                    }
                    line.clear();
                }
                if is_replaced || seen.last() == Some(&LAST) || Instant::now() > end {
                    break;
                }
            }
            assert_eq!(line, "", "a file ended within a line");
        }
        seen
    })
}

#[test]
fn the_oldest_backups_go() {
    let mut lab = Lab::new(|_, file| {
        file.rotation = Rotation { max_size_bytes: 1_000, max_backups: 3, interval: None };
    });
    lab.append_all(300, 10);
    let kept = |lab: &Lab| files(lab.directory.path()).len();
    wait_for("four files", || kept(&lab) == 4);
    lab.handle.set_rotation(Rotation { max_backups: 1, ..lab.handle.rotation().unwrap() });
    wait_for("two files", || kept(&lab) == 2);
    let finished = lab.finish();
    let left = lines(finished.directory.path());
    let first = 300 - left.len() as u64;
    assert_eq!(left, events(first..300), "the newest are left");
    assert!(finished.counts.rotations > 3);
}

#[test]
fn it_rotates_by_time_without_events_but_only_what_is_not_empty() {
    let mut lab = Lab::new(|_, file| file.rotation.interval = Some(Duration::from_millis(50)));
    lab.append(1);
    lab.wait(|counts| counts.rotations == 1);
    wait_for("a new file", || lab.file().exists());
    assert_eq!(fs::metadata(lab.file()).unwrap().len(), 0);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(lab.handle.counts().rotations, 1, "there was nothing in it");
    lab.append(1);
    lab.wait(|counts| counts.rotations == 2);
    assert_eq!(lines(lab.finish().directory.path()), events(0..2));
}

#[test]
fn permissions_are_what_they_are_to_be() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("events.log"), "").unwrap();
    fs::set_permissions(directory.path().join("events.log"), fs::Permissions::from_mode(0o777)).unwrap();
    let mut lab = Lab::with(directory, LogConfig::default(), |_, file| {
        file.mode = 0o777;
        file.compress = true;
        file.rotation.max_size_bytes = 1;
    });
    assert_eq!(mode(&lab.file()), 0o664);
    lab.append(2);
    let finished = lab.finish();
    let files = files(finished.directory.path());
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|path| mode(path) == 0o664), "also the compressed one");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let directory = TempDir::new().unwrap();
    let log = EventLog::new(LogConfig::default());
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [directory.path().to_owned(), blocked.join("events.log"), pipe, PathBuf::from("/")] {
        let result = Exporter::start(&log, config(ExportSink::File(FileConfig::new(&path))));
        let error = result.err().unwrap().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    let deep = directory.path().join("a/b/events.log");
    Exporter::start(&log, config(ExportSink::File(FileConfig::new(&deep)))).unwrap();
    assert!(deep.exists(), "directories are made");
}

#[test]
fn a_directory_that_goes_and_comes_back_costs_what_fell_out_of_the_log() {
    let said = Said::default();
    let _guard = said.listen();
    let log = LogConfig { events: 50, ..LogConfig::default() };
    let mut lab = Lab::with(TempDir::new().unwrap(), log, |_, file| {
        file.path = file.path.with_file_name("inner").join("events.log");
    });
    let inner = lab.directory.path().join("inner");
    lab.append(10);
    lab.wait(|counts| counts.exported == 10);
    fs::remove_dir_all(&inner).unwrap();
    lab.wait(|counts| counts.is_failing);
    for _ in 0..100 {
        lab.append(10);
    }
    lab.wait(|counts| counts.write_errors >= 3);
    assert_eq!((said.count(FAILING), said.count(RECOVERED)), (1, 0), "it is said once");
    assert_eq!(said.count("make its directory again"), 1);
    fs::create_dir(&inner).unwrap();
    lab.handle.reopen();
    lab.wait(|counts| !counts.is_failing);
    let appended = lab.appended;
    let finished = lab.finish();
    finished.result.unwrap();
    assert_eq!((said.count(FAILING), said.count(RECOVERED)), (1, 1));
    let counts = finished.counts;
    assert_eq!(counts.exported + counts.lost, appended);
    let mut all = events(0..10);
    all.extend(lines(&finished.directory.path().join("inner")));
    assert_eq!(check_gaps(&all, appended), counts.lost);
    assert!(counts.lost > 0);
}

#[test]
fn a_file_that_is_moved_or_removed_is_made_anew() {
    let mut lab = Lab::new(|_, _| {});
    lab.append(1);
    lab.wait(|counts| counts.exported == 1);
    fs::rename(lab.file(), lab.directory.path().join("a-moved")).unwrap();
    wait_for("a new file", || lab.file().exists());
    lab.append(1);
    lab.wait(|counts| counts.exported == 2);
    fs::rename(lab.file(), lab.directory.path().join("b-moved")).unwrap();
    lab.handle.reopen();
    lab.append(1);
    lab.wait(|counts| counts.exported == 3);
    assert_eq!(read(&lab.file()), events([2]), "asked to, it does not wait for a second");
    assert_eq!(lines(lab.directory.path()), events(0..3));
    fs::remove_file(lab.file()).unwrap();
    wait_for("a new file", || lab.file().exists());
    lab.append(1);
    let finished = lab.finish();
    assert_eq!(lines(finished.directory.path()), events([0, 1, 3]));
}

#[test]
fn a_file_that_somebody_else_put_in_its_place_is_continued() {
    let mut lab = Lab::new(|_, _| {});
    let moved = lab.directory.path().join("a-moved");
    fs::rename(lab.file(), &moved).unwrap();
    fs::write(lab.file(), "").unwrap();
    let file = lab.file();
    let mut appended = 0;
    // What is written until it is noticed is where the file went.
    wait_for("a line in the new file", || {
        lab.append(1);
        appended += 1;
        fs::metadata(&file).unwrap().len() > 0
    });
    let finished = lab.finish();
    assert_eq!(lines(finished.directory.path()), events(0..appended));
}

#[test]
fn what_cannot_be_rotated_grows() {
    let said = Said::default();
    let _guard = said.listen();
    let mut lab = Lab::new(|_, file| {
        file.path =
            PathBuf::from(format!("{}/{}.log", file.path.parent().unwrap().display(), "n".repeat(245)));
        file.rotation.max_size_bytes = 1_000;
    });
    // The name of a backup would be too long.
    lab.append_all(100, 10);
    let finished = lab.finish();
    finished.result.unwrap();
    assert_eq!(lines(finished.directory.path()), events(0..100));
    assert_eq!(said.count("cannot be rotated"), 1);
    assert_eq!((finished.counts.rotations, finished.counts.is_failing), (0, false));
}

#[test]
fn a_device_that_is_full_ends_neither_the_export_nor_its_end() {
    let said = Said::default();
    let _guard = said.listen();
    let mut lab = Lab::new(|_, file| symlink("/dev/full", &file.path).unwrap());
    let full = fs::metadata("/dev/full").unwrap();
    lab.append(10);
    let counts = lab.wait(|counts| counts.write_errors >= 3);
    assert_eq!((counts.exported, counts.bytes, counts.is_failing), (0, 0, true));
    assert_eq!((said.count(FAILING), said.count("free some space")), (1, 1));
    lab.append(10);
    lab.log.close();
    let error = lab.exporter.finish(Duration::from_millis(300)).unwrap_err();
    assert!(error.to_string().contains("20 events"), "{error}");
    assert_eq!(lab.handle.counts().lost, 20);
    let after = fs::metadata("/dev/full").unwrap();
    assert_eq!((full.mode(), full.ino()), (after.mode(), after.ino()), "it was left as it is");
}

#[test]
fn a_full_device_that_is_replaced_gets_what_waited() {
    let mut lab = Lab::new(|_, file| symlink("/dev/full", &file.path).unwrap());
    lab.append(10);
    lab.wait(|counts| counts.is_failing);
    fs::remove_file(lab.file()).unwrap();
    let finished = lab.finish();
    finished.result.unwrap();
    assert_eq!(finished.counts.exported, 10);
    assert_eq!(lines(finished.directory.path()), events(0..10));
}

#[test]
fn a_disk_that_is_full_for_a_while_leaves_no_broken_line() {
    let Some(disk) = SmallDisk::mount(256 << 10) else { return };
    let said = Said::default();
    let _guard = said.listen();
    let log = LogConfig { events: 100, ..LogConfig::default() };
    let path = disk.path().join("events.log");
    let mut lab = Lab::with(TempDir::new().unwrap(), log, |_, file| file.path.clone_from(&path));
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![0; 100 << 10]).unwrap();
    while !lab.handle.counts().is_failing {
        // No divisor of a page.
        lab.append_long(10, 777);
        thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..30 {
        lab.append_long(10, 777);
    }
    lab.wait(|counts| counts.write_errors >= 3);
    let is_event = |line: &&Line| matches!(line, Line::Event(_));
    let written = read(&path).iter().filter(is_event).count() as u64;
    assert_eq!(written, lab.handle.counts().exported, "whole lines, even now");
    fs::remove_file(&filler).unwrap();
    lab.handle.reopen();
    lab.wait(|counts| !counts.is_failing);
    lab.append(10);
    let appended = lab.appended;
    let finished = lab.finish();
    finished.result.unwrap();
    let counts = finished.counts;
    assert_eq!(check_gaps(&read(&path), appended), counts.lost);
    assert_eq!(counts.exported + counts.lost, appended);
    assert!(counts.lost > 0);
    assert_eq!((said.count(FAILING), said.count(RECOVERED)), (1, 1));
}

#[test]
fn what_the_rate_limit_holds_back_is_told_at_the_end() {
    let mut lab = Lab::new(|config, _| config.rate_limit = NonZeroU32::new(5));
    lab.append(100);
    let finished = lab.finish();
    let lines = lines(finished.directory.path());
    // A token may have come meanwhile.
    let left = finished.counts.exported;
    assert!((5..10).contains(&left), "{left}");
    assert_eq!(finished.counts.rate_limited, 100 - left);
    assert_eq!(lines.last(), Some(&Line::Missing(100 - left)));
    assert_eq!(finished.counts.lost, 0);
}

#[test]
fn filters_and_limits_change_while_it_runs() {
    let mut lab = Lab::new(|config, _| config.filter = Box::new(|_| false));
    lab.append(10);
    lab.wait(|counts| counts.filtered_out == 10);
    lab.handle.set_filter(Box::new(|message| message.time.is_some_and(|time| time.nanos % 2_000_000 == 0)));
    lab.append(10);
    lab.wait(|counts| counts.exported == 5);
    lab.handle.set_filter(Box::new(|_| true));
    lab.handle.set_rate_limit(NonZeroU32::new(1));
    lab.append(10);
    lab.wait(|counts| counts.rate_limited == 9);
    lab.handle.set_rate_limit(None);
    lab.append(10);
    lab.wait(|counts| counts.exported == 16);
    let rotation = Rotation { max_size_bytes: 1, max_backups: 0, interval: None };
    lab.handle.set_rotation(rotation);
    assert_eq!(lab.handle.rotation(), Some(rotation));
    lab.append(3);
    let finished = lab.finish();
    assert_eq!(finished.counts.rotations, 4, "the three lines, and the one that tells of the limit");
    let counts = finished.counts;
    assert_eq!(counts.exported + counts.filtered_out + counts.rate_limited + counts.lost, 43);
}

#[test]
fn nothing_is_left_over_from_a_compression_that_was_broken_off() {
    let directory = TempDir::new().unwrap();
    let name = |rest: &str| directory.path().join(format!("events-2020-01-01T00-00-0{rest}"));
    fs::write(name("0.000.log"), b"{}\n").unwrap();
    fs::write(name("0.000.log.gz.part"), b"\x1f\x8b").unwrap();
    fs::write(name("1.000.log.gz.part"), b"\x1f\x8b").unwrap();
    fs::write(directory.path().join("events-other.log"), b"").unwrap();
    let expected = ["events-2020-01-01T00-00-00.000.log.gz", "events-other.log", "events.log"];
    let lab = Lab::with(directory, LogConfig::default(), |_, file| file.compress = true);
    let finished = lab.finish();
    let names = files(finished.directory.path());
    let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, expected);
}

/// As an agent ends: its log does a while before the export is told to.
#[test]
fn backups_are_compressed_though_the_log_ends_first() {
    let mut lab = Lab::new(|_, file| {
        file.rotation = Rotation { max_size_bytes: 1, max_backups: 0, interval: None };
        file.compress = true;
    });
    lab.append_long(15, 1_000_000);
    lab.wait(|counts| counts.exported == 15);
    lab.log.close();
    // So long that it sees the end of the log.
    thread::sleep(Duration::from_millis(20));
    let finished = lab.finish();
    finished.result.unwrap();
    let names = files(finished.directory.path());
    let is_compressed = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "gz");
    assert_eq!((names.iter().filter(is_compressed).count(), names.len()), (14, 15), "{names:?}");
}

/// Not a test by itself: what the next one runs.
const CHILD: &str = "PROCESSION_TEST_EXPORT_TO_STDOUT";

#[test]
fn standard_output_gets_lines_and_no_file() {
    if env::var_os(CHILD).is_some() {
        let log = EventLog::new(LogConfig::default());
        let exporter = Exporter::start(&log, config(ExportSink::Stdout)).unwrap();
        log.append((0..5_000).map(|number| Event::new(number, message(number, 50))));
        log.close();
        exporter.finish(PATIENCE).unwrap();
        return;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "standard_output_gets_lines_and_no_file", "--nocapture"]).env(CHILD, "1");
    let output = child.output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    // The first line may follow what the test harness says.
    let lines: Vec<_> = text.lines().filter_map(|line| Some(parse(&line[line.find('{')?..]))).collect();
    assert_eq!(lines, events(0..5_000));
}

/// The child of the next test: it writes more than a pipe holds.
fn export_to_who_reads_nothing() {
    let said = Said::default();
    let _guard = said.listen();
    let log = EventLog::new(LogConfig::default());
    let exporter = Exporter::start(&log, config(ExportSink::Stdout)).unwrap();
    let handle = exporter.handle();
    log.append((0..1_000).map(|number| Event::new(number, message(number, 1_000))));
    wait(&handle, |counts| counts.is_failing);
    wait_for("it is said", || said.count(FAILING) == 1);
    eprintln!("\n{NOBODY_READS}");
    wait(&handle, |counts| !counts.is_failing && counts.exported == 1_000);
    wait_for("it is said", || said.count(RECOVERED) == 1);
    log.close();
    exporter.finish(PATIENCE).unwrap();
    assert_eq!((said.count(FAILING), said.count(RECOVERED)), (1, 1), "each once");
    assert_eq!((handle.counts().lost, handle.counts().write_errors), (0, 0));
}

const NOBODY_READS: &str = "nobody reads";

#[test]
fn an_output_that_nobody_reads_is_failing_until_somebody_does() {
    if env::var_os(CHILD).is_some() {
        return export_to_who_reads_nothing();
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "an_output_that_nobody_reads_is_failing_until_somebody_does", "--nocapture"]);
    child.env(CHILD, "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said: Vec<_> = errors.by_ref().take_while(|line| line != NOBODY_READS).collect();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    said.extend(errors);
    assert!(child.wait().unwrap().success(), "{said:?}");
    let lines: Vec<_> = text.lines().filter_map(|line| Some(parse(&line[line.find('{')?..]))).collect();
    assert_eq!(lines, events(0..1_000));
}

#[test]
fn an_export_that_has_broken_down_is_failing() {
    let said = Said::default();
    let _guard = said.listen();
    let mut lab = Lab::new(|config, _| config.filter = Box::new(|_| panic!("a filter that breaks down")));
    assert!(!lab.exporter.has_ended());
    lab.append(1);
    wait_for("it has ended", || lab.exporter.has_ended());
    lab.wait(|counts| counts.is_failing);
    wait_for("it is said", || said.count("the export has broken down") == 1);
    assert!(lab.finish().result.is_err());
}

#[test]
fn the_account_comes_out_even_under_load() {
    let log = LogConfig { events: 200, ..LogConfig::default() };
    let mut lab = Lab::with(TempDir::new().unwrap(), log, |config, file| {
        config.filter = Box::new(|message| message.time.is_some_and(|time| time.nanos % 3_000_000 != 0));
        file.rotation = Rotation { max_size_bytes: 50_000, max_backups: 2, interval: None };
        file.compress = true;
    });
    for _ in 0..200 {
        lab.append_long(100, 200);
    }
    let appended = lab.appended;
    let finished = lab.finish();
    finished.result.unwrap();
    let counts = finished.counts;
    assert_eq!(counts.exported + counts.filtered_out + counts.lost, appended);
    assert_eq!((counts.write_errors, counts.backup_errors), (0, 0));
    let mut seen = BTreeSet::new();
    for line in lines(finished.directory.path()) {
        if let Line::Event(number) = line {
            assert!(seen.insert(number), "{number} is there twice");
        }
    }
}
