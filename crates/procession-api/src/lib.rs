//! The forms in which process events leave Procession.
//!
//! * [`json`] is the reference system's JSON, for programs that read its export files or the
//!   output of its client.
//! * [`users`] puts names to user ids.
//!
//! The library's types are not serializable on purpose: a wire format must not change because a
//! field was renamed. So each form is written down here once, as structures of its own that borrow
//! from a [`Fact`](procession::Fact).

#![forbid(unsafe_code)]

mod encoded;
mod flags;
pub mod json;
pub mod proto;
pub mod users;

pub use encoded::Encoded;
pub use flags::Flags;
pub use json::value::capability_name;
