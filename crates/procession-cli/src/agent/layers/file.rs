//! The TOML file: `NAME = VALUE`.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{Gathered, drop_ins};
use crate::agent::catalogue::{AgentOption, Kind};
use crate::agent::settings::{Origin, Setting};

/// Reads the file at `path`. One that is not there is like an empty one, unless it was named.
pub(super) fn read(path: &Path, is_named: bool, gathered: &mut Gathered<'_>) {
    let text = match drop_ins::text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => return,
        Err(error) => return gathered.problem(path.display(), format_args!("cannot be read: {error}")),
    };
    take(path, &text, gathered);
}

/// Takes what a file holds.
pub(super) fn take(path: &Path, text: &str, gathered: &mut Gathered<'_>) {
    gathered.read.push(path.to_owned());
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = Place { path, text, at: error.span().unwrap_or_default() };
        gathered.problem(place.precise(), format_args!("cannot be understood: {}", error.message()));
    }
    if !errors.is_empty() {
        return;
    }
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let place = Place { path, text, at: key.span() };
        entry(&place, key.get_ref(), &value, gathered);
    }
}

/// Where in the file something stands.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
    at: Range<usize>,
}

impl Place<'_> {
    fn before(&self) -> &str {
        self.text.get(..self.at.start).unwrap_or(self.text)
    }

    fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    fn precise(&self) -> String {
        let column = self.before().chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}:{}:{column}", self.path.display(), self.line())
    }

    fn origin(&self) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line() }
    }
}

fn entry(place: &Place<'_>, name: &str, value: &Spanned<DeValue<'_>>, gathered: &mut Gathered<'_>) {
    let origin = place.origin();
    let Some(option) = gathered.catalogue.find(name) else {
        if matches!(value.get_ref(), DeValue::Table(_)) {
            return gathered.problem(
                origin,
                format_args!("there are no tables: write options as NAME = VALUE, without [{name}]"),
            );
        }
        return gathered.stranger(origin, name);
    };
    match values(option, value.get_ref()) {
        Ok(values) => gathered.set(Setting { name: name.to_owned(), values, origin }),
        Err(reason) => gathered.problem(origin, format_args!("`{name}` {reason}")),
    }
}

/// What would be typed to say the same.
fn values(option: &AgentOption, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(array) = value else {
        let text = scalar(value).ok_or("takes no table")?;
        return Ok(option.split(&text));
    };
    let items: Option<Vec<_>> = array.iter().map(|item| scalar(item.get_ref())).collect();
    let items = items.ok_or("takes an array of plain values")?;
    match option.kind {
        Kind::List => Ok(items.iter().flat_map(|item| option.split(item)).collect()),
        // White space separates filters as well as anything.
        Kind::Text if option.name.contains("filter") || option.name.ends_with("list") => {
            Ok(vec![items.join("\n")])
        }
        _ => Err("takes one value, not an array".to_owned()),
    }
}

fn scalar<'v>(value: &'v DeValue<'_>) -> Option<Cow<'v, str>> {
    Some(match value {
        DeValue::String(text) => Cow::Borrowed(text),
        DeValue::Integer(number) => integer(number).into(),
        DeValue::Float(number) => Cow::Borrowed(number.as_str()),
        DeValue::Boolean(is_on) => is_on.to_string().into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}

/// In decimal, except octal ones: those are permissions, which are read as such.
fn integer(number: &DeInteger<'_>) -> String {
    match number.radix() {
        radix @ (2 | 16) => i128::from_str_radix(number.as_str(), radix)
            .map_or_else(|_| number.to_string(), |number| number.to_string()),
        _ => number.to_string(),
    }
}
