//! Pods as the API sends them, and container ids.

use procession_kube::ContainerId;
use serde_json::{Value, json};

/// The id of a container that is told from others by a number.
pub(crate) fn id(number: u64) -> ContainerId {
    ContainerId::parse(format!("{number:064x}").as_bytes()).unwrap()
}

/// A pod as it is asked for.
pub(crate) fn pod(node: &str, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": { "app": "web", "pod-template-hash": "7c5ddbdf54" },
            "annotations": { "example.com/note": "a note" },
        },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "main", "image": "example.com/web:1",
                "securityContext": { "privileged": true },
                "livenessProbe": { "exec": { "command": ["/check", "live"] } },
            }],
            "initContainers": [{ "name": "setup", "image": "example.com/setup:1" }],
        },
    })
}

/// The status of a container that runs.
pub(crate) fn running(name: &str, number: u64) -> Value {
    json!({
        "name": name, "ready": true, "restartCount": 0, "started": true,
        "image": format!("example.com/{name}:1"),
        "imageID": format!("example.com/{name}@sha256:{:064x}", 7),
        "containerID": format!("containerd://{}", id(number)),
        "state": { "running": { "startedAt": "2026-01-02T03:04:05Z" } },
    })
}

/// The status of a container that ended.
pub(crate) fn ended(name: &str, number: u64) -> Value {
    let mut status = running(name, number);
    status["state"] = json!({ "terminated": {
        "exitCode": 0, "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:06Z",
        "containerID": format!("containerd://{}", id(number)),
    } });
    status
}
