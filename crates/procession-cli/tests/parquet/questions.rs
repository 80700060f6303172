//! The questions of the documentation, and their answers.

use std::fs;

use crate::document::examples;
use crate::engine::{ENGINES, ask};
use crate::{Test, exported, root};

/// All of this module.
pub(crate) const TESTS: [Test; 2] = [
    ("every_engine_answers_the_questions_as_the_documentation_says", every_engine_answers),
    ("an_export_that_is_made_again_gives_the_same_answers", again),
];

/// Where the questions are.
const DOCUMENTS: [&str; 2] = ["docs/investigators.md", "docs/parquet.md"];

/// What an engine is asked: first how it reads the files, then the questions.
fn questions(engine: &str) -> Vec<(String, String)> {
    let texts = DOCUMENTS.map(|name| fs::read_to_string(root().join(name)).unwrap());
    let found = texts.iter().flat_map(|text| examples(text, engine));
    found.map(|(code, table)| (code.to_owned(), table.to_owned())).collect()
}

fn every_engine_answers() {
    let folder = exported();
    for engine in ENGINES {
        let questions = questions(engine);
        let [(view, _), questions @ ..] = &questions[..] else { panic!("no questions for {engine}") };
        assert_eq!(questions.len(), 3, "{engine}");
        for (question, answer) in questions {
            let given = ask(engine, folder.path(), &[view, question]).to_markdown();
            assert_eq!(given, *answer, "{engine}: {question}");
        }
    }
}

fn again() {
    let folder = exported();
    let (view, question) =
        ("CREATE VIEW events AS SELECT * FROM 'processes/*/*/*.parquet'", "SELECT count(*) FROM events");
    let count = || ask("duckdb", folder.path(), &[view, question]).to_markdown();
    let before = count();
    crate::export(&folder.path().join("night.journal"), &folder.path().join("processes"), &[]);
    assert_eq!(count(), before);
}
