//! The `.proto` files: their form, and that a change breaks no client.

use std::process::Command;

use crate::{Test, peers, protos};

pub(crate) const TESTS: [Test; 2] = [("buf::lint", lint), ("buf::breaking", breaking)];

fn lint() {
    buf(&["lint"]);
}

/// Against what was released: `released.binpb` is what `buf build` made of the files then.
fn breaking() {
    buf(&["breaking", "--against", "released.binpb"]);
}

fn buf(arguments: &[&str]) {
    let mut buf = Command::new(peers().join("node_modules/.bin/buf"));
    let output = buf.args(arguments).current_dir(protos()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
