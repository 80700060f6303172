//! Every target, on its seeds and on random changes of them.

use std::path::Path;
use std::{env, fs};

/// Changed inputs for each target. The order is the same in every run.
const INPUTS: usize = 20_000;

/// The same of targets that write files, or ask over a connection.
const SLOW: usize = 300;

/// Marsaglia's xorshift: enough to change bytes with.
struct Random(u64);

impl Random {
    /// Any number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("it is below a usize")
    }

    /// Changes a few bytes, or cuts out or repeats a piece.
    fn change(&mut self, input: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let end = at + self.below((input.len() - at).min(32) + 1);
            match self.below(5) {
                0 => drop(input.drain(at..end)),
                1 => input.truncate(at),
                2 => input.extend_from_within(at..end),
                3 => input[at..end].fill(u8::MAX),
                _ => input[at..end].iter_mut().for_each(|byte| *byte ^= 1 << self.below(8)),
            }
        }
    }
}

/// How many times as many inputs are wanted: `PROCESSION_FUZZ_TIMES`, for machines without a nightly compiler.
fn times() -> usize {
    env::var("PROCESSION_FUZZ_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

fn check(target: fn(&[u8]), seeds: &str, inputs: usize) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(seeds);
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<_> = files.into_iter().map(|file| fs::read(file).unwrap()).collect();
    for seed in &seeds {
        target(seed);
    }
    // The long ones take their time and are no more telling than the others.
    let short: Vec<_> = seeds.iter().filter(|seed| seed.len() < 16_384).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..inputs * times() {
        let mut input = short[random.below(short.len())].clone();
        random.change(&mut input);
        target(&input);
    }
}

/// A test for each target, on the seeds that are called like it, with so many changes of them.
macro_rules! targets {
    ($inputs:expr, $($target:ident)*) => {$(
        #[test]
        fn $target() {
            check(procession_fuzz::$target, concat!("seeds/", stringify!($target)), $inputs);
        }
    )*};
}

#[test]
fn records() {
    check(procession_fuzz::records, "../crates/procession-sensor/tests/data", INPUTS);
}

targets! {
    INPUTS,
    ring bookmark proc_files arguments netlink container_id exec_id journal
}

targets! { SLOW, journal_directory }

#[cfg(feature = "program")]
targets! { INPUTS, passwd file_names filters_json re2 cel field_paths requests events pod runtimes }

#[cfg(feature = "program")]
targets! { INPUTS / 10, machine_files render }

#[cfg(feature = "program")]
targets! { SLOW, import config command_line questions }

/// `PROCESSION_UPDATE_EXPECTED=1` makes the seed of this journal.
#[test]
fn a_journal_in_pieces_is_a_seed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let whole = fs::read(directory.join("recorded.procession")).unwrap();
    let pieces = procession_fuzz::pieces(&whole);
    check_seed(&directory.join("journal_directory/recorded"), &pieces);
}

/// The same of these answers.
#[cfg(feature = "program")]
#[test]
fn what_an_agent_answers_is_a_seed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let events = ["exec", "exit", "rate_limit"];
    let events = events.map(|name| fs::read_to_string(directory.join("events").join(name)).unwrap());
    let status = fs::read_to_string(directory.join("status.jsonl")).unwrap();
    for (name, answer) in procession_fuzz::answers(&events.concat(), &status).unwrap() {
        check_seed(&directory.join("render").join(name), &answer);
    }
}

fn check_seed(seed: &Path, expected: &[u8]) {
    if env::var_os("PROCESSION_UPDATE_EXPECTED").is_some() {
        fs::write(seed, expected).unwrap();
    }
    let seed = fs::read(seed).unwrap_or_default();
    assert!(seed == expected, "it is out of date: run this with PROCESSION_UPDATE_EXPECTED=1");
}
