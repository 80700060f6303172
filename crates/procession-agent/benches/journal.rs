//! What the journal costs: the CPU time of a pipeline with one, beside that of the same pipeline without.
//!
//! ```text
//! cargo bench -p procession-agent --bench journal
//! ```
//!
//! Processes fork, exec and exit, and facts of that are made. Measured is the CPU time of the thread that
//! owns the pipeline, and that of the whole program, which has what the journal's thread takes for
//! compression and writing too. Both arrangements take turns in rounds; printed are medians. Ratios hold
//! on any machine, nanoseconds on one.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::time::Duration;

use procession::{Event, LineageDetail, ProcessKey};
use procession_agent::{JournalConfig, JournalTarget, Pipeline, PipelineConfig, Scope, Selection};
use procession_filter::{Filter, Kinds};
use procession_journal::DirectoryConfig;
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};
use rustix::time::{ClockId, clock_gettime};

use support::{exec, exit, fork, outside, running};

const ROUNDS: usize = 15;
const PROCESSES: u32 = 100_000;
const BATCH: usize = 3_000;

/// Hands over a batch with each poll.
struct Batches {
    events: Vec<Event<'static>>,
    at: usize,
}

impl Source for Batches {
    fn kind(&self) -> SourceKind {
        SourceKind::Ebpf
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        sink(&outside(running(1, ProcessKey::NONE)));
        Ok(())
    }

    fn poll(&mut self, _: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        let end = (self.at + BATCH).min(self.events.len());
        self.events[self.at..end].iter().for_each(sink);
        self.at = end;
        Ok(())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

/// CPU time in ns per event: of the pipeline's thread, and of the program.
#[derive(Clone, Copy)]
struct Cost {
    thread: f64,
    program: f64,
    /// Bytes that an event takes in the journal.
    bytes: f64,
}

fn main() {
    // `cargo test --benches` wants to see that it starts.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let events: Vec<_> = (10..10 + PROCESSES)
        .flat_map(|pid| [outside(fork(1, pid)), outside(exec(pid, 1)), exit(pid, 0)])
        .collect();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // The first round of each is not counted.
    for round in 0..=ROUNDS {
        for (has_journal, costs) in [(false, &mut without), (true, &mut with)] {
            let cost = measure(&events, has_journal);
            costs.extend((round > 0).then_some(cost));
        }
    }
    println!("{:<20} {:>14} {:>15} {:>14}", "", "thread, ns", "program, ns", "bytes");
    for (name, costs) in [("without a journal", &without), ("with a journal", &with)] {
        let [thread, program, bytes] = medians(costs);
        println!("{name:<20} {thread:>14.0} {program:>15.0} {bytes:>14.1}");
    }
    let ([thread, program, _], [with_thread, with_program, _]) = (medians(&without), medians(&with));
    println!("{:<20} {:>14.2} {:>15.2}", "ratio", with_thread / thread, with_program / program);
}

fn medians(costs: &[Cost]) -> [f64; 3] {
    [|cost: &Cost| cost.thread, |cost: &Cost| cost.program, |cost: &Cost| cost.bytes].map(|of| {
        let mut all: Vec<_> = costs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    })
}

fn measure(events: &[Event<'static>], has_journal: bool) -> Cost {
    let directory = tempfile::tempdir().unwrap();
    let target = JournalTarget::Directory(DirectoryConfig::new(directory.path()));
    let journal = has_journal.then(|| JournalConfig::new(target, "node").unwrap().open().unwrap());
    let kinds = Kinds { exec: true, exit: true, ..Kinds::default() };
    let lineage = LineageDetail::Parent;
    let selection = Selection { scope: Scope::Everything, filter: Filter::new(kinds), lineage };
    let config = PipelineConfig { journal, ..PipelineConfig::new(selection) };
    let source = Batches { events: events.to_vec(), at: 0 };
    let mut pipeline = Pipeline::start(Box::new(source), config, &mut drop).unwrap();
    let begin = (cpu(ClockId::ThreadCPUTime), cpu(ClockId::ProcessCPUTime));
    for _ in 0..=events.len() / BATCH {
        pipeline.poll(Duration::ZERO, &mut drop).unwrap();
    }
    let thread = cpu(ClockId::ThreadCPUTime) - begin.0;
    pipeline.close();
    let program = cpu(ClockId::ProcessCPUTime) - begin.1;
    let journal = pipeline.account().journal;
    assert!(journal.is_none_or(|journal| journal.lost_events == 0), "{journal:?}");
    let bytes = journal.map_or(0, |journal| journal.bytes);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let per_event = |value: u64| value as f64 / events.len() as f64;
    Cost { thread: per_event(thread), program: per_event(program), bytes: per_event(bytes) }
}

/// CPU time in ns.
fn cpu(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let nanos = |value: i64| u64::try_from(value).unwrap();
    nanos(time.tv_sec) * 1_000_000_000 + nanos(time.tv_nsec)
}
