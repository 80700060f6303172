//! What the reference system's API cannot say: `procession.v1.LineageService`.

mod chain;
mod follow;
mod fresh;
mod ledger;
mod list;
mod snapshot;
mod target;
mod tree;

use std::sync::Arc;
use std::time::SystemTime;

use procession_api::Encoded;
use procession_api::proto::procession::v1::{
    FollowRequest, GetLedgerRequest, GetLedgerResponse, GetLineageRequest, GetLineageResponse,
    GetStatusRequest, GetStatusResponse, GetTreeRequest, GetTreeResponse, ListProcessesRequest,
    ListProcessesResponse,
};
use procession_api::proto::procession_servers::lineage_service_server::LineageService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::bound::Shared;
use super::feed::Streamed;
use super::sensors::VERSION;
use super::{ServerCounts, ended};
use crate::privileges;
use snapshot::Snapshots;
use target::Target;

/// `procession.v1.LineageService`.
pub(super) struct Lineage {
    shared: Shared,
    snapshots: Snapshots,
    /// Room for what already runs and is not sent yet, in KiB: of all clients that follow.
    room: Arc<Semaphore>,
}

/// How much may wait for clients that do not read.
const ROOM_KIB: usize = 256 << 10;

type Answer<T> = Result<Response<T>, Status>;

impl Lineage {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, snapshots: Snapshots::default(), room: Arc::new(Semaphore::new(ROOM_KIB)) }
    }
}

#[tonic::async_trait]
impl LineageService for Lineage {
    type FollowStream = Streamed<Encoded>;
    type ListProcessesStream = Streamed<ListProcessesResponse>;
    type GetTreeStream = Streamed<GetTreeResponse>;

    async fn follow(&self, request: Request<FollowRequest>) -> Answer<Self::FollowStream> {
        let stream = follow::follow(&self.shared, request.into_inner(), &self.snapshots, &self.room).await?;
        Ok(Response::new(stream))
    }

    async fn list_processes(
        &self,
        request: Request<ListProcessesRequest>,
    ) -> Answer<Self::ListProcessesStream> {
        Ok(Response::new(list::list(&self.shared, request.into_inner()).await?))
    }

    async fn get_tree(&self, request: Request<GetTreeRequest>) -> Answer<Self::GetTreeStream> {
        let GetTreeRequest { root, with_ended } = request.into_inner();
        let root = root.map(|root| Target::new(Some(root))).transpose()?;
        Ok(Response::new(tree::tree(&self.shared, root, with_ended).await?))
    }

    async fn get_lineage(&self, request: Request<GetLineageRequest>) -> Answer<GetLineageResponse> {
        let target = Target::new(request.into_inner().target)?;
        let node = self.shared.node.clone();
        let lineage = self.shared.node.queries().ask(move |view| {
            let entry = target.find(view.table, &node)?;
            Ok::<_, Status>(chain::lineage(view, &node, entry))
        });
        Ok(Response::new(lineage.await.map_err(ended)??))
    }

    async fn get_ledger(&self, _request: Request<GetLedgerRequest>) -> Answer<GetLedgerResponse> {
        let node = &self.shared.node;
        let asked = node.queries().ask(|view| ((view.account)(), view.table.explain()));
        let (account, explanation) = asked.await.map_err(ended)?;
        Ok(Response::new(ledger::ledger(&account, &explanation, node.log().readers())))
    }

    async fn get_status(&self, _request: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let status = self.shared.node.status();
        // Whoever has ended says so, and knows no more processes.
        let processes = self.shared.node.queries().ask(|view| view.table.live()).await.unwrap_or(0);
        let ServerCounts { streams, .. } = self.shared.counters.read();
        let uptime = SystemTime::now().duration_since(status.started).unwrap_or_default();
        Ok(Response::new(GetStatusResponse {
            version: VERSION.to_owned(),
            node_name: status.node_name,
            started: Some(status.started.into()),
            uptime: uptime.try_into().ok(),
            source: status.source,
            shortcomings: status.shortcomings,
            processes: processes as u64,
            last_event: status.last_event.map(Into::into),
            is_observing: status.is_observing,
            clients: streams,
            capabilities: privileges::held(),
        }))
    }
}
