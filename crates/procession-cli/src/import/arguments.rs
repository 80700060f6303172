//! From the one text that an export has of a program's arguments back to the arguments.

use procession::Arguments;

/// The arguments after `argv[0]`, of which `text` was made by the reference's rule: a space separates, and
/// double quotes stand around an argument that has a space.
///
/// The text does not always say where an argument ends, since what is inside quotes is not escaped. Then the
/// arguments are some that have the same text.
pub(super) fn split(text: &str) -> Vec<&str> {
    let quoted = by_quotes(text);
    if is_text_of(&quoted, text) { quoted } else { text.split(' ').collect() }
}

/// Takes what stands between quotes for one argument where that can be.
fn by_quotes(text: &str) -> Vec<&str> {
    let mut arguments = Vec::new();
    if text.is_empty() {
        return arguments;
    }
    // A quoted one has a space before it even if it is the first.
    let mut rest = if text.starts_with(" \"") { &text[1..] } else { text };
    loop {
        let (argument, after) = quoted(rest).unwrap_or_else(|| {
            let end = rest.find(' ').unwrap_or(rest.len());
            rest.split_at(end)
        });
        arguments.push(argument);
        match after.strip_prefix(' ') {
            Some(more) => rest = more,
            None => return arguments,
        }
    }
}

/// The first argument if it is in quotes, and what follows them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let ends = inside.match_indices('"').map(|(end, _)| end);
    // Only one with a space is put in quotes.
    let mut ends = ends.filter(|end| inside[..*end].contains(' '));
    let is_end = |end: &usize| matches!(inside.as_bytes().get(end + 1), None | Some(b' '));
    let end = ends.find(is_end)?;
    Some((&inside[..end], &inside[end + 1..]))
}

fn is_text_of(arguments: &[&str], text: &str) -> bool {
    Arguments::complete(&block("", arguments)).joined(true) == text.as_bytes()
}

/// The block that the kernel would have of them: `program` first, a NUL after each.
pub(super) fn block(program: &str, arguments: &[&str]) -> Vec<u8> {
    let mut block = Vec::new();
    for argument in [program].iter().chain(arguments) {
        block.extend_from_slice(argument.as_bytes());
        block.push(0);
    }
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(arguments: &[&str]) -> String {
        String::from_utf8(Arguments::complete(&block("x", arguments)).joined(true)).unwrap()
    }

    #[test]
    fn arguments_are_found_again() {
        for arguments in [
            &[][..],
            &["-l"],
            &["-c", "echo a; sleep 1"],
            &["a b"],
            &["a b", "c", "d e"],
            &["x", "", "y"],
            &["-e", "s/\"a\"/b/"],
        ] {
            assert_eq!(split(&text(arguments)), arguments, "{:?}", text(arguments));
        }
    }

    proptest! {
        /// Whatever they were, what is shown is the same.
        #[test]
        fn the_text_stays(arguments in prop::collection::vec("[ab \"]{0,5}", 0..5)) {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let first = text(&arguments);
            let again = text(&split(&first));
            // A text whose first words are ambiguous may lose the space that stands before a quote.
            prop_assert_eq!(again.trim_start(), first.trim_start());
        }
    }
}
