//! What is compared at each checkpoint and at the end.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use procession_api::proto::procession::v1::{GetLineageRequest, Relation, Target, target};

use super::{Soak, mark_of};
use crate::agent::Agent;
use crate::clients::{Pace, lineage};
use crate::machine;
use crate::pages::Page;
use crate::plan::{FIRST_CONTAINER, Plan};
use crate::samples::{Sample, slope, spread, to_float};
use crate::tell::tell;
use crate::{identities, live};

/// Longer than readers are behind on the busiest machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// How much later than a mark something that came before it may be told on a machine that is busy otherwise.
const LATE: Duration = Duration::from_secs(20);

/// The agent's grace time for what has ended, and what it may be late.
const GRACE: Duration = Duration::from_secs(90);

/// Descriptors and threads that may come and go with connections.
const SLACK: u64 = 24;

/// What the agent may have of its own besides the limits of table and event queue: as much as it says that it may
/// need: the same number as `REST` in the program's `agent/memory.rs`, which is to change with it. Growth is looked for apart.
const REST: u64 = 96 << 20;

/// A held chain is longer than this.
const LONG_CHAIN: usize = 130;

/// What was counted as lost since the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    kernel: u64,
    dropped: u64,
    stream: u64,
    evicted_live: u64,
    breaks: u64,
}

impl Losses {
    fn since(self, before: Self) -> u64 {
        let all = |it: Self| it.kernel + it.dropped + it.stream;
        all(self).saturating_sub(all(before))
    }
}

impl Soak<'_> {
    fn losses(&self) -> Result<Losses> {
        let page = self.metrics()?;
        Ok(Losses {
            kernel: page.count("procession_kernel_lost_records_total"),
            dropped: page.count("procession_queue_dropped_facts_total"),
            stream: self.reader.tally().lost,
            evicted_live: page.count("procession_table_evictions_total{kind=\"live\"}"),
            breaks: self.reader.breaks(),
        })
    }

    /// Runs a program that both readers then tell apart from all others, and waits until they have read it:
    /// all that happened before was told before.
    pub(super) fn make_mark(&mut self) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.mark += 1;
            let mark = self.mark;
            let argument = format!("{}{mark}", mark_of(self.storm.run()));
            Command::new("/bin/true")
                .arg(argument)
                .stdin(Stdio::null())
                .status()
                .context("cannot run true")?;
            let soon = Instant::now() + Duration::from_secs(10);
            while Instant::now() < soon {
                if self.reader.at_mark(mark).is_some() && self.slow.at_mark(mark).is_some() {
                    return Ok(mark);
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        anyhow::bail!("what happens does not reach the clients within {PATIENCE:?}")
    }

    /// Lets the storm stand still, and compares.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        if let Some(containers) = &self.containers {
            containers.pause();
        }
        self.storm.wait()?;
        self.slow.set_pace(Pace::Full);
        let mark = self.make_mark()?;
        let known = self.verdict.failures.len();
        self.verdict.checkpoints += 1;
        self.check_readers(mark);
        self.check_told()?;
        // Before what may take long: strangers are recorded meanwhile.
        self.check_records()?;
        self.check_live()?;
        self.check_sums()?;
        self.unsettled = (self.storm.limit, self.containers_played());
        self.pages.push(Page::now(|| self.unsettled));
        self.last_mark = mark;
        tell(&format!("checkpoint {}: {}", self.verdict.checkpoints, self.progress()));
        for failure in &self.verdict.failures[known..] {
            tell(&format!("differs: {failure}"));
        }
        Ok(())
    }

    /// What one read and lost, the other did: both were given the same. Their streams break only with the agent.
    fn check_readers(&mut self, mark: u64) {
        let between = |reader: &crate::clients::Reader| {
            let (before, after) = (reader.at_mark(self.last_mark)?, reader.at_mark(mark)?);
            Some(after.read + after.lost - before.read - before.lost)
        };
        let (fast, slow) = (between(&self.reader), between(&self.slow));
        // After a restart they were not there for the same time.
        if self.reader.breaks() == 0 && self.slow.breaks() == 0 {
            self.verdict.fail_unless(fast == slow, || {
                format!("readers: the fast one read and lost {fast:?} events, the slow one {slow:?}")
            });
        }
        for (name, reader) in [("fast", &self.reader), ("slow", &self.slow)] {
            let (breaks, restarts) = (reader.breaks(), self.verdict.restarts);
            self.verdict.fail_unless(breaks <= restarts, || {
                format!("readers: the stream of the {name} one broke {breaks} times at {restarts} restarts of the agent")
            });
        }
        (self.verdict.reader, self.verdict.slow) = (self.reader.tally(), self.slow.tally());
    }

    /// Each image and each end once, or counted as lost.
    fn check_told(&mut self) -> Result<()> {
        let held = [self.storm.held()];
        let deadline = Instant::now() + LATE;
        while self.book().waiting(&held) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let now = self.losses()?;
        let lost = now.since(self.losses);
        let is_excused = lost > 0 || now.evicted_live > self.losses.evicted_live;
        let has_hole = now.breaks > self.losses.breaks;
        self.losses = now;
        let played = self.played();
        let (missing, faults, deviations) = {
            let mut book = self.book();
            (book.settle(played, &held), book.faults.take(), book.deviations.take())
        };
        let count = missing.counts.lives + missing.counts.execs;
        self.verdict.fail_each("told", &faults.examples);
        if !is_excused && !has_hole {
            self.verdict.fail_each("told, and nothing was lost", &deviations.examples);
        }
        if count > lost && !has_hole {
            self.verdict.fail_each(&format!("{count} not told, {lost} counted as lost"), &missing.examples);
        }
        if is_excused || has_hole {
            let examples =
                deviations.examples.iter().take(4).map(|example| format!("after losses: {example}"));
            self.verdict.notes.extend(examples);
        }
        self.verdict.deviations += deviations.count;
        self.verdict.missing.lives += missing.counts.lives;
        self.verdict.missing.execs += missing.counts.execs;
        self.note_done();
        Ok(())
    }

    fn note_done(&mut self) {
        let done = self.storm.done();
        let (told, kinds, found) = {
            let book = self.book();
            (book.seen, book.kinds.clone(), book.found)
        };
        (self.verdict.told, self.verdict.kinds, self.verdict.found) = (told, kinds, found);
        (self.verdict.acts, self.verdict.done) = (done.acts, done.counts);
        self.verdict.containers = self.containers_played();
        self.check_done();
        let astray: Vec<String> = self.storm.take_astray().iter().map(|act| format!("act {act}")).collect();
        self.verdict.fail_each("a process did not end as planned", &astray);
        let failure = self.containers.as_ref().and_then(crate::containers::Containers::failure);
        self.verdict.failures.extend(failure);
    }

    /// What was done and what is held was told, or is missing.
    fn check_done(&mut self) {
        let plan = |act| Plan::new(self.storm.seed(), act).counts();
        let of_container = plan(FIRST_CONTAINER);
        self.verdict.held = plan(self.storm.held());
        let it = &self.verdict;
        let execs = it.done.execs + it.containers * of_container.execs + it.held.execs;
        let ends = it.done.lives + it.containers * of_container.lives;
        let sums = (it.told.execs + it.missing.execs, it.told.lives + it.missing.lives);
        self.verdict.fail_unless(sums == (execs, ends), || {
            format!("sums: {execs} execs and {ends} ends were done, {sums:?} are told or missing")
        });
    }

    fn check_live(&mut self) -> Result<()> {
        let socket = self.place.socket();
        let compared = self.runtime.block_on(live::compare(&socket))?;
        self.verdict.compared += compared.processes as u64;
        self.verdict.fail_each("live", &compared.differences);
        let act = self.storm.held();
        let failure = self.runtime.block_on(check_chain(self, act))?;
        self.verdict.failures.extend(failure);
        Ok(())
    }

    fn check_sums(&mut self) -> Result<()> {
        let address = self.agent()?.metrics.clone();
        let sums = identities::check(self.runtime.handle(), &address, &self.place.socket())?;
        self.verdict.identities += sums.count as u64;
        self.verdict.fail_each("sums", &sums.broken);
        let page = self.metrics()?;
        let eviction = |kind| page.count(&format!("procession_table_evictions_total{{kind=\"{kind}\"}}"));
        for kind in ["early", "folded", "live"] {
            self.verdict.evicted.insert(kind, eviction(kind));
        }
        for (name, metric) in LOST {
            self.verdict.lost.insert(name, page.count(metric));
        }
        self.verdict.rotations = page.count("procession_export_rotations_total");
        let bytes = ["procession_journal_written_bytes_total", "procession_journal_bytes"];
        self.verdict.journal_bytes = bytes.map(|name| page.count(name)).into();
        Ok(())
    }

    /// What is checked once, when the storm is over: it ends the agent.
    pub(super) fn final_checks(&mut self) -> Result<()> {
        let (held, live_at) = (self.storm.held(), SystemTime::now());
        let histories = self.book().samples();
        let root = self.book().name_of(held, 0);
        // The journal gets all that is in the table's queue first.
        thread::sleep(Duration::from_secs(1));
        self.storm.hold(false)?;
        self.check_shares();
        self.check_forgotten()?;
        self.check_usage()?;
        self.verdict.asked = self.asker.asked();
        let failures = std::mem::take(&mut self.verdict.asked.failures);
        self.verdict.fail_each("asker", &failures);
        if let Some(agent) = self.agent.take()
            && let Err(error) = Agent::end(agent)
        {
            self.verdict.failures.push(format!("{error:#}:\n{}", crate::agent::log_of(&self.place)));
        }
        self.check_histories(&histories, root, live_at)
    }

    /// After the grace time nothing is left of the storm.
    fn check_forgotten(&mut self) -> Result<()> {
        let socket = self.place.socket();
        let deadline = Instant::now() + GRACE;
        loop {
            let left = self.runtime.block_on(async {
                let mut client = lineage(&socket).await?;
                live::list(&mut client, true).await
            })?;
            let book = self.book();
            let arguments =
                left.iter().filter_map(|process| Some(process.process.as_ref()?.arguments.as_str()));
            let ours: Vec<String> = arguments
                .filter_map(|arguments| book.token(arguments))
                .map(|token| token.to_string())
                .collect();
            drop(book);
            if ours.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.verdict.fail_each("still known after the grace time", &ours);
                return Ok(());
            }
            thread::sleep(Duration::from_secs(1));
        }
    }

    fn check_usage(&mut self) -> Result<()> {
        let now = machine::usage(self.agent()?.pid()).context("the agent is gone")?;
        self.verdict.descriptors = (self.usage.descriptors, now.descriptors);
        self.verdict.threads = (self.usage.threads, now.threads);
        let (before, after) = (self.usage, now);
        self.verdict.fail_unless(after.descriptors <= before.descriptors + SLACK, || {
            format!("descriptors: {} at the beginning, {} at the end", before.descriptors, after.descriptors)
        });
        self.verdict.fail_unless(after.threads <= before.threads + SLACK, || {
            format!("threads: {} at the beginning, {} at the end", before.threads, after.threads)
        });
        let samples = self.sampler.all();
        let page = self.metrics()?;
        let limits = ["procession_table_budget_bytes", "procession_log_limit_bytes"];
        let promised = REST + limits.map(|limit| page.count(limit)).iter().sum::<u64>();
        let highest = samples.iter().map(|sample| sample.own_bytes).max().unwrap_or(0);
        self.verdict.fail_unless(highest <= promised, || {
            format!(
                "memory: the agent had {highest} bytes of its own, and may need {promised} with these limits"
            )
        });
        if self.args.restart_every.is_none() {
            let failure = growth(&samples);
            self.verdict.failures.extend(failure);
        }
        Ok(())
    }

    /// The journal tells the same of some processes as was done.
    fn check_histories(
        &mut self,
        samples: &[(String, String)],
        root: Option<String>,
        at: SystemTime,
    ) -> Result<()> {
        for (token, exec_id) in samples {
            let told = self.ask_the_journal(&["history", exec_id])?;
            self.verdict.histories += 1;
            self.verdict.fail_unless(told.contains(token), || format!("history of {token}: {told:?}"));
        }
        if let Some(root) = root {
            let at = jiff::Timestamp::try_from(at)?.to_string();
            let told = self.ask_the_journal(&["tree", &root, "--at", &at])?;
            let lines = told.lines().count();
            self.verdict.histories += 1;
            self.verdict.fail_unless(lines > LONG_CHAIN, || {
                format!("tree of what was held: {lines} lines: {told:?}")
            });
        }
        Ok(())
    }

    fn ask_the_journal(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.place.agent);
        command.args(words).arg("--journal").arg(self.place.journal()).stdin(Stdio::null());
        let output = command.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(if output.status.success() { text(&output.stdout) } else { text(&output.stderr) })
    }
}

/// What is counted as lost, by where.
const LOST: [(&str, &str); 6] = [
    ("records without room in the kernel's ring", "procession_kernel_lost_records_total"),
    ("facts without room in the queue", "procession_queue_dropped_facts_total"),
    ("events that clients were too slow for", "procession_reader_lost_events_total{kind=\"client\"}"),
    ("events that the export was too slow for", "procession_reader_lost_events_total{kind=\"export\"}"),
    ("events that are missing in the journal", "procession_journal_lost_events_total"),
    ("records that could not be read", "procession_decode_errors_total"),
];

/// The deepest of the held processes knows all its ancestors.
async fn check_chain(soak: &Soak<'_>, act: u64) -> Result<Option<String>> {
    let mut client = lineage(&soak.place.socket()).await?;
    let all = live::list(&mut client, false).await?;
    let is_held = |arguments: &str| soak.book().token(arguments).is_some_and(|token| token.act == act);
    let held = all.iter().filter(|it| it.process.as_ref().is_some_and(|process| is_held(&process.arguments)));
    let Some(deepest) = held.max_by_key(|process| process.depth) else {
        return Ok(Some(format!("live: nothing is known of the held act {act}")));
    };
    let target = Some(Target { name: Some(target::Name::Pid(live::pid_of(deepest))) });
    let answer = client.get_lineage(GetLineageRequest { target }).await?.into_inner();
    let parents = answer.chain.iter().filter(|link| link.relation == i32::from(Relation::Parent)).count();
    let is_whole = parents > LONG_CHAIN && !answer.is_cut;
    Ok((!is_whole)
        .then(|| format!("lineage: {parents} ancestors of the deepest are told, cut: {}", answer.is_cut)))
}

/// Whether memory grows without end: what a line through all but the first quarter says of the whole run.
fn growth(samples: &[Sample]) -> Option<String> {
    let late = &samples[samples.len() / 4..];
    let points: Vec<_> = late.iter().map(|sample| (sample.time, to_float(sample.resident_bytes))).collect();
    let (first, last) = (points.first()?.0, points.last()?.0);
    // In less the table still fills.
    if last - first < 300.0 {
        return None;
    }
    let grown = slope(&points) * (last - first);
    let (_, middle, _) = spread(points.iter().map(|point| point.1).collect());
    let allowed = 0.2 * middle + f64::from(8 << 20);
    (grown > allowed)
        .then(|| format!("memory: grows by {grown:.0} bytes in {:.0} s, of {middle:.0}", last - first))
}
