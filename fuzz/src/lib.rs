//! What is fuzzed: one function for each parser of bytes that we did not write.
//!
//! A function panics when something is wrong with what the parser made of its input. CI runs all of
//! them on the seeds, and on random changes of them, with the stable compiler:
//!
//! ```text
//! cargo test --manifest-path fuzz/Cargo.toml
//! ```
//!
//! To look for longer, with libFuzzer; what it finds goes to `fuzz/corpus` and `fuzz/artifacts`:
//!
//! ```text
//! cargo +nightly fuzz run proc_files fuzz/corpus/proc_files fuzz/seeds/proc_files
//! cargo +nightly fuzz run records fuzz/corpus/records crates/procession-sensor/tests/data
//! cargo run --manifest-path fuzz/Cargo.toml --bin records FILE      # what a crash was about
//! ```

use std::io::Cursor;
use std::time::SystemTime;

use procession::{BootTime, Counted, ProcessKey, Table, TableConfig, WallClock};
use procession_api::dynamic::{EVENT, Unknown, parse_json};
use procession_api::json;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    Container, EnvVar, FieldFilter, FieldFilterAction, Filter, GetEventsResponse, Pod, Process, ProcessExec,
};
use procession_filter::{EventFilter, FieldFilters, FilterOptions, Redaction};
use procession_journal::fuzzing::seal;
use procession_journal::{Block, BlockBuilder, Content, Events, RawBlock, Reader, Recording, state_hash};
use procession_kube::ContainerId;
use procession_sensor::fuzzing;

/// Records of the kernel side, as `crates/procession-sensor/tests/data` has them, folded into a table.
pub fn records(file: &[u8]) {
    let mut table = Table::new(TableConfig::default());
    let mut told = 0;
    fuzzing::records(file, &mut |event| {
        told += 1;
        let applied = table.apply(event);
        if let Some(process) = applied.process {
            assert!(table.process(process).is_some(), "what an event is about is there");
        }
    });
    let accounts = Counted::ALL.map(|kind| *table.ledger().account(kind));
    for it in accounts {
        assert_eq!(it.received, it.applied + it.duplicate + it.late + it.rejected);
    }
    assert_eq!(told, table.ledger().received());
    assert!(table.live() <= table.len());
    for entry in table.entries() {
        assert!(entry.ancestors().count() <= table.len(), "lineage ends");
        if let Some(image) = entry.image() {
            let _ = (image.arguments_text(), ContainerId::of_cgroup(image.cgroup_path()));
        }
    }
}

/// The files of `/proc/PID`.
pub fn proc_files(text: &[u8]) {
    fuzzing::proc_files(text);
}

/// A message of the proc connector.
pub fn netlink(datagram: &[u8]) {
    fuzzing::netlink(datagram);
}

/// An `exec_id`, which clients send: what can be read means the same when it is written again.
pub fn exec_id(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    if let Some((node, key)) = ProcessKey::parse_exec_id(text) {
        assert_eq!(ProcessKey::parse_exec_id(&key.exec_id(&node)), Some((node, key)));
    }
}

/// The path of a control group, whose names the processes in it may choose.
pub fn container_id(path: &[u8]) {
    if let Some(id) = ContainerId::of_cgroup(path) {
        assert_eq!(ContainerId::parse(id.as_str().as_bytes()), Some(id));
        assert!(path.windows(ContainerId::LEN).any(|part| part == id.as_str().as_bytes()));
        let _ = (id.short(), id.wire());
    }
}

/// Filters, field filters and redaction filters as options have them: what is taken can be used.
pub fn filters_json(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    if let Ok(filters) = procession_filter::parse_filters(text) {
        admits(&filters);
    }
    if let Ok(filters) = procession_filter::parse_field_filters(text)
        && let Ok(filters) = FieldFilters::new(&filters)
    {
        filters.apply(&exec()).expect("what is encoded can be cut");
    }
    if let Ok(filters) = procession_filter::parse_redaction_filters(text)
        && let Ok(redaction) = Redaction::new(&filters)
    {
        redaction.apply(&mut exec());
    }
}

/// A regular expression of RE2. What has no operators matches itself.
pub fn re2(pattern: &[u8]) {
    let Ok(pattern) = str::from_utf8(pattern) else { return };
    let filter = |pattern: &str| Filter { arguments_regex: vec![pattern.to_owned()], ..Filter::default() };
    admits(&[filter(pattern)]);
    let quoted = format!("^\\Q{pattern}\\E$");
    if !pattern.contains('\\') && pattern.len() < 1_000 {
        let process = Process { arguments: pattern.to_owned(), ..Process::default() };
        let event = ProcessExec { process: Some(process), ..ProcessExec::default() };
        let mut filter = EventFilter::new(&[filter(&quoted)], &[], OPTIONS).expect("a text is an expression");
        let event =
            GetEventsResponse { event: Some(Event::ProcessExec(event)), ..GetEventsResponse::default() };
        assert!(filter.admits(&event));
    }
}

/// An expression in CEL.
pub fn cel(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    admits(&[Filter { cel_expression: vec![text.to_owned()], ..Filter::default() }]);
}

/// Paths of fields, with commas between them. To include what was included changes nothing.
pub fn field_paths(paths: &[u8]) {
    let Ok(paths) = str::from_utf8(paths) else { return };
    for action in [FieldFilterAction::Include, FieldFilterAction::Exclude] {
        let paths = paths.split(',').map(str::to_owned).collect();
        let mut filter = FieldFilter { action: action.into(), ..FieldFilter::default() };
        filter.fields.get_or_insert_default().paths = paths;
        let Ok(filters) = FieldFilters::new(&[filter]) else { continue };
        let once = filters.apply(&exec()).expect("what is encoded can be cut");
        assert_eq!(filters.apply(&once).expect("what is encoded can be cut"), once);
    }
}

const OPTIONS: FilterOptions = FilterOptions { credentials: true, ancestors: true };

/// Filters, if they can be used, on an event: an event is never both what is let in and what is not.
fn admits(filters: &[Filter]) {
    let Ok(mut allow) = EventFilter::new(filters, &[], OPTIONS) else { return };
    let mut deny = EventFilter::new(&[], filters, OPTIONS).expect("the same filters can be used again");
    let event = exec();
    assert!(filters.is_empty() || !(allow.admits(&event) && deny.admits(&event)));
}

fn exec() -> GetEventsResponse {
    let container = Container { name: "app".to_owned(), ..Container::default() };
    let labels = [("app".to_owned(), "cart".to_owned())].into();
    let pod = Pod {
        namespace: "shop".to_owned(),
        container: Some(container),
        pod_labels: labels,
        ..Pod::default()
    };
    let process = Process {
        exec_id: "bm9kZTo1Ojc=".to_owned(),
        pid: Some(7),
        binary: "/usr/bin/curl".to_owned(),
        arguments: "--token=gehe\u{ef}m http://x".to_owned(),
        pod: Some(pod),
        environment_variables: vec![EnvVar { key: "TOKEN".to_owned(), value: "abc".to_owned() }],
        ..Process::default()
    };
    let parent = Process { pid: Some(6), binary: "/bin/bash".to_owned(), ..Process::default() };
    let exec = ProcessExec { process: Some(process), parent: Some(parent.clone()), ancestors: vec![parent] };
    GetEventsResponse { event: Some(Event::ProcessExec(exec)), ..GetEventsResponse::default() }
}

/// A line of JSON that may be an event: what can be read is the same when it is written and read again.
pub fn events(line: &[u8]) {
    let Ok(line) = str::from_utf8(line) else { return };
    let Ok(event) = parse_json::<GetEventsResponse>(EVENT, line, Unknown::Ignore) else { return };
    let mut written = Vec::new();
    json::write(&event, &mut written);
    let written = String::from_utf8(written).expect("JSON is text");
    assert!(written.strip_suffix('\n').is_some_and(|line| !line.contains(char::is_control)), "{written}");
    assert_eq!(
        parse_json::<GetEventsResponse>(EVENT, &written, Unknown::Deny).ok(),
        Some(event),
        "{written}"
    );
}

/// A file of a journal; and, because no fuzzer finds a checksum, the payload of a block whose kind the first
/// byte says. What can be read is the same when it is written and read again.
pub fn journal(file: &[u8]) {
    let mut end = 0;
    for block in blocks(file) {
        assert_eq!(block.offset, end, "every byte is in one block");
        end += block.bytes;
        check_block(&block.content);
    }
    assert_eq!(end, file.len() as u64);
    if let Some((kind, payload)) = file.split_first() {
        blocks(&seal(*kind, payload)).iter().for_each(|block| check_block(&block.content));
    }
}

fn blocks(file: &[u8]) -> Vec<Block> {
    let mut reader = Reader::new(Cursor::new(file)).expect("memory can be read");
    std::iter::from_fn(|| reader.next().expect("memory can be read")).collect()
}

fn check_block(content: &Content) {
    match content {
        Content::Events(events) => {
            let once = written(events);
            let [Block { content: Content::Events(read), .. }] = &blocks(&once)[..] else {
                panic!("events are events")
            };
            assert_eq!(written(read), once);
        }
        Content::Checkpoint { checkpoint, .. } => {
            let table = Table::restore(checkpoint);
            let parts = RawBlock::checkpoint(&recording(), &table.checkpoint(), 0, b"");
            let file: Vec<_> = parts.iter().flat_map(|part| part.to_bytes().expect("it fits")).collect();
            let read = blocks(&file).pop().map(|block| block.content);
            let Some(Content::Checkpoint { checkpoint, .. }) = read else { panic!("{read:?}") };
            assert_eq!(state_hash(&Table::restore(&checkpoint)), state_hash(&table));
        }
        _ => {}
    }
}

/// A block of these events, as it stands in a file.
fn written(events: &Events) -> Vec<u8> {
    let mut builder = BlockBuilder::new(0);
    events.each(&mut |event| builder.push(event));
    builder.take(&recording(), b"").to_bytes().expect("it fits")
}

fn recording() -> Recording {
    Recording {
        node_name: "node".to_owned(),
        boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().expect("it is one"),
        clock: WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH),
        source: "eBPF".to_owned(),
        root: None,
        host_namespaces: None,
        table: TableConfig::default(),
    }
}

/// Makes a program of a function: a fuzzer, or without libFuzzer one that reads files.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $body(input));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            std::env::args_os().skip(1).try_for_each(|file| std::fs::read(file).map(|input| $body(&input)))
        }
    };
}
