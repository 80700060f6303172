//! Why a journal gives no answer.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;

/// Why a journal cannot be read at all, or does not know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{} is no journal: there is no readable block in it", path.display())]
    Nothing {
        /// Where.
        path: PathBuf,
    },
    /// Nothing was recorded as early, or as late, as was asked for.
    #[error("nothing was recorded at that time: the journal is from {} to {}", Utc(*first), Utc(*last))]
    OutOfRange {
        /// The time of the first event.
        first: SystemTime,
        /// The time of the last event.
        last: SystemTime,
    },
    /// Nothing was recorded between two boots of the machine.
    #[error(
        "the machine was down, or nobody recorded, between {} and {}: ask for a time before or after that",
        Utc(*before), Utc(*after)
    )]
    NotRecorded {
        /// The time of the last event before.
        before: SystemTime,
        /// The time of the first event after.
        after: SystemTime,
    },
}

/// A time for people.
struct Utc(SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::try_from(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => f.write_str("a time that no calendar has"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_told_for_people() {
        let first = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_445_831_250);
        let error = JournalError::OutOfRange { first, last: first + Duration::from_mins(1) };
        assert_eq!(
            error.to_string(),
            "nothing was recorded at that time: the journal is from 2025-11-29T19:50:31.250Z to \
             2025-11-29T19:51:31.250Z"
        );
    }
}
