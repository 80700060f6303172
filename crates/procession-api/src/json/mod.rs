//! The reference system's JSON: one event per line, as its file export and its client write it.
//!
//! It is written from the messages: `view` says which members they have, in which order, and `value`
//! what these look like. `printable` keeps control characters out of the text.

pub(crate) mod printable;
mod value;
mod view;

use procession::WallClock;
use procession_kube::Told;
use serde::Serialize as _;

pub use crate::messages::AnnotationOptions;
use crate::messages::Converter;
use crate::proto::tetragon::{GetEventsResponse, Process};
use crate::users::Users;
use value::{Json, Value};

/// Writes what is told as lines of JSON.
#[derive(Clone, Debug)]
pub struct JsonEncoder {
    /// The name of this machine: a member of each event, and part of every `exec_id`.
    pub node_name: String,
    /// What to write beyond what every event has.
    pub options: AnnotationOptions,
}

impl JsonEncoder {
    /// Appends the line of what is told to `out`, and says whether there is one: see
    /// [`MessageEncoder::event`](crate::messages::MessageEncoder::event).
    pub fn encode(&self, told: &Told, clock: &WallClock, users: &Users, out: &mut Vec<u8>) -> bool {
        let converter =
            Converter { node: &self.node_name, cluster: "", options: &self.options, clock, users };
        let Some(event) = converter.event(told) else { return false };
        write(&event, out);
        true
    }
}

/// Appends an event as one line.
///
/// A time that has no RFC 3339 form, because it lies before the year 1 or after the year 9999, is
/// written as the Unix epoch.
pub fn write(event: &GetEventsResponse, out: &mut Vec<u8>) {
    write_line(event, out);
}

/// Appends a process as one line.
pub fn write_process(process: &Process, out: &mut Vec<u8>) {
    write_line(process, out);
}

fn write_line(message: &impl Value, out: &mut Vec<u8>) {
    let start = out.len();
    let mut serializer = serde_json::Serializer::new(&mut *out);
    Json(message).serialize(&mut serializer).expect("a vector takes all bytes, and member names are text");
    printable::escape(out, start);
    out.push(b'\n');
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
