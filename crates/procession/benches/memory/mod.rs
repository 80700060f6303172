//! The rows that are about resident memory. Each is measured in a program of its own, which has
//! done nothing before: what an allocator once had, it seldom gives back.

use std::env;
use std::hint::black_box;
use std::process::Command;

use crate::measure::resident;
use crate::speed::{Population, live};
use crate::systems::{Ours, Processes, Theirs};
use crate::workload::{Arguments, BEGIN, Who};

/// What is weighed.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// This many live processes with distinct arguments: what they add.
    Live(u32),
    /// This many lifecycles, a microsecond apart: all that the program has in memory at the end.
    Burst(u32),
}

/// Whose memory.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Ours,
    Baseline,
}

const FLAG: &str = "--resident";

/// Resident bytes, from a program of its own.
pub(crate) fn weigh(side: Side, load: Load) -> Option<u64> {
    let side = match side {
        Side::Ours => "ours",
        Side::Baseline => "baseline",
    };
    let (load, count) = match load {
        Load::Live(count) => ("live", count),
        Load::Burst(count) => ("burst", count),
    };
    let program = env::current_exe().ok()?;
    let output = Command::new(program).args([FLAG, side, load, &count.to_string()]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The resident bytes to print, when this is such a program.
pub(crate) fn asked(arguments: &[String]) -> Option<u64> {
    let [flag, side, load, count] = arguments else { return None };
    let count = count.parse().ok().filter(|_| flag == FLAG)?;
    let load = if load == "live" { Load::Live(count) } else { Load::Burst(count) };
    Some(if side == "ours" { of::<Ours>(load) } else { of::<Theirs>(load) })
}

fn of<S: Processes>(load: Load) -> u64 {
    match load {
        Load::Live(count) => {
            // The list of who lives is the benchmark's, and is touched before the first weighing.
            let list = vec![Who::new(1, 1); count as usize];
            let before = resident();
            drop(black_box(list));
            let mut population = Population::<S>::new(count);
            population.settle();
            let after = resident();
            assert!(population.system.len() >= count as usize);
            after.saturating_sub(before)
        }
        Load::Burst(count) => {
            let mut system = S::new(65_536);
            let mut arguments = Arguments::default();
            for number in 0..count {
                let who = Who::new(number, BEGIN + u64::from(number) * 1_000);
                arguments.set(who);
                live(&mut system, who, &arguments);
            }
            let after = resident();
            black_box(system.len());
            after
        }
    }
}
