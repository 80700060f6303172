//! An agent with scripted answers, and the program that asks it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use procession_api::Encoded;
use procession_api::proto::procession::v1::{self, target};
use procession_api::proto::procession_servers::lineage_service_server::{
    LineageService, LineageServiceServer,
};
use procession_api::proto::tetragon::{self, GetEventsResponse};
use procession_api::proto::tetragon_servers::fine_guidance_sensors_server::{
    FineGuidanceSensors, FineGuidanceSensorsServer,
};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport};

use crate::run::{Said, procession};

/// What the agent answers, and what it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) status: Option<v1::GetStatusResponse>,
    pub(crate) processes: Vec<v1::Process>,
    pub(crate) tree: Vec<v1::GetTreeResponse>,
    pub(crate) lineages: HashMap<String, v1::GetLineageResponse>,
    /// After these the stream ends.
    pub(crate) events: Vec<GetEventsResponse>,
    /// After these the stream stays open and still.
    pub(crate) follow: Vec<v1::follow_response::Item>,
    pub(crate) debug: Option<tetragon::GetDebugResponse>,
    pub(crate) asked: Arc<Mutex<Asked>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) events: Vec<tetragon::GetEventsRequest>,
    pub(crate) follow: Vec<v1::FollowRequest>,
    pub(crate) list: Vec<v1::ListProcessesRequest>,
    pub(crate) tree: Vec<v1::GetTreeRequest>,
    pub(crate) debug: Vec<tetragon::GetDebugRequest>,
    pub(crate) set_debug: Vec<tetragon::SetDebugRequest>,
}

type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

fn stream<T: Send + 'static>(items: Vec<T>) -> Stream<T> {
    Box::pin(tokio_stream::iter(items.into_iter().map(Ok)))
}

fn name_of(target: Option<v1::Target>) -> String {
    match target.and_then(|target| target.name) {
        Some(target::Name::Pid(pid)) => pid.to_string(),
        Some(target::Name::ExecId(id)) => id,
        None => String::new(),
    }
}

#[tonic::async_trait]
impl LineageService for Script {
    type FollowStream = Stream<Encoded>;
    type ListProcessesStream = Stream<v1::ListProcessesResponse>;
    type GetTreeStream = Stream<v1::GetTreeResponse>;

    async fn follow(
        &self,
        request: Request<v1::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        self.asked.lock().unwrap().follow.push(request.into_inner());
        let items = self.follow.iter().cloned().map(|item| v1::FollowResponse { item: Some(item) });
        let items: Vec<_> = items.map(|response| Ok(Encoded::new(&response))).collect();
        let open = tokio_stream::StreamExt::chain(tokio_stream::iter(items), tokio_stream::pending());
        Ok(Response::new(Box::pin(open)))
    }

    async fn list_processes(
        &self,
        request: Request<v1::ListProcessesRequest>,
    ) -> Result<Response<Self::ListProcessesStream>, Status> {
        self.asked.lock().unwrap().list.push(request.into_inner());
        let all = self.processes.iter().cloned();
        let all = all.map(|process| v1::ListProcessesResponse { process: Some(process) }).collect();
        Ok(Response::new(stream(all)))
    }

    async fn get_tree(
        &self,
        request: Request<v1::GetTreeRequest>,
    ) -> Result<Response<Self::GetTreeStream>, Status> {
        self.asked.lock().unwrap().tree.push(request.into_inner());
        Ok(Response::new(stream(self.tree.clone())))
    }

    async fn get_lineage(
        &self,
        request: Request<v1::GetLineageRequest>,
    ) -> Result<Response<v1::GetLineageResponse>, Status> {
        let lineage = self.lineages.get(&name_of(request.into_inner().target)).cloned();
        lineage.map(Response::new).ok_or_else(|| Status::not_found("no such process"))
    }

    async fn get_ledger(
        &self,
        _: Request<v1::GetLedgerRequest>,
    ) -> Result<Response<v1::GetLedgerResponse>, Status> {
        Ok(Response::new(v1::GetLedgerResponse { lost: 3, ..v1::GetLedgerResponse::default() }))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.status.clone().map(Response::new).ok_or_else(|| Status::unimplemented(""))
    }
}

macro_rules! unimplemented_calls {
    ($($name:ident: $request:ident -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl FineGuidanceSensors for Script {
            type GetEventsStream = Stream<Encoded>;

            async fn get_events(
                &self,
                request: Request<tetragon::GetEventsRequest>,
            ) -> Result<Response<Self::GetEventsStream>, Status> {
                let request = request.into_inner();
                let bad = request.allow_list.iter().flat_map(|filter| &filter.binary_regex).any(|it| it == "refused");
                self.asked.lock().unwrap().events.push(request);
                if bad {
                    return Err(Status::invalid_argument("allow_list[0].binary_regex: no\u{1b}[31m"));
                }
                Ok(Response::new(stream(self.events.iter().map(Encoded::new).collect())))
            }

            async fn get_debug(
                &self,
                request: Request<tetragon::GetDebugRequest>,
            ) -> Result<Response<tetragon::GetDebugResponse>, Status> {
                self.asked.lock().unwrap().debug.push(request.into_inner());
                self.debug.clone().map(Response::new).ok_or_else(|| Status::unimplemented(""))
            }

            async fn set_debug(
                &self,
                request: Request<tetragon::SetDebugRequest>,
            ) -> Result<Response<tetragon::SetDebugResponse>, Status> {
                let request = request.into_inner();
                self.asked.lock().unwrap().set_debug.push(request.clone());
                let Some(tetragon::set_debug_request::Arg::Level(level)) = request.arg else {
                    return Err(Status::invalid_argument("no level"));
                };
                let arg = Some(tetragon::set_debug_response::Arg::Level(level));
                Ok(Response::new(tetragon::SetDebugResponse { flag: request.flag, arg }))
            }

            $(async fn $name(
                &self,
                _: Request<tetragon::$request>,
            ) -> Result<Response<tetragon::$response>, Status> {
                Err(Status::unimplemented(""))
            })*
        }
    };
}

unimplemented_calls! {
    get_health: GetHealthStatusRequest -> GetHealthStatusResponse;
    get_version: GetVersionRequest -> GetVersionResponse;
    get_info: GetInfoRequest -> GetInfoResponse;
    runtime_hook: RuntimeHookRequest -> RuntimeHookResponse;
    add_tracing_policy: AddTracingPolicyRequest -> AddTracingPolicyResponse;
    delete_tracing_policy: DeleteTracingPolicyRequest -> DeleteTracingPolicyResponse;
    list_tracing_policies: ListTracingPoliciesRequest -> ListTracingPoliciesResponse;
    configure_tracing_policy: ConfigureTracingPolicyRequest -> ConfigureTracingPolicyResponse;
    enable_tracing_policy: EnableTracingPolicyRequest -> EnableTracingPolicyResponse;
    disable_tracing_policy: DisableTracingPolicyRequest -> DisableTracingPolicyResponse;
    list_domains: ListDomainsRequest -> ListDomainsResponse;
    list_sensors: ListSensorsRequest -> ListSensorsResponse;
    enable_sensor: EnableSensorRequest -> EnableSensorResponse;
    disable_sensor: DisableSensorRequest -> DisableSensorResponse;
    remove_sensor: RemoveSensorRequest -> RemoveSensorResponse;
}

/// An agent at work.
pub(crate) struct Agent {
    folder: TempDir,
    asked: Arc<Mutex<Asked>>,
    ends: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::clone(&script.asked);
        let (ends, thread) = serve(&folder.path().join("agent.sock"), script);
        Self { folder, asked, ends: Some(ends), thread: Some(thread) }
    }

    pub(crate) fn asked(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// The program, that is to ask this agent.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = procession(arguments);
        command.env("PROCESSION_SERVER_ADDRESS", format!("unix://{}", self.socket().display()));
        command
    }

    /// What the program does and says.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::by(&mut self.command(arguments))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.ends.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn serve(path: &Path, script: Script) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = executor.block_on(async { UnixListener::bind(path).unwrap() });
    let (ends, has_ended) = oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        executor.block_on(async {
            let serving = transport::Server::builder()
                .add_service(LineageServiceServer::new(script.clone()))
                .add_service(FineGuidanceSensorsServer::new(script))
                .serve_with_incoming(UnixListenerStream::new(listener));
            tokio::select! {
                result = serving => result.unwrap(),
                _ = has_ended => {}
            }
        });
    });
    (ends, thread)
}
