//! Label selectors, as Kubernetes writes them: `app in (a, b), tier != web, !canary`.

use std::collections::BTreeMap;

use crate::FilterError;
use crate::error::shown;

/// A selector: every requirement must hold. One without requirements selects all.
#[derive(Clone, Debug)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// Holds too if there is no such label.
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl Selector {
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { rest: text.trim_start() };
        let requirements = parser.selector();
        requirements
            .map(Self)
            .map_err(|why| FilterError::new(format_args!("`{}` is no label selector: {why}", shown(text))))
    }

    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Above(least) => number().is_some_and(|number| number > *least),
            Test::Below(most) => number().is_some_and(|number| number < *most),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

type Parsed<T> = Result<T, String>;

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Parsed<Vec<Requirement>> {
        let mut requirements = Vec::new();
        if self.rest.is_empty() {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            if self.rest.is_empty() {
                return Ok(requirements);
            }
            if !self.take(",") {
                return Err(format!("`{}` was not expected", self.rest));
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        if self.take("!") {
            return Ok(Requirement { key: self.key()?, test: Test::Absent });
        }
        let key = self.key()?;
        let test = if self.take("==") || self.take("=") {
            Test::In(vec![self.value()?])
        } else if self.take("!=") {
            Test::NotIn(vec![self.value()?])
        } else if self.take(">") {
            Test::Above(self.number()?)
        } else if self.take("<") {
            Test::Below(self.number()?)
        } else {
            match self.word() {
                "" => Test::Exists,
                "in" => Test::In(self.values()?),
                "notin" => Test::NotIn(self.values()?),
                other => return Err(format!("`{other}` is no operator")),
            }
        };
        Ok(Requirement { key, test })
    }

    /// Takes `token`, and the white space behind it, if it is next.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// What is next up to white space or a token. May be nothing.
    fn word(&mut self) -> &'a str {
        let is_end = |char: char| char.is_whitespace() || "=!<>(),".contains(char);
        let (word, rest) = self.rest.split_at(self.rest.find(is_end).unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        word
    }

    fn key(&mut self) -> Parsed<String> {
        let key = self.word();
        let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
        let is_prefix = |prefix: &str| (1..=253).contains(&prefix.len()) && prefix.split('.').all(is_name);
        if name.is_empty() || !is_name(name) || !prefix.is_none_or(is_prefix) {
            return Err(format!("`{key}` is no key of a label"));
        }
        Ok(key.to_owned())
    }

    /// May be empty.
    fn value(&mut self) -> Parsed<String> {
        let value = self.word();
        if !value.is_empty() && !is_name(value) {
            return Err(format!("`{value}` is no value of a label"));
        }
        Ok(value.to_owned())
    }

    fn number(&mut self) -> Parsed<i64> {
        let word = self.word();
        word.parse().map_err(|_| format!("`{word}` is no number"))
    }

    fn values(&mut self) -> Parsed<Vec<String>> {
        if !self.take("(") {
            return Err("a list of values in parentheses is missing".to_owned());
        }
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        if !self.take(")") {
            return Err("a `)` is missing".to_owned());
        }
        Ok(values)
    }
}

/// Up to 63 letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().copied().all(is_inner) && is_end(bytes.first()) && is_end(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn operators_select() {
        for (selector, yes, no) in [
            ("app=web", "app=web", "app=db"),
            ("app == web", "app=web tier=1", "tier=1"),
            ("app!=web", "app=db", "app=web"),
            ("app != web", "tier=1", "app=web"),
            ("app in (web, db)", "app=db", "app=x"),
            ("app in (web,)", "app=", "tier=1"),
            ("app notin (web,db)", "tier=1", "app=db"),
            ("app", "app=x", "tier=1"),
            ("!app", "tier=1", "app=x"),
            ("! app", "tier=1", "app=x"),
            ("a=1,b=2", "a=1 b=2", "a=1"),
            (" a = 1 , !b ", "a=1", "a=1 b=2"),
            ("app=", "app=", "app=x"),
            ("n>3", "n=4", "n=3"),
            ("n<3", "n=2", "n=x"),
            ("k8s.io/app_name.x-y=v_1.2", "k8s.io/app_name.x-y=v_1.2", "app=1"),
            ("in in (in)", "in=in", "in=x"),
            ("notin", "notin=1", ""),
        ] {
            let parsed = Selector::parse(selector).unwrap();
            assert!(parsed.selects(&labels(yes)), "{selector} selects {yes}");
            assert!(!parsed.selects(&labels(no)), "{selector} does not select {no}");
        }
        assert!(Selector::parse("").unwrap().selects(&labels("")));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for bad in [
            ",", "a,", "a,,b", "=x", "a in", "a in ()x", "a in (b", "a in b", "a on (b)", "a=b c", "a=-b",
            "-a", "a/", "/a", "a/b/c=1", "a>b", "!", "a!", "(a)", "ä=1",
        ] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
        let long = "a".repeat(64);
        assert!(Selector::parse(&long).is_err());
    }
}
