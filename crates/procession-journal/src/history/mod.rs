//! All that a journal has on one process, and on those that descended from it.
//!
//! The journal is folded once, so that each event comes with what the table knew of the process and of those
//! that led to it: from its beginning for a pid, which others may have had before; for one process from the last
//! checkpoint before its fork. What is remembered is the answer, not the journal.

mod descendants;
mod family;
mod life;

use std::time::SystemTime;

use procession::{Pid, ProcessKey};

use crate::journal::{Boot, Journal, JournalError, Witness};
use crate::reader::Damage;

use descendants::Gathering;
pub use descendants::{Descendant, Descendants};
use life::Biography;
pub use life::{Happening, Life, What};

/// What [`Journal::history`] found.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// Those of the earliest boot first, each boot's in order.
    pub list: Vec<Life>,
    /// What could not be read: something may be missing.
    pub damage: Vec<Damage>,
}

/// Which process is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Every process that ever had this pid.
    Pid(Pid),
    /// The process that had this image, with all others that it had.
    Key(ProcessKey),
}

impl Target {
    fn pid(self) -> Pid {
        match self {
            Self::Pid(pid) => pid,
            Self::Key(key) => key.pid,
        }
    }

    /// Whether `key` alone says that it is the one.
    fn names(self, key: ProcessKey) -> bool {
        match self {
            Self::Pid(pid) => key.pid == pid,
            Self::Key(own) => key == own,
        }
    }
}

impl Journal {
    /// All that it has on a process: how it came to be, what it ran, as whom and where, who owned it, which
    /// children it had, and how it ended. Several processes may have had one pid: all, in order, those of
    /// the earliest boot first.
    ///
    /// With `from`, only what happened then or later, and processes that were there by then. At most
    /// `most_children` children are told of in each boot; the others are counted.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn history(
        &self,
        target: Target,
        from: Option<SystemTime>,
        most_children: usize,
    ) -> Result<Lives, JournalError> {
        let mut lives = Lives::default();
        for boot in self.boots().iter().filter(|boot| from.is_none_or(|from| from <= boot.span().1)) {
            let mut biography = Biography::new(target, most_children);
            let damage = match from {
                Some(from) => boot.follow(Some(boot.boot_time(from)?), &mut biography)?,
                None => follow(boot, target, &mut biography)?,
            };
            lives.damage.extend(damage);
            lives.list.extend(biography.into_lives(from));
        }
        lives.damage.extend_from_slice(self.unread());
        Ok(lives)
    }

    /// Every process that ever descended from a process, even when all of them are long gone: parents before
    /// their children, which come in the order in which they began. At most `most` of them; of the others,
    /// the children of those are counted.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn descendants_ever(&self, target: Target, most: usize) -> Result<Descendants, JournalError> {
        let mut descendants = Descendants::default();
        for boot in self.boots() {
            let mut gathering = Gathering::new(target, most.saturating_sub(descendants.list.len()));
            descendants.damage.extend(follow(boot, target, &mut gathering)?);
            gathering.add_to(&mut descendants, &boot.recording);
        }
        descendants.damage.extend_from_slice(self.unread());
        Ok(descendants)
    }
}

/// Folds what may tell of `target`. What of that cannot be read.
fn follow(boot: &Boot, target: Target, witness: &mut dyn Witness) -> Result<Vec<Damage>, JournalError> {
    match target {
        Target::Pid(_) => boot.follow(None, witness),
        Target::Key(key) => boot.follow_process(key, witness),
    }
}
