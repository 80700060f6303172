//! Regular expressions of filters, within bounds.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::{FilterError, re2};

/// Largest compiled size of the expressions of a field, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// What an expression is taken to need at least, in bytes. Its compiled size is not told: it is the
/// smallest of this, four times this, and so on, within which it compiles.
const SMALLEST: usize = 4 << 10;

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 4096;

/// What a byte of an expression in CEL takes, about, once it is parsed.
#[cfg(feature = "cel")]
const PARSED: usize = 64;

/// What more may be compiled for the same reader: what bounds the memory and the time that it can ask
/// for.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Of compiled expressions.
    bytes: usize,
    /// Expressions in CEL.
    #[cfg_attr(not(feature = "cel"), expect(dead_code, reason = "there are none"))]
    expressions: usize,
    /// Whether the states that matching remembers are bounded by the size of the expressions too.
    is_strict: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 8 << 20, expressions: 256, is_strict: true }
    }
}

impl Budget {
    /// For what the operator wrote: more than anyone writes.
    pub(crate) fn of_operator() -> Self {
        Self { bytes: 256 << 20, expressions: 4_096, is_strict: false }
    }

    fn take(&mut self, bytes: usize) -> Result<(), FilterError> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes =
            left.ok_or_else(|| FilterError::new("there are too many expressions, or too large ones"))?;
        Ok(())
    }

    /// For an expression in CEL; its patterns are extra.
    #[cfg(feature = "cel")]
    pub(crate) fn take_expression(&mut self, text: &str) -> Result<(), FilterError> {
        let left = self.expressions.checked_sub(1);
        self.expressions = left.ok_or_else(|| FilterError::new("there are too many expressions"))?;
        self.take(text.len() * PARSED)
    }

    /// The most memory for the states of what compiles to so many bytes.
    fn states(&self, bytes: usize) -> usize {
        const DEFAULT: usize = 2 << 20;
        if self.is_strict { (4 * bytes).clamp(64 << 10, DEFAULT) } else { DEFAULT }
    }
}

/// The expressions of a field: whether any matches.
pub(crate) fn compile_set(patterns: &[String], budget: &mut Budget) -> Result<RegexSet, FilterError> {
    let mut bytes = 0;
    let translated = patterns.iter().enumerate().map(|(index, pattern)| {
        // One by one first: the error of a set does not tell which it was, and what all take to compile
        // is not known before what each does.
        let translated = translate(pattern).and_then(|translated| {
            bytes += build(pattern, &translated, budget)?.1;
            Ok(translated)
        });
        translated.map_err(|error| error.within(format_args!("[{index}]")))
    });
    let translated = translated.collect::<Result<Vec<_>, _>>()?;
    let mut set = RegexSetBuilder::new(translated);
    let set = set.size_limit(SIZE_LIMIT).dfa_size_limit(budget.states(bytes)).build();
    set.map_err(|error| FilterError::new(crate::error::essence(&error)))
}

/// One expression.
pub(crate) fn compile(pattern: &str, budget: &mut Budget) -> Result<Regex, FilterError> {
    build(pattern, &translate(pattern)?, budget).map(|(regex, _)| regex)
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

/// The expression, and what was taken for it.
fn build(pattern: &str, translated: &str, budget: &mut Budget) -> Result<(Regex, usize), FilterError> {
    let mut size = SMALLEST;
    loop {
        // Before it is tried: that takes time in proportion to it.
        budget.take(size)?;
        let mut builder = RegexBuilder::new(translated);
        match builder.size_limit(size).dfa_size_limit(budget.states(size)).build() {
            Ok(regex) => return Ok((regex, size)),
            Err(regex::Error::CompiledTooBig(_)) if size < SIZE_LIMIT => {
                budget.bytes += size;
                size *= 4;
            }
            Err(error) => return Err(FilterError::pattern(pattern, &error)),
        }
    }
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
        let mut budget = Budget { bytes: SMALLEST, ..Budget::default() };
        assert!(compile("a", &mut budget).is_ok());
        assert!(compile("a", &mut budget).is_err());
    }

    #[test]
    fn each_expression_of_a_field_counts_for_what_it_takes() {
        let field = |pattern: &str, times| vec![pattern.to_owned(); times];
        compile_set(&field("^/usr/bin/[a-z]+$", 1_000), &mut Budget::default()).unwrap();
        // In one field or in many: few of these are within the bounds.
        let large = r"\pL{20}";
        let error = compile_set(&field(large, 100_000), &mut Budget::default()).unwrap_err().to_string();
        assert!(error.contains("too many expressions"), "{error}");
        let mut budget = Budget::default();
        let fields = (0..1_000).take_while(|_| compile(large, &mut budget).is_ok()).count();
        assert!((1..=64).contains(&fields), "{fields}");
    }
}
