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

use procession::{Counted, ProcessKey, Table, TableConfig};
use procession_api::dynamic::{EVENT, Unknown, parse_json};
use procession_api::json;
use procession_api::proto::tetragon::GetEventsResponse;
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

/// A line of JSON that may be an event: what can be read is the same when it is written and read again.
pub fn events(line: &[u8]) {
    let Ok(line) = str::from_utf8(line) else { return };
    let Ok(event) = parse_json::<GetEventsResponse>(EVENT, line, Unknown::Ignore) else { return };
    let mut written = Vec::new();
    json::write(&event, &mut written);
    let written = String::from_utf8(written).expect("JSON is text");
    assert!(written.strip_suffix('\n').is_some_and(|line| !line.contains(char::is_control)), "{written}");
    assert_eq!(parse_json::<GetEventsResponse>(EVENT, &written, Unknown::Deny).ok(), Some(event), "{written}");
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
