//! What is in the blocks of a journal, one by one, and damage to them.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use procession::EventKind;
use procession_journal::{Block, Content, Damage, Journal, Piece, Reader};

/// All that cannot be read in a file of a journal.
pub(crate) fn damage_in(file: &Path) -> Vec<Damage> {
    let damage = blocks_of(file).into_iter().filter_map(|block| match block.content {
        Content::Damage(damage) => Some(damage),
        _ => None,
    });
    damage.collect()
}

/// All that a file has, in order.
pub(crate) fn blocks_of(file: &Path) -> Vec<Block> {
    let mut reader = Reader::new(fs::File::open(file).unwrap()).unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// How many events came before the checkpoint with which a file begins.
pub(crate) fn checkpoint_of(file: &Path) -> u64 {
    let mut blocks = blocks_of(file).into_iter();
    blocks.find(|block| matches!(block.content, Content::Checkpoint { .. })).unwrap().sequence
}

/// Of a program that begins.
fn arguments<'a>(kind: &'a EventKind<'a>) -> impl Iterator<Item = &'a [u8]> {
    let all = match kind {
        EventKind::Exec(exec) => exec.program.arguments.bytes,
        _ => &[],
    };
    all.split(|byte| *byte == 0)
}

/// How many programs began and processes ended, from the program with that argument on.
pub(crate) fn begins_and_ends_from(journal: &Path, argument: &[u8]) -> u64 {
    let mut count = 0;
    let mut note = |kind: &EventKind<'_>| {
        let is_it = arguments(kind).any(|it| it == argument);
        let is_told = matches!(kind, EventKind::Exec(_) | EventKind::Exit(_));
        count += u64::from(is_it || (count > 0 && is_told));
    };
    let visit = &mut |piece: Piece<'_>| {
        if let Piece::Event(event) = piece {
            note(&event.kind);
        }
        true
    };
    Journal::open(journal).unwrap().read(None, visit).unwrap();
    count
}

/// Changes a byte of the payload of each block that has such an argument: how many events each held.
pub(crate) fn damage_blocks_with(path: &Path, argument: &[u8]) -> Vec<u64> {
    /// A block's own, before its payload.
    const HEADER: u64 = 64;
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut damaged = Vec::new();
    for block in blocks_of(path) {
        let Content::Events(events) = &block.content else { continue };
        let mut has_it = false;
        events.each(&mut |event| has_it |= arguments(&event.kind).any(|it| it.starts_with(argument)));
        if has_it {
            let mut byte = [0];
            file.read_exact_at(&mut byte, block.offset + HEADER).unwrap();
            file.write_all_at(&[!byte[0]], block.offset + HEADER).unwrap();
            damaged.push(events.len() as u64);
        }
    }
    damaged
}
