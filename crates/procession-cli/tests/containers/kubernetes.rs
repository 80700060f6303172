//! Containers of pods of which only the Kubernetes API knows.

use std::fs;

use procession_kube::ContainerId;
use serde_json::{Value, json};

use crate::agent::{Agent, NODE, Setup, wait_until};
use crate::data;
use crate::kubeconfig::{self, User};
use crate::lab::{Lab, new_id, runc, wait_for};
use crate::link::Link;
use crate::server::Server;
use crate::story::{self, COMMAND};
use crate::watch::{Watch, process};

/// A cluster, the way to it, and a place for containers.
struct Site {
    server: Server,
    link: Link,
    lab: Lab,
}

impl Site {
    /// The way is open, and who asks may know.
    fn new() -> Self {
        let server = Server::start().unwrap();
        let link = Link::new(server.address).unwrap();
        link.mend();
        let site = Self { server, link, lab: Lab::new() };
        site.log_in(User::Admin);
        // A node without pods is said to be odd.
        site.create_pod("agent");
        site
    }

    fn log_in(&self, user: User) {
        let kubeconfig = kubeconfig::of_ours(self.link.port, user);
        // In one step: a file that is half there is another test.
        let draft = self.lab.path("draft");
        fs::write(&draft, kubeconfig.to_string()).unwrap();
        fs::rename(draft, self.lab.path("kubeconfig")).unwrap();
    }

    /// A watch that asks the cluster, and no runtime.
    fn watch(&self, options: &[&str]) -> Watch {
        let kubeconfig = self.lab.text("kubeconfig");
        let mut watch = story::watch_json(
            &[&["--no-runtimes", "--kubeconfig", &kubeconfig, "--node-name", NODE], options].concat(),
        );
        watch.see_host("is-it-ready");
        watch
    }

    /// Makes a pod of a Deployment whose containers nobody knows yet.
    fn create_pod(&self, name: &str) {
        let mut pod = data::pod(NODE, "shop", name);
        pod["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        pod["metadata"]["generateName"] = json!("cart-7c5ddbdf54-");
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7c5ddbdf54",
            "uid": "1", "controller": true,
        }]);
        pod["status"] = json!({ "phase": "Pending" });
        self.server.create(pod);
    }

    /// Lets the pod's kubelet tell of its container.
    fn report(&self, name: &str, id: ContainerId) {
        self.server.change("shop", name, |pod| {
            let mut status = data::running("main", 0);
            status["containerID"] = json!(format!("containerd://{id}"));
            pod["status"] = json!({ "phase": "Running", "containerStatuses": [status] });
        });
    }

    /// Runs a container to its end.
    fn run_container(&self, cgroup: &str) -> ContainerId {
        let id = new_id();
        runc::start(&self.lab, id, &cgroup.replace("<id>", id.as_str()), &COMMAND);
        id
    }

    /// Checks that a container whose pod is known is told with it.
    fn check_known(&self, watch: &mut Watch, pod: &str) {
        self.create_pod(pod);
        let id = self.run_container(CGROUP);
        self.report(pod, id);
        check(watch, id, pod);
    }

    /// While nobody can tell whose a container is, its events do not wait.
    fn check_unknown(&self, watch: &mut Watch) {
        let id = self.run_container(CGROUP);
        story::unknown_in_all(watch, id);
    }
}

const CGROUP: &str = "/kubepods/besteffort/pod1/<id>";

/// All that the container did is told with all that is to be known of its pod.
fn check(watch: &mut Watch, id: ContainerId, name: &str) {
    check_pod(&story::known_in_all(watch, id), id, name);
}

fn check_pod(pod: &Value, id: ContainerId, name: &str) {
    let names = json!([pod["namespace"], pod["name"], pod["uid"], pod["workload"], pod["workload_kind"]]);
    assert_eq!(names, json!(["shop", name, format!("uid-of-{name}"), "cart", "Deployment"]));
    let container = json!([format!("containerd://{id}"), "main", "example.com/main:1"]);
    assert_eq!(story::container_in(pod), container);
}

/// The first process of a container runs before the API tells of the container.
pub(crate) fn the_gap_at_the_start() {
    let site = Site::new();
    // However slow the machine is, here nothing may go out without its pod.
    let mut watch = site.watch(&["--pod-wait", "1m"]);
    for (number, (cgroup, _)) in runc::cgroups_of_kubelets().into_iter().enumerate() {
        let name = format!("cart-7c5ddbdf54-{number}");
        site.create_pod(&name);
        let id = site.run_container(&cgroup);
        watch.see_host(&format!("after-{number}"));
        assert_eq!(watch.of(id), [] as [Value; 0], "it waits, and others do not: {cgroup}");
        site.report(&name, id);
        check(&mut watch, id, &name);
    }
    let errors = watch.finish().errors;
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(!errors.contains("without the name"), "{errors}");
}

pub(crate) fn a_container_of_no_pod() {
    let site = Site::new();
    let mut watch = site.watch(&["--pod-wait", "300ms"]);
    site.check_unknown(&mut watch);
    let errors = watch.finish().errors;
    assert!(story::unnamed(&errors) >= 6, "{errors}");
}

pub(crate) fn filters() {
    let site = Site::new();
    let mut watch = site.watch(&["--pod-wait", "1m"]);
    let kubeconfig = site.lab.text("kubeconfig");
    let start = |options: &[&str]| {
        let common = ["--no-runtimes", "--kubeconfig", &kubeconfig, "--node-name", NODE, "--pod-wait", "1m"];
        let watch = story::watch(&[&common, options].concat());
        wait_for("a watch", || watch.is_watching().then_some(()));
        watch
    };
    let watches = [
        (start(&["--namespace", "shop"]), vec!["[shop/web-1] ", "[shop/web-2] "]),
        (start(&["--namespace", "shop", "--pod", "1$"]), vec!["[shop/web-1] "]),
        (start(&["--namespace", "bank"]), vec![]),
        (start(&["--container", "^main$", "--pod", "2"]), vec!["[shop/web-2] "]),
    ];
    for name in ["web-1", "web-2"] {
        site.check_known(&mut watch, name);
    }
    for (mut watch, shown) in watches {
        watch.until_shown(6 * shown.len());
        let lines = watch.finish().lines;
        assert_eq!(lines.len(), 6 * shown.len(), "three execs and as many ends each: {lines:#?}");
        assert!(lines.iter().all(|line| shown.iter().any(|name| line.contains(name))), "{lines:#?}");
    }
    drop(watch.finish());
}

pub(crate) fn no_server_at_first() {
    let site = Site::new();
    site.link.cut();
    let mut watch = site.watch(&["--pod-wait", "1m"]);
    watch.until_said("the Kubernetes API does not answer");
    site.check_unknown(&mut watch);
    site.link.mend();
    watch.until_said("pods are known and followed again");
    site.check_known(&mut watch, "web");
    check_said_once(watch, "the Kubernetes API does not answer");
}

/// Pods come and go while nobody can tell of them. What is known stays; what is new has no pod, and does not wait;
/// and then all is as the server has it.
pub(crate) fn no_server_in_mid_run() {
    let site = Site::new();
    let mut watch = site.watch(&["--pod-wait", "1m"]);
    site.check_known(&mut watch, "web-1");
    site.create_pod("web-2");
    site.link.cut();
    watch.until_said("the Kubernetes API does not answer");
    let errors = watch.errors();
    assert!(errors.contains("containers that start from now on have no pod; those known stay"), "{errors}");
    let id = site.run_container(CGROUP);
    site.report("web-2", id);
    site.server.delete("shop", "web-1", 0);
    story::unknown_in_all(&mut watch, id);
    site.link.mend();
    watch.until_said("pods are known and followed again");
    site.check_known(&mut watch, "web-3");
    let errors = watch.finish().errors;
    for text in ["the Kubernetes API does not answer", "pods are known and followed again"] {
        assert_eq!(errors.matches(text).count(), 1, "{errors}");
    }
    assert!(story::unnamed(&errors) >= 6, "what was told without is counted: {errors}");
}

/// What an agent has exported of a container, when that is over.
fn exported(agent: &Agent, id: ContainerId) -> Vec<Value> {
    let all = || -> Vec<Value> {
        let lines = agent.exported();
        // The last may be in the making.
        let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let is_over = || all().iter().any(|event| story::is_end(event, id));
    wait_until(is_over, || format!("{id} is not over: {}", agent.errors()));
    let events = all().into_iter().filter(|event| process(event)["docker"] == id.wire());
    story::all_in_order(events.collect())
}

/// Waits until this is what the agent says of its watch on the pods, and nothing else.
fn wait_for_state(agent: &Agent, state: &str) {
    let states = ["connecting", "synced", "degraded", "stopped"];
    let is_at = |name| agent.metric(&format!("procession_pod_watch_state{{state=\"{name}\"}}"));
    let expected = states.map(|name| Some(u64::from(name == state)));
    wait_until(|| states.map(is_at) == expected, || format!("it is not {state}: {}", agent.errors()));
}

/// The same of an agent: its events go on, and what is missing in them can be seen from outside. It is of use all the
/// while, so that nobody starts it anew.
pub(crate) fn no_server_in_mid_run_of_an_agent() {
    let site = Site::new();
    let kubeconfig = format!("--kubeconfig={}", site.lab.text("kubeconfig"));
    let agent = Setup::new().option(kubeconfig).option("--pod-wait=1m").start();
    let known = |pod: &str| {
        site.create_pod(pod);
        let id = site.run_container(CGROUP);
        site.report(pod, id);
        let pod_of_all = story::pod_of_all(&exported(&agent, id), &agent.errors());
        check_pod(&pod_of_all, id, pod);
    };
    let incomplete = "procession_incomplete_facts_total";
    let is_ready = || agent.get("/readyz").is_some() && agent.get("/healthz").is_some();
    wait_for_state(&agent, "synced");
    known("web-1");
    assert!(is_ready(), "{}", agent.errors());

    let before = agent.metric(incomplete).unwrap();
    site.link.cut();
    agent.wait_for_word("the Kubernetes API does not answer", 1);
    wait_for_state(&agent, "degraded");
    let id = site.run_container(CGROUP);
    story::no_pod_in_any(&exported(&agent, id));
    // Three execs and three ends.
    agent.wait_for_metric(incomplete, before + 6);
    assert!(is_ready(), "{}", agent.errors());

    site.link.mend();
    agent.wait_for_word("pods are known and followed again", 1);
    wait_for_state(&agent, "synced");
    known("web-2");
    assert!(is_ready(), "{}", agent.errors());
    check_words_once(&agent.errors(), "the Kubernetes API does not answer");
    let errors = agent.errors_file();
    let _folder = agent.folder();
    assert!(agent.end().0.success());
    assert!(story::unnamed(&fs::read_to_string(errors).unwrap()) >= before + 6);
}

pub(crate) fn refused_at_first() {
    let site = Site::new();
    site.log_in(User::Nobody);
    let mut watch = site.watch(&["--pod-wait", "1m"]);
    watch.until_said("not allowed to list and watch pods");
    site.check_unknown(&mut watch);
    site.log_in(User::Admin);
    watch.until_said("pods are known and followed again");
    site.check_known(&mut watch, "web");
    check_said_once(watch, "not allowed to list and watch pods");
}

pub(crate) fn a_token_that_expires() {
    let site = Site::new();
    let mut watch = site.watch(&["--pod-wait", "1m"]);
    site.check_known(&mut watch, "web-1");
    site.server.expire_token(true);
    site.link.cut();
    site.link.mend();
    watch.until_said("does not accept the credentials");
    site.check_unknown(&mut watch);
    site.server.expire_token(false);
    watch.until_said("pods are known and followed again");
    site.check_known(&mut watch, "web-2");
    check_said_once(watch, "does not accept the credentials");
}

pub(crate) fn malformed_pods() {
    let site = Site::new();
    let odd = |container: &str| {
        let mut status = data::running("main", 0);
        status["containerID"] = json!(container);
        json!({ "phase": "Running", "containerStatuses": [status] })
    };
    let statuses = [json!({}), odd(""), odd("://"), odd("containerd://short"), odd("containerd://a://b")];
    for (number, status) in statuses.into_iter().enumerate() {
        let mut pod = data::pod(NODE, "shop", &format!("odd-{number}"));
        pod["metadata"]["uid"] = json!(format!("odd-{number}"));
        pod["status"] = status;
        site.server.create(pod);
    }
    let mut watch = site.watch(&["--pod-wait", "1m"]);
    site.check_known(&mut watch, "web");
    let errors = watch.finish().errors;
    assert!(!errors.contains("without the name"), "{errors}");
}

fn check_said_once(watch: Watch, text: &str) {
    check_words_once(&watch.finish().errors, text);
}

fn check_words_once(errors: &str, text: &str) {
    for text in [text, "pods are known and followed again"] {
        assert_eq!(errors.matches(text).count(), 1, "{errors}");
    }
}
