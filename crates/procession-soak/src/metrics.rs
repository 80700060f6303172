//! What the agent measures of itself, as Prometheus would read it.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// A page of metrics: by name with labels, as it stands there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(HashMap<String, f64>);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Metrics {
    /// Asks for them at an address.
    pub(crate) fn of(address: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: soak\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, page) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
        ensure!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "refused: {head}");
        Ok(Self::parse(page))
    }

    fn parse(page: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(page.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect())
    }

    /// The value of a name with its labels; 0 if it is not there.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The sum over all labels of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let is_it =
            |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.iter().filter(|(key, _)| is_it(key)).map(|(_, value)| value).sum()
    }

    /// The same as a count.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are whole and below 2^53"
    )]
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.sum(name) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_and_without_labels() {
        let page = Metrics::parse("# HELP a b\na{k=\"1\"} 2\na{k=\"2\"} 3\nab 7\n");
        assert_eq!((page.count("a"), page.count("ab"), page.count("c")), (5, 7, 0));
        assert!((page.get("a{k=\"2\"}") - 3.0).abs() < 1e-9);
    }
}
