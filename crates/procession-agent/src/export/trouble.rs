//! When events cannot be written: what is said, and how long to wait before the next attempt.

use std::io::{self, ErrorKind};
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A time in which nothing can be written.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What was said.
    kind: ErrorKind,
    pause: Duration,
    /// Events that were lost before.
    lost: u64,
}

impl Trouble {
    /// Takes note of an attempt that failed, when `lost` events were lost so far, and returns how long
    /// to wait for the next. Says what is wrong once, and again when it becomes something else.
    pub(super) fn failed(trouble: &mut Option<Self>, target: &str, error: &io::Error, lost: u64) -> Duration {
        let kind = error.kind();
        let is_news = trouble.as_ref().is_none_or(|trouble| trouble.kind != kind);
        if is_news {
            tracing::warn!(
                path = target,
                %error,
                "events cannot be exported: {}. They wait in the event queue, and the oldest are lost when \
                 that is full",
                advice(kind)
            );
        }
        let trouble = trouble.get_or_insert(Self { kind, pause: FIRST_PAUSE, lost });
        trouble.kind = kind;
        let pause = trouble.pause;
        trouble.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Takes note of an attempt that went well.
    pub(super) fn ended(trouble: &mut Option<Self>, target: &str, lost: u64) {
        if let Some(trouble) = trouble.take() {
            let lost = lost.saturating_sub(trouble.lost);
            tracing::info!(path = target, lost, "events are exported again");
        }
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
        ErrorKind::IsADirectory => "remove the directory of that name",
        ErrorKind::ReadOnlyFilesystem => "make the file system writable, or export to another one",
        ErrorKind::BrokenPipe => "nobody reads the output any more",
        _ => "see what is wrong with the file or its device",
    }
}
