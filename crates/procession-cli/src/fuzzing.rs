//! The parsers of what people and other programs write, for `fuzz/`. No part of an API.

use clap::Parser as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use crate::agent::fuzzing::{config, memory_limit};
use crate::args::Cli;
pub use crate::client::fuzzing::{Answer, Shown, shown};
pub use crate::import::fuzzing::{Imported, import};
use crate::when::When;

/// A whole command line without the name of the program: what is typed at `--at`, sizes, times, filters, addresses.
pub fn command_line(arguments: &[&str]) {
    let _ = Cli::try_parse_from([&["procession"][..], arguments].concat());
}

/// A time as people type it: in which second it is, if it is one, read at noon of the last day of 2026 in the zone of
/// somebody who is two hours ahead.
pub fn time(text: &str) -> Option<i64> {
    let now = Timestamp::from_second(1_798_711_200).ok()?;
    let moment = text.parse::<When>().ok()?.resolve(now, &TimeZone::fixed(jiff::tz::offset(2))).ok()?;
    Some(moment.as_second())
}

/// By how many seconds this process's clock since boot differs from the kernel's, in the text of
/// `/proc/PID/timens_offsets`. `None`: it is the same clock.
pub fn boottime_offset(offsets: &str) -> Option<i64> {
    crate::source::boottime_offset(offsets)
}
