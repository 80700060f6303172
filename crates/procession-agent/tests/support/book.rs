//! An inventory that says what a test wants it to say.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use procession_agent::{Inventory, News};
use procession_kube::{CgroupContainer, ContainerId, ContainerInfo, RuntimePod, Whose};

use super::{Step, id};

/// An inventory that expects an answer to every question until the test says otherwise. Copies share
/// what they know.
///
/// The container 7 is `main-7`, of the pod `pod-7` in the namespace `team-7`.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    known: HashMap<ContainerId, Whose>,
    refused: HashSet<ContainerId>,
    news: Vec<News>,
    asked: HashSet<ContainerId>,
}

impl Book {
    /// Of these containers.
    pub(crate) fn of(containers: &[u32]) -> Self {
        let book = Self::default();
        for container in containers {
            book.learn(*container);
        }
        book
    }

    /// Finds a container from now on, and tells nobody.
    pub(crate) fn learn(&self, container: u32) {
        let mut pages = self.pages();
        pages.refused.remove(&id(container));
        pages.known.insert(id(container), whose(container));
    }

    /// Expects nothing about a container from now on, and tells nobody.
    pub(crate) fn refuse(&self, container: u32) {
        self.pages().refused.insert(id(container));
    }

    pub(crate) fn tell(&self, news: News) {
        self.pages().news.push(news);
    }

    /// The answer comes.
    pub(crate) fn answers(&self, container: u32) -> Step {
        let book = self.clone();
        Step::new(move || {
            book.learn(container);
            book.tell(News::Of(id(container)));
        })
    }

    /// The answer comes, and it is that nobody knows.
    pub(crate) fn refuses(&self, container: u32) -> Step {
        let book = self.clone();
        Step::new(move || {
            book.refuse(container);
            book.tell(News::Of(id(container)));
        })
    }

    /// Whether anybody asked for a container.
    pub(crate) fn was_asked(&self, container: u32) -> bool {
        self.pages().asked.contains(&id(container))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap()
    }
}

impl Inventory for Book {
    fn find(&self, id: &ContainerId) -> Option<Whose> {
        self.pages().known.get(id).cloned()
    }

    fn ask(&self, container: CgroupContainer) -> bool {
        let mut pages = self.pages();
        pages.asked.insert(container.id);
        !pages.refused.contains(&container.id)
    }

    fn news(&self, news: &mut dyn FnMut(News)) {
        let items = std::mem::take(&mut self.pages().news);
        items.into_iter().for_each(news);
    }
}

fn whose(container: u32) -> Whose {
    let pod = RuntimePod {
        namespace: format!("team-{container}"),
        name: format!("pod-{container}"),
        ..RuntimePod::default()
    };
    Whose::Runtime(Arc::new(ContainerInfo {
        name: format!("main-{container}"),
        pod: Some(pod),
        ..ContainerInfo::of(id(container))
    }))
}
