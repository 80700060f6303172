//! The engines, each behind the same script.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

/// Who is asked.
pub(crate) const ENGINES: [&str; 2] = ["duckdb", "clickhouse"];

/// An answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// Of the columns.
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Where the engines are installed.
pub(crate) fn folder() -> PathBuf {
    // target/PROFILE/deps/parquet-HASH
    let own = || env::current_exe().unwrap().ancestors().nth(3).unwrap().join("engines");
    env::var_os("PROCESSION_ENGINES").map_or_else(own, PathBuf::from)
}

/// What `engine` says to statements, of which the last one is a question, in a folder.
pub(crate) fn ask(engine: &str, folder: &Path, statements: &[&str]) -> Answer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet/query.py");
    let mut asked = Command::new(self::folder().join("python/bin/python"))
        .arg(script)
        .arg(engine)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = statements.join(";\n");
    asked.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = asked.wait_with_output().unwrap();
    assert!(output.status.success(), "{engine} did not answer {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Answer {
    /// As a table in Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let head = [line(self.names.clone()), ["|", &"---|".repeat(self.names.len()), "\n"].concat()];
        let rows = self.rows.iter().map(|row| line(row.iter().map(cell).collect()));
        head.into_iter().chain(rows).collect()
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
