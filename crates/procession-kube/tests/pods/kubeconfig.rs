//! The file that says where a server is and who asks.

use serde_json::{Value, json};

use super::server::GOOD_TOKEN;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Somebody who may list and watch pods.
    Admin,
    /// Somebody without credentials.
    Nobody,
    /// Somebody with credentials that are not good.
    Stranger,
}

/// A kubeconfig of `user` for `cluster`.
pub(crate) fn of(cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
    })
}

/// A kubeconfig that leads to the server in this repository by way of a port of this machine.
pub(crate) fn of_ours(port: u16, user: User) -> Value {
    let user = match user {
        User::Admin => json!({ "token": GOOD_TOKEN }),
        User::Nobody => json!({}),
        User::Stranger => json!({ "token": "wrong" }),
    };
    of(&json!({ "server": format!("http://127.0.0.1:{port}") }), &user)
}
