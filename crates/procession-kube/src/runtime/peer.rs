//! One socket: the connection to it, whether it works, and what was said about it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::backoff::Backoff;
use super::config::{RuntimeProtocol, RuntimeSocket, RuntimesConfig};
use super::containerd::Containerd;
use super::cri::Cri;
use super::docker;
use super::error::{Answered, AskError};
use crate::{ContainerId, ContainerInfo};

/// A socket that keeps failing and working again is told of this often at most.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// A socket and its state.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) socket: RuntimeSocket,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    backoff: Backoff,
    /// Kept between questions. A docker engine is connected to for each.
    connection: Option<Connection>,
    said_at: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Connection {
    Cri(Cri),
    Containerd(Containerd),
}

/// What came of asking one socket.
#[derive(Debug)]
pub(super) enum Outcome {
    Found(Box<ContainerInfo>),
    NotFound,
    /// It was not asked, or did not answer.
    Silent,
    /// There is no such socket, or nobody who speaks like that.
    Missing,
}

impl Peer {
    pub(super) fn new(socket: RuntimeSocket, config: &RuntimesConfig) -> Self {
        let backoff = Backoff::new(config.first_retry, config.last_retry);
        let state = Mutex::new(State { backoff, connection: None, said_at: None });
        Self { socket, timeout: config.timeout, state }
    }

    /// Asks for a container, unless the socket is missing or to be left alone.
    pub(super) async fn ask(&self, id: ContainerId) -> Outcome {
        // One that may not be looked for is asked, so that it is said why that does not work.
        if !self.socket.path.try_exists().unwrap_or(true) {
            return Outcome::Missing;
        }
        let since = Instant::now();
        if !self.lock().backoff.admits(since, self.timeout) {
            return Outcome::Silent;
        }
        let answer = timeout(self.timeout, self.exchange(id)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(AskError::Socket(format!("no answer in {:?}", self.timeout))));
        self.note(answer, since)
    }

    async fn exchange(&self, id: ContainerId) -> Answered<ContainerInfo> {
        let path = &self.socket.path;
        match self.socket.protocol {
            RuntimeProtocol::Docker | RuntimeProtocol::Podman => {
                docker::ask(path, self.socket.protocol.as_str(), id).await
            }
            RuntimeProtocol::Cri | RuntimeProtocol::Containerd => match self.connection().await? {
                Connection::Cri(cri) => cri.ask(id).await,
                Connection::Containerd(containerd) => containerd.ask(id).await,
            },
        }
    }

    async fn connection(&self) -> Result<Connection, AskError> {
        if let Some(connection) = &self.lock().connection {
            return Ok(connection.clone());
        }
        let channel = connect(&self.socket.path).await?;
        let connection = match self.socket.protocol {
            RuntimeProtocol::Cri => Connection::Cri(Cri::connect(channel).await?),
            _ => Connection::Containerd(Containerd(channel)),
        };
        self.lock().connection = Some(connection.clone());
        Ok(connection)
    }

    fn note(&self, answer: Answered<ContainerInfo>, since: Instant) -> Outcome {
        match answer {
            Err(AskError::Socket(error)) => {
                self.failed(&error, since);
                return Outcome::Silent;
            }
            Err(AskError::Elsewhere(error)) => {
                tracing::debug!(socket = %self.socket, ?error, "no container runtime of this kind listens");
                return Outcome::Missing;
            }
            _ => {}
        }
        if self.lock().backoff.succeeded() {
            tracing::info!(socket = %self.socket, "the container runtime answers again");
        }
        match answer {
            Ok(Some(info)) => Outcome::Found(Box::new(info)),
            Ok(None) => Outcome::NotFound,
            Err(error) => {
                tracing::debug!(socket = %self.socket, error = ?error.to_string(), "no answer about a container");
                Outcome::Silent
            }
        }
    }

    fn failed(&self, error: &str, since: Instant) {
        let now = Instant::now();
        let mut state = self.lock();
        state.connection = None;
        let worked = state.backoff.failed(since, now);
        let is_news = worked && state.said_at.is_none_or(|said_at| now - said_at >= SAY_AGAIN_AFTER);
        if is_news {
            state.said_at = Some(now);
        }
        drop(state);
        if is_news {
            tracing::warn!(
                socket = %self.socket,
                ?error,
                "a container runtime does not answer: until it does, its containers have an id, \
                 but no name, image or pod"
            );
        } else {
            tracing::debug!(socket = %self.socket, ?error, "a container runtime does not answer");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects now, so that an error says why. Afterwards the channel connects again by itself.
async fn connect(path: &Path) -> Result<Channel, AskError> {
    let path = path.to_str().ok_or_else(|| AskError::Socket("its path is not UTF-8".to_owned()))?;
    let endpoint = Endpoint::from_shared(format!("unix://{path}")).map_err(AskError::socket)?;
    endpoint.connect().await.map_err(AskError::socket)
}
