//! The server, over real sockets, with a node that plays a script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "../support/mod.rs"]
mod support;

mod events;
mod follow;
mod lab;
mod limits;
mod lineage;
mod sensors;
mod sockets;
mod tls;
