//! Every metric that there is.

mod events;
mod own;
mod process;
mod reference;

use std::time::{SystemTime, UNIX_EPOCH};

use super::family::Family;

/// Every metric that there is, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static Family> {
    [reference::FAMILIES, own::FAMILIES, events::FAMILIES, process::FAMILIES].into_iter().flatten()
}

/// Seconds since the epoch.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
