//! The options of the agent, of texts in place of files, for `fuzz/`.

use std::ffi::OsString;
use std::path::Path;

use super::layers::{Reading, of_texts};
use super::memory::limit_of;
use super::print::print;

/// Options as a file, files of a drop-in directory and variables give them: NAME and VALUE with `=` between.
///
/// # Panics
///
/// What `--print-config` prints cannot be read again, or means something else.
pub fn config(file: &str, others: &[&str]) {
    let pairs: Vec<_> = others.iter().filter_map(|other| other.split_once('=')).collect();
    let is_variable = |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let (variables, drop_ins): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| is_variable(name));
    let variables: Vec<_> =
        variables.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    let Ok(reading) = of_texts(file, &drop_ins, &variables) else { return };
    let printed = print(&reading);
    let again = of_texts(&printed, &[], &[]).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
    assert_eq!(meaning(&again), meaning(&reading), "{printed}");
}

/// Without where each value comes from, and what is said about that.
fn meaning(reading: &Reading) -> impl PartialEq + std::fmt::Debug + use<> {
    (reading.config.clone(), reading.pin_dir.clone())
}

/// The least limit of memory of the control group that a line of `/proc/PID/cgroup` names, and of those above it, where
/// `mount` is in place of `/sys/fs/cgroup`.
pub fn memory_limit(line: &str, mount: &Path) -> Option<u64> {
    limit_of(line, mount)
}
