//! Handles keep entries; the table hears of it when one goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::process::Process;

use super::{ProcessId, Table};

/// Keeps an entry in the table while it lives. Clones share one hold.
#[derive(Clone, Debug)]
pub struct Handle {
    process: Process,
    _hold: Arc<Hold>,
}

impl Handle {
    /// The process as it was when the handle was taken.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Tells the table when it goes.
#[derive(Debug)]
struct Hold {
    id: ProcessId,
    released: Arc<Letterbox>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut ids = self.released.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.push(self.id);
        self.released.is_full.store(true, Ordering::Release);
    }
}

/// Entries whose handles have gone since the table last looked. Handles may go in any thread; the
/// table takes the lock only when there is something in it.
#[derive(Debug, Default)]
pub(super) struct Released(Arc<Letterbox>);

#[derive(Debug, Default)]
struct Letterbox {
    is_full: AtomicBool,
    ids: Mutex<Vec<ProcessId>>,
}

impl Released {
    pub(super) fn take(&self) -> Vec<ProcessId> {
        // Looking is cheaper than taking, and there is seldom anything.
        if !self.0.is_full.load(Ordering::Relaxed) || !self.0.is_full.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.0.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Table {
    /// A snapshot that also keeps the entry, and with it the chain of its parents, in the table.
    ///
    /// `None`: the entry has gone, or is a tombstone.
    pub fn hold(&mut self, id: ProcessId) -> Option<Handle> {
        let process = self.process(id)?;
        self.body_mut(id.slot)?.holds += 1;
        let hold = Hold { id, released: Arc::clone(&self.released.0) };
        Some(Handle { process, _hold: Arc::new(hold) })
    }

    /// Lets go of the entries whose handles have gone.
    pub(super) fn take_back_handles(&mut self) {
        for id in self.released.take() {
            if self.entry(id).is_none() {
                continue;
            }
            if let Some(body) = self.body_mut(id.slot) {
                body.holds -= 1;
            }
            self.remove_unkept(id.slot);
        }
    }
}
