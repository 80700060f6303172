//! What whoever lists and watches relies on, of either server.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::Scenario;
use crate::data::running;
use crate::kubeconfig::User;
use crate::scenarios::names;
use crate::site::Site;

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("contract::pages", pages),
    ("contract::selectors", selectors),
    ("contract::refusals", refusals),
    ("contract::a_watch_tells_of_a_forced_deletion_twice", a_watch_tells_of_a_forced_deletion_twice),
    ("contract::a_watch_ends_after_a_bookmark", a_watch_ends_after_a_bookmark),
    ("contract::a_watch_begins_where_it_is_told_to", a_watch_begins_where_it_is_told_to),
];

/// Somebody who asks.
struct Asker {
    runtime: Runtime,
    client: Client,
}

impl Asker {
    fn new(site: &Site, user: User) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kubeconfig: Kubeconfig =
            serde_json::from_value(site.cluster.kubeconfig(site.link.port, user)).unwrap();
        let client = runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            Client::try_from(config.unwrap()).unwrap()
        });
        Self { runtime, client }
    }

    fn get(&self, query: &str) -> Result<Value, Box<kube::error::Status>> {
        let request = Request::get(format!("/api/v1/pods?{query}")).body(Vec::new()).unwrap();
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status),
            Err(error) => panic!("{error}"),
        }
    }

    fn version(&self, site: &Site) -> String {
        let list = self.get(&format!("fieldSelector=spec.nodeName%3D{}", site.node)).unwrap();
        list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    }

    /// What a watch of some seconds brings. A shorter one gets no bookmark from a real server.
    fn watch(&self, site: &Site, version: &str) -> Vec<WatchEvent<Pod>> {
        let parameters = WatchParams::default().fields(&format!("spec.nodeName={}", site.node)).timeout(6);
        let pods = Api::<Pod>::all(self.client.clone());
        self.runtime.block_on(async {
            let events = pods.watch(&parameters, version).await.unwrap().map(Result::unwrap);
            tokio::time::timeout(Duration::from_mins(1), events.collect()).await.unwrap()
        })
    }
}

fn pages(site: &Site) {
    for number in 0..5 {
        site.run(&format!("web-{number}"), number);
    }
    let asker = Asker::new(site, User::Admin);
    let selector = format!("fieldSelector=metadata.namespace%3D{}", site.cluster.namespace());
    let (mut seen, mut token) = (Vec::new(), String::new());
    let mut versions = Vec::new();
    loop {
        let list = asker.get(&format!("{selector}&limit=2&continue={token}")).unwrap();
        let items = list["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.clone());
        versions.push(list["metadata"]["resourceVersion"].clone());
        match list["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!((seen.len(), names(&seen).len()), (5, 5));
    assert!(versions.iter().all(|version| *version == versions[0]), "pages are of one moment");
    let first = asker.get("limit=2").unwrap();
    assert!(first["metadata"]["remainingItemCount"].as_u64().is_some_and(|count| count >= 3));
}

fn selectors(site: &Site) {
    site.run("web", 1);
    let asker = Asker::new(site, User::Admin);
    let items = |node: &str| {
        let list = asker.get(&format!("fieldSelector=spec.nodeName%3D{node}")).unwrap();
        list["items"].as_array().unwrap().len()
    };
    assert_eq!((items(&site.node), items("nobody")), (1, 0));
    let refused = asker.get("fieldSelector=spec.foo%3Dx").unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (400, "BadRequest"));
    assert!(refused.message.contains("field label not supported: spec.foo"), "{}", refused.message);
}

fn refusals(site: &Site) {
    let refusal = |user| Asker::new(site, user).get("limit=1").unwrap_err();
    let (nobody, stranger) = (refusal(User::Nobody), refusal(User::Stranger));
    assert_eq!((nobody.code, nobody.reason.as_str()), (403, "Forbidden"));
    assert!(nobody.message.contains("system:anonymous"));
    assert_eq!((stranger.code, stranger.reason.as_str()), (401, "Unauthorized"));
}

fn a_watch_tells_of_a_forced_deletion_twice(site: &Site) {
    site.run("web", 1);
    let asker = Asker::new(site, User::Admin);
    let version = asker.version(site);
    site.cluster.delete("web", 0);
    let events = asker.watch(site, &version);
    let [WatchEvent::Modified(ending), WatchEvent::Deleted(gone), ..] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert!(ending.metadata.deletion_timestamp.is_some());
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(0));
    let number = |pod: &Pod| pod.metadata.resource_version.as_ref().unwrap().parse::<u64>().unwrap();
    assert!(number(gone) > number(ending));
}

fn a_watch_ends_after_a_bookmark(site: &Site) {
    let asker = Asker::new(site, User::Admin);
    let version = asker.version(site);
    let events = asker.watch(site, &version);
    assert!(matches!(events.last(), Some(WatchEvent::Bookmark(_))), "{events:?}");
}

fn a_watch_begins_where_it_is_told_to(site: &Site) {
    let asker = Asker::new(site, User::Admin);
    site.run("before", 1);
    let version = asker.version(site);
    site.run("after", 2);
    site.report("after", &[running("main", 3)]);
    let list = asker.runtime.block_on(
        Api::<Pod>::all(asker.client.clone())
            .list(&ListParams::default().fields(&format!("spec.nodeName={}", site.node))),
    );
    assert_eq!(list.unwrap().items.len(), 2);
    let kinds: Vec<_> = asker
        .watch(site, &version)
        .iter()
        .filter_map(|event| match event {
            WatchEvent::Added(pod) => Some(("added", pod.metadata.name.clone().unwrap())),
            WatchEvent::Modified(pod) => Some(("modified", pod.metadata.name.clone().unwrap())),
            _ => None,
        })
        .collect();
    let after = |kind| (kind, "after".to_owned());
    assert_eq!(kinds, [after("added"), after("modified"), after("modified")]);
}
