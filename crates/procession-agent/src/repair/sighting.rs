//! What a survey saw, kept until the table was told all that happened meanwhile.

use std::collections::HashMap;

use procession::{
    Arguments, BootTime, Cgroup, Context, Entry, Event, EventKind, Gap, Origin, Precision, ProcessKey,
    Program, Running, Subject, Survey, Suspects, Table, WorkingDirectory,
};

/// Processes that were seen running.
#[derive(Debug)]
pub(crate) struct Sightings {
    survey: Survey,
    /// Those that the table had otherwise at that moment, in full.
    strangers: HashMap<ProcessKey, Sighting>,
    /// Whether there will be no other look.
    is_only_look: bool,
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
    pub(crate) fn new() -> Self {
        Self { survey: Survey::new(BootTime::ZERO), strangers: HashMap::new(), is_only_look: false }
    }

    /// Those of the only look that there will be.
    pub(crate) fn of_only_look() -> Self {
        Self { is_only_look: true, ..Self::new() }
    }

    /// Takes note of a process that runs.
    pub(crate) fn saw(&mut self, time: BootTime, running: &Running<'_>, table: &Table) {
        self.survey.saw_running(running);
        let key = running.process.key;
        if is_strange(table, running) {
            self.strangers.insert(key, Sighting::new(time, running));
        }
    }

    /// In what `table` differs from what was seen since `began`, when it was told all that happened by now.
    pub(crate) fn suspects(&mut self, table: &Table, began: BootTime) -> Suspects {
        self.survey = std::mem::replace(&mut self.survey, Survey::new(BootTime::ZERO)).begun_at(began);
        let mut suspects = table.suspects(&self.survey);
        if self.is_only_look {
            // It may be that an exec is under way. Then it is told twice, which is better than never.
            suspects.missing.append(&mut suspects.doubtful);
        }
        suspects
    }

    /// The event that tells of a process that was seen, and why its own events did not. `None`: there was
    /// nothing strange about it then.
    pub(crate) fn found(&self, subject: &Subject, gap: Gap) -> Option<Event<'_>> {
        self.strangers.get(&subject.key).map(|sighting| sighting.event(gap))
    }
}

/// Whether there may be something to tell `table` of a process. It costs less than to keep all.
fn is_strange(table: &Table, running: &Running<'_>) -> bool {
    let Some(entry) = known(table, running.process) else { return true };
    let Some(image) = entry.image() else { return true };
    let Context { credentials, namespaces, cgroup, session, .. } = running.context;
    entry.origin() == Origin::Inferred
        || image.binary().is_empty()
        || table.runs_other_program(running)
        || credentials.is_some_and(|it| image.credentials() != Some(&it))
        || namespaces.is_some_and(|it| image.namespaces() != Some(&it))
        || cgroup.is_some_and(|it| (image.cgroup_id(), image.cgroup_path()) != (it.id, it.path))
        || session.is_some() && entry.session() != session
}

/// The image for which `subject` stands: where that is only the begin of the process, whatever it runs.
fn known(table: &Table, subject: Subject) -> Option<Entry<'_>> {
    let is_by_begin = subject.precision == Precision::Ticks || subject.key.start == subject.began;
    if !is_by_begin {
        return table.get(subject.key);
    }
    // No pid has two processes within a tick.
    let is_it = |entry: &Entry<'_>| entry.began().as_ticks() == subject.began.as_ticks();
    table.get_live(subject.key.pid).filter(is_it)
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
