//! Secrets in arguments and environments, hidden.

mod vector;

use procession::Program;
use procession::text::to_valid_utf8;
use procession_api::proto::tetragon::{EnvVar, GetEventsResponse, Process, RedactionFilter};
use regex::bytes::{Captures, Regex, RegexSet};

use crate::pattern::{Budget, compile, compile_set};
use crate::{FilterError, view};

/// What stands where a secret was.
const HIDDEN: &str = "*****";

/// Redaction filters, compiled: they apply one after the other.
///
/// What the capture groups of an expression match is replaced, in the arguments and in each variable of
/// the environment, taken as `NAME=VALUE`. Of groups inside of each other the outermost counts. A group
/// that matches several times in one match of its expression, as in `(?:-p (\S+) )+`, is known by its
/// last time alone: such an expression should match once for each secret instead.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    filters: Vec<Compiled>,
    warnings: Vec<String>,
}

#[derive(Clone, Debug)]
struct Compiled {
    binaries: Option<RegexSet>,
    secrets: Vec<Regex>,
}

impl Redaction {
    /// Compiles filters. `match` is ignored, as it is in the reference system.
    pub fn new(filters: &[RedactionFilter]) -> Result<Self, FilterError> {
        let mut redaction = Self::default();
        let mut budget = Budget::of_operator();
        for (index, filter) in filters.iter().enumerate() {
            let place = format!("redaction_filters[{index}]");
            let compiled = Compiled::new(filter, &mut budget).map_err(|error| error.within(&place))?;
            redaction.warn(&place, filter, &compiled);
            redaction.filters.push(compiled);
        }
        Ok(redaction)
    }

    fn warn(&mut self, place: &str, filter: &RedactionFilter, compiled: &Compiled) {
        if !filter.r#match.is_empty() {
            self.warnings.push(format!("{place}.match: is ignored; use `binary_regex`"));
        }
        if filter.redact.is_empty() {
            self.warnings.push(format!("{place}.redact: is empty, so nothing is hidden"));
        }
        for (index, secret) in compiled.secrets.iter().enumerate() {
            if secret.captures_len() == 1 {
                let pattern = &filter.redact[index];
                self.warnings
                    .push(format!("{place}.redact[{index}]: `{pattern}` has no group, so it hides nothing"));
            }
        }
    }

    /// Whether they leave everything as it is.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// What the filters have in them that does nothing, for whoever wrote them.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// Hides the secrets of an event's process, its parent and its ancestors.
    pub fn apply(&self, event: &mut GetEventsResponse) {
        if !self.is_empty() {
            view::processes_mut(event).for_each(|process| self.apply_process(process));
        }
    }

    /// The argument vector of a program without its secrets: its text then shows what
    /// [`apply_process`](Self::apply_process) makes of the text, but for the spaces and quotes around. `None`: it has none.
    pub fn arguments(&self, program: &Program<'_>) -> Option<Vec<u8>> {
        vector::hide_in_arguments(self.secrets(program.binary), program)
    }

    /// The same of its environment.
    pub fn environment(&self, program: &Program<'_>) -> Option<Vec<u8>> {
        vector::hide_in_environment(&self.secrets(program.binary), program)
    }

    /// The expressions that are for a process that runs `binary`, in order.
    fn secrets<'s>(&'s self, binary: &'s [u8]) -> impl Iterator<Item = &'s Regex> + Clone {
        let binary = to_valid_utf8(binary);
        let is_meant = move |filter: &&Compiled| {
            filter.binaries.as_ref().is_none_or(|binaries| binaries.is_match(binary.as_bytes()))
        };
        self.filters.iter().filter(is_meant).flat_map(|filter| &filter.secrets)
    }

    /// Hides the secrets of a process.
    pub fn apply_process(&self, process: &mut Process) {
        for filter in &self.filters {
            if filter.binaries.as_ref().is_none_or(|it| it.is_match(process.binary.as_bytes())) {
                filter.hide(&mut process.arguments);
                process.environment_variables.iter_mut().for_each(|variable| filter.hide_variable(variable));
            }
        }
    }
}

impl Compiled {
    fn new(filter: &RedactionFilter, budget: &mut Budget) -> Result<Self, FilterError> {
        let binaries = (!filter.binary_regex.is_empty()).then(|| compile_set(&filter.binary_regex, budget));
        let binaries = binaries.transpose().map_err(|error| error.within("binary_regex"))?;
        let secrets = filter.redact.iter().enumerate().map(|(index, pattern)| {
            compile(pattern, budget).map_err(|error| error.within(format_args!("[{index}]")).within("redact"))
        });
        Ok(Self { binaries, secrets: secrets.collect::<Result<_, _>>()? })
    }

    fn hide(&self, text: &mut String) {
        for secret in &self.secrets {
            if let Some(hidden) = hide(secret, text) {
                *text = hidden;
            }
        }
    }

    fn hide_variable(&self, variable: &mut EnvVar) {
        let whole = format!("{}={}", variable.key, variable.value);
        let mut hidden = whole.clone();
        self.hide(&mut hidden);
        if hidden == whole {
            return;
        }
        let (key, value) = hidden.split_once('=').unwrap_or((&hidden, ""));
        *variable = EnvVar { key: key.to_owned(), value: value.to_owned() };
    }
}

/// The text without what the groups match in it. `None`: they match nothing.
fn hide(secret: &Regex, text: &str) -> Option<String> {
    let spans = spans(secret, text);
    if spans.is_empty() {
        return None;
    }
    let mut hidden = String::with_capacity(text.len());
    let mut at = 0;
    for (start, end) in spans {
        hidden += text.get(at..start).unwrap_or_default();
        hidden += HIDDEN;
        at = end;
    }
    hidden += text.get(at..).unwrap_or_default();
    Some(hidden)
}

/// What the groups match, in order; of groups inside of each other the outermost.
fn spans(secret: &Regex, text: &str) -> Vec<(usize, usize)> {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for captures in secret.captures_iter(text.as_bytes()) {
        spans.extend(groups(&captures, text));
    }
    // Groups need not stand in the order of their numbers.
    spans.sort_unstable_by_key(|(start, end)| (*start, usize::MAX - end));
    spans.dedup();
    let mut at = 0;
    spans.retain(|(start, end)| {
        let is_inside = *end <= at && *start < at;
        if !is_inside {
            at = *end;
        }
        !is_inside
    });
    spans
}

/// Where the groups are, on the boundaries of characters.
fn groups<'a>(captures: &'a Captures<'_>, text: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    let spans = captures.iter().skip(1).flatten().map(|group| (group.start(), group.end()));
    spans.filter_map(move |(start, end)| {
        // Over text, only what is empty can be within a character, and that hides nothing.
        let is_whole = text.is_char_boundary(start) && text.is_char_boundary(end);
        is_whole.then_some((start, end))
    })
}
