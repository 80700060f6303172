//! The seeds of the fuzz target `journal`: the payload of a block each, after the number of its kind.
//!
//! `PROCESSION_UPDATE_EXPECTED=1` writes them.

use std::path::Path;
use std::{env, fs};

use super::damaged::journal;

#[test]
fn the_seeds_are_what_is_written_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/journal");
    let names = ["head", "events", "checkpoint", "names", "more_events", "last_events", "close"];
    let kinds = [1, 2, 3, 4, 2, 2, 5];
    // The head holds the schema, which would make up most of what is changed.
    for ((name, kind), block) in names.into_iter().zip(kinds).zip(journal()).skip(1) {
        let seed = [&[kind], block.payload()].concat();
        let path = folder.join(name);
        if env::var_os("PROCESSION_UPDATE_EXPECTED").is_some() {
            fs::write(&path, &seed).unwrap();
        }
        let message = "run this with PROCESSION_UPDATE_EXPECTED=1";
        assert!(fs::read(&path).is_ok_and(|found| found == seed), "{name} is out of date: {message}");
    }
}
