//! An API server with pods and nothing else, over plain HTTP/1.1.
//!
//! It keeps to what a real one does on the wire, as far as whoever lists and watches pods can see:
//! versions, pages, selectors, bookmarks, the ways of refusal, and what has expired.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// The token of somebody who may do everything.
pub(crate) const GOOD_TOKEN: &str = "good";

type Body = BoxBody<Bytes, Infallible>;
type Name = (String, String);

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    store: Arc<Store>,
    _stop: oneshot::Sender<()>,
}

/// What the server knows.
struct Store {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// The oldest version that a watch can begin from.
    oldest: u64,
    pods: BTreeMap<Name, Value>,
    log: Vec<Change>,
    /// Rest of lists that were given in part.
    rests: HashMap<String, Rest>,
    pages: u64,
    /// Before which answer to a list the places where lists go on are forgotten.
    expiring_page: Option<u64>,
    /// What watches bring instead of what happens.
    watch_error: Option<u16>,
    token_expired: bool,
    bookmark_every: Duration,
}

#[derive(Clone)]
struct Rest {
    version: u64,
    items: Vec<Value>,
}

/// A change to a pod: as it was, and as it is, unless it is gone.
#[derive(Clone)]
struct Change {
    version: u64,
    before: Option<Value>,
    after: Option<Value>,
    /// As it is, or, for one that is gone, as it last was.
    last: Value,
}

impl Server {
    pub(crate) fn start() -> io::Result<Self> {
        let state = State { version: 1, bookmark_every: Duration::from_millis(300), ..State::default() };
        let store = Arc::new(Store { state: Mutex::new(state), changed: watch::Sender::new(0) });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&store);
        thread::Builder::new().name("api server".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, served) => {}
                }
            });
        })?;
        Ok(Self { address, store, _stop: stop })
    }

    /// Adds a pod as it is given.
    pub(crate) fn create(&self, pod: Value) {
        self.store.put(pod);
    }

    /// Changes a pod.
    pub(crate) fn change(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut pod = self.store.pod(namespace, name);
        change(&mut pod);
        self.store.put(pod);
    }

    /// Asks a pod to end, which it does within `grace` seconds, or at once when that is zero.
    pub(crate) fn delete(&self, namespace: &str, name: &str, grace: u32) {
        self.change(namespace, name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
        if grace == 0 {
            self.confirm_end(namespace, name);
        }
    }

    /// What a kubelet does when a pod has ended: the pod goes.
    pub(crate) fn confirm_end(&self, namespace: &str, name: &str) {
        self.store.remove(namespace, name);
    }

    /// Forgets all changes so far, and where lists that were given in part went on.
    pub(crate) fn compact(&self) {
        let mut state = self.store.state();
        state.oldest = state.version;
        state.log.clear();
        state.rests.clear();
    }

    /// Forgets where lists go on, before it gives the answer to a list with that number.
    pub(crate) fn expire_page(&self, number: u64) {
        self.store.state().expiring_page = Some(number);
    }

    /// Watches that are begun from now on bring this error.
    pub(crate) fn fail_watches(&self, code: Option<u16>) {
        self.store.state().watch_error = code;
    }

    /// Whether [`GOOD_TOKEN`] has expired.
    pub(crate) fn expire_token(&self, expired: bool) {
        self.store.state().token_expired = expired;
    }

    /// How often watches that are begun from now on bring a bookmark.
    pub(crate) fn bookmark_every(&self, period: Duration) {
        self.store.state().bookmark_every = period;
    }

    /// The version of all that there is.
    pub(crate) fn version(&self) -> u64 {
        self.store.state().version
    }

    /// How many answers to lists were given, parts of lists each.
    pub(crate) fn pages(&self) -> u64 {
        self.store.state().pages
    }
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn pod(&self, namespace: &str, name: &str) -> Value {
        self.state().pods[&(namespace.to_owned(), name.to_owned())].clone()
    }

    fn put(&self, mut pod: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        let before = state.pods.insert(name_of(&pod), pod.clone());
        state.log.push(Change { version, before, after: Some(pod.clone()), last: pod });
        drop(state);
        self.changed.send_replace(version);
    }

    fn remove(&self, namespace: &str, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let before = state.pods.remove(&(namespace.to_owned(), name.to_owned())).unwrap();
        let mut last = before.clone();
        last["metadata"]["resourceVersion"] = json!(version.to_string());
        state.log.push(Change { version, before: Some(before), after: None, last });
        drop(state);
        self.changed.send_replace(version);
    }
}

fn name_of(pod: &Value) -> Name {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

async fn serve(listener: TcpListener, store: Arc<Store>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&store)));
    }
}

async fn connection(stream: TcpStream, store: Arc<Store>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &store);
        async { Ok::<_, Infallible>(answer) }
    });
    let builder = hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).to_owned();
    // A client that goes away is no error.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, store: &Arc<Store>) -> Response<Body> {
    if let Some((code, message)) = refusal(request, &store.state()) {
        return status(code, message);
    }
    if request.uri().path() != "/api/v1/pods" {
        return status(404, "the server could not find the requested resource");
    }
    let query = Query::new(request.uri().query().unwrap_or_default());
    let selector = match Selector::parse(query.get("fieldSelector").unwrap_or_default()) {
        Ok(selector) => selector,
        Err(field) => return status(400, &format!("field label not supported: {field}")),
    };
    if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
        begin_watch(Arc::clone(store), &query, selector)
    } else {
        list(&mut store.state(), &query, &selector)
    }
}

/// Why the one who asks gets no answer.
fn refusal(request: &Request<Incoming>, state: &State) -> Option<(u16, &'static str)> {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    match header.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(GOOD_TOKEN) if !state.token_expired => None,
        Some(_) => Some((401, "Unauthorized")),
        None => Some((403, "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\"")),
    }
}

fn list(state: &mut State, query: &Query, selector: &Selector) -> Response<Body> {
    state.pages += 1;
    if state.expiring_page == Some(state.pages) {
        state.rests.clear();
    }
    let rest = match query.get("continue") {
        None => Rest {
            version: state.version,
            items: state.pods.values().filter(|pod| selector.admits(pod)).cloned().collect(),
        },
        Some(token) => match state.rests.remove(token) {
            Some(rest) => rest,
            None => return expired_list(),
        },
    };
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let mut items = rest.items;
    let later = items.split_off(limit.max(1).min(items.len()));
    let mut metadata = json!({ "resourceVersion": rest.version.to_string() });
    if !later.is_empty() {
        let token = format!("page-{}", state.pages);
        metadata["continue"] = json!(token);
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(later.len());
        }
        state.rests.insert(token, Rest { version: rest.version, items: later });
    }
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items });
    whole(StatusCode::OK, &list)
}

fn expired_list() -> Response<Body> {
    let mut body =
        status_object(410, "The provided continue parameter is too old to display a consistent list result.");
    body["metadata"] = json!({ "continue": "inconsistent" });
    whole(StatusCode::GONE, &body)
}

fn begin_watch(store: Arc<Store>, query: &Query, selector: Selector) -> Response<Body> {
    let (sender, mut receiver) = mpsc::channel(64);
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
    let watch = Watch {
        changed: store.changed.subscribe(),
        store,
        sender,
        selector,
        version: number("resourceVersion").unwrap_or(0),
        wants_bookmarks: query.get("allowWatchBookmarks").is_some_and(|value| value == "true"),
        wants_initial: query.get("sendInitialEvents").is_some_and(|value| value == "true"),
        end: Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(1800)),
    };
    tokio::spawn(async { watch.run().await });
    let frames = async_stream(move |context| receiver.poll_recv(context));
    let response = Response::builder().header("content-type", "application/json");
    response.body(BodyExt::boxed(StreamBody::new(frames))).unwrap()
}

fn async_stream(
    mut poll: impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<Bytes>>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures_util::stream::poll_fn(move |context| {
        poll(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    })
}

/// A watch that is being answered.
struct Watch {
    store: Arc<Store>,
    changed: watch::Receiver<u64>,
    sender: mpsc::Sender<Bytes>,
    selector: Selector,
    version: u64,
    wants_bookmarks: bool,
    wants_initial: bool,
    end: Instant,
}

impl Watch {
    /// Returns when the time is over, or nobody listens any more.
    async fn run(mut self) -> Option<()> {
        let error = self.store.state().watch_error;
        if let Some(code) = error {
            return self.send("ERROR", &status_object(code, "it is out of order")).await;
        }
        if self.version == 0 {
            self.send_present().await?;
        }
        let period = self.store.state().bookmark_every;
        let mut next_bookmark = Instant::now() + period;
        loop {
            self.changed.borrow_and_update();
            self.send_changes().await?;
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = sleep_until(next_bookmark.min(self.end)) => {
                    next_bookmark = Instant::now() + period;
                    self.send_bookmark(None).await?;
                }
                () = self.sender.closed() => return None,
            }
            if Instant::now() >= self.end {
                return None;
            }
        }
    }

    async fn send_present(&mut self) -> Option<()> {
        let (version, pods) = {
            let state = self.store.state();
            (
                state.version,
                state.pods.values().filter(|pod| self.selector.admits(pod)).cloned().collect::<Vec<_>>(),
            )
        };
        self.version = version;
        for pod in pods {
            self.send("ADDED", &pod).await?;
        }
        if self.wants_initial {
            self.send_bookmark(Some("k8s.io/initial-events-end")).await?;
        }
        Some(())
    }

    async fn send_changes(&mut self) -> Option<()> {
        let (oldest, version, changes) = {
            let state = self.store.state();
            let first = state.log.partition_point(|change| change.version <= self.version);
            (state.oldest, state.version, state.log[first..].to_vec())
        };
        if self.version < oldest {
            let message = format!("too old resource version: {} ({oldest})", self.version);
            self.send("ERROR", &status_object(410, &message)).await?;
            return None;
        }
        for change in changes {
            let admits = |pod: &Option<Value>| pod.as_ref().is_some_and(|pod| self.selector.admits(pod));
            let kind = match (admits(&change.before), admits(&change.after)) {
                (false, true) => "ADDED",
                (true, true) => "MODIFIED",
                (true, false) => "DELETED",
                (false, false) => continue,
            };
            self.send(kind, &change.last).await?;
        }
        self.version = version;
        Some(())
    }

    async fn send_bookmark(&mut self, annotation: Option<&str>) -> Option<()> {
        if !self.wants_bookmarks {
            return Some(());
        }
        let mut metadata = json!({ "resourceVersion": self.version.to_string() });
        if let Some(annotation) = annotation {
            metadata["annotations"] = json!({ annotation: "true" });
        }
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1", "metadata": metadata,
            "spec": { "containers": null }, "status": {},
        });
        self.send("BOOKMARK", &pod).await
    }

    async fn send(&self, kind: &str, object: &Value) -> Option<()> {
        // In the order of a real server.
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.sender.send(line.into()).await.ok()
    }
}

/// A field selector: all of these are so.
struct Selector(Vec<(String, bool, String)>);

impl Selector {
    /// The field that is not supported, if one is not.
    fn parse(text: &str) -> Result<Self, String> {
        let terms = text.split(',').filter(|term| !term.is_empty()).map(|term| {
            let (field, wanted) = term.split_once('=').unwrap_or((term, ""));
            let (field, is_equal) = field.strip_suffix('!').map_or((field, true), |field| (field, false));
            let wanted = wanted.strip_prefix('=').unwrap_or(wanted);
            let is_supported =
                ["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase"].contains(&field);
            let term = (field.to_owned(), is_equal, wanted.to_owned());
            if is_supported { Ok(term) } else { Err(field.to_owned()) }
        });
        Ok(Self(terms.collect::<Result<_, _>>()?))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn admits(&self, pod: &Value) -> bool {
        self.0.iter().all(|(field, is_equal, wanted)| {
            let value = field.split('.').fold(pod, |value, key| &value[key]);
            (value.as_str().unwrap_or_default() == wanted) == *is_equal
        })
    }
}

/// The parameters of a request, decoded.
struct Query(HashMap<String, String>);

impl Query {
    fn new(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), decode(value))).collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = |rest: &mut std::str::Bytes<'_>| Some([rest.next()?, rest.next()?]);
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = digits(&mut rest).unwrap();
                u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

fn status(code: u16, message: &str) -> Response<Body> {
    whole(StatusCode::from_u16(code).unwrap(), &status_object(code, message))
}

fn status_object(code: u16, message: &str) -> Value {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        410 => "Expired",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": message, "reason": reason, "code": code,
    })
}

fn whole(code: StatusCode, body: &Value) -> Response<Body> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(BodyExt::boxed(Full::new(Bytes::from(body.to_string())))).unwrap()
}
