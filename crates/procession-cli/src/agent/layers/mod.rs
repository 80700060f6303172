//! The places that options are read from, one over the other.

mod drop_ins;
mod environment;
mod file;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

pub(super) use environment::STATE_DIRECTORY;

use super::args::Typed;
use super::catalogue::Catalogue;
use super::config::{self, AgentConfig};
use super::settings::{Setting, Settings};
use super::strangers;

/// All that is wrong, each in one sentence that names the place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Problems {}

/// Where files with options are on every machine.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// What comes with packages.
    pub(super) vendor: [PathBuf; 2],
    /// What the administrator writes.
    pub(super) file: PathBuf,
    /// The same, an option a file.
    pub(super) drop_ins: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            vendor: ["/usr/lib", "/usr/local/lib"].map(|lib| format!("{lib}/procession/agent.conf.d").into()),
            file: "/etc/procession/agent.toml".into(),
            drop_ins: "/etc/procession/agent.conf.d".into(),
        }
    }
}

/// The places, and what does not change while the program runs.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(super) places: Places,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) typed: Typed,
}

/// What all layers together say.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(super) settings: Settings,
    pub(super) config: AgentConfig,
    /// Where an agent leaves its programs, or left them.
    pub(super) pin_dir: String,
    /// Files and directories that were there, in the order of their rank.
    pub(super) read: Vec<PathBuf>,
    /// What looks like a mistake, and is none of ours to refuse.
    pub(super) warnings: Vec<String>,
    /// What is worth knowing beside the settings.
    pub(super) remarks: Vec<String>,
}

impl Layers {
    /// The layers of this machine and this process.
    pub(super) fn new(typed: Typed) -> Self {
        Self { places: Places::default(), environment: std::env::vars_os().collect(), typed }
    }

    /// Reads all layers.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any of them, or in what they say together.
    pub(crate) fn read(&self) -> Result<Reading, Problems> {
        let catalogue = Catalogue::new();
        let mut gathered = Gathered::new(&catalogue);
        let variables = environment::read(&self.environment, &mut gathered);
        if let Some(setting) = environment::state_directory(&self.environment) {
            gathered.set(setting);
        }
        let named = |typed: &Option<String>, variable: &str| {
            let variable = self.environment.iter().find(|(name, _)| name.to_str() == Some(variable));
            let variable = variable.map(|(_, value)| value.clone()).filter(|value| !value.is_empty());
            typed.clone().map(OsString::from).or(variable).map(PathBuf::from)
        };
        let config = named(&self.typed.places.config, "PROCESSION_CONFIG");
        let config_dir = named(&self.typed.places.config_dir, "PROCESSION_CONFIG_DIR");
        for vendor in &self.places.vendor {
            drop_ins::read(vendor, false, &mut gathered);
        }
        file::read(config.as_ref().unwrap_or(&self.places.file), config.is_some(), &mut gathered);
        drop_ins::read(&self.places.drop_ins, false, &mut gathered);
        if let Some(config_dir) = &config_dir {
            drop_ins::read(config_dir, true, &mut gathered);
        }
        for setting in variables.into_iter().chain(self.typed.settings.iter().cloned()) {
            gathered.settings.set(setting);
        }
        gathered.conclude()
    }
}

/// The layers, of texts in place of files: what stands in `agent.toml`, in the files of a drop-in directory by their
/// names, and in the environment.
#[cfg(feature = "fuzzing")]
pub(super) fn of_texts(
    file: &str,
    drop_ins: &[(&str, &str)],
    environment: &[(OsString, OsString)],
) -> Result<Reading, Problems> {
    let catalogue = Catalogue::new();
    let mut gathered = Gathered::new(&catalogue);
    let variables = environment::read(environment, &mut gathered);
    if let Some(setting) = environment::state_directory(environment) {
        gathered.set(setting);
    }
    let places = Places::default();
    file::take(&places.file, file, &mut gathered);
    for (name, text) in drop_ins {
        drop_ins::take(&places.drop_ins.join(name), name, text, &mut gathered);
    }
    for setting in variables {
        gathered.settings.set(setting);
    }
    gathered.conclude()
}

/// What was read so far.
struct Gathered<'c> {
    catalogue: &'c Catalogue,
    settings: Settings,
    read: Vec<PathBuf>,
    problems: Vec<String>,
    warnings: Vec<String>,
    remarks: Vec<String>,
}

impl<'c> Gathered<'c> {
    fn new(catalogue: &'c Catalogue) -> Self {
        Self {
            catalogue,
            settings: catalogue.defaults(),
            read: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// `place: what is wrong there`.
    fn problem(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.problems.push(format!("{place}: {what}"));
    }

    /// A name that no option has.
    fn stranger(&mut self, place: impl fmt::Display, name: &str) {
        let what = if ["print-config", "detach-all"].contains(&name) {
            format!("`{name}` can only be given on the command line")
        } else if ["config", "config-dir"].contains(&name) {
            format!("`{name}` can only be given on the command line or in the environment")
        } else {
            let hint = strangers::hint(name, self.catalogue);
            format!("there is no option `{name}`{}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())
        };
        self.problem(place, what);
    }

    /// Takes a setting, if its values are good.
    fn set(&mut self, setting: Setting) {
        if let Some(setting) = self.checked(setting) {
            self.settings.set(setting);
        }
    }

    fn checked(&mut self, setting: Setting) -> Option<Setting> {
        let option = self.catalogue.find(&setting.name)?;
        match self.catalogue.check(option, setting.values) {
            Ok(values) => Some(Setting { values, ..setting }),
            Err(reason) => {
                self.problem(&setting.origin, reason);
                None
            }
        }
    }

    fn conclude(mut self) -> Result<Reading, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        let args = self.catalogue.args(&self.settings).map_err(|reason| Problems(vec![reason]))?;
        for (option, reason) in config::unreadable(&args) {
            let origin = self.settings.get(option).map(|setting| setting.origin.to_string());
            self.problem(origin.unwrap_or_default(), format_args!("`{option}` cannot be used: {reason}"));
        }
        let contradictions = config::contradictions(&args, &self.settings, &self.catalogue.defaults());
        self.problems.extend(contradictions);
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        Ok(Reading {
            pin_dir: args.pin_dir.clone(),
            config: AgentConfig::new(args),
            settings: self.settings,
            read: self.read,
            warnings: self.warnings,
            remarks: self.remarks,
        })
    }
}
