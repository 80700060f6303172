//! What metrics and health checks are told of an agent.

use std::sync::Arc;
use std::time::SystemTime;

use crate::export::ExportHandle;
use crate::metrics::{EventMetrics, Measurements, Usage};
use crate::node::Node;
use crate::server::ServerCounters;
use crate::web::{Health, Observed};

/// An agent, as who watches over it sees it.
pub(crate) struct NodeObserved {
    node: Node,
    events: Arc<EventMetrics>,
    server: ServerCounters,
    export: Option<ExportHandle>,
}

impl NodeObserved {
    pub(crate) fn new(
        node: Node,
        events: Arc<EventMetrics>,
        server: ServerCounters,
        export: Option<ExportHandle>,
    ) -> Self {
        Self { node, events, server, export }
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
            usage: Usage::of_this_process(),
            server,
            export,
            ..Measurements::default()
        };
        let measurements = measurements.with_log(node.log());
        // Without an answer the observation has ended, which is on the page too.
        match node.queries().ask(|view| ((view.account)(), view.table.explain())).await {
            Ok((account, table)) => Measurements { table, ..measurements.with_account(account) },
            Err(_) => measurements,
        }
    }

    fn events(&self) -> &EventMetrics {
        &self.events
    }

    fn health(&self) -> Health {
        let pulse = self.node.pulse();
        let export = self.export.as_ref().map(ExportHandle::counts);
        let is_failing = export.is_some_and(|counts| counts.is_failing);
        Health {
            is_running: !pulse.is_over(),
            is_attached: !pulse.is_over(),
            last_poll: SystemTime::now().duration_since(pulse.last_poll()).ok(),
            obstacles: Vec::from_iter(is_failing.then(|| "events cannot be exported".to_owned())),
        }
    }
}
