//! containerd, and what a kubelet does with it.

use std::collections::BTreeMap;
use std::fs;

use procession_kube::ContainerId;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use super::{Daemon, IMAGE, Lab, parse_id, program, run, wait_for};
use crate::proto::cri::runtime_service_client::RuntimeServiceClient;
use crate::proto::cri::{
    ContainerConfig, ContainerMetadata, ContainerRequest, CreateContainerRequest, ImageSpec,
    LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PodSandboxRequest, RunPodSandboxRequest,
};

pub(crate) const SOCKET: &str = "containerd.sock";
pub(crate) const UID: &str = "6d3fd0a4-11a5-4d5c-8e0b-0f2b6a1c9e77";

/// Starts containerd, with the image in these namespaces.
pub(crate) fn start(lab: &Lab, namespaces: &[&str]) -> Daemon {
    let config = lab.path("config.toml");
    // Lowering a process's OOM score is not allowed everywhere, and is not what is tested.
    let text = format!(
        r#"version = 2
root = "{}"
state = "{}"
[grpc]
  address = "{}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{}"
    conf_dir = "{}"
"#,
        lab.text("root"),
        lab.text("state"),
        lab.text(SOCKET),
        lab.text("cni-bin"),
        lab.text("cni"),
    );
    fs::write(&config, text).unwrap();
    let daemon = lab.daemon("containerd", SOCKET, move |command| {
        command.arg("--config").arg(&config);
    });
    let image = lab.image();
    for namespace in namespaces {
        run(ctr(lab, namespace).args(["images", "import"]).arg(&image));
    }
    daemon
}

/// The client, for one of its namespaces.
pub(crate) fn ctr(lab: &Lab, namespace: &str) -> std::process::Command {
    let mut command = program("ctr");
    command.args(["--address", &lab.text(SOCKET), "--namespace", namespace]);
    command
}

pub(crate) fn sockets(lab: &Lab) -> [String; 2] {
    ["cri", "containerd"].map(|protocol| lab.socket(protocol, SOCKET))
}

/// The network of the node, so that none need be made, and pids of each container's own, as usual.
const NAMESPACES: NamespaceOption = NamespaceOption { network: 2, pid: 1 };

/// What a kubelet does.
pub(crate) struct Kubelet {
    executor: Runtime,
    client: RuntimeServiceClient<Channel>,
}

/// A pod with one container, both running.
pub(crate) struct Pod {
    pub(crate) sandbox: ContainerId,
    pub(crate) container: ContainerId,
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Kubelet {
    pub(crate) fn new(lab: &Lab) -> Self {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", lab.text(SOCKET))).unwrap();
        let channel = executor.block_on(endpoint.connect()).unwrap();
        Self { executor, client: RuntimeServiceClient::new(channel) }
    }

    /// Runs a pod whose container runs a command; none: what its image says.
    pub(crate) fn run_pod(&mut self, command: &[&str]) -> Pod {
        let config = pod_config();
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let sandbox = self.executor.block_on(self.client.run_pod_sandbox(request)).unwrap();
        let sandbox = sandbox.into_inner().pod_sandbox_id;
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "web".to_owned(), attempt: 2 }),
            image: Some(ImageSpec { image: IMAGE.to_owned() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            labels: map(&[("io.kubernetes.container.name", "web")]),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext { namespace_options: Some(NAMESPACES) }),
            }),
            ..Default::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(container),
            sandbox_config: Some(config),
        };
        let created = self.executor.block_on(self.client.create_container(request)).unwrap();
        let container_id = created.into_inner().container_id;
        let request = ContainerRequest { container_id: container_id.clone(), ..Default::default() };
        self.executor.block_on(self.client.start_container(request)).unwrap();
        Pod { sandbox: parse_id(&sandbox), container: parse_id(&container_id) }
    }

    pub(crate) fn remove_pod(&mut self, pod: &Pod) {
        let request = PodSandboxRequest { pod_sandbox_id: pod.sandbox.to_string(), ..Default::default() };
        // A container that ends meanwhile makes it fail, and a kubelet tries again.
        wait_for("end of a pod", || {
            self.executor.block_on(self.client.stop_pod_sandbox(request.clone())).ok()?;
            self.executor.block_on(self.client.remove_pod_sandbox(request.clone())).ok()
        });
    }
}

fn pod_config() -> PodSandboxConfig {
    let security_context = LinuxSandboxSecurityContext { namespace_options: Some(NAMESPACES) };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "web-0".to_owned(),
            uid: UID.to_owned(),
            namespace: "shop".to_owned(),
            attempt: 0,
        }),
        labels: map(&[("app", "web"), ("io.kubernetes.pod.name", "web-0")]),
        annotations: map(&[("team", "a")]),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("/kubepods/burstable/pod{UID}"),
            security_context: Some(security_context),
        }),
        ..Default::default()
    }
}
