//! What is told of processes: which events, which of their fields, and without which secrets.
//!
//! * [`Filter`] is for people who watch: a predicate over the library's facts.
//! * [`EventFilter`] is for readers of the API: lists of the API's own filters, over its messages.
//! * [`FieldFilters`] leave fields out of messages, [`Redaction`] hides secrets in them.
//! * [`parse_filters`], [`parse_field_filters`] and [`parse_redaction_filters`] read all of these as
//!   options have them.
//!
//! Filters come from whoever may connect, so nothing in one may crash the agent or hold it up:
//! patterns match in linear time, expressions are bounded, and both are compiled once.
//!
//! ```
//! use procession_filter::{EventFilter, FilterOptions, parse_filters};
//!
//! let allow = parse_filters(r#"{"binary_regex": ["^/usr/bin/"]} {"namespace": ["shop"]}"#)?;
//! let filter = EventFilter::new(&allow, &[], FilterOptions::default())?;
//! # let _ = filter;
//! # Ok::<(), procession_filter::FilterError>(())
//! ```

#![forbid(unsafe_code)]

mod capabilities;
mod error;
mod event_filter;
#[cfg(feature = "cel")]
mod expression;
mod fields;
mod labels;
mod pattern;
mod pids;
mod re2;
mod redaction;
mod schema;
mod text;
mod view;
mod watch;
mod wire;

pub use error::FilterError;
pub use event_filter::{EventFilter, FilterOptions};
pub use fields::FieldFilters;
pub use redaction::Redaction;
pub use text::{parse_field_filters, parse_filters, parse_redaction_filters};
pub use watch::{ContainerNames, Filter, Kinds, Place, may_be_id};
