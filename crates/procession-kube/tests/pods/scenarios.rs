//! What happens in a cluster, and what becomes known of it.

use std::collections::HashSet;
use std::time::Duration;

use procession_kube::{ContainerKind, Notice, Phase, PodWatcher, Reason, WatchConfig};
use serde_json::{Value, json};

use crate::Scenario;
use crate::data::{ended, id, running};
use crate::kubeconfig::User;
use crate::noise::said;
use crate::site::{Site, degraded, found, gone, noticed, synced, until, until_so};

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("pods_of_the_node_are_listed", pods_of_the_node_are_listed),
    ("every_kind_of_container_is_found", every_kind_of_container_is_found),
    ("a_static_pod_is_found", a_static_pod_is_found),
    ("what_was_there_before_a_restart_is_found", what_was_there_before_a_restart_is_found),
    ("annotations_are_kept_when_asked_for", annotations_are_kept_when_asked_for),
    ("a_pod_that_is_deleted_is_remembered", a_pod_that_is_deleted_is_remembered),
    ("a_pod_that_ends_slowly_is_there_until_it_ended", a_pod_that_ends_slowly_is_there_until_it_ended),
    ("what_is_new_is_noticed", what_is_new_is_noticed),
    ("a_late_reader_is_told_that_it_missed_something", a_late_reader_is_told_that_it_missed_something),
    ("a_node_without_pods_may_have_another_name", a_node_without_pods_may_have_another_name),
    ("a_killed_server_is_resumed_without_a_list", a_killed_server_is_resumed_without_a_list),
    ("a_watch_that_ends_is_resumed_without_a_list", a_watch_that_ends_is_resumed_without_a_list),
    ("a_server_that_is_down_at_first", a_server_that_is_down_at_first),
    ("a_server_that_stops_answering", a_server_that_stops_answering),
    ("credentials_that_are_not_accepted", credentials_that_are_not_accepted),
    ("rights_that_are_missing", rights_that_are_missing),
    ("a_configuration_that_is_missing", a_configuration_that_is_missing),
    ("it_stops_in_every_state", it_stops_in_every_state),
];

fn pods_of_the_node_are_listed(site: &Site) {
    site.run("mine", 1);
    let mut other = site.pod("other");
    other["spec"]["nodeName"] = json!("another-node");
    site.cluster.create(&other);
    site.report("other", &[running("main", 2)]);

    let pods = site.watch();
    let mine = found(&pods, 1);
    assert_eq!((&*mine.pod.namespace, &*mine.pod.name), (site.cluster.namespace(), "mine"));
    assert_eq!((&*mine.pod.workload, &*mine.pod.workload_kind), ("mine", "Pod"));
    assert_eq!(mine.pod.labels.get("app"), Some("web"));
    assert!(!mine.pod.uid.is_empty() && mine.pod.annotations.is_empty() && !mine.is_gone);
    assert!(pods.pod_of(&id(2)).is_none());
    let stats = pods.stats();
    assert_eq!((stats.pods, stats.containers, stats.lists, stats.not_found), (1, 1, 1, 1));
}

fn every_kind_of_container_is_found(site: &Site) {
    let pods = site.watch();
    site.cluster.create(&site.pod("web"));
    site.cluster.set_status("web", json!({ "initContainerStatuses": [ended("setup", 2)] }));
    let setup = found(&pods, 2);
    assert_eq!(setup.container().kind, ContainerKind::Init);
    assert!(!setup.container().is_running && !setup.container().privileged);

    site.report("web", &[running("main", 1)]);
    let main = found(&pods, 1).clone();
    let container = main.container();
    assert_eq!((container.kind, &*container.name), (ContainerKind::Regular, "main"));
    assert_eq!(container.full_id(), format!("containerd://{}", id(1)));
    assert_eq!(&*container.image, "example.com/main:1");
    assert!(container.image_id.starts_with("example.com/main@sha256:"));
    assert!(container.is_running && container.privileged && container.started_at.is_some());
    assert!(container.probes[0].matches(b"/check", [&b"live"[..]].into_iter()));

    let debugger = json!({ "name": "debugger", "image": "example.com/debugger:1" });
    site.cluster.add_ephemeral("web", debugger);
    site.cluster.set_status("web", json!({ "ephemeralContainerStatuses": [running("debugger", 3)] }));
    assert_eq!(found(&pods, 3).container().kind, ContainerKind::Ephemeral);
    let names: Vec<_> =
        found(&pods, 3).pod.containers.iter().map(|container| container.name.clone()).collect();
    assert_eq!(names, ["main".into(), "setup".into(), "debugger".into()]);
}

fn a_static_pod_is_found(site: &Site) {
    let mut pod = site.pod("kube-proxy");
    pod["metadata"]["annotations"] =
        json!({ "kubernetes.io/config.mirror": "0123456789abcdef", "kubernetes.io/config.source": "file" });
    site.cluster.create(&pod);
    site.report("kube-proxy", &[running("main", 1)]);
    let pods = site.watch();
    let pod = found(&pods, 1).pod;
    assert_eq!(pod.static_uid.as_deref(), Some("0123456789abcdef"));
    assert_eq!(&*pod.workload_kind, "Pod");
}

fn what_was_there_before_a_restart_is_found(site: &Site) {
    let pods = site.watch();
    site.run("web", 1);
    found(&pods, 1);
    let mut restarted = running("main", 3);
    restarted["restartCount"] = json!(2);
    restarted["lastState"] = ended("main", 2)["state"].clone();
    site.report("web", &[restarted]);
    assert!(found(&pods, 3).container().is_running);
    let earlier = found(&pods, 2);
    assert!(!earlier.is_gone && !earlier.container().is_running);
    assert!(gone(&pods, 1).container().is_running, "as it last was");
}

fn annotations_are_kept_when_asked_for(site: &Site) {
    site.run("web", 1);
    let config = WatchConfig { annotations: true, ..site.config() };
    let pods = PodWatcher::start(config).unwrap();
    assert_eq!(found(&pods, 1).pod.annotations.get("example.com/note"), Some("a note"));
}

fn a_pod_that_is_deleted_is_remembered(site: &Site) {
    site.run("web", 1);
    let pods = site.watch();
    assert!(!found(&pods, 1).is_gone);
    site.cluster.delete("web", 0);
    assert_eq!(&*gone(&pods, 1).pod.name, "web");
    let stats = pods.stats();
    assert_eq!((stats.pods, stats.containers, stats.remembered, stats.deleted), (0, 0, 1, 1));

    site.run("web", 2);
    assert!(!found(&pods, 2).is_gone);
    assert_ne!(found(&pods, 2).pod.uid, gone(&pods, 1).pod.uid, "a name is given again");
}

fn a_pod_that_ends_slowly_is_there_until_it_ended(site: &Site) {
    site.run("web", 1);
    site.run("canary", 2);
    let pods = site.watch();
    let told = pods.stats().told;
    site.cluster.delete("web", 30);
    until_so("the deletion", || pods.stats().told > told);
    assert!(!found(&pods, 1).is_gone, "it may take its time");
    site.report("web", &[ended("main", 1)]);
    until_so("the end", || !found(&pods, 1).container().is_running);
    assert!(!found(&pods, 1).is_gone, "the kubelet has not confirmed it");
    site.cluster.confirm_end("web");
    assert!(!gone(&pods, 1).container().is_running);
    assert!(!found(&pods, 2).is_gone);
}

fn what_is_new_is_noticed(site: &Site) {
    let pods = site.watch();
    site.run("web", 1);
    noticed(&pods, id(1));
    assert!(pods.pod_of(&id(1)).is_some(), "what is noticed can be found");
    site.report("web", &[running("main", 2)]);
    noticed(&pods, id(2));
    assert!(pods.notices().is_empty(), "a container is new once");
}

fn a_late_reader_is_told_that_it_missed_something(site: &Site) {
    let pods = PodWatcher::start(WatchConfig { notices: 2, ..site.config() }).unwrap();
    for number in 0..5 {
        site.run(&format!("web-{number}"), number);
        found(&pods, number);
    }
    let mut seen = Vec::new();
    until_so("the word that something was missed", || {
        seen.extend(pods.notices().try_iter());
        seen.contains(&Notice::Missed)
    });
    assert_eq!(seen, [Notice::Appeared(id(0)), Notice::Appeared(id(1)), Notice::Missed]);
}

fn a_killed_server_is_resumed_without_a_list(site: &Site) {
    site.run("stays", 1);
    site.run("goes", 2);
    let pods = site.watch();
    for round in 1..=3 {
        site.link.cut();
        degraded(&pods, Reason::Unreachable);
        let (new, short) = (10 * round + 1, 10 * round + 2);
        site.run(&format!("new-{round}"), new);
        site.run(&format!("short-{round}"), short);
        site.cluster.delete(&format!("short-{round}"), 0);
        if round == 2 {
            site.cluster.delete("goes", 0);
        }
        assert!(!found(&pods, 1).is_gone, "what is known stays");
        assert!(pods.pod_of(&id(new)).is_none());

        site.link.mend();
        found(&pods, new);
        gone(&pods, short);
        synced(&pods);
    }
    gone(&pods, 2);
    assert_eq!(pods.stats().lists, 1, "nothing was listed anew");
    for what in ["the Kubernetes API does not answer", "pods are known and followed again"] {
        // Each time once.
        until_so(what, || said(&site.node, what) == 3);
    }
}

fn a_watch_that_ends_is_resumed_without_a_list(site: &Site) {
    let config = WatchConfig { watch: Duration::from_secs(1), ..site.config() };
    let pods = PodWatcher::start(config).unwrap();
    synced(&pods);
    for number in 0..3 {
        let watches = pods.stats().watches;
        until_so("another watch", || pods.stats().watches > watches);
        site.run(&format!("web-{number}"), number);
        found(&pods, number);
    }
    let stats = pods.stats();
    assert_eq!((stats.lists, stats.failures, stats.interruptions), (1, 0, 0));
    assert_eq!(pods.status().phase, Phase::Synced);
}

fn a_node_without_pods_may_have_another_name(site: &Site) {
    let _pods = site.watch();
    until_so("the word of that", || said(&site.node, "no pod of this node") == 1);
}

fn a_server_that_is_down_at_first(site: &Site) {
    site.link.cut();
    let pods = PodWatcher::start(site.config()).unwrap();
    let detail = degraded(&pods, Reason::Unreachable);
    assert!(detail.contains("refused"), "{detail}");
    assert!(pods.pod_of(&id(1)).is_none() && pods.status().last_heard.is_none());
    site.run("web", 1);
    site.link.mend();
    found(&pods, 1);
    synced(&pods);
}

fn a_server_that_stops_answering(site: &Site) {
    site.run("web", 1);
    let answer = Duration::from_millis(500);
    let pods = PodWatcher::start(WatchConfig { answer, ..site.config() }).unwrap();
    synced(&pods);
    site.link.cut();
    degraded(&pods, Reason::Unreachable);
    site.link.block();
    let detail = until("an answer that does not come", || match pods.status().phase {
        Phase::Degraded { detail, .. } if detail.contains("no answer") => Some(detail),
        _ => None,
    });
    assert!(detail.contains("500ms"), "{detail}");
    site.run("later", 2);
    site.link.cut();
    site.link.mend();
    found(&pods, 2);
    synced(&pods);
    assert_eq!(pods.stats().lists, 1);
}

fn credentials_that_are_not_accepted(site: &Site) {
    site.run("web", 1);
    site.log_in(User::Stranger);
    let pods = PodWatcher::start(site.config()).unwrap();
    degraded(&pods, Reason::Unauthorized);
    site.log_in(User::Admin);
    found(&pods, 1);
    synced(&pods);
}

fn rights_that_are_missing(site: &Site) {
    site.run("web", 1);
    site.log_in(User::Nobody);
    let pods = PodWatcher::start(site.config()).unwrap();
    let detail = degraded(&pods, Reason::Forbidden);
    assert!(detail.contains("system:anonymous"), "{detail}");
    site.log_in(User::Admin);
    found(&pods, 1);
    synced(&pods);
}

fn a_configuration_that_is_missing(site: &Site) {
    site.run("web", 1);
    site.log_out();
    let pods = PodWatcher::start(site.config()).unwrap();
    degraded(&pods, Reason::NotConfigured);
    site.log_in(User::Admin);
    found(&pods, 1);
    synced(&pods);
}

fn it_stops_in_every_state(site: &Site) {
    site.run("web", 1);
    let mut pods = site.watch();
    pods.stop();
    pods.stop();
    assert_eq!(pods.status().phase, Phase::Stopped);
    assert!(pods.pod_of(&id(1)).is_some(), "what was known is known");

    site.link.block();
    let waiting = PodWatcher::start(site.config()).unwrap();
    drop(waiting);
    site.link.cut();
    let trying = PodWatcher::start(site.config()).unwrap();
    degraded(&trying, Reason::Unreachable);
    drop(trying);
    site.log_out();
    let lost = PodWatcher::start(site.config()).unwrap();
    degraded(&lost, Reason::NotConfigured);
    drop(lost);
}

/// The names of what is in a list, to compare without order.
pub(crate) fn names(items: &[Value]) -> HashSet<&str> {
    items.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect()
}
