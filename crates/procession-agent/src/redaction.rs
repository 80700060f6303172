//! What is hidden, for all who hide it: it may change while they do.

use std::sync::{Arc, PoisonError, RwLock};

use procession_filter::Redaction;

/// The filters that hide secrets. Clones are of the same ones.
#[derive(Clone, Debug, Default)]
pub struct SharedRedaction(Arc<RwLock<Arc<Redaction>>>);

impl SharedRedaction {
    /// The filters as they are now.
    pub fn get(&self) -> Arc<Redaction> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hides something else from now on.
    pub fn set(&self, redaction: Redaction) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(redaction);
    }
}

impl From<Redaction> for SharedRedaction {
    fn from(redaction: Redaction) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(redaction))))
    }
}
