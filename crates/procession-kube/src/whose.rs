//! Whose a container is, by whoever told.

use std::sync::Arc;

use crate::{ContainerId, ContainerInfo, Found};

/// What is known of a container, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// It is one of a pod's, as the Kubernetes API tells.
    Pod(Found),
    /// What its runtime tells, which may know of a pod too: less than the API, but earlier.
    Runtime(Arc<ContainerInfo>),
}

/// Where to find a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodName<'a> {
    /// The Kubernetes namespace.
    pub namespace: &'a str,
    /// Its name, unique in the namespace at any one time.
    pub name: &'a str,
}

impl Whose {
    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        match self {
            Self::Pod(found) => &found.container().id,
            Self::Runtime(info) => &info.id,
        }
    }

    /// What people call the container.
    pub fn container_name(&self) -> &str {
        match self {
            Self::Pod(found) => &found.container().name,
            Self::Runtime(info) => &info.name,
        }
    }

    /// The image that it was started from, by name.
    pub fn image(&self) -> &str {
        match self {
            Self::Pod(found) => &found.container().image,
            Self::Runtime(info) => &info.image,
        }
    }

    /// The pod. `None`: it belongs to none.
    pub fn pod(&self) -> Option<PodName<'_>> {
        match self {
            Self::Pod(found) => Some(PodName { namespace: &found.pod.namespace, name: &found.pod.name }),
            Self::Runtime(info) => {
                info.pod.as_ref().map(|pod| PodName { namespace: &pod.namespace, name: &pod.name })
            }
        }
    }
}
