//! What clients of the API may look at and change besides events.

use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use crate::export::{ExportHandle, Rotation};
use crate::server::{Control, ControlError, EventLogChanges, EventLogParams};

/// How much the program logs: it belongs to whoever has set up the log.
pub trait LogLevel: Send + Sync {
    /// How much it logs now.
    fn get(&self) -> Level;

    /// Logs so much from now on.
    ///
    /// # Errors
    ///
    /// Why not.
    fn set(&self, level: Level) -> Result<(), String>;
}

/// A level that is what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed;

impl LogLevel for Fixed {
    fn get(&self) -> Level {
        Level::INFO
    }

    fn set(&self, _: Level) -> Result<(), String> {
        Err("the program that runs the agent does not let its log level be changed".into())
    }
}

/// The settings of an agent.
pub(crate) struct AgentControl {
    log_level: Arc<dyn LogLevel>,
    export: Option<ExportHandle>,
    settings: Vec<(String, String)>,
}

const MEGABYTE: u64 = 1 << 20;

impl AgentControl {
    pub(crate) fn new(
        log_level: Arc<dyn LogLevel>,
        export: Option<ExportHandle>,
        settings: Vec<(String, String)>,
    ) -> Self {
        Self { log_level, export, settings }
    }
}

impl Control for AgentControl {
    fn log_level(&self) -> Level {
        self.log_level.get()
    }

    fn set_log_level(&self, level: Level) -> Result<(), ControlError> {
        tracing::info!(%level, "a client sets the log level");
        self.log_level.set(level).map_err(ControlError::Unavailable)
    }

    fn event_log(&self) -> Option<EventLogParams> {
        Some(params(self.export.as_ref()?.rotation()?))
    }

    fn set_event_log(&self, changes: EventLogChanges) -> Result<(), ControlError> {
        let export = self.export.as_ref().and_then(|export| Some((export, export.rotation()?)));
        let Some((export, rotation)) = export else {
            return Err(ControlError::Unavailable("events are not exported to a file".into()));
        };
        tracing::info!(?changes, "a client sets how the export rotates");
        export.set_rotation(changed(rotation, changes));
        Ok(())
    }

    fn config(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }
}

fn params(rotation: Rotation) -> EventLogParams {
    EventLogParams {
        max_size_mb: (rotation.max_size_bytes / MEGABYTE).try_into().unwrap_or(u32::MAX),
        rotation_interval: rotation.interval.unwrap_or_default(),
        max_backups: rotation.max_backups.try_into().unwrap_or(u32::MAX),
    }
}

fn changed(rotation: Rotation, changes: EventLogChanges) -> Rotation {
    let EventLogChanges { max_size_mb, rotation_interval, max_backups } = changes;
    Rotation {
        max_size_bytes: max_size_mb.map_or(rotation.max_size_bytes, |size| u64::from(size) * MEGABYTE),
        interval: match rotation_interval {
            None => rotation.interval,
            Some(interval) => Some(interval).filter(|interval| *interval > Duration::ZERO),
        },
        max_backups: max_backups
            .map_or(rotation.max_backups, |backups| usize::try_from(backups).unwrap_or(usize::MAX)),
    }
}
