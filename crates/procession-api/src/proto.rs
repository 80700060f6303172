//! The messages and services, generated from the `.proto` files in `proto/`.
//!
//! Clients speak in messages. Servers take and give the same ones, but for the events of a stream,
//! which they give as [`Encoded`](crate::Encoded). Every file is as its generator wrote it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::large_enum_variant,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// The reference system's API.
#[rustfmt::skip]
#[path = "proto/tetragon.rs"]
pub mod tetragon;

/// Its servers.
#[rustfmt::skip]
#[path = "proto/tetragon.server.rs"]
pub mod tetragon_servers;

/// What is our own.
#[path = "proto"]
pub mod procession {
    /// Version 1.
    #[rustfmt::skip]
    #[path = "procession.v1.rs"]
    pub mod v1;
}

/// The server of that.
#[rustfmt::skip]
#[path = "proto/procession.v1.server.rs"]
pub mod procession_servers;

/// The descriptors of all of it, and of what it imports: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("proto/descriptors.binpb");
