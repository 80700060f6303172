//! The published schema of lines, for every test that has some: include it by its path.

use std::sync::LazyLock;

/// Why the schema does not allow a line, one reason a line. Empty: it does.
pub(crate) fn schema_errors(line: &str) -> String {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let text = include_str!("../../../../docs/events.schema.json");
        jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap()
    });
    let line = serde_json::from_str(line).unwrap();
    let errors = SCHEMA.iter_errors(&line).map(|error| format!("{}: {error}\n", error.instance_path()));
    errors.collect()
}
