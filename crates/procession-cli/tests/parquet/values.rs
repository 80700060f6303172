//! Types and values: as the documentation has them, and as a fold of the journal gives them.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use procession::text::to_valid_utf8;
use procession::{ExitStatus, Fact, FactKind, Image, LineageDetail, Outcome, Table, TableConfig};
use procession_journal::{Content, Reader};
use serde_json::{Value, json};

use crate::document::columns;
use crate::engine::{ENGINES, ask};
use crate::story::recording;
use crate::{Test, exported, root};

/// All of this module.
pub(crate) const TESTS: [Test; 3] = [
    ("the_columns_have_the_names_and_types_that_are_documented", types),
    ("the_rows_are_the_facts_of_a_fold", rows),
    ("hostile_text_comes_through", hostile),
];

const VIEW: &str =
    "CREATE VIEW events AS SELECT * FROM read_parquet('processes/*/*/*.parquet', hive_partitioning = true)";

fn types() {
    let folder = exported();
    let described =
        ask("duckdb", folder.path(), &[VIEW, "SELECT column_name, column_type FROM (DESCRIBE events)"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let given: Vec<_> = described.rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect();
    let documented = columns(&fs::read_to_string(root().join("docs/parquet.md")).unwrap());
    assert_eq!(given, documented);
}

/// All facts, by a fold that shares nothing with the export but the table.
fn facts(journal: &Path) -> Vec<Fact> {
    let mut reader = Reader::new(File::open(journal).unwrap()).unwrap();
    let mut table = Table::new(TableConfig::default());
    let mut facts = Vec::new();
    while let Some(block) = reader.next().unwrap() {
        let Content::Events(events) = block.content else { continue };
        events.each(&mut |event| {
            let applied = table.apply(event);
            assert_eq!(applied.outcome, Outcome::Applied, "{event:?}");
            let kind = applied.kind.unwrap();
            facts.extend(table.fact(applied.process.unwrap(), event.time, kind, LineageDetail::Parent));
        });
    }
    facts
}

/// What a row should have.
fn row(fact: &Fact) -> Value {
    let (process, clock) = (&fact.process, recording().clock);
    let exec_id = |key: procession::ProcessKey| key.exec_id("shop-1");
    let text = |bytes: &[u8]| Some(to_valid_utf8(bytes).into_owned()).filter(|text| !text.is_empty());
    let image = process.image.as_ref();
    let (event, status) = match fact.kind {
        FactKind::Fork => ("fork", None),
        FactKind::Exec => ("exec", None),
        FactKind::Exit { status, .. } => ("exit", status),
        FactKind::Running => ("found", None),
        FactKind::Change => ("change", None),
    };
    let signal = status.and_then(ExitStatus::signal);
    let code = status.filter(|_| signal.is_none()).map(ExitStatus::code);
    let micros = clock.at(fact.time).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    let arguments: Option<Vec<_>> =
        image.map(|image| image.arguments().iter().map(|one| to_valid_utf8(one).into_owned()).collect());
    json!([
        fact.sequence,
        u64::try_from(micros).unwrap(),
        event,
        exec_id(process.key),
        process.reference_parent().map(exec_id),
        process.pid().0,
        text(process.binary()),
        arguments,
        image.and_then(|image| text(image.cwd().as_bytes())),
        fact.parent().and_then(|parent| text(parent.binary())),
        process.user().map(|user| user.0),
        code,
        signal.and_then(procession::Signal::name),
        image.map(|image| image.privileges().setuid),
        image.and_then(Image::namespaces).map(|namespaces| namespaces.net),
    ])
}

fn rows() {
    let folder = exported();
    let question = "SELECT sequence, epoch_us(time), event, exec_id, parent_exec_id, pid, program, arguments, cwd, \
                    parent_program, euid, exit_code, signal, setuid, net_ns FROM events ORDER BY sequence";
    let answer = ask("duckdb", folder.path(), &[VIEW, question]);
    let given: Vec<_> = answer.rows.into_iter().map(Value::Array).collect();
    let facts = facts(&folder.path().join("night.journal"));
    assert!(facts.len() > 25, "the story has as many events");
    let wanted: Vec<_> = facts.iter().map(row).collect();
    assert_eq!(given, wanted);
}

fn hostile() {
    let folder = exported();
    let arguments = json!(["a\nb", "\"quoted\", 'too'; -- DROP", "", "\u{fffd}|\u{e9}", "\t\\N"]);
    let wanted = json!([arguments, "/tmp/x\n\"y\",\u{fffd}(z", "/tmp/\u{1b}[31m"]);
    for engine in ENGINES {
        let (from, begins) = match engine {
            "duckdb" => ("'processes/*/*/*.parquet'", "starts_with"),
            _ => ("file('processes/*/*/*.parquet')", "startsWith"),
        };
        let question = format!(
            "SELECT arguments, program, cwd FROM {from} \
             WHERE pid = 402 AND event = 'exec' AND {begins}(command_line, program)"
        );
        let answer = ask(engine, folder.path(), &[&question]);
        assert_eq!(answer.rows.len(), 1, "{engine}");
        let given = Value::Array(answer.rows[0].clone());
        assert_eq!(given, wanted, "{engine}");
    }
}
