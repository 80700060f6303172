//! Text folded to the width of a terminal, between words.

/// Columns by which what goes on is indented more than its line.
const HANGING: usize = 4;

/// Columns that are left for words, however far a line is indented or narrow the terminal is.
const LEAST: usize = 20;

/// The lines of `text`, each folded to `width` columns where it has a space. What has none, such as a long
/// path, stays whole: it is to be copied.
pub(crate) fn folded(text: &str, width: usize) -> String {
    fold(text, width, |indent| indent + HANGING)
}

/// The same of a table: what goes on begins at `column`.
pub(crate) fn folded_table(text: &str, width: usize, column: usize) -> String {
    fold(text, width, |_| column)
}

/// `hanging`: at which column a line goes on that is indented so far.
fn fold(text: &str, width: usize, hanging: impl Fn(usize) -> usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        let hanging = hanging(indent);
        out.push_str(&line[..indent]);
        fold_line(words, (indent, hanging), width.max(hanging + LEAST), &mut out);
        out.push('\n');
    }
    out
}

fn fold_line(words: &str, (indent, hanging): (usize, usize), width: usize, out: &mut String) {
    let mut column = indent;
    for (number, word) in words.split(' ').enumerate() {
        let columns = columns(word);
        if number > 0 && column + 1 + columns > width {
            column = hanging;
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', column));
        } else if number > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += columns;
    }
}

/// How wide a word is: what changes its colour takes no room.
fn columns(word: &str) -> usize {
    let mut parts = word.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().chars().count();
    let coloured = parts.map(|part| part.split_once('m').map_or(part, |(_, shown)| shown).chars().count());
    first + coloured.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_goes_on_is_indented_more() {
        let text = "sleep (pid 7) runs /usr/bin/sleep 60 as alice.\n  It was started by bash.\n\nlast\n";
        assert_eq!(
            folded(text, 30),
            "sleep (pid 7) runs\n    /usr/bin/sleep 60 as\n    alice.\n  It was started by bash.\n\nlast\n"
        );
        assert_eq!(folded(text, 100), text);
    }

    #[test]
    fn a_table_goes_on_in_its_column() {
        let text = "memory      1 MiB of 48 MiB for the table of processes\n            2 running\n";
        let expected = "memory      1 MiB of 48 MiB for\n            the table of\n            processes\n            2 running\n";
        assert_eq!(folded_table(text, 32, 12), expected);
    }

    #[test]
    fn a_word_stays_whole() {
        assert_eq!(
            folded("a /very/long/path/that/has/no/space b", 10),
            "a\n    /very/long/path/that/has/no/space\n    b\n"
        );
    }

    #[test]
    fn colours_take_no_room() {
        let text = "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m one two\n";
        assert_eq!(folded(text, 20), text);
        assert_eq!(columns("\u{1b}[1mé\u{1b}[0m"), 1);
    }

    proptest! {
        #[test]
        fn folding_only_breaks_between_words(text in "( {0,6}([a-zé]{0,30} ?){0,8}\n){0,5}", width in 0..120_usize) {
            let folded = folded(&text, width);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&folded), words(&text));
            for line in folded.lines().filter(|line| line.trim_start().contains(' ')) {
                let indent = line.len() - line.trim_start().len();
                prop_assert!(line.trim_end().chars().count() <= width.max(indent + HANGING + LEAST), "{}", line);
            }
        }
    }
}
