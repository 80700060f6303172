//! What runs now, then what happens from then on: without a gap, and nothing twice.
//!
//! The reader of the log is there before the table is asked. The table says in one answer what runs and
//! how many events it has received by then; so of what the reader gets, what the answer does not know yet
//! is exactly what has a larger sequence.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use futures_util::{StreamExt as _, stream};
use procession_api::Encoded;
use procession_api::proto::procession::v1::follow_response::Item;
use procession_api::proto::procession::v1::{FollowRequest, FollowResponse, Lost, SnapshotEnd};
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::super::bound::Shared;
use super::super::feed::{Fed, Feed, Place, Streamed};
use super::super::scan::Scope;
use super::super::subscription::{Subscription, Wish};
use super::super::turns::{drained, worked_out};
use super::snapshot::Snapshots;

/// The number of `event` in `FollowResponse`.
const EVENT_FIELD: u32 = 3;

pub(super) async fn follow(
    shared: &Shared,
    request: FollowRequest,
    snapshots: &Snapshots,
    room: &Arc<Semaphore>,
) -> Result<Streamed<Encoded>, Status> {
    let FollowRequest { allow_list, deny_list, field_filters } = request;
    let scope = Scope::of(&allow_list, &deny_list);
    let place = Place::take(shared)?;
    let wish = Wish { allow: allow_list, deny: deny_list, fields: field_filters };
    let subscription = Subscription::compile(shared, wish).await?;
    let mut feed = Feed::new(shared, place, subscription);
    let place = shared.turns.place().await?;
    let snapshot = snapshots.take(shared, &place, scope).await?;
    feed.skip_to(snapshot.sequence);
    let (node, counters, mut room) = (shared.node.clone(), shared.counters.clone(), Room::new(room));
    let encoding = worked_out(move || {
        let _place = place;
        let mut encoded = Vec::new();
        for process in snapshot.encode(node.presenter().node_name(), feed.subscription(), &counters) {
            room.take(process.0.len())?;
            encoded.push(process);
        }
        let end = SnapshotEnd { processes: encoded.len() as u64 };
        encoded.push(Encoded::new(&FollowResponse { item: Some(Item::SnapshotEnd(end)) }));
        Ok::<_, Status>((encoded, room, feed))
    });
    let (snapshot, room, feed) = encoding.await??;
    // The room is given back when all is sent.
    let snapshot = drained(stream::iter(snapshot).map(|it| Ok(Some(it))), room, shared.config.read_timeout);
    Ok(Box::pin(snapshot.chain(feed.into_stream(|fed| Some(encode(fed))))))
}

/// Room for what waits for one client.
struct Room {
    all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
    /// Bytes of what is taken that are not used yet.
    left: usize,
}

/// What is taken at a time.
const KIB_AT_A_TIME: u32 = 64;

impl Room {
    fn new(all: &Arc<Semaphore>) -> Self {
        Self { all: Arc::clone(all), taken: None, left: 0 }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        while self.left < bytes {
            let more = Arc::clone(&self.all).try_acquire_many_owned(KIB_AT_A_TIME).map_err(|_| {
                Status::resource_exhausted(
                    "other clients have yet to read what already runs; try again later",
                )
            })?;
            match &mut self.taken {
                Some(taken) => taken.merge(more),
                None => self.taken = Some(more),
            }
            self.left += KIB_AT_A_TIME as usize * 1024;
        }
        self.left -= bytes;
        Ok(())
    }
}

fn encode(fed: Fed) -> Encoded {
    match fed {
        Fed::Event(event) => Encoded(wrap(&event)),
        Fed::Lost(events) => Encoded::new(&FollowResponse { item: Some(Item::Lost(Lost { events })) }),
    }
}

/// The response around an event that is encoded already.
fn wrap(event: &Bytes) -> Bytes {
    // A key of one byte, and a length.
    let mut response = Vec::with_capacity(1 + 10 + event.len());
    encode_key(EVENT_FIELD, WireType::LengthDelimited, &mut response);
    encode_varint(event.len() as u64, &mut response);
    response.put_slice(event);
    response.into()
}

#[cfg(test)]
mod tests {
    use procession_api::proto::tetragon::GetEventsResponse;
    use prost::Message as _;

    use super::*;

    #[test]
    fn an_encoded_event_is_wrapped_as_the_message_would_be() {
        for name in ["", "node", &"n".repeat(300)] {
            let event = GetEventsResponse { node_name: name.into(), ..GetEventsResponse::default() };
            let wrapped = wrap(&event.encode_to_vec().into());
            assert_eq!(FollowResponse::decode(wrapped).unwrap().item, Some(Item::Event(event)));
        }
    }
}
