//! What is wrong with a filter.

use std::fmt::Display;

/// A filter that cannot be used, or, of field filters, one that failed on an event.
#[derive(Debug, thiserror::Error)]
#[error("{}{}{problem}", .place, if .place.is_empty() { "" } else { ": " })]
pub struct FilterError {
    /// The list, the filter in it and its field, such as `allow_list[0].pod_regex[1]`.
    place: String,
    problem: String,
}

impl FilterError {
    pub(crate) fn new(problem: impl Display) -> Self {
        Self { place: String::new(), problem: problem.to_string() }
    }

    /// A regular expression that was refused.
    pub(crate) fn pattern(pattern: &str, error: &regex::Error) -> Self {
        Self::bad_pattern(pattern, &essence(error))
    }

    pub(crate) fn bad_pattern(pattern: &str, why: &str) -> Self {
        let shown = shown(pattern);
        Self::new(format_args!("`{shown}` is not a regular expression that can be used: {why}"))
    }

    /// The same, `place` being what it is in.
    pub(crate) fn within(mut self, place: impl Display) -> Self {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{place}{dot}{}", self.place);
        self
    }
}

/// The beginning of what somebody wrote, for an error's text.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 200;
    let shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() { shown + "..." } else { shown }
}

/// The reason alone: the error draws the pattern over several lines, which an option's error is not for.
pub(crate) fn essence(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// What `name` was probably meant to be, as the end of an error's text.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known
        .into_iter()
        .map(|other| (strsim::osa_distance(name, other), other))
        .filter(|(distance, other)| *distance <= 1 + other.len() / 4)
        .min();
    near.map_or_else(String::new, |(_, other)| format!("; did you mean `{other}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where() {
        let error = FilterError::bad_pattern("(", "unclosed group");
        let error = error.within("[1]").within("pod_regex").within("[0]").within("allow_list");
        let text =
            "allow_list[0].pod_regex[1]: `(` is not a regular expression that can be used: unclosed group";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["binary_regex", "pod_regex", "pid"];
        assert_eq!(suggestion("binary_regexp", known), "; did you mean `binary_regex`?");
        assert_eq!(suggestion("podregex", known), "; did you mean `pod_regex`?");
        assert_eq!(suggestion("namespace", known), "");
    }
}
