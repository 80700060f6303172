//! Values of options, and where each comes from.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody gave one.
    Default,
    /// A line of a TOML file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
    },
    /// A file of its own.
    DropIn(PathBuf),
    /// A variable.
    Environment(String),
    /// It was typed.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::DropIn(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => write!(f, "${variable}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// What one option is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Of the option.
    pub(super) name: String,
    /// One, or for a list any number. None also where nothing is set and there is no default.
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

impl Setting {
    /// Whether somebody has set it.
    pub(super) fn is_given(&self) -> bool {
        self.origin != Origin::Default
    }
}

/// One setting for each option, in the order of the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings(pub(super) Vec<Setting>);

impl Settings {
    /// Puts a setting in the place of the one before.
    pub(super) fn set(&mut self, setting: Setting) {
        if let Some(before) = self.0.iter_mut().find(|before| before.name == setting.name) {
            *before = setting;
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.name == name)
    }

    /// Those that somebody has set.
    pub(super) fn given(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter().filter(|setting| setting.is_given())
    }
}
