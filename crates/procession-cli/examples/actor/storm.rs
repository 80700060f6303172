//! As many processes as fast as can be.

use std::num::NonZero;
use std::thread;

use anyhow::Result;

use crate::program::Program;
use crate::scene::Scene;
use crate::sys;
use crate::truth::{Count, Event};

/// How many children one thread lets live before it waits for one.
const AT_ONCE: u64 = 32;

/// Starts `number` helpers, from as many threads as there are processors, and reaps them all.
pub(crate) fn storm(scene: &mut Scene, number: u64) -> Result<()> {
    let program = &scene.helper(["storm", "helper:exit:0"])?;
    let threads = u64::try_from(thread::available_parallelism().map_or(1, NonZero::get))?;
    thread::scope(|scope| {
        let shares = (0..threads).map(|thread| number / threads + u64::from(thread < number % threads));
        let spawners: Vec<_> = shares.map(|share| scope.spawn(move || spawn(program, share))).collect();
        spawners.into_iter().try_for_each(|spawner| spawner.join().expect("a spawner does not panic"))
    })?;
    scene.push(Event::Count(Count { forks: number, execs: number, exits: number }));
    Ok(())
}

/// One thread's share. The threads may reap each other's children: only the sum is sure.
fn spawn(program: &Program, number: u64) -> Result<()> {
    for started in 0..number {
        program.spawn()?;
        if started >= AT_ONCE {
            sys::wait_any();
        }
    }
    while sys::wait_any() {}
    Ok(())
}
