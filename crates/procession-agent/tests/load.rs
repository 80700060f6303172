//! A full node that never rests: 1,000 pods that change while processes start in them, with everything
//! real but the kernel.

#![expect(clippy::print_stdout, reason = "whoever runs it with `--nocapture` sees the figures")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "support/node.rs"]
mod node;
mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use procession::{FactKind, ProcessKey};
use procession_agent::{
    Account, HoldConfig, HoldCounts, Observation, ObservationConfig, Scope, Selection, TellCounts, Told,
};
use procession_filter::{Filter, Kinds};
use procession_kube::{ContainerId, Phase};
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};
use rustix::time::{ClockId, clock_gettime};

use node::{Node, cgroup, pod_name};
use support::{PATIENCE, everything, exec, exit, fork, in_cgroup, outside, running, selection};

const PODS: u64 = 1_000;
const CHANGES_A_SECOND: u32 = 100;

const EXECS_A_SECOND: u32 = 5_000;
const SECONDS: u32 = 4;
const EXECS: u32 = SECONDS * EXECS_A_SECOND;
/// Of so many processes, the first few are the first ones of a container.
const EXECS_PER_NEWCOMER: u32 = 500;
const FIRST_PROCESSES: u32 = 3;
const NEWCOMERS: u32 = EXECS / EXECS_PER_NEWCOMER;
/// One of so many of these containers is never told of.
const ONE_NEVER_APPEARS: u32 = 5;
const NEVER: u32 = NEWCOMERS / ONE_NEVER_APPEARS;
/// One of so many processes runs on the host.
const ONE_ON_HOST: u32 = 10;

const FIRST_PID: u32 = 1_000;
/// An exec and an exit.
const FACTS_PER_PROCESS: u32 = 2;

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Host,
    /// A container that was there before.
    Known(u64),
    /// A container whose first processes precede the news of it.
    Newcomer(u32),
}

impl Place {
    fn of(process: u32) -> Self {
        if process % EXECS_PER_NEWCOMER < FIRST_PROCESSES {
            Self::Newcomer(process / EXECS_PER_NEWCOMER)
        } else if process.is_multiple_of(ONE_ON_HOST) {
            Self::Host
        } else {
            Self::Known(u64::from(process) * 7_919 % (2 * PODS))
        }
    }

    fn container(self) -> Option<u64> {
        match self {
            Self::Host => None,
            Self::Known(container) => Some(container),
            Self::Newcomer(number) => Some((1 << 40) + u64::from(number)),
        }
    }

    /// The pod that is to be told. `None`: none.
    fn pod(self) -> Option<String> {
        match self {
            Self::Host => None,
            Self::Known(container) => Some(pod_name(container / 2)),
            Self::Newcomer(number) => appears(number).then(|| newcomer_name(number)),
        }
    }
}

fn appears(newcomer: u32) -> bool {
    !newcomer.is_multiple_of(ONE_NEVER_APPEARS)
}

fn newcomer_name(number: u32) -> String {
    format!("late-{number}")
}

/// Starts processes at a steady rate.
struct Load {
    begin: Option<Instant>,
    started: u32,
    /// Where each process runs.
    cgroups: HashMap<u64, &'static [u8]>,
    /// Containers of which the first processes have ended.
    newcomers: Sender<u32>,
    figures: Arc<Mutex<Figures>>,
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// From the first process to the last.
    took: Duration,
    /// CPU time of the pipeline's thread until then.
    cpu: Duration,
}

impl Load {
    fn new(newcomers: Sender<u32>, figures: Arc<Mutex<Figures>>) -> Self {
        let containers = (0..EXECS).filter_map(|process| Place::of(process).container());
        let cgroups = containers.map(|container| (container, cgroup(container))).collect();
        Self { begin: None, started: 0, cgroups, newcomers, figures }
    }

    fn start_one(&mut self, sink: Sink<'_>) {
        let process = self.started;
        self.started += 1;
        let (pid, place) = (FIRST_PID + process, Place::of(process));
        let placed = |event| match place.container() {
            Some(container) => in_cgroup(self.cgroups[&container], event),
            None => outside(event),
        };
        sink(&placed(fork(1, pid)));
        sink(&placed(exec(pid, 1)));
        sink(&exit(pid, 0));
        if let Place::Newcomer(number) = place
            && process % EXECS_PER_NEWCOMER == FIRST_PROCESSES - 1
        {
            self.newcomers.send(number).expect("the cluster listens until all is over");
        }
    }
}

impl Source for Load {
    fn kind(&self) -> SourceKind {
        SourceKind::Polling
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        sink(&running(1, ProcessKey::NONE));
        Ok(())
    }

    /// As the sensor does, this lets events wait for as long as it may.
    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        thread::sleep(timeout);
        let begin = *self.begin.get_or_insert_with(Instant::now);
        let due = begin.elapsed().as_secs_f64() * f64::from(EXECS_A_SECOND);
        while self.started < EXECS && f64::from(self.started) < due {
            self.start_one(sink);
            if self.started == EXECS {
                let cpu = cpu_time(ClockId::ThreadCPUTime);
                *self.figures.lock().expect("nobody panics with it") = Figures { took: begin.elapsed(), cpu };
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), SourceError> {
        Ok(())
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

fn cpu_time(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().expect("such a clock begins at zero")
}

/// Changes pods, and lets containers appear 200 to 500 ms after their first processes.
fn run_cluster(node: &Node, newcomers: &Receiver<u32>, is_over: &AtomicBool) {
    let delay = |number: u32| Duration::from_millis(200 + u64::from(number * 61 % 300));
    let (begin, mut coming) = (Instant::now(), Vec::new());
    for change in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        coming.extend(
            newcomers
                .try_iter()
                .filter(|number| appears(*number))
                .map(|number| (now + delay(number), number)),
        );
        for (_, number) in coming.extract_if(.., |(time, _)| *time <= now) {
            let container = Place::Newcomer(number).container().expect("a newcomer is a container");
            node.run_one(&newcomer_name(number), container);
        }
        node.restart_one();
        let next = begin + change * Duration::from_secs(1) / CHANGES_A_SECOND;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Looks at each fact that is told: that it says whose it is, and comes once and in order.
#[derive(Default)]
struct Reader {
    /// Facts that were told of each process.
    told: HashMap<u32, u32>,
    incomplete: u32,
}

impl Reader {
    fn read(&mut self, told: &Told) {
        let process = &told.fact.process;
        let pid = process.pid().0;
        let place = Place::of(pid - FIRST_PID);
        let pod = told.whose(process).and_then(|whose| Some(whose.pod()?.name.to_owned()));
        assert_eq!(pod, place.pod(), "{place:?}");
        assert_eq!(told.is_complete, place == Place::Host || pod.is_some(), "{place:?}");
        assert_eq!(place == Place::Host, ContainerId::of_process(process).is_none(), "{place:?}");
        self.incomplete += u32::from(!told.is_complete);
        let so_far = self.told.entry(pid).or_default();
        match told.fact.kind {
            FactKind::Exec => assert_eq!(*so_far, 0, "the exec of {pid} comes first"),
            FactKind::Exit { .. } => assert_eq!(*so_far, 1, "the exit of {pid} comes second"),
            kind => panic!("nobody asked for {kind:?}"),
        }
        *so_far += 1;
    }

    fn count(&self) -> u32 {
        self.told.values().sum()
    }
}

fn config() -> ObservationConfig {
    let filter = Filter::new(Kinds::default());
    ObservationConfig {
        selection: Selection { filter, ..selection(Scope::Everything) },
        // Nothing is given up, however slow the machine.
        hold: HoldConfig { wait: 2 * PATIENCE, ..HoldConfig::default() },
        queue: (EXECS * FACTS_PER_PROCESS) as usize,
        queue_bytes: usize::MAX,
        ..everything()
    }
}

/// Observes until all is told but what is never told whose it is, and then to the end.
fn observe(node: &Node, reader: &mut Reader, figures: &Arc<Mutex<Figures>>) -> Account {
    let (sender, newcomers) = unbounded();
    // A container that is gone before the first list is known to nobody.
    let inventory = node.inventory();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Before anything can fail: what fails must end the thread too.
        let over = Over(&is_over);
        scope.spawn(|| run_cluster(node, &newcomers, &is_over));
        let load = Load::new(sender, Arc::clone(figures));
        let observation = Observation::start(Box::new(load), config(), Box::new(inventory)).unwrap();
        while reader.count() < (EXECS - NEVER * FIRST_PROCESSES) * FACTS_PER_PROCESS {
            reader.read(&observation.told().recv_timeout(PATIENCE).expect("more is told"));
        }
        assert_eq!(reader.incomplete, 0, "what is incomplete waits to the end");
        drop(over);
        observation.stop();
        observation.told().iter().for_each(|told| reader.read(&told));
        observation.join().unwrap()
    })
}

/// Says when it is dropped that all is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn on_a_busy_node_only_the_first_facts_of_a_container_wait() {
    let node = Node::with_pods(PODS);
    let figures = Arc::default();
    let mut reader = Reader::default();
    let account = observe(&node, &mut reader, &figures);
    report(&node, *figures.lock().unwrap(), &account);

    let facts_of = |containers: u32| u64::from(containers * FIRST_PROCESSES * FACTS_PER_PROCESS);
    assert_eq!(reader.count(), EXECS * FACTS_PER_PROCESS, "nothing is lost");
    assert_eq!(u64::from(reader.incomplete), facts_of(NEVER));
    // That so many waited, and their facts are as many, says that no other did.
    let hold = HoldCounts {
        held: facts_of(NEWCOMERS),
        answered: facts_of(NEWCOMERS - NEVER),
        expired: facts_of(NEVER),
        ..HoldCounts::default()
    };
    assert_eq!(account.told, TellCounts { hold, incomplete: facts_of(NEVER), unplaced: 0 });
    assert_eq!(account.dropped, 0);
    assert_eq!(account.inventory.pods.map(|pods| pods.phase), Some(Phase::Synced));
}

fn report(node: &Node, figures: Figures, account: &Account) {
    let Figures { took, cpu } = figures;
    let facts = f64::from(EXECS * FACTS_PER_PROCESS);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{:.0} execs a second for {:.1} s, among {} changes of pods; {} of {facts} facts waited",
        f64::from(EXECS) / took.as_secs_f64(),
        took.as_secs_f64(),
        node.restarts(),
        account.told.hold.held,
    );
    println!(
        "CPU time: {:.1} µs a fact in the pipeline, its events included; {:.1} µs in the whole test",
        micros(cpu) / facts,
        micros(cpu_time(ClockId::ProcessCPUTime)) / facts,
    );
}
