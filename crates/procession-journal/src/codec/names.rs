//! Containers and their pods.

use std::time::SystemTime;

use super::recording::{nanos_of, time_of};
use super::wire::count;
use crate::names::{CONTAINER_BYTES, Container, PAIR_BYTES, Pod};
use crate::proto;

/// At least as many bytes as an encoded container takes in memory.
pub(crate) fn weight(message: &[u8]) -> usize {
    CONTAINER_BYTES + message.len() + PAIR_BYTES * (count(message, &[6, 6]) + count(message, &[6, 7]))
}

impl From<&Container> for proto::Container {
    fn from(container: &Container) -> Self {
        let Container { id, name, image, image_id, started, pod } = container.clone();
        let pod = pod.map(|pod| {
            let Pod { uid, name, namespace, workload, workload_kind, labels, annotations } = pod;
            proto::Pod { uid, name, namespace, workload, workload_kind, labels, annotations }
        });
        Self { id, name, image, image_id, started: started.map_or(0, nanos_of), pod }
    }
}

impl From<proto::Container> for Container {
    fn from(container: proto::Container) -> Self {
        let proto::Container { id, name, image, image_id, started, pod } = container;
        let pod = pod.map(|pod| {
            let proto::Pod { uid, name, namespace, workload, workload_kind, labels, annotations } = pod;
            Pod { uid, name, namespace, workload, workload_kind, labels, annotations }
        });
        let started = Some(time_of(started)).filter(|time| *time != SystemTime::UNIX_EPOCH);
        Self { id, name, image, image_id, started, pod }
    }
}
