//! The run: what is started in which order, how the storm is paced, and what is checked when.

mod checks;
mod records;
mod verdict;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::runtime::{self, Handle, Runtime};

use crate::agent::{Agent, log_of};
use crate::args::Args;
use crate::book::Book;
use crate::clients::{Asker, Pace, Reader};
use crate::containers::Containers;
use crate::machine::{self, Usage};
use crate::metrics::Metrics;
use crate::pages::{self, Page};
use crate::place::{PidMax, Place};
use crate::plan::FIRST_CONTAINER;
use crate::programs::Programs;
use crate::samples::{self, Sampler, Subjects, to_float};
use crate::storm::Storm;
use crate::tell::{Progress, show, tell};
use crate::{plot, report};
use checks::Losses;
use records::Written;
pub(crate) use verdict::Verdict;

/// How often performers are told what they may play.
const TICK: Duration = Duration::from_millis(50);

/// From one page to the next.
const PAGE: Duration = Duration::from_secs(1);

/// A run under way.
struct Soak<'a> {
    args: &'a Args,
    // In the order in which they end: who asks, who performs, who is asked.
    asker: Asker,
    reader: Reader,
    slow: Reader,
    containers: Option<Containers>,
    storm: Storm,
    sampler: Sampler,
    agent: Option<Agent>,
    runtime: Runtime,
    book: Arc<Mutex<Book>>,
    subjects: Arc<Subjects>,
    verdict: Verdict,
    /// One of the last checkpoint, and one for each second since.
    pages: Vec<Page>,
    /// The pid that was given last when the last page was turned.
    last_pid: u32,
    /// Marks that were made.
    mark: u64,
    /// The mark of the checkpoint before.
    last_mark: u64,
    /// The first act and container that the last checkpoint did not see.
    unsettled: (u64, u64),
    losses: Losses,
    written: Written,
    begin: Instant,
    /// What the agent took when all its clients had come.
    usage: Usage,
    is_over: Arc<AtomicBool>,
    /// For when the agent is killed.
    random: u64,
    _pid_max: Option<PidMax>,
    place: Place,
}

/// Whether all agreed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    ensure!(geteuid().is_root(), "this needs root: it observes all processes, and becomes other users");
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_over))?;
    }
    let programs = Programs::find(args)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    tell(&format!("seed {seed}, {} lives a second for {:?}", args.rate, args.duration));
    let mut soak = Soak::start(args, &programs, seed, is_over)?;
    let outcome = soak.storm_until_it_is_over().and_then(|()| soak.checkpoint());
    if let Err(error) = outcome.and_then(|()| soak.final_checks()) {
        // What was measured until then is told all the same.
        soak.verdict.failures.push(format!("{error:#}"));
    }
    soak.end()
}

/// So that no two runs are alike unless somebody wants that.
fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()) << 32
}

impl<'a> Soak<'a> {
    /// Starts all that takes part, and the time.
    fn start(args: &'a Args, programs: &Programs, seed: u64, is_over: Arc<AtomicBool>) -> Result<Self> {
        let mut soak = Self::set_up(args, programs, seed, is_over)?;
        soak.last_mark = soak.make_mark()?;
        soak.slow.set_pace(Pace::Slow);
        soak.begin = Instant::now();
        Ok(soak)
    }

    fn set_up(args: &'a Args, programs: &Programs, seed: u64, is_over: Arc<AtomicBool>) -> Result<Self> {
        let place = Place::new(programs, args.keep)?;
        let pid_max = limit_pids(args)?;
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let run = std::process::id();
        let agent = Agent::start(&place, args)?;
        let book = open_book(args, &place, run, seed)?;
        let (reader, slow) = start_readers(runtime.handle(), &place, run, &book)?;
        let asker = Asker::start(runtime.handle(), place.agent.clone(), place.socket());
        let first_page = first_page()?;
        let mut storm = Storm::new(&place, run, seed, args.performers)?;
        let mut verdict = Verdict { pid_max: machine::pid_max().unwrap_or(0), ..Verdict::default() };
        let containers = start_containers(&place, run, seed, &mut verdict)?;
        let subjects = Arc::new(Subjects::new(storm.pids()));
        subjects.set_agent(agent.pid(), &agent.metrics);
        let sampler = Sampler::start(Arc::clone(&subjects));
        storm.hold(true)?;
        let usage = machine::usage(agent.pid()).unwrap_or_default();
        Ok(Self {
            args,
            asker,
            reader,
            slow,
            containers,
            storm,
            sampler,
            agent: Some(agent),
            runtime,
            book,
            subjects,
            verdict,
            pages: vec![first_page],
            last_pid: 0,
            mark: 0,
            last_mark: 0,
            unsettled: (0, 0),
            losses: Losses::default(),
            written: Written::default(),
            begin: Instant::now(),
            usage,
            is_over,
            random: seed,
            _pid_max: pid_max,
            place,
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metrics(&self) -> Result<Metrics> {
        Metrics::of(&self.agent()?.metrics)
    }

    fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("there is no agent")
    }

    fn storm_until_it_is_over(&mut self) -> Result<()> {
        let mut progress = Progress::new();
        let mut next_checkpoint = self.begin + self.args.checkpoint;
        let mut next_restart = self.next_restart();
        let mut next_page = self.begin + PAGE;
        // The storm's own time: it stands still while it is checked.
        let (mut blown, mut last) = (Duration::ZERO, Instant::now());
        let mut owed = 0.0;
        while self.begin.elapsed() < self.args.duration && !self.is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            let step = now - std::mem::replace(&mut last, now);
            blown += step;
            // A machine that does not keep up does not owe more and more.
            owed =
                (owed + step.as_secs_f64() * f64::from(self.args.rate)).min(2.0 * f64::from(self.args.rate));
            let before = self.storm.granted();
            self.storm.allow(before + whole(owed))?;
            owed -= to_float(self.storm.granted() - before);
            if next_restart.is_some_and(|next| now >= next) {
                self.restart()?;
                next_restart = self.next_restart();
            }
            if now >= next_page {
                self.turn_page();
                next_page = now + PAGE;
            }
            if now >= next_checkpoint {
                self.checkpoint()?;
                self.storm.hold(true)?;
                self.go_on();
                next_checkpoint = Instant::now() + self.args.checkpoint;
                last = Instant::now();
            }
            self.stop_if_the_agent_is_gone()?;
            progress.maybe(|| self.progress());
            thread::sleep(TICK);
        }
        self.verdict.blown = blown;
        Ok(())
    }

    /// While the storm goes on: the container that runs now may have begun before.
    fn turn_page(&mut self) {
        let page = Page::now(|| (self.storm.limit, self.containers_played() + 1));
        self.pages.push(page);
        // They come round less than once a second.
        let pid = machine::last_pid().unwrap_or(self.last_pid);
        self.verdict.pid_rounds += u64::from(pid < self.last_pid);
        self.last_pid = pid;
    }

    fn go_on(&self) {
        if let Some(containers) = &self.containers {
            containers.go_on();
        }
        self.slow.set_pace(Pace::Slow);
    }

    fn progress(&self) -> String {
        let sample = self.sampler.last().unwrap_or_default();
        let done = self.storm.done();
        format!(
            "{:>5} s: {} lives, {} execs; agent {:.1} MiB, {:.0} % CPU; {} records lost; {} failures",
            self.begin.elapsed().as_secs(),
            done.counts.lives,
            done.counts.execs,
            to_float(sample.resident_bytes) / f64::from(1 << 20),
            100.0 * sample.agent_cpu,
            sample.lost,
            self.verdict.failures.len(),
        )
    }

    fn stop_if_the_agent_is_gone(&mut self) -> Result<()> {
        let ended = self.agent.as_mut().and_then(Agent::has_ended);
        match ended {
            Some(status) => anyhow::bail!("the agent has ended with {status}:\n{}", log_of(&self.place)),
            None => Ok(()),
        }
    }

    /// Between half and one and a half of the time that was asked for.
    fn next_restart(&mut self) -> Option<Instant> {
        let every = self.args.restart_every?;
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let percent = u32::try_from(50 + (self.random >> 33) % 100).unwrap_or(100);
        Some(Instant::now() + every * percent / 100)
    }

    fn restart(&mut self) -> Result<()> {
        self.asker.excuse(true);
        self.verdict.restarts += 1;
        if let Some(agent) = self.agent.take() {
            agent.kill()?;
        }
        let agent = Agent::start(&self.place, self.args)?;
        self.subjects.set_agent(agent.pid(), &agent.metrics);
        self.agent = Some(agent);
        let (reader, slow) = (&self.reader, &self.slow);
        wait_for("the clients to come again", || reader.is_reading() && slow.is_reading())?;
        self.asker.excuse(false);
        Ok(())
    }

    fn end(self) -> Result<bool> {
        let samples = self.sampler.all();
        if let Some(path) = &self.args.samples {
            samples::write(path, &samples)?;
        }
        if let Some(path) = &self.args.plot {
            plot::draw(path, &samples)?;
        }
        let text = report::markdown(self.args, self.storm.seed(), &self.verdict, &samples);
        if let Some(path) = &self.args.report {
            std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        show(&plot::text(&samples));
        show(&text);
        for failure in &self.verdict.failures {
            tell(&format!("DIFFERS: {failure}"));
        }
        if self.args.keep {
            tell(&format!("kept: {}", self.place.home().display()));
        }
        Ok(self.verdict.failures.is_empty())
    }

    /// Containers that were played and are not settled yet.
    fn containers_played(&self) -> u64 {
        self.containers.as_ref().map_or(0, Containers::played)
    }

    /// Acts and containers that were played since the last checkpoint.
    fn played(&self) -> impl Iterator<Item = u64> + use<> {
        let (act, container) = self.unsettled;
        let containers = FIRST_CONTAINER + container..FIRST_CONTAINER + self.containers_played();
        (act..self.storm.limit).chain(containers)
    }
}

/// Lets pids come round, if that is wanted.
fn limit_pids(args: &Args) -> Result<Option<PidMax>> {
    match args.pid_max {
        Some(limit) => PidMax::set(limit).map(Some),
        None if args.ci => PidMax::low().map(Some),
        None => Ok(None),
    }
}

/// Before anything is played, and after something that every record has.
fn first_page() -> Result<Page> {
    Command::new("/bin/true").stdin(Stdio::null()).status().context("cannot run true")?;
    thread::sleep(pages::MARGIN + TICK);
    Ok(Page::now(|| (0, 0)))
}

/// For what the fast reader is told.
fn open_book(args: &Args, place: &Place, run: u32, seed: u64) -> Result<Arc<Mutex<Book>>> {
    let actor = place.actor.to_str().context("the path of the actor is not UTF-8")?.to_owned();
    let mut book = Book::new(run, seed, actor);
    book.tells_twice = args.restart_every.is_some();
    Ok(Arc::new(Mutex::new(book)))
}

/// The fast reader, whose book that is, and the slow one.
fn start_readers(
    runtime: &Handle,
    place: &Place,
    run: u32,
    book: &Arc<Mutex<Book>>,
) -> Result<(Reader, Reader)> {
    let marks = mark_of(run);
    let reader = Reader::start(runtime, place.socket(), marks.clone(), Some(Arc::clone(book)));
    let slow = Reader::start(runtime, place.socket(), marks, None);
    wait_for("the clients", || reader.is_reading() && slow.is_reading())?;
    Ok((reader, slow))
}

/// `None` where there can be none, which is noted.
fn start_containers(place: &Place, run: u32, seed: u64, verdict: &mut Verdict) -> Result<Option<Containers>> {
    match Containers::shortcoming() {
        None => Containers::start(place.home(), run, seed).map(Some),
        Some(why) => {
            verdict.note(format!("no containers: {why}"));
            Ok(None)
        }
    }
}

/// What the arguments of a mark begin with.
fn mark_of(run: u32) -> String {
    format!("soak-mark:{run}:")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of processes")]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

/// Waits, but not for ever.
fn wait_for(what: &str, is_there: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !is_there() {
        ensure!(Instant::now() < deadline, "{what}: not there after two minutes");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
