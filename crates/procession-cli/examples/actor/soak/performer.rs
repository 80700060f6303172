//! Who forks the roots of acts, and says what became of them.
//!
//! On standard input stand numbers, a line each: acts before that number may be performed. A held act is
//! let go when the next line comes. After each line's work there is one on standard output: how many acts
//! were performed, how many processes lived, how many execs there were, and the numbers of acts of which a
//! process did not end as it should have.

use std::fs::File;
use std::io::{self, BufRead as _, Write as _};

use anyhow::{Context as _, Result};

use super::interpret::{Play, settle};
use super::plan::{Counts, FIRST_HELD, Plan, Reaper};
use crate::sys;

pub(super) struct Performer {
    run: u32,
    seed: u64,
    next: u64,
    step: u64,
    acts: u64,
    total: Counts,
    astray: Vec<u64>,
}

impl Performer {
    pub(super) fn new(run: u32, seed: u64, first: u64, step: u64) -> Result<Self> {
        sys::keep_children_waitable();
        sys::become_subreaper()?;
        // Those that a signal ends leave no files behind.
        sys::limit(libc::RLIMIT_CORE, 0)?;
        Ok(Self { run, seed, next: first, step, acts: 0, total: Counts::default(), astray: Vec::new() })
    }

    pub(super) fn perform(mut self) -> Result<()> {
        let mut held: Option<Held> = None;
        let mut line = String::new();
        loop {
            line.clear();
            let is_over = io::stdin().lock().read_line(&mut line)? == 0;
            if let Some(held) = held.take() {
                self.let_go(held)?;
            }
            if is_over {
                return Ok(());
            }
            let limit: u64 = line.trim().parse().context("expected the number of an act")?;
            while self.next < limit {
                let act = self.next;
                self.next += self.step;
                if act >= FIRST_HELD {
                    held = Some(self.hold(act)?);
                } else {
                    self.play(act)?;
                }
            }
            self.report()?;
        }
    }

    #[expect(clippy::print_stdout, reason = "who drives the actor reads it")]
    fn report(&mut self) -> Result<()> {
        print!("{} {} {}", self.acts, self.total.lives, self.total.execs);
        for act in self.astray.drain(..) {
            print!(" {act}");
        }
        println!();
        Ok(io::stdout().flush()?)
    }

    fn play(&mut self, act: u64) -> Result<()> {
        let plan = Plan::new(self.seed, act);
        let root = self.fork_root(&plan, act)?;
        self.see_out(&plan, act, root)
    }

    fn fork_root(&self, plan: &Plan, act: u64) -> Result<u32> {
        let play = Play { plan, run: self.run, seed: self.seed, act };
        sys::fork(|| play.go_on(0, 0).unwrap_or(sys::FAILED)).context("cannot fork")
    }

    /// Waits until nothing is left of the act.
    fn see_out(&mut self, plan: &Plan, act: u64, root: u32) -> Result<()> {
        let wards = (0..plan.lives.len()).filter(|life| plan.lives[*life].reaper == Reaper::Performer);
        if !settle(plan, wards.collect(), Some((root, 0)))? {
            self.astray.push(act);
        }
        self.acts += 1;
        let counts = plan.counts();
        self.total.lives += counts.lives;
        self.total.execs += counts.execs;
        Ok(())
    }

    /// Performs a held act until all its processes are there.
    fn hold(&mut self, act: u64) -> Result<Held> {
        let plan = Plan::new(self.seed, act);
        let (end, gate) = io::pipe()?;
        let end = File::from(std::os::fd::OwnedFd::from(end));
        let root = {
            let play = Play { plan: &plan, run: self.run, seed: self.seed, act };
            let begin = || {
                sys::become_standard_input(&end)?;
                play.go_on(0, 0)
            };
            sys::fork(|| begin().unwrap_or(sys::FAILED)).context("cannot fork")?
        };
        Ok(Held { plan, act, root, gate })
    }

    fn let_go(&mut self, held: Held) -> Result<()> {
        drop(held.gate);
        self.see_out(&held.plan, held.act, held.root)
    }
}

/// An act that lives until it is let go.
struct Held {
    plan: Plan,
    act: u64,
    root: u32,
    /// Those who are held read from its other end, and go when this is closed.
    gate: io::PipeWriter,
}
