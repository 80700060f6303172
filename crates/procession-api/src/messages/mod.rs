//! From what is told to the messages of the reference system's API: the one conversion, from which
//! every other form is made.
//!
//! * `event` says which event it is, and of which processes that speaks.
//! * `process` says what is known of one of them, `pod` whose it is, and `annotations` as whom and
//!   where it runs.

mod annotations;
mod event;
mod pod;
mod process;

use std::slice;

use procession::{BootTime, Namespaces, Process, ProcessKey, WallClock, text::to_valid_utf8};
use procession_kube::{Told, Whose};
use prost_types::Timestamp;

use crate::proto::tetragon::{self, GetEventsResponse};
use crate::users::Users;

pub(crate) use annotations::{all_namespaces, binary_properties, capabilities, process_credentials};

/// What to tell beyond what every event has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnotationOptions {
    /// Credentials and capabilities of every process, and how the exec raised its rights.
    pub credentials: bool,
    /// Namespaces of every process. Given are those of pid 1, to tell which are the host's.
    pub namespaces: Option<Namespaces>,
    /// Ancestors beyond the parent, as far as the fact has them.
    pub ancestors: bool,
    /// The environment of every process, as far as it was collected.
    pub environment: bool,
}

/// Makes messages of what is told.
#[derive(Clone, Debug, Default)]
pub struct MessageEncoder {
    /// The name of this machine: a member of each event, and part of every `exec_id`.
    pub node_name: String,
    /// The name of the cluster it belongs to: a member of each event. Empty: none.
    pub cluster_name: String,
    /// What to tell beyond what every event has.
    pub options: AnnotationOptions,
}

impl MessageEncoder {
    /// The event that the reference system has for what is told. `None`: it has none for a fork and
    /// a change.
    ///
    /// A container in no pod has a `pod` too, of which nothing but the `container` is there: the
    /// schema has no other place for its name and image.
    ///
    /// `clock` turns boot times into dates, `users` may give names to the users of the host.
    pub fn event(&self, told: &Told, clock: &WallClock, users: &Users) -> Option<GetEventsResponse> {
        self.converter(clock, users).event(told)
    }

    /// A process by itself, for lists: as in an event, but for the properties of its binary, which
    /// only the event of its exec has.
    ///
    /// `whose` is what is known of its container. If it is another's, nothing is told of it.
    pub fn process(
        &self,
        process: &Process,
        whose: Option<&Whose>,
        clock: &WallClock,
        users: &Users,
    ) -> tetragon::Process {
        self.converter(clock, users).process(process, whose.map_or(&[], slice::from_ref), process.pid())
    }

    /// The `exec_id` of an image on this machine.
    pub fn exec_id(&self, key: ProcessKey) -> String {
        key.exec_id(&self.node_name)
    }

    fn converter<'a>(&'a self, clock: &'a WallClock, users: &'a Users) -> Converter<'a> {
        Converter { node: &self.node_name, cluster: &self.cluster_name, options: &self.options, clock, users }
    }
}

/// What a fact does not say itself.
#[derive(Clone, Copy)]
pub(crate) struct Converter<'a> {
    pub(crate) node: &'a str,
    pub(crate) cluster: &'a str,
    pub(crate) options: &'a AnnotationOptions,
    pub(crate) clock: &'a WallClock,
    pub(crate) users: &'a Users,
}

impl Converter<'_> {
    fn exec_id(self, key: ProcessKey) -> String {
        key.exec_id(self.node)
    }

    fn date(self, time: BootTime) -> Timestamp {
        date(self.clock, time)
    }
}

/// The date of a boot time.
pub(crate) fn date(clock: &WallClock, time: BootTime) -> Timestamp {
    clock.at(time).into()
}

/// The kernel's bytes as text: runs that are not UTF-8 become one U+FFFD each.
pub(crate) fn text(bytes: &[u8]) -> String {
    to_valid_utf8(bytes).into_owned()
}

/// The same, without a copy of what is UTF-8.
fn owned_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| text(error.as_bytes()))
}

#[cfg(test)]
mod tests;
