//! What is told of bytes that cannot be read.

/// Bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes at {offset} cannot be read: {why}")]
pub struct Damage {
    /// Where they begin in the file.
    pub offset: u64,
    /// How many they are. 0: nothing is there that should be.
    pub bytes: u64,
    /// What is wrong with them.
    pub why: &'static str,
    /// How many events were in them, where that is known.
    pub events: Option<u64>,
}

impl Damage {
    /// A whole file of so many bytes.
    pub(crate) fn of_file(bytes: u64) -> Self {
        Self { offset: 0, bytes, why: why::NO_FILE, events: None }
    }

    /// Whether the file ends within a block: for a file that is being written this is how it should be.
    pub fn is_torn(&self) -> bool {
        self.why == why::TORN
    }

    /// Whether a newer version of the program can read it.
    pub(crate) fn is_newer(&self) -> bool {
        self.why == why::NEWER
    }

    /// Whether it is a part of a checkpoint, and those before it were not read.
    pub(crate) fn lacks_parts(&self) -> bool {
        self.why == why::NO_PART
    }

    /// Whether it is a block that was read before, or came too late: nothing is missing for its sake.
    pub fn is_repeated(&self) -> bool {
        self.why == why::REPEATED
    }

    /// How many events are missing for its sake: those that were in it, unless it is repeated. `None`: nobody knows.
    pub fn missing(&self) -> Option<u64> {
        if self.is_repeated() { Some(0) } else { self.events }
    }
}

/// All that can be wrong, but for what is wrong with a payload.
pub(crate) mod why {
    pub(crate) const NO_FILE: &str = "the system cannot open or read the file that they are";
    pub(crate) const TORN: &str = "the file ends within a block";
    pub(crate) const INTERRUPTED: &str = "another block begins in them";
    pub(crate) const NO_BLOCK: &str = "they do not begin like a block";
    pub(crate) const NEWER: &str = "a newer version of the program wrote them";
    pub(crate) const UNKNOWN_KIND: &str = "they are a block of a kind that is not known here";
    pub(crate) const TOO_LONG: &str = "they say that they are more than a block can hold";
    pub(crate) const MALFORMED: &str = "they do not hold what their header says";
    pub(crate) const NO_PART: &str = "the parts of the checkpoint before them are missing";
    pub(crate) const NO_CHECKPOINT: &str = "the checkpoint in them is none that a table can have given";
    pub(crate) const TOO_MUCH: &str = "they would take far more memory than what they tell of";
    pub(crate) const MISSING: &str = "blocks are missing before this place";
    pub(crate) const REPEATED: &str = "they belong before what was read already";
}
