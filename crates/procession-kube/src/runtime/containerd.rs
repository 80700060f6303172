//! Asks containerd itself: for containers of `nerdctl`, `ctr`, BuildKit and others, each of which has a
//! namespace.

use std::collections::BTreeMap;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use super::cri::check_id;
use super::error::{Answered, found};
use super::labels;
use super::proto::containers::containers_client::ContainersClient;
use super::proto::containers::{Container, GetContainerRequest};
use super::proto::namespaces::ListNamespacesRequest;
use super::proto::namespaces::namespaces_client::NamespacesClient;
use super::proto::tasks::GetRequest;
use super::proto::tasks::tasks_client::TasksClient;
use crate::{ContainerId, ContainerInfo};

/// Each is one request; nobody has more.
const MOST_NAMESPACES: usize = 64;

/// The request header that says which namespace is meant.
const NAMESPACE: &str = "containerd-namespace";

/// Labels that hold the name, with nerdctl and with Kubernetes.
const NAME_LABELS: [&str; 2] = ["nerdctl/name", "io.kubernetes.container.name"];

/// A connection to containerd.
#[derive(Clone, Debug)]
pub(super) struct Containerd(pub(super) Channel);

impl Containerd {
    pub(super) async fn ask(self, id: ContainerId) -> Answered<ContainerInfo> {
        let mut client = NamespacesClient::new(self.0.clone());
        let list = found(client.list(ListNamespacesRequest {}).await)?.unwrap_or_default();
        for namespace in list.namespaces.into_iter().take(MOST_NAMESPACES) {
            let Ok(namespace) = MetadataValue::try_from(namespace.name) else { continue };
            if let Some(container) = self.container(id, &namespace).await? {
                check_id(id, &container.id)?;
                let pid = self.pid(id, &namespace).await;
                return Ok(Some(container_info(id, container, pid)));
            }
        }
        Ok(None)
    }

    async fn container(&self, id: ContainerId, namespace: &MetadataValue<Ascii>) -> Answered<Container> {
        let request = in_namespace(GetContainerRequest { id: id.to_string() }, namespace);
        let response = found(ContainersClient::new(self.0.clone()).get(request).await)?;
        Ok(response.and_then(|response| response.container))
    }

    /// The first process. `None`: there is none, or containerd does not say.
    async fn pid(&self, id: ContainerId, namespace: &MetadataValue<Ascii>) -> Option<u32> {
        let request = in_namespace(GetRequest { container_id: id.to_string() }, namespace);
        let response = TasksClient::new(self.0.clone()).get(request).await.ok()?;
        response.into_inner().process.map(|process| process.pid).filter(|pid| *pid > 0)
    }
}

fn in_namespace<T>(message: T, namespace: &MetadataValue<Ascii>) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(NAMESPACE, namespace.clone());
    request
}

pub(super) fn container_info(id: ContainerId, container: Container, pid: Option<u32>) -> ContainerInfo {
    ContainerInfo {
        name: name(&container.labels).unwrap_or_else(|| id.to_string()),
        image: container.image,
        pid,
        pod: labels::pod_of(&container.labels),
        labels: container.labels,
        runtime: "containerd".to_owned(),
        ..ContainerInfo::of(id)
    }
}

fn name(labels: &BTreeMap<String, String>) -> Option<String> {
    NAME_LABELS.iter().find_map(|label| labels.get(*label)).cloned()
}
