//! `procession why`: the chain of a process in words.
//!
//! A paragraph for each process, the one that was asked for first: what it runs or ran, what became of it,
//! and who started it. What was not seen is marked in brackets.

use std::collections::HashMap;
use std::process::ExitCode;

use jiff::Timestamp;
use procession::Uid;
use procession_api::proto::procession::v1::{
    End, Gap, GetLineageRequest, GetLineageResponse, Origin, Process, Provenance, Relation, end,
};
use procession_api::proto::tetragon;

use super::args::{ListOutputArg, Name, WhyArgs};
use super::connect::Agent;
use super::screen::{self, Screen};
use super::words::{Moment, called, command, place, user};
use super::{answer, json, refusal_about, target};
use crate::fold::folded;
use crate::render::{Visible, is_kernel_thread, markers_of, timestamp};

/// Programs that a process ran before, of those that are told.
const MOST_PROGRAMS: usize = 20;

/// Owners that are asked for by name.
const MOST_OWNERS: usize = 16;

pub(super) async fn run(agent: &Agent, args: &WhyArgs, screen: &mut Screen<'_>) -> anyhow::Result<ExitCode> {
    let lineage = ask(agent, args, &args.process).await;
    let lineage = lineage.map_err(|status| refusal_about(agent, &args.process, &status))?;
    if args.output == ListOutputArg::Json {
        screen.put_line(&json::line(&lineage));
        return Ok(ExitCode::SUCCESS);
    }
    let mut owners = HashMap::new();
    let ids = lineage.chain.iter().filter_map(|link| link.process.as_ref()).map(|it| &it.owner_exec_id);
    for id in ids.filter(|id| !id.is_empty()) {
        if owners.len() < MOST_OWNERS && !owners.contains_key(id) {
            // One that is not known any more stays without a name.
            let asked = ask(agent, args, &Name::ExecId(id.clone())).await.ok();
            let owner = asked.and_then(|lineage| lineage.chain.into_iter().next());
            let name = |entry: Process| entry.process.map(|process| called(&process, &entry.comm));
            owners.insert(id.clone(), owner.and_then(|link| link.process).and_then(name));
        }
    }
    let owners = owners.into_iter().filter_map(|(id, owner)| Some((id, owner?))).collect();
    let story = Story { lineage: &lineage, owners, moment: agent.moment() }.told();
    let story = match screen::width(args.wide) {
        Some(width) => folded(&story, width),
        None => story,
    };
    screen.put_heading(agent.heading());
    screen.lines().extend_from_slice(story.as_bytes());
    Ok(ExitCode::SUCCESS)
}

async fn ask(agent: &Agent, args: &WhyArgs, name: &Name) -> Result<GetLineageResponse, tonic::Status> {
    let request = GetLineageRequest { target: Some(target(name)) };
    answer(args.server.timeout, agent.lineage().get_lineage(request)).await
}

/// What there is to tell.
pub(super) struct Story<'a> {
    pub(super) lineage: &'a GetLineageResponse,
    /// What processes are called that own others, by their ids.
    pub(super) owners: HashMap<String, String>,
    pub(super) moment: Moment,
}

/// A process of the chain: what it ran when it comes into the story, and before, latest first.
struct Person<'a> {
    programs: Vec<Program<'a>>,
}

/// A program that it ran.
#[derive(Clone, Copy)]
struct Program<'a> {
    entry: &'a Process,
    process: &'a tetragon::Process,
}

impl<'a> Program<'a> {
    fn of(entry: &'a Process) -> Option<Self> {
        Some(Self { entry, process: entry.process.as_ref()? })
    }

    fn start(&self) -> Option<Timestamp> {
        self.process.start_time.as_ref().map(timestamp)
    }

    fn called(&self) -> String {
        called(self.process, &self.entry.comm)
    }

    fn command(&self) -> String {
        command(self.process, &self.entry.comm)
    }

    /// `/bin/sh as root`, without the user if that of the `other` is the same.
    fn told_beside(&self, other: &Self) -> String {
        let [own, others] = [self, other].map(|program| user(program.process));
        let user = own.filter(|own| Some(own) != others.as_ref());
        let as_whom = user.map(|user| format!(" as {user}")).unwrap_or_default();
        self.command() + &as_whom
    }
}

impl Story<'_> {
    /// All of it.
    pub(super) fn told(&self) -> String {
        let people = self.people();
        let mut paragraphs = Vec::new();
        for (number, person) in people.iter().enumerate() {
            let next = people.get(number + 1);
            let mut lines = if number == 0 { self.opening(person) } else { self.fate(person) };
            lines.extend(self.before(person));
            lines.push(self.start(person, next));
            lines.extend(self.owner(person));
            paragraphs.push(lines.join("\n  ") + "\n");
        }
        paragraphs.join("\n")
    }

    fn people(&self) -> Vec<Person<'_>> {
        let mut people: Vec<Person<'_>> = Vec::new();
        for link in &self.lineage.chain {
            let Some(program) = link.process.as_ref().and_then(Program::of) else { continue };
            match people.last_mut() {
                Some(person) if link.relation() == Relation::Previous => person.programs.push(program),
                _ => people.push(Person { programs: vec![program] }),
            }
        }
        people
    }

    /// What the process runs that was asked for.
    fn opening(&self, person: &Person<'_>) -> Vec<String> {
        let program = &person.programs[0];
        let (entry, process) = (program.entry, program.process);
        let who = capitalized(program.called());
        let as_whom = as_whom_and_where(process);
        let word = if entry.end.is_some() { "from" } else { "since" };
        let since = program.start().map(|start| format!(", {word} {}", self.moment.at_and_ago(start)));
        let line = if is_kernel_thread(process) {
            format!("{who} is a thread of the kernel")
        } else {
            let verb = if entry.end.is_some() { "ran" } else { "runs" };
            format!("{who} {verb} {}{as_whom}", program.command())
        };
        let mut lines = vec![line + &since.unwrap_or_default() + "." + mark_of_origin(entry)];
        if let Some(end) = &entry.end {
            lines.push(format!("It {}.", self.end(end)));
        }
        lines.extend(self.circumstances(program));
        lines.extend(self.login(process));
        lines
    }

    /// Who logged in, if that is another than who it runs as. Those above have the same login.
    fn login(&self, process: &tetragon::Process) -> Option<String> {
        let login = process.auid.filter(|login| *login != Uid::INVALID.0 && Some(*login) != process.uid)?;
        Some(format!("It belongs to a login session of {}.", self.user(login)))
    }

    /// What became of a process after it had started another.
    fn fate(&self, person: &Person<'_>) -> Vec<String> {
        let program = &person.programs[0];
        let who = capitalized(program.called());
        let what = match &program.entry.end {
            Some(end) => self.end(end),
            None if is_kernel_thread(program.process) => "is a thread of the kernel".to_owned(),
            None => "still runs that".to_owned(),
        };
        let mut lines = vec![format!("{who} {what}.{}", mark_of_origin(program.entry))];
        lines.extend(self.circumstances(program));
        lines
    }

    /// `exited with status 1 at 12:04:00, 3 minutes ago`.
    fn end(&self, end: &End) -> String {
        let when = end.time.as_ref().map(|time| self.moment.at_and_ago(timestamp(time)));
        let at = when.as_ref().map(|when| format!(" at {when}")).unwrap_or_default();
        match &end.how {
            Some(end::How::Status(code)) => format!("exited with status {code}{at}"),
            Some(end::How::Signal(name)) => format!("was ended by {}{at}", Visible(name.as_bytes())),
            Some(end::How::Replaced(_)) => format!("went on to run another program{at}"),
            None => format!("ended{at}; with which status nobody saw"),
            Some(end::How::Vanished(_)) => must_have_ended(when, "its pid went to another process"),
            Some(end::How::Gone(gone)) if gone.gap() == Gap::Absence => {
                must_have_ended(when, "nobody observed for a while, and then it was looked for and not there")
            }
            Some(end::How::Gone(_)) => {
                must_have_ended(when, "events were lost, and it was looked for and not there")
            }
        }
    }

    /// What is remarkable about a program, and as whom it ran.
    fn circumstances(&self, program: &Program<'_>) -> Vec<String> {
        let Program { entry, process } = program;
        let mut lines = Vec::new();
        for marker in markers_of(process, false) {
            lines.push(match &*marker {
                "setuid" => "Its file gave it the rights of its owner (set-user-ID).".to_owned(),
                "setgid" => "Its file gave it the rights of its group (set-group-ID).".to_owned(),
                "file capabilities" => "Its file gave it capabilities.".to_owned(),
                "memfd" => "Its program is no file: it was made in memory.".to_owned(),
                "deleted" => "The file of its program has been deleted.".to_owned(),
                "argument bytes missing" => "A part of its arguments is not known.".to_owned(),
                "unknown container" => "It is not known whose its container is.".to_owned(),
                other => format!("It is marked: {other}."),
            });
        }
        match entry.stands_for {
            0 => {}
            1 => lines.push("Memory was short, and only its name is left.".to_owned()),
            count => lines.push(format!(
                "Memory was short, and this name is all that is left of {count} programs in the chain."
            )),
        }
        lines.extend(self.identities(program));
        lines
    }

    /// Who is behind the user, and who it was before.
    fn identities(&self, program: &Program<'_>) -> Vec<String> {
        let Program { entry, process } = program;
        let mut lines = Vec::new();
        let real = process.process_credentials.as_ref().and_then(|credentials| credentials.uid);
        if let Some(real) = real.filter(|real| Some(*real) != process.uid) {
            let acting = user(process).unwrap_or_else(|| "another".to_owned());
            lines.push(format!("Its real user is {}; it acts as {acting}.", self.user(real)));
        }
        if entry.forgotten_spells > 0 {
            let count = entry.forgotten_spells;
            lines.push(format!("It changed as whom or where it ran {count} times that are forgotten."));
        }
        let euid = |credentials: &Option<tetragon::ProcessCredentials>| credentials.as_ref()?.euid;
        let after = entry.past.iter().skip(1).map(|spell| euid(&spell.credentials)).chain([process.uid]);
        for (spell, after) in entry.past.iter().zip(after) {
            let Some((before, after)) = euid(&spell.credentials).zip(after) else { continue };
            if before != after {
                let until = spell.until.as_ref().map(timestamp);
                let until = until.map(|until| format!(" at {}", self.moment.at(until))).unwrap_or_default();
                let [before, after] = [before, after].map(|uid| self.user(uid));
                lines.push(format!("It changed from {before} to {after}{until}, within the same program."));
            }
        }
        lines
    }

    /// A user of whom only the number is told, by the name that the chain has for it.
    fn user(&self, uid: u32) -> String {
        let links = self.lineage.chain.iter();
        let mut processes = links.filter_map(|link| link.process.as_ref()?.process.as_ref());
        let named = processes.find(|process| {
            process.uid == Some(uid) && process.user.as_ref().is_some_and(|user| !user.name.is_empty())
        });
        match (named.and_then(user), uid) {
            (Some(name), _) => name,
            (None, 0) => "root".to_owned(),
            (None, uid) => format!("user {uid}"),
        }
    }

    /// What the process ran before.
    fn before(&self, person: &Person<'_>) -> Vec<String> {
        let (now, before) = (&person.programs[0], &person.programs[1..]);
        let from = |program: &Program<'_>| {
            let start = program.start().map(|start| format!("from {}", self.moment.at(start)));
            start.unwrap_or_else(|| "at a time that is not known".to_owned())
        };
        let told = |program: &Program<'_>, newer: &Program<'_>| {
            format!("{}{}", program.told_beside(newer), mark_of_origin(program.entry))
        };
        match before {
            [] => Vec::new(),
            [one] => {
                let mut lines = vec![format!("Before that it ran {}, {}.", told(one, now), from(one))];
                lines.extend(self.circumstances(one).into_iter().map(|line| format!("  {line}")));
                lines
            }
            several => {
                let mut lines = vec!["Before that it ran, latest first:".to_owned()];
                for (at, program) in several.iter().enumerate().take(MOST_PROGRAMS) {
                    lines.push(format!("  {}: {}", from(program), told(program, &person.programs[at])));
                    lines.extend(self.circumstances(program).into_iter().map(|line| format!("    {line}")));
                }
                let more = several.len().saturating_sub(MOST_PROGRAMS);
                if more > 0 {
                    lines.push(format!("  and {more} others before"));
                }
                lines
            }
        }
    }

    /// Who started it.
    fn start(&self, person: &Person<'_>, parent: Option<&Person<'_>>) -> String {
        // The fork led to the first of its programs.
        let first = person.programs.last().unwrap_or(&person.programs[0]);
        let Some(parent) = parent else { return self.beginning(first) };
        let parent = &parent.programs[0];
        let who = parent.called();
        let ran = if is_kernel_thread(parent.process) {
            "a thread of the kernel".to_owned()
        } else {
            format!("which was running {}{}", parent.command(), as_whom_and_where(parent.process))
        };
        let outside = match (place(first.process), place(parent.process)) {
            (Some(_), None) => ", outside the container",
            _ => "",
        };
        let began = first.entry.began.as_ref().map(|time| format!(" at {}", self.moment.at(timestamp(time))));
        let at = began.as_deref().unwrap_or_default();
        let began = began.as_ref().map(|at| format!("It began{at}. ")).unwrap_or_default();
        match first.entry.parent_provenance() {
            Provenance::Found => format!(
                "{began}When it was found running, its parent was {who}, {ran}{outside} \
                 [found, not seen: another may have started it]."
            ),
            Provenance::Inferred => format!(
                "{began}It must have been started by {who}, {ran}{outside} \
                 [inferred: the event that says so is missing]."
            ),
            Provenance::Observed | Provenance::Unspecified => {
                format!("It was started{at} by {who}, {ran}{outside}.")
            }
        }
    }

    /// Where the chain ends.
    fn beginning(&self, program: &Program<'_>) -> String {
        let process = program.process;
        if matches!(process.pid, Some(1 | 2)) && !self.lineage.is_cut {
            "The kernel starts it when the machine boots.".to_owned()
        } else if is_kernel_thread(process) {
            "The kernel started it.".to_owned()
        } else if program.entry.origin() == Origin::Running {
            "It ran before the agent began to watch, and who started it is not known.".to_owned()
        } else if self.lineage.is_cut {
            "Who started it is not known: the record begins here.".to_owned()
        } else {
            "Who started it is not known.".to_owned()
        }
    }

    /// Who owns it now, if that is not its parent.
    fn owner(&self, person: &Person<'_>) -> Option<String> {
        let entry = &person.programs[0].entry;
        if entry.owner_exec_id.is_empty() {
            return None;
        }
        let owner = self.owners.get(&entry.owner_exec_id).map_or("another process", String::as_str);
        let mark = match entry.owner_provenance() {
            Provenance::Inferred => " [inferred: who took it over shows with its next event]",
            _ => "",
        };
        Some(format!("Its parent has ended since, and it belongs to {owner} now{mark}."))
    }
}

fn must_have_ended(when: Option<String>, because: &str) -> String {
    let by = when.map(|when| format!(" by {when}")).unwrap_or_default();
    format!("must have ended{by}; how is not known [inferred: {because}]")
}

/// ` as www-data in pod shop/cart-0 (container app)`.
fn as_whom_and_where(process: &tetragon::Process) -> String {
    let user = user(process).map(|user| format!(" as {user}")).unwrap_or_default();
    let place = place(process).map(|place| format!(" {place}")).unwrap_or_default();
    user + &place
}

fn mark_of_origin(entry: &Process) -> &'static str {
    match entry.origin() {
        Origin::Running => " [found running: its start was not seen]",
        Origin::Found if entry.gap() == Gap::Absence => {
            " [inferred: nobody observed for a while, and it was found running when looked for]"
        }
        Origin::Found => " [inferred: events were lost, and it was found running when looked for]",
        Origin::Inferred => " [inferred: others speak of it, its own events were missed]",
        Origin::Fork | Origin::Exec | Origin::Unspecified => "",
    }
}

/// Only one without a name begins with a word: names are as they are.
fn capitalized(text: String) -> String {
    match text.strip_prefix("process ") {
        // A program may be called that; its name is followed by the pid in brackets.
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => format!("Process {rest}"),
        _ => text,
    }
}
