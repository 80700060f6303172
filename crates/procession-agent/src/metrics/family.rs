//! A metric: its name, its meaning, and how its values are read off a page.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::page::Page;

/// A metric with all its label values.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What it is called on the page, in the classic text.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it says, as a sentence without its full stop.
    pub meaning: &'static str,
    /// When it has values, if that is not always.
    pub only: Option<&'static str>,
    /// What it is about.
    pub group: Group,
    read: Read,
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, from the start of the program on.
    Counter,
    /// They come and go.
    Gauge,
    /// The value is always 1; what it says is in its labels.
    Info,
}

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// How the agent does, under the names that the reference has for it.
    Reference,
    /// How the agent does, under our names.
    Own,
    /// Events, by the process they are about. They can be switched off.
    Events,
    /// What the program takes of the machine, under the names that Prometheus has for it.
    Process,
}

/// Reads the values of a metric off a page.
type Read = fn(&Page, &mut Samples<'_>);

/// Where the values of one metric go.
pub(super) struct Samples<'s> {
    encoder: MetricEncoder<'s>,
    family: &'s Family,
    written: fmt::Result,
}

/// A value of a metric.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Integer(u64),
    Real(f64),
}

impl Kind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
        }
    }

    const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Info => MetricType::Info,
        }
    }

    /// What the encoder appends to the names of metrics of this kind.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge => "",
            Self::Info => "_info",
        }
    }
}

impl Family {
    pub(super) const fn counter(
        group: Group,
        name: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
        read: Read,
    ) -> Self {
        Self { name, kind: Kind::Counter, labels, meaning, only: None, group, read }
    }

    pub(super) const fn gauge(
        group: Group,
        name: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
        read: Read,
    ) -> Self {
        Self { name, kind: Kind::Gauge, labels, meaning, only: None, group, read }
    }

    pub(super) const fn info(
        group: Group,
        name: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
        read: Read,
    ) -> Self {
        Self { name, kind: Kind::Info, labels, meaning, only: None, group, read }
    }

    /// The same, with values only at times: `when` completes "only when".
    pub(super) const fn only(self, when: &'static str) -> Self {
        Self { only: Some(when), ..self }
    }

    /// Writes it and its values.
    pub(super) fn encode(&'static self, page: &Page, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = self.name.strip_suffix(self.kind.suffix()).unwrap_or(self.name);
        let encoder = encoder.encode_descriptor(name, self.meaning, None, self.kind.metric_type())?;
        let mut samples = Samples { encoder, family: self, written: Ok(()) };
        (self.read)(page, &mut samples);
        samples.written
    }
}

impl Samples<'_> {
    /// The value of a metric without labels.
    pub(super) fn put(&mut self, value: impl Into<Value>) {
        self.put_at(&[], value);
    }

    /// The value for these label values, in the order of the labels' names.
    pub(super) fn put_at(&mut self, values: &[&str], value: impl Into<Value>) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        if self.written.is_ok() {
            self.written = self.write(values, value.into());
        }
    }

    fn write(&mut self, values: &[&str], value: Value) -> fmt::Result {
        let labels: Vec<_> = self.family.labels.iter().copied().zip(values.iter().copied()).collect();
        if self.family.kind == Kind::Info {
            return self.encoder.encode_info(&labels);
        }
        let mut encoder = self.encoder.encode_family(&labels)?;
        match (self.family.kind, value) {
            (Kind::Counter, Value::Integer(value)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
            }
            (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
            (_, Value::Integer(value)) => encoder.encode_gauge(&value),
            (_, Value::Real(value)) => encoder.encode_gauge(&value),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}
