//! The stream of events of one client.

use std::pin::Pin;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, stream};
use procession_api::Encoded;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::bound::Shared;
use super::counters::{OpenStream, ServerCounters};
use super::pace::Pace;
use super::stopping::Stopping;
use super::stopping_status;
use super::subscription::Subscription;
use crate::{Batch, Event, Reader, ReaderKind};

/// What servers stream.
pub(super) type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Events for one client: at its own pace, and no more than it asked for.
pub(super) struct Feed {
    reader: Reader,
    subscription: Subscription,
    batch: vec::IntoIter<Arc<Event>>,
    /// Events up to this sequence are known to the client already.
    known: u64,
    stopping: Stopping,
    /// Events that are still read after the server was told to stop.
    left: Option<u64>,
    counters: ServerCounters,
    /// Events that were dropped so far, because the client was too slow.
    lost: u64,
    pace: Pace,
    _place: Place,
}

/// The place that a stream takes.
pub(super) struct Place {
    _counted: OpenStream,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn take(shared: &Shared) -> Result<Self, Status> {
        let permit = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
            let most = shared.config.max_streams;
            Status::resource_exhausted(format!("there are {most} streams of events already; try again later"))
        })?;
        Ok(Self { _counted: shared.counters.stream(), _permit: permit })
    }
}

/// In the metadata at the end of a stream: how many events its client lost, if it lost any.
const LOST_EVENTS: &str = "procession-lost-events";

/// What a client gets.
pub(super) enum Fed {
    /// An event, encoded.
    Event(Bytes),
    /// So many were dropped before the next, because the client was too slow.
    Lost(u64),
}

impl Feed {
    /// Of what happens from now on.
    pub(super) fn new(shared: &Shared, place: Place, subscription: Subscription) -> Self {
        Self {
            reader: shared.node.log().reader(ReaderKind::Client),
            subscription,
            batch: Vec::new().into_iter(),
            known: 0,
            stopping: shared.stopping.clone(),
            left: None,
            counters: shared.counters.clone(),
            lost: 0,
            pace: Pace::default(),
            _place: place,
        }
    }

    /// Leaves out what happened up to `sequence`.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.known = sequence;
    }

    pub(super) fn subscription(&mut self) -> &mut Subscription {
        &mut self.subscription
    }

    /// What comes, as far as `encode` makes something of it, as a stream; and why it ends.
    pub(super) fn into_stream(
        self,
        encode: impl Fn(Fed) -> Option<Encoded> + Send + 'static,
    ) -> impl Stream<Item = Result<Encoded, Status>> + Send {
        stream::unfold(Some(Box::new((self, encode))), |state| async {
            let mut state = state?;
            let (feed, encode) = &mut *state;
            loop {
                match feed.next().await.map(&*encode) {
                    Some(Some(next)) => return Some((Ok(next), Some(state))),
                    Some(None) => {}
                    None => return Some((Err(feed.end()), None)),
                }
            }
        })
    }

    fn end(&self) -> Status {
        let mut status = stopping_status();
        if self.lost > 0 {
            status.metadata_mut().insert(LOST_EVENTS, self.lost.into());
        }
        status
    }

    /// `None`: nothing will come any more.
    async fn next(&mut self) -> Option<Fed> {
        loop {
            if let Some(event) = self.next_of_batch().await {
                return Some(Fed::Event(event));
            }
            let Batch { lost, events } = self.next_batch().await?;
            self.batch = events.into_iter();
            if lost > 0 {
                self.lost += lost;
                return Some(Fed::Lost(lost));
            }
        }
    }

    async fn next_of_batch(&mut self) -> Option<Bytes> {
        let Self { batch, subscription, known, counters, pace, .. } = self;
        for event in batch {
            pace.keep().await;
            if event.sequence() <= *known || !subscription.admits(event.message()) {
                continue;
            }
            let encoded = event.protobuf(&subscription.form);
            if encoded.is_some() {
                return encoded;
            }
            counters.unfiltered();
        }
        None
    }

    async fn next_batch(&mut self) -> Option<Batch> {
        if self.left.is_none() {
            tokio::select! {
                biased;
                () = self.stopping.wait() => self.left = Some(self.reader.counts().waiting),
                batch = self.reader.next() => return batch,
            }
        }
        // The log may go on; what comes after the end is not ours.
        let left = self.left.as_mut().filter(|left| **left > 0)?;
        let batch = self.reader.next().now_or_never()??;
        *left = left.saturating_sub(batch.events.len() as u64);
        Some(batch)
    }
}
