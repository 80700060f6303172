//! Looks whether the export goes on. Its own thread cannot say so: it may hang in the system, because what it
//! writes to does not answer, or have broken down.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tracing::dispatcher;

use super::ExportHandle;
use crate::stall::{News, Stall};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Who looks at an export.
pub(super) struct Watch {
    /// What it writes to.
    pub(super) name: String,
    pub(super) handle: ExportHandle,
    /// Disconnected when its thread has ended.
    pub(super) ended: Receiver<Infallible>,
}

impl Watch {
    /// Looks at it, in a thread, for as long as it runs.
    pub(super) fn start(self) -> io::Result<()> {
        let dispatch = dispatcher::get_default(Clone::clone);
        let run = move || dispatcher::with_default(&dispatch, || self.run());
        thread::Builder::new().name("export-watch".to_owned()).spawn(run).map(drop)
    }

    fn run(self) {
        let counters = &self.handle.shared.counters;
        let (mut stall, mut lost) = (Stall::default(), 0);
        while self.ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let news = stall.note(Instant::now(), counters.standing());
            counters.is_stalled.store(stall.is_there(), Ordering::Relaxed);
            if let Some(news) = news {
                self.say(news, &mut lost);
            }
        }
        counters.is_stalled.store(false, Ordering::Relaxed);
        if !counters.is_over.load(Ordering::Relaxed) {
            counters.is_failing.store(true, Ordering::Relaxed);
            tracing::error!("the export has broken down, and events are exported no more: the agent ends");
        }
    }

    /// `lost` is how many events were lost before nothing was taken any more.
    fn say(&self, news: News, lost: &mut u64) {
        let (path, all_lost) = (&self.name, self.handle.counts().lost);
        match news {
            News::DoesNotAnswer => {
                *lost = all_lost;
                tracing::warn!(
                    path,
                    "events cannot be exported: nothing is taken any more. See what is wrong with the disk, or with \
                     who reads it. They wait in the event queue, and the oldest are lost when that is full"
                );
            }
            News::WrittenAgain => {
                let lost = all_lost.saturating_sub(*lost);
                tracing::info!(path, lost, "events are exported again");
            }
        }
    }
}
