//! A recording of which a part cannot be read.

use std::fs;

use libtest_mimic::Trial;

use crate::program::{Recording, SCRIPT};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials(
        "damage",
        &[
            ("is_told_and_the_rest_is_shown", is_told_and_the_rest_is_shown),
            ("a_torn_end_is_no_news", a_torn_end_is_no_news),
        ],
    )
}

/// Two seconds are enough for several blocks.
const LONG: &str = "for i in 1 2 3 4 5 6; do /bin/sleep 0.8; /bin/true $i; done";

fn is_told_and_the_rest_is_shown() {
    let recording = Recording::of_script(LONG);
    let whole = recording.replay(&["--exec"]).text();
    let mut bytes = fs::read(recording.path()).unwrap();
    // The last block of events is the one before the last block of the file.
    let blocks: Vec<_> = (0..bytes.len() - 8).filter(|at| bytes[*at..*at + 8] == bytes[..8]).collect();
    let target = blocks[blocks.len() - 2];
    bytes[target + 70] ^= 0xff;
    fs::write(recording.path(), bytes).unwrap();
    let said = recording.replay(&["--exec"]);
    assert!(said.err.contains("cannot be read") && said.err.contains(&format!("at {target} of")), "{said:?}");
    assert_eq!(said.code, Some(0));
    assert!(said.out.lines().count() < whole.lines().count());
    assert!(whole.starts_with(&said.out) && !said.out.is_empty(), "{said:?}");
    let tree = recording.asked(&["tree"]);
    assert!(
        tree.code == Some(0) && tree.err.contains("cannot be read") && tree.err.contains("missing"),
        "{tree:?}"
    );
}

fn a_torn_end_is_no_news() {
    let recording = Recording::of_script(SCRIPT);
    let whole = recording.replay(&["--exec"]).text();
    let bytes = fs::read(recording.path()).unwrap();
    fs::write(recording.path(), &bytes[..bytes.len() - 3]).unwrap();
    let said = recording.replay(&["--exec"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), whole.as_str()), "{said:?}");
}
