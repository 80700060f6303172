//! The clients of the agent: one that reads and checks all, one that falls behind, one that asks.

mod asker;
mod reader;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use tonic::transport::{Channel, Endpoint};

pub(crate) use asker::{Asked, Asker};
pub(crate) use reader::{Pace, Reader, Tally};

/// A list of all processes comes in many messages, each of which may be long.
const LONGEST_MESSAGE: usize = 64 << 20;

/// How long a question may take on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(socket: &Path) -> Result<Channel> {
    let address = format!("unix://{}", socket.display());
    let endpoint = Endpoint::try_from(address)?.connect_timeout(PATIENCE);
    endpoint.connect().await.context("cannot connect to the agent")
}

/// What is our own of the API.
pub(crate) async fn lineage(socket: &Path) -> Result<LineageServiceClient<Channel>> {
    let channel = connect(socket).await?;
    Ok(LineageServiceClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE))
}

async fn sensors(socket: &Path) -> Result<FineGuidanceSensorsClient<Channel>> {
    let channel = connect(socket).await?;
    Ok(FineGuidanceSensorsClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE))
}
