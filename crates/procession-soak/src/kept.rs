//! What the agent left on the disk, as journal or as export: of what was not removed, each exec is there once.

use crate::book::{Book, Missing};
use crate::pages::{Page, Part, Stretch};
use crate::plan::{Plan, Token};

/// A record that is read from its first event to its last.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    stretch: &'a Stretch,
    book: Book,
    part: Option<Part>,
    pub(crate) kept: Kept,
}

/// What is in one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) events: u64,
    /// What of the stretch since the last checkpoint was still there.
    pub(crate) part: Part,
    /// Of that part, what was found.
    pub(crate) execs: u64,
    pub(crate) ends: u64,
    /// Events of that stretch that it says it lost.
    pub(crate) lost: u64,
    pub(crate) missing: Missing,
    pub(crate) faults: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(stretch: &'a Stretch, book: Book) -> Self {
        Self { stretch, book, part: None, kept: Kept::default() }
    }

    /// The token that these arguments begin with, if it is of this run.
    pub(crate) fn token(&self, arguments: &str) -> Option<Token> {
        self.book.token(arguments)
    }

    /// An exec; the page tells whether it is later than the time of that.
    pub(crate) fn exec(&mut self, token: Option<Token>, is_before: impl Fn(&Page) -> bool) {
        // What began since the first that is there is all there.
        let part = self.part.get_or_insert_with(|| self.stretch.since(is_before));
        if let Some(token) = token.filter(|token| part.has(token.act)) {
            self.kept.execs += 1;
            self.book.image(token);
        }
    }

    /// An end.
    pub(crate) fn end(&mut self, token: Token) {
        self.kept.ends += u64::from(self.part.as_ref().is_some_and(|part| part.is_over(token.act)));
    }

    /// Events that the record says it lost.
    pub(crate) fn lose(&mut self, count: u64, is_before: impl Fn(&Page) -> bool) {
        let is_new = self.stretch.pages.first().is_some_and(|page| !is_before(page));
        self.kept.lost += if is_new { count } else { 0 };
    }

    /// Once all is read: what should be there, and is not.
    pub(crate) fn settle(mut self) -> Kept {
        self.kept.part = self.part.unwrap_or_else(|| self.stretch.since(|_| false));
        self.kept.missing = self.book.settle_images(self.kept.part.all());
        self.kept.faults.extend(self.book.faults.take().examples);
        self.kept
    }
}

impl Kept {
    /// Whether what is there is right, and what is missing is known to be lost.
    pub(crate) fn is_sound(&self, lost: u64) -> bool {
        self.faults.is_empty() && self.uncounted(lost).is_none()
    }

    /// Of the acts that are over, so many ends are not there.
    pub(crate) fn missing_ends(&self, seed: u64) -> u64 {
        let planned: u64 = self.part.over().map(|act| Plan::new(seed, act).counts().lives).sum();
        planned.saturating_sub(self.ends)
    }

    /// What is missing, unless as much is known to be lost: a summary, and examples.
    pub(crate) fn uncounted(&self, lost: u64) -> Option<(String, &[String])> {
        let execs = self.missing.counts.execs;
        (execs > lost).then(|| {
            let summary = format!("{execs} execs are missing, {lost} events are known to be lost");
            (summary, self.missing.examples.as_slice())
        })
    }
}

/// What all readings of a record came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compared {
    /// Events that were left at the last reading.
    pub(crate) events: u64,
    /// Acts that were compared, of those that were played.
    pub(crate) acts: u64,
    pub(crate) played: u64,
    pub(crate) execs: u64,
    pub(crate) ends: u64,
    pub(crate) lost: u64,
    pub(crate) missing: u64,
}

impl Compared {
    pub(crate) fn add(&mut self, kept: &Kept, stretch: &Stretch) {
        self.events = kept.events;
        self.acts += kept.part.acts.end - kept.part.acts.start;
        self.played += stretch.acts();
        self.execs += kept.execs;
        self.ends += kept.ends;
        self.lost += kept.lost;
        self.missing += kept.missing.counts.execs;
    }
}
