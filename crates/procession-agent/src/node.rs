//! What servers, metrics and health checks look at.

use std::sync::Arc;
use std::time::SystemTime;

use crate::presenter::Presenter;
use crate::query::Queries;
use crate::stream::EventLog;

/// A node under observation, as those see it who serve it to others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    log: EventLog,
    queries: Queries,
    presenter: Presenter,
    started: SystemTime,
}

/// How a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub node_name: String,
    /// When the observation began.
    pub started: SystemTime,
    /// Where events come from.
    pub source: String,
    /// What that cannot see, each as a sentence.
    pub shortcomings: Vec<String>,
    /// When the last event came. `None`: none has.
    pub last_event: Option<SystemTime>,
    /// Whether the source is attached and read.
    pub is_observing: bool,
}

impl Node {
    /// What happens, for those who read it.
    pub fn log(&self) -> &EventLog {
        &self.0.log
    }

    /// Where to ask the owner of the table.
    pub fn queries(&self) -> &Queries {
        &self.0.queries
    }

    /// Who makes messages of processes.
    pub fn presenter(&self) -> &Presenter {
        &self.0.presenter
    }

    /// How it does.
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            node_name: String::new(),
            started: self.0.started,
            source: String::new(),
            shortcomings: Vec::new(),
            last_event: None,
            is_observing: false,
        }
    }
}
