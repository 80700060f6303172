//! Questions to the runtimes, and what came of them.

use std::sync::Arc;

use crate::{ContainerId, ContainerInfo};

/// What came of asking the runtimes for a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A runtime has it.
    Known(Arc<ContainerInfo>),
    /// Every runtime answered, and none has it.
    Unknown,
    /// No runtime has answered with it, and at least one could not be asked; or there is none.
    Unreachable,
}

/// An answer, and to what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The container that was asked for.
    pub id: ContainerId,
    /// What came of it.
    pub answer: Answer,
}

/// What became of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// The answer was there.
    Answered(Answer),
    /// The answer will come out of [`Runtimes::replies`](crate::Runtimes::replies).
    Waiting,
    /// Too many questions wait already. This one was counted and is forgotten.
    Refused,
}

/// What was asked and answered since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RuntimeCounters {
    /// Questions that went to the runtimes.
    pub asked: u64,
    /// Questions that were refused because too many waited.
    pub refused: u64,
    /// Questions answered with a container.
    pub known: u64,
    /// Questions to which all runtimes said no.
    pub unknown: u64,
    /// Questions that not every runtime could be asked.
    pub unreachable: u64,
    /// Replies that found no room in the channel.
    pub dropped_replies: u64,
}
