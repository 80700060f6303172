//! What happens in a cluster only when it is asked to, which a real one cannot be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use procession_kube::{Phase, PodWatcher, Reason, WatchConfig};
use serde_json::{Value, json};

use crate::Fault;
use crate::data::{id, pod, running};
use crate::kubeconfig::User;
use crate::noise::said;
use crate::server::Server;
use crate::site::{Site, degraded, found, gone, synced, until_so};

pub(crate) const ALL: &[(&str, Fault)] = &[
    ("an_expired_version_leads_to_a_list_without_a_gap", an_expired_version_leads_to_a_list_without_a_gap),
    ("a_list_that_expires_between_pages_is_begun_anew", a_list_that_expires_between_pages_is_begun_anew),
    ("a_token_that_expires_while_watching", a_token_that_expires_while_watching),
    ("a_watch_without_bookmarks_is_begun_again", a_watch_without_bookmarks_is_begun_again),
    ("a_watch_that_brings_errors_is_not_well", a_watch_that_brings_errors_is_not_well),
    ("a_server_that_does_not_speak_tls", a_server_that_does_not_speak_tls),
    ("bookmarks_keep_a_quiet_watch_alive", bookmarks_keep_a_quiet_watch_alive),
    ("malformed_pods_lose_the_malformed_piece", malformed_pods_lose_the_malformed_piece),
];

fn an_expired_version_leads_to_a_list_without_a_gap(site: &Site, server: &Server) {
    site.run("stays", 1);
    site.run("goes", 2);
    let pods = site.watch();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let found = pods.pod_of(&id(1)).expect("what is there is found, whatever is being listed");
                assert!(!found.is_gone);
            }
        });
        for round in 0..5 {
            site.link.cut();
            site.run(&format!("new-{round}"), 10 + round);
            if round == 0 {
                site.cluster.delete("goes", 0);
            }
            server.compact();
            site.link.mend();
            found(&pods, 10 + round);
            until_so("another list", || pods.stats().lists == 2 + round);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    gone(&pods, 2);
    synced(&pods);
}

fn a_list_that_expires_between_pages_is_begun_anew(site: &Site, server: &Server) {
    for number in 0..10 {
        site.run(&format!("web-{number}"), number);
    }
    server.expire_page(3);
    let pods = PodWatcher::start(WatchConfig { page: 1, ..site.config() }).unwrap();
    synced(&pods);
    assert!((0..10).all(|number| pods.pod_of(&id(number)).is_some()));
    assert_eq!((server.pages(), pods.stats().lists), (3 + 10, 1));
}

fn a_token_that_expires_while_watching(site: &Site, server: &Server) {
    site.run("web", 1);
    let pods = site.watch();
    until_so("a watch", || pods.stats().watches == 1);
    server.expire_token(true);
    site.run("during", 2);
    found(&pods, 2);
    assert_eq!(pods.status().phase, Phase::Synced, "a watch that was granted goes on");
    site.link.cut();
    degraded(&pods, Reason::Unreachable);
    site.link.mend();
    degraded(&pods, Reason::Unauthorized);
    assert!(!found(&pods, 1).is_gone);
    site.run("after", 3);
    let recovered = || said(&site.node, "pods are known and followed again");
    assert_eq!(recovered(), 0, "a watch that is refused brings nothing, whatever its answer says");
    server.expire_token(false);
    found(&pods, 3);
    synced(&pods);
    until_so("the word of that", || recovered() == 1);
}

fn a_watch_without_bookmarks_is_begun_again(site: &Site, server: &Server) {
    server.bookmark_every(Duration::from_hours(1));
    // Far longer than from one bookmark to the next, in the end.
    let config = WatchConfig { silence: Duration::from_secs(4), ..site.config() };
    let pods = PodWatcher::start(config).unwrap();
    synced(&pods);
    let detail = degraded(&pods, Reason::Silent);
    assert!(detail.contains("4s"), "{detail}");
    until_so("another list", || pods.stats().lists >= 2);
    assert!(pods.stats().silences >= 2 && pods.stats().watches >= 2, "first it went on where it was");
    assert!(
        matches!(pods.status().phase, Phase::Degraded { reason: Reason::Silent, .. }),
        "it is silent still"
    );
    server.bookmark_every(Duration::from_millis(50));
    synced(&pods);
    for what in ["the watch of pods brings nothing", "pods are known and followed again"] {
        until_so(what, || said(&site.node, what) == 1);
    }
}

fn a_watch_that_brings_errors_is_not_well(site: &Site, server: &Server) {
    site.run("web", 1);
    server.fail_watches(Some(500));
    let pods = PodWatcher::start(site.config()).unwrap();
    let detail = degraded(&pods, Reason::Refused);
    assert!(detail.contains("out of order"), "{detail}");
    let since = pods.status().since;
    let watches = pods.stats().watches;
    until_so("more watches", || pods.stats().watches > watches + 2);
    assert_eq!(pods.status().since, since, "that a watch is granted does not make it well");
    server.fail_watches(None);
    synced(&pods);
    site.run("later", 2);
    found(&pods, 2);
}

fn a_server_that_does_not_speak_tls(site: &Site, _: &Server) {
    let mut kubeconfig = site.cluster.kubeconfig(site.link.port, User::Admin);
    let cluster = &mut kubeconfig["clusters"][0]["cluster"];
    cluster["server"] = json!(format!("https://127.0.0.1:{}", site.link.port));
    cluster["insecure-skip-tls-verify"] = json!(true);
    site.log_in_with(&kubeconfig);
    let pods = PodWatcher::start(site.config()).unwrap();
    let detail = degraded(&pods, Reason::Unreachable);
    assert!(detail.contains("InvalidContentType"), "{detail}");
    // Another address is looked for when none answers for long.
    site.log_in(User::Admin);
    synced(&pods);
}

fn bookmarks_keep_a_quiet_watch_alive(site: &Site, server: &Server) {
    server.bookmark_every(Duration::from_millis(100));
    // A busy machine may keep a bookmark waiting for long.
    let silence = Duration::from_secs(10);
    let pods = PodWatcher::start(WatchConfig { silence, ..site.config() }).unwrap();
    synced(&pods);
    let before = pods.status();
    thread::sleep(silence + Duration::from_secs(2));
    let after = pods.status();
    assert!(after.last_heard > before.last_heard && after.last_event == before.last_event);
    assert_eq!((pods.stats().silences, pods.stats().watches), (0, 1));
}

fn malformed_pods_lose_the_malformed_piece(site: &Site, server: &Server) {
    let pods = site.watch();
    let make = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut pod = pod(&site.node, site.cluster.namespace(), name);
        pod["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        change(&mut pod);
        server.create(pod);
    };
    let with_status =
        |statuses: Value| move |pod: &mut Value| pod["status"]["containerStatuses"] = statuses.clone();
    let with_id = |container: &str, number: u64| {
        let mut status = running("main", number);
        status["containerID"] = json!(container);
        status
    };
    make("no-status", &|_| {});
    make("odd-ids", &|pod| {
        let statuses = ["containerd://short", "://", "no id at all", "containerd://a://b", ""];
        let mut statuses: Vec<_> = statuses.iter().map(|text| with_id(text, 0)).collect();
        statuses.push(running("main", 1));
        with_status(json!(statuses))(pod);
    });
    make("odd-runtime", &with_status(json!([with_id(&format!("newest-thing://{}", id(2)), 2)])));
    make("no-runtime", &with_status(json!([with_id(&id(3).to_string(), 3)])));
    make("unspecified", &with_status(json!([running("nobody-knows", 4)])));
    make("twice", &with_status(json!([running("main", 5), running("setup", 5)])));
    make("no-uid", &|pod| {
        pod["metadata"]["uid"] = json!("");
        with_status(json!([running("main", 6)]))(pod);
    });
    make("no-uid-either", &|pod| {
        pod["metadata"].as_object_mut().unwrap().remove("uid");
        with_status(json!([running("main", 7)]))(pod);
    });
    make("whole", &with_status(json!([running("main", 8)])));

    found(&pods, 8);
    for number in 1..=8 {
        found(&pods, number);
    }
    assert_eq!(found(&pods, 2).container().full_id(), format!("newest-thing://{}", id(2)));
    assert_eq!(found(&pods, 3).container().full_id(), id(3).to_string());
    assert_eq!(&*found(&pods, 5).container().name, "main");
    assert_eq!(&*found(&pods, 6).pod.name, "no-uid");
    let stats = pods.stats();
    let defects = stats.defects;
    assert_eq!((stats.pods, stats.lists, stats.failures), (9, 1, 0));
    assert_eq!((defects.container_ids, defects.runtimes, defects.repeated_ids), (4, 2, 1));
    assert_eq!((defects.unspecified, defects.uids, defects.names, defects.statuses), (1, 2, 0, 1));
    assert_eq!(defects.total(), 11);
    // A pod is told from another without a uid, too.
    server.confirm_end(site.cluster.namespace(), "no-uid");
    gone(&pods, 6);
    assert!(!found(&pods, 7).is_gone);
}
