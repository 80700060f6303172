//! The watch of pods, against an API server.
//!
//! Every test runs against the server in this repository (`server`). When
//! `PROCESSION_TEST_KUBECONFIG` names the kubeconfig of somebody who may do everything on a real
//! one, those that need nothing but what a real one offers run against that too, which is what
//! keeps ours honest. No kubelet may serve the nodes `node-…` there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::print_stderr, reason = "whoever runs the tests is told against what they ran")]

mod cluster;
mod contract;
mod data;
mod faults;
mod kubeconfig;
mod link;
mod load;
mod noise;
mod scenarios;
mod server;
mod site;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use cluster::{OurCluster, RealCluster};
use server::Server;
use site::Site;

/// A test that any server will do for.
type Scenario = fn(&Site);
/// A test of what only our server can be told to do.
type Fault = fn(&Site, &Server);

fn main() -> ExitCode {
    tracing::subscriber::set_global_default(noise::Listener).unwrap();
    let real = env::var_os("PROCESSION_TEST_KUBECONFIG").map(PathBuf::from);
    match &real {
        Some(path) => eprintln!("back ends: the in-repo server; the real server of {}", path.display()),
        None => eprintln!("back end: the in-repo server (a real one: PROCESSION_TEST_KUBECONFIG)"),
    }
    let scenarios = [contract::ALL, scenarios::ALL, load::ALL].concat();
    let ours = scenarios.iter().map(|(name, run)| on_ours(name, *run));
    let faults = faults::ALL.iter().map(|(name, run)| with_fault(name, *run));
    let reals = real.iter().flat_map(|path| scenarios.iter().map(|(name, run)| on_real(name, *run, path)));
    let done = libtest_mimic::run(&Arguments::from_args(), ours.chain(faults).chain(reals).collect());
    let noise = noise::heard();
    if noise.is_empty() {
        return done.exit_code();
    }
    eprintln!("said by libraries, and repeated at each attempt: {noise:#?}");
    ExitCode::FAILURE
}

fn on_ours(name: &str, run: Scenario) -> Trial {
    Trial::test(format!("ours::{name}"), move || {
        run(&Site::new(Arc::new(OurCluster::start())));
        Ok(())
    })
}

fn with_fault(name: &str, run: Fault) -> Trial {
    Trial::test(format!("ours::{name}"), move || {
        let cluster = OurCluster::start();
        let server = Arc::clone(&cluster.server);
        run(&Site::new(Arc::new(cluster)), &server);
        Ok(())
    })
}

fn on_real(name: &str, run: Scenario, kubeconfig: &Path) -> Trial {
    let kubeconfig = kubeconfig.to_owned();
    Trial::test(format!("real::{name}"), move || {
        run(&Site::new(Arc::new(RealCluster::connect(&kubeconfig))));
        Ok(())
    })
}
