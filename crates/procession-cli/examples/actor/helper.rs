//! What the actor does when a scenario has exec'd it: `helper:BEHAVIOUR` as its first argument.
//!
//! Behaviour and parameter are one word, for a script's first line carries only one argument. What
//! follows after white space, and all other arguments, are there to be seen by the observer.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::{env, ffi::OsString};

use anyhow::Result;

use crate::program::{Program, words};
use crate::sys;

/// The code with which the last link of a chain exits.
const CHAIN_END: i32 = 7;

/// The code to exit with, if this process is a helper.
pub(crate) fn run(arguments: &[OsString]) -> Option<i32> {
    // Without a single argument, or with the empty one that newer kernels then put there: the code
    // tells which of the two it was.
    if arguments.iter().all(|argument| argument.is_empty()) {
        return i32::try_from(arguments.len()).ok();
    }
    let order = arguments.get(1)?.as_bytes().strip_prefix(b"helper:")?;
    let word = order.split(u8::is_ascii_whitespace).next()?;
    Some(behave(word).unwrap_or(sys::FAILED))
}

/// `exit:CODE` or `chain:LINKS`; `None` for anything else.
fn behave(word: &[u8]) -> Option<i32> {
    let (behaviour, number) = str::from_utf8(word).ok()?.split_once(':')?;
    let number = number.parse().ok()?;
    match (behaviour, number) {
        ("exit", code) => Some(code),
        ("chain", 0) => Some(CHAIN_END),
        ("chain", links) => next_link(links - 1).ok(),
        _ => None,
    }
}

fn next_link(links: i32) -> Result<i32> {
    Ok(Program::new(&env::current_exe()?, chain_arguments(links)?)?.run())
}

/// The arguments of a link after which so many others follow.
pub(crate) fn chain_arguments(links: i32) -> Result<Vec<CString>> {
    words([format!("link-{links}"), format!("helper:chain:{links}"), format!("{links} more")])
}
