//! A recording of a newer version, with events of a kind that this one does not know.

use std::fs;

use procession_journal::{BlockBuilder, RawBlock, fuzzing};

use crate::names::{fork, recording};
use crate::recording::Recording;
use crate::trials::Test;

pub(crate) const TESTS: [Test; 1] = [("newer::what_is_not_known_is_counted", what_is_not_known_is_counted)];

/// An event of kind 200, as it stands in a block.
const UNKNOWN: &[u8] = b"\x12\x04\xc2\x0c\x01x";

fn what_is_not_known_is_counted() {
    let newer = Recording::new();
    let mut builder = BlockBuilder::new(0);
    builder.push(&fork());
    let block = builder.take(&recording(1), b"").to_bytes().unwrap();
    let (kind, sequence, payload) = fuzzing::taken_apart(&block).remove(0);
    let payload = [payload, UNKNOWN.repeat(2)].concat();
    let head = RawBlock::head(&recording(1)).to_bytes().unwrap();
    fs::write(newer.path(), [head, fuzzing::seal(kind, sequence, &payload)].concat()).unwrap();
    let said = newer.replay(&["--fork"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 1), "{said:?}");
    let expected = "1 event recorded on node1, passed over: 2 events of a kind that this version does not know; \
                    about 2 processes running at the end";
    assert!(said.err.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected), "{said:?}");
}
