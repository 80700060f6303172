//! Looking for what was missed: only when something was, and never for long.

/// What came of looking for what was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairCounts {
    /// How often it was looked.
    pub surveys: u64,
    /// Processes, or images of known ones, that ran and were not known.
    pub missing: u64,
    /// Processes that were thought to run and did not.
    pub gone: u64,
}
