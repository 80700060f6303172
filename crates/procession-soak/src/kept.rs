//! What the agent left on the disk, as journal or as export: of what was not removed, each exec is there once.

use crate::book::{Book, Missing};
use crate::plan::Token;

/// What is in one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) events: u64,
    /// Of those acts of which all was still there.
    pub(crate) execs: u64,
    /// Events that it says it lost.
    pub(crate) lost: u64,
    /// The first act of which all was still there.
    pub(crate) from: u64,
    pub(crate) missing: Missing,
    pub(crate) faults: Vec<String>,
}

impl Kept {
    pub(crate) fn exec(&mut self, book: &mut Book, token: Token) {
        self.execs += 1;
        book.image(token);
    }

    /// Once all is read: what should be there from act `from` to `end`, which was not played.
    pub(crate) fn settle(&mut self, mut book: Book, from: Option<u64>, end: u64, held: &[u64]) {
        self.from = from.unwrap_or(end);
        self.faults.extend(book.faults.take().examples);
        self.missing = book.settle_images(self.from, end, held);
    }

    /// What is missing, unless as much is said to be lost: a summary, and examples.
    pub(crate) fn uncounted(&self) -> Option<(String, &[String])> {
        let (execs, lost) = (self.missing.counts.execs, self.lost);
        (execs > lost).then(|| {
            let summary = format!("{execs} execs are missing, {lost} events are known to be lost");
            (summary, self.missing.examples.as_slice())
        })
    }
}
