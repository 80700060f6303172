//! What runs at one moment.
//!
//! All of it is made in one question, which takes the table's owner from its work for as long: so clients
//! that come together, as they do after a restart, get the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use procession_api::Encoded;
use procession_api::proto::procession::v1::FollowResponse;
use procession_api::proto::procession::v1::follow_response::Item;
use procession_api::proto::tetragon::get_events_response::Event;
use tokio::sync::Mutex;
use tonic::Status;

use super::super::ended;
use super::super::scan::Seen;
use super::super::subscription::Subscription;
use crate::Node;

/// What runs at one moment.
pub(super) struct Snapshot {
    /// How many events the table had received by then.
    pub(super) sequence: u64,
    running: Vec<Running>,
}

struct Running {
    seen: Seen,
    /// With all its fields.
    whole: OnceLock<Encoded>,
}

/// The latest snapshots, as long as somebody uses them.
#[derive(Default)]
pub(super) struct Snapshots {
    /// How many clients have come.
    clients: AtomicU64,
    with_parents: Mutex<Latest>,
    without_parents: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    /// How many clients had come when it was asked for.
    clients: u64,
    snapshot: Weak<Snapshot>,
}

impl Snapshots {
    /// A snapshot of a moment after this call.
    pub(super) async fn take(&self, node: &Node, with_parents: bool) -> Result<Arc<Snapshot>, Status> {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let latest = if with_parents { &self.with_parents } else { &self.without_parents };
        let mut latest = latest.lock().await;
        if number < latest.clients
            && let Some(snapshot) = latest.snapshot.upgrade()
        {
            return Ok(snapshot);
        }
        let clients = self.clients.load(Ordering::Relaxed);
        let snapshot = Arc::new(Snapshot::take(node, with_parents).await?);
        *latest = Latest { clients, snapshot: Arc::downgrade(&snapshot) };
        Ok(snapshot)
    }
}

impl Snapshot {
    async fn take(node: &Node, with_parents: bool) -> Result<Self, Status> {
        let asking = node.clone();
        let taken = node.queries().ask(move |view| {
            let running = view.table.entries().filter(|entry| entry.is_running());
            let seen = running.map(|entry| Seen::new(view, &asking, entry, with_parents));
            let running = seen.map(|seen| Running { seen, whole: OnceLock::new() }).collect();
            Self { sequence: view.table.ledger().received(), running }
        });
        taken.await.map_err(ended)
    }

    /// The processes that a client wants to know of.
    pub(super) fn encode(&self, node_name: &str, subscription: &mut Subscription) -> Vec<Encoded> {
        self.running.iter().filter_map(|running| running.encode(node_name, subscription)).collect()
    }
}

impl Running {
    fn encode(&self, node_name: &str, subscription: &mut Subscription) -> Option<Encoded> {
        let event = self.seen.as_event(node_name);
        if !subscription.admits(&event) {
            return None;
        }
        let mut process = self.seen.process.clone();
        if subscription.fields.is_empty() {
            return Some(self.whole.get_or_init(|| encode(process)).clone());
        }
        let Some(Event::ProcessExec(exec)) = subscription.fields.apply(&event).ok()?.event else {
            return None;
        };
        process.process = exec.process;
        Some(encode(process))
    }
}

fn encode(process: procession_api::proto::procession::v1::Process) -> Encoded {
    Encoded::new(&FollowResponse { item: Some(Item::Running(process)) })
}
