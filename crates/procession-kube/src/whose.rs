//! Whose a container is, by whoever told; and facts with that.

use std::sync::Arc;

use procession::{Fact, Process};

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

/// A fact, and what is known of the containers that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The fact.
    pub fact: Fact,
    /// What is known of containers in which its processes run, each once.
    pub containers: Vec<Whose>,
    /// Whether all is there that could be asked for. `false`: nobody said in time whose container
    /// it is in which this happened.
    pub is_complete: bool,
}

impl Told {
    /// What is known of the container in which `process`, one that the fact speaks of, runs.
    /// `None`: it runs on the host, or nothing is.
    pub fn whose(&self, process: &Process) -> Option<&Whose> {
        // Most facts speak of the host alone.
        if self.containers.is_empty() {
            return None;
        }
        let id = ContainerId::of_process(process)?;
        self.containers.iter().find(|whose| *whose.id() == id)
    }
}

impl From<Fact> for Told {
    /// A fact of which nobody was asked whose container it is.
    fn from(fact: Fact) -> Self {
        Self { fact, containers: Vec::new(), is_complete: true }
    }
}
