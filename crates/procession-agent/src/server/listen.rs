//! From an address to connections.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::connection::{Admission, Connection, Stream};
use super::counters::ServerCounters;
use super::unix::{self, SocketFile};
use super::{ServerAddress, ServerConfig};
use crate::tcp;

/// Listens on one address.
pub(super) enum Listener {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// Lets connections in, as long as there is room. Each listener has its own: whoever reaches one address
/// cannot keep others from another.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    counters: ServerCounters,
    opening_timeout: Duration,
}

/// How long to wait when no connection can be taken: at first, and at the most.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What keeps clients out is said no more often than that.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Open files that clients leave to the agent.
const OWN_FILES: u64 = 24;

impl Listener {
    pub(super) async fn bind(address: &ServerAddress, tls: Option<&TlsAcceptor>) -> io::Result<Self> {
        let bound = match address {
            ServerAddress::Unix(path) => {
                unix::listen(path).await.map(|(listener, file)| Self::Unix(listener, file))
            }
            ServerAddress::Tcp(address) => {
                let listener = tcp::bind(address).await.and_then(|listener| {
                    // More than the runtime's own: one that finds the queue full tries again only after a second.
                    rustix::net::listen(&listener, unix::BACKLOG)?;
                    Ok(listener)
                });
                listener.map(|listener| Self::Tcp(listener, tls.cloned()))
            }
        };
        let explain =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        bound.map_err(explain)
    }

    /// The address, with the port that was chosen.
    pub(super) fn address(&self) -> io::Result<ServerAddress> {
        Ok(match self {
            Self::Unix(_, file) => ServerAddress::Unix(file.path().to_owned()),
            Self::Tcp(listener, _) => ServerAddress::Tcp(listener.local_addr()?.to_string()),
        })
    }

    /// For a listener that serves more than health.
    pub(super) fn warn_of_strangers(&self) {
        let Self::Tcp(listener, None) = self else { return };
        if let Ok(address) = listener.local_addr()
            && !address.ip().is_loopback()
        {
            tracing::warn!(%address, "whoever reaches this address sees every process: there is no TLS");
        }
    }

    /// Hands out connections, until nobody takes them or it is dropped. Nothing that goes wrong ends it.
    pub(super) async fn run(self, gate: Gate, connections: mpsc::Sender<Connection>) {
        let mut handshakes = JoinSet::new();
        let mut pause = PAUSE;
        let mut complaint = Complaint::default();
        while !connections.is_closed() {
            let accepted = self.accept().await;
            while handshakes.try_join_next().is_some() {}
            match accepted {
                Ok(stream) => {
                    pause = PAUSE;
                    if let Some(limit) = too_few_files(&stream) {
                        gate.counters.refused();
                        complaint.say(format_args!(
                            "clients are turned away: the agent has nearly all of the {limit} files open that it may, \
                             and needs the rest itself. Raise its limit (LimitNOFILE, ulimit -n), or lower \
                             server-max-connections"
                        ));
                        continue;
                    }
                    let Some(admission) = gate.admit() else { continue };
                    let deadline = Instant::now() + gate.opening_timeout;
                    let open = self.open(stream, admission, deadline, connections.clone());
                    handshakes.spawn(open);
                }
                // The client has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    gate.counters.accept_error();
                    complaint
                        .say(format_args!("clients must wait, because no connection can be taken: {error}"));
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // Only for speed.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
        }
    }

    fn open(
        &self,
        stream: Stream,
        admission: Admission,
        deadline: Instant,
        connections: mpsc::Sender<Connection>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let acceptor = match self {
            Self::Unix(..) => None,
            Self::Tcp(_, acceptor) => acceptor.clone(),
        };
        async move {
            let secured = tokio::time::timeout_at(deadline, secure(stream, acceptor)).await;
            let Ok(Ok(stream)) = secured else {
                tracing::debug!("a connection did not come about");
                admission.counted.failed();
                return;
            };
            let _ = connections.send(Connection::new(stream, admission, deadline)).await;
        }
    }
}

/// Says what keeps clients out: there may be many, and often.
#[derive(Debug, Default)]
struct Complaint {
    said: Option<Instant>,
}

impl Complaint {
    fn say(&mut self, text: fmt::Arguments<'_>) {
        if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN_AFTER) {
            self.said = Some(Instant::now());
            tracing::warn!("{text}");
        }
    }
}

/// The limit of open files, if it is too close for a connection that is one: the journal and the export must be
/// able to begin other files whoever comes. It may be another than when the agent began.
fn too_few_files(stream: &Stream) -> Option<u64> {
    // The system gives the lowest number that is free.
    let number = u64::try_from(stream.as_fd().as_raw_fd()).unwrap_or_default();
    getrlimit(Resource::Nofile).current.filter(|limit| number + OWN_FILES >= *limit)
}

async fn secure(stream: Stream, acceptor: Option<TlsAcceptor>) -> io::Result<Stream> {
    match (stream, acceptor) {
        (Stream::Tcp(stream), Some(acceptor)) => Ok(Stream::Tls(Box::new(acceptor.accept(stream).await?))),
        (stream, _) => Ok(stream),
    }
}

impl Gate {
    pub(super) fn new(config: &ServerConfig, counters: ServerCounters) -> Self {
        let places = config.max_connections.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), counters, opening_timeout: config.opening_timeout }
    }

    fn admit(&self) -> Option<Admission> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counters.refused();
            return None;
        };
        Some(Admission { counted: self.counters.connection(), _place: place })
    }
}

/// Lets the process have as many files as it may. Connections are files.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
