//! A node with many pods that change, by the API server of the pod watcher's own tests.

#![allow(dead_code, reason = "each program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "../../../procession-kube/tests/pods/data.rs"]
mod data;
#[path = "../../../procession-kube/tests/pods/kubeconfig.rs"]
mod kubeconfig;
#[path = "../../../procession-kube/tests/pods/server.rs"]
mod server;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_agent::{Inventory as _, NodeInventory};
use procession_kube::{Memory, Phase, WatchConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use data::id;
use data::running;
use kubeconfig::User;
use server::Server;

const NAME: &str = "node-1";
const NAMESPACE: &str = "shop";

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The first of the containers that are there because others were started anew.
const RESTARTED: u64 = 1 << 32;

/// A node whose pod number *n* is `web-`*n*, with the containers 2*n* (`main`) and 2*n* + 1 (`side`).
pub(crate) struct Node {
    server: Server,
    pods: u64,
    restarts: AtomicU64,
    directory: TempDir,
}

impl Node {
    pub(crate) fn with_pods(pods: u64) -> Self {
        let server = Server::start().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = kubeconfig::of_ours(server.address.port(), User::Admin);
        fs::write(directory.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        let node = Self { server, pods, restarts: AtomicU64::new(0), directory };
        for number in 0..pods {
            node.run(&pod_name(number), &[running("main", 2 * number), running("side", 2 * number + 1)]);
        }
        node
    }

    /// An inventory that knows every pod.
    pub(crate) fn inventory(&self) -> NodeInventory {
        let config = WatchConfig {
            kubeconfig: Some(self.directory.path().join("kubeconfig")),
            memory: Memory { containers: 1 << 20, ..Memory::default() },
            ..WatchConfig::new(NAME)
        };
        let inventory = NodeInventory::new().pods(config).unwrap();
        let end = Instant::now() + PATIENCE;
        while inventory.counts().pods.is_none_or(|pods| pods.phase != Phase::Synced) {
            assert!(Instant::now() < end, "never seen: every pod");
            thread::sleep(Duration::from_millis(5));
        }
        inventory
    }

    /// Makes a pod of containers that run.
    pub(crate) fn run(&self, name: &str, containers: &[Value]) {
        let mut pod = data::pod(NAME, NAMESPACE, name);
        pod["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        pod["status"] = json!({ "phase": "Running", "containerStatuses": containers });
        self.server.create(pod);
    }

    /// Makes a pod of one container.
    pub(crate) fn run_one(&self, name: &str, container: u64) {
        self.run(name, &[running("main", container)]);
    }

    /// Starts the container `main` of some pod anew.
    pub(crate) fn restart_one(&self) {
        let restart = self.restarts.fetch_add(1, Ordering::Relaxed);
        let number = restart * 7 % self.pods;
        let containers = json!([running("main", RESTARTED + restart), running("side", 2 * number + 1)]);
        self.server.change(NAMESPACE, &pod_name(number), |pod| {
            pod["status"]["containerStatuses"] = containers;
        });
    }

    /// How often a container was started anew.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

pub(crate) fn pod_name(number: u64) -> String {
    format!("web-{number}")
}

/// The path of a container's control group, for as long as the program runs.
pub(crate) fn cgroup(container: u64) -> &'static [u8] {
    let path = format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{}.scope", id(container));
    Box::leak(path.into_boxed_str()).as_bytes()
}
