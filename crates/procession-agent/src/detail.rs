//! What is told of a process beyond the usual.

use procession::{LineageDetail, Namespaces};
use procession_api::messages::AnnotationOptions;

/// What events tell beyond the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Credentials and capabilities.
    pub credentials: bool,
    /// Namespaces.
    pub namespaces: bool,
    /// The ancestors beyond the parent.
    pub ancestors: bool,
}

impl Detail {
    /// How much of the lineage that takes.
    pub fn lineage(self) -> LineageDetail {
        if self.ancestors { LineageDetail::Full } else { LineageDetail::Parent }
    }

    /// What messages have then. `host`: the namespaces of the host.
    pub fn annotations(self, host: Option<Namespaces>) -> AnnotationOptions {
        AnnotationOptions {
            credentials: self.credentials,
            // Where the host's are not to be seen, no process counts as being in them.
            namespaces: self.namespaces.then(|| host.unwrap_or_default()),
            ancestors: self.ancestors,
            ..AnnotationOptions::default()
        }
    }
}
