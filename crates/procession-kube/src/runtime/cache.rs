//! Answers, and which questions wait for one: what both sides of the queue share.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::unsync::Cache;

use super::RuntimesConfig;
use super::answer::{Answer, Asked, RuntimeCounters};
use crate::{ContainerId, ContainerInfo};

/// The lock is held for a look-up or an insertion, never while anything is waited for.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    known_for: Duration,
    unknown_for: Duration,
    counts: Counts,
}

#[derive(Debug)]
struct State {
    answers: Cache<ContainerId, Entry, Weight>,
    waiting: HashSet<ContainerId>,
}

#[derive(Clone, Debug)]
struct Entry {
    answer: Answer,
    fresh_until: Instant,
}

impl Entry {
    /// What was known once is better than nothing; another answer means nothing when it is old.
    fn is_of_use(&self, now: Instant) -> bool {
        self.fresh_until > now || matches!(self.answer, Answer::Known(_))
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl quick_cache::Weighter<ContainerId, Entry> for Weight {
    fn weight(&self, _: &ContainerId, entry: &Entry) -> u64 {
        let info = if let Answer::Known(info) = &entry.answer { bytes_of(info) } else { 0 };
        let bytes = size_of::<ContainerId>() + size_of::<Entry>() + info;
        bytes.try_into().unwrap_or(u64::MAX)
    }
}

/// About how many bytes a container takes in memory.
fn bytes_of(info: &ContainerInfo) -> usize {
    let texts = [&info.name, &info.image, &info.image_id, &info.runtime].map(String::len);
    let pod = info.pod.as_ref().map_or(0, |pod| {
        let texts = [&pod.namespace, &pod.name, &pod.uid].map(String::len);
        texts.iter().sum::<usize>() + bytes_of_map(&pod.labels) + bytes_of_map(&pod.annotations)
    });
    size_of::<ContainerInfo>() + texts.iter().sum::<usize>() + bytes_of_map(&info.labels) + pod
}

fn bytes_of_map(map: &BTreeMap<String, String>) -> usize {
    map.iter().map(|(key, value)| key.len() + value.len() + 2 * size_of::<String>()).sum()
}

#[derive(Default, Debug)]
struct Counts {
    asked: AtomicU64,
    refused: AtomicU64,
    known: AtomicU64,
    unknown: AtomicU64,
    unreachable: AtomicU64,
    dropped_replies: AtomicU64,
}

/// What is there when a container is asked for.
pub(super) enum Lookup {
    /// An answer.
    Fresh(Answer),
    /// A question is under way.
    Waiting,
    /// Nothing. The question counts as waiting from now on.
    Absent,
    /// An answer that is to be had anew. The question counts as waiting from now on.
    Old(Answer),
}

impl Lookup {
    /// Whether the runtimes are to be asked.
    pub(super) fn is_question(&self) -> bool {
        matches!(self, Self::Absent | Self::Old(_))
    }

    /// What became of the question: the answer that is there, or else `otherwise`.
    pub(super) fn asked(self, otherwise: Asked) -> Asked {
        match self {
            Self::Fresh(answer) | Self::Old(answer) => Asked::Answered(answer),
            Self::Waiting | Self::Absent => otherwise,
        }
    }
}

/// Entries for which room is made ahead; more fit in when they are small.
const EXPECTED_ENTRIES: usize = 1024;

impl Shared {
    pub(super) fn new(config: &RuntimesConfig) -> Self {
        let bytes = config.cache_bytes.try_into().unwrap_or(u64::MAX);
        let answers = Cache::with_weighter(EXPECTED_ENTRIES, bytes, Weight);
        Self {
            state: Mutex::new(State { answers, waiting: HashSet::new() }),
            known_for: config.known_for,
            unknown_for: config.unknown_for,
            counts: Counts::default(),
        }
    }

    /// Looks a container up, and notes that it is asked for if nothing fresh is there.
    pub(super) fn begin(&self, id: ContainerId, now: Instant) -> Lookup {
        let mut state = self.lock();
        let entry = state.answers.get(&id).filter(|entry| entry.is_of_use(now)).cloned();
        match entry {
            Some(entry) if entry.fresh_until > now => return Lookup::Fresh(entry.answer),
            Some(entry) if !state.waiting.insert(id) => return Lookup::Fresh(entry.answer),
            None if !state.waiting.insert(id) => return Lookup::Waiting,
            Some(entry) => {
                drop(state);
                self.count(|counts| &counts.asked);
                return Lookup::Old(entry.answer);
            }
            None => {}
        }
        drop(state);
        self.count(|counts| &counts.asked);
        Lookup::Absent
    }

    /// What is known of a container, and whether that is to be had anew: the question counts as waiting then.
    pub(super) fn known(&self, id: ContainerId, now: Instant) -> Option<(Arc<ContainerInfo>, bool)> {
        let mut state = self.lock();
        let Entry { answer: Answer::Known(info), fresh_until } = state.answers.get(&id)? else { return None };
        let (info, is_old) = (Arc::clone(info), *fresh_until <= now);
        let is_question = is_old && state.waiting.insert(id);
        drop(state);
        if is_question {
            self.count(|counts| &counts.asked);
        }
        Some((info, is_question))
    }

    /// The question found no room.
    pub(super) fn refuse(&self, id: ContainerId) {
        self.lock().waiting.remove(&id);
        self.counts.asked.fetch_sub(1, Relaxed);
        self.count(|counts| &counts.refused);
    }

    /// The question has an answer. Returns what is known now: a container that was found once is not
    /// forgotten because it is gone, or because its runtime is.
    pub(super) fn finish(&self, id: ContainerId, answer: Answer, now: Instant) -> Answer {
        self.count(|counts| match answer {
            Answer::Known(_) => &counts.known,
            Answer::Unknown => &counts.unknown,
            Answer::Unreachable => &counts.unreachable,
        });
        let fresh_for = if matches!(answer, Answer::Known(_)) { self.known_for } else { self.unknown_for };
        let mut state = self.lock();
        let before = state.answers.get(&id).map(|entry| entry.answer.clone());
        let answer = match before {
            Some(known @ Answer::Known(_)) if !matches!(answer, Answer::Known(_)) => known,
            _ => answer,
        };
        state.answers.insert(id, Entry { answer: answer.clone(), fresh_until: now + fresh_for });
        state.waiting.remove(&id);
        answer
    }

    pub(super) fn get(&self, id: &ContainerId, now: Instant) -> Option<Answer> {
        let state = self.lock();
        state.answers.get(id).filter(|entry| entry.is_of_use(now)).map(|entry| entry.answer.clone())
    }

    pub(super) fn reply_dropped(&self) {
        self.count(|counts| &counts.dropped_replies);
    }

    pub(super) fn counters(&self) -> RuntimeCounters {
        let Counts { asked, refused, known, unknown, unreachable, dropped_replies } = &self.counts;
        RuntimeCounters {
            asked: asked.load(Relaxed),
            refused: refused.load(Relaxed),
            known: known.load(Relaxed),
            unknown: unknown.load(Relaxed),
            unreachable: unreachable.load(Relaxed),
            dropped_replies: dropped_replies.load(Relaxed),
        }
    }

    fn count(&self, which: impl FnOnce(&Counts) -> &AtomicU64) {
        which(&self.counts).fetch_add(1, Relaxed);
    }

    /// Whoever panicked while it held the lock left no half-made change that matters.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ContainerId {
        ContainerId::parse(format!("{number:064x}").as_bytes()).unwrap()
    }

    fn known(id: ContainerId) -> Answer {
        Answer::Known(Arc::new(ContainerInfo {
            name: "web".to_owned(),
            image: "x".repeat(1000),
            runtime: "docker".to_owned(),
            ..ContainerInfo::of(id)
        }))
    }

    fn config() -> RuntimesConfig {
        RuntimesConfig {
            known_for: Duration::from_secs(10),
            unknown_for: Duration::from_secs(1),
            ..RuntimesConfig::default()
        }
    }

    #[test]
    fn one_question_waits_for_each_container() {
        let (shared, now) = (Shared::new(&config()), Instant::now());
        assert!(matches!(shared.begin(id(1), now), Lookup::Absent));
        assert!(matches!(shared.begin(id(1), now), Lookup::Waiting));
        assert!(matches!(shared.begin(id(2), now), Lookup::Absent));
        shared.refuse(id(1));
        assert!(matches!(shared.begin(id(1), now), Lookup::Absent), "it may be asked for again");
        assert_eq!((shared.counters().asked, shared.counters().refused), (2, 1));
    }

    #[test]
    fn what_is_not_known_is_forgotten_soon() {
        let (shared, now) = (Shared::new(&config()), Instant::now());
        for answer in [Answer::Unknown, Answer::Unreachable] {
            assert_eq!(shared.finish(id(1), answer.clone(), now), answer);
            let soon = now + Duration::from_millis(999);
            assert_eq!(shared.get(&id(1), soon), Some(answer));
            assert!(matches!(shared.begin(id(1), soon), Lookup::Fresh(_)));
            let later = now + Duration::from_secs(1);
            assert_eq!(shared.get(&id(1), later), None);
        }
    }

    #[test]
    fn what_is_known_is_kept_and_asked_for_anew() {
        let (shared, now) = (Shared::new(&config()), Instant::now());
        shared.finish(id(1), known(id(1)), now);
        let later = now + Duration::from_secs(10);
        assert!(matches!(shared.begin(id(1), later), Lookup::Old(_)));
        assert!(matches!(shared.begin(id(1), later), Lookup::Fresh(_)), "a question is under way");
        assert_eq!(shared.finish(id(1), Answer::Unknown, later), known(id(1)), "the container is gone");
        assert!(matches!(shared.begin(id(1), later), Lookup::Fresh(_)), "and is not asked for all the time");
        assert_eq!(shared.get(&id(1), later + Duration::from_hours(1)), Some(known(id(1))));
    }

    #[test]
    fn what_is_known_is_asked_for_anew_once_when_it_is_old() {
        let (shared, now) = (Shared::new(&config()), Instant::now());
        let is_question = |number, time| shared.known(id(number), time).map(|(_, is_question)| is_question);
        shared.finish(id(1), known(id(1)), now);
        shared.finish(id(2), Answer::Unknown, now);
        assert_eq!(is_question(1, now + Duration::from_millis(9_999)), Some(false));
        let later = now + Duration::from_secs(10);
        assert_eq!([is_question(1, later), is_question(1, later)], [Some(true), Some(false)]);
        assert_eq!([is_question(2, now), is_question(3, now)], [None, None]);
        assert_eq!(shared.counters().asked, 1);
    }

    #[test]
    fn answers_stay_within_their_bytes() {
        let bytes: u32 = 100_000;
        let shared = Shared::new(&RuntimesConfig { cache_bytes: bytes as usize, ..config() });
        for number in 0..10_000 {
            let answer = if number % 2 == 0 { known(id(number)) } else { Answer::Unknown };
            shared.finish(id(number), answer, Instant::now());
        }
        let state = shared.lock();
        assert!(state.answers.weight() <= u64::from(bytes), "{}", state.answers.weight());
        assert!(state.answers.len() > 10);
    }
}
