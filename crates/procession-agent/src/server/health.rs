//! The standard health service: whether the node is observed.

use std::time::Duration;

use procession_api::proto::{procession_servers, tetragon_servers};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::stopping::Stopping;
use crate::Node;

/// What is told of the node, under each of its names.
pub(super) struct Health {
    node: Node,
    reporter: HealthReporter,
}

/// The whole server, the reference system's name for that, and the services.
const NAMES: [&str; 4] = [
    "",
    "liveness",
    tetragon_servers::fine_guidance_sensors_server::SERVICE_NAME,
    procession_servers::lineage_service_server::SERVICE_NAME,
];

/// How old the answer may be.
const EVERY: Duration = Duration::from_secs(1);

impl Health {
    pub(super) fn new(node: Node) -> Self {
        Self { node, reporter: HealthReporter::new() }
    }

    pub(super) fn server(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Looks at the node now and then, until the server stops.
    pub(super) async fn keep_true(mut self, mut stopping: Stopping) {
        loop {
            let is_observing = self.node.status().is_observing;
            self.tell(if is_observing { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            tokio::select! {
                () = stopping.wait() => break,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        self.tell(ServingStatus::NotServing).await;
        // Whoever watches has heard it, and is not waited for.
        for name in NAMES {
            self.reporter.clear_service_status(name).await;
        }
    }

    async fn tell(&self, status: ServingStatus) {
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
