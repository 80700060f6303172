//! Processes as fast as they can be started: none may be lost.

use std::process::Command;

use libtest_mimic::{Failed, Trial};
use procession::{Counted, LineageDetail, Pid};
use procession_agent::{Account, NodeInventory, Observation, ObservationConfig, Scope, Selection};
use procession_filter::{Filter, Kinds};
use procession_sensor::{EbpfConfig, SourceKind, open};

use crate::observer::Observer;
use crate::scenarios::read;
use crate::truth::Event;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        // An unoptimised build decodes too slowly for a fair storm; CI runs this one optimised.
        Trial::test("load::fifty_thousand_processes_and_none_is_lost", fifty_thousand_and_none_is_lost)
            .with_ignored_flag(cfg!(debug_assertions)),
        Trial::test("load::what_a_small_ring_loses_is_counted", || {
            check_balance(&storm(10_000, 64 << 10));
            Ok(())
        }),
    ]
}

/// With the ring that an agent has when nothing else is asked for. Others may keep the reader from its processor for
/// longer than that has room: it has three attempts, and whatever is lost is counted in each.
fn fifty_thousand_and_none_is_lost() -> Result<(), Failed> {
    let mut losses = Vec::new();
    for _ in 0..3 {
        let account = storm(50_000, 8 << 20);
        check_balance(&account);
        if account.ledger.lost() == 0 {
            return Ok(());
        }
        losses.push(account);
    }
    Err(format!("{losses:?}").into())
}

/// Runs `processes` processes under a sensor of its own, and no other.
fn storm(processes: u64, ring_bytes: u32) -> Account {
    Observer::end();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("truth");
    let source = open(SourceKind::Ebpf, EbpfConfig { ring_bytes, ..EbpfConfig::default() }).unwrap();
    let selection = Selection {
        scope: Scope::DescendantsOf { pid: Pid(std::process::id()), pid_namespace: None },
        filter: Filter::new(Kinds::default()),
        lineage: LineageDetail::Parent,
    };
    let config =
        ObservationConfig { queue: 1 << 20, queue_bytes: usize::MAX, ..ObservationConfig::new(selection) };
    let observation = Observation::start(source, config, Box::new(NodeInventory::new())).unwrap();
    let mut actor = Command::new(crate::actor());
    let status = actor.args(["storm", &processes.to_string(), "--truth"]).arg(&file).status().unwrap();
    assert!(status.success());
    observation.stop();
    let facts = observation.told().iter().count() as u64;
    let account = observation.join().unwrap();
    let truth = read(&file);
    let [Event::Count(count)] = truth[..] else { panic!("a storm tells its counts: {truth:?}") };
    assert_eq!((count.forks, count.execs, count.exits), (processes, processes, processes));
    // The actor itself execs and exits, too.
    assert!(
        facts + account.ledger.lost() + account.dropped >= count.execs + count.exits + 2,
        "{facts} {account:?}"
    );
    if account.ledger.lost() == 0 {
        assert_eq!(facts, count.execs + count.exits + 2, "each is seen once");
        assert_eq!(account.tally.processes, processes + 1);
    }
    account
}

/// What the kernel tried to hand over was received or is counted as lost, kind by kind.
fn check_balance(account: &Account) {
    let kernel = account.kernel.unwrap();
    for (kind, count) in
        [(Counted::Fork, kernel.fork), (Counted::Exec, kernel.exec), (Counted::Exit, kernel.exit)]
    {
        assert_eq!(
            account.ledger.account(kind).received + count.lost,
            count.attempted,
            "{kind:?} {account:?}"
        );
    }
    assert_eq!(kernel.fork.lost + kernel.exec.lost + kernel.exit.lost, account.ledger.lost());
    assert_eq!(account.malformed, 0);
}
