//! Threads that are only there.

use std::sync::{Arc, Barrier};
use std::thread;

/// Starts threads that stay until the process ends or execs; all run when it returns.
pub(crate) fn hold_threads(number: usize) {
    let running = Arc::new(Barrier::new(number + 1));
    for _ in 0..number {
        let running = Arc::clone(&running);
        thread::spawn(move || {
            running.wait();
            loop {
                thread::park();
            }
        });
    }
    running.wait();
}
