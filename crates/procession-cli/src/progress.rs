//! How far the reading of a journal has come, for a person who waits.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use procession_journal::Journal;

/// What takes no longer needs no word.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is told.
const PACE: Duration = Duration::from_millis(200);

/// Does `work`, which reads all of `journal`; on a terminal it is told how much is read if that takes a while.
pub(crate) fn told<T>(journal: &Journal, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (done, is_done) = bounded::<()>(0);
        scope.spawn(move || tell_until(&is_done, journal));
        let result = work();
        drop(done);
        result
    })
}

fn tell_until(is_done: &Receiver<()>, journal: &Journal) {
    let all = journal.bytes().max(1);
    let mut wait = PATIENCE;
    while is_done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        wait = PACE;
        let percent = (journal.bytes_read().saturating_mul(100) / all).min(100);
        // Who cannot read it misses nothing.
        let _ = write!(io::stderr(), "\r\x1b[Kreading the journal: {percent} % of {} MiB", all >> 20);
    }
    if wait == PACE {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
