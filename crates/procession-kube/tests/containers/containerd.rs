//! containerd: pods over CRI, and containers that Kubernetes has nothing to do with.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use procession_kube::{Answer, ContainerId, RuntimeFamily};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::lab::{
    Daemon, IMAGE, Lab, ask, client, container_of, known, new_id, outages as check_outages, parse_id,
    program, run,
};
use crate::proto::cri::runtime_service_client::RuntimeServiceClient;
use crate::proto::cri::{
    ContainerConfig, ContainerMetadata, ContainerRequest, CreateContainerRequest, ImageSpec,
    LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PodSandboxRequest, RunPodSandboxRequest,
};

const SOCKET: &str = "containerd.sock";
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

pub(crate) fn ctr(lab: &Lab, namespace: &str) -> std::process::Command {
    let mut command = program("ctr");
    command.args(["--address", &lab.text(SOCKET), "--namespace", namespace]);
    command
}

pub(crate) fn sockets(lab: &Lab) -> [String; 2] {
    ["cri", "containerd"].map(|protocol| lab.socket(protocol, SOCKET))
}

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

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Kubelet {
    pub(crate) fn new(lab: &Lab) -> Self {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", lab.text(SOCKET))).unwrap();
        let channel = executor.block_on(endpoint.connect()).unwrap();
        Self { executor, client: RuntimeServiceClient::new(channel) }
    }

    pub(crate) fn run_pod(&mut self) -> Pod {
        let config = pod_config();
        let request = RunPodSandboxRequest { config: Some(config.clone()) };
        let sandbox = self.executor.block_on(self.client.run_pod_sandbox(request)).unwrap();
        let sandbox = sandbox.into_inner().pod_sandbox_id;
        // As a kubelet asks for it, unless a pod shares its processes.
        let security_context =
            LinuxContainerSecurityContext { namespace_options: Some(NamespaceOption { network: 2, pid: 1 }) };
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "web".to_owned(), attempt: 2 }),
            image: Some(ImageSpec { image: IMAGE.to_owned() }),
            labels: map(&[("io.kubernetes.container.name", "web")]),
            linux: Some(LinuxContainerConfig { security_context: Some(security_context) }),
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
        self.executor.block_on(self.client.stop_pod_sandbox(request.clone())).unwrap();
        self.executor.block_on(self.client.remove_pod_sandbox(request)).unwrap();
    }
}

fn pod_config() -> PodSandboxConfig {
    // The network of the node, so that none need be made.
    let security_context =
        LinuxSandboxSecurityContext { namespace_options: Some(NamespaceOption { network: 2, pid: 1 }) };
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

pub(crate) fn pods() {
    let lab = Lab::new();
    let daemon = start(&lab, &["k8s.io"]);
    let mut kubelet = Kubelet::new(&lab);
    let before = SystemTime::now();
    let pod = kubelet.run_pod();
    let runtimes = client(&sockets(&lab));

    let info = known(ask(&runtimes, pod.container));
    assert_eq!((info.name.as_str(), info.image.as_str(), info.attempt), ("web", IMAGE, 2));
    assert!(info.image_id.starts_with("sha256:") || info.image_id.contains("@sha256:"), "{info:?}");
    assert_eq!((info.runtime.as_str(), info.is_sandbox), ("containerd", false));
    assert!((before..=SystemTime::now()).contains(&info.started_at.unwrap()), "{info:?}");
    assert_eq!(info.labels.get("io.kubernetes.container.name").unwrap(), "web");
    let found = container_of(info.pid.unwrap());
    assert_eq!((found.id, found.family), (pod.container, RuntimeFamily::Kubernetes));
    let told = info.pod.clone().unwrap();
    assert_eq!((told.namespace.as_str(), told.name.as_str(), told.uid.as_str()), ("shop", "web-0", UID));
    assert_eq!((told.labels, told.annotations), (map(&[("app", "web")]), map(&[("team", "a")])));

    let sandbox = known(ask(&runtimes, pod.sandbox));
    assert_eq!((sandbox.name.as_str(), sandbox.is_sandbox), ("POD", true));
    assert_eq!(sandbox.pod, info.pod);
    assert_eq!(container_of(sandbox.pid.unwrap()).id, pod.sandbox);

    assert_eq!(ask(&runtimes, new_id()), Answer::Unknown);
    kubelet.remove_pod(&pod);
    assert_eq!(ask(&client(&sockets(&lab)), pod.container), Answer::Unknown);
    assert_eq!(ask(&runtimes, pod.container), Answer::Known(info), "what was known stays known");
    drop(daemon);
}

pub(crate) fn outside_kubernetes() {
    let lab = Lab::new();
    let daemon = start(&lab, &["k8s.io", "procession-test"]);
    let runtimes = client(&sockets(&lab));
    let pod_cgroup = format!("/kubepods/besteffort/pod{UID}");
    for (namespace, parent) in [("procession-test", "/procession-test"), ("k8s.io", pod_cgroup.as_str())] {
        let id = new_id();
        let cgroup = format!("{parent}/{id}");
        let arguments = ["run", "--detach", "--label", "tier=front", "--cgroup", &cgroup, IMAGE, id.as_str()];
        run(ctr(&lab, namespace).args(arguments));
        let info = known(ask(&runtimes, id));
        assert_eq!((info.id, info.name.as_str(), info.image.as_str()), (id, id.as_str(), IMAGE));
        assert_eq!((info.runtime.as_str(), info.pod.as_ref()), ("containerd", None));
        assert_eq!(info.labels.get("tier").unwrap(), "front");
        assert_eq!(container_of(info.pid.unwrap()).id, id);
        run(ctr(&lab, namespace).args(["tasks", "kill", "--signal", "SIGKILL", id.as_str()]));
    }
    drop(daemon);
}

pub(crate) fn outages() {
    let lab = Lab::new();
    let mut daemon = start(&lab, &["k8s.io"]);
    let mut kubelet = Kubelet::new(&lab);
    let pod = kubelet.run_pod();
    check_outages(&sockets(&lab), pod.container, &mut daemon);
    Kubelet::new(&lab).remove_pod(&pod);
}
