//! What runtimes answer, as bytes, for `fuzz/`.

use hyper::StatusCode;
use prost::Message as _;

use super::proto::containers::Container;
use super::proto::cri::{ContainerStatusResponse, PodSandboxStatusResponse};
use super::{containerd, cri, docker};
use crate::{ContainerId, ContainerInfo};

/// The body with which the docker engine answers when it is asked for `id`, and whether it is an error's.
/// `None`: it tells of no such container.
pub fn docker(body: &[u8], is_error: bool, id: ContainerId) -> Option<ContainerInfo> {
    let status = if is_error { StatusCode::NOT_FOUND } else { StatusCode::OK };
    docker::answered(status, body, "docker", id).ok().flatten()
}

/// The answers of CRI for a container and for its sandbox.
pub fn cri(container: &[u8], sandbox: &[u8], id: ContainerId) -> Option<[ContainerInfo; 2]> {
    let container = ContainerStatusResponse::decode(container).ok()?;
    let sandbox = PodSandboxStatusResponse::decode(sandbox).ok()?;
    cri::both("containerd", id, container, sandbox).ok()
}

/// A container as containerd has it.
pub fn containerd(container: &[u8], id: ContainerId) -> Option<ContainerInfo> {
    let container = Container::decode(container).ok()?;
    cri::check_id(id, &container.id).ok()?;
    Some(containerd::container_info(id, container, None))
}
