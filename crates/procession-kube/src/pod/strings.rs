//! Text that many pods repeat, kept once: label keys, image names, namespaces.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// A set of shared strings.
///
/// What nobody else holds goes whenever the set has doubled since it was last looked through.
#[derive(Debug)]
pub(super) struct Strings {
    known: HashSet<Arc<str>, RandomState>,
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 256;

impl Default for Strings {
    fn default() -> Self {
        Self { known: HashSet::default(), sweep_at: FIRST_SWEEP }
    }
}

impl Strings {
    /// The shared string that is equal to `text`.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.known.get(text) {
            return Arc::clone(shared);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|shared| Arc::strong_count(shared) > 1);
            self.sweep_at = (2 * self.known.len()).max(FIRST_SWEEP);
        }
        let shared: Arc<str> = text.into();
        self.known.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{FIRST_SWEEP, Strings};

    #[test]
    fn equal_text_is_one_allocation_and_goes_with_its_last_user() {
        let mut strings = Strings::default();
        let kept = strings.share("kept");
        for number in 0..10_000 {
            strings.share(&number.to_string());
        }
        assert!(Arc::ptr_eq(&kept, &strings.share("kept")));
        assert!(strings.known.len() <= FIRST_SWEEP + 1);
    }
}
