//! The page that Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use super::events::{EventCounts, EventMetrics};
use super::families;
use super::family::Group;
use super::measurements::Measurements;

/// A form of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text that every version of Prometheus reads.
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// What is on a page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) now: Measurements,
    pub(super) events: EventCounts,
}

/// Writes a page.
pub fn render(now: Measurements, events: &EventMetrics, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { now, events: events.counts() }));
    let mut page = String::new();
    let written = match format {
        Format::Classic => prometheus_text::encode(&mut page, &registry),
        Format::OpenMetrics => text::encode(&mut page, &registry),
    };
    debug_assert!(written.is_ok(), "a string takes all that is written to it");
    page
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        families::all()
            .filter(|family| self.events.is_enabled || family.group != Group::Events)
            .try_for_each(|family| family.encode(self, &mut encoder))
    }
}

impl Format {
    /// What to say of it in the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that whoever sent this `Accept` header likes best. The classic one where it does not
    /// matter, and where neither is liked.
    pub fn of_accept(header: &str) -> Self {
        let (mut classic, mut open) = (0.0, 0.0);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters = || parts.clone().filter_map(|part| part.split_once('='));
            let find = |name: &str| parameters().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            let weight = find("q").map_or(Some(1.0), |(_, q)| q.trim().parse::<f64>().ok());
            let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0);
            let version = find("version").map(|(_, version)| version.trim().trim_matches('"'));
            match (name.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = weight.max(open),
                ("text/plain" | "text/*" | "*/*", None | Some("0.0.4")) => classic = weight.max(classic),
                _ => {}
            }
        }
        if open > 0.0 && open >= classic { Self::OpenMetrics } else { Self::Classic }
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn what_is_liked_best_is_chosen() {
        let accepted = [
            // Prometheus 2 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.9", Format::Classic),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", Format::Classic),
            ("application/openmetrics-text;q=0", Format::Classic),
            ("application/openmetrics-text;q=NaN", Format::Classic),
            ("*/*", Format::Classic),
            ("", Format::Classic),
            (";,;;q=,=", Format::Classic),
        ];
        for (header, format) in accepted {
            assert_eq!(Format::of_accept(header), format, "{header}");
        }
    }
}
