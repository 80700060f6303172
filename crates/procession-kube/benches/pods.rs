//! What it costs to look up a container's pod, to take a change, and to keep a pod, on a node with
//! 1,000 pods of two containers.
//!
//! ```text
//! cargo bench -p procession-kube --bench pods
//! ```
//!
//! Beside each figure stands that of the plainest other way, in the same run: a scan of all pods,
//! and the API's own pod kept as it is. Ratios hold on any machine, nanoseconds on one.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

#[path = "../../procession/benches/measure/mod.rs"]
mod measure;

use std::env;
use std::hint::black_box;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;
use procession::BootTime;
use procession_kube::{ContainerId, Converter, Memory, Pod, PodIndex};
use serde_json::{Value, json};

use measure::{Cost, resident};

const PODS: u32 = 1_000;
const ROUNDS: u32 = 15;

fn main() {
    // `cargo test --benches` wants to see that it starts.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    keeping();
    let given: Vec<api::Pod> = (0..PODS).map(|number| given(number, 0)).collect();
    let mut converter = Converter::new(false);
    let mut index = PodIndex::new(Memory::default());
    for pod in &given {
        index.apply(&converter.convert(pod), BootTime::ZERO);
    }
    looking_up(&index);
    changing(&mut converter, &mut index);
}

fn looking_up(index: &PodIndex) {
    let ids: Vec<_> = (0..2 * PODS).map(id).collect();
    let unknown: Vec<_> = (0..2 * PODS).map(|number| id(1_000_000 + number)).collect();
    let pods: Vec<Arc<Pod>> = index.pods().cloned().collect();
    let find = |ids: &[ContainerId]| {
        median(2 * PODS, || {
            for id in ids {
                black_box(index.find(black_box(id)));
            }
        })
    };
    let scan = median(100, || {
        for id in ids.iter().step_by(20) {
            black_box(pods.iter().find(|pod| pod.position(black_box(id)).is_some()).cloned());
        }
    });
    let hit = find(&ids);
    print("look up a container", hit);
    print("look up one that is not there", find(&unknown));
    print("  the same by a scan of all pods", scan);
    println!("  the index is {:.0} times as fast", scan.nanos / hit.nanos);
}

fn changing(converter: &mut Converter, index: &mut PodIndex) {
    let same: Vec<_> = (0..PODS).map(|number| given(number, 0)).collect();
    let unchanged = median(PODS, || {
        for pod in &same {
            index.apply(&converter.convert(pod), BootTime::ZERO);
        }
    });
    let mut costs = Vec::new();
    for generation in 1..=ROUNDS {
        let changed: Vec<_> = (0..PODS).map(|number| given(number, generation)).collect();
        costs.push(Cost::of(PODS, || {
            for pod in &changed {
                index.apply(&converter.convert(pod), BootTime::ZERO);
            }
        }));
    }
    let text: Vec<_> = same.iter().map(|pod| serde_json::to_string(pod).unwrap()).collect();
    let parse = median(PODS, || {
        for text in &text {
            black_box(serde_json::from_str::<api::Pod>(black_box(text)).unwrap());
        }
    });
    let restarted = Cost::median(&costs);
    print("take a change of what is not kept", unchanged);
    print("take a restart of a container", restarted);
    print("  reading that change from JSON", parse);
    println!("  taking it costs {:.2} of reading it", restarted.nanos / parse.nanos);
}

/// Comes first, while the heap has no room that something else has left.
fn keeping() {
    const MANY: u32 = 5 * PODS;
    let given: Vec<_> = (0..MANY).map(|number| given(number, 0)).collect();
    let mut converter = Converter::new(false);
    let mut index = PodIndex::new(Memory::default());
    let (ours, cost) = grown_by(MANY, || {
        for pod in &given {
            index.apply(&converter.convert(pod), BootTime::ZERO);
        }
    });
    let mut copies = Vec::new();
    let (theirs, _) = grown_by(MANY, || copies.extend(given.iter().cloned()));
    println!("keep a pod of two containers      {ours:>8.0} bytes resident, {:.0} allocated", cost.bytes);
    println!(
        "  the API's pod as it is          {theirs:>8.0} bytes resident, {:.0} times as much",
        theirs / ours
    );
}

/// Resident bytes that one of so many pieces of work leaves, and what it costs.
fn grown_by(pieces: u32, work: impl FnOnce()) -> (f64, Cost) {
    let before = resident();
    let cost = Cost::of(pieces, work);
    let grown = u32::try_from(resident().saturating_sub(before)).unwrap();
    (f64::from(grown) / f64::from(pieces), cost)
}

fn median(operations: u32, mut work: impl FnMut()) -> Cost {
    let costs: Vec<_> = (0..ROUNDS).map(|_| Cost::of(operations, &mut work)).collect();
    Cost::median(&costs)
}

fn print(what: &str, cost: Cost) {
    println!("{what:<33} {:>9.0} ns {:>7.1} allocations", cost.nanos, cost.allocations);
}

fn id(number: u32) -> ContainerId {
    ContainerId::parse(hex(number).as_bytes()).unwrap()
}

fn hex(number: u32) -> String {
    format!("{:064x}", u128::from(number) * 0x9e37_79b9_7f4a_7c15)
}

/// A pod as an API server sends it: with all that it has and we drop. Its first container was
/// started anew `generation` times.
fn given(number: u32, generation: u32) -> api::Pod {
    let replica = number % 20;
    let app = number / 20;
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}-{app}:1.2.3"),
            "env": (0..10).map(|n| json!({ "name": format!("VARIABLE_{n}"), "value": "a value of some length" })).collect::<Vec<_>>(),
            "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
            "livenessProbe": { "exec": { "command": ["/bin/health", "--live"] }, "periodSeconds": 10 },
            "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080 } },
            "resources": { "limits": { "cpu": "1", "memory": "512Mi" }, "requests": { "cpu": "100m", "memory": "256Mi" } },
            "volumeMounts": [{ "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true }],
        })
    };
    let status = |name: &str, id: u32| {
        json!({
            "name": name, "ready": true, "restartCount": generation, "started": true,
            "image": format!("registry.example.com/team/{name}-{app}:1.2.3"),
            "imageID": format!("registry.example.com/team/{name}-{app}@sha256:{:064x}", app),
            "containerID": format!("containerd://{}", hex(id)),
            "state": { "running": { "startedAt": "2026-01-02T03:04:05Z" } },
        })
    };
    let condition =
        |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z" });
    let conditions: Vec<Value> =
        ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition).into();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("app-{app}-7c5ddbdf54-{replica:05}"), "generateName": format!("app-{app}-7c5ddbdf54-"),
            "namespace": format!("team-{}", app % 10), "uid": format!("00000000-0000-4000-8000-{number:012}"),
            "labels": {
                "app.kubernetes.io/name": format!("app-{app}"), "app.kubernetes.io/part-of": "shop",
                "app.kubernetes.io/managed-by": "Helm", "pod-template-hash": "7c5ddbdf54",
                "tier": "backend", "environment": "production",
            },
            "annotations": { "example.com/checksum": format!("{:064x}", app) },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("app-{app}-7c5ddbdf54"),
                "uid": format!("00000000-0000-4000-9000-{app:012}"), "controller": true,
            }],
            "managedFields": [{
                "manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:status": { "f:conditions": {}, "f:containerStatuses": {}, "f:phase": {}, "f:podIP": {} } },
            }],
        },
        "spec": { "nodeName": "worker-1", "containers": [container("web"), container("proxy")] },
        "status": {
            "phase": "Running", "conditions": conditions,
            "containerStatuses": [
                status("web", 2 * number + 10_000_000 * generation), status("proxy", 2 * number + 1),
            ],
        },
    });
    serde_json::from_value(pod).unwrap()
}
