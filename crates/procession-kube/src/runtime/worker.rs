//! Takes questions from the queue and asks sockets, a few at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::answer::{Answer, Reply};
use super::bucket::Bucket;
use super::cache::Shared;
use super::config::RuntimesConfig;
use super::peer::{Outcome, Peer};
use crate::{CgroupContainer, RuntimeFamily};

/// So that a slow runtime does not hold up the questions to another.
const AT_ONCE: usize = 16;

/// When a runtime that seems to have made a container, and does not know it, is asked again. Some know
/// a container only when its first process is there; in all, events wait no longer for this than for a
/// runtime that does not answer.
const ASK_AGAIN_AFTER_MILLIS: [u64; 5] = [50, 100, 200, 400, 800];

/// The far end of the queue.
#[derive(Debug)]
pub(super) struct Worker {
    queue: mpsc::Receiver<CgroupContainer>,
    bucket: Bucket,
    asker: Arc<Asker>,
}

/// What each question needs.
#[derive(Debug)]
struct Asker {
    peers: Vec<Peer>,
    /// How many more sockets may be asked at once.
    turns: Semaphore,
    shared: Arc<Shared>,
    replies: Sender<Reply>,
    /// Runtimes of which it was said that they have no socket.
    said_missing: Mutex<HashSet<RuntimeFamily>>,
}

impl Worker {
    pub(super) fn new(
        config: &RuntimesConfig,
        shared: Arc<Shared>,
        queue: mpsc::Receiver<CgroupContainer>,
        replies: Sender<Reply>,
    ) -> Self {
        let bucket = Bucket::new(config.rate, config.burst, Instant::now());
        let peers = config.sockets.iter().map(|socket| Peer::new(socket.clone(), config)).collect();
        let turns = Semaphore::new(AT_ONCE);
        let asker = Asker { peers, turns, shared, replies, said_missing: Mutex::default() };
        Self { queue, bucket, asker: Arc::new(asker) }
    }

    /// Works until the other end of the queue is gone.
    pub(super) async fn run(mut self) {
        let mut under_way = JoinSet::new();
        while let Some(container) = self.queue.recv().await {
            sleep_until(self.bucket.take(Instant::now()).into()).await;
            while under_way.try_join_next().is_some() {}
            // Those that begin wait for a turn here, so that no more are begun than the queue is long.
            drop(self.asker.turns.acquire().await);
            let asker = Arc::clone(&self.asker);
            under_way.spawn(async move { asker.answer(container).await });
        }
    }
}

impl Asker {
    async fn answer(&self, container: CgroupContainer) {
        let answer = self.ask_patiently(container).await;
        let answer = self.shared.finish(container.id, answer, Instant::now());
        if self.replies.try_send(Reply { id: container.id, answer }).is_err() {
            self.shared.reply_dropped();
        }
    }

    async fn ask_patiently(&self, container: CgroupContainer) -> Answer {
        let mut pauses = ASK_AGAIN_AFTER_MILLIS.iter().filter(|_| container.family != RuntimeFamily::Unknown);
        loop {
            let turn = self.turns.acquire().await;
            let answer = self.ask_all(container).await;
            drop(turn);
            match (&answer, pauses.next()) {
                (Answer::Unknown, Some(pause)) => sleep(Duration::from_millis(*pause)).await,
                _ => return answer,
            }
        }
    }

    /// Asks one socket after the other, those first that `family` points to.
    async fn ask_all(&self, CgroupContainer { id, family }: CgroupContainer) -> Answer {
        let (likely, others): (Vec<_>, Vec<_>) =
            self.peers.iter().partition(|peer| peer.socket.serves(family));
        let mut tally = Tally::default();
        for peer in &likely {
            if let Some(answer) = tally.add(peer.ask(id).await) {
                return answer;
            }
        }
        let is_unserved = tally.present == 0 && !likely.is_empty();
        for peer in others {
            if let Some(answer) = tally.add(peer.ask(id).await) {
                return answer;
            }
        }
        if tally.present == 0 {
            self.say_missing(RuntimeFamily::Unknown, &self.peers.iter().collect::<Vec<_>>());
        } else if is_unserved {
            self.say_missing(family, &likely);
        }
        tally.answer()
    }

    /// Says once for each family that its sockets are missing; for the unknown one, that all are.
    fn say_missing(&self, family: RuntimeFamily, peers: &[&Peer]) {
        let mut said = self.said_missing.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.insert(family) {
            return;
        }
        let of = match family {
            RuntimeFamily::Unknown => String::new(),
            family => format!(" of {family:?}"),
        };
        tracing::warn!(
            looked_for = named(peers),
            "containers{of} run, and no runtime that may know them has a socket here: they have an id, but \
             perhaps no name, image or pod; `runtime-socket` names a socket that is elsewhere"
        );
    }
}

/// The first few sockets, and how many there are besides: nobody reads a dozen.
fn named(peers: &[&Peer]) -> String {
    const NAMED: usize = 3;
    let sockets: Vec<_> = peers.iter().take(NAMED).map(|peer| peer.socket.to_string()).collect();
    match peers.len() - sockets.len() {
        0 => sockets.join(", "),
        more => format!("{}, and {more} more", sockets.join(", ")),
    }
}

/// What the sockets that were asked so far have said.
#[derive(Default)]
struct Tally {
    /// Sockets that exist.
    present: usize,
    silent: usize,
}

impl Tally {
    fn add(&mut self, outcome: Outcome) -> Option<Answer> {
        match outcome {
            Outcome::Found(info) => return Some(Answer::Known(Arc::from(info))),
            Outcome::NotFound => self.present += 1,
            Outcome::Silent => {
                self.present += 1;
                self.silent += 1;
            }
            Outcome::Missing => {}
        }
        None
    }

    fn answer(self) -> Answer {
        if self.present == 0 || self.silent > 0 { Answer::Unreachable } else { Answer::Unknown }
    }
}
