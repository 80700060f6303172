//! A program of known shape: it makes processes in every way the kernel allows, and writes down
//! exactly what it did, so that a test can compare what a sensor saw with the truth.
//!
//! ```text
//! actor SCENARIO --truth FILE    plays one scenario; prints nothing when all went as planned
//! actor storm N --truth FILE     N times posix_spawn, from as many threads as there are processors
//! actor soak RUN SEED FIRST OF   every OF-th act from FIRST on, for as long as it is asked to: see `soak`
//! actor relabel TEXT             its arguments are shown as that, until standard input ends
//! actor unserved DIR PADDING     a file at DIR that nobody serves lies over its arguments, until standard input ends
//! actor freeze PIN               nobody can write the pinned BPF map any more
//! actor --list                   the scenarios; `NAME root` where root is needed
//! ```
//!
//! The truth ([`truth`]) is JSON lines. The actor itself is not in it, only what it forks.
//!
//! | scenario | what happens |
//! |---|---|
//! | `fork-chain` | 20 processes, each the child of the one before, each with its own exit code |
//! | `fork-fan` | 50 children, all alive at once |
//! | `vfork` | `CLONE_VM \| CLONE_VFORK`, exec |
//! | `posix-spawn` | `posix_spawn(3)` |
//! | `double-fork` | the parent ends first; the orphan, adopted by the actor, execs |
//! | `clone-parent` | `CLONE_PARENT`: forked by a child, owned by the actor |
//! | `unshare-pid` | a child forks pid 1 of a new pid namespace (root) |
//! | `exec-chain` | one process execs 10 times, with other arguments each time |
//! | `deleted-binary` | exec of an open file whose name is gone |
//! | `memfd` | exec of a file that lives in memory only |
//! | `script` | exec of a script whose first line has an argument |
//! | `script-relative` | the same by a relative path |
//! | `relative-exec` | exec of `./prog` |
//! | `exec-fails` | ENOENT, then exit 127: no exec |
//! | `deep-cwd` | exec in a directory of more than 1000 bytes and 130 components |
//! | `long-cwd` | exec in a directory whose path is longer than `PATH_MAX` |
//! | `args-refused` | 5 MB of arguments: E2BIG, no exec |
//! | `args-100k` | 100 kB of arguments |
//! | `args-1m` | 1 MiB of arguments |
//! | `args-empty` | empty arguments; no arguments at all |
//! | `args-odd` | control characters, quotes, spaces, bytes that are not UTF-8 |
//! | `thread-exec-leader` | the leader execs while other threads live |
//! | `thread-exec-nonleader` | another thread execs and takes over the pid |
//! | `leader-exits-first` | the leader's exit(2) is not the end of the process |
//! | `threads-exit-race` | 200 processes of 16 threads, each thread ending at the same moment |
//! | `exit-codes` | 0, 1, 2, 42, 127, 255 |
//! | `signals` | SIGKILL, SIGTERM, SIGSEGV, real-time signal 40 |
//! | `core-dump` | abort(3) with core files allowed |
//! | `change-ids` | a child changes its ids and capabilities; its parent, of the same image, does not (root) |
//! | `change-namespaces` | unshare(2) and setns(2) of mounts and host name (root) |
//! | `change-session` | setsid(2), by the leader and by another thread |
//! | `change-nothing` | calls that set what is set already, or supplementary groups: no change (root) |
//! | `change-thread` | another thread than the leader changes its ids and namespaces: no change (root) |
//! | `change-toggle` | the effective user changes 20 times (root) |
//! | `script-chain` | a script that a script interprets |
//! | `exec-no-return` | an exec that fails when the old image is gone: no exec, and a signal |
//! | `vfork-orphan` | the child of a vfork execs when its parent has been killed |
//! | `rival-execs` | two threads that are not the leader exec at once, 20 times |
//! | `changing-arguments` | a thread writes over the arguments while another execs with them, 30 times |
//! | `killed-while-stopped` | SIGSTOP, SIGKILL |
//! | `namespace-ends` | the first process of a pid namespace ends, and with it three others (root) |
//! | `traced` | another process watches one as a debugger does, while it execs and ends (root) |
//! | `setuid` | a set-user-id and set-group-id file of 1234, exec'd by 4321 (root) |
//! | `setuid-root` | a set-user-id file of root, exec'd by 4321 (root) |

mod helper;
mod program;
mod scenarios;
mod scene;
mod soak;
mod storm;
mod sys;
mod threads;
mod truth;
mod unserved;

use std::ffi::{CString, OsString};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::{env, io};

use anyhow::{Context, Result, bail, ensure};

use crate::scenarios::SCENARIOS;
use crate::scene::Scene;

fn main() -> Result<()> {
    let arguments: Vec<OsString> = env::args_os().collect();
    if let Some(code) = soak::run(&arguments).or_else(|| helper::run(&arguments)) {
        sys::exit_process(code);
    }
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    match words[..] {
        ["--list"] => list(),
        ["storm", number, "--truth", file] => {
            play(Path::new(file), |scene| storm::storm(scene, number.parse().context("N is not a number")?))
        }
        ["soak", run, seed, first, of] => {
            let what = "expected numbers: RUN SEED FIRST OF";
            let number = |text: &str| text.parse::<u64>().context(what);
            soak::perform(run.parse().context(what)?, number(seed)?, number(first)?, number(of)?)
        }
        ["relabel", text] => {
            show_as_arguments(text)?;
            Ok(io::copy(&mut io::stdin(), &mut io::sink()).map(drop)?)
        }
        ["unserved", mount, _] => unserved::perform(Path::new(mount), bounds_of_arguments()?),
        ["freeze", pin] => Ok(sys::freeze_map(&CString::new(pin)?)?),
        [name, "--truth", file] => {
            let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
            let scenario = scenario.with_context(|| format!("no scenario is called {name}"))?;
            ensure!(!scenario.needs_root || sys::ids().euid == 0, "{name} needs root");
            play(Path::new(file), scenario.perform)
        }
        _ => bail!(
            "usage: actor SCENARIO --truth FILE | storm N --truth FILE | soak RUN SEED FIRST OF | relabel TEXT | \
             unserved DIR PADDING | freeze PIN | --list"
        ),
    }
}

fn play(truth: &Path, perform: impl FnOnce(&mut Scene) -> Result<()>) -> Result<()> {
    let mut scene = Scene::new()?;
    perform(&mut scene)?;
    scene.write(truth).with_context(|| format!("cannot write {}", truth.display()))
}

/// Where in memory this process has its arguments.
fn bounds_of_arguments() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may have anything in it; `arg_start` and `arg_end` are the fields 48 and 49 of all.
    let (_, fields) = stat.rsplit_once(") ").context("the form of stat is not known")?;
    let mut bounds = fields.split(' ').skip(45).map(str::parse::<u64>);
    let (Some(Ok(begin)), Some(Ok(end))) = (bounds.next(), bounds.next()) else {
        bail!("it is not told where the arguments are")
    };
    Ok((begin, end))
}

/// Writes over the arguments in this process's own memory, from where `/proc/PID/cmdline` has them.
fn show_as_arguments(text: &str) -> Result<()> {
    let (begin, end) = bounds_of_arguments()?;
    let mut shown = text.as_bytes().to_vec();
    ensure!((shown.len() as u64) < end - begin, "there is no room for that");
    shown.resize(usize::try_from(end - begin)?, 0);
    Ok(OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&shown, begin)?)
}

#[expect(clippy::print_stdout, clippy::unnecessary_wraps, reason = "the list is this command's output")]
fn list() -> Result<()> {
    for scenario in SCENARIOS {
        println!("{}{}", scenario.name, if scenario.needs_root { " root" } else { "" });
    }
    Ok(())
}
