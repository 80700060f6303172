//! Regular expressions of filters, within bounds.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::{FilterError, re2};

/// Largest compiled size of the expressions of a field, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 4096;

/// How many more expressions, or fields with regular ones, may be compiled for the same reader: what
/// bounds the memory and the time that it can ask for.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(256)
    }
}

impl Budget {
    /// For what the operator wrote: more than anyone writes.
    pub(crate) fn of_operator() -> Self {
        Self(4_096)
    }

    pub(crate) fn take(&mut self) -> Result<(), FilterError> {
        let left = self.0.checked_sub(1);
        self.0 = left.ok_or_else(|| FilterError::new("there are too many expressions"))?;
        Ok(())
    }
}

/// The expressions of a field: whether any matches.
pub(crate) fn compile_set(patterns: &[String], budget: &mut Budget) -> Result<RegexSet, FilterError> {
    budget.take()?;
    let translated = patterns.iter().enumerate().map(|(index, pattern)| {
        // One by one first: the error of a set does not tell which it was.
        let translated = translate(pattern).and_then(|it| build(pattern, &it).map(|_| it));
        translated.map_err(|error| error.within(format_args!("[{index}]")))
    });
    let translated = translated.collect::<Result<Vec<_>, _>>()?;
    let set = RegexSetBuilder::new(translated).size_limit(SIZE_LIMIT).build();
    set.map_err(|error| FilterError::new(crate::error::essence(&error)))
}

/// One expression.
pub(crate) fn compile(pattern: &str, budget: &mut Budget) -> Result<Regex, FilterError> {
    budget.take()?;
    build(pattern, &translate(pattern)?)
}

fn translate(pattern: &str) -> Result<String, FilterError> {
    if pattern.len() > MAX_LENGTH {
        return Err(FilterError::new(format_args!(
            "a regular expression of {} bytes: at most {MAX_LENGTH} are taken",
            pattern.len()
        )));
    }
    re2::translate(pattern).map_err(|why| FilterError::bad_pattern(pattern, &why))
}

fn build(pattern: &str, translated: &str) -> Result<Regex, FilterError> {
    let regex = RegexBuilder::new(translated).size_limit(SIZE_LIMIT).build();
    regex.map_err(|error| FilterError::pattern(pattern, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bad_one_is_named() {
        let patterns = ["a".to_owned(), "(".to_owned()];
        let error = compile_set(&patterns, &mut Budget::default()).unwrap_err().to_string();
        assert!(error.starts_with("[1]: `(` is not"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn size_and_number_are_bounded() {
        let long = "a".repeat(MAX_LENGTH + 1);
        for bad in ["(?:a{1000}){1000}", &long] {
            assert!(compile(bad, &mut Budget::default()).is_err());
        }
        let mut budget = Budget(1);
        assert!(compile("a", &mut budget).is_ok());
        assert!(compile("a", &mut budget).is_err());
    }
}
