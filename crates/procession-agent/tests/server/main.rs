//! The server, over real sockets, with a node that plays a script.

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
