//! The reading end of a BPF ring buffer.
//!
//! The loader library has one too, which gives up a record's room as soon as it has been read, and begins
//! where the room begins. This one can read on while records keep their room ([`Ring::keep`]), so that
//! they are still there for another process if this one is killed.
//!
//! The kernel lays a ring out in pages: one with the position up to which room was given up, which the
//! reader writes; one with the position up to which room was taken, which the kernel writes; then the
//! data, which is mapped twice in a row, so that no record is broken at the end. Positions only grow;
//! modulo the size of the data they are places in it. A record begins with its length, in which two bits
//! say that it is still being written, or that it is void.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

/// Bytes before each record: its length with the two bits, and a word for the kernel.
const HEADER: usize = 8;
/// Records and headers stand at multiples of this.
const ALIGNMENT: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// How long a record may be in the making. Programs take microseconds for it, and more only where the
/// machine itself is held up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often such a record is looked at before it is given up: who was stopped may have looked only once.
const PATIENT_LOOKS: u32 = 100;

/// Reads the records of one ring, in order.
pub(crate) struct Ring {
    memory: Mapping,
    wakes: OwnedFd,
    /// Where the next record begins.
    position: usize,
    /// Whether room is given up by [`Self::release`] only.
    keeps: bool,
    /// While it keeps: positions of records, some way apart, the last one that was looked at at the end.
    steps: VecDeque<usize>,
    /// The record in the making that holds up all that come after it.
    unfinished: Option<Unfinished>,
    /// How often the ring was not as a ring is.
    broken: u64,
}

impl Ring {
    /// Begins with the oldest record that has its room. Where that cannot be, it begins with what comes
    /// from now on, and the kernel does too: others may have written the reader's position.
    pub(crate) fn open(map: BorrowedFd<'_>, bytes: u32) -> io::Result<Self> {
        let memory = Mapping::new(map, bytes)?;
        let wakes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // A ring that holds anything counts as readable. Only the kernel's wake-ups are asked for.
        let on_wake = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&wakes, map, epoll::EventData::new_u64(0), on_wake)?;
        let (position, broken) = if let Some(position) = first(&memory) {
            (position, 0)
        } else {
            // Else the kernel would wait for ever for room that nobody gives up.
            let produced = memory.produced();
            memory.consume(produced);
            (produced, 1)
        };
        Ok(Self { memory, wakes, position, keeps: false, steps: VecDeque::new(), unfinished: None, broken })
    }

    /// The next record, if it is complete, and its position. What was lent before is given up, unless it
    /// is kept.
    pub(crate) fn next(&mut self) -> Option<(u64, &[u8])> {
        let found = loop {
            match self.item(self.position) {
                Item::Record { start, len, next } => break Some((start, len, next)),
                Item::Void { next } => self.position = next,
                Item::Nothing => break None,
                Item::Unfinished if !self.has_waited_too_long() => break None,
                Item::Unfinished | Item::Broken => {
                    self.broken += 1;
                    self.position = self.memory.produced();
                }
            }
        };
        // The record before, which nobody can hold any more.
        if self.keeps {
            self.keep_at_most_half();
        } else {
            self.memory.consume(self.position);
        }
        let (start, len, next) = found?;
        let position = std::mem::replace(&mut self.position, next);
        Some((position as u64, self.memory.bytes(start, len)))
    }

    /// The records that [`next`](Self::next) will lend, and their positions.
    pub(crate) fn ahead(&self) -> Ahead<'_> {
        Ahead { ring: self, position: self.position }
    }

    /// Whether the record at the position will never be complete: it may be no record, if others have
    /// written the reader's position.
    fn has_waited_too_long(&mut self) -> bool {
        let (position, now) = (self.position, Instant::now());
        let begun = Unfinished { position, since: now, looks: 0 };
        let unfinished = self.unfinished.get_or_insert(begun);
        if unfinished.position != position {
            *unfinished = begun;
        }
        unfinished.is_given_up(now)
    }

    fn item(&self, position: usize) -> Item {
        item(position, self.memory.produced(), self.memory.size(), |at| self.memory.length(at))
    }

    /// Gives up the oldest of what is kept when it takes more than half of the ring: new records matter
    /// more, and who should have released it may be in trouble.
    fn keep_at_most_half(&mut self) {
        let (size, position) = (self.memory.size(), self.position);
        if self.steps.back().is_none_or(|last| position - last >= size / 16) {
            self.steps.push_back(position);
        }
        let consumed = self.memory.consumed();
        if position.saturating_sub(consumed) > size / 2
            && let Some(step) = self.steps.iter().copied().find(|step| position - step <= size / 2)
        {
            self.memory.consume(step);
        }
        let consumed = self.memory.consumed();
        while self.steps.front().is_some_and(|step| *step <= consumed && self.steps.len() > 1) {
            self.steps.pop_front();
        }
    }

    /// Where the record after the one that was lent last begins.
    pub(crate) fn position(&self) -> u64 {
        self.position as u64
    }

    /// The position behind the last record that was begun.
    pub(crate) fn produced(&self) -> u64 {
        self.memory.produced() as u64
    }

    /// From now on records keep their room until they are [released](Self::release), as long as those
    /// that were lent take no more than half of it.
    pub(crate) fn keep(&mut self) {
        self.keeps = true;
    }

    /// Gives up the room of all records before `position`, as far as they have been read.
    pub(crate) fn release(&mut self, position: u64) {
        let Ok(position) = usize::try_from(position) else { return };
        let is_record = position.is_multiple_of(ALIGNMENT);
        if is_record && position > self.memory.consumed() && position <= self.position {
            self.memory.consume(position);
        }
    }

    /// Writes the reader's position, wherever it leads.
    #[cfg(test)]
    pub(super) fn give_up_to(&self, position: usize) {
        self.memory.consume(position);
    }

    /// Reads on at `position`, wherever that is.
    #[cfg(test)]
    pub(super) fn go_to(&mut self, position: usize) {
        self.position = position;
    }

    /// Waits until the kernel wakes the reader, at most for `timeout`. A wake-up since the last call counts.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        let event = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        match epoll::wait(&self.wakes, &mut [event], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How often the ring was not as a ring is; what it held was passed over, however much that was.
    pub(crate) fn broken(&self) -> u64 {
        self.broken
    }
}

/// Where the oldest record begins that has its room. `None`: the reader's position is no place where a record
/// can begin.
fn first(memory: &Mapping) -> Option<usize> {
    let consumed = memory.consumed();
    let mut position = consumed;
    loop {
        match item(position, memory.produced(), memory.size(), |at| memory.length(at)) {
            Item::Record { next, .. } | Item::Void { next } => position = next,
            Item::Nothing | Item::Unfinished => return Some(consumed),
            Item::Broken => return None,
        }
    }
}

/// A record that was seen in the making.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    position: usize,
    since: Instant,
    looks: u32,
}

impl Unfinished {
    /// Looks once more.
    fn is_given_up(&mut self, now: Instant) -> bool {
        self.looks = self.looks.saturating_add(1);
        self.looks >= PATIENT_LOOKS && now.saturating_duration_since(self.since) >= PATIENCE
    }
}

/// Looks at records that are still to be lent. They stay where they are meanwhile.
pub(crate) struct Ahead<'a> {
    ring: &'a Ring,
    position: usize,
}

impl Ahead<'_> {
    /// The position behind the last record that was looked at.
    pub(crate) fn position(&self) -> u64 {
        self.position as u64
    }
}

impl<'a> Iterator for Ahead<'a> {
    type Item = (u64, &'a [u8]);

    /// `None` may be followed by more, when more has been written.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ring.item(self.position) {
                Item::Record { start, len, next } => {
                    let position = std::mem::replace(&mut self.position, next);
                    return Some((position as u64, self.ring.memory.bytes(start, len)));
                }
                Item::Void { next } => self.position = next,
                Item::Nothing | Item::Unfinished | Item::Broken => return None,
            }
        }
    }
}

/// What stands at a position in a ring.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    /// Nothing yet.
    Nothing,
    /// A record that is still being written.
    Unfinished,
    /// A record that was taken back; the next begins at `next`.
    Void { next: usize },
    /// `len` bytes from `start` in the data, which is there twice.
    Record { start: usize, len: usize, next: usize },
    /// Nothing that a kernel writes.
    Broken,
}

/// Looks at `position` in a ring of `size` bytes of data, a power of two. `length` reads the first word
/// of the header at a place below `size`.
///
/// Whatever it reads, a record lies within what was produced, and so within the doubled data.
fn item(position: usize, produced: usize, size: usize, length: impl FnOnce(usize) -> u32) -> Item {
    let Some(waiting) = produced.checked_sub(position) else { return Item::Broken };
    if waiting == 0 {
        return Item::Nothing;
    }
    if waiting > size || waiting < HEADER || !position.is_multiple_of(ALIGNMENT) {
        return Item::Broken;
    }
    let place = position & (size - 1);
    let word = length(place);
    if word & BUSY != 0 {
        return Item::Unfinished;
    }
    let len = (word & !(BUSY | DISCARDED)) as usize;
    let room = (HEADER + len).next_multiple_of(ALIGNMENT);
    if room > waiting {
        return Item::Broken;
    }
    let next = position + room;
    if word & DISCARDED != 0 {
        Item::Void { next }
    } else {
        Item::Record { start: place + HEADER, len, next }
    }
}

/// Reads all of a ring whose data is `data`, a power of two of bytes, from `position` up to `produced`, for `fuzz/`.
/// `visit` gets each record as it lies in the data that is there twice. The result is where it ends.
#[cfg(feature = "fuzzing")]
pub(crate) fn walk(data: &[u8], mut position: usize, produced: usize, visit: &mut dyn FnMut(&[u8])) -> usize {
    let twice = [data, data].concat();
    let word =
        |at: usize| twice.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word));
    loop {
        match item(position, produced, data.len(), word) {
            Item::Record { start, len, next } => {
                visit(&twice[start..start + len]);
                position = next;
            }
            Item::Void { next } => position = next,
            Item::Nothing | Item::Unfinished | Item::Broken => return position,
        }
    }
}

/// The memory of a ring, as the kernel maps it.
struct Mapping {
    consumer: NonNull<AtomicUsize>,
    /// A page with the producer's position, then the data twice.
    producer: NonNull<AtomicUsize>,
    page: usize,
    size: NonZeroUsize,
}

#[expect(unsafe_code, reason = "the ring is memory that is shared with the kernel")]
mod mapping {
    use super::{
        ALIGNMENT, AsFd as _, AtomicU32, AtomicUsize, BorrowedFd, MapFlags, Mapping, NonNull, NonZeroUsize,
        Ordering, ProtFlags, io, mmap, munmap, page_size, ptr,
    };

    // SAFETY: the mappings belong to the value alone and are not tied to a thread.
    unsafe impl Send for Mapping {}

    impl Mapping {
        /// Maps the ring `map`, whose data has `bytes` bytes: a power of two of at least a page.
        pub(super) fn new(map: BorrowedFd<'_>, bytes: u32) -> io::Result<Self> {
            let page = page_size();
            let size = usize::try_from(bytes).ok().filter(|size| size.is_power_of_two() && *size >= page);
            let size = size.and_then(NonZeroUsize::new).ok_or(io::ErrorKind::InvalidData)?;
            let read_write = ProtFlags::READ | ProtFlags::WRITE;
            let consumer = map_pages(map, page, read_write, 0)?;
            let length = page + 2 * size.get();
            // The kernel lets nobody write what it writes itself.
            let producer = map_pages(map, length, ProtFlags::READ, page as u64);
            let producer = producer.inspect_err(|_| {
                // SAFETY: `consumer` was mapped above with this length, and nothing refers to it.
                let _ = unsafe { munmap(consumer.as_ptr().cast(), page) };
            })?;
            Ok(Self { consumer, producer, page, size })
        }

        /// Bytes of data.
        pub(super) fn size(&self) -> usize {
            self.size.get()
        }

        /// Up to where room was given up.
        pub(super) fn consumed(&self) -> usize {
            // SAFETY: the page is mapped, and aligned for an atomic, as long as `self` is.
            unsafe { self.consumer.as_ref() }.load(Ordering::Acquire)
        }

        /// Gives up room. The kernel may write there from now on.
        pub(super) fn consume(&self, position: usize) {
            // SAFETY: as in `consumed`; the page is mapped writable.
            unsafe { self.consumer.as_ref() }.store(position, Ordering::Release);
        }

        /// Up to where room was taken.
        pub(super) fn produced(&self) -> usize {
            // SAFETY: the page is mapped, and aligned for an atomic, as long as `self` is.
            unsafe { self.producer.as_ref() }.load(Ordering::Acquire)
        }

        /// The word at `place` in the data. The kernel clears [`BUSY`](super::BUSY) there when all of
        /// the record has been written.
        pub(super) fn length(&self, place: usize) -> u32 {
            assert!(place < self.size() && place.is_multiple_of(ALIGNMENT), "a header has its place");
            let index = (self.page + place) / size_of::<AtomicU32>();
            // SAFETY: `place` is in the data, by the assertion, which is mapped behind the producer's page as
            // long as `self` is; the address is aligned as that of the page is, and as `place` is. The kernel
            // writes the word with an atomic store.
            let word = unsafe { &*self.producer.as_ptr().cast::<AtomicU32>().add(index) };
            word.load(Ordering::Acquire)
        }

        /// A part of the doubled data. To be called with the bounds of a complete record that still has
        /// its room; it has it until the next call of [`consume`](Self::consume), so the caller lends
        /// the bytes only together with itself.
        pub(super) fn bytes(&self, start: usize, len: usize) -> &[u8] {
            let end = start.checked_add(len);
            assert!(end.is_some_and(|end| end <= 2 * self.size()), "a record lies in the ring");
            // SAFETY: the range is in the doubled data, by the assertion, which is mapped readable as long
            // as `self` is. The kernel does not write to a record that is complete and has its room.
            unsafe { std::slice::from_raw_parts(self.data().add(start), len) }
        }

        fn data(&self) -> *const u8 {
            // SAFETY: the mapping is longer than the page at its begin.
            unsafe { self.producer.as_ptr().cast::<u8>().add(self.page) }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: both were mapped with these lengths, and nothing that refers to them outlives
            // `self`. It cannot fail for mappings that exist.
            let _ = unsafe { munmap(self.consumer.as_ptr().cast(), self.page) };
            // SAFETY: likewise.
            let _ = unsafe { munmap(self.producer.as_ptr().cast(), self.page + 2 * self.size.get()) };
        }
    }

    fn map_pages(
        map: BorrowedFd<'_>,
        length: usize,
        protection: ProtFlags,
        offset: u64,
    ) -> io::Result<NonNull<AtomicUsize>> {
        // SAFETY: a new mapping at an address that the kernel chooses overlaps with nothing.
        let address =
            unsafe { mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, map.as_fd(), offset) }?;
        NonNull::new(address.cast()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 4096;

    /// A ring as the kernel fills it, and what a reader should find there.
    #[derive(Default)]
    struct Model {
        words: std::collections::HashMap<usize, u32>,
        produced: usize,
        consumed: usize,
        expected: VecDeque<(usize, usize)>,
    }

    impl Model {
        /// Writes a record of `len` bytes, unless there is no room for it.
        fn write(&mut self, len: usize, flags: u32) {
            let room = (HEADER + len).next_multiple_of(8);
            if self.produced + room - self.consumed > SIZE {
                return;
            }
            let place = self.produced & (SIZE - 1);
            self.words.insert(place, u32::try_from(len).unwrap() | flags);
            if flags == 0 {
                self.expected.push_back((place + HEADER, len));
            }
            self.produced += room;
        }

        fn look(&self, position: usize) -> Item {
            item(position, self.produced, SIZE, |place| self.words[&place])
        }
    }

    #[test]
    fn a_record_that_is_being_written_holds_up_those_behind_it() {
        let mut model = Model::default();
        model.write(20, BUSY);
        model.write(20, 0);
        assert_eq!(model.look(0), Item::Unfinished);
        model.words.insert(0, DISCARDED | 0x14);
        assert_eq!(model.look(0), Item::Void { next: 32 });
        assert_eq!(model.look(32), Item::Record { start: 40, len: 20, next: 64 });
        assert_eq!(model.look(64), Item::Nothing);
    }

    #[test]
    fn a_record_that_is_never_complete_is_given_up_by_who_looked_often_and_long() {
        let begin = Instant::now();
        let mut record = Unfinished { position: 0, since: begin, looks: 0 };
        assert!(!record.is_given_up(begin + 100 * PATIENCE), "whoever was stopped looks more than once");
        assert!((0..2 * PATIENT_LOOKS).all(|_| !record.is_given_up(begin + PATIENCE / 2)));
        assert!(record.is_given_up(begin + PATIENCE));
    }

    #[test]
    fn what_no_kernel_writes_is_refused() {
        assert_eq!(item(0, 64, SIZE, |_| 57), Item::Broken, "longer than what was produced");
        assert_eq!(item(0, 64, SIZE, |_| DISCARDED | 0x39), Item::Broken);
        assert_eq!(item(0, SIZE + 8, SIZE, |_| 8), Item::Broken, "more than the ring holds");
        assert_eq!(item(8, 0, SIZE, |_| 8), Item::Broken, "read beyond the end");
        assert_eq!(item(4, 64, SIZE, |_| 8), Item::Broken, "between two places");
        assert_eq!(item(0, 4, SIZE, |_| 0), Item::Broken, "less than a header");
    }

    proptest! {
        #[test]
        fn a_reader_finds_what_was_written_in_order(
            steps in proptest::collection::vec((0usize..600, 0u32..4, 0usize..4), 1..200),
        ) {
            let mut model = Model::default();
            for (len, kind, reads) in steps {
                model.write(len, if kind == 0 { DISCARDED } else { 0 });
                for _ in 0..reads {
                    match model.look(model.consumed) {
                        Item::Record { start, len, next } => {
                            prop_assert_eq!(Some((start, len)), model.expected.pop_front());
                            model.consumed = next;
                        }
                        Item::Void { next } => model.consumed = next,
                        Item::Nothing => prop_assert!(model.expected.is_empty()),
                        Item::Unfinished | Item::Broken => prop_assert!(false),
                    }
                }
            }
        }

        #[test]
        fn whatever_the_memory_holds_a_record_lies_in_the_ring(
            position in any::<usize>(),
            ahead in prop_oneof![0usize..2 * SIZE, any::<usize>()],
            word in prop_oneof![0u32..8192, any::<u32>()],
        ) {
            let produced = position.wrapping_add(ahead);
            let mut read_at = None;
            let found = item(position, produced, SIZE, |place| { read_at = Some(place); word });
            prop_assert!(read_at.is_none_or(|place| place + HEADER <= SIZE));
            if let Item::Record { start, len, next } = found {
                prop_assert!(start + len <= 2 * SIZE);
                prop_assert!(next > position && next <= produced && next.is_multiple_of(8));
            }
        }
    }
}
