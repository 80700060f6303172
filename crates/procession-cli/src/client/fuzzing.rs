//! What commands make of the answers of an agent, whatever it sends, for `fuzz/`.

use std::sync::LazyLock;

use clap::Parser as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use procession_api::json as events_json;
use procession_api::proto::procession::v1::{
    GetLedgerResponse, GetLineageResponse, GetStatusResponse, GetTreeResponse, Process,
};
use procession_api::proto::tetragon::{GetEventsResponse, ProcessInternal};
use prost::Message;
use tonic::{Code, Status};

use super::args::EventsArgs;
use super::connect::refusal;
use super::events::{Presenter, Told};
use super::json::{self, Named};
use super::tree::Tree;
use super::why::Story;
use super::words::{Moment, called};
use super::{processes, status};
use crate::args::{Cli, Command};
use crate::credentials;
use crate::fold::{folded, folded_table};
use crate::notice;
use crate::render::{List, Palette};

/// What was asked, and how the answer is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `events --tree --ancestors`.
    Events,
    /// `events -o compact`.
    Compact,
    /// `events --snapshot`.
    Snapshot,
    /// `events -o json`.
    EventsJson,
    /// `processes`.
    Processes,
    /// `tree`.
    Tree,
    /// `descendants`.
    Descendants,
    /// `why`.
    Why,
    /// `status`, of two messages.
    Status,
    /// `dump`, and `processes -o json`.
    Dump,
    /// `dump --tetragon`.
    DumpTetragon,
    /// `tree -o json`.
    TreeJson,
    /// `why -o json`.
    WhyJson,
    /// `status -o json`, of two messages.
    StatusJson,
    /// The agent refuses: a code, and why.
    Refusal,
}

/// What a terminal gets.
#[derive(Debug)]
pub struct Shown {
    /// On standard output.
    pub lines: Vec<u8>,
    /// On standard error.
    pub notes: String,
    /// The messages that were told of.
    pub messages: usize,
}

impl Shown {
    fn of(lines: Vec<u8>, messages: usize) -> Self {
        Self { lines, notes: String::new(), messages }
    }
}

/// Shows an answer: messages as they come in a stream, each behind its length. What cannot be decoded ends it, as
/// it ends a stream. `width`: the terminal's.
///
/// # Panics
///
/// What is written as JSON cannot be read again, or is another message then.
pub fn shown(answer: Answer, bytes: &[u8], is_coloured: bool, width: Option<usize>) -> Shown {
    let palette = if is_coloured { Palette::coloured() } else { Palette::plain() };
    let list = List::new(palette, width);
    match answer {
        Answer::Events | Answer::Compact | Answer::EventsJson => {
            events(answer, is_coloured, all(bytes).map(Told::Event))
        }
        Answer::Snapshot => events(answer, is_coloured, all(bytes).filter_map(Told::of)),
        Answer::Processes => table(bytes, list),
        Answer::Tree => tree(Tree::of, bytes, list),
        Answer::Descendants => tree(|all| Tree::of(all).with_times(&moment()), bytes, list),
        Answer::Why => why(bytes, width),
        Answer::Status => status_text(bytes, width),
        Answer::Dump => as_json::<Process>(bytes),
        Answer::DumpTetragon => as_json::<ProcessInternal>(bytes),
        Answer::TreeJson => as_json::<GetTreeResponse>(bytes),
        Answer::WhyJson => as_json::<GetLineageResponse>(bytes),
        Answer::StatusJson => status_json(bytes),
        Answer::Refusal => refused(bytes),
    }
}

/// The messages of a stream, up to the first that is none.
fn all<M: Message + Default>(mut bytes: &[u8]) -> impl Iterator<Item = M> {
    std::iter::from_fn(
        move || {
            if bytes.is_empty() { None } else { M::decode_length_delimited(&mut bytes).ok() }
        },
    )
}

fn first<M: Message + Default>(bytes: &mut &[u8]) -> M {
    M::decode_length_delimited(bytes).unwrap_or_default()
}

/// A time a little after that of the seeds.
fn moment() -> Moment {
    Moment { now: Timestamp::from_second(1_798_711_200).unwrap_or_default(), zone: TimeZone::UTC }
}

/// The options of each form: to read them takes longer than all else.
static OPTIONS: LazyLock<Vec<(Answer, bool, Option<EventsArgs>)>> = LazyLock::new(|| {
    let forms = [
        (Answer::Events, &["--tree", "--ancestors"][..]),
        (Answer::Compact, &["-o", "compact", "--timestamps"]),
        (Answer::Snapshot, &["--snapshot", "--tree"]),
        (Answer::EventsJson, &["-o", "json"]),
    ];
    let read = |options: &[&str], color| {
        let words = [&["procession", "events", color][..], options].concat();
        match Cli::try_parse_from(words).ok()?.command {
            Command::Events(args) => Some(args),
            _ => None,
        }
    };
    let all = forms.iter().flat_map(|(answer, options)| {
        [(*answer, true, read(options, "--color=always")), (*answer, false, read(options, "--color=never"))]
    });
    all.collect()
});

fn events(answer: Answer, is_coloured: bool, all: impl Iterator<Item = Told>) -> Shown {
    let args = OPTIONS.iter().find(|(of, coloured, _)| (*of, *coloured) == (answer, is_coloured));
    let args = args.and_then(|(_, _, args)| args.as_ref()).expect("these options can be read");
    let mut presenter = Presenter::new(args, TimeZone::UTC);
    let (mut lines, mut messages) = (Vec::new(), 0);
    for told in all {
        let begin = lines.len();
        presenter.show(&told, &mut lines);
        if answer == Answer::EventsJson {
            check_event(&lines[begin..]);
        }
        messages += 1;
    }
    let notes: String = presenter.notes.iter().map(|note| notice::shaped(note)).collect();
    Shown { lines, notes, messages }
}

fn check_event(line: &[u8]) {
    let text = line.escape_ascii();
    let again: GetEventsResponse = json::parse(line).unwrap_or_else(|| panic!("it is no event: {text}"));
    let mut written = Vec::new();
    events_json::write(&again, &mut written);
    assert!(written == line, "it is another event: {text}");
}

fn table(bytes: &[u8], mut list: List) -> Shown {
    let processes = processes::sorted(all(bytes), false);
    let mut lines = Vec::new();
    processes::table(&processes, &moment(), &mut list, &mut lines);
    Shown::of(lines, processes.len())
}

fn tree(make: impl FnOnce(Vec<GetTreeResponse>) -> Tree, bytes: &[u8], mut list: List) -> Shown {
    let responses: Vec<_> = all(bytes).collect();
    let (mut lines, messages) = (Vec::new(), responses.len());
    make(responses).draw(&mut list, &mut lines);
    Shown::of(lines, messages)
}

fn why(bytes: &[u8], width: Option<usize>) -> Shown {
    let lineage: GetLineageResponse = first(&mut &*bytes);
    let entries = lineage.chain.iter().filter_map(|link| link.process.as_ref());
    // As if each owner were one of the chain, or had the name of one.
    let owners = entries.filter_map(|entry| {
        let process = entry.process.as_ref()?;
        Some((entry.owner_exec_id.clone(), called(process, &entry.comm)))
    });
    let story = Story { lineage: &lineage, owners: owners.collect(), moment: moment() }.told();
    let story = width.map_or_else(|| story.clone(), |width| folded(&story, width));
    Shown::of(story.into_bytes(), 1)
}

fn status_text(mut bytes: &[u8], width: Option<usize>) -> Shown {
    let (of_agent, ledger): (GetStatusResponse, GetLedgerResponse) = (first(&mut bytes), first(&mut bytes));
    let text = status::told(&of_agent, &ledger, &moment());
    let text = width.map_or_else(|| text.clone(), |width| folded_table(&text, width, status::COLUMN));
    Shown::of(text.into_bytes(), 1)
}

fn status_json(mut bytes: &[u8]) -> Shown {
    let (of_agent, ledger): (GetStatusResponse, GetLedgerResponse) = (first(&mut bytes), first(&mut bytes));
    let lines = [line(&of_agent), line(&ledger)].concat();
    Shown::of(lines.into_bytes(), 2)
}

fn as_json<M: Named + Default>(bytes: &[u8]) -> Shown {
    let lines: Vec<_> = all::<M>(bytes).map(|message| line(&message)).collect();
    let messages = lines.len();
    Shown::of(lines.concat().into_bytes(), messages)
}

fn line<M: Named + Default>(message: &M) -> String {
    let line = json::line(message);
    // What has no form is null.
    if line != "null" {
        let again = json::parse::<M>(line.as_bytes()).unwrap_or_else(|| panic!("it is no message: {line}"));
        assert_eq!(json::line(&again), line, "it is another message");
    }
    line + "\n"
}

/// As the program says it when it ends.
fn refused(bytes: &[u8]) -> Shown {
    let (code, why) = bytes.split_first().unwrap_or((&0, &[]));
    let status = Status::new(Code::from_i32((*code).into()), String::from_utf8_lossy(why));
    let error = format!("{:#}", refusal(&status));
    let notes = notice::shaped(&credentials::hidden(&error));
    Shown { lines: Vec::new(), notes, messages: 1 }
}
