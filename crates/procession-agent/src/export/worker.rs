//! The thread that exports.

use std::io;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use governor::clock::Clock;
use procession_api::json;
use procession_api::proto::tetragon::RateLimitInfo;
use procession_api::proto::tetragon::get_events_response::Event as Kind;

use super::counts::{Counters, count};
use super::limit::Limiter;
use super::outbox::{Content, Outbox};
use super::sink::Sink;
use super::trouble::Trouble;
use super::{Envelope, ExportFilter, Rotation};
use crate::stream::{Batch, Event, Form, Reader};

/// How long the thread sleeps at most when there is nothing to write.
const TICK: Duration = Duration::from_millis(250);
/// How much is written at once, about.
const CHUNK: usize = 256 << 10;

/// What the thread and those who hold a handle have in common.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) counters: Arc<Counters>,
    wanted: Mutex<Wanted>,
    /// Something is wanted.
    news: Condvar,
}

/// What is to be otherwise from now on.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) rotation: Option<Rotation>,
    pub(super) filter: Option<ExportFilter>,
    pub(super) form: Option<Form>,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) reopen: bool,
    /// By when it is to end.
    pub(super) end: Option<Instant>,
}

/// Events per minute. `None`: any number.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimit(pub(super) Option<NonZeroU32>);

impl Shared {
    /// Says what is wanted.
    pub(super) fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted());
        self.news.notify_all();
    }

    /// Waits until something is wanted, at most so long.
    fn pause(&self, pause: Duration) {
        let end = self.wanted().end;
        let pause = end.map_or(pause, |end| pause.min(end.saturating_duration_since(Instant::now())));
        let is_idle = |wanted: &mut Wanted| !wanted.reopen && wanted.end == end;
        drop(self.news.wait_timeout_while(self.wanted(), pause, is_idle));
    }

    /// By when it is to end. Waits until that is said: whoever holds the export says so when it lets go of it, at
    /// the latest.
    fn end(&self) -> Instant {
        let mut wanted = self.wanted();
        loop {
            if let Some(end) = wanted.end {
                return end;
            }
            wanted = self.news.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads events and writes lines.
pub(super) struct Worker<C: Clock> {
    pub(super) reader: Reader,
    pub(super) sink: Sink,
    pub(super) limiter: Limiter<C>,
    pub(super) filter: ExportFilter,
    pub(super) form: Form,
    pub(super) envelope: Envelope,
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: Outbox,
    pub(super) trouble: Trouble,
    pub(super) end: Option<Instant>,
}

impl<C: Clock + Clone> Worker<C> {
    /// Exports until the log ends, or until it is to end and nothing is left.
    pub(super) fn run(mut self) -> io::Result<()> {
        while self.step().is_continue() {}
        let counters = Arc::clone(&self.shared.counters);
        counters.works(true);
        if let Some(dropped) = self.limiter.rest() {
            self.notice(dropped);
        }
        // What is left then is counted.
        let _ = self.deliver();
        let result = self.finish();
        counters.is_over.store(true, Ordering::Relaxed);
        result
    }

    /// Writes what comes next.
    fn step(&mut self) -> ControlFlow<()> {
        let patience = if self.end.is_some() { Duration::ZERO } else { TICK };
        let batch = self.reader.next_within(patience);
        self.shared.counters.works(true);
        let flow = self.work(batch);
        self.shared.counters.works(false);
        flow
    }

    fn work(&mut self, batch: Option<Batch>) -> ControlFlow<()> {
        self.change();
        let Some(batch) = batch else { return ControlFlow::Break(()) };
        if self.end.is_some() && batch.lost == 0 && batch.events.is_empty() {
            return ControlFlow::Break(());
        }
        self.export(&batch)
    }

    /// Makes true what is wanted.
    fn change(&mut self) {
        // What is done may take a while, and nobody may have to wait for it to say what else is wanted.
        let wanted = {
            let mut wanted = self.shared.wanted();
            self.end = wanted.end;
            std::mem::replace(&mut *wanted, Wanted { end: self.end, ..Wanted::default() })
        };
        if let Some(rotation) = wanted.rotation {
            self.sink.set_rotation(rotation);
        }
        if let Some(filter) = wanted.filter {
            self.filter = filter;
        }
        if let Some(form) = wanted.form {
            self.form = form;
        }
        if let Some(RateLimit(rate)) = wanted.rate_limit {
            self.limiter.set_rate(rate);
        }
        if wanted.reopen {
            self.sink.reopen();
        }
    }

    fn export(&mut self, batch: &Batch) -> ControlFlow<()> {
        if batch.lost > 0 {
            self.notice(batch.lost);
        }
        for event in &batch.events {
            self.take(event);
            if self.outbox.len() >= CHUNK {
                self.deliver()?;
            }
        }
        if let Some(dropped) = self.limiter.due() {
            self.notice(dropped);
        }
        self.deliver()
    }

    /// Puts an event among what is to be written, unless something speaks against it.
    fn take(&mut self, event: &Event) {
        let counters = &self.shared.counters;
        if !(self.filter)(event.message()) {
            count(&counters.filtered_out);
        } else if !self.limiter.admits() {
            count(&counters.rate_limited);
        } else {
            let content = Content::Event(event.message().time);
            let pushed = self.outbox.push_made(content, |line| event.write_json(&self.form, line));
            if pushed.is_none() && count(&counters.failed_fields) == 0 {
                tracing::warn!(
                    "a field filter failed on an event, which is not exported; others are only counted"
                );
            }
        }
    }

    /// Puts a line among what is to be written that tells how many events are missing. No filter applies.
    fn notice(&mut self, missing: u64) {
        let info = RateLimitInfo { number_of_dropped_process_events: missing };
        let mut message = (self.envelope)();
        message.event = Some(Kind::RateLimitInfo(info));
        message.time.get_or_insert_with(|| SystemTime::now().into());
        let mut line = Vec::new();
        json::write(&message, &mut line);
        self.outbox.push(&line, Content::Notice);
    }

    /// Writes all that is to be written, however long it takes. Breaks off when it is time to end.
    fn deliver(&mut self) -> ControlFlow<()> {
        while let Err(error) = self.sink.write(&mut self.outbox) {
            count(&self.shared.counters.write_errors);
            self.shared.counters.is_failing.store(true, Ordering::Relaxed);
            let lost = self.reader.counts().lost;
            let pause = self.trouble.failed(&self.sink.name(), &error, lost, Instant::now());
            if self.end.is_some_and(|end| Instant::now() >= end) {
                return ControlFlow::Break(());
            }
            self.shared.counters.works(false);
            self.shared.pause(pause);
            self.shared.counters.works(true);
            self.change();
        }
        if self.trouble.is_there() {
            self.shared.counters.is_failing.store(false, Ordering::Relaxed);
            self.trouble.ended(&self.sink.name(), self.reader.counts().lost);
        }
        ControlFlow::Continue(())
    }

    fn finish(self) -> io::Result<()> {
        let counters = &self.shared.counters;
        let reader = self.reader.counts();
        let unwritten = (reader.read + reader.waiting).saturating_sub(counters.settled());
        counters.unwritten.store(unwritten, Ordering::Relaxed);
        let name = self.sink.name();
        // The log may end a while before; what is done to backups goes on until then.
        counters.works(false);
        let end = self.shared.end();
        counters.works(true);
        let finished = self.sink.finish(end);
        if unwritten > 0 {
            return Err(io::Error::other(format!(
                "{unwritten} events could not be exported to {name} before the end"
            )));
        }
        finished
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use governor::clock::FakeRelativeClock;
    use procession_api::proto::tetragon::{GetEventsResponse, ProcessExec};
    use tempfile::TempDir;

    use super::*;
    use crate::export::{ExportSink, FileConfig};
    use crate::stream::{EventLog, LogConfig, ReaderKind};

    struct Bench {
        directory: TempDir,
        log: EventLog,
        clock: FakeRelativeClock,
        worker: Worker<FakeRelativeClock>,
    }

    impl Bench {
        fn new(rate: Option<NonZeroU32>, events: usize) -> Self {
            let directory = TempDir::new().unwrap();
            let log = EventLog::new(LogConfig { events, ..LogConfig::default() });
            let clock = FakeRelativeClock::default();
            let shared = Arc::new(Shared::default());
            let sink = ExportSink::File(FileConfig::new(directory.path().join("events.log")));
            let worker = Worker {
                reader: log.reader(ReaderKind::Export),
                sink: Sink::open(sink, Arc::clone(&shared.counters)).unwrap(),
                limiter: Limiter::new(rate, clock.clone()),
                filter: Box::new(|message| message.node_name != "unwanted"),
                form: Form::default(),
                envelope: Box::new(|| GetEventsResponse {
                    node_name: "here".to_owned(),
                    ..Default::default()
                }),
                shared,
                outbox: Outbox::default(),
                trouble: Trouble::default(),
                end: None,
            };
            Self { directory, log, clock, worker }
        }

        fn append(&self, events: u64, node_name: &str) {
            let message = || GetEventsResponse {
                node_name: node_name.to_owned(),
                event: Some(Kind::ProcessExec(ProcessExec::default())),
                ..GetEventsResponse::default()
            };
            self.log.append((0..events).map(|sequence| Event::new(sequence, message())));
        }

        /// Kinds of lines: how many events are missing, or `None` for an event.
        fn lines(&self) -> Vec<Option<u64>> {
            let text = fs::read_to_string(self.directory.path().join("events.log")).unwrap();
            let missing = |line: &str| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                let info = value.get("rate_limit_info")?;
                assert_eq!(value["node_name"], "here");
                info["number_of_dropped_process_events"].as_str()?.parse().ok()
            };
            text.lines().map(missing).collect()
        }
    }

    #[test]
    fn what_the_rate_limit_holds_back_is_told_once_a_minute() {
        let mut bench = Bench::new(NonZeroU32::new(2), 100);
        bench.append(5, "node");
        assert!(bench.worker.step().is_continue());
        assert_eq!(bench.lines(), [None, None]);
        bench.clock.advance(Duration::from_mins(1));
        assert!(bench.worker.step().is_continue(), "no event, but something to tell");
        assert_eq!(bench.lines(), [None, None, Some(3)]);
        bench.append(3, "node");
        assert!(bench.worker.step().is_continue());
        assert_eq!(bench.lines(), [None, None, Some(3), None, None]);
        let counters = Arc::clone(&bench.worker.shared);
        bench.log.close();
        counters.want(|wanted| wanted.end = Some(Instant::now()));
        let Bench { directory, log, clock, worker } = bench;
        worker.run().unwrap();
        let counts = counters.counters.counts();
        assert_eq!((counts.exported, counts.rate_limited, counts.lost), (4, 4, 0));
        let text = fs::read_to_string(directory.path().join("events.log")).unwrap();
        assert!(text.lines().last().unwrap().contains("rate_limit_info"), "told at the end: {text}");
        drop((log, clock));
    }

    #[test]
    fn what_fell_out_of_the_log_is_told_where_it_is_missing() {
        let mut bench = Bench::new(None, 3);
        bench.append(1, "node");
        assert!(bench.worker.step().is_continue());
        bench.append(10, "node");
        assert!(bench.worker.step().is_continue());
        assert_eq!(bench.lines(), [None, Some(7), None, None, None]);
    }

    #[test]
    fn what_the_filter_rejects_takes_nothing_from_the_rate() {
        let mut bench = Bench::new(NonZeroU32::new(2), 100);
        bench.append(50, "unwanted");
        bench.append(2, "node");
        assert!(bench.worker.step().is_continue());
        assert_eq!(bench.lines(), [None, None]);
        let counts = bench.worker.shared.counters.counts();
        assert_eq!((counts.exported, counts.filtered_out, counts.rate_limited), (2, 50, 0));
    }
}
