//! The pods of one node, kept up to date from the Kubernetes API.
//!
//! A thread of its own lists the node's pods and then watches them change, and does so again
//! whatever happens to the API server, the network or the credentials. The rest of the program
//! only looks pods up, and never waits for the network.

mod connection;
mod failure;
mod follow;
mod health;
mod listen;
mod notice;
mod shared;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::ContainerId;
use crate::index::{Found, Memory};
use follow::Follower;
use shared::Shared;

pub use failure::Reason;
pub use health::{Phase, Status};
pub use notice::Notice;
pub use shared::Stats;

/// What to watch, and how patiently.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// Name of the node whose pods are watched, as the API knows it.
    pub node: String,
    /// The file that says where the API is and who asks. Read again after every refusal. `None`:
    /// `$KUBECONFIG`, `~/.kube/config`, or the service account of the pod that this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// Whether pods keep their annotations.
    pub annotations: bool,
    /// How long, and how many, containers are remembered that are gone.
    pub memory: Memory,
    /// How long a watch may bring nothing, not even a bookmark, before it is begun again. API
    /// servers send a bookmark a minute.
    pub silence: Duration,
    /// How long the API may take to begin an answer, and then to go on with a list.
    pub answer: Duration,
    /// The shortest pause between two attempts. No two watches begin closer together either.
    pub shortest_pause: Duration,
    /// The longest pause between two attempts; up to as much again is added at random, so that
    /// the nodes of a cluster do not come back all at once.
    pub longest_pause: Duration,
    /// How long the API is asked to let one watch last: whole seconds. It is then begun anew where
    /// it was.
    pub watch: Duration,
    /// How many pods are listed at a time.
    pub page: u32,
    /// How many notices wait for a reader before they are replaced by [`Notice::Missed`].
    pub notices: usize,
}

impl WatchConfig {
    /// The usual settings, for a node of that name.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            kubeconfig: None,
            annotations: false,
            memory: Memory::default(),
            silence: Duration::from_mins(3),
            answer: Duration::from_secs(30),
            shortest_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            watch: Duration::from_secs(290),
            page: 500,
            notices: 1024,
        }
    }
}

/// The pods of one node, kept up to date by a thread.
///
/// Dropping it stops the thread and waits for its end. That is a matter of milliseconds, unless
/// the credentials come from a program that the kubeconfig names, which is then waited for.
///
/// ```no_run
/// use procession_kube::{ContainerId, PodWatcher, WatchConfig};
///
/// # fn main() -> std::io::Result<()> {
/// let pods = PodWatcher::start(WatchConfig::new("worker-1"))?;
/// let id = ContainerId::parse("4f2ac1d97e0b36588c6a54f3e2b1907d".repeat(2).as_bytes()).expect("hex");
/// if let Some(found) = pods.pod_of(&id) {
///     println!("{}/{}", found.pod.namespace, found.pod.name);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PodWatcher {
    shared: Arc<Shared>,
    notices: Receiver<Notice>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl PodWatcher {
    /// Starts to watch. That the API cannot be reached is no error: it is tried again until it
    /// can, and [`status`](Self::status) says so meanwhile.
    ///
    /// What is missing and what it costs, and that it is over, is told once by way of `tracing`, to
    /// whoever listens when this is called.
    ///
    /// # Errors
    ///
    /// The system refuses a thread, or what a thread needs to wait for the network.
    pub fn start(config: WatchConfig) -> io::Result<Self> {
        let (sender, notices) = crossbeam_channel::bounded(config.notices.max(1));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared::new(config.node.clone(), config.memory));
        let follower = Follower::new(config, Arc::clone(&shared), sender);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = thread::Builder::new().name("pods".to_owned()).spawn(move || {
            let _ending = follower.ending();
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = follower.run() => {}
                }
            });
            // Name look-ups block, and nobody waits for their result any more.
            runtime.shutdown_background();
        })?;
        Ok(Self { shared, notices, running: Some(Running { stop, thread }) })
    }

    /// The pod of a container, as far as is known now. Never waits for the network.
    pub fn pod_of(&self, id: &ContainerId) -> Option<Found> {
        self.shared.find(id)
    }

    /// Containers that can now be found and could not before. For those who hold back what they
    /// have to say of a container until its pod is known.
    pub fn notices(&self) -> &Receiver<Notice> {
        &self.notices
    }

    /// How it goes.
    pub fn status(&self) -> Status {
        self.shared.health().status()
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Stops, and waits for the thread's end. What is known can be looked up still.
    pub fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            // The thread may have ended by itself, and a panic in it was reported when it happened.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl Drop for PodWatcher {
    fn drop(&mut self) {
        self.stop();
    }
}
