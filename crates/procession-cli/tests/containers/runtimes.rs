//! Containers of which only their runtimes know.

use serde_json::{Value, json};

use crate::containerd::{Kubelet, UID};
use crate::lab::{IMAGE, Lab, new_id, parse_id, run, wait_for};
use crate::watch::{Watch, process};
use crate::{containerd as its, docker as engine, podman as pod_manager, runc};

/// What a container runs: a shell, and programs.
const SHELL: [&str; 3] = ["/bin/sh", "-c", "/bin/sleep 0.01; /bin/sleep 0.01"];

pub(crate) fn docker() {
    let lab = Lab::new();
    let _daemon = engine::start(&lab);
    let mut watch = watch_with(&lab.socket("docker", engine::SOCKET));
    let mut command = engine::docker(&lab);
    command.args(["run", "--detach", "--network", "none", "--name", "web", IMAGE]).args(SHELL);
    let id = parse_id(&run(&mut command));
    let events = watch.until_end_of(id);
    check(&events, &format!("docker://{id}"), "web", &json!(IMAGE));
    check_first_process(&events);
    check_host(watch);
}

pub(crate) fn podman() {
    let lab = Lab::new();
    let _daemon = pod_manager::start(&lab);
    let mut watch = watch_with(&lab.socket("podman", pod_manager::SOCKET));
    let id = parse_id(&pod_manager::run_container(&lab, &["--name", "web"], &SHELL));
    let events = watch.until_end_of(id);
    check(&events, &format!("podman://{id}"), "web", &json!(IMAGE));
    check_first_process(&events);
    check_host(watch);
}

pub(crate) fn pods_of_containerd() {
    let lab = Lab::new();
    let _daemon = its::start(&lab, &["k8s.io"]);
    let mut kubelet = Kubelet::new(&lab);
    let mut watch = watch_with(&its::sockets(&lab)[0]);
    let pod = kubelet.run_pod();
    for id in [pod.sandbox, pod.container] {
        watch.until("the first process", |event| process(event)["docker"] == id.wire());
    }
    // A runtime does not tell of what was removed.
    kubelet.remove_pod(&pod);
    // A runtime does not say of which image it made what holds the namespaces of a pod.
    for (id, name, image) in [(pod.container, "web", json!(IMAGE)), (pod.sandbox, "POD", json!(null))] {
        let events = watch.until_end_of(id);
        for event in &events {
            let pod = &process(event)["pod"];
            let names = json!([pod["namespace"], pod["name"], pod["uid"], pod["pod_labels"]["app"]]);
            assert_eq!(names, json!(["shop", "web-0", UID, "web"]), "{event:#}");
        }
        check(&events, &format!("containerd://{id}"), name, &image);
        assert_eq!(process(&events[0])["pod"]["container"]["pid"], 1, "{:#}", events[0]);
    }
    check_host(watch);
}

pub(crate) fn containerd_alone() {
    let lab = Lab::new();
    let _daemon = its::start(&lab, &["procession-test"]);
    let mut watch = watch_with(&its::sockets(&lab)[1]);
    let id = new_id();
    let mut command = its::ctr(&lab, "procession-test");
    command.args(["run", "--detach", "--cgroup", &format!("/procession-test/{id}"), IMAGE, id.as_str()]);
    run(command.args(SHELL));
    let events = watch.until_end_of(id);
    check(&events, &format!("containerd://{id}"), id.as_str(), &json!(IMAGE));
    check_first_process(&events);
    check_host(watch);
}

pub(crate) fn filters() {
    let lab = Lab::new();
    let _daemon = engine::start(&lab);
    let socket = lab.socket("docker", engine::SOCKET);
    let start = |options: &[&str]| {
        Watch::start_with(&[&["--runtime-socket", &socket, "--pod-wait", "1m"], options].concat())
    };
    let mut all = start(&[]);
    all.see_host("is-it-ready");
    let watches = [
        ("[web-1] ", start(&["--container", "^web"])),
        ("[db] ", start(&["--container", "^(db|cache)$"])),
        ("", start(&["--host"])),
        ("no such pod", start(&["--namespace", "shop"])),
    ];
    for (_, watch) in &watches {
        wait_for("a watch", || watch.is_watching().then_some(()));
    }
    let names = ["web-1", "db"];
    for name in names {
        let mut command = engine::docker(&lab);
        command.args(["run", "--network", "none", "--name", name, IMAGE]).args(SHELL);
        run(&mut command);
    }
    all.see_host("all-is-over");
    let lines = all.finish().lines;
    for name in names {
        let is_first = |line: &String| line.contains(&format!("exec [{name}] /bin/sh "));
        assert!(lines.iter().any(is_first), "the first process of {name}: {lines:#?}");
    }
    for (shown, watch) in watches {
        let report = watch.finish();
        let of_containers =
            report.lines.iter().filter(|line| line.contains("[web-1] ") || line.contains("[db] "));
        match shown {
            "" => {
                assert_eq!(of_containers.count(), 0, "{:#?}", report.lines);
                assert!(report.lines.iter().any(|line| line.contains("all-is-over")));
            }
            "no such pod" => assert_eq!(report.lines, [""; 0]),
            name => {
                assert!(report.lines.len() >= 4, "{:#?}", report.lines);
                assert!(report.lines.iter().all(|line| line.contains(name)), "{:#?}", report.lines);
            }
        }
    }
}

pub(crate) fn no_socket() {
    let lab = Lab::new();
    let mut watch = Watch::start(&["--runtime-socket", "docker:/nowhere/docker.sock"]);
    watch.see_host("is-it-ready");
    for _ in 0..2 {
        let id = new_id();
        runc::start(&lab, id, &format!("/docker/{id}"));
        let event = watch.until("a process in a container", |event| process(event)["docker"] == id.wire());
        let flags = process(&event)["flags"].as_str().unwrap();
        assert!(flags.ends_with(" unknownContainer"), "{event:#}");
    }
    let errors = watch.finish().errors;
    assert_eq!(errors.matches("has a socket here").count(), 1, "{errors}");
    assert!(errors.contains("docker:/nowhere/docker.sock"), "{errors}");
    assert!(errors.contains("without the name of their container"), "{errors}");
}

/// A watch that asks one runtime, however long that takes.
fn watch_with(socket: &str) -> Watch {
    let mut watch = Watch::start(&["--runtime-socket", socket, "--pod-wait", "1m"]);
    watch.see_host("is-it-ready");
    watch
}

/// Each event of a container says which one it is.
fn check(events: &[Value], id: &str, name: &str, image: &Value) {
    assert!(!events.is_empty());
    for event in events {
        let container = &process(event)["pod"]["container"];
        let told = json!([container["id"], container["name"], container["image"]["name"]]);
        assert_eq!(told, json!([id, name, image]), "{event:#}");
        assert!(!process(event)["flags"].as_str().unwrap().contains("unknownContainer"), "{event:#}");
    }
}

/// The first process is the one that was asked for, and others follow.
fn check_first_process(events: &[Value]) {
    // What enters the container to start it is of the runtime.
    let is_runc = |event: &&Value| process(event)["binary"].as_str().unwrap().ends_with("runc");
    let events: Vec<_> = events.iter().skip_while(is_runc).collect();
    let pid = |event: &Value| process(event)["pod"]["container"]["pid"].as_u64().unwrap();
    let first = &events[0]["process_exec"]["process"];
    assert_eq!((&first["binary"], pid(events[0])), (&json!("/bin/sh"), 1), "{first:#}");
    assert!(events.iter().any(|event| pid(event) > 1), "{events:#?}");
    let ends = events.iter().filter(|event| event.get("process_exit").is_some()).count();
    assert!(ends >= 2, "the first process and another: {events:#?}");
}

/// What starts and watches containers is of the host.
fn check_host(watch: Watch) {
    let report = watch.finish();
    for line in &report.lines {
        let event: Value = serde_json::from_str(line).unwrap();
        let (process, name) = (process(&event), |text: &str| event.to_string().contains(text));
        if process["docker"].is_null() {
            assert!(process["pod"].is_null(), "{event:#}");
        } else {
            assert!(!process["binary"].as_str().unwrap().contains("shim"), "{event:#}");
            assert!(!process["binary"].as_str().unwrap().contains("conmon"), "{event:#}");
        }
        assert!(!name("unknownContainer"), "{event:#}");
    }
    assert!(report.errors.lines().all(|line| line.contains("none lost")), "{}", report.errors);
}
