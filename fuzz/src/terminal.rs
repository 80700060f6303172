//! What an agent answers, and what of it reaches a terminal: its words are those of whoever chose the names of processes,
//! or of a program that only says it is an agent.

use procession_cli::fuzzing::{Answer, Shown, shown};

const ANSWERS: [Answer; 15] = [
    Answer::Events,
    Answer::Compact,
    Answer::Snapshot,
    Answer::EventsJson,
    Answer::Processes,
    Answer::Tree,
    Answer::Descendants,
    Answer::Why,
    Answer::Status,
    Answer::Dump,
    Answer::DumpTetragon,
    Answer::TreeJson,
    Answer::WhyJson,
    Answer::StatusJson,
    Answer::Refusal,
];

/// An answer of an agent. The first byte says to which question it is, the second how wide the terminal is; what
/// follows are messages with their lengths before them.
///
/// Nothing that a terminal obeys is shown but the program's own colours, which are all that differs where it is asked for
/// them; no message has more than one line, where it is to have one; what is told as JSON is read back the same.
pub fn render(input: &[u8]) {
    let [question, width, messages @ ..] = input else { return };
    let answer = ANSWERS[usize::from(*question) % ANSWERS.len()];
    let width = (*width < 128).then_some(usize::from(*width));
    let plain = shown(answer, messages, false, width);
    let lines = str::from_utf8(&plain.lines).expect("what is shown is text");
    check_lines(answer, lines, plain.messages);
    check_text(answer, lines);
    check_text(answer, &plain.notes);
    let Shown { lines: coloured, notes, .. } = shown(answer, messages, true, width);
    let coloured = str::from_utf8(&coloured).expect("what is shown is text");
    // The columns of the compact form count colours too.
    let shape: fn(&str) -> String =
        if answer == Answer::Compact { |text| text.split_whitespace().collect() } else { str::to_owned };
    assert_eq!(shape(&without_colours(coloured)), shape(lines), "colours are all that differs");
    assert_eq!(notes, plain.notes);
}

fn check_lines(answer: Answer, lines: &str, messages: usize) {
    let count = lines.lines().count();
    assert!(lines.is_empty() || lines.ends_with('\n'));
    match answer {
        Answer::Processes => assert!(count <= messages + 1, "{lines}"),
        Answer::Status => lines.lines().for_each(check_line_of_status),
        Answer::Why => {}
        _ => assert!(count <= messages, "{lines}"),
    }
}

/// Names of what there is to say of an agent. No name of a reader or of a node makes one more.
const NAMES: [&str; 17] = [
    "agent",
    "version",
    "node",
    "up",
    "source",
    "processes",
    "last event",
    "clients",
    "rights",
    "events",
    "lost",
    "inferred",
    "repaired",
    "journal",
    "reader",
    "memory",
    "",
];

fn check_line_of_status(line: &str) {
    let name = line.get(..12).map(str::trim_end);
    assert!(name.is_some_and(|name| NAMES.contains(&name)), "{line}");
}

/// No control character but line feeds; and in what people read none that turns the direction of writing or cannot be
/// seen.
fn check_text(answer: Answer, text: &str) {
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    let is_json = matches!(
        answer,
        Answer::EventsJson
            | Answer::Dump
            | Answer::DumpTetragon
            | Answer::TreeJson
            | Answer::WhyJson
            | Answer::StatusJson
    );
    assert!(is_json || !text.contains(is_unseen), "{text:?}");
}

fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What is left of a text without the sequences that the program's colours are made of.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('m').expect("a colour ends");
        assert!(
            matches!(code, "0" | "1" | "2" | "31" | "32" | "33" | "34" | "35" | "36"),
            "no colour: {code:?}"
        );
        plain += rest;
    }
    plain
}
