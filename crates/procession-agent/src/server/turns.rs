//! Looks at all of the table for clients: a few at a time, with rests for the table's owner, and for
//! clients that read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::feed::Streamed;
use super::pace::Pace;
use super::{ended, stopping_status};
use crate::{Node, View};

/// Who may have a look at all of the table, and when.
pub(super) struct Turns {
    places: Arc<Semaphore>,
    /// When the table's owner has rested from the last.
    rested: Arc<Mutex<Instant>>,
}

/// A place for one look, to be kept as long as what was seen is.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// How many clients may have what they saw at once.
const PLACES: usize = 4;

/// How long a client waits for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many times as long as it was asked the table's owner is left alone after that, and at most.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What is made for a client before it has read the last.
const AHEAD: usize = 16;

impl Default for Turns {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), rested: Arc::new(Mutex::new(Instant::now())) }
    }
}

impl Turns {
    /// Waits for a place, for a while.
    pub(super) async fn place(&self) -> Result<Place, Status> {
        match timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await {
            Ok(place) => Ok(Arc::new(place.map_err(|_| stopping_status())?)),
            Err(_) => Err(Status::resource_exhausted(
                "other clients have yet to read the processes that they asked for; try again later",
            )),
        }
    }

    /// Has a question answered that looks at all of the table. The place stays taken until it is, even if
    /// the client goes: else who comes and goes again and again would have it asked without a rest.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        node: &Node,
        place: Place,
        question: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let (node, rested) = (node.clone(), Arc::clone(&self.rested));
        let asking = tokio::spawn(async move {
            let _place = place;
            let mut rested = rested.lock().await;
            sleep_until(*rested).await;
            let timed = move |view: &View<'_>| {
                let began = Instant::now();
                (question(view), began.elapsed())
            };
            let (answer, took) = node.queries().ask(timed).await?;
            *rested = Instant::now() + LONGEST_REST.min(took * REST);
            Ok(answer)
        });
        asking.await.map_err(|_| Status::internal("the table could not be looked at"))?.map_err(ended)
    }
}

/// Work on the whole table that has been looked at, beside what serves other clients.
pub(super) async fn worked_out<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Status::internal("the processes could not be put in order"))
}

/// A stream that is made ahead of the client, `None` being what it is not told. With a client that reads
/// nothing for as long as `patience` it ends, and lets go of what it is made of and of `held`.
pub(super) fn drained<T: Send + 'static>(
    items: impl Stream<Item = Result<Option<T>, Status>> + Send + 'static,
    held: impl Send + 'static,
    patience: Duration,
) -> Streamed<T> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let is_given_up = Arc::new(AtomicBool::new(false));
    let gives_up = Arc::clone(&is_given_up);
    tokio::spawn(async move {
        let _held = held;
        let (mut items, mut pace) = (Box::pin(items), Pace::default());
        while let Some(item) = items.next().await {
            pace.keep().await;
            let Some(item) = item.transpose() else { continue };
            match timeout(patience, sender.send(item)).await {
                Ok(Ok(())) => {}
                // The client has gone.
                Ok(Err(_)) => break,
                Err(_) => {
                    gives_up.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
    });
    let end = stream::once(async move {
        let is_given_up = is_given_up.load(Ordering::Relaxed);
        is_given_up.then(|| Err(Status::aborted("the processes were not read for too long")))
    });
    Box::pin(ReceiverStream::new(receiver).chain(end.filter_map(std::future::ready)))
}
