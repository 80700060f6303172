//! The reference system's services, but for events; and the standard ones.

use std::time::Duration;

use procession::ProcessKey;
use procession_agent::server::EventLogParams;
use procession_api::proto::tetragon::event_log_service_client::EventLogServiceClient;
use procession_api::proto::tetragon::*;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tracing::Level;

use crate::lab::{Lab, Plan, fork_by, until, within};
use crate::support::{Script, exec, exit, fork, image, key, running, steps};

#[tokio::test]
async fn the_log_level_is_told_and_set() {
    let lab = Lab::new().await;
    let mut client = lab.sensors().await;
    let set = |level| SetDebugRequest { flag: 0, arg: Some(set_debug_request::Arg::Level(level)) };
    for (level, taken) in [(LogLevel::Trace, Level::TRACE), (LogLevel::Panic, Level::ERROR)] {
        client.set_debug(set(level.into())).await.unwrap();
        assert_eq!(*lab.control.level.lock().unwrap(), taken);
    }
    let got = client.get_debug(GetDebugRequest::default()).await.unwrap().into_inner();
    assert_eq!(got.arg, Some(get_debug_response::Arg::Level(LogLevel::Error.into())));
    for bad in [
        set(99),
        SetDebugRequest { arg: None, ..set(0) },
        SetDebugRequest { flag: 1, ..set(0) },
        SetDebugRequest { flag: 7, ..set(0) },
    ] {
        assert_eq!(client.set_debug(bad).await.unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
}

#[tokio::test]
async fn the_cache_is_dumped_as_far_as_is_asked_for() {
    let script = Script {
        walk: vec![running(1, ProcessKey::NONE), running(5, key(1))],
        live: steps![
            fork(5, 10),
            exec(10, 1),
            fork_by(image(10, 1), 11),
            fork(11, 12),
            exit(11, 0),
            exit(12, 0)
        ]
        .into(),
        ..Script::default()
    };
    let is_played = script.is_played.clone();
    let lab = Lab::plan(Plan { script, ..Plan::default() }).await;
    until("the script is played", || is_played.load(std::sync::atomic::Ordering::Acquire)).await;
    let mut client = lab.sensors().await;
    let mut dump = async |skip_zero_refcnt, exclude_execve_map_processes| {
        let args = DumpProcessCacheReqArgs { skip_zero_refcnt, exclude_execve_map_processes };
        let flag = ConfigFlag::DumpProcessCache.into();
        let request = GetDebugRequest { flag, arg: Some(get_debug_request::Arg::Dump(args)) };
        let answer = client.get_debug(request).await.unwrap().into_inner();
        let Some(get_debug_response::Arg::Processes(dumped)) = answer.arg else { panic!("{answer:?}") };
        let line = |entry: ProcessInternal| {
            let process = entry.process.unwrap();
            assert_eq!(Some(process.refcnt), entry.refcnt);
            assert_eq!(entry.refcnt_ops.values().sum::<i32>(), process.refcnt.cast_signed());
            (process.pid.unwrap(), entry.color, process.refcnt)
        };
        let mut lines: Vec<_> = dumped.processes.into_iter().map(line).collect();
        lines.sort();
        lines
    };
    let all =
        [(1, "inUse", 2), (5, "inUse", 2), (10, "inUse", 2), (11, "inUse", 1), (12, "deletePending", 0)];
    let all = all.map(|(pid, color, references)| (pid, color.to_owned(), references));
    assert_eq!(dump(false, false).await, all);
    assert_eq!(dump(true, false).await, all[..4]);
    assert_eq!(dump(false, true).await, all[3..]);
    let flag = ConfigFlag::DumpProcessCache.into();
    let error = client.get_debug(GetDebugRequest { flag, arg: None }).await.unwrap_err();
    assert_eq!((error.code(), error.message().contains("`dump`")), (Code::InvalidArgument, true));
}

#[tokio::test]
async fn what_there_is_not_is_told() {
    let lab = Lab::new().await;
    let mut client = lab.sensors().await;
    let error = client.list_sensors(ListSensorsRequest {}).await.unwrap_err();
    assert!(error.code() == Code::Unimplemented && error.message().contains("no sensors"), "{error}");
    let error = client.list_tracing_policies(ListTracingPoliciesRequest {}).await.unwrap_err();
    assert!(
        error.code() == Code::Unimplemented && error.message().contains("no tracing policies"),
        "{error}"
    );
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let lab = Lab::new().await;
    let info = lab.sensors().await.get_info(GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.name.as_str(), info.version.as_str()), ("procession", env!("CARGO_PKG_VERSION")));
    let setting = &info.conf[0];
    let value = String::decode(&*setting.value.as_ref().unwrap().value).unwrap();
    assert_eq!((setting.key.as_str(), value.as_str()), ("log-level", "info"));
}

#[tokio::test]
async fn a_runtime_hook_is_passed_on() {
    let lab = Lab::new().await;
    let mut client = lab.sensors().await;
    let hook = |container| RuntimeHookRequest {
        event: Some(runtime_hook_request::Event::CreateContainer(container)),
    };
    let container = CreateContainer { cgroups_path: "/a/b".into(), ..CreateContainer::default() };
    client.runtime_hook(hook(container.clone())).await.unwrap();
    assert_eq!(*lab.control.containers.lock().unwrap(), [container]);
    for bad in [RuntimeHookRequest { event: None }, hook(CreateContainer::default())] {
        assert_eq!(client.runtime_hook(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn the_export_is_told_and_set() {
    let lab = Lab::new().await;
    let mut client = EventLogServiceClient::new(lab.channel().await);
    let set = |max_size, interval: Option<&str>| SetEventLogParamsRequest {
        max_size,
        rotation_interval: interval.map(str::to_owned),
        max_backups: None,
    };
    let error = client.get_event_log_params(GetEventLogParamsRequest {}).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let error = client.set_event_log_params(set(Some(1), None)).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let params = EventLogParams { max_size_mb: 10, rotation_interval: Duration::ZERO, max_backups: 5 };
    *lab.control.event_log.lock().unwrap() = Some(params);
    client.set_event_log_params(set(Some(7), Some("1h"))).await.unwrap();
    let got = client.get_event_log_params(GetEventLogParamsRequest {}).await.unwrap().into_inner();
    let expected =
        GetEventLogParamsResponse { max_size: 7, rotation_interval: "1h0m0s".into(), max_backups: 5 };
    assert_eq!(got, expected);
    for bad in [set(Some(-1), None), set(None, Some("-1h"))] {
        assert_eq!(client.set_event_log_params(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn health_is_the_truth() {
    let mut lab = Lab::new().await;
    let mut sensors = lab.sensors().await;
    let mut own = async || {
        let health = sensors.get_health(GetHealthStatusRequest::default()).await.unwrap().into_inner();
        let health = health.health_status.into_iter().next().unwrap();
        assert_eq!(health.event(), HealthStatusType::Status);
        (health.status(), health.details)
    };
    assert_eq!(own().await, (HealthStatusResult::HealthStatusRunning, "running".to_owned()));
    let mut standard = HealthClient::new(lab.channel().await);
    let names = ["", "liveness", "tetragon.FineGuidanceSensors", "procession.v1.LineageService"];
    for name in names {
        let answer = standard.check(HealthCheckRequest { service: name.into() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{name}");
    }
    let mut watch =
        standard.watch(HealthCheckRequest { service: "liveness".into() }).await.unwrap().into_inner();
    lab.observation.take().unwrap().stop();
    while within(watch.message()).await.unwrap().unwrap().status() == ServingStatus::Serving {}
    let (status, details) = own().await;
    assert_eq!(status, HealthStatusResult::HealthStatusError);
    assert!(details.contains("/proc polling has ended"), "{details}");
    // Whoever watches does not hold up the end.
    lab.stop();
    lab.ended().await;
    assert!(within(watch.message()).await.is_ok());
}

#[tokio::test]
async fn health_may_have_an_address_of_its_own() {
    use procession_agent::server::{Server, ServerConfig};

    let health_address = Some("127.0.0.1:0".parse().unwrap());
    let bound = Server::bind(ServerConfig { health_address, ..ServerConfig::default() }).await.unwrap();
    let address = bound.health_address().unwrap();
    let lab = Lab::new().await;
    tokio::spawn(bound.serve(lab.node.clone(), lab.control.clone(), std::future::pending()));
    let channel = crate::lab::connect(&address).await;
    let answer = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let mut sensors = fine_guidance_sensors_client::FineGuidanceSensorsClient::new(channel);
    assert_eq!(sensors.get_version(GetVersionRequest {}).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn services_describe_themselves() {
    let lab = Lab::new().await;
    let mut client = ServerReflectionClient::new(lab.channel().await);
    let ask = |message_request| ServerReflectionRequest {
        message_request: Some(message_request),
        ..Default::default()
    };
    let asked = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("procession.v1.LineageService".into())),
    ]);
    let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    let mut next = async || -> MessageResponse {
        let answer: ServerReflectionResponse = within(answers.next()).await.unwrap().unwrap();
        answer.message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = next().await else { panic!("no list") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["tetragon.FineGuidanceSensors", "procession.v1.LineageService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
}
