//! When events cannot be written: what is said, and how long to wait before the next attempt.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A disk that is full now and then should not fill the agent's own log.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Whether events can be written, and what was said of it.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// `None`: they can.
    current: Option<Current>,
    /// What was said last, and when.
    said: Option<(ErrorKind, Instant)>,
}

/// A time in which nothing can be written.
#[derive(Debug)]
struct Current {
    /// How long to wait before the next attempt.
    pause: Duration,
    /// Events that were lost before.
    lost: u64,
    was_said: bool,
}

impl Trouble {
    /// Takes note of an attempt that failed at `now`, when `lost` events were lost so far, and returns how
    /// long to wait before the next.
    ///
    /// What is wrong is said once, and again when it becomes something else, or returns after a while.
    pub(super) fn failed(&mut self, path: &str, error: &io::Error, lost: u64, now: Instant) -> Duration {
        let is_first = self.current.is_none();
        let current = self.current.get_or_insert(Current { pause: FIRST_PAUSE, lost, was_said: false });
        let is_same = self.said.is_some_and(|(kind, _)| kind == error.kind());
        let is_recent = self.said.is_some_and(|(_, at)| now - at < SAY_AGAIN_AFTER);
        if !is_same || (is_first && !is_recent) {
            self.said = Some((error.kind(), now));
            current.was_said = true;
            tracing::warn!(
                path,
                %error,
                "events cannot be exported: {}. They wait in the event queue, and the oldest are lost when \
                 that is full",
                advice(error.kind())
            );
        }
        let pause = current.pause;
        current.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Takes note of an attempt that went well.
    pub(super) fn ended(&mut self, path: &str, lost: u64) {
        let Some(current) = self.current.take() else { return };
        let lost = lost.saturating_sub(current.lost);
        if current.was_said || lost > 0 {
            tracing::info!(path, lost, "events are exported again");
        }
    }

    /// Whether the last attempt failed.
    pub(super) fn is_there(&self) -> bool {
        self.current.is_some()
    }
}

/// What to do about it.
pub(super) fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space, or keep less with export-file-max-size-mb and export-file-max-backups"
        }
        ErrorKind::PermissionDenied => "let the agent write there, or export to another directory",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "make its directory again",
        ErrorKind::IsADirectory => "name a file in that directory, such as DIR/events.log",
        ErrorKind::ReadOnlyFilesystem => "make the file system writable, or export to another one",
        ErrorKind::ResourceBusy => "stop it, or export to another file",
        ErrorKind::BrokenPipe => "nobody reads the output any more",
        _ => "see what is wrong with the file or its device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is said of an attempt that failed.
    fn is_said(trouble: &mut Trouble, kind: ErrorKind, now: Instant) -> bool {
        trouble.failed("a file", &kind.into(), 0, now);
        trouble.said == Some((kind, now))
    }

    #[test]
    fn nobody_is_told_to_remove_a_directory() {
        let said = advice(ErrorKind::IsADirectory);
        assert!(said.contains("name a file in that directory") && !said.contains("remove"), "{said}");
    }

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let fail = |trouble: &mut Trouble| {
            trouble.failed("a file", &ErrorKind::StorageFull.into(), 0, now).as_millis()
        };
        let pauses: Vec<_> = (0..8).map(|_| fail(&mut trouble)).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        trouble.ended("a file", 0);
        assert_eq!(fail(&mut trouble), 100);
    }

    #[test]
    fn what_is_wrong_is_said_once_and_not_again_at_once() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(is_said(&mut trouble, ErrorKind::StorageFull, at(0)));
        assert!(!is_said(&mut trouble, ErrorKind::StorageFull, at(1)));
        assert!(!is_said(&mut trouble, ErrorKind::StorageFull, at(1_000)), "it lasts");
        assert!(is_said(&mut trouble, ErrorKind::NotFound, at(1_001)), "something else");
        trouble.ended("a file", 0);
        assert!(!is_said(&mut trouble, ErrorKind::NotFound, at(1_010)), "again, at once");
        trouble.ended("a file", 0);
        assert!(is_said(&mut trouble, ErrorKind::NotFound, at(1_100)), "again, later");
    }
}
