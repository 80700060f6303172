//! What it costs to say of a fact whose container it happened in, on a node with 1,000 pods of two
//! containers.
//!
//! ```text
//! cargo bench -p procession-agent --bench whose
//! ```
//!
//! Processes fork, exec and exit, and their execs and exits are told. Measured is the CPU time of the
//! pipeline's thread from the moment that it has a batch of events until it asks for the next one: the
//! table, the filter, the questions, and the way into the queue; not the making of events, and not
//! the reading. Beside each figure stands that of the same pipeline with a queue and nobody to ask,
//! in the same run. The arrangements take turns in rounds; printed are medians. Ratios hold on any
//! machine, nanoseconds on one.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

#[path = "../tests/support/node.rs"]
mod node;
#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use procession::{BootTime, Event, ProcessKey};
use procession_agent::{
    HoldConfig, Inventory, InventoryCounts, News, NodeInventory, Observation, ObservationConfig, Pipeline,
    PipelineConfig, Scope, Selection, Told,
};
use procession_filter::{Filter, Kinds};
use procession_kube::{CgroupContainer, ContainerId, Whose};
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};
use rustix::time::{ClockId, clock_gettime};

use node::{Node, cgroup};
use support::{exec, exit, fork, in_cgroup, key, outside, running, selection, until};

const PODS: u32 = 1_000;
const CHANGES_A_SECOND: u32 = 100;
const ROUNDS: usize = 15;

/// In one round of one arrangement.
const PROCESSES: u32 = 40_000;
const BATCH: u32 = 1_000;
/// An exec and an exit.
const FACTS_PER_PROCESS: u32 = 2;

/// Long-lived processes, from which all others are forked.
const PARENTS: u32 = PODS;
const FIRST_PARENT: u32 = 10;
const FIRST_PID: u32 = 10_000;

/// Where all processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Host,
    /// In containers of the pods.
    Known,
    /// In containers of which nobody ever hears.
    Unknown,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// There is a pipeline and a queue, and nothing in between.
    Nobody,
    /// An inventory of nothing.
    Nothing,
    /// The pods.
    Pods,
    /// The pods, while they change.
    ChangingPods,
}

const ARRANGEMENTS: [(Place, Asked); 9] = [
    (Place::Host, Asked::Nobody),
    (Place::Host, Asked::Nothing),
    (Place::Host, Asked::Pods),
    (Place::Host, Asked::ChangingPods),
    (Place::Known, Asked::Nobody),
    (Place::Known, Asked::Nothing),
    (Place::Known, Asked::Pods),
    (Place::Known, Asked::ChangingPods),
    (Place::Unknown, Asked::Pods),
];

fn main() {
    // `cargo test --benches` wants to see that it starts.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let node = Node::with_pods(PODS.into());
    let pods = Arc::new(node.inventory());
    let worlds = [Place::Host, Place::Known, Place::Unknown].map(|place| (place, World::new(place)));
    let world = |place| &worlds.iter().find(|(other, _)| *other == place).unwrap().1;
    let mut costs = ARRANGEMENTS.map(|_| Vec::new());
    // The first round of each is not counted.
    for round in 0..=ROUNDS {
        for ((place, asked), costs) in ARRANGEMENTS.into_iter().zip(&mut costs) {
            let cost = measure(world(place), asked, &pods, &node);
            costs.extend((round > 0).then_some(cost));
        }
    }
    print(&costs.map(|costs| median(costs) / f64::from(PROCESSES * FACTS_PER_PROCESS)));
}

fn print(costs: &[f64; ARRANGEMENTS.len()]) {
    println!("{:<54} {:>11} {:>6}", "", "ns per fact", "ratio");
    let all = || ARRANGEMENTS.into_iter().zip(costs);
    for ((place, asked), cost) in all() {
        let place_of_base = if place == Place::Host { Place::Host } else { Place::Known };
        let (_, base) = all().find(|(other, _)| *other == (place_of_base, Asked::Nobody)).unwrap();
        let name = format!("{}, {}", place.name(), asked.name());
        println!("{name:<54} {cost:>11.0} {:>6.2}", cost / base);
    }
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "on the host",
            Self::Known => "in pods",
            Self::Unknown => "in containers unknown",
        }
    }
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody to ask",
            Self::Nothing => "an inventory of nothing",
            Self::Pods => "2,000 containers",
            Self::ChangingPods => "2,000 containers, 100 changes a second",
        }
    }
}

fn median(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

/// CPU time in ns of one round.
fn measure(world: &World, asked: Asked, pods: &Arc<NodeInventory>, node: &Node) -> f64 {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        if asked == Asked::ChangingPods {
            scope.spawn(|| change_pods(node, &is_over));
        }
        let (source, round) = Burst::new(world);
        match asked {
            Asked::Nobody => run_pipeline(source, &round),
            Asked::Nothing => run_observation(source, &round, Box::new(NodeInventory::new())),
            Asked::Pods | Asked::ChangingPods => {
                run_observation(source, &round, Box::new(Shared(Arc::clone(pods))));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        *round.nanos.lock().unwrap()
    })
}

fn change_pods(node: &Node, is_over: &AtomicBool) {
    let begin = Instant::now();
    for change in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        node.restart_one();
        let next = begin + change * Duration::from_secs(1) / CHANGES_A_SECOND;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn run_observation(source: Burst, round: &Round, inventory: Box<dyn Inventory>) {
    // What is never told of would be given up after a while: here at once.
    let hold = HoldConfig { wait: Duration::ZERO, ..HoldConfig::default() };
    let config =
        ObservationConfig { hold, queue: QUEUE, queue_bytes: usize::MAX, ..ObservationConfig::new(facts()) };
    let observation = Observation::start(Box::new(source), config, inventory).unwrap();
    round.told.set(observation.told().clone()).unwrap();
    until("the end of a round", || round.is_over.load(Ordering::Acquire));
    observation.stop();
    assert_eq!(observation.join().unwrap().dropped, 0);
}

fn run_pipeline(source: Burst, round: &Round) {
    let (sender, told) = bounded(QUEUE);
    round.told.set(told).unwrap();
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut pipeline =
                Pipeline::start(Box::new(source), PipelineConfig::new(facts()), &mut drop).unwrap();
            while !round.is_over.load(Ordering::Acquire) {
                pipeline
                    .poll(Duration::ZERO, &mut |fact| sender.try_send(Told::from(fact)).unwrap())
                    .unwrap();
            }
        });
        work.join().unwrap();
    });
}

const QUEUE: usize = (BATCH * FACTS_PER_PROCESS) as usize;

fn facts() -> Selection {
    Selection { filter: Filter::new(Kinds::default()), ..selection(Scope::Everything) }
}

/// An inventory that outlives an observation.
struct Shared(Arc<NodeInventory>);

impl Inventory for Shared {
    fn find(&self, id: &ContainerId) -> Option<Whose> {
        self.0.find(id)
    }

    fn ask(&self, container: CgroupContainer) -> bool {
        self.0.ask(container)
    }

    fn news(&self, news: &mut dyn FnMut(News)) {
        self.0.news(news);
    }

    fn counts(&self) -> InventoryCounts {
        self.0.counts()
    }
}

/// The control groups of all parents, whose children stay there.
struct World(Vec<Option<&'static [u8]>>);

impl World {
    fn new(place: Place) -> Self {
        let container = |parent: u32| match place {
            Place::Host => None,
            // The one that is never started anew.
            Place::Known => Some(2 * u64::from(parent) + 1),
            Place::Unknown => Some((1 << 40) + u64::from(parent)),
        };
        Self((0..PARENTS).map(|parent| container(parent).map(cgroup)).collect())
    }
}

/// What a round is about, shared with the source in it.
struct Round {
    /// The reading end, which the source empties between batches.
    told: OnceLock<Receiver<Told>>,
    nanos: Mutex<f64>,
    is_over: AtomicBool,
}

/// Processes in batches, as fast as they are taken.
struct Burst {
    cgroups: Vec<Option<&'static [u8]>>,
    round: Arc<Round>,
    started: u32,
    /// CPU time of the thread when the last batch was handed over.
    begin: Option<u64>,
}

impl Burst {
    fn new(world: &World) -> (Self, Arc<Round>) {
        let round = Arc::new(Round {
            told: OnceLock::new(),
            nanos: Mutex::new(0.0),
            is_over: AtomicBool::new(false),
        });
        let source = Self { cgroups: world.0.clone(), round: Arc::clone(&round), started: 0, begin: None };
        (source, round)
    }

    /// One process: 5,000 of them a second, as far as the events say.
    fn process(&self, number: u32) -> [Event<'static>; 3] {
        let (parent, pid) = (number % PARENTS, FIRST_PID + number);
        let place = |event| place(self.cgroups[parent as usize], event);
        let time = BootTime::from_nanos(1_000_000 + 200_000 * u64::from(number));
        let events = [place(fork(FIRST_PARENT + parent, pid)), place(exec(pid, 1)), exit(pid, 0)];
        events.map(|event| Event { time, ..event })
    }
}

#[expect(clippy::large_types_passed_by_value, reason = "events are made for one call")]
fn place(cgroup: Option<&'static [u8]>, event: Event<'static>) -> Event<'static> {
    match cgroup {
        Some(path) => in_cgroup(path, event),
        None => outside(event),
    }
}

impl Source for Burst {
    fn kind(&self) -> SourceKind {
        SourceKind::Polling
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        sink(&running(1, ProcessKey::NONE));
        for (pid, cgroup) in (FIRST_PARENT..).zip(&self.cgroups) {
            sink(&place(*cgroup, running(pid, key(1))));
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        let end = cpu_nanos();
        let Some(told) = self.round.told.get() else { return Ok(()) };
        if let Some(begin) = self.begin.take() {
            *self.round.nanos.lock().unwrap() += f64::from(u32::try_from(end - begin).unwrap());
            assert_eq!(told.try_iter().count(), QUEUE, "each batch is told of");
        }
        if self.started == PROCESSES {
            self.round.is_over.store(true, Ordering::Release);
            thread::sleep(timeout);
            return Ok(());
        }
        let batch: Vec<_> =
            (self.started..self.started + BATCH).flat_map(|number| self.process(number)).collect();
        self.started += BATCH;
        self.begin = Some(cpu_nanos());
        batch.iter().for_each(sink);
        Ok(())
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), SourceError> {
        Ok(())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
