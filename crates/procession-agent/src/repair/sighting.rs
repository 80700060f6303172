//! What a survey saw, kept until the table was told all that happened meanwhile.

use std::collections::HashMap;

use procession::Survey;
use procession::{
    Arguments, BootTime, Cgroup, Context, Event, EventKind, Gap, ProcessKey, Program, Running, Subject,
    Table, WorkingDirectory,
};

/// Processes that were seen running.
#[derive(Debug)]
pub(crate) struct Sightings {
    /// Images that began earlier were seen only by name.
    since: BootTime,
    seen: Vec<Subject>,
    /// Those of which the table did not know at that moment, in full.
    strangers: HashMap<ProcessKey, Sighting>,
}

/// An event that tells of a process, free of the source.
#[derive(Debug)]
struct Sighting {
    time: BootTime,
    /// Without what it borrows.
    running: Running<'static>,
    cgroup: Option<Cgroup<Vec<u8>>>,
    cwd: Vec<u8>,
    binary: Vec<u8>,
    executable: Vec<u8>,
    comm: Vec<u8>,
    arguments: Vec<u8>,
    environment: Vec<u8>,
}

impl Sightings {
    pub(crate) fn new(since: BootTime) -> Self {
        Self { since, seen: Vec::new(), strangers: HashMap::new() }
    }

    /// Takes note of a process that runs.
    pub(crate) fn saw(&mut self, time: BootTime, running: &Running<'_>, table: &Table) {
        let key = running.process.key;
        self.seen.push(running.process);
        if key.start >= self.since && table.get(key).is_none() {
            self.strangers.insert(key, Sighting::new(time, running));
        }
    }

    /// What was seen, by a survey that began then.
    pub(crate) fn survey(&self, began: BootTime) -> Survey {
        let mut survey = Survey::new(began);
        for subject in &self.seen {
            survey.saw(*subject);
        }
        survey
    }

    /// Tells of a process that was seen, and why its own events did not. `false`: it was seen only by name.
    pub(crate) fn tell(&self, subject: &Subject, gap: Gap, out: &mut dyn FnMut(&Event<'_>)) -> bool {
        let Some(sighting) = self.strangers.get(&subject.key) else { return false };
        out(&sighting.event(gap));
        true
    }
}

impl Sighting {
    fn new(time: BootTime, running: &Running<'_>) -> Self {
        let Running { process, owner, context, program, .. } = running;
        Self {
            time,
            cgroup: context.cgroup.map(|cgroup| Cgroup { id: cgroup.id, path: cgroup.path.to_vec() }),
            cwd: program.cwd.as_bytes().to_vec(),
            binary: program.binary.to_vec(),
            executable: program.executable.to_vec(),
            comm: program.comm.to_vec(),
            arguments: program.arguments.bytes.to_vec(),
            environment: program.environment.bytes.to_vec(),
            running: Running {
                process: *process,
                owner: *owner,
                context: Context { cgroup: None, ..*context },
                program: without_text(program),
                gap: None,
            },
        }
    }

    fn event(&self, gap: Gap) -> Event<'_> {
        let Running { context, program, .. } = self.running;
        let cgroup =
            self.cgroup.as_ref().map(|cgroup| Cgroup { id: cgroup.id, path: cgroup.path.as_slice() });
        let program = Program {
            binary: &self.binary,
            executable: &self.executable,
            comm: &self.comm,
            cwd: match program.cwd {
                WorkingDirectory::Unknown => WorkingDirectory::Unknown,
                WorkingDirectory::Path(_) => WorkingDirectory::Path(&self.cwd),
                WorkingDirectory::Tail(_) => WorkingDirectory::Tail(&self.cwd),
            },
            arguments: Arguments { bytes: &self.arguments, total_len: program.arguments.total_len },
            environment: Arguments { bytes: &self.environment, total_len: program.environment.total_len },
            ..program
        };
        let context = Context { cgroup, ..context };
        let running = Running { context, program, gap: Some(gap), ..self.running };
        Event { time: self.time, kind: EventKind::Running(running) }
    }
}

fn without_text(program: &Program<'_>) -> Program<'static> {
    let Program { nature, file, privileges, arguments, environment, cwd, .. } = *program;
    Program {
        nature,
        file,
        privileges,
        cwd: match cwd {
            WorkingDirectory::Unknown => WorkingDirectory::Unknown,
            WorkingDirectory::Path(_) => WorkingDirectory::Path(b""),
            WorkingDirectory::Tail(_) => WorkingDirectory::Tail(b""),
        },
        arguments: Arguments { bytes: b"", total_len: arguments.total_len },
        environment: Arguments { bytes: b"", total_len: environment.total_len },
        ..Program::default()
    }
}
