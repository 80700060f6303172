//! The scenarios. `main.rs` tells what each is.

mod arguments;
mod changes;
mod evasions;
mod execs;
mod exits;
mod forks;
mod privileges;
mod threads;

use anyhow::Result;

use crate::scene::Scene;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) needs_root: bool,
    pub(crate) perform: fn(&mut Scene) -> Result<()>,
}

const fn any(name: &'static str, perform: fn(&mut Scene) -> Result<()>) -> Scenario {
    Scenario { name, needs_root: false, perform }
}

const fn root(name: &'static str, perform: fn(&mut Scene) -> Result<()>) -> Scenario {
    Scenario { name, needs_root: true, perform }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    any("fork-chain", forks::chain),
    any("fork-fan", forks::fan),
    any("vfork", forks::vfork),
    any("posix-spawn", forks::posix_spawn),
    any("double-fork", forks::double_fork),
    any("clone-parent", forks::clone_parent),
    root("unshare-pid", forks::unshare_pid),
    any("exec-chain", execs::chain),
    any("deleted-binary", execs::deleted_binary),
    any("memfd", execs::memfd),
    any("script", execs::script),
    any("script-relative", execs::script_relative),
    any("relative-exec", execs::relative),
    any("exec-fails", execs::fails),
    any("deep-cwd", execs::deep_cwd),
    any("long-cwd", execs::long_cwd),
    any("args-refused", arguments::refused),
    any("args-100k", arguments::hundred_kilobytes),
    any("args-1m", arguments::one_mebibyte),
    any("args-empty", arguments::empty),
    any("args-odd", arguments::odd),
    any("thread-exec-leader", threads::leader_execs),
    any("thread-exec-nonleader", threads::other_execs),
    any("leader-exits-first", threads::leader_exits_first),
    any("threads-exit-race", threads::exit_race),
    any("exit-codes", exits::codes),
    any("signals", exits::signals),
    any("core-dump", exits::core_dump),
    root("change-ids", changes::ids),
    root("change-namespaces", changes::namespaces),
    any("change-session", changes::session),
    root("change-nothing", changes::nothing),
    root("change-thread", changes::thread),
    root("change-toggle", changes::toggle),
    any("script-chain", evasions::script_chain),
    any("exec-no-return", evasions::no_return),
    any("vfork-orphan", evasions::vfork_orphan),
    any("rival-execs", evasions::rival_execs),
    any("changing-arguments", evasions::changing_arguments),
    any("killed-while-stopped", evasions::killed_while_stopped),
    root("namespace-ends", evasions::namespace_ends),
    root("traced", evasions::traced),
    root("setuid", privileges::set_user_and_group),
    root("setuid-root", privileges::set_user_root),
];
