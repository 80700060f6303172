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
