//! A small HTTP server for those who watch over the agent: metrics, and whether it does well.
//!
//! Anybody on the network may call, so every call is short: so many connections at once, one request on
//! each, and so much time for it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::{EventMetrics, Format, Measurements, WebCounts, render};
use crate::pulse::{HANGING, SILENCE};
use crate::tcp;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// `host:port`, or `:port` for every address of the machine.
    pub address: String,
}

/// What the server shows.
pub trait Observed: Send + Sync + 'static {
    /// How the agent does, in numbers. Those of the server itself are filled in by it.
    fn measure(&self) -> impl Future<Output = Measurements> + Send;

    /// The events that were counted.
    fn events(&self) -> &EventMetrics;

    /// Whether it does well. Must not wait.
    fn health(&self) -> Health;
}

/// Whether the agent does well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether the thread that observes runs.
    pub is_running: bool,
    /// How long ago events were last asked for.
    pub silence: Duration,
    /// What else keeps the agent from being of use, a sentence each.
    pub obstacles: Vec<String>,
}

/// A server that listens.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
}

/// What all connections have in common.
struct Shared<O> {
    observed: Arc<O>,
    /// What was measured last, and when.
    last: Mutex<Option<(Instant, Measurements)>>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// The most connections at once.
const CONNECTIONS: usize = 64;

/// How long a caller may take for the request's head.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection lasts at most.
const CONNECTION: Duration = Duration::from_secs(30);

/// How long it may take to measure: less than Prometheus waits.
const MEASURE: Duration = Duration::from_secs(5);

/// For how long a measurement is good enough for others who ask: measuring keeps the thread that observes
/// from its work.
const FRESH: Duration = Duration::from_millis(500);

/// How long requests in progress are waited for at the end.
const END: Duration = Duration::from_secs(1);

/// The longest head of a request in bytes.
const HEAD_BYTES: usize = 16 << 10;

const PATHS: &str = "/metrics\n/healthz\n/readyz\n";

impl Web {
    /// Listens.
    ///
    /// # Errors
    ///
    /// The address means nothing, or is not to be had.
    pub async fn bind(config: &WebConfig) -> io::Result<Self> {
        Ok(Self { listener: tcp::bind(&config.address).await? })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is over, then ends what is in progress within a second.
    pub async fn serve<O: Observed>(self, observed: Arc<O>, shutdown: impl Future<Output = ()>) {
        let Self { listener } = self;
        let shared = Arc::new(Shared {
            observed,
            last: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let stream = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of files, most likely: more haste will not help.
                        tracing::warn!(%error, "cannot take a connection to the metrics");
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            shared.accepted.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                let _permit = permit;
                serve_one(stream, &shared).await;
            });
        }
        drop(listener);
        // Those that take longer are dropped with the set.
        let _ = timeout(END, async { while connections.join_next().await.is_some() {} }).await;
    }
}

impl Health {
    /// What keeps the agent from going on, a sentence each: only a new start helps.
    pub fn defects(&self) -> Vec<String> {
        if !self.is_running {
            vec!["the thread that observes has ended".into()]
        } else if self.silence > HANGING {
            vec![format!(
                "the thread that observes has given no sign of life for {} s",
                self.silence.as_secs()
            )]
        } else {
            Vec::new()
        }
    }

    /// What keeps the agent from being of use, a sentence each.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = self.defects();
        if obstacles.is_empty() && self.silence > SILENCE {
            obstacles.push(format!("the source was last read {} s ago", self.silence.as_secs()));
        }
        obstacles.extend(self.obstacles.iter().cloned());
        obstacles
    }
}

/// Serves one request on a connection.
async fn serve_one<O: Observed>(stream: TcpStream, shared: &Shared<O>) {
    let answer = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, shared).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request for the metrics failed"),
        Err(_) => tracing::debug!("a request for the metrics took too long"),
    }
}

impl<O: Observed> Shared<O> {
    /// How the agent does, or did a moment ago. `None`: nobody answers.
    async fn measure(&self) -> Option<Measurements> {
        let measurements = timeout(MEASURE, async {
            let mut last = self.last.lock().await;
            if let Some((time, measurements)) = &*last
                && time.elapsed() < FRESH
            {
                return measurements.clone();
            }
            let measurements = self.observed.measure().await;
            *last = Some((Instant::now(), measurements.clone()));
            measurements
        });
        let web = WebCounts {
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        };
        Some(Measurements { web, ..measurements.await.ok()? })
    }
}

async fn answer<O: Observed>(request: &Request<Incoming>, shared: &Shared<O>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !PATHS.lines().any(|known| known == path) {
        return plain(StatusCode::NOT_FOUND, PATHS.into());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => metrics(request.headers(), shared).await,
        "/healthz" => verdict(&shared.observed.health().defects()),
        _ => verdict(&shared.observed.health().obstacles()),
    }
}

async fn metrics<O: Observed>(headers: &HeaderMap, shared: &Shared<O>) -> Response<Full<Bytes>> {
    let Some(measurements) = shared.measure().await else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the thread that observes does not answer\n".into());
    };
    let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::of_accept(&accept.join(","));
    let page = render(measurements, shared.observed.events(), format);
    respond(StatusCode::OK, format.content_type(), page)
}

/// Says that all is well, or what is not.
fn verdict(reasons: &[String]) -> Response<Full<Bytes>> {
    if reasons.is_empty() {
        return plain(StatusCode::OK, "ok\n".into());
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
