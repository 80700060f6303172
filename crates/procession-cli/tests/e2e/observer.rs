//! Our sensor and table, at work in this process.

use std::collections::HashSet;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use procession::{Fact, FactKind, LineageDetail, Pid};
use procession_agent::{NodeInventory, Observation, ObservationConfig, Scope, Selection};
use procession_filter::{Filter, Kinds};
use procession_sensor::{EbpfConfig, SourceKind, open};

/// Sees what this process starts.
pub(crate) struct Observer(Observation);

impl Observer {
    /// The one of this process, while there is one: loading the sensor once is enough.
    fn current() -> MutexGuard<'static, Option<Self>> {
        static CURRENT: Mutex<Option<Observer>> = Mutex::new(None);
        CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `command`, and returns what its descendants did, in the order in which it was seen.
    pub(crate) fn run(command: &mut Command) -> Vec<Fact> {
        Self::current().get_or_insert_with(Self::start).watch(command)
    }

    /// Ends the one of this process, so that what comes now is not seen twice.
    pub(crate) fn end() {
        if let Some(Self(observation)) = Self::current().take() {
            observation.stop();
            observation.join().unwrap();
        }
    }

    fn start() -> Self {
        let source = open(SourceKind::Ebpf, EbpfConfig::default()).unwrap();
        let selection = Selection {
            scope: Scope::DescendantsOf { pid: Pid(std::process::id()), pid_namespace: None },
            filter: Filter::new(Kinds { running: true, fork: true, exec: true, exit: true, change: true }),
            lineage: LineageDetail::Parent,
        };
        let config = ObservationConfig {
            queue: 1 << 20,
            queue_bytes: usize::MAX,
            ..ObservationConfig::new(selection)
        };
        Self(Observation::start(source, config, Box::new(NodeInventory::new())).unwrap())
    }

    fn watch(&self, command: &mut Command) -> Vec<Fact> {
        let mut child = command.spawn().unwrap();
        let actor = Pid(child.id());
        let status = child.wait().unwrap();
        assert!(status.success(), "{command:?} ended with {status}");

        let mut family = HashSet::from([actor]);
        let mut facts = Vec::new();
        loop {
            let told = self.0.told().recv_timeout(Duration::from_secs(10));
            let fact = told.expect("the exit of the actor is seen").fact;
            let pid = fact.process.pid();
            match fact.kind {
                FactKind::Exit { .. } if pid == actor => return facts,
                FactKind::Fork => {
                    let parent = fact.process.parent.map(|link| link.key.pid);
                    if parent.is_some_and(|parent| family.contains(&parent)) {
                        family.insert(pid);
                    }
                }
                _ => {}
            }
            if pid != actor && family.contains(&pid) {
                facts.push(fact);
            }
        }
    }
}
