//! A recording of which a part cannot be read.

use std::fs;

use crate::recording::{Recording, SCRIPT};
use crate::trials::Test;

pub(crate) const TESTS: [Test; 3] = [
    ("damage::is_told_and_the_rest_is_shown", is_told_and_the_rest_is_shown),
    ("damage::of_the_beginning_shows_everything_as_it_was", of_the_beginning_shows_everything_as_it_was),
    ("damage::a_torn_end_is_no_news", a_torn_end_is_no_news),
];

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

/// Nobody knows then who the command was. What ran did not end because it does not run today.
fn of_the_beginning_shows_everything_as_it_was() {
    let recording = Recording::of_script(LONG);
    let mut bytes = fs::read(recording.path()).unwrap();
    let blocks: Vec<_> = (0..bytes.len() - 8).filter(|at| bytes[*at..*at + 8] == bytes[..8]).collect();
    // All but the last two blocks of events.
    for target in &blocks[1..blocks.len() - 3] {
        bytes[target + 70] ^= 0xff;
    }
    fs::write(recording.path(), bytes).unwrap();
    for arguments in [&[][..], &["--all"], &["--all", "--from", "now"]] {
        let said = recording.replay(arguments);
        if arguments.contains(&"now") {
            assert!(said.err.contains("nothing was recorded then"), "{said:?}");
            continue;
        }
        assert!(said.code == Some(0) && !said.out.contains("gone"), "{arguments:?}: {said:?}");
        assert_eq!(said.err.contains("cannot be told apart"), arguments.is_empty(), "{said:?}");
        assert!(!said.err.contains("none lost") && said.err.contains("missing; about"), "{said:?}");
    }
}

fn a_torn_end_is_no_news() {
    let recording = Recording::of_script(SCRIPT);
    let whole = recording.replay(&["--exec"]).text();
    let bytes = fs::read(recording.path()).unwrap();
    fs::write(recording.path(), &bytes[..bytes.len() - 3]).unwrap();
    let said = recording.replay(&["--exec"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), whole.as_str()), "{said:?}");
}
