//! The stream of events of one client.

use std::pin::Pin;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, stream};
use procession_api::Encoded;
use tonic::Status;

use super::bound::Shared;
use super::counters::{OpenStream, ServerCounters};
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
    _open: OpenStream,
}

/// What a client gets.
pub(super) enum Fed {
    /// An event, encoded.
    Event(Bytes),
    /// So many were dropped before the next, because the client was too slow.
    Lost(u64),
}

impl Feed {
    /// Of what happens from now on.
    pub(super) fn new(shared: &Shared, subscription: Subscription) -> Self {
        Self {
            reader: shared.node.log().reader(ReaderKind::Client),
            subscription,
            batch: Vec::new().into_iter(),
            known: 0,
            stopping: shared.stopping.clone(),
            left: None,
            counters: shared.counters.clone(),
            _open: shared.counters.stream(),
        }
    }

    /// Leaves out what happened up to `sequence`.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.known = sequence;
    }

    pub(super) fn subscription(&mut self) -> &mut Subscription {
        &mut self.subscription
    }

    /// What comes, as a stream, and why it ends.
    pub(super) fn into_stream(
        self,
        encode: impl Fn(Fed) -> Encoded + Send + 'static,
    ) -> impl Stream<Item = Result<Encoded, Status>> + Send {
        stream::unfold(Some(Box::new((self, encode))), |state| async {
            let mut state = state?;
            let (feed, encode) = &mut *state;
            match feed.next().await {
                Some(next) => Some((Ok(encode(next)), Some(state))),
                None => Some((Err(stopping_status()), None)),
            }
        })
    }

    /// `None`: nothing will come any more.
    async fn next(&mut self) -> Option<Fed> {
        loop {
            if let Some(event) = self.next_of_batch() {
                return Some(Fed::Event(event));
            }
            // A reader that is far behind and wants little must not keep others from their turn.
            tokio::task::coop::consume_budget().await;
            let Batch { lost, events } = self.next_batch().await?;
            self.batch = events.into_iter();
            if lost > 0 {
                return Some(Fed::Lost(lost));
            }
        }
    }

    fn next_of_batch(&mut self) -> Option<Bytes> {
        let Self { batch, subscription, known, counters, .. } = self;
        for event in batch {
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
