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
    pub(super) rate_limit: Option<Option<NonZeroU32>>,
    pub(super) reopen: bool,
    /// By when it is to end.
    pub(super) end: Option<Instant>,
}

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
    pub(super) trouble: Option<Trouble>,
    pub(super) end: Option<Instant>,
}

impl<C: Clock + Clone> Worker<C> {
    /// Exports until the log ends, or until it is to end and nothing is left.
    pub(super) fn run(mut self) -> io::Result<()> {
        while self.step().is_continue() {}
        if let Some(dropped) = self.limiter.rest() {
            self.notice(dropped);
        }
        // What is left then is counted.
        let _ = self.deliver();
        self.finish()
    }

    /// Writes what comes next.
    fn step(&mut self) -> ControlFlow<()> {
        let patience = if self.end.is_some() { Duration::ZERO } else { TICK };
        let batch = self.reader.next_within(patience);
        self.change();
        let Some(batch) = batch else { return ControlFlow::Break(()) };
        if self.end.is_some() && batch.lost == 0 && batch.events.is_empty() {
            return ControlFlow::Break(());
        }
        self.export(&batch)
    }

    /// Makes true what is wanted.
    fn change(&mut self) {
        let mut wanted = self.shared.wanted();
        self.end = wanted.end;
        let wanted = std::mem::replace(&mut *wanted, Wanted { end: self.end, ..Wanted::default() });
        if let Some(rotation) = wanted.rotation {
            self.sink.set_rotation(rotation);
        }
        if let Some(filter) = wanted.filter {
            self.filter = filter;
        }
        if let Some(form) = wanted.form {
            self.form = form;
        }
        if let Some(rate) = wanted.rate_limit {
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
        } else if let Some(line) = event.json(&self.form) {
            self.outbox.push(&line, Content::Event(event.message().time));
        } else if count(&counters.failed_fields) == 0 {
            tracing::warn!(
                "a field filter failed on an event, which is not exported; others are only counted"
            );
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
            let pause = Trouble::failed(&mut self.trouble, &self.sink.name(), &error, lost);
            if self.end.is_some_and(|end| Instant::now() >= end) {
                return ControlFlow::Break(());
            }
            self.shared.pause(pause);
            self.change();
        }
        if self.trouble.is_some() {
            self.shared.counters.is_failing.store(false, Ordering::Relaxed);
            Trouble::ended(&mut self.trouble, &self.sink.name(), self.reader.counts().lost);
        }
        ControlFlow::Continue(())
    }

    fn finish(self) -> io::Result<()> {
        let counters = &self.shared.counters;
        let reader = self.reader.counts();
        let unwritten = (reader.read + reader.waiting).saturating_sub(counters.settled());
        counters.unwritten.store(unwritten, Ordering::Relaxed);
        let name = self.sink.name();
        let finished = self.sink.finish(self.end.unwrap_or_else(Instant::now));
        if unwritten > 0 {
            return Err(io::Error::other(format!(
                "{unwritten} events could not be exported to {name} before the end"
            )));
        }
        finished
    }
}
