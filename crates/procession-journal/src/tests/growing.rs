//! A file that grows while it is read: what its writer finishes meanwhile is whole, not damaged.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use super::damaged::{events, journal};
use super::{block, damage, file};
use crate::{Block, Content, RawBlock, Reader};

/// So much of a file is there at first, and all of it from a certain call on.
struct Growing<'f> {
    file: Cursor<&'f [u8]>,
    whole: &'f [u8],
    calls: usize,
}

impl<'f> Growing<'f> {
    fn new(whole: &'f [u8], length: usize, calls: usize) -> Self {
        Self { file: Cursor::new(&whole[..length]), whole, calls }
    }

    fn grow(&mut self) {
        if self.calls == 0 {
            let position = self.file.position();
            self.file = Cursor::new(self.whole);
            self.file.set_position(position);
        }
        self.calls = self.calls.saturating_sub(1);
    }

    fn has_grown(&self) -> bool {
        self.file.get_ref().len() == self.whole.len()
    }
}

impl Read for Growing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.grow();
        self.file.read(buffer)
    }
}

impl Seek for Growing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.grow();
        self.file.seek(to)
    }
}

/// Reads with `walk` while the file grows from each of `lengths` on after any number of calls, until that is more than
/// there are.
/// The result of `walk` is how far it came.
fn at_any_moment(whole: &[u8], lengths: &[usize], walk: impl Fn(&mut Reader<Growing<'_>>, &str) -> u64) {
    for length in lengths {
        for calls in 0.. {
            let mut reader = Reader::new(Growing::new(whole, *length, calls)).unwrap();
            let case = format!("{length} of {} bytes, {calls} calls", whole.len());
            let end = walk(&mut reader, &case);
            assert!(calls > 0 || end == whole.len() as u64, "{case}: it was whole from the first call on");
            if !reader.into_inner().has_grown() {
                break;
            }
        }
    }
}

/// Some blocks, and where the last but two may be cut: around its header, in its payload, and at its end; with nothing
/// behind it at first but later two others.
fn cases() -> (Vec<u8>, Vec<usize>) {
    let events = events();
    let blocks: Vec<RawBlock> =
        [0..5, 5..9, 9..14, 14..18].map(|range| block(range.start as u64, &events[range])).into();
    let place = file(&blocks[..1]).len();
    let end = file(&blocks[..2]).len();
    let lengths = vec![place, place + 1, place + 63, place + 64, place + 70, end - 1, end, end + 1, end + 64];
    (file(&blocks), lengths)
}

fn is_torn(block: &Block) -> bool {
    matches!(&block.content, Content::Damage(damage) if damage.is_torn())
}

#[test]
fn what_is_finished_while_one_looks_is_not_damaged() {
    let (whole, lengths) = cases();
    at_any_moment(&whole, &lengths, |reader, case| {
        let mut blocks: Vec<_> = std::iter::from_fn(|| reader.next().unwrap()).collect();
        let _ = blocks.pop_if(|last| is_torn(last));
        assert!(damage(&blocks).is_empty(), "{case}: {blocks:?}");
        let mut end = 0;
        for block in blocks {
            assert_eq!(block.offset, end, "{case}");
            end += block.bytes;
        }
        end
    });
}

#[test]
fn headers_are_not_left_out_while_the_file_grows() {
    let (whole, lengths) = cases();
    at_any_moment(&whole, &lengths, |reader, case| {
        let mut end = 0;
        while let Some(header) = reader.next_header().unwrap() {
            assert_eq!(header.offset, end, "{case}");
            end += header.bytes;
        }
        end
    });
}

#[test]
fn what_is_passed_over_while_the_file_grows_is_whole_too() {
    let whole = file(&journal());
    let lengths: Vec<_> = (whole.len() / 2..whole.len()).step_by(41).collect();
    at_any_moment(&whole, &lengths, |reader, case| {
        let mut end = 0;
        while let Some(header) = reader.peek().unwrap() {
            assert_eq!(header.offset, end, "{case}");
            if !reader.skip(&header).unwrap() {
                let block = reader.next().unwrap().unwrap();
                assert!(
                    is_torn(&block) || damage(std::slice::from_ref(&block)).is_empty(),
                    "{case}: {block:?}"
                );
            }
            end += header.bytes;
        }
        end
    });
}
