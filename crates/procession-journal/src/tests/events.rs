//! Events come back as they were, and what is written is what `prost` would write.

use procession::{Applied, BootTime, Event, EventKind};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::arbitrary::owned_event;
use super::{block, file, read};
use crate::codec::event::{event, put_event};
use crate::codec::wire::Put;
use crate::{Content, Fold, Journal, Moment, Piece, Witness, proto};

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_event(&mut Put::new(&mut bytes), event);
    bytes
}

proptest! {
    #[test]
    fn any_event_is_written_as_prost_would_and_reads_back((shape, texts) in owned_event()) {
        let original = shape.event(&texts);
        let bytes = encoded(&original);
        let message = proto::Event::decode(&bytes[..]).unwrap();
        prop_assert_eq!(event(&message), Some(original));
        prop_assert_eq!(message.encode_to_vec(), bytes);
    }

    #[test]
    fn any_events_come_back_from_a_block(owned in vec(owned_event(), 0..50), sequence in any::<u64>()) {
        let events: Vec<_> = owned.iter().map(|(shape, texts)| shape.event(texts)).collect();
        let blocks = read(&file(&[block(sequence, &events)]));
        let [crate::Block { content: Content::Events(read), sequence: before, first, last, .. }] = &blocks[..]
        else {
            return Err(TestCaseError::fail("it is one block of events"));
        };
        let mut expected = events.iter();
        let unreadable = read.each(&mut |event| assert_eq!(Some(event), expected.next()));
        prop_assert_eq!((unreadable, expected.len(), read.len()), (0, 0, events.len()));
        prop_assert_eq!((*before, &read.bookmark()[..]), (sequence, &b"mark"[..]));
        let times = || events.iter().map(|event| event.time);
        prop_assert_eq!(Some(*first), times().min().or(Some(BootTime::ZERO)));
        prop_assert_eq!(Some(*last), times().max().or(Some(BootTime::ZERO)));
    }

    #[test]
    fn any_bytes_are_an_event_or_none(bytes in vec(any::<u8>(), 0..100)) {
        if let Ok(message) = proto::Event::decode(&bytes[..])
            && let Some(decoded) = event(&message)
        {
            let again = encoded(&decoded);
            let again = proto::Event::decode(&again[..]).unwrap();
            prop_assert_eq!(event(&again), Some(decoded));
        }
    }
}

#[test]
fn what_a_newer_version_may_tell_of_is_counted() {
    // Kind 200, of which nothing is known here, and a fork without a child.
    let (unknown, empty) = (b"\xc2\x0c\x01x", b"\x12\x00");
    let lost = Event { time: BootTime::from_nanos(5), kind: EventKind::Lost(9) };
    let mut raw = crate::BlockBuilder::new(0);
    raw.push(&lost);
    raw.push_encoded(unknown);
    raw.push_encoded(empty);
    raw.push(&lost);
    let file = file(&[raw.take(&super::recording(), b"")]);
    let blocks = read(&file);
    let [crate::Block { content: Content::Events(events), .. }] = &blocks[..] else { panic!("{blocks:?}") };
    let mut seen = 0;
    let unreadable = events.each(&mut |event| {
        assert_eq!(*event, lost);
        seen += 1;
    });
    assert_eq!((seen, unreadable, events.len()), (2, 2, 4));

    let kept = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kept.path(), file).unwrap();
    let mut told = Vec::new();
    let mut tell = |piece: Piece<'_>| match piece {
        Piece::Block(_) => {}
        Piece::Event(_) => told.push(0),
        Piece::PassedOver(count) => told.push(count),
    };
    let journal = Journal::open(kept.path()).unwrap();
    journal
        .read(None, &mut |piece| {
            tell(piece);
            true
        })
        .unwrap();
    assert_eq!(told, [0, 0, 2], "who reads a whole journal is told too");
}

#[derive(Default)]
struct Places(Vec<u64>);

impl Witness for Places {
    fn applied(&mut self, moment: Moment<'_>, _applied: Applied) {
        self.0.push(moment.sequence);
    }
}

#[test]
fn an_event_has_its_place_whatever_stands_before_it() {
    let lost = Event { time: BootTime::from_nanos(5), kind: EventKind::Lost(9) };
    let mut raw = crate::BlockBuilder::new(7);
    raw.push(&lost);
    raw.push_encoded(b"\xc2\x0c\x01x");
    raw.push(&lost);
    let blocks = read(&file(&[raw.take(&super::recording(), b"")]));
    let mut places = Places::default();
    Fold::default().push(&blocks[0], &mut places);
    assert_eq!(places.0, [8, 10]);
}
