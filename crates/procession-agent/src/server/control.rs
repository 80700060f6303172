//! What clients may look at and change besides events: the program that embeds the server answers.

use std::time::Duration;

use procession_api::proto::tetragon::CreateContainer;
use tonic::Status;
use tracing::Level;

/// The settings that clients may look at and change while the agent runs.
pub trait Control: Send + Sync + 'static {
    /// How much the agent logs.
    fn log_level(&self) -> Level;

    /// Changes that.
    fn set_log_level(&self, level: Level) -> Result<(), ControlError>;

    /// How events are exported to a file. `None`: they are not.
    fn event_log(&self) -> Option<EventLogParams>;

    /// Changes that.
    fn set_event_log(&self, changes: EventLogChanges) -> Result<(), ControlError>;

    /// A runtime's hook says that a container is about to start.
    fn runtime_hook(&self, container: CreateContainer) -> Result<(), ControlError> {
        tracing::debug!(id = container.container_id, cgroup = container.cgroups_path, "a container starts");
        Ok(())
    }

    /// Every option and its value, to be shown: secrets are not among them.
    fn config(&self) -> Vec<(String, String)>;
}

/// How events are exported to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLogParams {
    /// The size at which a new file is begun, in megabytes.
    pub max_size_mb: u32,
    /// The age at which a new file is begun. Zero: none is for its age.
    pub rotation_interval: Duration,
    /// How many old files are kept.
    pub max_backups: u32,
}

/// What to change of [`EventLogParams`]. `None`: leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventLogChanges {
    /// See [`EventLogParams::max_size_mb`].
    pub max_size_mb: Option<u32>,
    /// See [`EventLogParams::rotation_interval`].
    pub rotation_interval: Option<Duration>,
    /// See [`EventLogParams::max_backups`].
    pub max_backups: Option<u32>,
}

/// Why something was not done. The text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The request makes no sense, whatever the state of the agent.
    #[error("{0}")]
    Invalid(String),
    /// The agent is not set up for it.
    #[error("{0}")]
    Unavailable(String),
    /// It was tried, and failed.
    #[error("{0}")]
    Failed(String),
}

impl From<ControlError> for Status {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Invalid(text) => Self::invalid_argument(text),
            ControlError::Unavailable(text) => Self::failed_precondition(text),
            ControlError::Failed(text) => Self::internal(text),
        }
    }
}
