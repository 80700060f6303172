//! Where the API is and who asks, found anew for each connection.

use std::path::Path;
use std::sync::Arc;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::crypto::ring;

use super::WatchConfig;
use super::failure::{Failure, Reason};
use super::listen::Listen;
use super::shared::Shared;

/// A client with fresh credentials. Nothing is sent yet.
pub(super) async fn client(config: &WatchConfig, shared: Arc<Shared>) -> Result<Client, Failure> {
    let mut api = api(config.kubeconfig.as_deref()).await?;
    // The limit on an answer covers it.
    api.connect_timeout = None;
    // Attempts are spaced out by the caller.
    api.default_retry = false;
    // By name: should another provider come into the program, none would be chosen by itself. One
    // that was chosen before stays.
    let _ = ring::default_provider().install_default();
    let builder =
        ClientBuilder::try_from(api).map_err(|error| Failure::new(Reason::NotConfigured, &error))?;
    Ok(builder.with_layer(&Listen::new(config, shared)).build())
}

async fn api(kubeconfig: Option<&Path>) -> Result<Config, Failure> {
    let Some(path) = kubeconfig else { return Ok(Config::infer().await?) };
    let kubeconfig = Kubeconfig::read_from(path)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}
