//! Tests of what is written and read, and what they write and read.

mod arbitrary;
mod blocks;
mod damaged;
mod events;
mod folding;
mod growing;
mod hostile;
mod schema;
mod seeds;

use std::io::Cursor;
use std::time::{Duration, SystemTime};

use procession::{BootTime, Event, Namespaces, Pid, ProcessKey, TableConfig, WallClock};

use crate::{BlockBuilder, Content, RawBlock, Reader, Recording};

/// A machine that has been up for a while.
pub(crate) fn recording() -> Recording {
    Recording {
        node_name: "node-1".to_owned(),
        boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap(),
        clock: WallClock::new(
            BootTime::from_nanos(7_000_000_000),
            SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
        ),
        source: "eBPF".to_owned(),
        root: Some(ProcessKey::new(Pid(7), BootTime::from_nanos(8))),
        host_namespaces: Some(Namespaces { pid: 4_026_531_836, ..Namespaces::default() }),
        table: TableConfig { seed: 42, ..TableConfig::default() },
    }
}

/// A block of `events` after `sequence` others.
fn block(sequence: u64, events: &[Event<'_>]) -> RawBlock {
    let mut builder = BlockBuilder::new(sequence);
    for event in events {
        builder.push(event);
    }
    builder.take(&recording(), b"mark")
}

/// The blocks one after the other, as in a file.
fn file(blocks: &[RawBlock]) -> Vec<u8> {
    blocks.iter().flat_map(|block| block.to_bytes().unwrap()).collect()
}

/// All that is read from a file.
fn read(file: &[u8]) -> Vec<crate::Block> {
    let mut reader = Reader::new(Cursor::new(file)).unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// What damage is told of.
fn damage(blocks: &[crate::Block]) -> Vec<&crate::Damage> {
    let damage = |block| match block {
        &crate::Block { content: Content::Damage(ref damage), .. } => Some(damage),
        _ => None,
    };
    blocks.iter().filter_map(damage).collect()
}
