//! What is said while it runs, on standard error, and at the end, on standard output.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two lines of progress: on a terminal, and in a log.
const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_mins(1);

/// A line on standard error.
pub(crate) fn tell(line: &str) {
    // Whoever has closed it does not want to know.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Text on standard output.
pub(crate) fn show(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Says how it goes, not too often.
#[derive(Debug)]
pub(crate) struct Progress {
    next: Instant,
    pause: Duration,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let pause = if io::stderr().is_terminal() { SOON } else { LATER };
        Self { next: Instant::now() + pause, pause }
    }

    pub(crate) fn maybe(&mut self, line: impl FnOnce() -> String) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + self.pause;
            tell(&line());
        }
    }
}
