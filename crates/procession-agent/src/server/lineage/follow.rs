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
    let snapshot = snapshots.take(shared, scope).await?;
    feed.skip_to(snapshot.sequence);
    let node = shared.node.clone();
    let encoding = tokio::task::spawn_blocking(move || {
        let mut encoded = snapshot.encode(node.presenter().node_name(), feed.subscription());
        let end = SnapshotEnd { processes: encoded.len() as u64 };
        encoded.push(Encoded::new(&FollowResponse { item: Some(Item::SnapshotEnd(end)) }));
        (encoded, feed)
    });
    let (snapshot, feed) = encoding.await.map_err(|_| Status::internal("the snapshot could not be made"))?;
    let room = reserve(room, &snapshot)?;
    let snapshot = stream::iter(snapshot).map(move |encoded| {
        // The room is given back when all is sent.
        let _ = &room;
        Ok(encoded)
    });
    Ok(Box::pin(snapshot.chain(feed.into_stream(|fed| Some(encode(fed))))))
}

fn reserve(room: &Arc<Semaphore>, snapshot: &[Encoded]) -> Result<OwnedSemaphorePermit, Status> {
    let bytes: usize = snapshot.iter().map(|encoded| encoded.0.len()).sum();
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    Arc::clone(room).try_acquire_many_owned(kib).map_err(|_| {
        Status::resource_exhausted("other clients have yet to read what already runs; try again later")
    })
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
