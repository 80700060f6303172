//! All options with their values and origins, as a file that can be read back.

use std::fmt::{self, Write as _};

use super::catalogue::{AgentOption, Catalogue, Kind};
use super::layers::Reading;
use super::settings::{Origin, Setting};

/// Longer values do not push the origins of all others to the right.
const WIDEST: usize = 48;

const ORDER: &str = "\
# What applies to `procession agent` here, and where it comes from. Later wins: defaults,
# /usr/lib/procession/agent.conf.d, /usr/local/lib/procession/agent.conf.d,
# /etc/procession/agent.toml (or --config), /etc/procession/agent.conf.d, --config-dir,
# PROCESSION_* in the environment, command line.
";

/// The text of `--print-config`: valid as a TOML file that says the same.
pub(super) fn print(reading: &Reading) -> String {
    let catalogue = Catalogue::new();
    let mut text = ORDER.to_owned();
    for path in &reading.read {
        let _ = writeln!(text, "# Read: {}", comment(&path.display()));
    }
    for remark in &reading.remarks {
        let _ = writeln!(text, "# {}", comment(remark));
    }
    let lines: Vec<_> = catalogue
        .options
        .iter()
        .filter_map(|option| Some(Line::new(option, reading.settings.get(&option.name)?)))
        .collect();
    let name_width = lines.iter().map(|line| line.name.len()).max().unwrap_or_default();
    let value_width =
        lines.iter().map(|line| line.value.chars().count()).filter(|width| *width <= WIDEST).max();
    let value_width = value_width.unwrap_or_default();
    let mut heading = "";
    for line in &lines {
        if line.heading != heading {
            heading = line.heading;
            let _ = write!(text, "\n# {heading}\n");
        }
        let name = format!("{}{}", line.mark, line.name);
        let _ =
            writeln!(text, "{name:name_width$} = {:value_width$}  # {}", line.value, comment(&line.origin));
    }
    text
}

struct Line<'a> {
    heading: &'a str,
    /// `#` where nothing is set, and TOML has no value for that.
    mark: &'static str,
    name: &'a str,
    value: String,
    origin: String,
}

impl<'a> Line<'a> {
    fn new(option: &'a AgentOption, setting: &Setting) -> Self {
        let is_unset = setting.values.is_empty() && option.kind != Kind::List;
        let origin = match &setting.origin {
            Origin::Default if is_unset => "not set".to_owned(),
            origin => origin.to_string(),
        };
        Self {
            heading: &option.heading,
            mark: if is_unset { "#" } else { "" },
            name: &option.name,
            value: value(option.kind, &setting.values),
            origin,
        }
    }
}

fn value(kind: Kind, values: &[String]) -> String {
    match (kind, values) {
        (Kind::List, values) => {
            let items: Vec<_> = values.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        }
        (_, []) => String::new(),
        (Kind::Switch, [value, ..]) => value.clone(),
        // Others than plain decimals mean something else in TOML, or nothing.
        (Kind::Number, [value, ..])
            if value.parse().is_ok_and(|number: i64| number.to_string() == *value) =>
        {
            value.clone()
        }
        (_, [value, ..]) => quoted(value),
    }
}

/// A TOML string, for people first: JSON in it stays readable.
fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) && !text.contains(|c: char| c == '\'' || is_unprintable(c)) {
        return format!("'{text}'");
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            c if is_unprintable(c) => write!(quoted, "\\U{:08x}", u32::from(c)),
            c => write!(quoted, "{c}"),
        };
    }
    quoted.push('"');
    quoted
}

/// Nothing in a comment ends it.
fn comment(text: &dyn fmt::Display) -> String {
    text.to_string().chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect()
}

/// What a terminal or TOML would not take as it is.
fn is_unprintable(c: char) -> bool {
    crate::render::is_deceptive(c)
}
