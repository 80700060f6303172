//! Acts without end, as a soak asks for them: see [`plan`] for what an act is.
//!
//! The actor is its *performer*: it forks the root of each act and waits until nothing is left of it. What
//! an act's processes have to do they know from the token in their arguments.

mod interpret;
mod performer;
mod plan;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::Result;

use crate::sys;
use plan::{Plan, Token};

/// The code to exit with, if the process with these arguments belongs to an act.
pub(crate) fn run(arguments: &[impl AsRef<OsStr>]) -> Option<i32> {
    let token = str::from_utf8(arguments.get(1)?.as_ref().as_bytes()).ok()?;
    let token: Token = token.parse().ok()?;
    let plan = Plan::new(token.seed, token.act);
    let play = interpret::Play { plan: &plan, run: token.run, seed: token.seed, act: token.act };
    Some(play.go_on(token.life, token.image + 1).unwrap_or(sys::FAILED))
}

/// Performs every `of`-th act from `first` on, as far as it is allowed to by numbers on standard input.
pub(crate) fn perform(run: u32, seed: u64, first: u64, of: u64) -> Result<()> {
    performer::Performer::new(run, seed, first, of)?.perform()
}
