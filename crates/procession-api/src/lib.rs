//! The forms in which process events leave Procession.
//!
//! * [`proto`] is the reference system's API and our own beside it: messages, clients, servers.
//! * [`messages`] makes the reference's messages of what is told, and [`lineage`] ours of what the
//!   table knows.
//! * [`json`] writes them as the reference's export files and its client have them, [`dynamic`] reads
//!   them, and writes all others.
//! * [`users`] puts names to user ids.
//!
//! The library's types are not serializable on purpose: a wire format must not change because a
//! field was renamed. So the messages are the one form in which processes leave, and every other is
//! made of them.

#![forbid(unsafe_code)]

pub mod dynamic;
mod encoded;
mod flags;
pub mod json;
pub mod lineage;
pub mod messages;
pub mod proto;
pub mod users;

pub use encoded::Encoded;
pub use flags::Flags;

/// The schema's name of a capability, by the kernel's number. That of number 1 has no `CAP_`.
pub fn capability_name(number: u32) -> Option<&'static str> {
    let capability = proto::tetragon::CapabilitiesType::try_from(i32::try_from(number).ok()?).ok()?;
    Some(capability.as_str_name())
}
