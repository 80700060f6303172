//! A journal's facts as Parquet files, for programs that speak SQL.
//!
//! [`export`] folds a journal, and writes a row for each fact: an exec, an exit, a fork, a change, with
//! the process as it was then. The rows of one node and one day (UTC) stand in one folder, as programs
//! expect that know Hive's layout: `node=NAME/day=YYYY-MM-DD/part-….parquet`. `docs/parquet.md` tells of
//! each column.
//!
//! A part has what one file of the journal tells of one day, and is named after it. So to export a
//! journal again, when it has grown, replaces what was there, and nothing is there twice.

#![forbid(unsafe_code)]

mod buffer;
mod dataset;
mod export;
mod narrator;
mod occupied;
mod part;
mod row;
mod schema;
mod strings;

pub use dataset::Written;
pub use export::{ExportError, Exported, Options, Progress, WriteError, export};
pub use occupied::Occupied;
pub use schema::{COLUMNS, Column, SCHEMA_VERSION};
