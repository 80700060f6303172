//! Whose the containers are, as far as events of a journal speak of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use procession::{Entry, Image, Table};
use procession_journal::{Container, Pod};
use procession_kube::{ContainerId, Pairs, Whose};

use super::Feed;

/// What a journal was told of containers.
///
/// Each part of a journal has those of which its events speak, so that it can be read by itself.
///
/// However long a journal cannot be written, this holds no more than [`LEAST`] or twice the containers in which
/// something runs.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    /// What was written, or is about to be. Of containers in which nothing runs any more it is forgotten now
    /// and then.
    known: HashMap<ContainerId, Whose>,
    /// What is to be written next: some of them.
    news: HashSet<ContainerId>,
    /// How many may be known before it is looked which are of no use.
    most: usize,
    /// The part of the journal that has them.
    part: u64,
    /// Whether there is no journal.
    is_idle: bool,
}

/// So many are never too many.
const LEAST: usize = 1_024;

impl Roll {
    /// For a journal, or for nobody.
    pub(crate) fn new(has_journal: bool) -> Self {
        Self { is_idle: !has_journal, most: LEAST, ..Self::default() }
    }

    /// Takes note of containers of which something was told.
    pub(crate) fn note(&mut self, containers: &[Whose]) {
        if self.is_idle {
            return;
        }
        for whose in containers {
            // Mostly it is the very same as before, which is seen without looking inside.
            if self.known.get(whose.id()) != Some(whose) {
                self.known.insert(*whose.id(), whose.clone());
                self.news.insert(*whose.id());
            }
        }
    }

    /// Writes what is new. When another part of the journal has begun, that is all of which `table` knows a
    /// process.
    pub(crate) fn write(&mut self, feed: &mut Feed, table: &Table) {
        if feed.parts() != self.part {
            self.part = feed.parts();
            self.forget_all_but(table);
            self.news = self.known.keys().copied().collect();
        } else if self.known.len() > self.most {
            self.forget_all_but(table);
        }
        if self.news.is_empty() || !feed.has_room() {
            return;
        }
        let news = self.news.iter().filter_map(|id| self.known.get(id));
        if feed.send_names(&news.map(container).collect::<Vec<_>>()) {
            self.news.clear();
        }
    }

    fn forget_all_but(&mut self, table: &Table) {
        if self.known.is_empty() {
            return;
        }
        let paths: HashSet<_> = table.entries().filter_map(Entry::image).map(Image::cgroup_path).collect();
        let used: HashSet<_> = paths.into_iter().filter_map(ContainerId::of_cgroup).collect();
        self.known.retain(|id, _| used.contains(id));
        self.news.retain(|id| self.known.contains_key(id));
        self.most = LEAST.max(2 * self.known.len());
    }
}

fn container(whose: &Whose) -> Container {
    match whose {
        Whose::Pod(found) => {
            let container = found.container();
            Container {
                id: container.id.to_string(),
                name: container.name.to_string(),
                image: container.image.to_string(),
                image_id: container.image_id.to_string(),
                started: container.started_at,
                pod: Some(Pod {
                    uid: found.pod.uid.to_string(),
                    name: found.pod.name.to_string(),
                    namespace: found.pod.namespace.to_string(),
                    workload: found.pod.workload.to_string(),
                    workload_kind: found.pod.workload_kind.to_string(),
                    labels: pairs(&found.pod.labels),
                    annotations: pairs(&found.pod.annotations),
                }),
            }
        }
        Whose::Runtime(info) => Container {
            id: info.id.to_string(),
            name: info.name.clone(),
            image: info.image.clone(),
            image_id: info.image_id.clone(),
            started: info.started_at,
            pod: info.pod.as_ref().map(|pod| Pod {
                uid: pod.uid.clone(),
                name: pod.name.clone(),
                namespace: pod.namespace.clone(),
                labels: pod.labels.clone(),
                annotations: pod.annotations.clone(),
                ..Pod::default()
            }),
        },
    }
}

fn pairs(pairs: &Pairs) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use procession::TableConfig;
    use procession_kube::ContainerInfo;
    use procession_sensor::PollSource;

    use super::*;
    use crate::{JournalConfig, JournalTarget};

    fn whose(number: u32) -> Whose {
        let id = ContainerId::parse(format!("{number:064x}").as_bytes()).unwrap();
        Whose::Runtime(Arc::new(ContainerInfo::of(id)))
    }

    /// However many containers come and go while nothing can be written.
    #[test]
    fn a_journal_that_is_stuck_costs_little() {
        let source = PollSource::new(Duration::from_secs(1), Path::new("/proc")).unwrap();
        let journal = JournalConfig::new(JournalTarget::File("/dev/full".into()), "node").unwrap();
        let journal = journal.open().unwrap();
        let recording = journal.recording(&source, TableConfig::default());
        let mut feed = Feed::begin(journal, recording, 0).unwrap();
        let table = Table::new(TableConfig::default());
        let mut roll = Roll::new(true);
        let mut most = 0;
        for number in 0..20_000 {
            roll.note(&[whose(number)]);
            roll.write(&mut feed, &table);
            most = most.max(roll.known.len()).max(roll.news.len());
        }
        assert!((LEAST..=LEAST + 1).contains(&most), "{most}");
        // Who has several names one after the other is one.
        let mut roll = Roll::new(true);
        for _ in 0..3 {
            roll.note(&[whose(1)]);
        }
        assert_eq!((roll.known.len(), roll.news.len()), (1, 1));
    }
}
