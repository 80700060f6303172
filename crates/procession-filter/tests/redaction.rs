//! What is hidden.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod support;

use procession_api::proto::tetragon::{EnvVar, Process};
use procession_filter::{Redaction, parse_redaction_filters};
use proptest::prelude::*;
use support::*;

fn redaction(text: &str) -> Redaction {
    Redaction::new(&parse_redaction_filters(text).unwrap()).unwrap()
}

fn hidden(pattern: &str, arguments: &str) -> String {
    let filters = serde_json::json!({ "redact": [pattern] }).to_string();
    let mut process = Process { arguments: arguments.to_owned(), ..Process::default() };
    redaction(&filters).apply_process(&mut process);
    process.arguments
}

#[test]
fn groups_are_hidden() {
    for (pattern, text, expected) in [
        (r"--password(?:\s+|=)(\S*)", "--password=x --password y", "--password=***** --password *****"),
        (r"--password=(\S*)", "--password=", "--password=*****"),
        (r"nothing", "nothing", "nothing"),
        (r"(a)(b)", "ab", "**********"),
        (r"((a)b)", "ab", "*****"),
        // Anchors and boundaries look at the text around.
        (r"^(\w+) ", "one two", "***** two"),
        (r"\b(secret)\b", "secret secrets", "***** secrets"),
        (r"x (\d+)$", "x 1 x 2", "x 1 x *****"),
        (r"(?:(a)|(b))+", "ba", "**********"),
        (r"(é+)", "caféé", "caf*****"),
        (r"(x*)é", "é", "*****é"),
        (r"--token=(\S*)", "--token=ü--token=ü", "--token=*****"),
        (r"(?:a)?(b)?", "c", "c"),
    ] {
        assert_eq!(hidden(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn filters_are_for_their_binaries_and_apply_in_order() {
    let filters = redaction(
        r#"{"redact":["--token=(\\S+)"],"binary_regex":["(?:^|/)curl$"]}
           {"redact":["(http)"]}"#,
    );
    let mut event = exec();
    filters.apply(&mut event);
    let mut expected = process();
    "-s --token=***** *****://x".clone_into(&mut expected.arguments);
    assert_eq!(event, exec_of(expected));
    let mut other = Process { binary: "/bin/wget".to_owned(), ..process() };
    filters.apply_process(&mut other);
    assert_eq!(other.arguments, "-s --token=abc *****://x");
}

#[test]
fn variables_are_taken_with_their_names() {
    let mut process = process();
    process.environment_variables.push(EnvVar { key: "PATH".to_owned(), value: "/bin=1".to_owned() });
    let before = process.clone();
    redaction(r#"{"redact":["^TOKEN=(.*)$"]}"#).apply_process(&mut process);
    assert_eq!(
        process.environment_variables[0],
        EnvVar { key: "TOKEN".to_owned(), value: "*****".to_owned() }
    );
    assert_eq!(process.environment_variables[1], before.environment_variables[1]);
    redaction(r#"{"redact":["(.+)"]}"#).apply_process(&mut process);
    assert_eq!(process.environment_variables[1], EnvVar { key: "*****".to_owned(), value: String::new() });
}

#[test]
fn parents_and_ancestors_are_redacted_too() {
    let mut event = exec();
    redaction(r#"{"redact":["(deploy)"]}"#).apply(&mut event);
    assert!(!format!("{event:?}").contains("deploy"));
    let mut event = throttle();
    redaction(r#"{"redact":["(x)"]}"#).apply(&mut event);
    assert_eq!(event, throttle());
}

#[test]
fn what_does_nothing_is_said() {
    let filters = redaction(r#"{"redact":["(a)","b"],"match":[{}]} {}"#);
    let expected = [
        "redaction_filters[0].match: is ignored; use `binary_regex`",
        "redaction_filters[0].redact[1]: `b` has no group, so it hides nothing",
        "redaction_filters[1].redact: is empty, so nothing is hidden",
    ];
    assert_eq!(filters.warnings(), expected);
    let filters = parse_redaction_filters(r#"{"redact":["a","("]}"#).unwrap();
    let error = Redaction::new(&filters).unwrap_err().to_string();
    assert!(error.starts_with("redaction_filters[0].redact[1]: "), "{error}");
}

proptest! {
    #[test]
    fn no_secret_survives(words in proptest::collection::vec("[a-y]{0,3}|--key=z[0-9é]{1,4}|--key z[0-9]{2}", 0..8)) {
        let text = words.join(" ");
        let left = hidden(r"--key[= ](\S+)", &text);
        prop_assert!(!left.contains('z'), "{}", left);
        prop_assert_eq!(left.matches("*****").count(), text.matches('z').count());
        prop_assert_eq!(hidden(r"--key[= ](\S+)", &left), left);
    }

    #[test]
    fn any_pattern_leaves_text(pattern in r"[ab()|*+?.^$]{0,10}", text in "[abé ]{0,12}") {
        let filters = serde_json::json!({ "redact": [pattern] }).to_string();
        if let Ok(redaction) = Redaction::new(&parse_redaction_filters(&filters).unwrap()) {
            let mut process = Process { arguments: text, ..Process::default() };
            redaction.apply_process(&mut process);
        }
    }
}
