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
    let mut blocks = vec![RawBlock::head(&recording()), block(0, &[lost(1)])];
    blocks.extend(RawBlock::names(&recording(), &containers));
    let blocks = read(&file(&blocks));
    assert!(blocks.iter().all(|block| block.recording.as_ref() == Some(&recording())));
    let [head, _, names] = &blocks[..] else { panic!("{blocks:?}") };
    assert!(matches!(&head.content, Content::Head { written_by } if written_by == env!("CARGO_PKG_VERSION")));
    assert!(matches!(&names.content, Content::Names(read) if **read == containers));
    assert_eq!((names.sequence, names.first), (1, recording().clock.boot()));
}

/// A container whose pod has so many MiB of labels and annotations.
fn wordy(number: u64, labels: usize, annotations: usize) -> Container {
    let mut container = Container { id: format!("{number:064x}"), ..container() };
    let text = |count: usize| [("text".to_owned(), "long".repeat(count << 18))].into();
    if let Some(pod) = &mut container.pod {
        (pod.labels, pod.annotations) = (text(labels), text(annotations));
    }
    container
}

fn named(blocks: &[RawBlock]) -> Vec<Container> {
    let blocks = read(&file(blocks));
    assert!(damage(&blocks).is_empty());
    let named = |block| match block {
        crate::Block { content: Content::Names(containers), .. } => containers,
        other => panic!("{other:?}"),
    };
    blocks.into_iter().flat_map(named).collect()
}

#[test]
fn names_come_in_blocks_that_can_be_read() {
    assert!(RawBlock::names(&recording(), &[]).is_empty());
    let few: Vec<_> = (0..5).map(|number| wordy(number, 0, 0)).collect();
    assert_eq!(RawBlock::names(&recording(), &few).len(), 1);
    let many: Vec<_> = (0..10).map(|number| wordy(number, 1, 3)).collect();
    let blocks = RawBlock::names(&recording(), &many);
    assert_eq!((blocks.len(), named(&blocks)), (10, many));
}

#[test]
fn of_a_container_with_too_much_text_that_is_told_which_fits() {
    let told = |labels, annotations| {
        let containers = [wordy(1, labels, annotations), wordy(2, 0, 0)];
        let named = named(&RawBlock::names(&recording(), &containers));
        assert_eq!(named.last(), containers.last());
        let pod = named[0].pod.as_ref().unwrap();
        (named.len(), !pod.labels.is_empty(), !pod.annotations.is_empty())
    };
    assert_eq!(told(3, 4), (2, true, true));
    assert_eq!(told(4, 17), (2, true, false));
    assert_eq!(told(17, 1), (2, false, false));
    let mut nameless = wordy(1, 0, 0);
    nameless.name = "long".repeat(3 << 20);
    assert!(RawBlock::names(&recording(), &[nameless]).is_empty());
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
