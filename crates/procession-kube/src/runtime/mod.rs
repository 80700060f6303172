//! Asks container runtimes what they know of a container: its name, image, labels and pod.
//!
//! ```text
//!  ask ──▶ cache ──▶ queue ──▶ worker thread ──▶ sockets of the runtimes
//!           ▲ get                   │
//!           └───────────────────────┴──▶ replies
//! ```
//!
//! Whoever asks never waits: an answer is there, or it comes later on a channel. A socket that
//! fails is left alone for a while that grows with each failure, and is used again when it answers.

mod answer;
mod backoff;
mod bucket;
mod cache;
mod config;
mod containerd;
mod cri;
mod docker;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod labels;
mod peer;
mod proto;
mod worker;

use std::sync::Arc;
use std::time::Instant;
use std::{io, thread};

use crossbeam_channel::Receiver;
use tokio::sync::{mpsc, oneshot};

pub use answer::{Answer, Asked, Reply, RuntimeCounters};
pub use config::{ParseSocketError, RuntimeProtocol, RuntimeSocket, RuntimesConfig};

use crate::{CgroupContainer, ContainerId, ContainerInfo};
use cache::Shared;
use worker::Worker;

/// The container runtimes of this machine.
///
/// Dropping it ends its thread, without waiting for it.
///
/// ```no_run
/// use procession_kube::{Answer, Asked, Containers, Runtimes, RuntimesConfig};
///
/// # let cgroup_path = b"";
/// let runtimes = Runtimes::start(&RuntimesConfig::default())?;
/// if let Some(container) = Containers::of_cgroup(cgroup_path).next() {
///     if runtimes.ask(container) == Asked::Waiting {
///         let reply = runtimes.replies().recv()?;
///         if let Answer::Known(info) = reply.answer {
///             println!("{} runs {}", info.name, info.image);
///         }
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Runtimes {
    shared: Arc<Shared>,
    requests: mpsc::Sender<CgroupContainer>,
    replies: Receiver<Reply>,
    /// Its end is what the worker notices.
    _alive: oneshot::Sender<()>,
}

impl Runtimes {
    /// Starts the thread that asks. No socket is looked at before the first question.
    ///
    /// # Errors
    ///
    /// The thread cannot be started, or has no use of `epoll`.
    pub fn start(config: &RuntimesConfig) -> io::Result<Self> {
        let config = &config.bounded();
        let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let shared = Arc::new(Shared::new(config));
        let (requests, queue) = mpsc::channel(config.queue.max(1));
        let (replies_in, replies) = crossbeam_channel::bounded(config.queue.max(1));
        let (alive, dropped) = oneshot::channel();
        let worker = Worker::new(config, Arc::clone(&shared), queue, replies_in);
        thread::Builder::new().name("runtimes".to_owned()).spawn(move || {
            executor.block_on(async {
                tokio::select! {
                    _ = dropped => {}
                    () = worker.run() => {}
                }
            });
        })?;
        Ok(Self { shared, requests, replies, _alive: alive })
    }

    /// Asks for a container: by its id, or better by what its control group tells, since the
    /// runtime that seems to have made it is then asked first.
    ///
    /// A container that is asked for already is not asked for again; an answer that has become old
    /// is given, and asked for anew.
    pub fn ask(&self, container: impl Into<CgroupContainer>) -> Asked {
        let container = container.into();
        let lookup = self.shared.begin(container.id, Instant::now());
        let is_refused = lookup.is_question() && !self.send(container);
        lookup.asked(if is_refused { Asked::Refused } else { Asked::Waiting })
    }

    /// What a runtime has told of a container. `None`: nothing. What is old is asked for anew meanwhile.
    pub fn known(&self, id: &ContainerId) -> Option<Arc<ContainerInfo>> {
        let (info, is_question) = self.shared.known(*id, Instant::now())?;
        if is_question {
            self.send((*id).into());
        }
        Some(info)
    }

    /// Hands a question to the worker, if there is room for it.
    fn send(&self, container: CgroupContainer) -> bool {
        let is_sent = self.requests.try_send(container).is_ok();
        if !is_sent {
            self.shared.refuse(container.id);
        }
        is_sent
    }

    /// What is known of a container, without asking. `None`: it was not asked for, the answer is
    /// still to come, or it has been forgotten.
    pub fn get(&self, id: &ContainerId) -> Option<Answer> {
        self.shared.get(id, Instant::now())
    }

    /// Where the answer to each question that was [`Asked::Waiting`] comes out, once.
    ///
    /// As many fit in as questions do into the queue; those for which there is no room are counted
    /// and dropped, and [`get`](Self::get) has them.
    pub fn replies(&self) -> &Receiver<Reply> {
        &self.replies
    }

    /// What was asked and answered so far.
    pub fn counters(&self) -> RuntimeCounters {
        self.shared.counters()
    }
}
