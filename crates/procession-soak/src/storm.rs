//! The storm: performers, how many acts they may play, and what they say they did.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::place::Place;
use crate::plan::{Counts, FIRST_HELD, Plan};

/// Longer than any act takes on the busiest machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What performers say they did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) acts: u64,
    pub(crate) counts: Counts,
    /// Acts of which a process did not end as planned: then there is no truth to compare with.
    astray: Vec<u64>,
}

/// A process that performs acts.
#[derive(Debug)]
struct Performer {
    child: Child,
    orders: Option<ChildStdin>,
    number: usize,
    /// Numbers that it was sent and has not answered.
    unanswered: u64,
    done: Done,
}

impl Performer {
    fn start(
        place: &Place,
        words: [u64; 4],
        number: usize,
        answers: &Sender<(usize, String)>,
    ) -> Result<Self> {
        let mut command = Command::new(&place.actor);
        command.arg("soak").args(words.map(|word| word.to_string())).current_dir(place.stage());
        // Not what the terminal sends to this program: it ends when nobody gives it orders any more.
        command.process_group(0).env_clear();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let orders = child.stdin.take();
        let output = child.stdout.take().context("it has an output")?;
        let answers = answers.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if answers.send((number, line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, orders, number, unanswered: 0, done: Done::default() })
    }

    fn order(&mut self, limit: u64) -> Result<()> {
        let orders = self.orders.as_mut().context("it takes orders")?;
        writeln!(orders, "{limit}").with_context(|| format!("performer {} is gone", self.number))?;
        self.unanswered += 1;
        Ok(())
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let numbers = numbers.with_context(|| format!("a performer says {line:?}"))?;
        let [acts, lives, execs, astray @ ..] = &numbers[..] else { bail!("a performer says {line:?}") };
        self.done.acts = *acts;
        self.done.counts = Counts { lives: *lives, execs: *execs };
        self.done.astray.extend(astray);
        self.unanswered -= 1;
        Ok(())
    }
}

impl Drop for Performer {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It ends after its act. One that does not is ended, and what it leaves with its group.
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// All of them, and what they may play.
#[derive(Debug)]
pub(crate) struct Storm {
    run: u32,
    seed: u64,
    performers: Vec<Performer>,
    holder: Performer,
    answers: Receiver<(usize, String)>,
    /// Acts below this number may be played.
    pub(crate) limit: u64,
    /// Processes that live in these.
    granted: u64,
    /// Held acts that were begun.
    held: u64,
}

impl Storm {
    pub(crate) fn new(place: &Place, run: u32, seed: u64, performers: u16) -> Result<Self> {
        let (sender, answers) = channel();
        let words = |first, of| [run.into(), seed, first, of];
        let start = |number: u16| {
            let words = words(number.into(), performers.into());
            Performer::start(place, words, number.into(), &sender)
        };
        let all = (0..performers).map(start).collect::<Result<Vec<_>>>()?;
        let holder = Performer::start(place, words(FIRST_HELD, 1), all.len(), &sender)?;
        Ok(Self { run, seed, performers: all, holder, answers, limit: 0, granted: 0, held: 0 })
    }

    /// Who performs, for what they use of the machine.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.performers.iter().chain([&self.holder]).map(|performer| performer.child.id()).collect()
    }

    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Allows as many acts as make so many lives in all since the beginning, but no more than performers
    /// may be behind.
    pub(crate) fn allow(&mut self, lives: u64) -> Result<()> {
        self.hear(Duration::ZERO)?;
        let most = 2 * self.performers.len() as u64;
        if self.performers.iter().map(|performer| performer.unanswered).sum::<u64>() > most {
            return Ok(());
        }
        let before = self.limit;
        while self.granted < lives {
            self.granted += Plan::new(self.seed, self.limit).counts().lives;
            self.limit += 1;
        }
        if self.limit != before {
            for performer in &mut self.performers {
                performer.order(self.limit)?;
            }
        }
        Ok(())
    }

    /// So many lives were allowed so far.
    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// Lets go of the held act, and begins another if so wanted.
    pub(crate) fn hold(&mut self, another: bool) -> Result<()> {
        // An order for what was performed already lets go alone.
        self.held += u64::from(another);
        self.holder.order(FIRST_HELD + self.held)?;
        self.wait()
    }

    /// The held act that lives now.
    pub(crate) fn held(&self) -> u64 {
        FIRST_HELD + self.held - 1
    }

    /// Waits until all that is allowed was played.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.performers.iter().chain([&self.holder]).any(|performer| performer.unanswered > 0) {
            self.hear(Duration::from_millis(100))?;
            if Instant::now() > deadline {
                bail!("an act does not come to its end: the storm is at act {}", self.limit);
            }
        }
        Ok(())
    }

    /// Takes note of what performers say, and waits for the first of that.
    fn hear(&mut self, wait: Duration) -> Result<()> {
        let mut next = self.answers.recv_timeout(wait).ok();
        while let Some((number, line)) = next {
            let performer = self.performers.get_mut(number).unwrap_or(&mut self.holder);
            performer.take(&line)?;
            next = self.answers.try_recv().ok();
        }
        for performer in self.performers.iter_mut().chain([&mut self.holder]) {
            if let Some(status) = performer.child.try_wait()? {
                bail!("performer {} has ended with {status}", performer.number);
            }
        }
        Ok(())
    }

    /// Acts that went astray since this was asked last.
    pub(crate) fn take_astray(&mut self) -> Vec<u64> {
        let all = self.performers.iter_mut().chain([&mut self.holder]);
        all.flat_map(|performer| std::mem::take(&mut performer.done.astray)).collect()
    }

    /// What was done so far.
    pub(crate) fn done(&self) -> Done {
        let mut all = Done::default();
        for performer in self.performers.iter().chain([&self.holder]) {
            all.acts += performer.done.acts;
            all.counts.lives += performer.done.counts.lives;
            all.counts.execs += performer.done.counts.execs;
        }
        all
    }
}
