//! Asks over Kubernetes' Container Runtime Interface: containerd, CRI-O.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tonic::Code;
use tonic::transport::Channel;

use super::error::{Answered, AskError, found};
use super::labels;
use super::proto::cri::runtime_service_client::RuntimeServiceClient;
use super::proto::cri::{
    ContainerFilter, ContainerStatus, ContainerStatusRequest, ImageSpec, ListContainersRequest,
    PodSandboxStatus, PodSandboxStatusRequest, VersionRequest,
};
use crate::{ContainerId, ContainerInfo, RuntimePod};

/// What Kubernetes calls the container that holds a pod's namespaces.
const SANDBOX_NAME: &str = "POD";

/// A connection to a runtime.
#[derive(Clone, Debug)]
pub(super) struct Cri {
    client: RuntimeServiceClient<Channel>,
    /// Its own name: `containerd`, `cri-o`.
    runtime: String,
}

/// The part of the "verbose" information that we read. Runtimes agree on it without a standard.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Verbose {
    pid: u32,
    #[serde(rename = "sandboxID")]
    sandbox_id: String,
}

impl Verbose {
    fn read(info: &BTreeMap<String, String>) -> Self {
        info.get("info").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

impl Cri {
    pub(super) async fn connect(channel: Channel) -> Result<Self, AskError> {
        let mut client = RuntimeServiceClient::new(channel);
        let version = client.version(VersionRequest { version: "v1".to_owned() }).await;
        // docker brings a containerd without it.
        if let Err(status) = &version
            && status.code() == Code::Unimplemented
        {
            return Err(AskError::Elsewhere(status.to_string()));
        }
        let version = found(version)?;
        let version = version.ok_or_else(|| AskError::Socket("it does not say what it is".to_owned()))?;
        Ok(Self { client, runtime: version.runtime_name })
    }

    pub(super) async fn ask(mut self, id: ContainerId) -> Answered<ContainerInfo> {
        match self.container(id).await? {
            Some(info) => Ok(Some(info)),
            // A pod's sandbox has a control group with an id too, and is no container here.
            None => self.sandbox(id).await,
        }
    }

    async fn container(&mut self, id: ContainerId) -> Answered<ContainerInfo> {
        let request = ContainerStatusRequest { container_id: id.to_string(), verbose: true };
        let Some(response) = found(self.client.container_status(request).await)? else { return Ok(None) };
        let status = response.status.unwrap_or_default();
        check_id(id, &status.id)?;
        let verbose = Verbose::read(&response.info);
        let sandbox_id = match verbose.sandbox_id {
            known if !known.is_empty() => Some(known),
            _ => self.sandbox_of(id).await?,
        };
        let pod = match sandbox_id {
            // What is known of the container is worth telling without its pod.
            Some(sandbox_id) => {
                self.sandbox_status(sandbox_id).await.ok().flatten().map(|(status, _)| status)
            }
            None => None,
        };
        let pod = pod.map_or_else(|| labels::pod_of(&status.labels), |pod| Some(pod_of(pod)));
        Ok(Some(container_info(&self.runtime, id, status, verbose.pid, pod)))
    }

    /// The sandbox of a container, for runtimes whose "verbose" information has it not.
    async fn sandbox_of(&mut self, id: ContainerId) -> Answered<String> {
        let filter = Some(ContainerFilter { id: id.to_string() });
        let list = found(self.client.list_containers(ListContainersRequest { filter }).await)?;
        let containers = list.unwrap_or_default().containers;
        let container = containers.into_iter().find(|container| container.id == id.as_str());
        Ok(container.map(|container| container.pod_sandbox_id))
    }

    async fn sandbox(&mut self, id: ContainerId) -> Answered<ContainerInfo> {
        let Some((status, pid)) = self.sandbox_status(id.to_string()).await? else { return Ok(None) };
        check_id(id, &status.id)?;
        Ok(Some(sandbox_info(&self.runtime, id, status, pid)))
    }

    /// What is known of a sandbox, and its pid.
    async fn sandbox_status(&mut self, id: String) -> Answered<(PodSandboxStatus, u32)> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id, verbose: true };
        let Some(response) = found(self.client.pod_sandbox_status(request).await)? else { return Ok(None) };
        let pid = Verbose::read(&response.info).pid;
        Ok(response.status.map(|status| (status, pid)))
    }
}

fn container_info(
    runtime: &str,
    id: ContainerId,
    status: ContainerStatus,
    pid: u32,
    pod: Option<RuntimePod>,
) -> ContainerInfo {
    let metadata = status.metadata.unwrap_or_default();
    let image_id = if status.image_ref.is_empty() { status.image_id } else { status.image_ref };
    ContainerInfo {
        name: metadata.name,
        image: image_name(status.image.unwrap_or_default()),
        image_id,
        pid: running(pid),
        started_at: wall_time(status.started_at),
        attempt: metadata.attempt,
        labels: status.labels,
        pod,
        runtime: runtime.to_owned(),
        ..ContainerInfo::of(id)
    }
}

fn sandbox_info(runtime: &str, id: ContainerId, status: PodSandboxStatus, pid: u32) -> ContainerInfo {
    ContainerInfo {
        name: SANDBOX_NAME.to_owned(),
        pid: running(pid),
        started_at: wall_time(status.created_at),
        labels: status.labels.clone(),
        is_sandbox: true,
        pod: Some(pod_of(status)),
        runtime: runtime.to_owned(),
        ..ContainerInfo::of(id)
    }
}

fn pod_of(status: PodSandboxStatus) -> RuntimePod {
    let metadata = status.metadata.unwrap_or_default();
    RuntimePod {
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        labels: labels::own(status.labels),
        annotations: status.annotations,
    }
}

/// The name of an image. Some runtimes give its id instead, and what the user wrote beside it.
fn image_name(image: ImageSpec) -> String {
    let is_id = image.image.is_empty() || image.image.starts_with("sha256:");
    if is_id && !image.user_specified_image.is_empty() { image.user_specified_image } else { image.image }
}

fn running(pid: u32) -> Option<u32> {
    (pid > 0).then_some(pid)
}

/// Nanoseconds since 1970 as CRI has them, with 0 for "never".
fn wall_time(nanos: i64) -> Option<SystemTime> {
    let nanos = u64::try_from(nanos).ok().filter(|nanos| *nanos > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
}

/// What the answers about a container and its sandbox come to, as [`Cri::ask`] has it. The second part is what a
/// runtime says of the sandbox.
#[cfg(feature = "fuzzing")]
pub(super) fn both(
    runtime: &str,
    id: ContainerId,
    container: super::proto::cri::ContainerStatusResponse,
    sandbox: super::proto::cri::PodSandboxStatusResponse,
) -> Result<[ContainerInfo; 2], AskError> {
    let status = container.status.unwrap_or_default();
    check_id(id, &status.id)?;
    let verbose = Verbose::read(&container.info);
    let pid = Verbose::read(&sandbox.info).pid;
    let sandbox = sandbox.status.unwrap_or_default();
    let pod = Some(pod_of(sandbox.clone())).filter(|_| !verbose.sandbox_id.is_empty());
    let pod = pod.or_else(|| labels::pod_of(&status.labels));
    Ok([container_info(runtime, id, status, verbose.pid, pod), sandbox_info(runtime, id, sandbox, pid)])
}

/// Runtimes look containers up by prefix; the answer must be for the one that was asked for.
pub(super) fn check_id(asked: ContainerId, answered: &str) -> Result<(), AskError> {
    if answered == asked.as_str() {
        Ok(())
    } else {
        Err(AskError::Container("the answer is about another container".to_owned()))
    }
}
