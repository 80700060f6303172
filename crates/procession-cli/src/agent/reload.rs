//! What a second reading of the options changes.

use super::catalogue::Catalogue;
use super::config::{self, AgentConfig};
use super::layers::{Layers, Problems, Reading};
use super::settings::{Setting, Settings};

/// Options that need no restart.
pub(super) const LIVE: [&str; 7] = [
    "log-level",
    "export-allowlist",
    "export-denylist",
    "field-filters",
    "redaction-filters",
    "export-rate-limit",
    "metrics-label-filter",
];

/// An option that is now set to something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(super) name: String,
    pub(super) from: Vec<String>,
    pub(super) to: Setting,
}

impl Change {
    fn is_live(&self) -> bool {
        LIVE.contains(&self.name.as_str())
    }
}

/// The options that differ between `running` and `read`, whatever their origins.
pub(super) fn changes(running: &Settings, read: &Settings) -> Vec<Change> {
    let pairs = running.0.iter().filter_map(|before| Some((before, read.get(&before.name)?)));
    pairs
        .filter(|(before, after)| before.values != after.values)
        .map(|(before, after)| Change {
            name: before.name.clone(),
            from: before.values.clone(),
            to: after.clone(),
        })
        .collect()
}

/// Takes over into `running` what changes live.
pub(super) fn apply(running: &mut Settings, changes: &[Change]) {
    for change in changes.iter().filter(|change| change.is_live()) {
        running.set(change.to.clone());
    }
}

/// The options by which the agent runs, and where to read them again.
#[derive(Clone, Debug)]
pub(crate) struct Reloader {
    layers: Layers,
    running: Settings,
}

impl Reloader {
    pub(super) fn new(layers: Layers, reading: &Reading) -> Self {
        Self { layers, running: reading.settings.clone() }
    }

    /// Reads everything again, and logs what changed. `None`: nothing that can change live did.
    ///
    /// What needs a restart stays as it was in the configuration that is returned, and is logged at
    /// each reading until then.
    ///
    /// # Errors
    ///
    /// What is wrong now. Nothing has changed.
    pub(crate) fn reload(&mut self) -> Result<Option<AgentConfig>, Problems> {
        let reading = self.layers.read()?;
        for warning in &reading.warnings {
            tracing::warn!("{warning}");
        }
        let changes = changes(&self.running, &reading.settings);
        for change in &changes {
            let (from, to) = (change.from.join(","), change.to.values.join(","));
            let (name, origin) = (&change.name, change.to.origin.to_string());
            if change.is_live() {
                tracing::info!(%from, %to, %origin, "`{name}` changed");
            } else {
                tracing::warn!(%from, %to, %origin, "`{name}` changes only with a restart");
            }
        }
        if !changes.iter().any(Change::is_live) {
            tracing::info!("options read again: nothing changes now");
            return Ok(None);
        }
        let mut running = self.running.clone();
        apply(&mut running, &changes);
        let args = Catalogue::new().args(&running).map_err(|reason| Problems(vec![reason]))?;
        // What is good with all that was read may not be with what stays as it was.
        let unreadable = config::unreadable(&args).into_iter();
        let problems: Vec<_> =
            unreadable.map(|(option, why)| format!("`{option}` cannot be used: {why}")).collect();
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        self.running = running;
        Ok(Some(AgentConfig::new(args)))
    }
}
