//! Listens to the connection beneath the watch, which hides what says that it is alive.
//!
//! `kube`'s watcher takes bookmarks for itself, waits for the answer to a list or to the begin of a
//! watch for as long as it takes, and begins a watch that ends at once again at once. Here, at the
//! level of requests and their bodies, whatever arrives is noted, nothing is waited for without
//! end, and watches do not follow one another too closely.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tower::{Layer, Service};

use super::WatchConfig;
use super::failure::{Failure, Reason};
use super::shared::Shared;

type BoxError = Box<dyn Error + Send + Sync>;

/// Puts a [`Listening`] on a client.
#[derive(Clone, Debug)]
pub(super) struct Listen {
    limits: Limits,
    shared: Arc<Shared>,
    next_watch: Arc<Mutex<Instant>>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    answer: Duration,
    silence: Duration,
    between_watches: Duration,
}

impl Listen {
    pub(super) fn new(config: &WatchConfig, shared: Arc<Shared>) -> Self {
        let limits =
            Limits { answer: config.answer, silence: config.silence, between_watches: config.shortest_pause };
        Self { limits, shared, next_watch: Arc::new(Mutex::new(Instant::now())) }
    }

    /// When the next watch may begin.
    fn turn(&self) -> Instant {
        let mut next = self.next_watch.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(Instant::now());
        *next = turn + self.limits.between_watches;
        turn
    }
}

impl<S> Layer<S> for Listen {
    type Service = Listening<S>;

    fn layer(&self, inner: S) -> Listening<S> {
        Listening { inner, listen: self.clone() }
    }
}

/// A client that is listened to.
#[derive(Debug)]
pub(super) struct Listening<S> {
    inner: S,
    listen: Listen,
}

impl<S, R, B> Service<Request<R>> for Listening<S>
where
    S: Service<Request<R>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<Heard<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let is_watch = is_watch(&request);
        let answer = self.inner.call(request);
        let listen = self.listen.clone();
        Box::pin(async move {
            if is_watch {
                sleep_until(listen.turn()).await;
            }
            let limit = listen.limits.answer;
            let answer = timeout(limit, answer).await.map_err(|_elapsed| no_answer(limit))??;
            listen.shared.answered();
            let is_granted = is_watch && answer.status().is_success();
            if is_granted {
                listen.shared.resumed();
            }
            Ok(answer.map(|body| Heard::new(body, &listen, is_granted)))
        })
    }
}

/// How a watch says that it brings an error, and it is then the only thing it brings.
const ERROR: &[u8] = br#"{"type":"ERROR""#;

fn is_watch<R>(request: &Request<R>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|parameter| parameter == "watch=true")
}

fn no_answer(limit: Duration) -> BoxError {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")).into()
}

/// A body that is listened to, and that ends in an error when it brings nothing for too long.
#[derive(Debug)]
pub(super) struct Heard<B> {
    body: B,
    shared: Arc<Shared>,
    /// Whether it is that of a watch, and not of a refusal to watch.
    is_watch: bool,
    limit: Duration,
    silence: Pin<Box<Sleep>>,
}

impl<B> Heard<B> {
    fn new(body: B, listen: &Listen, is_watch: bool) -> Self {
        let limit = if is_watch { listen.limits.silence } else { listen.limits.answer };
        Self { body, shared: Arc::clone(&listen.shared), is_watch, limit, silence: Box::pin(sleep(limit)) }
    }

    fn arrived(&self, is_error: bool) {
        if self.is_watch && !is_error {
            self.shared.heard();
        } else {
            self.shared.answered();
        }
    }

    fn is_silent(&self) -> BoxError {
        let error = io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {:?}", self.limit));
        if self.is_watch {
            self.shared.counters.silences.count();
            self.shared.failed(Failure::new(Reason::Silent, &error));
        }
        error.into()
    }
}

impl<B> Body for Heard<B>
where
    B: Body<Data: AsRef<[u8]>, Error = BoxError> + Unpin,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let Some(Ok(frame)) = &frame {
                this.arrived(frame.data_ref().is_some_and(|data| data.as_ref().starts_with(ERROR)));
                this.silence.as_mut().reset(Instant::now() + this.limit);
            }
            return Poll::Ready(frame);
        }
        ready!(this.silence.as_mut().poll(context));
        Poll::Ready(Some(Err(this.is_silent())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
