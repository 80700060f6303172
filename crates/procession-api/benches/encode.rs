//! See the figures that it prints.

fn main() {}
