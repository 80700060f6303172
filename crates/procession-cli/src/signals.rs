//! The signals that ask to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// What shells give for a command that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// What was asked for so far.
pub(crate) struct Signals {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

impl Signals {
    /// From now on the first of each signal is a request. A second one ends the program at once,
    /// whatever it waits for.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let signals = Self { interrupt: Arc::default(), terminate: Arc::default() };
        for (signal, asked) in
            [(SIGINT, &signals.interrupt), (SIGTERM, &signals.terminate), (SIGHUP, &signals.terminate)]
        {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_default(signal, Arc::clone(asked)).context("cannot catch signals")?;
            flag::register(signal, Arc::clone(asked)).context("cannot catch signals")?;
        }
        Ok(signals)
    }

    /// Ctrl-C. The terminal sends it to a watched command as well.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// A request to this program alone.
    pub(crate) fn is_terminated(&self) -> bool {
        self.terminate.load(Ordering::Relaxed)
    }

    pub(crate) fn is_any(&self) -> bool {
        self.is_interrupted() || self.is_terminated()
    }
}
