//! What is in a block, from its payload.

use bytes::Bytes;
use procession::{Checkpoint, Event, Ledger};
use prost::Message;

use super::assembly::Assembly;
use super::damage::{Damage, why};
use crate::block::{Header, Kind};
use crate::codec::checkpoint::is_part;
use crate::codec::event::event;
use crate::codec::names;
use crate::codec::recording::{ledger, recording};
use crate::codec::wire::{Fields, Malformed, Value, count};
use crate::names::Container;
use crate::proto;
use crate::recording::Recording;

/// What a block holds.
#[derive(Debug)]
pub enum Content {
    /// The first block of a file, and which version wrote it.
    Head {
        /// The version.
        written_by: String,
    },
    /// A whole checkpoint: its last part.
    Checkpoint {
        /// The state.
        checkpoint: Box<Checkpoint>,
        /// Up to where the source was read.
        bookmark: Bytes,
    },
    /// A part of a checkpoint that is not the last.
    CheckpointPart,
    /// Events.
    Events(Events),
    /// Whose containers are.
    Names(Vec<Container>),
    /// The file was closed in order.
    Close(Box<Ledger>),
    /// It cannot be read.
    Damage(Damage),
}

/// The events of a block. They are read one by one: a block takes no more memory than it is long.
#[derive(Clone, Debug)]
pub struct Events {
    raw: Bytes,
    count: u32,
    bookmark: Bytes,
}

/// What is wrong with a payload.
type Decoded<T> = Result<T, &'static str>;

/// What a payload says of its journal, and the rest.
pub(super) fn decode(
    kind: Kind,
    header: &Header,
    raw: Bytes,
    checkpoint: &mut Assembly,
) -> Decoded<(Recording, Content)> {
    match kind {
        Kind::Head => {
            let head: proto::Head = message(raw)?;
            Ok((about(head.recording.as_ref())?, Content::Head { written_by: head.written_by }))
        }
        Kind::Events => {
            let (recording, events) = Events::decode(raw).map_err(|_| why::MALFORMED)?;
            let is_whole = events.count == header.events;
            let content = is_whole.then_some(Content::Events(events)).ok_or(why::MALFORMED)?;
            Ok((about(Some(&message(recording)?))?, content))
        }
        Kind::Checkpoint => {
            if count(&raw, &[4, 2, 1]) > MOST_ACCOUNTS {
                return Err(why::MALFORMED);
            }
            let part: proto::Checkpoint = message(without(&raw, is_part)?)?;
            let recording = about(part.recording.as_ref())?;
            let content = match checkpoint.add(&part, &raw, &recording, header)? {
                None => Content::CheckpointPart,
                Some((checkpoint, bookmark)) => {
                    Content::Checkpoint { checkpoint: Box::new(checkpoint), bookmark }
                }
            };
            Ok((recording, content))
        }
        Kind::Names => {
            let names: proto::Names = message(without(&raw, |field| field == CONTAINERS)?)?;
            Ok((about(names.recording.as_ref())?, Content::Names(containers(&raw)?)))
        }
        Kind::Close => {
            if count(&raw, &[2, 1]) > MOST_ACCOUNTS {
                return Err(why::MALFORMED);
            }
            let close: proto::Close = message(raw)?;
            let ledger = close.ledger.as_ref().map(ledger).ok_or(why::MALFORMED)?;
            Ok((about(close.recording.as_ref())?, Content::Close(Box::new(ledger))))
        }
    }
}

/// Far more than there are kinds of events to count.
const MOST_ACCOUNTS: usize = 64;

/// The field of [`proto::Names`] with a container.
const CONTAINERS: u64 = 2;

/// The most that the containers of a block may weigh: what the longest one can that is written.
const HEAVIEST_NAMES: usize = 128 << 20;

/// A message without some of its fields, which are read one by one.
fn without(raw: &[u8], is_left_out: impl Fn(u64) -> bool) -> Decoded<Bytes> {
    let mut rest = Vec::new();
    let mut fields = Fields::of(raw);
    while let Some(field) = fields.next_whole() {
        let (number, _, whole) = field.map_err(|Malformed| why::MALFORMED)?;
        if !is_left_out(number) {
            rest.extend_from_slice(whole);
        }
    }
    Ok(rest.into())
}

fn containers(raw: &Bytes) -> Decoded<Vec<Container>> {
    let mut containers = Vec::new();
    let mut left = HEAVIEST_NAMES;
    for field in Fields::of(raw) {
        let Ok((CONTAINERS, Value::Delimited(bytes))) = field else { continue };
        left = left.checked_sub(names::weight(bytes)).ok_or(why::TOO_MUCH)?;
        let container: proto::Container = message(raw.slice_ref(bytes))?;
        containers.push(container.into());
    }
    Ok(containers)
}

fn about(found: Option<&proto::Recording>) -> Decoded<Recording> {
    found.and_then(recording).ok_or(why::MALFORMED)
}

fn message<M: Message + Default>(raw: Bytes) -> Decoded<M> {
    M::decode(raw).map_err(|_| why::MALFORMED)
}

impl Events {
    /// With the encoded [`proto::Recording`].
    fn decode(raw: Bytes) -> Result<(Bytes, Self), Malformed> {
        let (mut recording, mut bookmark, mut count) = (&[][..], &[][..], 0);
        for field in Fields::of(&raw) {
            match field? {
                (1, Value::Delimited(bytes)) => recording = bytes,
                (2, Value::Delimited(_)) => count += 1,
                (3, Value::Delimited(bytes)) => bookmark = bytes,
                _ => {}
            }
        }
        let (recording, bookmark) = (raw.slice_ref(recording), raw.slice_ref(bookmark));
        Ok((recording, Self { raw, count, bookmark }))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Hands over each, in order. Those that make no sense, or are of a kind that a newer version writes,
    /// are counted: the result.
    pub fn each(&self, visit: &mut dyn FnMut(&Event<'_>)) -> u64 {
        self.each_in_place(&mut |_, event| visit(event))
    }

    /// As [`each`](Self::each), with the place of each in the block: from 1 on, and those that are counted have one
    /// too.
    pub(crate) fn each_in_place(&self, visit: &mut dyn FnMut(u64, &Event<'_>)) -> u64 {
        let (mut place, mut unreadable) = (0, 0);
        for field in Fields::of(&self.raw) {
            let Ok((2, Value::Delimited(bytes))) = field else { continue };
            place += 1;
            let decoded = proto::Event::decode(self.raw.slice_ref(bytes));
            match decoded.as_ref().ok().and_then(event) {
                Some(event) => visit(place, &event),
                None => unreadable += 1,
            }
        }
        unreadable
    }

    /// Up to where the source was read.
    pub fn bookmark(&self) -> &Bytes {
        &self.bookmark
    }
}

/// How many events a payload has, if it is one of events.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn events_in(raw: &[u8]) -> u32 {
    Events::decode(raw.to_vec().into()).map_or(0, |(_, events)| events.count)
}
