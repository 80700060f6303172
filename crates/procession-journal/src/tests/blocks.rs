//! What blocks say besides events, and the order in which they are read.

use std::io::Cursor;
use std::time::{Duration, SystemTime};

use procession::{BootTime, Event, EventKind};

use super::{block, damage, file, read, recording};
use crate::{Container, Content, Kind, Pod, RawBlock, Reader};

fn lost(count: u64) -> Event<'static> {
    Event { time: BootTime::from_nanos(count), kind: EventKind::Lost(count) }
}

fn container() -> Container {
    Container {
        id: "a".repeat(64),
        name: "web".to_owned(),
        image: "nginx:1".to_owned(),
        image_id: "sha256:00".to_owned(),
        started: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(5)),
        pod: Some(Pod {
            uid: "u".to_owned(),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
            ..Pod::default()
        }),
    }
}

#[test]
fn every_block_says_of_its_journal_what_it_was_told() {
    let containers = [container(), Container::default()];
    let blocks = read(&file(&[
        RawBlock::head(&recording()),
        block(0, &[lost(1)]),
        RawBlock::names(&recording(), &containers),
    ]));
    assert!(blocks.iter().all(|block| block.recording.as_ref() == Some(&recording())));
    let [head, _, names] = &blocks[..] else { panic!("{blocks:?}") };
    assert!(matches!(&head.content, Content::Head { written_by } if written_by == env!("CARGO_PKG_VERSION")));
    assert!(matches!(&names.content, Content::Names(read) if **read == containers));
    assert_eq!((names.sequence, names.first), (1, recording().clock.boot()));
}

#[test]
fn a_block_that_was_taken_out_is_missed() {
    let [a, b, c] = [block(0, &[lost(1)]), block(1, &[lost(2), lost(3)]), block(3, &[lost(4)])];
    let blocks = read(&file(&[a.clone(), c.clone()]));
    let told = damage(&blocks);
    assert_eq!((told.len(), told[0].bytes, told[0].events, told[0].is_torn()), (1, 0, Some(2), false));
    assert_eq!(blocks.len(), 3);

    let blocks = read(&file(&[a.clone(), c.clone(), b.clone()]));
    assert_eq!(damage(&blocks).last().unwrap().events, Some(2), "it comes too late");
    let another_file = [RawBlock::head(&recording()), a.clone(), RawBlock::head(&recording()), c];
    assert!(damage(&read(&file(&another_file))).is_empty(), "files may be put together");
}

#[test]
fn headers_are_read_without_payloads() {
    let blocks = [RawBlock::head(&recording()), block(0, &[lost(7), lost(5)]), block(2, &[lost(9)])];
    let mut bytes = file(&blocks);
    let second = blocks[0].to_bytes().unwrap().len();
    bytes[second + 70] ^= 1;
    let mut reader = Reader::new(Cursor::new(&bytes)).unwrap();
    assert_eq!(reader.next_header().unwrap().unwrap().kind, Some(Kind::Head));
    let header = reader.next_header().unwrap().unwrap();
    assert_eq!((header.offset, header.kind, header.events), (second as u64, Some(Kind::Events), 2));
    assert_eq!((header.sequence, header.first, header.last), (Some(0), lost(5).time, lost(7).time));
    assert_eq!(reader.next_header().unwrap().unwrap().sequence, Some(2));
    assert!(reader.next_header().unwrap().is_none());

    reader.seek(header.offset);
    assert!(matches!(reader.next().unwrap().unwrap().content, Content::Damage(_)));
    assert!(matches!(reader.next().unwrap().unwrap().content, Content::Events(events) if events.len() == 1));
}
