//! What an import makes of lines, and says of them.

use super::*;

#[test]
fn several_nodes_are_named_and_what_to_do() {
    let others: BTreeMap<_, _> = (0..20).map(|number| (format!("n{number:02}"), number)).collect();
    let text = several("x.json", Some("first"), &others);
    assert!(
        text.contains("`first`, `n19`, `n18`") && text.contains("and more") && text.contains("--node"),
        "{text}"
    );
    assert!(!text.contains("n05"), "{text}");
}

#[test]
fn that_there_was_nothing_is_told_with_what_was_there_instead() {
    let counts = Counts { other_nodes: 3, ..Counts::default() };
    assert!(nothing("x.json", Some("n"), &counts).contains("3 of others"));
    assert!(nothing("x.json", None, &Counts::default()).contains("JSON"));
}

#[test]
fn what_is_no_event_is_told_in_the_words_of_who_reads_it() {
    let said = |text: &str| {
        no_event(&dynamic::parse_json::<GetEventsResponse>(EVENT, text, Unknown::Ignore).unwrap_err())
    };
    for (text, why) in [
        ("hello", "(expected value at column 1)"),
        (r#"{"process_exec":7}"#, "at column"),
        (r#"{"process_exec":{}"#, "EOF while parsing an object at column 18"),
    ] {
        let told = said(text);
        assert!(told.contains(why) && told.contains("{\"process_exec\":{…}}"), "{text}: {told}");
        assert!(!told.contains("GetEventsResponse") && !told.contains("line 1"), "{text}: {told}");
    }
}

#[test]
fn a_bad_line_is_shown_by_its_beginning() {
    assert_eq!(beginning(b"  hello\n"), "hello");
    assert_eq!(beginning("é".repeat(41).as_bytes()), format!("{}…", "é".repeat(40)));
    assert_eq!(beginning(b"\xff"), "\u{fffd}");
}
