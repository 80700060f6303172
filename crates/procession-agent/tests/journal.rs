//! The journal of a pipeline: what is in it, how the next pipeline goes on from it, and what was missed is
//! found again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "support/kernel.rs"]
mod kernel;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use procession::{
    EndKind, Entry, Fact, FactKind, Gap, LineageDetail, Origin, Pid, ProcessKey, Table, TableConfig,
};
use procession_agent::{
    JournalConfig, JournalCounts, JournalTarget, OpenJournal, Pipeline, PipelineConfig, RepairCounts, Scope,
    Selection,
};
use procession_filter::{Filter, Kinds, Redaction};
use procession_journal::{DirectoryConfig, Fsync, Journal, state_hash};
use procession_sensor::PollSource;
use proptest::prelude::*;
use tempfile::TempDir;

use kernel::{Kernel, Life};

const ALL: Kinds = Kinds { running: true, fork: true, exec: true, exit: true, change: true };

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn selection() -> Selection {
    Selection { scope: Scope::Everything, filter: Filter::new(ALL), lineage: LineageDetail::Parent }
}

/// A journal with small files.
fn open(directory: &Path) -> OpenJournal {
    let config = DirectoryConfig {
        segment_bytes: 8 << 10,
        max_bytes: 64 << 20,
        fsync: Fsync::Never,
        ..DirectoryConfig::new(directory)
    };
    JournalConfig::new(JournalTarget::Directory(config), "node").unwrap().open().unwrap()
}

fn config(journal: Option<OpenJournal>) -> PipelineConfig {
    let table = TableConfig { seed: 7, ..TableConfig::default() };
    let resume = journal.as_ref().and_then(|journal| journal.restore(table));
    PipelineConfig { table, journal, resume, ..PipelineConfig::new(selection()) }
}

/// A pipeline over a kernel, and what it tells.
struct Observed {
    pipeline: Pipeline,
    facts: Vec<Fact>,
}

impl Observed {
    fn start(kernel: &Kernel, config: PipelineConfig) -> Self {
        let mut facts = Vec::new();
        let pipeline = Pipeline::start(kernel.observer(), config, &mut |fact| facts.push(fact)).unwrap();
        Self { pipeline, facts }
    }

    fn poll(&mut self) {
        self.pipeline.poll(Duration::ZERO, &mut |fact| self.facts.push(fact)).unwrap();
    }

    /// Polls until something holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "never seen: {what}");
            self.poll();
        }
    }

    fn counts(&self) -> JournalCounts {
        self.pipeline.account().journal.unwrap()
    }

    fn table(&self) -> &Table {
        self.pipeline.table()
    }

    /// Ends in order.
    fn stop(mut self) -> Pipeline {
        self.pipeline.finish(&mut |_| {}).unwrap();
        self.pipeline.close();
        self.pipeline
    }
}

fn live(table: &Table) -> BTreeSet<ProcessKey> {
    table.entries().filter(|entry| entry.is_running()).map(Entry::key).collect()
}

fn truth(kernel: &Kernel) -> BTreeSet<ProcessKey> {
    kernel.running().into_iter().collect()
}

/// Waits for the lock of a pipeline that was dropped, whose thread may still write.
fn open_when_free(directory: &Path) -> OpenJournal {
    let end = Instant::now() + PATIENCE;
    loop {
        let config = DirectoryConfig {
            segment_bytes: 8 << 10,
            max_bytes: 64 << 20,
            fsync: Fsync::Never,
            ..DirectoryConfig::new(directory)
        };
        match JournalConfig::new(JournalTarget::Directory(config), "node").unwrap().open() {
            Ok(journal) => return journal,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_written_folds_to_what_was_known() {
    let (directory, kernel) = (TempDir::new().unwrap(), Kernel::new());
    let mut life = Life::new(&kernel, 42);
    life.go_on(100);
    let mut observed = Observed::start(&kernel, config(Some(open(directory.path()))));
    for _ in 0..40 {
        life.go_on(2_000);
        observed.poll();
    }
    let pipeline = observed.stop();
    let account = pipeline.account();
    let counts = account.journal.unwrap();
    assert_eq!((counts.lost_events, counts.waiting_events, counts.errors), (0, 0, 0));
    assert_eq!(counts.events, account.ledger.received());
    assert!(counts.files > 1, "{counts:?}");
    assert_eq!(kernel.kept(), 0, "all that is written was released");

    let restored = Journal::open(directory.path()).unwrap().latest().unwrap();
    assert!(restored.is_closed && restored.damage.is_empty());
    assert_eq!(restored.sequence, counts.events);
    assert_eq!(state_hash(&restored.table), state_hash(pipeline.table()));
}

#[test]
fn one_file_holds_it_all_too() {
    let (directory, kernel) = (TempDir::new().unwrap(), Kernel::new());
    let path = directory.path().join("x.procession");
    let journal = JournalConfig::new(JournalTarget::File(path.clone()), "node").unwrap().open().unwrap();
    let mut observed = Observed::start(&kernel, config(Some(journal)));
    Life::new(&kernel, 3).go_on(5_000);
    observed.poll();
    let pipeline = observed.stop();
    let restored = Journal::open(&path).unwrap().latest().unwrap();
    assert!(restored.is_closed);
    assert_eq!(state_hash(&restored.table), state_hash(pipeline.table()));
}

#[test]
fn a_journal_that_cannot_be_written_holds_up_nobody() {
    let kernel = Kernel::new();
    let journal =
        JournalConfig::new(JournalTarget::File("/dev/full".into()), "node").unwrap().open().unwrap();
    let mut observed = Observed::start(&kernel, config(Some(journal)));
    let mut life = Life::new(&kernel, 5);
    observed.until("losses", |observed| {
        for pid in 1_000_000..1_020_000 {
            kernel.fork(1, pid);
            kernel.exit(pid);
        }
        observed.counts().lost_events > 0
    });
    life.go_on(100);
    let counts = observed.counts();
    assert!(counts.is_failing && counts.errors > 0 && counts.events == 0, "{counts:?}");
    let given = observed.table().ledger().received();
    assert_eq!(counts.lost_events + counts.waiting_events, given, "each event is accounted for");
    observed.poll();
    let account = observed.stop().account();
    let counts = account.journal.unwrap();
    assert_eq!((counts.lost_events, counts.waiting_events), (account.ledger.received(), 0));
}

/// A directory in which others can write is refused for as long as it is one, and what happens waits.
#[test]
fn a_directory_that_becomes_shared_loses_nothing_when_it_is_put_right() {
    let (place, kernel) = (TempDir::new().unwrap(), Kernel::new());
    let directory = place.path().join("journal");
    let mut observed = Observed::start(&kernel, config(Some(open(&directory))));
    let mut life = Life::new(&kernel, 11);
    life.go_on(100);
    observed.until("all is written", |it| it.counts().waiting_events == 0);

    fs::rename(&directory, place.path().join("before")).unwrap();
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    // Nothing happens until the state that begins another file is refused, so nothing is on its way to the old one.
    observed.until("a few refusals", |it| it.counts().errors > 3);
    for _ in 0..20 {
        life.go_on(500);
        observed.poll();
    }
    let counts = observed.counts();
    assert!(counts.is_failing && counts.waiting_events > 0, "{counts:?}");
    assert_eq!(counts.lost_events, 0, "{counts:?}");
    assert!(!directory.join("lock").exists(), "nothing is written where others can");

    fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
    observed.until("all is written again", |it| !it.counts().is_failing && it.counts().waiting_events == 0);
    let pipeline = observed.stop();
    let account = pipeline.account();
    let counts = account.journal.unwrap();
    assert_eq!((counts.lost_events, counts.events), (0, account.ledger.received()));
    let restored = Journal::open(&directory).unwrap().latest().unwrap();
    assert!(restored.is_closed && restored.damage.is_empty());
    assert_eq!(state_hash(&restored.table), state_hash(pipeline.table()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// A pipeline is killed at any moment, and things happen until the next one starts: that knows what one
    /// knows that was there all the time.
    #[test]
    fn who_goes_on_knows_what_a_witness_knows(
        seed in 1_u64..,
        lives in prop::collection::vec((0_usize..12, 0_usize..1_000), 1..5),
    ) {
        let (directory, kernel) = (TempDir::new().unwrap(), Kernel::new());
        let mut life = Life::new(&kernel, seed);
        for (polls, gap) in lives {
            let mut observed = Observed::start(&kernel, config(Some(open_when_free(directory.path()))));
            for _ in 0..polls {
                life.go_on(200);
                observed.poll();
            }
            // Killed: what was not sent is gone with it.
            drop(observed.pipeline);
            life.go_on(gap);
        }
        let observed = Observed::start(&kernel, config(Some(open_when_free(directory.path()))));
        prop_assert_eq!(live(observed.table()), truth(&kernel));
        let account = observed.pipeline.account();
        prop_assert_eq!((account.repair.missing, account.repair.gone), (0, 0), "nothing had to be guessed");
        prop_assert_eq!(account.ledger.lost(), 0);
        for entry in observed.table().entries().filter(|entry| entry.is_running()) {
            let oldest = entry.ancestors().last().unwrap_or(entry);
            prop_assert_eq!(oldest.key().pid.0, 1, "every chain reaches the first process");
        }
    }
}

#[test]
fn a_restart_tells_of_what_runs_and_then_of_what_has_happened() {
    let (directory, kernel) = (TempDir::new().unwrap(), Kernel::new());
    let mut observed = Observed::start(&kernel, config(Some(open(directory.path()))));
    kernel.fork(1, 2);
    kernel.exec(2);
    observed.poll();
    let ids = live(observed.table());
    drop(observed.stop());

    kernel.fork(2, 3);
    kernel.exec(3);
    kernel.exit(2);
    let observed = Observed::start(&kernel, config(Some(open_when_free(directory.path()))));
    let told: Vec<_> = observed.facts.iter().map(|fact| (fact.process.pid().0, fact.kind)).collect();
    assert!(
        matches!(
            told[..],
            [
                (1, FactKind::Running),
                (2, FactKind::Running),
                (3, FactKind::Fork),
                (3, FactKind::Exec),
                (2, FactKind::Exit { status: Some(_), .. })
            ]
        ),
        "{told:?}"
    );
    let found: BTreeSet<_> = observed.facts[..2].iter().map(|fact| fact.process.key).collect();
    assert_eq!(found, ids, "under the same names");
}

#[test]
fn what_happened_while_nobody_recorded_is_found_out_and_marked() {
    let (directory, kernel) = (TempDir::new().unwrap(), Kernel::new());
    let mut observed = Observed::start(&kernel, config(Some(open(directory.path()))));
    for pid in 2..5 {
        kernel.fork(1, pid);
    }
    observed.poll();
    drop(observed.stop());
    kernel.detach();
    kernel.exit(2);
    kernel.exec(3);
    kernel.fork(3, 9);

    let observed = Observed::start(&kernel, config(Some(open_when_free(directory.path()))));
    assert_eq!(live(observed.table()), truth(&kernel));
    let account = observed.pipeline.account();
    assert_eq!((account.repair.missing, account.repair.gone), (2, 1));
    let table = observed.table();
    let origin = |pid| table.get_live(Pid(pid)).unwrap().origin();
    assert_eq!((origin(9), origin(4)), (Origin::Found(Gap::Absence), Origin::Fork));
    let ended = table.entries().find(|entry| entry.key().pid.0 == 2).unwrap().snapshot();
    assert_eq!(ended.end.unwrap().how, EndKind::Gone(Gap::Absence));
    let told: Vec<_> = observed.facts.iter().map(|fact| (fact.process.pid().0, fact.kind)).collect();
    assert!(told.iter().any(|(pid, kind)| *pid == 2 && matches!(kind, FactKind::Exit { status: None, .. })));
    assert!(told.contains(&(9, FactKind::Exec)) && told.contains(&(3, FactKind::Exec)), "{told:?}");
}

#[test]
fn what_was_lost_is_looked_for_and_found() {
    let kernel = Kernel::new();
    let mut observed = Observed::start(&kernel, config(None));
    let mut life = Life::new(&kernel, 11);
    life.go_on(1_000);
    observed.poll();
    assert_eq!(kernel.surveys(), 0, "nothing was lost, nothing is looked for");
    kernel.lose(true);
    life.go_on(1_000);
    kernel.lose(false);
    life.go_on(10);
    observed.until("the repair", |observed| live(observed.table()) == truth(&kernel));
    let account = observed.pipeline.account();
    assert!(account.ledger.lost() > 0);
    assert!(account.repair.missing > 0 && account.repair.gone > 0, "{:?}", account.repair);
    assert_eq!(kernel.surveys(), 1, "once is enough");
    let found = observed.facts.iter().filter(|fact| fact.process.origin == Origin::Found(Gap::Loss));
    assert!(found.count() > 0, "and that is told");
}

#[test]
fn what_began_long_before_the_loss_was_noticed_takes_a_second_look() {
    let kernel = Kernel::new();
    let mut observed = Observed::start(&kernel, config(None));
    kernel.lose(true);
    kernel.fork(1, 5);
    kernel.pass(Duration::from_mins(1));
    // The loss comes to light long after.
    kernel.lose(false);
    kernel.fork(1, 6);
    observed.until("process 6", |observed| observed.table().get_live(Pid(6)).is_some());
    observed.until("the repair", |observed| live(observed.table()) == truth(&kernel));
    assert_eq!(observed.pipeline.account().repair.missing, 1);
}

/// Losses make the table be compared with what runs, when something has happened that cannot be read yet.
#[test]
fn who_is_in_records_that_are_still_written_is_not_gone_nor_missing() {
    for polls in [1, 2, 5, 20] {
        let kernel = Kernel::new();
        let mut observed = Observed::start(&kernel, config(None));
        for pid in 2..6 {
            kernel.fork(1, pid);
        }
        observed.poll();
        kernel.lose(true);
        kernel.fork(1, 6);
        kernel.exit(6);
        kernel.lose(false);
        kernel.count_losses();
        // What comes after the loss cannot be read for a while.
        kernel.write_slowly(polls);
        kernel.exit(2);
        kernel.fork(1, 7);
        kernel.exec(3);
        observed.until("the look", |observed| observed.pipeline.account().repair.surveys > 0);
        let repair = observed.pipeline.account().repair;
        assert_eq!((repair.gone, repair.missing), (0, 0), "after {polls} polls");
        assert_eq!(live(observed.table()), truth(&kernel));
        let told = observed.facts.iter().map(|fact| (fact.process.pid().0, fact.kind));
        assert!(
            told.into_iter()
                .any(|(pid, kind)| pid == 2 && matches!(kind, FactKind::Exit { status: Some(_), .. })),
            "it was seen to exit"
        );
    }
}

#[test]
fn a_record_that_is_never_complete_makes_nobody_gone() {
    let kernel = Kernel::new();
    let mut observed = Observed::start(&kernel, config(None));
    kernel.fork(1, 2);
    observed.poll();
    kernel.lose(true);
    kernel.fork(1, 6);
    kernel.lose(false);
    kernel.count_losses();
    kernel.write_slowly(u32::MAX);
    kernel.exit(2);
    kernel.fork(1, 3);
    observed.until("a look", |_| kernel.surveys() > 0);
    assert_eq!(observed.pipeline.account().repair, RepairCounts::default(), "nothing comes of it");
    kernel.write_slowly(0);
    observed.until("the next look", |observed| observed.pipeline.account().repair.surveys > 0);
    let repair = observed.pipeline.account().repair;
    assert_eq!((repair.gone, repair.missing), (0, 1));
    assert_eq!(live(observed.table()), truth(&kernel));
}

#[test]
fn who_was_not_seen_and_is_there_is_not_gone() {
    let kernel = Kernel::new();
    let mut observed = Observed::start(&kernel, config(None));
    kernel.fork(1, 2);
    observed.poll();
    kernel.hide(2, true);
    kernel.lose(true);
    kernel.fork(1, 3);
    kernel.lose(false);
    kernel.fork(1, 4);
    observed.until("two looks", |_| kernel.surveys() > 1);
    assert_eq!(live(observed.table()), truth(&kernel));
    assert_eq!(observed.pipeline.account().repair.gone, 0);
    assert!(observed.pipeline.account().repair.missing > 0);
    // When its exit is lost, it is found out.
    kernel.lose(true);
    kernel.exit(2);
    kernel.lose(false);
    observed.until("the end", |observed| live(observed.table()) == truth(&kernel));
    assert_eq!(observed.pipeline.account().repair.gone, 1);
}

#[test]
fn a_session_whose_begin_was_lost_is_found_and_marked() {
    let kernel = Kernel::new();
    let mut observed = Observed::start(&kernel, config(None));
    kernel.fork(1, 2);
    kernel.exec(2);
    observed.poll();
    kernel.lose(true);
    kernel.set_session(2);
    kernel.fork(1, 9);
    kernel.exit(9);
    kernel.lose(false);
    kernel.fork(1, 3);
    let session = |observed: &Observed| observed.table().get_live(Pid(2)).unwrap().session();
    observed.until("the session", |observed| session(observed) == Some(Pid(2)));
    assert_eq!(observed.pipeline.account().repair.changed, 1);
    let mut of_2 = observed.facts.iter().filter(|fact| fact.process.pid().0 == 2);
    assert_eq!(of_2.next_back().unwrap().kind, FactKind::Change, "and it is told");
}

#[test]
fn losses_without_end_are_looked_into_once_a_second() {
    let kernel = Kernel::new();
    let mut observed = Observed::start(&kernel, config(None));
    let begin = Instant::now();
    let mut pid = 100;
    while kernel.surveys() < 3 {
        assert!(begin.elapsed() < PATIENCE);
        kernel.lose(true);
        kernel.fork(1, pid);
        kernel.lose(false);
        kernel.exit(pid);
        pid += 1;
        observed.poll();
    }
    assert!(begin.elapsed() >= Duration::from_secs(2), "three surveys in {:?}", begin.elapsed());
}

#[test]
fn secrets_are_hidden_in_the_journal() {
    use procession::{Arguments, Event, EventKind, Program, Running};
    use procession_sensor::{KernelCounts, Sink, Source, SourceError, SourceKind};

    struct One;
    impl Source for One {
        fn kind(&self) -> SourceKind {
            SourceKind::Polling
        }
        fn walk(&mut self, sink: Sink<'_>) -> Result<(), SourceError> {
            let arguments = Arguments::complete(b"x\0--password\0geheim\0");
            let program = Program { binary: b"/bin/x", arguments, ..Program::default() };
            let time = procession::BootTime::from_nanos(5);
            let process = procession::Subject::exact(ProcessKey::new(Pid(3), time), time);
            sink(&Event {
                time,
                kind: EventKind::Running(Running { process, program, ..Running::default() }),
            });
            Ok(())
        }
        fn poll(&mut self, _: Duration, _: Sink<'_>) -> Result<(), SourceError> {
            Ok(())
        }
        fn kernel_counts(&self) -> Option<KernelCounts> {
            None
        }
    }

    let directory = TempDir::new().unwrap();
    let filters = procession_filter::parse_redaction_filters(r#"{"redact": ["--password (\\S+)"]}"#).unwrap();
    let target = JournalTarget::Directory(DirectoryConfig::new(directory.path()));
    let mut journal = JournalConfig::new(target, "node").unwrap();
    journal.redaction = Redaction::new(&filters).unwrap().into();
    let mut pipeline =
        Pipeline::start(Box::new(One), config(Some(journal.open().unwrap())), &mut |_| {}).unwrap();
    pipeline.close();
    let restored = Journal::open(directory.path()).unwrap().latest().unwrap();
    let process = restored.table.get_live(Pid(3)).unwrap();
    assert_eq!(process.image().unwrap().arguments().bytes, b"x\0--password\0*****\0");
}

/// A source that only looks tells of each process once; to go on with it must not take that for all that runs.
#[test]
fn who_goes_on_by_polling_keeps_what_runs() {
    let directory = TempDir::new().unwrap();
    let poll = || Box::new(PollSource::new(Duration::from_millis(10), Path::new("/proc")).unwrap());
    let start = || Pipeline::start(poll(), config(Some(open(directory.path()))), &mut |_| {}).unwrap();
    let own = Pid(std::process::id());
    let mut first = start();
    assert!(first.table().get_live(own).is_some());
    first.close();
    drop(first);
    let mut second = start();
    assert!(second.table().get_live(own).is_some(), "it runs still");
    second.poll(Duration::from_millis(20), &mut |_| {}).unwrap();
    assert!(second.table().get_live(own).is_some(), "it runs still");
    second.close();
}
