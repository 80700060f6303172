//! `procession history`: the lives of processes, each event in the line in which `watch` would show it.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use procession::{Fact, FactKind, ParentLink, Pid, Process, ProcessKey, Provenance};
use procession_agent::{RecordedInventory, Told};
use procession_journal::{Happening, Life, Target, What};
use serde_json::{Value, json};

use super::args::{HistoryArgs, ListOutputArg, ListShowArgs, Name};
use super::no_such;
use super::recorded::Recorded;
use super::screen::{self, Screen};
use super::words::called;
use crate::args::{ColorArg, TerminalArgs};
use crate::fold::folded;
use crate::journal::{self, default_path};
use crate::progress;
use crate::render::{Form, List, Listed, MessageView, Renderer, Surroundings, Text, TextOptions};
use crate::summary;
use crate::when::shown;

/// Children of a process that are listed.
const MOST_CHILDREN: usize = 1_000;

pub(super) fn run(args: &HistoryArgs, screen: &mut Screen<'_>) -> anyhow::Result<ExitCode> {
    let path = args.journal.clone().unwrap_or_else(default_path);
    let journal = journal::open(&path)?;
    let target = target_of(&args.process)?;
    let found = progress::told(&journal, || journal.history(target, None, MOST_CHILDREN))?;
    journal::tell_damage(&path, &found.damage);
    let lives = found.list;
    if lives.is_empty() {
        return Err(no_such(&args.process, &path));
    }
    let names = journal.names()?;
    journal::tell_left_out(names.left_out());
    let inventory = RecordedInventory::new(names);
    for (number, life) in lives.iter().enumerate() {
        let recorded = Recorded::new(&life.recording, &inventory);
        match args.output {
            ListOutputArg::Text => {
                if number > 0 {
                    screen.put_line("");
                }
                let is_last_boot = life.recording.boot_id == journal.recording().boot_id;
                let end = is_last_boot.then(|| journal.span().1);
                Tale { life, recorded: &recorded, end, zone: TimeZone::system() }.tell(screen.lines());
            }
            ListOutputArg::Json => screen.put_line(&as_json(life, &recorded).to_string()),
        }
        screen.write_some()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The process, as a journal knows it by.
pub(super) fn target_of(name: &Name) -> anyhow::Result<Target> {
    match name {
        Name::Pid(pid) => Ok(Target::Pid(Pid(*pid))),
        Name::ExecId(id) => {
            let parsed = ProcessKey::parse_exec_id(id).map(|(_, key)| Target::Key(key));
            parsed.with_context(|| format!("`{id}` is no exec_id: one is base64 of `node:start:pid`"))
        }
    }
}

/// A life, to be told to people.
pub(super) struct Tale<'a> {
    pub(super) life: &'a Life,
    pub(super) recorded: &'a Recorded<'a>,
    /// Up to when its boot is recorded. `None`: the machine was booted again since.
    pub(super) end: Option<SystemTime>,
    pub(super) zone: TimeZone,
}

impl Tale<'_> {
    /// Appends all of it.
    pub(super) fn tell(&self, out: &mut Vec<u8>) {
        self.opening(out);
        let mut day = None;
        for happening in &self.life.happenings {
            self.note_day(happening.time, &mut day, out);
            self.happening(happening, out);
        }
        self.children(out);
    }

    /// Who it is, when it lived, and who led to it.
    fn opening(&self, out: &mut Vec<u8>) {
        let Life { recording, process, lineage, .. } = self.life;
        let message = self.recorded.process(process);
        let began = shown(recording.clock.at(process.began), &self.zone);
        let span = match (process.end, self.end) {
            (Some(end), _) => format!("from {began} to {}", shown(recording.clock.at(end.time), &self.zone)),
            // Of an agent at work this is now, or a moment ago.
            (None, Some(end)) => {
                format!("since {began}, still running at {}, where the journal ends", shown(end, &self.zone))
            }
            (None, None) => format!("since {began}, still running when the record of that boot ends"),
        };
        let (node, uid) = (&recording.node_name, &message.process_uid);
        let uid = if uid.is_empty() { String::new() } else { format!(" ({uid})") };
        put_folded(out, &format!("{} on {node}, {span}{uid}", self.called(process)));
        let above: Vec<_> = parents(process, lineage).map(|parent| self.called(parent)).collect();
        if !above.is_empty() {
            put_folded(out, &format!("  started by {}", above.join(" ← ")));
        }
    }

    fn called(&self, process: &Process) -> String {
        let message = self.recorded.process(process);
        message.process.map(|process| called(&process, &message.comm)).unwrap_or_default()
    }

    /// The date, where another begins.
    fn note_day(&self, time: SystemTime, day: &mut Option<Date>, out: &mut Vec<u8>) {
        let date = Timestamp::try_from(time).ok().map(|time| self.zone.to_datetime(time).date());
        if date.is_some() && std::mem::replace(day, date).is_some_and(|before| Some(before) != date) {
            put(out, &shown(time, &self.zone)[..10]);
        }
    }

    fn happening(&self, happening: &Happening, out: &mut Vec<u8>) {
        match &happening.what {
            What::Known(process) => self.line(&known(process), happening.time, out),
            What::Event(fact) => self.line(fact, happening.time, out),
            What::Inherited(owner) => {
                let time = to_the_millisecond(happening.time, &self.zone);
                let owner = owner.as_ref().map_or("nobody knows whom".to_owned(), told_owner);
                put_folded(out, &format!("{time} now belongs to {owner}, because its parent has ended"));
            }
        }
    }

    /// As `watch` would show it, with the parent.
    fn line(&self, fact: &Fact, time: SystemTime, out: &mut Vec<u8>) {
        let text = Text::new(TextOptions {
            forks: true,
            tree: false,
            ancestors: fact.kind == FactKind::Fork,
            width: screen::width(false),
            palette: screen::palette(ColorArg::Auto),
        });
        let surroundings = Surroundings {
            clock: procession::WallClock::new(fact.time, time),
            zone: self.zone.clone(),
            users: self.recorded.users().clone(),
        };
        let containers = self.recorded.whose(&fact.process).into_iter().collect();
        let told = Told { fact: fact.clone(), containers, is_complete: true };
        Renderer::new(Form::Text(text), surroundings).render(&told, out);
    }

    fn children(&self, out: &mut Vec<u8>) {
        let Life { children, children_left_out, .. } = self.life;
        let count = children.len() as u64 + children_left_out;
        if count == 0 {
            return;
        }
        put(out, &format!("It started {}:", summary::count(count, "process", "processes")));
        let show = ListShowArgs {
            output: ListOutputArg::Text,
            terminal: TerminalArgs { wide: false, color: ColorArg::Auto },
        };
        let mut list: List = screen::list(&show);
        for child in children {
            let message = self.recorded.process(child);
            if let Some(view) = MessageView::of_process(&message) {
                list.put(&Listed { view: &view, began: None, guides: "  ", columns: None }, out);
            }
        }
        if *children_left_out > 0 {
            put(out, &format!("  and {children_left_out} more"));
        }
    }
}

/// Those above a process that are others than it, each in the program that it ran last.
fn parents<'l>(process: &'l Process, lineage: &'l [Process]) -> impl Iterator<Item = &'l Process> {
    let is_same = |one: &Process, other: &Process| (one.pid(), one.began) == (other.pid(), other.began);
    let others = lineage.iter().filter(move |above| !is_same(above, process));
    others
        .scan(None, move |last: &mut Option<&Process>, above| {
            let is_news = last.is_none_or(|last| !is_same(last, above));
            *last = Some(above);
            Some(is_news.then_some(above))
        })
        .flatten()
}

/// What a process ran when nobody had seen it start.
fn known(process: &Process) -> Fact {
    Fact {
        sequence: 0,
        time: process.key.start,
        kind: FactKind::Running,
        process: process.clone(),
        lineage: Vec::new(),
        depth: 0,
    }
}

/// `14:03:07.250`.
fn to_the_millisecond(time: SystemTime, zone: &TimeZone) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    zone.to_datetime(time).strftime("%H:%M:%S.%3f").to_string()
}

fn told_owner(owner: &ParentLink) -> String {
    let doubt = if owner.provenance == Provenance::Inferred { " [inferred]" } else { "" };
    format!("process {}{doubt}", owner.key.pid)
}

/// Puts a line that may be long, folded where it goes to a terminal.
fn put_folded(out: &mut Vec<u8>, line: &str) {
    match screen::width(false) {
        Some(width) => out.extend_from_slice(folded(line, width).as_bytes()),
        None => put(out, line),
    }
}

fn put(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

/// One object with all of it.
pub(super) fn as_json(life: &Life, recorded: &Recorded<'_>) -> Value {
    let Life { recording, process, lineage, happenings, children, children_left_out } = life;
    let all =
        |processes: &[Process]| -> Vec<Value> { processes.iter().map(|it| recorded.json(it)).collect() };
    let message = recorded.process(process);
    json!({
        "node_name": recording.node_name,
        "boot_id": recording.boot_id.to_string(),
        "process_uid": message.process_uid,
        "began": date(recording.clock.at(process.began)),
        "ended": process.end.map(|end| date(recording.clock.at(end.time))),
        "process": recorded.json(process),
        "lineage": all(lineage),
        "happenings": happenings.iter().map(|it| happening(it, recorded)).collect::<Vec<_>>(),
        "children": all(children),
        "children_left_out": children_left_out,
    })
}

fn happening(happening: &Happening, recorded: &Recorded<'_>) -> Value {
    let time = date(happening.time);
    match &happening.what {
        What::Known(process) => json!({ "time": time, "what": "known", "process": recorded.json(process) }),
        What::Event(fact) => {
            let mut value = json!({
                "time": time,
                "what": word(fact.kind),
                "process": recorded.json(&fact.process),
                "parent": fact.parent().map(|parent| recorded.json(parent)),
            });
            if let FactKind::Exit { status: Some(status), .. } = fact.kind {
                match status.signal() {
                    Some(signal) => value["signal"] = signal.to_string().into(),
                    None => value["status"] = status.code().into(),
                }
            }
            value
        }
        What::Inherited(owner) => json!({
            "time": time,
            "what": "inherited",
            "owner": owner.map(|owner| json!({ "pid": owner.key.pid.0 })),
        }),
    }
}

fn word(kind: FactKind) -> &'static str {
    match kind {
        FactKind::Fork => "fork",
        FactKind::Exec => "exec",
        FactKind::Exit { .. } => "exit",
        FactKind::Running => "running",
        FactKind::Change => "change",
    }
}

fn date(time: SystemTime) -> Value {
    Timestamp::try_from(time).map_or(Value::Null, |time| time.to_string().into())
}
