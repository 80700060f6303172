//! The pipeline that joins a source, the table, a filter and a sink.

#![forbid(unsafe_code)]
