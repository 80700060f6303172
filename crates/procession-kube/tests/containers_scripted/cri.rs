//! A Kubernetes runtime that answers what it is told to, and the tests of what it may answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use procession_kube::{Answer, Runtimes, RuntimesConfig};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, async_trait, transport};

use super::proto::cri;
use super::proto::cri::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use super::{ask, config, id, known, socket};

/// What a container's status is asked of.
type Container = fn(&str) -> Result<cri::ContainerStatusResponse, Status>;
/// What a sandbox's status is asked of.
type Sandbox = fn(&str) -> Result<cri::PodSandboxStatusResponse, Status>;

#[derive(Clone)]
struct Script {
    container: Container,
    sandbox: Sandbox,
    /// Whether it serves this at all.
    has_version: bool,
    /// Calls that named a container.
    calls: Arc<AtomicUsize>,
}

impl Script {
    fn new(container: Container, sandbox: Sandbox) -> Self {
        Self { container, sandbox, has_version: true, calls: Arc::default() }
    }
}

#[async_trait]
impl RuntimeService for Script {
    async fn version(
        &self,
        _: Request<cri::VersionRequest>,
    ) -> Result<Response<cri::VersionResponse>, Status> {
        if !self.has_version {
            return Err(Status::unimplemented("unknown service runtime.v1.RuntimeService"));
        }
        Ok(Response::new(cri::VersionResponse { runtime_name: "cri-o".to_owned(), ..Default::default() }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerRequest>,
    ) -> Result<Response<cri::ContainerStatusResponse>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        (self.container)(&request.into_inner().container_id).map(Response::new)
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Result<Response<cri::ListContainersResponse>, Status> {
        let id = request.into_inner().filter.unwrap_or_default().id;
        let other = cri::Container { id: format!("{id}0"), pod_sandbox_id: "another".to_owned() };
        let this = cri::Container { id, pod_sandbox_id: "the-sandbox".to_owned() };
        Ok(Response::new(cri::ListContainersResponse { containers: vec![other, this] }))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxRequest>,
    ) -> Result<Response<cri::PodSandboxStatusResponse>, Status> {
        (self.sandbox)(&request.into_inner().pod_sandbox_id).map(Response::new)
    }

    async fn run_pod_sandbox(
        &self,
        _: Request<cri::RunPodSandboxRequest>,
    ) -> Result<Response<cri::RunPodSandboxResponse>, Status> {
        Err(not_asked())
    }

    async fn stop_pod_sandbox(
        &self,
        _: Request<cri::PodSandboxRequest>,
    ) -> Result<Response<cri::Empty>, Status> {
        Err(not_asked())
    }

    async fn remove_pod_sandbox(
        &self,
        _: Request<cri::PodSandboxRequest>,
    ) -> Result<Response<cri::Empty>, Status> {
        Err(not_asked())
    }

    async fn create_container(
        &self,
        _: Request<cri::CreateContainerRequest>,
    ) -> Result<Response<cri::CreateContainerResponse>, Status> {
        Err(not_asked())
    }

    async fn start_container(
        &self,
        _: Request<cri::ContainerRequest>,
    ) -> Result<Response<cri::Empty>, Status> {
        Err(not_asked())
    }
}

fn not_asked() -> Status {
    Status::unimplemented("nobody who only looks calls this")
}

/// A running server, which ends and takes its socket away when it is dropped.
struct Server {
    path: PathBuf,
    ends: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.ends.take());
        self.thread.take().unwrap().join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
    }
}

fn serve(path: &Path, script: Script) -> Server {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = executor.block_on(async { UnixListener::bind(path).unwrap() });
    let (ends, has_ended) = oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        executor.block_on(async {
            let serving = transport::Server::builder()
                .add_service(RuntimeServiceServer::new(script))
                .serve_with_incoming(UnixListenerStream::new(listener));
            tokio::select! {
                result = serving => result.unwrap(),
                _ = has_ended => {}
            }
        });
    });
    Server { path: path.to_owned(), ends: Some(ends), thread: Some(thread) }
}

/// Asks a server with this script, twice: the second time over the same connection.
fn answer_to(script: &Script) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&folder.path().join("cri.sock"), script.clone());
    let config = RuntimesConfig {
        known_for: Duration::ZERO,
        first_retry: Duration::ZERO,
        ..config(&[socket("cri", folder.path(), "cri.sock")])
    };
    let runtimes = Runtimes::start(&config).unwrap();
    let answer = ask(&runtimes, id('a'));
    runtimes.ask(id('a'));
    assert_eq!(runtimes.replies().recv().unwrap().answer, answer);
    drop(server);
    answer
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn container(id: &str) -> cri::ContainerStatusResponse {
    let status = cri::ContainerStatus {
        id: id.to_owned(),
        metadata: Some(cri::ContainerMetadata { name: "nginx".to_owned(), attempt: 3 }),
        started_at: 1_767_323_046_500_000_000,
        image: Some(cri::ImageSpec { image: "docker.io/library/nginx:1".to_owned() }),
        image_ref: "docker.io/library/nginx@sha256:1".to_owned(),
        labels: map(&[
            ("io.kubernetes.pod.namespace", "from-label"),
            ("io.kubernetes.pod.name", "web-0"),
            ("io.kubernetes.pod.uid", "6d3f"),
        ]),
        ..Default::default()
    };
    let info =
        map(&[("info", r#"{"sandboxID":"the-sandbox","pid":42,"runtimeSpec":{"ociVersion":"1.1.0"}}"#)]);
    cri::ContainerStatusResponse { status: Some(status), info }
}

fn sandbox(id: &str) -> cri::PodSandboxStatusResponse {
    let metadata = cri::PodSandboxMetadata {
        name: "web-0".to_owned(),
        uid: "6d3f".to_owned(),
        namespace: "shop".to_owned(),
        attempt: 0,
    };
    let status = cri::PodSandboxStatus {
        id: id.to_owned(),
        metadata: Some(metadata),
        created_at: 1_767_323_040_000_000_000,
        labels: map(&[("app", "web"), ("io.kubernetes.pod.name", "web-0")]),
        annotations: map(&[("team", "a")]),
        ..Default::default()
    };
    cri::PodSandboxStatusResponse { status: Some(status), info: map(&[("info", r#"{"pid":41}"#)]) }
}

fn the_sandbox(id: &str) -> Result<cri::PodSandboxStatusResponse, Status> {
    if id == "the-sandbox" { Ok(sandbox(id)) } else { Err(Status::not_found("no such sandbox")) }
}

#[test]
fn a_container_and_its_pod_are_described() {
    let info = known(answer_to(&Script::new(|id| Ok(container(id)), the_sandbox)));
    assert_eq!((info.id, info.name.as_str(), info.attempt), (id('a'), "nginx", 3));
    assert_eq!(info.image, "docker.io/library/nginx:1");
    assert_eq!(info.image_id, "docker.io/library/nginx@sha256:1");
    assert_eq!((info.pid, info.runtime.as_str(), info.is_sandbox), (Some(42), "cri-o", false));
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_046_500);
    assert_eq!(info.started_at, Some(started_at));
    let pod = info.pod.as_ref().unwrap();
    assert_eq!((pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()), ("shop", "web-0", "6d3f"));
    assert_eq!((&pod.labels, &pod.annotations), (&map(&[("app", "web")]), &map(&[("team", "a")])));
}

#[test]
fn a_path_may_hold_anything() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a b", "a#b?c", "a%20b", "a:b@c", "\u{e9}"] {
        let server = serve(&folder.path().join(name), Script::new(|id| Ok(container(id)), the_sandbox));
        let runtimes = Runtimes::start(&config(&[socket("cri", folder.path(), name)])).unwrap();
        known(ask(&runtimes, id('a')));
        drop(server);
    }
}

#[test]
fn the_sandbox_is_looked_up_where_the_status_has_it_not() {
    let bare = |id: &str| {
        let mut response = container(id);
        response.info = map(&[("info", "not JSON")]);
        Ok(response)
    };
    let info = known(answer_to(&Script::new(bare, the_sandbox)));
    assert_eq!((info.pid, info.pod.as_ref().unwrap().namespace.as_str()), (None, "shop"));
}

#[test]
fn labels_tell_the_pod_of_a_sandbox_that_is_gone() {
    let info = known(answer_to(&Script::new(|id| Ok(container(id)), |_| Err(Status::not_found("gone")))));
    assert_eq!(info.pod.as_ref().unwrap().namespace, "from-label");
}

#[test]
fn a_sandbox_is_the_container_of_its_pod() {
    let info = known(answer_to(&Script::new(|_| Err(Status::not_found("")), |id| Ok(sandbox(id)))));
    assert_eq!((info.name.as_str(), info.is_sandbox, info.pid), ("POD", true, Some(41)));
    assert_eq!(info.pod.as_ref().unwrap().name, "web-0");
}

#[test]
fn no_such_container_is_unknown() {
    let no: Sandbox = |_| Err(Status::not_found("no"));
    assert_eq!(answer_to(&Script::new(|_| Err(Status::not_found("no")), no)), Answer::Unknown);
    // Without a code of its own.
    let unnamed: Container = |_| Err(Status::unknown("Error: No such container: a"));
    assert_eq!(answer_to(&Script::new(unnamed, no)), Answer::Unknown);
}

#[test]
fn an_empty_or_wrong_answer_tells_nothing() {
    let empty: Container = |_| Ok(cri::ContainerStatusResponse::default());
    let another: Container = |_| Ok(container(&"b".repeat(64)));
    for wrong in [empty, another] {
        assert_eq!(answer_to(&Script::new(wrong, the_sandbox)), Answer::Unreachable);
    }
}

#[test]
fn a_refusal_about_one_container_does_not_close_the_socket() {
    fn refuse(id: &str) -> Result<cri::ContainerStatusResponse, Status> {
        if id.starts_with('b') { Err(Status::internal("broken container")) } else { Ok(container(id)) }
    }
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&folder.path().join("cri.sock"), Script::new(refuse, the_sandbox));
    let hour = Duration::from_hours(1);
    let config = RuntimesConfig {
        first_retry: hour,
        last_retry: hour,
        ..config(&[socket("cri", folder.path(), "cri.sock")])
    };
    let runtimes = Runtimes::start(&config).unwrap();
    assert_eq!(ask(&runtimes, id('b')), Answer::Unreachable);
    known(ask(&runtimes, id('a')));
    drop(server);
}

#[test]
fn a_runtime_that_cannot_serve_is_left_alone() {
    fn fail(code: Code) -> Result<cri::ContainerStatusResponse, Status> {
        Err(Status::new(code, "not now"))
    }
    let failures: [Container; 4] = [
        |_| fail(Code::Unavailable),
        |_| fail(Code::Unimplemented),
        |_| fail(Code::PermissionDenied),
        |_| fail(Code::ResourceExhausted),
    ];
    for failure in failures {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::new(failure, the_sandbox);
        let server = serve(&folder.path().join("cri.sock"), script.clone());
        let hour = Duration::from_hours(1);
        let config = RuntimesConfig {
            first_retry: hour,
            last_retry: hour,
            ..config(&[socket("cri", folder.path(), "cri.sock")])
        };
        let runtimes = Runtimes::start(&config).unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&runtimes, id('a')), Answer::Unreachable);
        }
        assert_eq!(script.calls.load(Ordering::Relaxed), 1);
        drop(server);
    }
}

#[test]
fn a_restarted_runtime_is_connected_to_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cri.sock");
    let runtimes = Runtimes::start(&config(&[socket("cri", folder.path(), "cri.sock")])).unwrap();
    for digit in ['a', 'b', 'c'] {
        let server = serve(&path, Script::new(|id| Ok(container(id)), the_sandbox));
        super::ask_until_known(&runtimes, id(digit));
        drop(server);
        assert_eq!(ask(&runtimes, id('d')), Answer::Unreachable);
    }
}

/// A socket with other services, as docker's containerd has one.
#[test]
fn a_server_that_does_not_serve_kubernetes_is_as_good_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script { has_version: false, ..Script::new(|_| Err(not_asked()), |_| Err(not_asked())) };
    let server = serve(&folder.path().join("cri.sock"), script.clone());
    let sockets = [("cri", "cri.sock"), ("docker", "docker.sock")];
    let runtimes = super::start(&sockets.map(|(protocol, name)| socket(protocol, folder.path(), name)));
    assert_eq!(ask(&runtimes, id('a')), Answer::Unreachable, "nobody is there");
    let docker = super::http::serve(&folder.path().join("docker.sock"), |_| super::http::no_container());
    assert_eq!(ask(&runtimes, id('b')), Answer::Unknown, "all who are there have answered");
    assert_eq!(script.calls.load(Ordering::Relaxed), 0);
    drop((server, docker));
}
