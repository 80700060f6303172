//! A client that reads all events, as fast as it can or too slowly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{EventType, Filter, GetEventsRequest, GetEventsResponse, ProcessExec};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::sensors;
use crate::book::Book;

/// How fast a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it can.
    Full,
    /// So few events a second that it falls behind.
    Slow,
}

/// Events that a slow client takes at a time, and the pause between.
const SIP: u64 = 100;
const PAUSE: Duration = Duration::from_secs(1);

/// What a client got, and what it was told that it lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) read: u64,
    pub(crate) lost: u64,
}

#[derive(Debug, Default)]
struct Shared {
    is_slow: AtomicBool,
    read: AtomicU64,
    lost: AtomicU64,
    /// How often a stream that had begun broke off.
    breaks: AtomicU64,
    /// What the tally was at each mark.
    marks: Mutex<BTreeMap<u64, Tally>>,
    is_reading: AtomicBool,
}

/// A client that reads all events.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Reader {
    /// Reads until it is dropped; when the agent goes, it comes again. What it reads is entered in `book`.
    pub(crate) fn start(
        runtime: &Handle,
        socket: PathBuf,
        marks: String,
        book: Option<Arc<Mutex<Book>>>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let reading = Reading { shared: Arc::clone(&shared), marks, book };
        let task = runtime.spawn(async move {
            loop {
                // It says why in its log, if it is the agent's fault.
                let _ = reading.read(&socket).await;
                // Where nobody listens yet, nothing breaks.
                if reading.shared.is_reading.swap(false, Ordering::Relaxed) {
                    reading.shared.breaks.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { shared, task }
    }

    pub(crate) fn set_pace(&self, pace: Pace) {
        self.shared.is_slow.store(pace == Pace::Slow, Ordering::Relaxed);
    }

    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally()
    }

    pub(crate) fn breaks(&self) -> u64 {
        self.shared.breaks.load(Ordering::Relaxed)
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.shared.is_reading.load(Ordering::Relaxed)
    }

    /// What the tally was when it read that mark, if it did.
    pub(crate) fn at_mark(&self, mark: u64) -> Option<Tally> {
        self.shared.marks.lock().unwrap_or_else(PoisonError::into_inner).get(&mark).copied()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn tally(&self) -> Tally {
        Tally { read: self.read.load(Ordering::Relaxed), lost: self.lost.load(Ordering::Relaxed) }
    }
}

/// All events; that some were lost is told only to who asks for it.
fn all_and_losses() -> GetEventsRequest {
    let kinds = [EventType::ProcessExec, EventType::ProcessExit, EventType::RateLimitInfo];
    let filter = Filter { event_set: kinds.map(i32::from).to_vec(), ..Filter::default() };
    GetEventsRequest { allow_list: vec![filter], ..GetEventsRequest::default() }
}

struct Reading {
    shared: Arc<Shared>,
    /// What the arguments of a mark begin with.
    marks: String,
    book: Option<Arc<Mutex<Book>>>,
}

impl Reading {
    async fn read(&self, socket: &std::path::Path) -> Result<()> {
        let mut client = sensors(socket).await?;
        let mut stream = client.get_events(all_and_losses()).await?.into_inner();
        self.shared.is_reading.store(true, Ordering::Relaxed);
        let mut sip = 0;
        while let Some(response) = stream.message().await? {
            self.enter(&response);
            sip += 1;
            if self.shared.is_slow.load(Ordering::Relaxed) && sip >= SIP {
                sip = 0;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    fn enter(&self, response: &GetEventsResponse) {
        let Some(event) = &response.event else { return };
        if let Event::RateLimitInfo(info) = event {
            self.shared.lost.fetch_add(info.number_of_dropped_process_events, Ordering::Relaxed);
            return;
        }
        self.shared.read.fetch_add(1, Ordering::Relaxed);
        if let Some(book) = &self.book {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::ProcessExec(exec) => book.exec(exec),
                Event::ProcessExit(exit) => book.exit(exit),
                _ => {}
            }
        }
        if let Event::ProcessExec(ProcessExec { process: Some(process), .. }) = event
            && let Some(mark) = process.arguments.strip_prefix(&self.marks)
            && let Ok(mark) = mark.parse()
        {
            let tally = self.shared.tally();
            self.shared.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(mark, tally);
        }
    }
}
