//! Facts wait until it is known whose their container is, and no longer.

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use procession::ProcessKey;
use procession_agent::{HoldConfig, HoldCounts, News, Observation, ObservationConfig, TellCounts};
use procession_filter::Filter;
use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};
use proptest::prelude::*;

use support::book::Book;
use support::{
    ALL, Played, Script, Step, change, everything, exec, exit, fork, id, image, key, lines, outside, play,
    running, steps, within,
};

/// Plays a script with time enough for every answer, and loses nothing.
fn played(live: impl IntoIterator<Item = Step>, book: &Book) -> Played {
    checked(Script::new(live), everything(), book)
}

fn checked(script: Script, config: ObservationConfig, book: &Book) -> Played {
    let played = play(script, config, book.clone());
    let HoldCounts { held, answered, refused, expired, overflowed, waiting, bytes } = hold(&played);
    assert_eq!(held, answered + refused + expired + overflowed, "what waits goes out once");
    assert_eq!((waiting, bytes, played.account.dropped), (0, 0, 0));
    played
}

fn hold(played: &Played) -> HoldCounts {
    played.account.told.hold
}

/// Everything that a filter admits.
fn only(filter: Filter) -> ObservationConfig {
    let mut config = everything();
    config.selection.filter = filter;
    config
}

fn holding(hold: HoldConfig) -> ObservationConfig {
    ObservationConfig { hold, ..everything() }
}

#[test]
fn the_first_facts_of_a_container_wait_and_those_of_others_do_not() {
    let book = Book::of(&[8]);
    let live = steps![
        within(7, fork(1, 10)),
        within(7, exec(10, 1)),
        fork(1, 20),
        within(8, fork(1, 30)),
        exit(10, 0),
        book.answers(7),
        fork(1, 21),
        within(7, fork(10, 11)),
        fork(1, 22),
    ];
    let played = played(live, &book);
    assert_eq!(
        lines(&played.told),
        [
            "20 fork",
            "30 fork in pod-8",
            "10 fork in pod-7",
            "10 exec in pod-7",
            "10 exit in pod-7",
            "21 fork",
            "11 fork in pod-7",
            "22 fork",
        ]
    );
    let hold = HoldCounts { held: 3, answered: 3, ..HoldCounts::default() };
    assert_eq!(played.account.told, TellCounts { hold, ..TellCounts::default() });
    assert!(!book.was_asked(8), "it is known");
}

/// A source that fails when its script is played.
struct Failing(Script);

impl Source for Failing {
    fn kind(&self) -> SourceKind {
        self.0.kind()
    }

    fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
        self.0.walk(sink)
    }

    fn poll(&mut self, timeout: Duration, sink: Sink<'_>) -> Result<(), SourceError> {
        if self.0.live.is_empty() { Err(SourceError::RootNotFound) } else { self.0.poll(timeout, sink) }
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), SourceError> {
        Err(SourceError::RootNotFound)
    }

    fn kernel_counts(&self) -> Option<KernelCounts> {
        None
    }
}

#[test]
fn what_waits_is_told_when_the_source_fails() {
    let source = Failing(Script::new(steps![within(7, fork(1, 10)), fork(1, 20), within(7, exec(10, 1))]));
    let observation = Observation::start(Box::new(source), everything(), Box::new(Book::default())).unwrap();
    let told: Vec<_> = observation.told().iter().collect();
    assert_eq!(lines(&told), ["20 fork", "10 fork in ?", "10 exec in ?"]);
    assert!(observation.join().is_err());
}

#[test]
fn each_container_has_its_own_answer() {
    let book = Book::default();
    let live = steps![
        within(7, fork(1, 10)),
        within(8, fork(1, 11)),
        within(7, exec(10, 1)),
        within(8, exec(11, 1)),
        book.answers(8),
        fork(1, 20),
        book.answers(7),
    ];
    assert_eq!(
        lines(&played(live, &book).told),
        ["11 fork in pod-8", "11 exec in pod-8", "20 fork", "10 fork in pod-7", "10 exec in pod-7"]
    );
}

/// The answer may be there before it is told that it is.
#[test]
fn those_who_wait_are_not_passed_by_others_of_their_container() {
    let (known, refused) = (Book::default(), Book::default());
    let silently = |book: &Book, answer: fn(&Book, u32)| {
        let book = book.clone();
        Step::new(move || answer(&book, 7))
    };
    for (book, answer, shown) in [
        (&known, silently(&known, Book::learn), " in pod-7"),
        (&refused, silently(&refused, Book::refuse), " in ?"),
    ] {
        let live = steps![
            within(7, fork(1, 10)),
            within(7, exec(10, 1)),
            answer,
            within(7, fork(10, 11)),
            fork(1, 20)
        ];
        assert_eq!(
            lines(&played(live, book).told),
            [&format!("10 fork{shown}"), &format!("10 exec{shown}"), &format!("11 fork{shown}"), "20 fork"]
        );
    }
}

#[test]
fn that_nobody_knows_is_an_answer() {
    let book = Book::default();
    let live = steps![
        within(7, fork(1, 10)),
        fork(1, 20),
        book.refuses(7),
        fork(1, 21),
        within(7, fork(10, 11)),
        fork(1, 22),
    ];
    let played = played(live, &book);
    assert_eq!(lines(&played.told), ["20 fork", "10 fork in ?", "21 fork", "11 fork in ?", "22 fork"]);
    let hold = HoldCounts { held: 1, refused: 1, ..HoldCounts::default() };
    assert_eq!(played.account.told, TellCounts { hold, incomplete: 2, unplaced: 0 });
}

#[test]
fn the_wait_has_an_end_after_which_nobody_waits_until_the_answer_comes() {
    const WAIT: Duration = Duration::from_millis(5);
    let book = Book::default();
    let live = steps![
        within(7, fork(1, 10)),
        Step::new(|| thread::sleep(10 * WAIT)),
        within(7, fork(1, 11)),
        fork(1, 20),
        book.answers(7),
        within(7, fork(1, 12)),
        fork(1, 21),
    ];
    let config = holding(HoldConfig { wait: WAIT, ..HoldConfig::default() });
    let played = checked(Script::new(live), config, &book);
    assert_eq!(
        lines(&played.told),
        ["10 fork in ?", "11 fork in ?", "20 fork", "12 fork in pod-7", "21 fork"]
    );
    let hold = HoldCounts { held: 1, expired: 1, ..HoldCounts::default() };
    assert_eq!(played.account.told, TellCounts { hold, incomplete: 2, unplaced: 0 });
}

#[test]
fn where_nobody_can_be_asked_or_nothing_may_wait_nothing_does() {
    let book = Book::default();
    book.refuse(7);
    let live = || steps![within(7, fork(1, 10)), fork(1, 20), within(7, exec(10, 1)), fork(1, 21)];
    let expected = ["10 fork in ?", "20 fork", "10 exec in ?", "21 fork"];
    let unasked = played(live(), &book);
    let config = holding(HoldConfig { wait: Duration::ZERO, ..HoldConfig::default() });
    let unheld = checked(Script::new(live()), config, &Book::default());
    for played in [unasked, unheld] {
        assert_eq!(lines(&played.told), expected);
        assert_eq!(played.account.told, TellCounts { incomplete: 2, ..TellCounts::default() });
    }
}

#[test]
fn news_of_any_container_is_news_of_each() {
    let book = Book::default();
    let much_is_new = {
        let book = book.clone();
        Step::new(move || {
            book.learn(8);
            book.learn(7);
            book.tell(News::OfAny);
        })
    };
    let live = steps![
        within(7, fork(1, 10)),
        within(8, fork(1, 11)),
        within(9, fork(1, 12)),
        much_is_new,
        fork(1, 20),
        book.answers(9),
    ];
    let played = played(live, &book);
    assert_eq!(
        lines(&played.told),
        ["10 fork in pod-7", "11 fork in pod-8", "20 fork", "12 fork in pod-9"],
        "who has waited longest comes first"
    );
}

#[test]
fn news_of_a_container_for_which_nothing_waits_is_no_news() {
    let book = Book::default();
    let live = steps![book.answers(8), book.refuses(9), within(7, fork(1, 10)), book.answers(8), fork(1, 20)];
    assert_eq!(lines(&played(live, &book).told), ["20 fork", "10 fork in ?"]);
}

#[test]
fn for_want_of_room_those_go_out_that_have_waited_longest() {
    const COUNT: u32 = 100;
    let forks = (0..COUNT).map(|number| within(number, fork(1, 100 + number)).into());
    let live = forks.chain(steps![fork(1, 20)]);
    let config = holding(HoldConfig { bytes: 50_000, ..everything().hold });
    let played = checked(Script::new(live), config, &Book::default());
    let pids: Vec<_> = played.told.iter().map(|told| told.fact.process.pid().0).collect();
    let at = pids.iter().position(|pid| *pid == 20).expect("the host does not wait");
    let counts = hold(&played);
    assert_eq!((counts.held, counts.overflowed), (u64::from(COUNT), at as u64));
    assert!(0 < at && at < pids.len() - 1, "some went out for want of room, some at the end: {at}");
    assert!(pids.iter().filter(|pid| **pid != 20).copied().eq(100..100 + COUNT));
    assert!(played.told.iter().all(|told| told.is_complete == (told.fact.process.pid().0 == 20)));
}

#[test]
fn what_was_found_and_has_to_wait_is_told_later() {
    let book = Book::of(&[8]);
    let script = Script {
        walk: vec![
            running(1, ProcessKey::NONE),
            within(7, running(5, key(1))),
            within(8, running(6, key(1))),
            within(7, running(9, key(5))),
        ],
        ..Script::new(steps![fork(1, 20), book.answers(7), fork(1, 21)])
    };
    let played = checked(script, everything(), &book);
    assert_eq!(lines(&played.found), ["1 running", "6 running in pod-8"]);
    assert_eq!(lines(&played.told), ["20 fork", "5 running in pod-7", "9 running in pod-7", "21 fork"]);
}

#[test]
fn at_the_end_nothing_is_lost() {
    let book = Book::default();
    let script = Script {
        rest: steps![within(8, exec(11, 1)), fork(1, 20), book.answers(7)].into(),
        ..Script::new(steps![within(8, fork(1, 11)), within(7, fork(1, 10))])
    };
    let played = checked(script, everything(), &book);
    assert_eq!(
        lines(&played.told),
        ["20 fork", "10 fork in pod-7", "11 fork in ?", "11 exec in ?"],
        "the last answers are waited for"
    );
    let counts = HoldCounts { held: 3, answered: 1, expired: 2, ..HoldCounts::default() };
    assert_eq!(hold(&played), counts);
}

#[test]
fn a_condition_on_a_name_is_asked_when_the_name_is_known() {
    let filter = || Filter::new(ALL);
    let filters = [
        filter().namespace("team-7"),
        filter().pod("^pod-7$").unwrap(),
        filter().container("^main-7$").unwrap(),
    ];
    for filter in filters {
        let book = Book::of(&[6]);
        let live = steps![
            within(7, fork(1, 10)),
            fork(1, 20),
            within(6, fork(1, 30)),
            within(8, fork(1, 40)),
            within(9, fork(1, 50)),
            running(60, ProcessKey::NONE),
            book.answers(7),
            book.answers(8),
            book.refuses(9),
            within(7, fork(1, 11)),
        ];
        let played = checked(Script::new(live), only(filter), &book);
        assert_eq!(lines(&played.told), ["10 fork in pod-7", "11 fork in pod-7"]);
        let hold = HoldCounts { held: 3, answered: 2, refused: 1, ..HoldCounts::default() };
        assert_eq!(
            played.account.told,
            TellCounts { hold, incomplete: 0, unplaced: 2 },
            "9, and wherever 60 is"
        );
    }
}

#[test]
fn what_an_id_decides_is_told_without_a_name() {
    let filter = Filter::new(ALL).container(&id(7).as_str()[..12]).unwrap();
    let book = Book::default();
    let live = steps![
        within(7, fork(1, 10)),
        within(8, fork(1, 40)),
        book.refuses(7),
        book.refuses(8),
        within(7, fork(1, 11)),
    ];
    let played = checked(Script::new(live), only(filter), &book);
    assert_eq!(lines(&played.told), ["10 fork in ?", "11 fork in ?"]);
    let hold = HoldCounts { held: 2, refused: 2, ..HoldCounts::default() };
    assert_eq!(played.account.told, TellCounts { hold, incomplete: 2, unplaced: 1 });
}

#[test]
fn where_the_name_makes_no_difference_nobody_is_asked() {
    let book = Book::default();
    let live = steps![within(7, fork(1, 10)), fork(1, 20), within(7, exec(10, 1)), outside(change(10))];
    let played = checked(Script::new(live), only(Filter::new(ALL).host_only()), &book);
    assert_eq!(lines(&played.told), ["20 fork", "10 change"]);
    assert_eq!(played.account.told, TellCounts::default());
    assert!(!book.was_asked(7));
}

#[test]
fn the_parents_container_is_told_too() {
    let book = Book::of(&[7, 8]);
    let live = steps![
        within(8, fork(1, 10)),
        within(7, fork(10, 11)),
        within(7, fork(11, 12)),
        outside(fork(11, 13)),
    ];
    let played = played(live, &book);
    let pods: Vec<_> = played
        .told
        .iter()
        .map(|told| {
            let parent = told.fact.parent().expect("all were forked");
            let name = |process| told.whose(process).and_then(|whose| Some(whose.pod()?.name));
            (name(&told.fact.process), name(parent))
        })
        .collect();
    assert_eq!(
        pods,
        [
            (Some("pod-8"), None),
            (Some("pod-7"), Some("pod-8")),
            (Some("pod-7"), Some("pod-7")),
            (None, Some("pod-7")),
        ]
    );
}

#[test]
fn who_leaves_a_container_is_told_of_in_order() {
    let book = Book::of(&[8]);
    let live = steps![
        within(7, fork(1, 10)),
        within(7, fork(1, 11)),
        outside(change(10)),
        within(8, change(11)),
        fork(10, 12),
        fork(1, 20),
        exit(10, 0),
        book.answers(7),
    ];
    let played = played(live, &book);
    assert_eq!(
        lines(&played.told),
        [
            "12 fork",
            "20 fork",
            "10 fork in pod-7",
            "11 fork in pod-7",
            "10 change",
            "11 change in pod-8",
            "10 exit",
        ]
    );
    assert_eq!((hold(&played).held, hold(&played).answered), (5, 5));
}

/// What may happen in a script without end.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A process runs another image, in a container or on the host.
    Exec {
        process: u32,
        container: Option<u32>,
    },
    Answer(u32),
    Refuse(u32),
    /// An answer of which nobody is told.
    Learn(u32),
    TellOfAny,
    LetTimePass,
}

const PROCESSES: u32 = 4;
const CONTAINERS: u32 = 3;

fn act() -> impl Strategy<Value = Act> {
    let container = 0..CONTAINERS;
    let exec = (0..PROCESSES, prop::option::weighted(0.8, container.clone()));
    prop_oneof![
        8 => exec.prop_map(|(process, container)| Act::Exec { process, container }),
        2 => container.clone().prop_map(Act::Answer),
        1 => container.clone().prop_map(Act::Refuse),
        1 => container.prop_map(Act::Learn),
        1 => Just(Act::TellOfAny),
        1 => Just(Act::LetTimePass),
    ]
}

/// The step, and the image that it is to tell of.
fn step(act: Act, execs: &mut BTreeMap<u32, u32>, book: &Book) -> (Step, Option<ProcessKey>) {
    let later = book.clone();
    let step = match act {
        Act::Exec { process, container } => {
            let pid = 10 + process;
            let nth = execs.entry(pid).and_modify(|nth| *nth += 1).or_insert(1);
            let event = match container {
                Some(container) => within(container, exec(pid, *nth)),
                None => outside(exec(pid, *nth)),
            };
            return (event.into(), Some(image(pid, *nth)));
        }
        Act::Answer(container) => book.answers(container),
        Act::Refuse(container) => book.refuses(container),
        Act::Learn(container) => Step::new(move || later.learn(container)),
        Act::TellOfAny => Step::new(move || later.tell(News::OfAny)),
        Act::LetTimePass => Step::new(|| thread::sleep(Duration::from_millis(2))),
    };
    (step, None)
}

/// All waiting ends, so that the end of the test need not be waited for.
fn end(book: &Book) -> Step {
    let book = book.clone();
    Step::new(move || {
        (0..CONTAINERS).for_each(|container| book.refuse(container));
        book.tell(News::OfAny);
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each fact is told exactly once, those of one process in order, whatever the order of answers.
    #[test]
    fn every_fact_is_told_once_and_in_order(
        acts in prop::collection::vec(act(), 0..100),
        wait in prop::sample::select(vec![Duration::ZERO, Duration::from_millis(1), Duration::from_hours(1)]),
        bytes in prop::sample::select(vec![1, 20_000, 1 << 20]),
    ) {
        let (book, mut execs) = (Book::default(), BTreeMap::new());
        let (mut live, given): (Vec<_>, Vec<_>) = acts.iter().map(|act| step(*act, &mut execs, &book)).unzip();
        live.push(end(&book));
        let given: Vec<_> = given.into_iter().flatten().collect();
        let played = checked(Script::new(live), holding(HoldConfig { wait, bytes }), &book);
        // Each of them is well formed.
        prop_assert_eq!(lines(&played.told).len(), given.len());
        let incomplete = played.told.iter().filter(|told| !told.is_complete).count() as u64;
        prop_assert_eq!(played.account.told.incomplete, incomplete);
        for pid in 10..10 + PROCESSES {
            let is_its = |key: &ProcessKey| key.pid.0 == pid;
            let told = played.told.iter().map(|told| told.fact.process.key).filter(is_its);
            prop_assert!(told.eq(given.iter().copied().filter(is_its)));
        }
    }
}
