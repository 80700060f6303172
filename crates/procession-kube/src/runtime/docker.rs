//! Asks over the docker engine API, which is HTTP with JSON; podman speaks it too.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::cri::check_id;
use super::error::{Answered, AskError};
use super::labels;
use crate::{ContainerId, ContainerInfo};

/// More than any container's description has.
const MOST_BYTES: usize = 4 << 20;

/// Labels of containers that docker runs for Kubernetes.
const KUBERNETES_NAME: &str = "io.kubernetes.container.name";
const KUBERNETES_TYPE: &str = "io.kubernetes.docker.type";
const KUBERNETES_SANDBOX: &str = "podsandbox";

/// The part of a container's description that we read.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct Description {
    id: String,
    #[serde(default)]
    name: String,
    /// The image's id.
    #[serde(default)]
    image: String,
    state: Option<State>,
    config: Option<Config>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    pid: u32,
    /// RFC 3339; in the year 1 for "never".
    started_at: String,
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

/// What the engine says instead of a description.
#[derive(Deserialize, Debug)]
struct Refusal {
    message: String,
}

/// Asks on the socket at `path` for what the engine named `runtime` knows.
pub(super) async fn ask(path: &Path, runtime: &str, id: ContainerId) -> Answered<ContainerInfo> {
    let stream = UnixStream::connect(path).await.map_err(AskError::socket)?;
    let (status, body) = get(stream, &format!("/containers/{id}/json")).await?;
    answered(status, &body, runtime, id)
}

/// What an answer says of the container that was asked for.
pub(super) fn answered(
    status: StatusCode,
    body: &[u8],
    runtime: &str,
    id: ContainerId,
) -> Answered<ContainerInfo> {
    if status == StatusCode::OK {
        let description: Description = serde_json::from_slice(body).map_err(AskError::socket)?;
        check_id(id, &description.id)?;
        return Ok(Some(container_info(id, description, runtime)));
    }
    let refusal: Refusal =
        serde_json::from_slice(body).map_err(|_| AskError::Socket(format!("it answers {status}")))?;
    match status {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(AskError::Socket(refusal.message)),
        _ => Err(AskError::Container(refusal.message)),
    }
}

/// One request on a connection of its own.
async fn get(stream: UnixStream, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(AskError::socket)?;
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(AskError::socket)?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(AskError::socket)?;
        let status = response.status();
        Ok((status, read(response).await?))
    };
    // The connection ends when `exchange` drops the sender. What breaks it breaks the exchange too.
    tokio::join!(exchange, connection).0
}

async fn read(response: Response<Incoming>) -> Result<Bytes, AskError> {
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| AskError::Socket(error.to_string()))
}

fn container_info(id: ContainerId, description: Description, runtime: &str) -> ContainerInfo {
    let state = description.state.unwrap_or_default();
    let config = description.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let name = labels.get(KUBERNETES_NAME).map_or(description.name.trim_start_matches('/'), String::as_str);
    ContainerInfo {
        name: if name.is_empty() { id.to_string() } else { name.to_owned() },
        image: config.image,
        image_id: description.image,
        pid: (state.pid > 0).then_some(state.pid),
        started_at: wall_time(&state.started_at),
        is_sandbox: labels.get(KUBERNETES_TYPE).is_some_and(|kind| kind == KUBERNETES_SANDBOX),
        pod: labels::pod_of(&labels),
        labels,
        runtime: runtime.to_owned(),
        ..ContainerInfo::of(id)
    }
}

/// `None`: the container was never started.
fn wall_time(text: &str) -> Option<SystemTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let was_started = time > jiff::Timestamp::UNIX_EPOCH;
    if was_started { time.try_into().ok() } else { None }
}
