//! Containers of which only their runtimes know.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::lab::containerd::{Kubelet, UID};
use crate::lab::{IMAGE, Lab, containerd, docker, new_id, parse_id, podman, run, runc, wait_for};
use crate::story::{self, COMMAND};
use crate::watch::{Watch, process};

pub(crate) fn of_docker() {
    let lab = Lab::new();
    let _daemon = docker::start(&lab);
    let mut watch = watch_with(&lab.socket("docker", docker::SOCKET));
    let mut command = docker::docker(&lab);
    command.args(["run", "--detach", "--network", "none", "--name", "web", IMAGE]).args(COMMAND);
    let id = parse_id(&run(&mut command));
    let pod = story::known_in_all(&mut watch, id);
    assert_eq!(story::container_in(&pod), json!([format!("docker://{id}"), "web", IMAGE]));
    check_the_rest(watch);
}

pub(crate) fn of_podman() {
    let lab = Lab::new();
    let _daemon = podman::start(&lab);
    let mut watch = watch_with(&lab.socket("podman", podman::SOCKET));
    let id = parse_id(&podman::run_container(&lab, &["--name", "web"], &COMMAND));
    let pod = story::known_in_all(&mut watch, id);
    assert_eq!(story::container_in(&pod), json!([format!("podman://{id}"), "web", IMAGE]));
    check_the_rest(watch);
}

pub(crate) fn pods_of_containerd() {
    let lab = Lab::new();
    let _daemon = containerd::start(&lab, &["k8s.io"]);
    let mut kubelet = Kubelet::new(&lab);
    let mut watch = watch_with(&containerd::sockets(&lab)[0]);
    let made = kubelet.run_pod(&COMMAND);
    let pod = story::known_in_all(&mut watch, made.container);
    let names = json!([pod["namespace"], pod["name"], pod["uid"], pod["pod_labels"]]);
    assert_eq!(names, json!(["shop", "web-0", UID, { "app": "web" }]));
    let id = format!("containerd://{}", made.container);
    assert_eq!(story::container_in(&pod), json!([id, "web", IMAGE]));
    // What holds the namespaces of the pod runs the image's own command until it is killed.
    let first = watch.of(made.sandbox).swap_remove(0);
    let pod = &process(&first)["pod"];
    assert_eq!(
        json!([pod["name"], pod["container"]["name"], pod["container"]["pid"]]),
        json!(["web-0", "POD", 1])
    );
    kubelet.remove_pod(&made);
    check_the_rest(watch);
}

pub(crate) fn of_containerd_alone() {
    let lab = Lab::new();
    let _daemon = containerd::start(&lab, &["procession-test"]);
    let mut watch = watch_with(&containerd::sockets(&lab)[1]);
    let id = new_id();
    let mut command = containerd::ctr(&lab, "procession-test");
    command.args(["run", "--detach", "--cgroup", &format!("/procession-test/{id}"), IMAGE, id.as_str()]);
    run(command.args(COMMAND));
    let pod = story::known_in_all(&mut watch, id);
    assert_eq!(story::container_in(&pod), json!([format!("containerd://{id}"), id.as_str(), IMAGE]));
    check_the_rest(watch);
}

pub(crate) fn filters() {
    let lab = Lab::new();
    let _daemon = docker::start(&lab);
    let socket = lab.socket("docker", docker::SOCKET);
    let start = |options: &[&str]| {
        let watch = story::watch(&[&["--runtime-socket", &socket, "--pod-wait", "1m"], options].concat());
        // Not every one of them shows what could be run to see that it is ready.
        wait_for("a watch", || watch.is_watching().then_some(()));
        watch
    };
    let mut all = start(&[]);
    let [web, data, mut host, pods] = [
        start(&["--container", "^web"]),
        start(&["--container", "^(db|cache)$"]),
        start(&["--host"]),
        start(&["--namespace", "shop"]),
    ];
    for name in ["web-1", "db"] {
        let mut command = docker::docker(&lab);
        command.args(["run", "--network", "none", "--name", name, IMAGE]).args(COMMAND);
        assert_eq!(command.status().unwrap().code(), Some(3));
    }
    all.see_host("all-is-over");
    let is_of = |name: &'static str| move |line: &String| line.contains(&format!(" [{name}] "));
    let (is_web, is_data) = (is_of("web-1"), is_of("db"));
    all.until_line(|line| line.contains("[db] /bin/sh") && line.contains("exit 3"));
    let lines = all.finish().lines;
    for is_its in [is_web, is_data] {
        assert!(lines.iter().filter(|line| is_its(line)).count() >= 6, "{lines:#?}");
    }
    for (mut watch, is_its) in [(web, is_web), (data, is_data)] {
        watch.until_shown(6);
        let shown = watch.finish().lines;
        assert!(shown.len() >= 6 && shown.iter().all(is_its), "{shown:#?}");
    }
    host.until_line(|line| line.contains("all-is-over"));
    let shown = host.finish().lines;
    assert!(!shown.iter().any(|line| is_web(line) || is_data(line)), "{shown:#?}");
    assert!(shown.iter().any(|line| line.contains("all-is-over")), "{shown:#?}");
    assert_eq!(pods.finish().lines, [""; 0]);
}

pub(crate) fn no_socket() {
    let lab = Lab::new();
    let mut watch = watch_with("docker:/nowhere/docker.sock");
    for _ in 0..2 {
        let id = new_id();
        runc::start(&lab, id, &format!("/docker/{id}"), &COMMAND);
        story::unknown_in_all(&mut watch, id);
    }
    let errors = watch.finish().errors;
    assert_eq!(errors.matches("has a socket here").count(), 1, "{errors}");
    assert!(errors.contains("docker:/nowhere/docker.sock"), "{errors}");
    assert!(story::unnamed(&errors) >= 12, "{errors}");
}

/// The runtime ends, and its socket with it; its containers run on. Then it is there again.
pub(crate) fn no_socket_in_mid_run() {
    let errors = gone_for_a_while(|socket| {
        let _ = fs::remove_file(socket);
    });
    assert_eq!(errors.matches("no runtime that may know them has a socket here").count(), 1, "{errors}");
}

/// The runtime ends, and its socket stays, with nobody who listens there.
pub(crate) fn nobody_answers_in_mid_run() {
    let errors = gone_for_a_while(|socket| {
        let _ = fs::remove_file(socket);
        drop(UnixListener::bind(socket).unwrap());
    });
    assert_eq!(errors.matches("a container runtime does not answer").count(), 1, "{errors}");
    assert_eq!(errors.matches("the container runtime answers again").count(), 1, "{errors}");
    assert!(!errors.contains("has a socket here"), "{errors}");
}

/// What is said when a runtime ends, its socket becomes what `leave` makes of it, and then the runtime is there again.
fn gone_for_a_while(leave: fn(&Path)) -> String {
    let lab = Lab::new();
    let daemon = docker::start(&lab);
    let mut watch = watch_with(&lab.socket("docker", docker::SOCKET));
    let known_of = |watch: &mut Watch, name: &str| {
        let mut command = docker::docker(&lab);
        command.args(["run", "--detach", "--network", "none", "--name", name, IMAGE]).args(COMMAND);
        let id = parse_id(&run(&mut command));
        let pod = story::known_in_all(watch, id);
        assert_eq!(story::container_in(&pod), json!([format!("docker://{id}"), name, IMAGE]));
    };
    known_of(&mut watch, "before");
    drop(daemon);
    leave(&lab.path(docker::SOCKET));
    let id = new_id();
    runc::start(&lab, id, &format!("/docker/{id}"), &COMMAND);
    story::unknown_in_all(&mut watch, id);
    // Whether the runtime is there is told by its socket.
    let _ = fs::remove_file(lab.path(docker::SOCKET));
    let daemon = docker::start(&lab);
    known_of(&mut watch, "after");
    let errors = watch.finish().errors;
    assert!(story::unnamed(&errors) >= 6, "{errors}");
    drop(daemon);
    errors
}

/// A watch that asks one runtime, however long that takes.
fn watch_with(socket: &str) -> Watch {
    let mut watch = story::watch_json(&["--runtime-socket", socket, "--pod-wait", "1m"]);
    watch.see_host("is-it-ready");
    watch
}

/// What starts and watches containers is of the host, and nothing was lost.
fn check_the_rest(watch: Watch) {
    let report = watch.finish();
    for line in &report.lines {
        let event: Value = serde_json::from_str(line).unwrap();
        let process = process(&event);
        let is_of_host = ["shim", "conmon"]
            .iter()
            .any(|name| process["binary"].as_str().is_some_and(|binary| binary.contains(name)));
        assert!(!is_of_host || process["docker"].is_null(), "{event:#}");
        assert_eq!(process["pod"].is_null(), process["docker"].is_null(), "{event:#}");
        assert!(!story::is_marked(&event), "{event:#}");
    }
    assert!(report.errors.lines().all(|line| line.contains("none lost")), "{}", report.errors);
}
