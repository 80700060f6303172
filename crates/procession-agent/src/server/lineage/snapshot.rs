//! What runs at one moment.
//!
//! All of it is made in one question, which takes the table's owner from its work for as long: so clients
//! that come together, as they do after a restart, get the same.

use std::sync::{Arc, OnceLock};

use procession::Entry;
use procession_api::Encoded;
use procession_api::proto::procession::v1::follow_response::Item;
use procession_api::proto::procession::v1::{FollowResponse, Process};
use procession_api::proto::tetragon::GetEventsResponse;
use procession_api::proto::tetragon::get_events_response::Event;
use tonic::Status;

use super::super::bound::Shared;
use super::super::counters::ServerCounters;
use super::super::scan::{Eye, Scope, Seen};
use super::super::subscription::Subscription;
use super::super::turns::Place;
use super::fresh::Fresh;

/// What runs at one moment.
pub(super) struct Snapshot {
    /// How many events the table had received by then.
    pub(super) sequence: u64,
    processes: Vec<Sight>,
}

struct Sight {
    seen: Seen,
    /// If not, it is only there for filters to see.
    is_running: bool,
    /// With all its fields.
    whole: OnceLock<Encoded>,
}

/// The latest snapshots, by [`Scope`].
#[derive(Default)]
pub(super) struct Snapshots([Fresh<Snapshot>; 3]);

impl Snapshots {
    /// A snapshot of a moment after this call.
    pub(super) async fn take(
        &self,
        shared: &Shared,
        place: &Place,
        scope: Scope,
    ) -> Result<Arc<Snapshot>, Status> {
        self.0[scope as usize].get(async || Snapshot::take(shared, place.clone(), scope).await).await
    }
}

impl Snapshot {
    async fn take(shared: &Shared, place: Place, scope: Scope) -> Result<Self, Status> {
        let (asking, depth) = (shared.node.clone(), scope.depth(shared.config.filters));
        let taken = shared.turns.ask(&shared.node, place, move |view| {
            let mut eye = Eye::new(view, &asking, depth);
            let is_seen = |entry: &Entry<'_>| scope == Scope::Everything || entry.is_running();
            let seen = view.table.entries().filter(is_seen);
            let rank = |entry: Entry<'_>| (entry.began(), entry.key().pid, entry.key().start);
            let mut see = |entry: Entry<'_>| (rank(entry), Sight::new(eye.see(entry), entry.is_running()));
            let seen: Vec<_> = seen.map(&mut see).collect();
            (view.table.ledger().received(), seen)
        });
        let (sequence, mut seen) = taken.await?;
        // Filters that follow descendants must see their parents first.
        seen.sort_unstable_by_key(|(rank, _)| *rank);
        Ok(Self { sequence, processes: seen.into_iter().map(|(_, process)| process).collect() })
    }

    /// The processes that a client wants to know of.
    pub(super) fn encode(
        &self,
        node_name: &str,
        subscription: &mut Subscription,
        counters: &ServerCounters,
    ) -> impl Iterator<Item = Encoded> {
        self.processes.iter().filter_map(|process| process.encode(node_name, subscription, counters))
    }
}

impl Sight {
    fn new(seen: Seen, is_running: bool) -> Self {
        Self { seen, is_running, whole: OnceLock::new() }
    }

    fn encode(
        &self,
        node_name: &str,
        subscription: &mut Subscription,
        counters: &ServerCounters,
    ) -> Option<Encoded> {
        let event = self.seen.as_event(node_name);
        if !subscription.admits(&event) || !self.is_running {
            return None;
        }
        let mut process = self.seen.process.clone();
        if subscription.fields.is_empty() {
            return Some(self.whole.get_or_init(|| encode(process)).clone());
        }
        let Ok(GetEventsResponse { event: Some(Event::ProcessExec(exec)), .. }) =
            subscription.fields.apply(&event)
        else {
            // As with an event: nothing of it may be told.
            counters.unfiltered();
            return None;
        };
        process.process = exec.process;
        Some(encode(process))
    }
}

fn encode(process: Process) -> Encoded {
    Encoded::new(&FollowResponse { item: Some(Item::Running(process)) })
}
