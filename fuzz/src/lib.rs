//! What is fuzzed: one function for each parser of bytes that we did not write.
//!
//! A function panics when something is wrong with what the parser made of its input. CI runs all of
//! them on the seeds, and on random changes of them, with the stable compiler:
//!
//! ```text
//! cargo test --manifest-path fuzz/Cargo.toml
//! ```
//!
//! `fuzz/run` looks for longer, with libFuzzer. `docs/fuzzing.md` says what each is about, and what to do with what
//! is found.

#[cfg(feature = "program")]
mod filters;
mod journal;
mod kernel;
#[cfg(feature = "program")]
mod machine;
mod memory;
#[cfg(feature = "program")]
mod program;
#[cfg(feature = "program")]
mod terminal;

#[cfg(feature = "program")]
pub use filters::{cel, events, field_paths, filters_json, passwd, re2, requests};
pub use journal::{journal, journal_directory, pieces};
pub use kernel::{arguments, bookmark, container_id, exec_id, netlink, proc_files, records, ring};
#[cfg(feature = "program")]
pub use machine::{file_names, machine_files};
#[cfg(feature = "program")]
pub use program::{answers, command_line, config, import, pod, questions, runtimes};
#[cfg(feature = "program")]
pub use terminal::render;

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
