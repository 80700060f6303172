//! What the kernel writes, some of it in the words of processes: records, the ring, `/proc`, the proc connector; and
//! names that are made of it.

use procession::reference::decode_arguments;
use procession::{
    Arguments, BootTime, Counted, Event, EventKind, Pid, ProcessKey, Program, Running, Subject, Table,
    TableConfig,
};
use procession_kube::ContainerId;
use procession_sensor::fuzzing;

use crate::memory;

/// Records of the kernel side, as `crates/procession-sensor/tests/data` has them, folded into a table.
pub fn records(file: &[u8]) {
    let mut table = Table::new(TableConfig::default());
    let mut told = 0;
    memory::within(file, 4 << 20, 64, || {
        fuzzing::records(file, &mut |event| {
            told += 1;
            let applied = table.apply(event);
            if let Some(process) = applied.process {
                assert!(table.process(process).is_some(), "what an event is about is there");
            }
        });
    });
    check_table(&table, told);
}

/// The data of a ring behind the two positions between which it is to be read, in units of 8 bytes.
pub fn ring(input: &[u8]) {
    let Some((positions, data)) = input.split_first_chunk::<4>() else { return };
    let [position, waiting] = [[positions[0], positions[1]], [positions[2], positions[3]]]
        .map(|number| usize::from(u16::from_le_bytes(number)) * 8);
    let mut data = data.to_vec();
    data.resize(data.len().next_power_of_two().max(4_096), 0);
    let produced = position + waiting;
    let mut table = Table::new(TableConfig::default());
    let mut told = 0;
    let end = fuzzing::ring(&data, position, produced, &mut |event| {
        told += 1;
        let _ = table.apply(event);
    });
    assert!((position..=produced).contains(&end), "nothing is read that was not written");
    // Each record has a header.
    assert!(told * 8 <= waiting as u64);
    check_table(&table, told);
}

fn check_table(table: &Table, told: u64) {
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

/// A bookmark, which stands in journals: what can be read is written the same.
pub fn bookmark(bytes: &[u8]) {
    if let Some(again) = fuzzing::bookmark(bytes) {
        assert_eq!(again, bytes);
    }
}

/// The files of `/proc/PID`.
pub fn proc_files(text: &[u8]) {
    memory::within(text, 4_096, 4, || fuzzing::proc_files(text));
}

/// `/proc/PID/cmdline`, which a process may fill with what it likes. It comes out of the table as it was; split into
/// arguments nothing of it is lost; joined they are the text that the reference makes of them.
pub fn arguments(cmdline: &[u8]) {
    let key = ProcessKey::new(Pid(7), BootTime::from_nanos(100));
    let program =
        Program { binary: b"/bin/x", arguments: Arguments::complete(cmdline), ..Program::default() };
    let running = Running { process: Subject::exact(key, key.start), program, ..Running::default() };
    let mut table = Table::new(TableConfig::default());
    let event = Event { time: BootTime::from_nanos(200), kind: EventKind::Running(running) };
    let process = memory::within(cmdline, 64 << 10, 4, || table.apply(&event).process);
    let process = process.and_then(|process| table.process(process)).expect("it is there");
    let image = process.image.expect("it runs something");
    let kept = image.arguments();
    assert_eq!(kept, Arguments::complete(cmdline));

    let terminated: Vec<_> = kept.iter().flat_map(|argument| [argument, &b"\0"[..]].concat()).collect();
    // The last may lack its end.
    assert_eq!(
        terminated.strip_suffix(b"\0").unwrap_or_default(),
        cmdline.strip_suffix(b"\0").unwrap_or(cmdline)
    );
    let others = terminated.iter().position(|byte| *byte == 0).map_or(&[][..], |end| &terminated[end + 1..]);
    assert_eq!(decode_arguments(&[others, b"/w"].concat(), 0).arguments, kept.joined(true));
}

/// A message of the proc connector.
pub fn netlink(datagram: &[u8]) {
    memory::within(datagram, 4_096, 4, || fuzzing::netlink(datagram));
}

/// The path of a control group, whose names the processes in it may choose.
pub fn container_id(path: &[u8]) {
    if let Some(id) = ContainerId::of_cgroup(path) {
        assert_eq!(ContainerId::parse(id.as_str().as_bytes()), Some(id));
        assert!(path.windows(ContainerId::LEN).any(|part| part == id.as_str().as_bytes()));
        let _ = (id.short(), id.wire());
    }
}

/// An `exec_id`, which clients send: what can be read means the same when it is written again.
pub fn exec_id(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    if let Some((node, key)) = ProcessKey::parse_exec_id(text) {
        assert_eq!(ProcessKey::parse_exec_id(&key.exec_id(&node)), Some((node, key)));
    }
}
