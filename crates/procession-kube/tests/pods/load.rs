//! A full node that never rests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Scenario;
use crate::data::{id, running};
use crate::site::{Site, found, until, until_so};

pub(crate) const ALL: &[(&str, Scenario)] = &[("a_thousand_pods_that_change", a_thousand_pods_that_change)];

const PODS: u64 = 1_000;
const CHANGES: u64 = 300;
const CHANGES_A_SECOND: u32 = 100;

/// Two containers a pod. Each change restarts one of them; in between all of them are looked up.
fn a_thousand_pods_that_change(site: &Site) {
    let name = |number: u64| format!("web-{number}");
    for number in 0..PODS {
        let mut pod = site.pod(&name(number));
        pod["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "side", "image": "example.com/side:1" }));
        site.cluster.create(&pod);
        site.report(&name(number), &[running("main", 2 * number), running("side", 2 * number + 1)]);
    }
    let pods = site.watch();
    until_so("every pod", || pods.stats().containers == usize::try_from(2 * PODS).unwrap());

    let is_over = AtomicBool::new(false);
    let restarted = |change: u64| 10_000 + change;
    let mut latest = HashMap::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for number in 0..2 * PODS {
                    assert!(pods.pod_of(&id(number)).is_some(), "{number} is there, or remembered");
                }
            }
        });
        let begin = Instant::now();
        for change in 0..CHANGES {
            let number = change * 7 % PODS;
            latest.insert(number, change);
            site.report(
                &name(number),
                &[running("main", restarted(change)), running("side", 2 * number + 1)],
            );
            let due = begin + u32::try_from(change).unwrap() * Duration::from_secs(1) / CHANGES_A_SECOND;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        for (number, change) in &latest {
            let found = until("a restarted container", || {
                Some(found(&pods, restarted(*change))).filter(|found| !found.is_gone)
            });
            assert_eq!(*found.pod.name, *name(*number));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let stats = pods.stats();
    assert_eq!((stats.pods, stats.containers, stats.lists, stats.failures), (1_000, 2_000, 1, 0));
    assert_eq!(stats.remembered, usize::try_from(CHANGES).unwrap());
}
