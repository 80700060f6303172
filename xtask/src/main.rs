//! Development tasks that need more than cargo: `cargo xtask <task>`.

mod bpf;
mod proto;
mod schema;
mod tidy;

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Development tasks of Procession")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the BPF objects from their C sources.
    Bpf(bpf::Options),
    /// Generate Rust from the protobuf files.
    Proto(proto::Options),
    /// Check the house rules that no compiler checks.
    Tidy,
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    match Cli::parse().task {
        Task::Bpf(options) => bpf::run(root, &options),
        Task::Proto(options) => proto::run(root, &options),
        Task::Tidy => tidy::run(root),
    }
}
