//! What servers, metrics and health checks look at.

use std::sync::Arc;
use std::time::SystemTime;

use procession_sensor::SourceKind;

use crate::presenter::Presenter;
use crate::pulse::Pulse;
use crate::query::Queries;
use crate::stream::EventLog;

/// A node under observation, as those see it who serve it to others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node(Arc<NodeParts>);

/// What a [`Node`] is made of.
#[derive(Debug)]
pub struct NodeParts {
    /// What happens.
    pub log: EventLog,
    /// Where to ask what is known.
    pub queries: Queries,
    /// Who makes messages.
    pub presenter: Presenter,
    /// Whether the observation goes on.
    pub pulse: Pulse,
    /// Where events come from.
    pub source: SourceKind,
    /// What that cannot see, each as a sentence.
    pub shortcomings: Vec<String>,
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
    /// A node of these parts.
    pub fn new(parts: NodeParts) -> Self {
        Self(Arc::new(parts))
    }

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

    /// Whether the observation goes on.
    pub fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    /// Where events come from.
    pub fn source(&self) -> SourceKind {
        self.0.source
    }

    /// How it does.
    pub fn status(&self) -> NodeStatus {
        let NodeParts { presenter, pulse, source, shortcomings, .. } = &*self.0;
        NodeStatus {
            node_name: presenter.node_name().to_owned(),
            started: pulse.began(),
            source: source.to_string(),
            shortcomings: shortcomings.clone(),
            last_event: pulse.last_event(),
            is_observing: pulse.is_observing(),
        }
    }
}
