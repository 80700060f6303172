//! Questions to the owner of the table.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use procession::Table;
use tokio::sync::{Semaphore, oneshot};

use crate::inventory::Inventory;
use crate::pipeline::Account;

/// What a question may look at: the state between two events.
pub struct View<'v> {
    /// The table.
    pub table: &'v Table,
    /// What is known of containers.
    pub inventory: &'v dyn Inventory,
    /// What was done so far.
    pub account: &'v dyn Fn() -> Account,
}

/// A question: it is answered by the thread that owns the table, which does nothing else meanwhile.
pub(crate) type Query = Box<dyn FnOnce(&View<'_>) + Send>;

/// Where questions are put.
#[derive(Clone, Debug)]
pub struct Queries {
    asked: Sender<Query>,
    /// For those in line.
    places: Arc<Semaphore>,
}

/// How many questions wait in line: who comes later waits for a place, and leaves without a trace.
const WAITING: usize = 256;

/// Nobody answers any more: the observation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the observation has ended")]
pub struct Ended;

impl Queries {
    pub(crate) fn new() -> (Self, Receiver<Query>) {
        // The places are its bound.
        let (asked, receiver) = unbounded();
        (Self { asked, places: Arc::new(Semaphore::new(WAITING)) }, receiver)
    }

    /// Has `question` answered between two events, within 20 ms if little happens. If this is dropped before, it
    /// may never be.
    ///
    /// # Errors
    ///
    /// The observation has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (sender, receiver) = oneshot::channel();
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Ended)?;
        let query: Query = Box::new(move |view| {
            let _place = place;
            // Nothing is worked out for who has gone, before or meanwhile.
            if !sender.is_closed() {
                let _ = sender.send(question(view));
            }
        });
        self.asked.send(query).map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, poll};
    use procession::TableConfig;

    use super::*;
    use crate::inventory::NodeInventory;

    /// Answers all that is there, and says how many were put.
    fn answer(asked: &Receiver<Query>) -> usize {
        let (table, inventory) = (Table::new(TableConfig::default()), NodeInventory::new());
        let view = View { table: &table, inventory: &inventory, account: &Account::default };
        asked.try_iter().map(|query| query(&view)).count()
    }

    #[tokio::test]
    async fn who_has_gone_is_not_answered() {
        let (queries, asked) = Queries::new();
        let answered = Arc::new(AtomicU64::new(0));
        let ask = || {
            let answered = Arc::clone(&answered);
            queries.ask(move |_| answered.fetch_add(1, Ordering::Relaxed)).boxed()
        };
        let (mut gone, mut stays) = (ask(), ask());
        assert!(poll!(&mut gone).is_pending() && poll!(&mut stays).is_pending());
        drop(gone);
        assert_eq!(answer(&asked), 2);
        assert_eq!((stays.await, answered.load(Ordering::Relaxed)), (Ok(0), 1));
    }

    #[tokio::test]
    async fn a_few_wait_in_line_and_the_others_where_they_are() {
        let (queries, asked) = Queries::new();
        let mut all = join_all((0..10 * WAITING).map(|number| queries.ask(move |_| number))).boxed();
        let mut rounds = 0;
        let answers = loop {
            if let std::task::Poll::Ready(answers) = poll!(&mut all) {
                break answers;
            }
            assert!(answer(&asked) <= WAITING);
            rounds += 1;
            // A task may only do so much in one turn.
            tokio::task::yield_now().await;
        };
        assert!(rounds >= 10);
        assert_eq!(answers, (0..10 * WAITING).map(Ok).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn when_nobody_answers_any_more_all_are_told() {
        let (queries, asked) = Queries::new();
        let mut all = join_all((0..3 * WAITING).map(|_| queries.ask(|_| ()))).boxed();
        assert!(poll!(&mut all).is_pending());
        drop(asked);
        assert!(all.await.into_iter().all(|answer| answer == Err(Ended)));
    }
}
