//! The reference system's service.

use std::time::SystemTime;

use procession_api::Encoded;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    AddTracingPolicyRequest, AddTracingPolicyResponse, ConfigFlag, ConfigureTracingPolicyRequest,
    ConfigureTracingPolicyResponse, DeleteTracingPolicyRequest, DeleteTracingPolicyResponse,
    DisableSensorRequest, DisableSensorResponse, DisableTracingPolicyRequest, DisableTracingPolicyResponse,
    DumpProcessCacheResArgs, EnableSensorRequest, EnableSensorResponse, EnableTracingPolicyRequest,
    EnableTracingPolicyResponse, GetDebugRequest, GetDebugResponse, GetEventsRequest, GetEventsResponse,
    GetHealthStatusRequest, GetHealthStatusResponse, GetInfoRequest, GetInfoResponse, GetVersionRequest,
    GetVersionResponse, HealthStatus, HealthStatusResult, HealthStatusType, ListDomainsRequest,
    ListDomainsResponse, ListSensorsRequest, ListSensorsResponse, ListTracingPoliciesRequest,
    ListTracingPoliciesResponse, LogLevel, RateLimitInfo, RemoveSensorRequest, RemoveSensorResponse,
    RuntimeHookRequest, RuntimeHookResponse, SetDebugRequest, SetDebugResponse, get_debug_request,
    get_debug_response, get_info_response, runtime_hook_request, set_debug_request, set_debug_response,
};
use procession_api::proto::tetragon_servers::fine_guidance_sensors_server::FineGuidanceSensors;
use prost::Message as _;
use prost_types::{Any, Timestamp};
use tonic::{Request, Response, Status};
use tracing::Level;

use super::bound::Shared;
use super::dump::dump;
use super::feed::{Fed, Feed, Place, Streamed};
use super::subscription::{Subscription, Wish};

/// `tetragon.FineGuidanceSensors`.
pub(super) struct Sensors(Shared);

/// What the version of this program is.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

type Answer<T> = Result<Response<T>, Status>;

impl Sensors {
    pub(super) fn new(shared: Shared) -> Self {
        Self(shared)
    }
}

#[tonic::async_trait]
impl FineGuidanceSensors for Sensors {
    type GetEventsStream = Streamed<Encoded>;

    /// Of what a client lost it is told among the events if an `event_set` of its allow list names
    /// `RATE_LIMIT_INFO`; else, if there was any, at the end alone, in the metadata
    /// `procession-lost-events`.
    ///
    /// `aggregation_options` are taken and have no effect: in the reference system they merge nothing
    /// either.
    async fn get_events(&self, request: Request<GetEventsRequest>) -> Answer<Self::GetEventsStream> {
        let GetEventsRequest { allow_list, deny_list, field_filters, .. } = request.into_inner();
        let place = Place::take(&self.0)?;
        let wish = Wish { allow: allow_list, deny: deny_list, fields: field_filters };
        let subscription = Subscription::compile(&self.0, wish).await?;
        let (node, asks_for_losses) = (self.0.node.clone(), subscription.asks_for_losses);
        let encode = move |fed| match fed {
            Fed::Event(event) => Some(Encoded(event)),
            // The reference system tells of no losses here, and its client ends when it is told of any.
            Fed::Lost(events) => {
                asks_for_losses.then(|| Encoded::new(&lost(node.presenter().node_name(), events)))
            }
        };
        Ok(Response::new(Box::pin(Feed::new(&self.0, place, subscription).into_stream(encode))))
    }

    async fn get_health(&self, _request: Request<GetHealthStatusRequest>) -> Answer<GetHealthStatusResponse> {
        let status = self.0.node.status();
        let (result, details) = if status.is_observing {
            (HealthStatusResult::HealthStatusRunning, "running".to_owned())
        } else {
            let details = format!("{} has ended or gives no sign of life", status.source);
            (HealthStatusResult::HealthStatusError, details)
        };
        let event = HealthStatusType::Status.into();
        let health_status = vec![HealthStatus { event, status: result.into(), details }];
        Ok(Response::new(GetHealthStatusResponse { health_status }))
    }

    async fn get_version(&self, _request: Request<GetVersionRequest>) -> Answer<GetVersionResponse> {
        Ok(Response::new(GetVersionResponse { version: VERSION.to_owned() }))
    }

    async fn get_info(&self, _request: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        let setting = |(key, value): (String, String)| {
            let type_url = "type.googleapis.com/google.protobuf.StringValue".to_owned();
            let value = Some(Any { type_url, value: value.encode_to_vec() });
            get_info_response::Setting { key, value }
        };
        Ok(Response::new(GetInfoResponse {
            version: VERSION.to_owned(),
            name: "procession".to_owned(),
            conf: self.0.control.config().into_iter().map(setting).collect(),
            ..GetInfoResponse::default()
        }))
    }

    async fn runtime_hook(&self, request: Request<RuntimeHookRequest>) -> Answer<RuntimeHookResponse> {
        let Some(runtime_hook_request::Event::CreateContainer(container)) = request.into_inner().event else {
            return Err(Status::invalid_argument("the request does not say what happened"));
        };
        if container.cgroups_path.is_empty() && container.container_id.is_empty() {
            return Err(Status::invalid_argument("neither cgroupsPath nor containerID say which container"));
        }
        self.0.control.runtime_hook(container)?;
        Ok(Response::new(RuntimeHookResponse {}))
    }

    async fn get_debug(&self, request: Request<GetDebugRequest>) -> Answer<GetDebugResponse> {
        let request = request.into_inner();
        let arg = match config_flag(request.flag)? {
            ConfigFlag::LogLevel => {
                let level = log_level(self.0.control.log_level());
                get_debug_response::Arg::Level(level.into())
            }
            ConfigFlag::DumpProcessCache => {
                let Some(get_debug_request::Arg::Dump(args)) = request.arg else {
                    return Err(Status::invalid_argument(
                        "the request does not say what to dump: set `dump`",
                    ));
                };
                let processes = dump(&self.0, args).await?;
                get_debug_response::Arg::Processes(DumpProcessCacheResArgs { processes })
            }
        };
        Ok(Response::new(GetDebugResponse { flag: request.flag, arg: Some(arg) }))
    }

    async fn set_debug(&self, request: Request<SetDebugRequest>) -> Answer<SetDebugResponse> {
        let SetDebugRequest { flag, arg } = request.into_inner();
        if config_flag(flag)? != ConfigFlag::LogLevel {
            return Err(Status::invalid_argument("only the log level can be set"));
        }
        let Some(set_debug_request::Arg::Level(level)) = arg else {
            return Err(Status::invalid_argument("the request does not say which level: set `level`"));
        };
        self.0.control.set_log_level(tracing_level(level)?)?;
        let level = log_level(self.0.control.log_level());
        let arg = Some(set_debug_response::Arg::Level(level.into()));
        Ok(Response::new(SetDebugResponse { flag, arg }))
    }

    async fn add_tracing_policy(
        &self,
        _request: Request<AddTracingPolicyRequest>,
    ) -> Answer<AddTracingPolicyResponse> {
        Err(no_policies())
    }

    async fn delete_tracing_policy(
        &self,
        _request: Request<DeleteTracingPolicyRequest>,
    ) -> Answer<DeleteTracingPolicyResponse> {
        Err(no_policies())
    }

    async fn list_tracing_policies(
        &self,
        _request: Request<ListTracingPoliciesRequest>,
    ) -> Answer<ListTracingPoliciesResponse> {
        Err(no_policies())
    }

    async fn configure_tracing_policy(
        &self,
        _request: Request<ConfigureTracingPolicyRequest>,
    ) -> Answer<ConfigureTracingPolicyResponse> {
        Err(no_policies())
    }

    async fn enable_tracing_policy(
        &self,
        _request: Request<EnableTracingPolicyRequest>,
    ) -> Answer<EnableTracingPolicyResponse> {
        Err(no_policies())
    }

    async fn disable_tracing_policy(
        &self,
        _request: Request<DisableTracingPolicyRequest>,
    ) -> Answer<DisableTracingPolicyResponse> {
        Err(no_policies())
    }

    async fn list_domains(&self, _request: Request<ListDomainsRequest>) -> Answer<ListDomainsResponse> {
        Err(no_policies())
    }

    async fn list_sensors(&self, _request: Request<ListSensorsRequest>) -> Answer<ListSensorsResponse> {
        Err(no_sensors())
    }

    async fn enable_sensor(&self, _request: Request<EnableSensorRequest>) -> Answer<EnableSensorResponse> {
        Err(no_sensors())
    }

    async fn disable_sensor(&self, _request: Request<DisableSensorRequest>) -> Answer<DisableSensorResponse> {
        Err(no_sensors())
    }

    async fn remove_sensor(&self, _request: Request<RemoveSensorRequest>) -> Answer<RemoveSensorResponse> {
        Err(no_sensors())
    }
}

/// The event that tells a client of what it missed.
fn lost(node_name: &str, events: u64) -> GetEventsResponse {
    let info = RateLimitInfo { number_of_dropped_process_events: events };
    GetEventsResponse {
        event: Some(Event::RateLimitInfo(info)),
        node_name: node_name.to_owned(),
        time: Some(Timestamp::from(SystemTime::now())),
        ..GetEventsResponse::default()
    }
}

fn no_policies() -> Status {
    Status::unimplemented("there are no tracing policies: processes are observed as they are")
}

fn no_sensors() -> Status {
    Status::unimplemented("there are no sensors to manage: see GetStatus of procession.v1.LineageService")
}

fn config_flag(flag: i32) -> Result<ConfigFlag, Status> {
    ConfigFlag::try_from(flag).map_err(|_| Status::invalid_argument(format!("there is no flag {flag}")))
}

fn log_level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Nothing is worse than an error here.
fn tracing_level(level: i32) -> Result<Level, Status> {
    let level = LogLevel::try_from(level);
    Ok(match level.map_err(|_| Status::invalid_argument("there is no such log level"))? {
        LogLevel::Panic | LogLevel::Fatal | LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    })
}
