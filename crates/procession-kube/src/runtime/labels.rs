//! What the kubelet says of a pod in the labels of its containers.

use std::collections::BTreeMap;

use crate::RuntimePod;

/// What the names of the kubelet's labels for `namespace`, `name` and `uid` begin with.
const POD_LABEL: &str = "io.kubernetes.pod";

/// The pod that the labels of a container name.
pub(super) fn pod_of(labels: &BTreeMap<String, String>) -> Option<RuntimePod> {
    let label = |name: &str| labels.get(&format!("{POD_LABEL}.{name}")).cloned();
    Some(RuntimePod {
        namespace: label("namespace")?,
        name: label("name")?,
        uid: label("uid")?,
        ..RuntimePod::default()
    })
}

/// Takes out of a sandbox's labels those that say which pod it is: the pod itself has not got them.
pub(super) fn own(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.retain(|name, _| !name.strip_prefix(POD_LABEL).is_some_and(|rest| rest.starts_with('.')));
    labels
}
