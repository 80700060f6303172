//! `cargo xtask tidy`: the house rules that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Which crate of ours may use which. A new edge is an event: it is added here on purpose.
const EDGES: [(&str, &[&str]); 10] = [
    ("procession", &[]),
    ("procession-journal", &["procession"]),
    ("procession-filter", &["procession", "procession-api"]),
    ("procession-sensor", &["procession"]),
    ("procession-kube", &["procession"]),
    ("procession-api", &["procession", "procession-kube"]),
    ("procession-parquet", &["procession", "procession-api", "procession-journal", "procession-kube"]),
    (
        "procession-agent",
        &[
            "procession",
            "procession-api",
            "procession-filter",
            "procession-journal",
            "procession-kube",
            "procession-sensor",
        ],
    ),
    (
        "procession-cli",
        &[
            "procession",
            "procession-agent",
            "procession-api",
            "procession-filter",
            "procession-journal",
            "procession-kube",
            "procession-parquet",
            "procession-sensor",
        ],
    ),
    ("procession-soak", &["procession", "procession-api", "procession-journal"]),
];

/// Where `unsafe` may stand.
const UNSAFE: [&str; 7] = [
    "crates/procession-cli/examples/actor/",
    "crates/procession-sensor/benches/overhead.rs",
    "crates/procession-sensor/src/ebpf/mod.rs",
    "crates/procession-sensor/src/ebpf/object.rs",
    "crates/procession-sensor/src/ebpf/ring.rs",
    "crates/procession-sensor/tests/pins.rs",
    "crates/procession/benches/measure/mod.rs",
];

/// Checks every rule and reports all that is broken.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut broken = Vec::new();
    check_edges(root, &mut broken)?;
    check_code_map(root, &mut broken)?;
    for file in rust_files(&root.join("crates"))? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        if !text.trim_start_matches("#![").starts_with("//!") && !text.starts_with("/*!") {
            broken.push(format!("{name}: does not begin with what it is for (`//!`)"));
        }
        let is_unsafe = |line: &str| line.trim_start().starts_with("unsafe ") || line.contains(" unsafe {");
        let is_allowed = UNSAFE.iter().any(|allowed| name.starts_with(allowed));
        if !is_allowed && text.lines().any(is_unsafe) {
            broken.push(format!("{name}: `unsafe` has no place here"));
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("{}", broken.join("\n")) }
}

fn check_edges(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    for (name, allowed) in EDGES {
        let manifest = root.join("crates").join(name).join("Cargo.toml");
        let text =
            fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or(&text);
        let used: BTreeSet<_> = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|word| EDGES.iter().any(|(other, _)| other == word) && *word != "name")
            .collect();
        for edge in used.into_iter().filter(|edge| !allowed.contains(edge)) {
            broken.push(format!("{name} may not depend on {edge}"));
        }
    }
    Ok(())
}

fn check_code_map(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    let missing = EDGES.iter().map(|(name, _)| name).filter(|name| !map.contains(&format!("`{name}`")));
    broken.extend(missing.map(|name| format!("ARCHITECTURE.md: does not name `{name}`")));
    Ok(())
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
