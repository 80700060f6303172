//! Variables: `PROCESSION_RING_SIZE` for `ring-size`.

use std::ffi::OsString;

use super::Gathered;
use crate::agent::catalogue::{VARIABLES, variable};
use crate::agent::settings::{Origin, Setting};
use crate::agent::strangers;
use crate::log;

/// Variables that have a meaning, but are no options of the agent.
const OTHERS: [&str; 3] = [log::WANTED, "PROCESSION_CONFIG", "PROCESSION_CONFIG_DIR"];

/// The settings in the environment. Unknown names are no error: not all that begins as our variables do
/// was meant for us.
pub(super) fn read(variables: &[(OsString, OsString)], gathered: &mut Gathered<'_>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLES)) else { continue };
        if name == log::WANTED {
            gathered.remarks.push(format!("${name} wins over log-level: {}", value.to_string_lossy()));
        }
        let origin = Origin::Environment(name.to_owned());
        let Some(option) = gathered.catalogue.options.iter().find(|option| option.variable() == name) else {
            if !OTHERS.contains(&name) && !is_of_kubernetes(name) {
                let warning = unknown(name, gathered);
                gathered.warnings.push(warning);
            }
            continue;
        };
        let Some(value) = value.to_str() else {
            gathered.problem(origin, "is not UTF-8 text");
            continue;
        };
        let setting = Setting { name: option.name.clone(), values: option.split(value), origin };
        settings.extend(gathered.checked(setting));
    }
    settings
}

/// Where systemd wants a service to keep what it keeps: the default of `journal-dir`.
pub(in crate::agent) const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// What the service manager says. Any place that says something of ours wins over it.
pub(super) fn state_directory(variables: &[(OsString, OsString)]) -> Option<Setting> {
    let (_, value) = variables.iter().find(|(name, _)| name.to_str() == Some(STATE_DIRECTORY))?;
    // There may be several, with colons between.
    let first = value.to_str()?.split(':').next().filter(|path| path.starts_with('/'))?;
    Some(Setting {
        name: "journal-dir".into(),
        values: vec![format!("{first}/journal")],
        origin: Origin::Environment(STATE_DIRECTORY.into()),
    })
}

/// Kubernetes tells each pod of the services there are, of one that is called `procession…` too.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.contains("_PORT_")
}

fn unknown(name: &str, gathered: &Gathered<'_>) -> String {
    let as_option = name.strip_prefix(VARIABLES).unwrap_or(name).to_lowercase().replace('_', "-");
    let hint = strangers::hint(&as_option, gathered.catalogue).map(|hint| {
        let near = gathered
            .catalogue
            .options
            .iter()
            .find(|option| hint.contains(&format!("mean `{}`", option.name)));
        near.map_or(hint, |option| format!("did you mean `{}`?", variable(&option.name)))
    });
    format!("${name}: no option is set by it{}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_says_of_services_is_not_meant_for_us() {
        for name in [
            "PROCESSION_SERVICE_HOST",
            "PROCESSION_SERVICE_PORT",
            "PROCESSION_SERVICE_PORT_METRICS",
            "PROCESSION_PORT",
            "PROCESSION_PORT_2112_TCP_ADDR",
            "PROCESSION_METRICS_SERVICE_HOST",
        ] {
            assert!(is_of_kubernetes(name), "{name}");
        }
        for name in ["PROCESSION_RING", "PROCESSION_EXPORT", "PROCESSION_EXPORT_FILE"] {
            assert!(!is_of_kubernetes(name), "{name}");
        }
    }
}
