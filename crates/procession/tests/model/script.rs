//! Events in the small language of `support`, so that a failure can be read, and made a test.

use std::fmt::Write as _;

use procession::{Context, Event, EventKind, Precision, ProcessKey, Subject};

use crate::machine::Step;
use crate::support::show_key;

/// A line for each step.
pub(crate) fn show_steps(steps: &[Step]) -> String {
    let lines = steps.iter().map(|step| match step {
        Step::Event(event) => show_event(event),
        Step::Hold(key) => format!("# hold {}", show_key(*key)),
        Step::LetGo(which) => format!("# let go of handle {which}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `TIME: EVENT`. What the language has no word for follows a `#`.
pub(crate) fn show_event(event: &Event<'_>) -> String {
    let line = match &event.kind {
        EventKind::Fork(fork) => {
            let line = format!("fork {} > {}", show_key(fork.parent.key), show_key(fork.child.key));
            let owner = if fork.owner == fork.parent { ProcessKey::NONE } else { fork.owner.key };
            with_rest(line, fork.child, owner, &fork.context, fork.child.key)
        }
        EventKind::Exec(exec) => {
            let old = exec.replaces.map_or_else(|| "?".into(), show_key);
            let binary = exec.program.binary.escape_ascii();
            let line = format!("exec {old} > {} {binary}", show_key(exec.process.key));
            with_rest(
                line,
                exec.process,
                exec.owner.key,
                &exec.context,
                exec.replaces.unwrap_or(exec.process.key),
            )
        }
        EventKind::Exit(exit) => {
            let code = exit.status.unwrap_or_default().code();
            let line = format!("exit {} {code}", show_key(exit.process.key));
            with_rest(line, exit.process, exit.owner.key, &Context::default(), exit.process.key)
        }
        EventKind::Running(running) => {
            let binary = running.program.binary.escape_ascii();
            let how = running.gap.map_or_else(|| "running".to_owned(), |gap| format!("found {gap:?}"));
            let line = format!("{how} {} {binary}", show_key(running.process.key));
            with_rest(line, running.process, running.owner.key, &running.context, running.process.key)
        }
        EventKind::Change(change) => {
            let line = format!("change {}", show_key(change.process.key));
            with_rest(line, change.process, ProcessKey::NONE, &change.context, change.process.key)
        }
        EventKind::Gone(gone) => {
            let line = format!("gone {:?} {}", gone.gap, show_key(gone.process.key));
            with_rest(line, gone.process, ProcessKey::NONE, &Context::default(), gone.process.key)
        }
        EventKind::Lost(count) => format!("lost {count}"),
    };
    format!("{}: {line}", event.time.as_nanos())
}

fn with_rest(
    mut line: String,
    it: Subject,
    owner: ProcessKey,
    context: &Context<'_>,
    named: ProcessKey,
) -> String {
    if owner != ProcessKey::NONE {
        write!(line, " < {}", show_key(owner)).expect("text");
    }
    if it.began != named.start {
        write!(line, " began {}", it.began.as_nanos()).expect("text");
    }
    if it.precision == Precision::Ticks {
        line.push_str(" ticks");
    }
    if let Some(credentials) = context.credentials {
        write!(line, " # euid {}", credentials.euid).expect("text");
    }
    line
}
