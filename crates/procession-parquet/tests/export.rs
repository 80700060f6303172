//! Exports of small journals, read back with the library that wrote them. Other engines read them in the tests
//! of the program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use procession::{
    Arguments, BootTime, Context, Event, EventKind, Exec, Exit, ExitStatus, Fork, Pid, ProcessKey, Program,
    Running, Subject, Table, TableConfig, WallClock,
};
use procession_journal::{BlockBuilder, Directory, DirectoryConfig, Journal, RawBlock, Recording, Writer};
use procession_parquet::{ExportError, Exported, Occupied, Options, Progress, export};
use tempfile::TempDir;

const SECOND: u64 = 1_000_000_000;
/// Who forks all others.
const PARENT: ProcessKey = ProcessKey::new(Pid(1), BootTime::from_nanos(SECOND / 10));
/// The second of the day at which the machine was booted: 100 seconds before midnight.
const BOOTED: u64 = 1_700_006_300;

fn recording() -> Recording {
    Recording {
        node_name: "node/1".to_owned(),
        boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap(),
        clock: WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH + Duration::from_secs(BOOTED)),
        source: "eBPF".to_owned(),
        root: None,
        host_namespaces: None,
        table: TableConfig::default(),
    }
}

/// The life of a process that is forked at a second of the boot: three events.
fn life(second: u64, arguments: &[u8], visit: &mut dyn FnMut(&Event<'_>)) {
    let began = BootTime::from_nanos(second * SECOND);
    let pid = Pid(u32::try_from(second).unwrap() + 1_000);
    let forked = Subject::exact(ProcessKey::new(pid, began), began);
    let start = began.after(Duration::from_millis(1));
    let run = Subject::exact(ProcessKey::new(pid, start), began);
    let fork = Fork { child: forked, parent: PARENT.into(), context: Context::default(), ..Fork::default() };
    let program =
        Program { binary: b"/bin/true", arguments: Arguments::complete(arguments), ..Program::default() };
    let exec =
        Exec { process: run, replaces: Some(forked.key), owner: PARENT.into(), program, ..Exec::default() };
    let exit = Exit { process: run, status: Some(ExitStatus::from_raw(3 << 8)), ..Exit::default() };
    visit(&Event { time: began, kind: EventKind::Fork(fork) });
    visit(&Event { time: start, kind: EventKind::Exec(exec) });
    visit(&Event { time: start.after(Duration::from_millis(2)), kind: EventKind::Exit(exit) });
}

/// A journal of the lives that begin at these seconds, a block each.
fn write(path: &Path, seconds: impl IntoIterator<Item = u64>) {
    let mut writer = Writer::new(File::create(path).unwrap());
    writer.write(&RawBlock::head(&recording())).unwrap();
    let mut builder = BlockBuilder::new(0);
    for second in seconds {
        life(second, b"true\0-x\0", &mut |event| builder.push(event));
        writer.write(&builder.take(&recording(), b"")).unwrap();
    }
}

/// A folder with a journal, and what it is exported to.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new(seconds: impl IntoIterator<Item = u64>) -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        write(&case.journal(), seconds);
        case
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("a.journal")
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("export")
    }

    fn options(&self) -> Options {
        Options {
            directory: self.directory(),
            from: None,
            to: None,
            is_forced: false,
            program: "test 1".to_owned(),
        }
    }

    fn export(&self, options: &Options) -> Result<Exported, ExportError> {
        let mut last = Progress::default();
        let journal = Journal::open(&self.journal())?;
        let exported = export(&journal, options, &mut |progress| {
            assert!(
                progress.read >= last.read && progress.rows >= last.rows && progress.read <= progress.all
            );
            last = progress;
            ControlFlow::Continue(())
        })?;
        assert_eq!(exported.written.rows, last.rows);
        Ok(exported)
    }

    /// The parts, by their names below the folder.
    fn parts(&self) -> BTreeMap<String, PathBuf> {
        let mut parts = BTreeMap::new();
        let list =
            |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        for part in list(&self.directory()).iter().flat_map(|node| list(node)).flat_map(|day| list(&day)) {
            let name = part.strip_prefix(self.directory()).unwrap().display().to_string();
            parts.insert(name, part);
        }
        parts
    }

    /// The rows of all parts.
    fn rows(&self) -> Vec<Row> {
        self.parts().values().flat_map(|part| rows(part)).collect()
    }

    fn count(&self, event: &str) -> usize {
        self.rows().iter().filter(|row| text(row, "event") == event).count()
    }
}

fn rows(part: &Path) -> Vec<Row> {
    reader(part).get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

fn reader(part: &Path) -> SerializedFileReader<File> {
    SerializedFileReader::new(File::open(part).unwrap()).unwrap()
}

fn field<'r>(row: &'r Row, name: &str) -> &'r Field {
    row.get_column_iter().find(|(column, _)| *column == name).unwrap().1
}

fn text(row: &Row, name: &str) -> String {
    match field(row, name) {
        Field::Str(text) => text.clone(),
        other => panic!("{name} is {other}"),
    }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BOOTED + second)
}

#[test]
fn rows_stand_in_the_folder_of_their_node_and_their_day() {
    let case = Case::new([50, 60, 150]);
    let written = case.export(&case.options()).unwrap().written;
    assert_eq!((written.rows, written.files), (9, 2));
    let parts = case.parts();
    let names: Vec<_> = parts.keys().map(|name| name.rsplit_once('/').unwrap().0).collect();
    assert_eq!(names, ["node=node%2F1/day=2023-11-14", "node=node%2F1/day=2023-11-15"]);
    assert_eq!(written.bytes, parts.values().map(|part| part.metadata().unwrap().len()).sum::<u64>());
    let counts: Vec<_> = parts.values().map(|part| rows(part).len()).collect();
    assert_eq!(counts, [6, 3]);
}

#[test]
fn a_row_has_what_the_process_was_then() {
    let case = Case::new([50]);
    case.export(&case.options()).unwrap();
    let rows = case.rows();
    let told: Vec<_> = rows.iter().map(|row| text(row, "event")).collect();
    assert_eq!(told, ["fork", "exec", "exit"]);
    let [fork, exec, exit] = &rows[..] else { panic!("{}", rows.len()) };
    assert_eq!(field(fork, "program"), &Field::Null, "what the parent ran is not known");
    assert_eq!(text(exec, "command_line"), "/bin/true -x");
    assert_eq!(text(exec, "exec_id"), text(exit, "exec_id"));
    assert_ne!(text(exec, "exec_id"), text(fork, "exec_id"));
    assert_eq!(text(exec, "process_uid"), text(fork, "process_uid"));
    assert_eq!(field(exec, "exit_code"), &Field::Null);
    assert_eq!(field(exit, "exit_code"), &Field::UInt(3));
    assert_eq!(field(exit, "duration_us"), &Field::Long(3_000));
    let micros = (BOOTED + 50) * 1_000_000;
    assert_eq!(field(fork, "time"), &Field::TimestampMicros(micros.cast_signed()));
}

#[test]
fn a_part_says_who_wrote_it_and_in_which_schema() {
    let case = Case::new([50]);
    case.export(&case.options()).unwrap();
    let part = case.parts().into_values().next().unwrap();
    let metadata = reader(&part).metadata().file_metadata().clone();
    let notes: BTreeMap<_, _> = metadata
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|note| (note.key.clone(), note.value.clone()))
        .collect();
    assert_eq!(notes["procession.schema_version"].as_deref(), Some("1"));
    assert_eq!(notes["procession.program"].as_deref(), Some("test 1"));
}

#[test]
fn a_journal_that_has_grown_replaces_what_was_exported_of_it() {
    let case = Case::new([50, 60]);
    case.export(&case.options()).unwrap();
    write(&case.journal(), [50, 60, 70, 150]);
    case.export(&case.options()).unwrap();
    let fresh = Case::new([50, 60, 70, 150]);
    fresh.export(&fresh.options()).unwrap();
    let contents = |case: &Case| {
        case.parts().into_iter().map(|(name, part)| (name, fs::read(part).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(contents(&case), contents(&fresh));
}

#[test]
fn recordings_of_one_boot_have_parts_of_their_own() {
    let case = Case::new([50]);
    case.export(&case.options()).unwrap();
    let later = Recording { clock: WallClock::new(BootTime::from_nanos(60 * SECOND), at(60)), ..recording() };
    let mut writer = Writer::new(File::create(case.journal()).unwrap());
    writer.write(&RawBlock::head(&later)).unwrap();
    let mut builder = BlockBuilder::new(0);
    life(61, b"true\0", &mut |event| builder.push(event));
    writer.write(&builder.take(&later, b"")).unwrap();
    case.export(&case.options()).unwrap();
    assert_eq!((case.parts().len(), case.count("exec")), (2, 2));
}

#[test]
fn a_span_of_time_has_what_happened_in_it_and_what_was_known_before() {
    let case = Case::new([50, 60, 70]);
    let span = Options { from: Some(at(60)), to: Some(at(70)), ..case.options() };
    assert_eq!(case.export(&span).unwrap().written.files, 1);
    assert_eq!((case.count("exec"), case.count("exit")), (1, 1));
    // The parent of all, and the process that had just ended.
    assert!(case.count("known") >= 2, "{}", case.count("known"));
    assert!(case.parts().keys().all(|name| name.contains("/span-")));
    let nothing =
        Options { from: Some(at(1_000)), directory: case.folder.path().join("none"), ..case.options() };
    assert_eq!(case.export(&nothing).unwrap().written.rows, 0);
    assert!(!nothing.directory.exists());
}

#[test]
fn exports_that_would_have_rows_twice_are_not_mixed() {
    let case = Case::new([50, 60]);
    let span = Options { from: Some(at(60)), ..case.options() };
    case.export(&case.options()).unwrap();
    let is_mixed =
        |options| matches!(case.export(&options), Err(ExportError::Occupied(Occupied::Mixed { .. })));
    assert!(is_mixed(span.clone()));
    let elsewhere = case.folder.path().join("span");
    case.export(&Options { directory: elsewhere.clone(), ..span.clone() }).unwrap();
    assert!(is_mixed(Options { directory: elsewhere, ..case.options() }));
    case.export(&Options { is_forced: true, ..span }).unwrap();
    assert_eq!(case.parts().len(), 2);
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let case = Case::new([50]);
    fs::create_dir(case.directory()).unwrap();
    let letter = case.directory().join("letter.txt");
    fs::write(&letter, "dear").unwrap();
    let error = case.export(&case.options()).unwrap_err();
    assert!(
        matches!(&error, ExportError::Occupied(Occupied::Foreign { found, .. }) if *found == letter),
        "{error}"
    );
    case.export(&Options { is_forced: true, ..case.options() }).unwrap();
    assert_eq!(fs::read(&letter).unwrap(), b"dear");
    let error = case.export(&Options { directory: letter, ..case.options() }).unwrap_err();
    assert!(matches!(error, ExportError::Occupied(Occupied::NoDirectory { .. })), "{error}");
}

#[test]
fn what_cannot_be_written_is_told_and_leaves_nothing() {
    let case = Case::new([50]);
    fs::create_dir(case.directory()).unwrap();
    fs::write(case.directory().join("node=node%2F1"), "in the way").unwrap();
    let error = case.export(&Options { is_forced: true, ..case.options() }).unwrap_err();
    assert!(matches!(error, ExportError::Write { .. }), "{error}");
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("os error"), "{why}");
}

#[test]
fn who_stops_it_finds_nothing_that_is_not_whole() {
    let case = Case::new([50, 60, 70]);
    let journal = Journal::open(&case.journal()).unwrap();
    let error = export(&journal, &case.options(), &mut |progress| {
        if progress.rows > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error, Err(ExportError::Stopped)), "{error:?}");
    assert!(case.parts().is_empty(), "{:?}", case.parts());
    case.export(&case.options()).unwrap();
    assert!(!case.rows().is_empty());
}

#[test]
fn what_is_damaged_is_told_and_the_rest_is_there() {
    let case = Case::new([50, 60, 70]);
    let mut bytes = fs::read(case.journal()).unwrap();
    let block = memchr_last(&bytes, b"PRJ\r\n");
    let before = memchr_last(&bytes[..block], b"PRJ\r\n");
    bytes[before + 80] ^= 1;
    fs::write(case.journal(), &bytes).unwrap();
    let exported = case.export(&case.options()).unwrap();
    assert_eq!((exported.damage.len(), exported.damage[0].1.events), (1, Some(3)));
    assert_eq!(case.count("exec"), 2);
    // A file that is being written ends in a block that is not all there.
    fs::write(case.journal(), &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(case.export(&case.options()).unwrap().damage.len(), 1);
    assert_eq!(case.count("exec"), 1);
}

fn memchr_last(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).rposition(|window| window == wanted).unwrap()
}

/// A journal in a directory: a file of some lives, another after it, each with a checkpoint at its beginning.
fn write_directory(path: &Path, files: &[&[u64]]) {
    let mut directory = Directory::open(DirectoryConfig::new(path)).unwrap();
    let mut table = Table::new(TableConfig::default());
    let mut builder = BlockBuilder::new(0);
    let init = Subject::exact(PARENT, PARENT.start);
    let program = Program { binary: b"/sbin/init", ..Program::default() };
    let running = Running { process: init, program, ..Running::default() };
    let mut first = Some(Event { time: BootTime::from_nanos(SECOND), kind: EventKind::Running(running) });
    for seconds in files {
        directory.begin(&recording(), &table.checkpoint(), builder.sequence(), b"").unwrap();
        let mut push = |event: &Event<'_>| {
            let _ = table.apply(event);
            builder.push(event);
        };
        first.take().iter().for_each(&mut push);
        seconds.iter().for_each(|second| life(*second, b"true\0", &mut push));
        directory.append(&builder.take(&recording(), b"")).unwrap();
    }
}

#[test]
fn what_a_journal_has_forgotten_stays_and_chains_of_parents_are_whole_in_each_part() {
    let case = Case::new([]);
    fs::remove_file(case.journal()).unwrap();
    write_directory(&case.journal(), &[&[50], &[60, 70]]);
    case.export(&case.options()).unwrap();
    let (parts, rows) = (case.parts(), case.rows().len());
    assert_eq!((parts.len(), case.count("found"), case.count("exec")), (2, 1, 3));
    let files = || fs::read_dir(case.journal()).unwrap().map(|entry| entry.unwrap().path());
    fs::remove_file(files().filter(|file| file.extension().is_some()).min().unwrap()).unwrap();
    case.export(&case.options()).unwrap();
    assert_eq!((case.parts(), case.rows().len()), (parts, rows), "nothing went, and nothing is there twice");
    // The second part knows the parent of what it tells, which the first one told of.
    let second = self::rows(case.parts().values().next_back().unwrap());
    let knows = |row: &&Row| text(row, "event") == "known" && text(row, "program") == "/sbin/init";
    let parent = text(second.iter().find(knows).unwrap(), "exec_id");
    let forks = second.iter().filter(|row| text(row, "event") == "fork");
    assert_eq!(forks.filter(|row| text(row, "parent_exec_id") == parent).count(), 2);
}

#[test]
fn what_is_missing_between_two_files_is_told() {
    let case = Case::new([]);
    fs::remove_file(case.journal()).unwrap();
    write_directory(&case.journal(), &[&[50], &[60, 70], &[80], &[90]]);
    let mut files: Vec<_> =
        fs::read_dir(case.journal()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some());
    files.sort();
    let told = |options: &Options| {
        let exported = case.export(&Options { is_forced: true, ..options.clone() }).unwrap();
        exported.damage.into_iter().map(|(file, damage)| (file, damage.events)).collect::<Vec<_>>()
    };
    assert_eq!(told(&case.options()), []);
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(told(&case.options()), [(files[2].clone(), Some(6))]);
    // What was not asked for is not missing, nor is what a journal has forgotten.
    assert_eq!(told(&Options { from: Some(at(75)), ..case.options() }), []);
    fs::remove_file(&files[0]).unwrap();
    assert_eq!(told(&case.options()), []);
}

#[test]
fn nothing_of_one_boot_is_known_in_another() {
    let case = Case::new([]);
    let mut writer = Writer::new(File::create(case.journal()).unwrap());
    for boot_id in ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"] {
        let recording = Recording { boot_id: boot_id.parse().unwrap(), ..recording() };
        let mut builder = BlockBuilder::new(0);
        life(50, b"true\0", &mut |event| builder.push(event));
        writer.write(&RawBlock::head(&recording)).unwrap();
        writer.write(&builder.take(&recording, b"")).unwrap();
    }
    case.export(&case.options()).unwrap();
    // In one table the second life would be the first again.
    assert_eq!(case.count("exec"), 2);
}

/// The row groups of lives with a megabyte of arguments, which is made of a byte for each.
fn row_groups_of_long_rows(byte: impl Fn(u64) -> u8) -> Vec<i64> {
    let case = Case::new([]);
    let mut writer = Writer::new(File::create(case.journal()).unwrap());
    writer.write(&RawBlock::head(&recording())).unwrap();
    let mut builder = BlockBuilder::new(0);
    for second in 1..70 {
        let arguments = [&b"true\0"[..], &vec![byte(second); 1 << 20]].concat();
        life(second, &arguments, &mut |event| builder.push(event));
        writer.write(&builder.take(&recording(), b"")).unwrap();
    }
    case.export(&case.options()).unwrap();
    let part = case.parts().into_values().next().unwrap();
    let reader = reader(&part);
    assert_eq!(reader.metadata().file_metadata().num_rows(), 3 * 69);
    reader.metadata().row_groups().iter().map(RowGroupMetaData::total_byte_size).collect()
}

/// Rows are written before too many wait in memory, or there are too many for one row group.
#[test]
fn long_rows_make_many_row_groups() {
    let different = row_groups_of_long_rows(|second| u8::try_from(second).unwrap() + b' ');
    assert!(different.len() > 2 && different.iter().all(|size| *size < 150 << 20), "{different:?}");
    let equal = row_groups_of_long_rows(|_| b'x');
    assert!(equal.len() == 2 && equal.iter().all(|size| *size < 300 << 20), "{equal:?}");
}
