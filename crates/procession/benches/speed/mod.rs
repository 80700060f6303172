//! The rows that are about time. Inputs are made outside of what is timed.

use std::collections::VecDeque;
use std::hint::black_box;
use std::iter::zip;
use std::sync::mpsc;
use std::thread;

use procession::{Arguments as Argv, BootTime, ProcessKey};

use crate::baseline::decode_arguments;
use crate::measure::Cost;
use crate::systems::{Ours, Processes, Theirs};
use crate::workload::{Arguments, BEGIN, Dice, NODE, SECOND, Who};

/// One line of the result.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) ours: Cost,
    pub(crate) baseline: Cost,
}

impl Row {
    /// How much more time the baseline takes.
    pub(crate) fn ratio(&self) -> f64 {
        self.baseline.nanos / self.ours.nanos
    }
}

/// Lets the two take turns, so that a machine that gets slower or faster in between treats them
/// alike; the first round of each is not counted.
fn compare(
    name: &'static str,
    rounds: usize,
    mut ours: impl FnMut() -> Cost,
    mut baseline: impl FnMut() -> Cost,
) -> Row {
    let costs: Vec<_> = (0..=rounds).map(|_| (ours(), baseline())).skip(1).collect();
    let (ours, baseline): (Vec<_>, Vec<_>) = costs.into_iter().unzip();
    Row { name, ours: Cost::median(&ours), baseline: Cost::median(&baseline) }
}

/// Rounds in a thread of their own, with what `make` keeps between them: so that the allocator has
/// a heap for each side, and neither pays for what the other leaves behind.
fn apart<R: FnMut() -> Cost>(make: impl FnOnce() -> R + Send + 'static) -> impl FnMut() -> Cost {
    let (ask, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    thread::spawn(move || {
        let mut round = make();
        while asked.recv().is_ok() {
            let _ = answer.send(round());
        }
    });
    move || {
        let _ = ask.send(());
        answers.recv().unwrap_or_default()
    }
}

/// Live processes where a full table is wanted: as many as a cache of 65,536 entries can hold
/// beside the parents and what has just ended.
const FULL: u32 = 60_000;
const CAPACITY: usize = 65_536;
const BATCH: u32 = 8_192;
const MILLISECOND: u64 = 1_000_000;

/// A full table in which processes come and go in batches. The time of the steps of a batch is
/// such that one old entry goes for each that is timed, as in the baseline's full cache.
struct Churn {
    ours: Ours,
    live: VecDeque<Who>,
    next: u32,
    now: u64,
}

impl Churn {
    fn new() -> Self {
        let mut churn = Self { ours: Ours::new(0), live: VecDeque::new(), next: 0, now: BEGIN };
        let (batch, _) = churn.batch(FULL);
        for (who, arguments) in batch {
            churn.ours.fork(who);
            churn.ours.exec(who, &arguments);
        }
        churn.now += 100 * SECOND;
        churn
    }

    /// The next `count` processes: forked and running from one grace time after now.
    fn batch(&mut self, count: u32) -> (Vec<(Who, Arguments)>, u64) {
        let begin = self.now + 30 * SECOND;
        let numbers = self.next..self.next + count;
        self.next += count;
        let batch = zip(numbers, 0_u64..).map(|(number, i)| {
            let forked = begin - 15 * SECOND + i * MILLISECOND;
            Who { number, forked, execed: forked + 15 * SECOND }
        });
        let batch: Vec<_> = batch.map(|who| (who, Arguments::of(who))).collect();
        self.live.extend(batch.iter().map(|(who, _)| *who));
        (batch, begin)
    }

    fn end_oldest(&mut self) {
        for i in 0..u64::from(BATCH) {
            if let Some(who) = self.live.pop_front() {
                self.ours.exit(who, self.now + i * MILLISECOND);
            }
        }
    }

    fn execs(&mut self) -> Cost {
        self.end_oldest();
        let (batch, begin) = self.batch(BATCH);
        for (who, _) in &batch {
            self.ours.fork(*who);
        }
        let cost = Cost::of(BATCH, || {
            for (who, arguments) in &batch {
                self.ours.exec(*who, arguments);
            }
        });
        self.now = begin + 20 * SECOND;
        cost
    }

    fn forks(&mut self) -> Cost {
        self.end_oldest();
        self.now += 15 * SECOND;
        let (batch, begin) = self.batch(BATCH);
        let cost = Cost::of(BATCH, || batch.iter().for_each(|(who, _)| self.ours.fork(*who)));
        for (who, arguments) in &batch {
            self.ours.exec(*who, arguments);
        }
        self.now = begin + 50 * SECOND;
        cost
    }
}

/// A full cache that is given one batch after the other.
struct Stream {
    theirs: Theirs,
    next: u32,
}

impl Stream {
    fn new(step: fn(&Theirs, Who, &Arguments)) -> Self {
        let mut stream = Self { theirs: Theirs::new(CAPACITY), next: 0 };
        for _ in 0..=FULL / BATCH {
            let _ = stream.round(step);
        }
        stream
    }

    fn round(&mut self, step: fn(&Theirs, Who, &Arguments)) -> Cost {
        let numbers = self.next..self.next + BATCH;
        self.next += BATCH;
        let batch = numbers.map(|number| Who::new(number, BEGIN + u64::from(number) * 1_000));
        let batch: Vec<_> = batch.map(|who| (who, Arguments::of(who))).collect();
        Cost::of(BATCH, || {
            for (who, arguments) in &batch {
                step(&self.theirs, *who, arguments);
            }
        })
    }
}

/// A and B.
pub(crate) fn births() -> Vec<Row> {
    let ours = |round: fn(&mut Churn) -> Cost| {
        apart(move || {
            let mut churn = Churn::new();
            move || round(&mut churn)
        })
    };
    let theirs = |step: fn(&Theirs, Who, &Arguments)| {
        apart(move || {
            let mut stream = Stream::new(step);
            move || stream.round(step)
        })
    };
    let add_exec = |theirs: &Theirs, who, arguments: &Arguments| {
        black_box(theirs.cache.add_exec(black_box(&Theirs::exec_event(who, arguments, None))));
    };
    let add_clone = |theirs: &Theirs, who, _: &Arguments| {
        let added = theirs.cache.add_clone(black_box(&Theirs::clone_event(who)));
        assert!(black_box(added).is_ok(), "the parent is cached");
    };
    vec![
        compare("A   exec, full table", 9, ours(Churn::execs), theirs(add_exec)),
        compare("B   fork, full table", 9, ours(Churn::forks), theirs(add_clone)),
    ]
}

/// Processes that live, with others coming in the place of those that go.
pub(crate) struct Population<S> {
    pub(crate) system: S,
    live: Vec<Who>,
    next: u32,
    now: u64,
    /// Nanoseconds from one birth to the next: one in 64 of the processes dies per grace time.
    step: u64,
    arguments: Arguments,
}

impl<S: Processes> Population<S> {
    pub(crate) fn new(size: u32) -> Self {
        let capacity = size as usize + size as usize / 8 + 2_000;
        let mut population = Self {
            system: S::new(capacity.max(CAPACITY)),
            live: Vec::with_capacity(size as usize),
            next: 0,
            now: BEGIN,
            step: 30 * SECOND * 64 / u64::from(size),
            arguments: Arguments::default(),
        };
        for _ in 0..size {
            let who = population.next();
            population.arguments.set(who);
            population.system.fork(who);
            population.system.exec(who, &population.arguments);
            population.live.push(who);
        }
        population
    }

    fn next(&mut self) -> Who {
        let who = Who::new(self.next, self.now);
        self.next += 1;
        self.now += self.step;
        who
    }

    /// Until nothing is kept but what lives.
    pub(crate) fn settle(&mut self) {
        self.now += 100 * SECOND;
        self.system.advance(self.now);
    }

    /// The cost per event when `count` processes go, each one at random, and others come.
    fn churn(&mut self, count: u32, dice: &mut Dice) -> Cost {
        let births: Vec<_> = (0..count).map(|_| self.next()).collect();
        let births: Vec<_> = births.into_iter().map(|who| (who, Arguments::of(who))).collect();
        let places: Vec<_> = births.iter().map(|_| dice.below(self.live.len())).collect();
        let (system, live) = (&mut self.system, &mut self.live);
        Cost::of(count * 3, || {
            for ((who, arguments), place) in zip(&births, places) {
                system.exit(std::mem::replace(&mut live[place], *who), who.forked);
                system.fork(*who);
                system.exec(*who, arguments);
            }
        })
    }

    /// The keys of `count` of the first `among`, at random.
    fn keys(&self, count: u32, among: usize, dice: &mut Dice) -> Vec<ProcessKey> {
        let among = among.min(self.live.len());
        (0..count).map(|_| self.live[dice.below(among)].key_of_exec()).collect()
    }

    fn finds(&self, keys: &[ProcessKey]) -> Cost {
        cost_each(keys, |key| self.system.find_both(*key))
    }
}

fn cost_each<T, R>(items: &[T], mut work: impl FnMut(&T) -> R) -> Cost {
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    Cost::of(count, || {
        for item in items {
            black_box(work(black_box(item)));
        }
    })
}

const LOOKUPS: u32 = 50_000;

/// C1 to C4.
pub(crate) fn lookups() -> Vec<Row> {
    let (mut ours, mut theirs) = (Population::<Ours>::new(FULL), Population::<Theirs>::new(FULL));
    ours.settle();
    theirs.settle();
    let mut dice = Dice(1);
    let (hot, random) = (ours.keys(LOOKUPS, 64, &mut dice), ours.keys(LOOKUPS, usize::MAX, &mut dice));
    assert!(random.iter().all(|key| ours.system.find_both(*key) && theirs.system.find_both(*key)));
    let absent: Vec<_> = random.iter().map(|key| ProcessKey::new(key.pid, BootTime::from_nanos(7))).collect();
    let (cache, table) = (&theirs.system.cache, &ours.system);

    let get = |name, keys: &[ProcessKey]| {
        let exec_ids: Vec<_> = keys.iter().map(|key| cache.exec_id(*key)).collect();
        compare(
            name,
            9,
            || cost_each(keys, |key| table.find_one(*key)),
            || cost_each(&exec_ids, |exec_id| cache.get(exec_id)),
        )
    };
    vec![
        get("C1  get by key / exec_id, hot", &hot),
        get("C1  get by key / exec_id, random", &random),
        compare("C2  process and parent, hot", 9, || ours.finds(&hot), || theirs.finds(&hot)),
        compare("C2  process and parent, random", 9, || ours.finds(&random), || theirs.finds(&random)),
        compare("C3  miss", 9, || ours.finds(&absent), || theirs.finds(&absent)),
        compare(
            "C4  exec_id text",
            9,
            || cost_each(&random, |key| key.exec_id(NODE)),
            || cost_each(&random, |key| cache.exec_id(*key)),
        ),
    ]
}

/// D.
pub(crate) fn arguments() -> Vec<Row> {
    let row = |name, decode: fn(Argv<'_>) -> usize, arguments: &Arguments| {
        let items = [(); 500];
        let ours = || cost_each(&items, |()| decode(black_box(Argv::complete(arguments.argv()))));
        compare(name, 21, ours, || cost_each(&items, |()| decode_arguments(black_box(arguments.block()), 0)))
    };
    let text = |argv: Argv<'_>| black_box(argv.joined(true)).len();
    // The baseline has no list, and makes its text here too.
    let list = |argv: Argv<'_>| argv.iter().map(black_box).count();
    let (five, many) = (Arguments::of(Who::new(0, 0)), Arguments::many(200));
    vec![
        row("D   5 arguments, text", text, &five),
        row("D   200 arguments, text", text, &many),
        row("D   5 arguments, list", list, &five),
        row("D   200 arguments, list", list, &many),
    ]
}

/// Whole lifecycles, one after the other, at an even pace, so that what has ended goes at the
/// rate at which it comes: about 60,000 entries are there, and in the baseline as many as fit.
struct Lifecycles<S> {
    system: S,
    next: u32,
}

impl<S: Processes> Lifecycles<S> {
    fn new() -> Self {
        let mut lifecycles = Self { system: S::new(CAPACITY), next: 0 };
        // Until as many entries go as come.
        for _ in 0..5 {
            let _ = lifecycles.round();
        }
        lifecycles
    }

    fn round(&mut self) -> Cost {
        // Half a minute, so that each round has one tick of the baseline's collector.
        let count = 30_000 * 2 / S::ENTRIES_PER_LIFE;
        let pace = MILLISECOND * u64::from(S::ENTRIES_PER_LIFE) / 2;
        let numbers = self.next..self.next + count;
        self.next += count;
        let batch = numbers.map(|i| Who::new(i, BEGIN + u64::from(i) * pace));
        let batch: Vec<_> = batch.map(|who| (who, Arguments::of(who))).collect();
        let system = &mut self.system;
        let cost = Cost::of(count, || {
            for (who, arguments) in &batch {
                live(system, *who, arguments);
            }
        });
        let found = batch.iter().filter(|(who, _)| system.find_both(who.key_of_exec())).count();
        assert_eq!(found, batch.len(), "what has just ended is still there");
        cost
    }
}

/// The eight steps of a life.
pub(crate) fn live(system: &mut impl Processes, who: Who, arguments: &Arguments) {
    system.fork(who);
    system.exec(who, arguments);
    for _ in 0..5 {
        system.use_both(who);
    }
    system.exit(who, who.ended());
}

/// F.
pub(crate) fn lifecycle() -> Row {
    fn side<S: Processes>() -> impl FnMut() -> Cost {
        apart(|| {
            let mut lifecycles = Lifecycles::<S>::new();
            assert!(lifecycles.system.len() > 50_000, "{}", lifecycles.system.len());
            move || lifecycles.round()
        })
    }
    compare("F   whole lifecycle", 11, side::<Ours>(), side::<Theirs>())
}

/// Only one side of F, for a profiler to look at.
pub(crate) fn profile<S: Processes>(rounds: u32) -> Cost {
    let mut lifecycles = Lifecycles::<S>::new();
    Cost::median(&(0..rounds).map(|_| lifecycles.round()).collect::<Vec<_>>())
}

/// What one event and one lookup cost beside how many live processes.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) event: Cost,
    pub(crate) lookup: Cost,
}

/// One point of the curve, of the table or of the baseline.
pub(crate) fn point<S: Processes>(size: u32) -> Option<Point> {
    let measure = move || {
        let mut population = Population::<S>::new(size);
        let mut dice = Dice(u64::from(size));
        let events: Vec<_> = (0..8).map(|_| population.churn(BATCH, &mut dice)).skip(1).collect();
        let keys = population.keys(LOOKUPS, usize::MAX, &mut dice);
        assert!(keys.iter().all(|key| population.system.find_both(*key)), "who lives is there");
        let lookups: Vec<_> = (0..8).map(|_| population.finds(&keys)).skip(1).collect();
        Point { event: Cost::median(&events), lookup: Cost::median(&lookups) }
    };
    thread::spawn(measure).join().ok()
}
