//! One test's cluster, the way to it, and the file that says who asks.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession_kube::{ContainerId, Found, Phase, PodWatcher, Reason, WatchConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, unique};
use crate::data;
use crate::kubeconfig::User;
use crate::link::Link;

/// Longer than anything takes on a busy machine: for what would otherwise be waited for without end.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Site {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) link: Link,
    pub(crate) node: String,
    directory: TempDir,
}

impl Site {
    /// The way is open, and an admin asks.
    pub(crate) fn new(cluster: Arc<dyn Cluster>) -> Self {
        let link = Link::new(cluster.address()).unwrap();
        link.mend();
        let site = Self { cluster, link, node: unique("node"), directory: tempfile::tempdir().unwrap() };
        site.log_in(User::Admin);
        site
    }

    pub(crate) fn log_in(&self, user: User) {
        self.log_in_with(&self.cluster.kubeconfig(self.link.port, user));
    }

    pub(crate) fn log_in_with(&self, kubeconfig: &Value) {
        // In one step: a file that is half there is another test.
        let draft = self.directory.path().join("draft");
        fs::write(&draft, kubeconfig.to_string()).unwrap();
        fs::rename(draft, self.directory.path().join("kubeconfig")).unwrap();
    }

    pub(crate) fn log_out(&self) {
        fs::remove_file(self.directory.path().join("kubeconfig")).unwrap();
    }

    /// Short pauses, and patience for all else.
    pub(crate) fn config(&self) -> WatchConfig {
        WatchConfig {
            kubeconfig: Some(self.directory.path().join("kubeconfig")),
            shortest_pause: Duration::from_millis(20),
            longest_pause: Duration::from_millis(200),
            ..WatchConfig::new(self.node.as_str())
        }
    }

    /// A watcher that has all pods.
    pub(crate) fn watch(&self) -> PodWatcher {
        let pods = PodWatcher::start(self.config()).unwrap();
        synced(&pods);
        pods
    }

    /// A pod of this node, as it is asked for.
    pub(crate) fn pod(&self, name: &str) -> Value {
        data::pod(&self.node, self.cluster.namespace(), name)
    }

    /// Makes a pod of this node with a container `main` that runs.
    pub(crate) fn run(&self, name: &str, container: u64) {
        self.cluster.create(&self.pod(name));
        self.report(name, &[data::running("main", container)]);
    }

    /// Reports a pod's regular containers.
    pub(crate) fn report(&self, name: &str, containers: &[Value]) {
        self.cluster.set_status(name, json!({ "phase": "Running", "containerStatuses": containers }));
    }
}

/// Waits until something is so.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "never seen: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something holds.
pub(crate) fn until_so(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}

pub(crate) fn synced(pods: &PodWatcher) {
    until_so("all pods are known", || pods.status().phase == Phase::Synced);
}

/// Waits until something is wrong, and gives what was said of it.
pub(crate) fn degraded(pods: &PodWatcher, expected: Reason) -> String {
    until(&format!("{expected:?}"), || match pods.status().phase {
        Phase::Degraded { reason, detail } if reason == expected => Some(detail),
        _ => None,
    })
}

/// Waits until a container is found.
pub(crate) fn found(pods: &PodWatcher, container: u64) -> Found {
    until(&format!("container {container}"), || pods.pod_of(&data::id(container)))
}

/// Waits until a container is found among what is gone.
pub(crate) fn gone(pods: &PodWatcher, container: u64) -> Found {
    until(&format!("the end of container {container}"), || {
        pods.pod_of(&data::id(container)).filter(|found| found.is_gone)
    })
}

/// Waits for the notice of a container.
pub(crate) fn noticed(pods: &PodWatcher, container: ContainerId) {
    until_so("a notice", || {
        pods.notices().try_iter().any(|notice| notice == procession_kube::Notice::Appeared(container))
    });
}
