//! Who can say whose a container is.

use std::io;

use procession_kube::{
    Asked, CgroupContainer, ContainerId, Notice, Phase, PodWatcher, RuntimeCounters, Runtimes,
    RuntimesConfig, Status, WatchConfig, Whose,
};

/// What is known of the containers of this machine, and who may know more.
///
/// Nothing here waits for anybody.
pub trait Inventory: Send {
    /// What is known of a container now.
    fn find(&self, id: &ContainerId) -> Option<Whose>;

    /// Whether there is anybody who may know containers.
    fn can_know(&self) -> bool {
        true
    }

    /// Asks for a container that was not found. Whether more may be known of it soon, and be told of
    /// in [`news`](Self::news).
    fn ask(&self, container: CgroupContainer) -> bool;

    /// What is new since the last call.
    fn news(&self, news: &mut dyn FnMut(News));

    /// How it goes.
    fn counts(&self) -> InventoryCounts {
        InventoryCounts::default()
    }
}

/// Something may be found now, or it is clear that it will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Look again for this container.
    Of(ContainerId),
    /// Look again for every container.
    OfAny,
}

/// How an inventory does.
#[derive(Clone, Debug, Default)]
pub struct InventoryCounts {
    /// What the runtimes were asked. `None`: they are not.
    pub runtimes: Option<RuntimeCounters>,
    /// How the watch on the pods goes. `None`: there is none.
    pub pods: Option<Status>,
}

/// The pods that the Kubernetes API tells of, and the containers that runtimes tell of.
#[derive(Debug, Default)]
pub struct NodeInventory {
    pods: Option<PodWatcher>,
    runtimes: Option<Runtimes>,
}

impl NodeInventory {
    /// Of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows the pods of a node too.
    ///
    /// # Errors
    ///
    /// The system refuses a thread. That the API does not answer is no error: it is tried again.
    pub fn pods(self, config: WatchConfig) -> io::Result<Self> {
        Ok(Self { pods: Some(PodWatcher::start(config)?), ..self })
    }

    /// Asks runtimes too.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    pub fn runtimes(self, config: &RuntimesConfig) -> io::Result<Self> {
        Ok(Self { runtimes: Some(Runtimes::start(config)?), ..self })
    }

    /// Whether pods may still be told of. While the API refuses us, or there is none, waiting for it
    /// would only make events late.
    fn expects_pods(&self) -> bool {
        let phase = self.pods.as_ref().map(|pods| pods.status().phase);
        matches!(phase, Some(Phase::Connecting | Phase::Synced))
    }
}

impl Inventory for NodeInventory {
    fn find(&self, id: &ContainerId) -> Option<Whose> {
        let pod = self.pods.as_ref().and_then(|pods| pods.pod_of(id)).map(Whose::Pod);
        let known = || self.runtimes.as_ref().and_then(|runtimes| runtimes.known(id));
        pod.or_else(|| known().map(Whose::Runtime))
    }

    fn can_know(&self) -> bool {
        self.pods.is_some() || self.runtimes.is_some()
    }

    fn ask(&self, container: CgroupContainer) -> bool {
        let asked = self.runtimes.as_ref().map(|runtimes| runtimes.ask(container));
        asked == Some(Asked::Waiting) || self.expects_pods()
    }

    fn news(&self, news: &mut dyn FnMut(News)) {
        let notices = self.pods.iter().flat_map(|pods| pods.notices().try_iter());
        for notice in notices {
            news(match notice {
                Notice::Appeared(id) => News::Of(id),
                Notice::Missed => News::OfAny,
            });
        }
        let replies = self.runtimes.iter().flat_map(|runtimes| runtimes.replies().try_iter());
        for reply in replies {
            news(News::Of(reply.id));
        }
    }

    fn counts(&self) -> InventoryCounts {
        InventoryCounts {
            runtimes: self.runtimes.as_ref().map(Runtimes::counters),
            pods: self.pods.as_ref().map(PodWatcher::status),
        }
    }
}
