//! What can be set: the options of [`AgentArgs`], as those see them who read values from elsewhere.

use std::any::TypeId;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};

use super::args::{AgentArgs, Typed};
use super::settings::{Origin, Setting, Settings};

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Switch,
    /// Any number of values.
    List,
    /// A whole number, perhaps with a unit.
    Number,
    /// Anything else.
    Text,
}

impl Kind {
    pub(super) fn of(arg: &Arg) -> Self {
        let parses = |kinds: &[TypeId]| {
            let parser: &ValueParser = arg.get_value_parser();
            kinds.iter().any(|kind| parser.type_id() == *kind)
        };
        if parses(&[TypeId::of::<bool>()]) {
            Self::Switch
        } else if matches!(arg.get_action(), ArgAction::Append) {
            Self::List
        } else if parses(&[TypeId::of::<u32>(), TypeId::of::<i64>()]) {
            Self::Number
        } else {
            Self::Text
        }
    }
}

/// An option.
#[derive(Clone, Debug)]
pub(crate) struct AgentOption {
    /// What clap calls it.
    pub(super) id: String,
    /// What it is called on the command line and in files.
    pub(super) name: String,
    /// Under which heading help has it.
    pub(super) heading: String,
    pub(super) kind: Kind,
    /// Whether it may be without a value.
    pub(super) is_optional: bool,
}

impl AgentOption {
    fn new(arg: &Arg) -> Option<Self> {
        Some(Self {
            id: arg.get_id().to_string(),
            name: arg.get_long()?.to_owned(),
            heading: arg.get_help_heading().unwrap_or_default().to_owned(),
            kind: Kind::of(arg),
            is_optional: arg.get_default_values().is_empty(),
        })
    }

    /// Its variable in the environment.
    pub(super) fn variable(&self) -> String {
        variable(&self.name)
    }

    /// What a plain text holds: the items of a list stand on lines or between commas.
    pub(super) fn split(&self, text: &str) -> Vec<String> {
        match self.kind {
            Kind::List => text.split([',', '\n']).map(str::to_owned).collect(),
            _ => vec![text.to_owned()],
        }
    }

    /// The values that a command line gave, in the one form in which values are compared.
    pub(super) fn values_of(&self, matches: &ArgMatches) -> Result<Vec<String>, clap::Error> {
        if self.kind == Kind::Switch {
            return Ok(matches.get_one::<bool>(&self.id).into_iter().map(bool::to_string).collect());
        }
        let values = matches.get_raw(&self.id).into_iter().flatten().map(|value| {
            value.to_str().map(str::to_owned).ok_or_else(|| {
                clap::Error::raw(
                    ErrorKind::InvalidUtf8,
                    format!("the value of --{} is not UTF-8\n", self.name),
                )
            })
        });
        Ok(self.without_empty(values.collect::<Result<_, _>>()?))
    }

    /// An empty text stands for an empty list, and for no value where there can be none. Around the
    /// items of a list there is no white space.
    fn without_empty(&self, values: Vec<String>) -> Vec<String> {
        match self.kind {
            Kind::List => {
                let items = values.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
                items.map(str::to_owned).collect()
            }
            Kind::Text if self.is_optional => values.into_iter().filter(|value| !value.is_empty()).collect(),
            _ => values,
        }
    }
}

/// `ring-size` → `PROCESSION_RING_SIZE`.
pub(super) fn variable(name: &str) -> String {
    format!("{}{}", VARIABLES, name.to_ascii_uppercase().replace('-', "_"))
}

/// With what all our variables begin.
pub(super) const VARIABLES: &str = "PROCESSION_";

/// What can only be typed, and is no option: clap's names.
const PLACES: [&str; 4] = ["config", "config_dir", "print_config", "detach_all"];

/// All options.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    command: Command,
    pub(super) options: Vec<AgentOption>,
}

impl Catalogue {
    pub(super) fn new() -> Self {
        let command = Typed::augment_args(Command::new("agent").no_binary_name(true));
        let options = command.get_arguments().filter(|arg| !PLACES.contains(&arg.get_id().as_str()));
        let options = options.filter_map(AgentOption::new).collect();
        Self { command, options }
    }

    pub(super) fn find(&self, name: &str) -> Option<&AgentOption> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Values for one option as a place gives them, each as if it were typed. In the one form in
    /// which values are compared.
    ///
    /// # Errors
    ///
    /// What is wrong, and what is allowed.
    pub(super) fn check(&self, option: &AgentOption, values: Vec<String>) -> Result<Vec<String>, String> {
        let values = option.without_empty(values);
        let typed = values.iter().map(|value| format!("--{}={value}", option.name));
        if values.is_empty() {
            return Ok(values);
        }
        self.command
            .clone()
            .try_get_matches_from(typed)
            .and_then(|matches| option.values_of(&matches))
            .map_err(|error| reason(&error))
    }

    /// All options as they are when nobody says anything.
    pub(super) fn defaults(&self) -> Settings {
        let matches = self.command.clone().try_get_matches_from([] as [&str; 0]).ok();
        let values = |option: &AgentOption| {
            option.values_of(matches.as_ref()?).ok().filter(|values| !values.is_empty())
        };
        Settings(
            self.options
                .iter()
                .map(|option| Setting {
                    name: option.name.clone(),
                    values: values(option).unwrap_or_default(),
                    origin: Origin::Default,
                })
                .collect(),
        )
    }

    /// What the settings come to.
    ///
    /// # Errors
    ///
    /// What is wrong. Settings whose values passed [`Catalogue::check`] have nothing wrong.
    pub(super) fn args(&self, settings: &Settings) -> Result<AgentArgs, String> {
        let mut typed = Vec::new();
        for setting in settings.given() {
            if setting.values.is_empty() && self.find(&setting.name).is_some_and(|option| !option.is_optional)
            {
                typed.push(format!("--{}=", setting.name));
            }
            typed.extend(setting.values.iter().map(|value| format!("--{}={value}", setting.name)));
        }
        let matches = self.command.clone().try_get_matches_from(typed).map_err(|error| reason(&error))?;
        AgentArgs::from_arg_matches(&matches).map_err(|error| reason(&error))
    }
}

/// What clap has to say, on one line and without how to ask for help.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().map(str::trim);
    let lines =
        lines.take_while(|line| !line.starts_with("For more information") && !line.starts_with("Usage:"));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
