//! What metrics and health checks are told of an agent.

use std::sync::{Arc, Mutex, PoisonError};

use procession::Explanation;

use crate::export::ExportHandle;
use crate::metrics::{EventMetrics, Measurements, Usage};
use crate::node::Node;
use crate::pipeline::Account;
use crate::privileges;
use crate::server::ServerCounters;
use crate::web::{Health, Observed};

/// An agent, as who watches over it sees it.
pub(crate) struct NodeObserved {
    node: Node,
    events: Arc<EventMetrics>,
    server: ServerCounters,
    export: Option<ExportHandle>,
    /// What the owner of the table told last: counts must not go back when it has ended.
    last: Mutex<(Account, Explanation)>,
}

impl NodeObserved {
    pub(crate) fn new(
        node: Node,
        events: Arc<EventMetrics>,
        server: ServerCounters,
        export: Option<ExportHandle>,
    ) -> Self {
        Self { node, events, server, export, last: Mutex::default() }
    }
}

impl Observed for NodeObserved {
    async fn measure(&self) -> Measurements {
        let Self { node, server, export, .. } = self;
        let status = node.status();
        let (server, export) = (server.read(), export.as_ref().map(ExportHandle::counts).unwrap_or_default());
        let measurements = Measurements {
            started: Some(status.started),
            source: Some(node.source()),
            is_observing: status.is_observing,
            last_event: status.last_event,
            filter_errors: server.unfiltered + export.failed_fields,
            usage: Usage::read().ok(),
            capabilities: privileges::held(),
            server,
            export,
            ..Measurements::default()
        };
        let measurements = measurements.with_log(node.log());
        let answer = node.queries().ask(|view| ((view.account)(), view.table.explain())).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(answer) = answer {
            *last = answer;
        }
        let (account, table) = last.clone();
        Measurements { table, ..measurements.with_account(account) }
    }

    fn events(&self) -> &EventMetrics {
        &self.events
    }

    fn health(&self) -> Health {
        let pulse = self.node.pulse();
        let export = self.export.as_ref().map(ExportHandle::counts);
        let is_failing = export.is_some_and(|counts| counts.is_failing);
        let export = is_failing.then(|| "events cannot be exported".to_owned());
        Health {
            is_running: !pulse.is_over(),
            silence: pulse.silence(),
            obstacles: export.into_iter().collect(),
        }
    }
}
