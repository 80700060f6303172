//! Who is asked whose a container is.

use std::env;

use anyhow::Context as _;
use procession_agent::NodeInventory;
use procession_kube::{RuntimesConfig, WatchConfig};

use crate::args::ContainerArgs;
use crate::display;

/// What Kubernetes sets in the containers of pods.
const IN_A_POD: &str = "KUBERNETES_SERVICE_HOST";

/// The pods and runtimes that were asked for, or else those that are likely to be there.
pub(crate) fn inventory(args: &ContainerArgs) -> anyhow::Result<NodeInventory> {
    let mut inventory = NodeInventory::new();
    if args.kubernetes || args.kubeconfig.is_some() || env::var_os(IN_A_POD).is_some() {
        let config = WatchConfig {
            kubeconfig: args.kubeconfig.clone(),
            annotations: args.pod_annotations,
            ..WatchConfig::new(display::node_name(args))
        };
        inventory = inventory.pods(config).context("cannot follow the pods of this node")?;
    }
    if !args.no_runtimes {
        let mut config = RuntimesConfig::default();
        if !args.runtime_socket.is_empty() {
            config.sockets.clone_from(&args.runtime_socket);
        }
        inventory = inventory.runtimes(&config).context("cannot ask container runtimes")?;
    }
    Ok(inventory)
}
