//! What a test needs of a cluster, and the two kinds of cluster there are: a server in this
//! repository, and a real one.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::kubeconfig::{self, User};
use crate::server::Server;

/// A cluster with a namespace for one test. Names of pods are names in that.
pub(crate) trait Cluster: Send + Sync {
    fn address(&self) -> SocketAddr;
    fn namespace(&self) -> &str;
    /// A kubeconfig that leads to the server by way of a port of this machine.
    fn kubeconfig(&self, port: u16, user: User) -> Value;
    fn create(&self, pod: &Value);
    /// Merges what is given into a pod's status.
    fn set_status(&self, name: &str, status: Value);
    fn add_ephemeral(&self, name: &str, container: Value);
    /// Deletes a pod that may take `grace` seconds; at once when that is zero.
    fn delete(&self, name: &str, grace: u32);
    /// What a kubelet does when a pod that was deleted has ended.
    fn confirm_end(&self, name: &str);
}

/// A name that no other test uses.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The server in this repository.
pub(crate) struct OurCluster {
    pub(crate) server: Arc<Server>,
    namespace: String,
}

impl OurCluster {
    pub(crate) fn start() -> Self {
        Self { server: Arc::new(Server::start().unwrap()), namespace: unique("test") }
    }
}

impl Cluster for OurCluster {
    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn kubeconfig(&self, port: u16, user: User) -> Value {
        kubeconfig::of_ours(port, user)
    }

    fn create(&self, pod: &Value) {
        let mut pod = pod.clone();
        let name = pod["metadata"]["name"].as_str().unwrap();
        let uid = format!("uid-of-{}-{}-{}", self.namespace, name, self.server.version());
        pod["metadata"]["uid"] = json!(uid);
        pod["status"] = json!({ "phase": "Pending" });
        self.server.create(pod);
    }

    fn set_status(&self, name: &str, status: Value) {
        self.server.change(&self.namespace, name, |pod| {
            for (key, value) in status.as_object().unwrap() {
                pod["status"][key] = value.clone();
            }
        });
    }

    fn add_ephemeral(&self, name: &str, container: Value) {
        self.server
            .change(&self.namespace, name, |pod| pod["spec"]["ephemeralContainers"] = json!([container]));
    }

    fn delete(&self, name: &str, grace: u32) {
        self.server.delete(&self.namespace, name, grace);
    }

    fn confirm_end(&self, name: &str) {
        self.server.confirm_end(&self.namespace, name);
    }
}

/// A real API server, by a kubeconfig of somebody who may do everything.
pub(crate) struct RealCluster {
    given: Kubeconfig,
    address: SocketAddr,
    host: String,
    client: Client,
    runtime: Runtime,
    namespace: String,
}

impl RealCluster {
    pub(crate) fn connect(path: &Path) -> Self {
        let given = Kubeconfig::read_from(path).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = KubeConfigOptions::default();
        let config = runtime.block_on(Config::from_custom_kubeconfig(given.clone(), &options)).unwrap();
        let host = config.cluster_url.host().unwrap().to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let address = (host.as_str(), port).to_socket_addrs().unwrap().next().unwrap();
        let client = runtime.block_on(async { Client::try_from(config) }).unwrap();
        let cluster = Self { given, address, host, client, runtime, namespace: unique("procession-test") };
        cluster.make_namespace();
        cluster
    }

    /// A namespace, and the account that pods in it are said to run as: without a controller
    /// manager nobody else makes that.
    fn make_namespace(&self) {
        let named = |name: &str| json!({ "metadata": { "name": name } });
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace);
        let parameters = PostParams::default();
        self.runtime.block_on(async {
            let namespace = serde_json::from_value(named(&self.namespace)).unwrap();
            namespaces.create(&parameters, &namespace).await.unwrap();
            let account = serde_json::from_value(named("default")).unwrap();
            match accounts.create(&parameters, &account).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                made => drop(made.unwrap()),
            }
        });
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn delete_within(&self, name: &str, grace: u32) {
        let parameters = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        self.runtime.block_on(self.pods().delete(name, &parameters)).unwrap();
    }
}

impl Cluster for RealCluster {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn kubeconfig(&self, port: u16, user: User) -> Value {
        let given = serde_json::to_value(&self.given).unwrap();
        let context = self.given.current_context.as_deref().unwrap_or_default();
        let of = |list: &str, name: &str, key: &str| {
            let list = given[list].as_array().unwrap();
            list.iter().find(|item| item["name"] == name).map_or(Value::Null, |item| item[key].clone())
        };
        let context = of("contexts", context, "context");
        let mut cluster = of("clusters", context["cluster"].as_str().unwrap_or_default(), "cluster");
        cluster["server"] = json!(format!("https://{}:{port}", Ipv4Addr::LOCALHOST));
        if cluster["tls-server-name"].is_null() {
            cluster["tls-server-name"] = json!(self.host);
        }
        let user = match user {
            User::Admin => of("users", context["user"].as_str().unwrap_or_default(), "user"),
            User::Nobody => json!({}),
            User::Stranger => json!({ "token": "wrong" }),
        };
        kubeconfig::of(&cluster, &user)
    }

    fn create(&self, pod: &Value) {
        let pod = serde_json::from_value(pod.clone()).unwrap();
        self.runtime.block_on(self.pods().create(&PostParams::default(), &pod)).unwrap();
    }

    fn set_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.runtime.block_on(self.pods().patch_status(name, &PatchParams::default(), &patch)).unwrap();
    }

    fn add_ephemeral(&self, name: &str, container: Value) {
        let patch = Patch::Strategic(json!({ "spec": { "ephemeralContainers": [container] } }));
        let pods = self.pods();
        self.runtime
            .block_on(pods.patch_ephemeral_containers(name, &PatchParams::default(), &patch))
            .unwrap();
    }

    fn delete(&self, name: &str, grace: u32) {
        self.delete_within(name, grace);
    }

    fn confirm_end(&self, name: &str) {
        self.delete_within(name, 0);
    }
}

impl Drop for RealCluster {
    fn drop(&mut self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        // What remains of a test that failed is not worth another failure.
        let _ = self.runtime.block_on(namespaces.delete(&self.namespace, &DeleteParams::default()));
    }
}
