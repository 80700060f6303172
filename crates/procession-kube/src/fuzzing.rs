//! The decoders of what runtimes and the Kubernetes API say, for `fuzz/`. No part of the API.

#[cfg(feature = "kubernetes")]
use std::sync::Arc;

#[cfg(feature = "runtimes")]
pub use crate::runtime::fuzzing::{containerd, cri, docker};
#[cfg(feature = "kubernetes")]
use crate::{Converter, Defects, Pod};

/// A pod as the API writes it, and what was wrong with it. `None`: it is not in the API's form.
#[cfg(feature = "kubernetes")]
pub fn pod(json: &[u8]) -> Option<(Arc<Pod>, Defects)> {
    let pod = serde_json::from_slice(json).ok()?;
    let mut converter = Converter::new(true);
    let pod = converter.convert(&pod);
    Some((pod, converter.defects()))
}
