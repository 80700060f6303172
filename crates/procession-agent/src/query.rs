//! Questions to the owner of the table.

use crossbeam_channel::{Receiver, Sender, unbounded};
use procession::Table;
use tokio::sync::oneshot;

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
pub struct Queries(Sender<Query>);

/// Nobody answers any more: the observation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the observation has ended")]
pub struct Ended;

impl Queries {
    pub(crate) fn new() -> (Self, Receiver<Query>) {
        let (sender, receiver) = unbounded();
        (Self(sender), receiver)
    }

    /// Has `question` answered between two events, within 20 ms if little happens.
    ///
    /// # Errors
    ///
    /// The observation has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (sender, receiver) = oneshot::channel();
        let query: Query = Box::new(move |view| {
            // Who asked may have gone.
            let _ = sender.send(question(view));
        });
        self.0.send(query).map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }
}
