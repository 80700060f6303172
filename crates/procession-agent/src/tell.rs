//! From facts to what is told: with the container in which each happened.

use std::time::Instant;

use procession::{Fact, Image, Process};
use procession_filter::{ContainerNames, Filter, Place};
use procession_kube::{CgroupContainer, ContainerId, Told, Whose};

use crate::hold::{Hold, HoldConfig, HoldCounts, ProcessName, name_of};
use crate::inventory::{Inventory, News};
use crate::weight;

/// What came of asking whose the containers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TellCounts {
    /// Facts that had to wait.
    pub hold: HoldCounts,
    /// Facts that were told without their container's name, because nobody said it in time.
    pub incomplete: u64,
    /// Facts that were not told because a condition asked for the name, and nobody said it in time.
    pub unplaced: u64,
}

/// Where what is told goes.
pub(crate) type Listener<'l> = &'l mut dyn FnMut(Told);

/// Adds to facts whose containers they happened in, and lets some wait until that is known.
pub(crate) struct Teller {
    filter: Filter,
    inventory: Box<dyn Inventory>,
    hold: Hold<ContainerId, Fact>,
    counts: TellCounts,
}

impl Teller {
    pub(crate) fn new(filter: Filter, inventory: Box<dyn Inventory>, hold: HoldConfig) -> Self {
        Self { filter, inventory, hold: Hold::new(hold), counts: TellCounts::default() }
    }

    pub(crate) fn inventory(&self) -> &dyn Inventory {
        &*self.inventory
    }

    pub(crate) fn counts(&self) -> TellCounts {
        TellCounts { hold: self.hold.counts(), ..self.counts }
    }

    /// Whether there is something to wait for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.hold.is_empty()
    }

    /// Takes a fact, and tells it now or later.
    pub(crate) fn take(&mut self, fact: Fact, out: Listener<'_>) {
        let container = CgroupContainer::of_process(&fact.process);
        // Whose container it is may make no difference.
        let id = container.map(|container| container.id);
        if self.filter.admits_place(place_of(&fact.process, id.as_ref(), None)) == Some(false) {
            return;
        }
        if let Some(id) = id.filter(|id| self.hold.is_awaited(*id)) {
            // The answer may be there before the news of it: nobody passes those who wait for it.
            self.look_again(id, out);
        }
        let (whose, unknown) = container.map_or((None, None), |container| self.look_up(container));
        let process = name_of(&fact.process);
        match self.hold.must_wait(process, unknown) {
            Some(container) => self.wait(container, process, fact, out),
            None => self.tell(fact, id, whose, out),
        }
    }

    /// What is known of a container, or else the container if more may be known of it soon.
    fn look_up(&self, container: CgroupContainer) -> (Option<Whose>, Option<ContainerId>) {
        let find = || self.inventory.find(&container.id);
        match find() {
            None if self.inventory.ask(container) => (None, Some(container.id)),
            // The answer may have come in between.
            None => (find(), None),
            whose => (whose, None),
        }
    }

    /// Looks at what is new, and tells what has waited for it or for long enough.
    pub(crate) fn attend(&mut self, out: Listener<'_>) {
        let mut news = Vec::new();
        self.inventory.news(&mut |item| news.push(item));
        for item in news {
            match item {
                News::Of(id) => self.look_again(id, out),
                News::OfAny => self.hold.containers().into_iter().for_each(|id| self.look_again(id, out)),
            }
        }
        if self.is_waiting() {
            let facts = self.hold.expired(Instant::now());
            self.tell_all(facts, out);
        }
    }

    /// Tells all that waits.
    pub(crate) fn finish(&mut self, out: Listener<'_>) {
        let facts = self.hold.finish();
        self.tell_all(facts, out);
    }

    fn wait(&mut self, container: ContainerId, process: ProcessName, fact: Fact, out: Listener<'_>) {
        let bytes = weight::of_all(&fact);
        let overflow = self.hold.wait(container, process, fact, bytes, Instant::now());
        self.tell_all(overflow, out);
    }

    /// Tells what waits for a container, unless more may be known of it soon.
    fn look_again(&mut self, id: ContainerId, out: Listener<'_>) {
        let facts = if self.inventory.find(&id).is_some() {
            self.hold.answered(id)
        } else if self.hold.is_awaited(id) && !self.inventory.ask(id.into()) {
            self.hold.refused(id)
        } else {
            return;
        };
        self.tell_all(facts, out);
    }

    fn tell_all(&mut self, facts: Vec<Fact>, out: Listener<'_>) {
        for fact in facts {
            let container = ContainerId::of_process(&fact.process);
            let whose = container.and_then(|container| self.inventory.find(&container));
            self.tell(fact, container, whose, out);
        }
    }

    /// Tells a fact of a process that runs in `container`, of which this is known.
    fn tell(&mut self, fact: Fact, container: Option<ContainerId>, whose: Option<Whose>, out: Listener<'_>) {
        let is_complete = container.is_none() || whose.is_some() || !self.inventory.can_know();
        let names = whose.as_ref().map(names_of);
        let is_wanted = self.filter.admits_place(place_of(&fact.process, container.as_ref(), names));
        self.counts.unplaced += u64::from(is_wanted.is_none());
        if is_wanted == Some(true) {
            self.counts.incomplete += u64::from(!is_complete);
            let containers = self.containers(&fact, whose);
            out(Told { fact, containers, is_complete });
        }
    }

    /// What is known of the containers that a fact speaks of, each once; of its own it is `whose`.
    fn containers(&self, fact: &Fact, whose: Option<Whose>) -> Vec<Whose> {
        let mut containers = Vec::from_iter(whose);
        let mut place = cgroup_path(&fact.process);
        for process in &fact.lineage {
            // Most processes run where their parents do.
            if std::mem::replace(&mut place, cgroup_path(process)) == place {
                continue;
            }
            let Some(id) = ContainerId::of_cgroup(place) else { continue };
            if containers.iter().all(|whose| *whose.id() != id) {
                containers.extend(self.inventory.find(&id));
            }
        }
        containers
    }
}

/// Empty where it is unknown.
fn cgroup_path(process: &Process) -> &[u8] {
    process.image.as_ref().map_or(b"", Image::cgroup_path)
}

fn place_of<'a>(
    process: &Process,
    container: Option<&'a ContainerId>,
    names: Option<ContainerNames<'a>>,
) -> Place<'a> {
    match container {
        Some(id) => Place::Container { id: id.as_str(), names },
        None if cgroup_path(process).is_empty() => Place::Unknown,
        None => Place::Host,
    }
}

fn names_of(whose: &Whose) -> ContainerNames<'_> {
    let pod = whose.pod();
    ContainerNames {
        name: whose.container_name(),
        namespace: pod.map(|pod| pod.namespace),
        pod: pod.map(|pod| pod.name),
    }
}
