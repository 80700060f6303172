//! What is measured, as Prometheus reads it.
//!
//! * `measurements` is what a page is made of: plain values, taken at one moment.
//! * `families` says of every metric what it is called, what it means, and which values it has; it is the
//!   only list of them, so that what is declared is on the page.
//! * `events` counts events by the process they are about, in a bounded number of series.
//! * `page` writes it down, in the form that was asked for.
//! * `usage` is what this process takes of the machine.
//!
//! The names that begin with `tetragon_` are the reference's, with its labels and its meaning; those that
//! begin with `procession_` are ours. `docs/metrics.md` has all of them.

mod events;
mod families;
mod family;
mod measurements;
mod page;
mod series;
mod usage;

pub use events::{EventMetrics, EventMetricsConfig, LabelFilter};
pub use families::all as families;
pub use family::{Family, Group, Kind};
pub use measurements::{Build, LogCounts, Measurements, WebCounts};
pub use page::{Format, render};
pub use usage::Usage;
