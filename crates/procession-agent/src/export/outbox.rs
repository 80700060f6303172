//! Lines on their way out: written whole, in order, and counted when they are.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::thread;
use std::time::Duration;

use prost_types::Timestamp;

use super::counts::Counters;

/// How long to wait for room in a pipe that its reader made non-blocking.
const PIPE_PAUSE: Duration = Duration::from_millis(10);

/// How much is written at once where somebody may read slowly: a write lasts until all of it was taken, and so it
/// is seen that they do read.
const AT_ONCE: usize = 16 << 10;

/// What may stay allocated in any case.
const KEPT_CAPACITY: usize = 1 << 20;

/// More than that stays while it is at most so many times what the last lines took: those that follow are likely to
/// take as much, and to give it back each time is to allocate and copy it again each time.
const KEPT_TIMES: usize = 4;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content {
    /// An event, that happened then.
    Event(Option<Timestamp>),
    /// That events are missing.
    Notice,
}

/// Lines that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// So many of `bytes` are written.
    gone: usize,
    /// Lengths and contents of the lines in the rest.
    lines: VecDeque<(usize, Content)>,
}

impl Outbox {
    pub(super) fn push(&mut self, line: &[u8], content: Content) {
        self.bytes.extend_from_slice(line);
        self.lines.push_back((line.len(), content));
    }

    /// Appends the line that `write` appends to what it is given. `None`: it made none.
    pub(super) fn push_made(
        &mut self,
        content: Content,
        write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Option<()> {
        let before = self.bytes.len();
        write(&mut self.bytes)?;
        self.lines.push_back((self.bytes.len() - before, content));
        Some(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes that are not written yet.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.gone
    }

    /// The length of the next line.
    pub(super) fn first(&self) -> usize {
        self.lines.front().map_or(0, |(length, _)| *length)
    }

    /// The length of the next lines that fit into `room` together.
    pub(super) fn fitting(&self, room: u64) -> usize {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if self.len() <= room {
            return self.len();
        }
        let mut fitting = 0;
        for (length, _) in &self.lines {
            if fitting + length > room {
                break;
            }
            fitting += length;
        }
        fitting
    }

    /// Takes `bytes` as written. Returns how many of them are the begin of a line that is not whole.
    fn take(&mut self, bytes: usize, counters: &Counters) -> usize {
        let mut left = bytes;
        while let Some((length, content)) = self.lines.front().copied()
            && length <= left
        {
            self.lines.pop_front();
            left -= length;
            self.gone += length;
            counters.wrote(length, content);
        }
        if self.lines.is_empty() {
            self.clear();
        }
        left
    }

    /// Begins anew, with as much room as lines like the last ones need.
    fn clear(&mut self) {
        let used = self.bytes.len().max(KEPT_CAPACITY);
        self.bytes.clear();
        self.gone = 0;
        if self.bytes.capacity() / KEPT_TIMES > used {
            self.bytes.shrink_to(used);
        }
    }
}

/// What lines are appended to.
pub(super) trait Medium {
    /// Appends some of `bytes`, and says how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Takes the last `bytes` away again.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        // It may have become shorter under our hands. It must not grow by this.
        let length = self.metadata()?.len();
        self.set_len(length.saturating_sub(bytes))
    }
}

/// The end of what lines are appended to.
#[derive(Debug)]
pub(super) struct Tail<M> {
    pub(super) medium: M,
    /// How long it is.
    pub(super) length: u64,
    /// Bytes at the end that are the begin of the next line, when they could not be taken away.
    torn: usize,
    /// How much it is given at once.
    at_once: usize,
}

impl<M: Medium> Tail<M> {
    /// The end of a file.
    pub(super) fn new(medium: M, length: u64) -> Self {
        Self { medium, length, torn: 0, at_once: usize::MAX }
    }

    /// The end of what may be read slowly, such as a pipe.
    pub(super) fn of_stream(medium: M) -> Self {
        Self { at_once: AT_ONCE, ..Self::new(medium, 0) }
    }

    /// Whether it ends in the middle of a line.
    pub(super) fn is_torn(&self) -> bool {
        self.torn > 0
    }

    /// Appends the next `bytes`, a number of whole lines. After an error it ends with the last line
    /// that was written whole; if it cannot be cut, the next call goes on where this one stopped.
    pub(super) fn append(
        &mut self,
        outbox: &mut Outbox,
        bytes: usize,
        counters: &Counters,
    ) -> io::Result<()> {
        let lines = &outbox.bytes[outbox.gone..][..bytes];
        let (written, result) = self.append_all(&lines[self.torn..], counters);
        self.length += written as u64;
        self.torn = outbox.take(self.torn + written, counters);
        if self.is_torn() && self.medium.cut(self.torn as u64).is_ok() {
            self.length = self.length.saturating_sub(self.torn as u64);
            self.torn = 0;
        }
        result
    }

    fn append_all(&mut self, bytes: &[u8], counters: &Counters) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            let next = &bytes[written..];
            match self.medium.append(&next[..next.len().min(self.at_once)]) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(PIPE_PAUSE);
                    continue;
                }
                Err(error) => return (written, Err(error)),
            }
            counters.moved();
        }
        (written, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Accepts so many bytes at each call; none: fails.
    struct Faulty {
        content: Vec<u8>,
        accepts: VecDeque<usize>,
        can_cut: bool,
    }

    impl Medium for Faulty {
        fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let accepted = self.accepts.pop_front().unwrap_or(usize::MAX).min(bytes.len());
            if accepted == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.content.extend_from_slice(&bytes[..accepted]);
            Ok(accepted)
        }

        fn cut(&mut self, bytes: u64) -> io::Result<()> {
            if !self.can_cut {
                return Err(ErrorKind::PermissionDenied.into());
            }
            let length = self.content.len() - usize::try_from(bytes).unwrap();
            self.content.truncate(length);
            Ok(())
        }
    }

    /// Writes a line of so many bytes.
    fn write(outbox: &mut Outbox, length: usize) {
        let mut tail = Tail::new(Faulty { content: Vec::new(), accepts: VecDeque::new(), can_cut: true }, 0);
        outbox.push(&vec![b'a'; length], Content::Notice);
        let no_line = outbox.push_made(Content::Notice, |_| None);
        assert_eq!((no_line, outbox.lines.len()), (None, 1));
        let bytes = outbox.len();
        tail.append(outbox, bytes, &Counters::default()).unwrap();
        assert_eq!((tail.medium.content.len(), outbox.is_empty()), (length, true));
    }

    #[test]
    fn who_reads_a_long_line_slowly_is_seen_to_read() {
        let (mut outbox, counters) = (Outbox::default(), Counters::default());
        let faulty = Faulty { content: Vec::new(), accepts: VecDeque::new(), can_cut: false };
        let mut tail = Tail::of_stream(faulty);
        outbox.push(&vec![b'a'; 10 * AT_ONCE + 1], Content::Notice);
        let bytes = outbox.len();
        tail.append(&mut outbox, bytes, &counters).unwrap();
        assert_eq!((tail.medium.content.len(), counters.standing().done), (bytes, 11));
    }

    #[test]
    fn a_long_line_leaves_little_behind_when_short_ones_follow() {
        let mut outbox = Outbox::default();
        write(&mut outbox, 8 * KEPT_CAPACITY);
        write(&mut outbox, 100);
        assert!(outbox.bytes.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn lines_of_one_length_are_not_allocated_again_and_again() {
        let mut outbox = Outbox::default();
        for length in [100, KEPT_CAPACITY / 2, 2 * KEPT_CAPACITY, 8 * KEPT_CAPACITY] {
            write(&mut outbox, length);
            let before = outbox.bytes.as_ptr();
            assert!(outbox.bytes.capacity() >= length);
            write(&mut outbox, length);
            assert!(std::ptr::eq(outbox.bytes.as_ptr(), before));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_each_line_is_there_once_and_whole(
            lines in prop::collection::vec("[a-z]{0,12}\n", 1..40),
            accepts in prop::collection::vec(0_usize..30, 0..60),
            can_cut: bool,
            room in 0_u64..60,
        ) {
            let counters = Counters::default();
            let mut outbox = Outbox::default();
            for line in &lines {
                outbox.push(line.as_bytes(), Content::Event(None));
            }
            let mut tail = Tail::new(Faulty { content: Vec::new(), accepts: accepts.into(), can_cut }, 0);
            while !outbox.is_empty() {
                let bytes = outbox.fitting(room).max(outbox.first());
                let result = tail.append(&mut outbox, bytes, &counters);
                let content = &tail.medium.content;
                prop_assert_eq!(tail.length, content.len() as u64);
                let whole = content.split(|byte| *byte == b'\n').skip(1).count() as u64;
                prop_assert_eq!(counters.counts().exported, whole);
                prop_assert_eq!(tail.is_torn(), !content.is_empty() && content.last() != Some(&b'\n'));
                prop_assert!(!tail.is_torn() || (result.is_err() && !can_cut));
            }
            let all = lines.concat();
            prop_assert_eq!(&tail.medium.content, all.as_bytes());
            prop_assert_eq!(counters.counts().bytes, all.len() as u64);
        }
    }
}
