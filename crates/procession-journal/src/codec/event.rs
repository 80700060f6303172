//! Events.

use bytes::Bytes;
use procession::{
    Arguments, Change, Event, EventKind, Exec, Exit, ExitStatus, Fork, Gap, Gone, Nature, Pid, Precision,
    ProcessKey, Program, Relative, Running, Subject,
};

use super::context::{
    context, directory, file, privilege_bits, privileges, put_context, put_directory, put_file, time,
};
use super::wire::Put;
use crate::proto;

/// The fields of a `proto::Event`.
pub(crate) fn put_event(put: &mut Put<'_>, event: &Event<'_>) {
    put.fixed(1, event.time.as_nanos());
    match &event.kind {
        EventKind::Fork(fork) => put.message(2, |put| put_fork(put, fork)),
        EventKind::Exec(exec) => put.message(3, |put| put_exec(put, exec)),
        EventKind::Exit(exit) => put.message(4, |put| put_exit(put, exit)),
        EventKind::Running(running) => put.message(5, |put| put_running(put, running)),
        EventKind::Change(change) => put.message(6, |put| put_change(put, change)),
        EventKind::Gone(gone) => put.message(8, |put| put_gone(put, gone)),
        EventKind::Lost(count) => put.some_number(7, Some(*count)),
    }
}

/// `None`: it is of an unknown kind, or lacks what every event of its kind has.
pub(crate) fn event(event: &proto::Event) -> Option<Event<'_>> {
    use proto::event::Kind;

    let kind = match event.kind.as_ref()? {
        Kind::Fork(it) => EventKind::Fork(fork(it)?),
        Kind::Exec(it) => EventKind::Exec(exec(it)?),
        Kind::Exit(it) => EventKind::Exit(exit(it)?),
        Kind::Running(it) => EventKind::Running(running(it)?),
        Kind::Change(it) => EventKind::Change(change(it)?),
        Kind::Lost(count) => EventKind::Lost(*count),
        Kind::Gone(it) => EventKind::Gone(gone(it)?),
    };
    Some(Event { time: time(event.time), kind })
}

fn put_fork(put: &mut Put<'_>, fork: &Fork<'_>) {
    let Fork { child, parent, parent_tid, owner, context } = fork;
    put.message(1, |put| put_subject(put, child));
    put_relative(put, 2, *parent, Relative::NONE);
    put_tid(put, 3, *parent_tid, parent.key.pid);
    put_relative(put, 4, *owner, *parent);
    put_any_context(put, 5, context);
}

fn fork(fork: &proto::Fork) -> Option<Fork<'_>> {
    let parent = relative(fork.parent, Relative::NONE);
    Some(Fork {
        child: subject(fork.child?),
        parent,
        parent_tid: fork.parent_tid.map_or(parent.key.pid, Pid),
        owner: relative(fork.owner, parent),
        context: context(fork.context.as_ref()),
    })
}

fn put_exec(put: &mut Put<'_>, exec: &Exec<'_>) {
    let Exec { process, replaces, tid, owner, context, program } = exec;
    put.message(1, |put| put_subject(put, process));
    if let Some(key) = replaces {
        put.message(2, |put| put_key(put, *key));
    }
    put_tid(put, 3, *tid, process.key.pid);
    put_relative(put, 4, *owner, Relative::NONE);
    put_any_context(put, 5, context);
    put.message(6, |put| put_program(put, program));
}

fn exec(exec: &proto::Exec) -> Option<Exec<'_>> {
    let process = subject(exec.process?);
    Some(Exec {
        process,
        replaces: exec.replaces.map(key),
        tid: exec.tid.map_or(process.key.pid, Pid),
        owner: relative(exec.owner, Relative::NONE),
        context: context(exec.context.as_ref()),
        program: program(exec.program.as_ref()?),
    })
}

fn put_exit(put: &mut Put<'_>, exit: &Exit<'_>) {
    let Exit { process, tid, owner, status, comm } = exit;
    put.message(1, |put| put_subject(put, process));
    put_tid(put, 2, *tid, process.key.pid);
    put_relative(put, 3, *owner, Relative::NONE);
    put.some_number(4, status.map(ExitStatus::as_raw));
    put.bytes(5, comm);
}

fn exit(exit: &proto::Exit) -> Option<Exit<'_>> {
    let process = subject(exit.process?);
    Some(Exit {
        process,
        tid: exit.tid.map_or(process.key.pid, Pid),
        owner: relative(exit.owner, Relative::NONE),
        status: exit.status.map(ExitStatus::from_raw),
        comm: &exit.comm,
    })
}

fn put_running(put: &mut Put<'_>, running: &Running<'_>) {
    let Running { process, owner, context, program, gap } = running;
    put.message(1, |put| put_subject(put, process));
    put_relative(put, 2, *owner, Relative::NONE);
    put_any_context(put, 3, context);
    put.message(4, |put| put_program(put, program));
    put_gap(put, 5, *gap);
}

fn running(running: &proto::Running) -> Option<Running<'_>> {
    Some(Running {
        process: subject(running.process?),
        owner: relative(running.owner, Relative::NONE),
        context: context(running.context.as_ref()),
        program: program(running.program.as_ref()?),
        gap: match running.gap {
            None => None,
            Some(number) => Some(gap(number)?),
        },
    })
}

fn put_change(put: &mut Put<'_>, change: &Change<'_>) {
    put.message(1, |put| put_subject(put, &change.process));
    put_any_context(put, 2, &change.context);
}

fn change(change: &proto::Change) -> Option<Change<'_>> {
    Some(Change { process: subject(change.process?), context: context(change.context.as_ref()) })
}

fn put_gone(put: &mut Put<'_>, gone: &Gone) {
    put.message(1, |put| put_subject(put, &gone.process));
    put_gap(put, 2, Some(gone.gap));
}

fn gone(gone: &proto::Gone) -> Option<Gone> {
    Some(Gone { process: subject(gone.process?), gap: gap(gone.gap)? })
}

pub(crate) fn put_gap(put: &mut Put<'_>, field: u32, gap: Option<Gap>) {
    let number = |gap| match gap {
        Gap::Loss => proto::Gap::Loss,
        Gap::Absence => proto::Gap::Absence,
    };
    put.some_number(field, gap.map(|gap| number(gap) as u32));
}

/// `None`: it is of a kind that is not known here.
pub(crate) fn gap(number: i32) -> Option<Gap> {
    match proto::Gap::try_from(number).ok()? {
        proto::Gap::Unspecified => None,
        proto::Gap::Loss => Some(Gap::Loss),
        proto::Gap::Absence => Some(Gap::Absence),
    }
}

fn put_any_context(put: &mut Put<'_>, field: u32, context: &procession::Context<'_>) {
    if *context != procession::Context::default() {
        put.message(field, |put| put_context(put, context));
    }
}

fn put_program(put: &mut Put<'_>, program: &Program<'_>) {
    put.number(1, program.nature == Nature::KernelThread);
    put.bytes(2, program.binary);
    put.bytes(3, program.executable);
    put.bytes(4, program.comm);
    put_directory(put, 5, program.cwd);
    put_arguments(put, 7, program.arguments);
    put_arguments(put, 9, program.environment);
    if let Some(file) = &program.file {
        put.message(11, |put| put_file(put, file));
    }
    put.number(12, privilege_bits(program.privileges));
}

fn program(program: &proto::Program) -> Program<'_> {
    Program {
        nature: nature(program.is_kernel_thread),
        binary: &program.binary,
        executable: &program.executable,
        comm: &program.comm,
        cwd: directory(program.cwd.as_ref(), program.cwd_is_tail),
        arguments: arguments(&program.arguments, program.arguments_missing),
        environment: arguments(&program.environment, program.environment_missing),
        file: program.file.map(file),
        privileges: privileges(program.privileges),
    }
}

pub(crate) fn nature(is_kernel_thread: bool) -> Nature {
    if is_kernel_thread { Nature::KernelThread } else { Nature::User }
}

/// The bytes, and how many are missing, into the two fields from `field` on.
pub(crate) fn put_arguments(put: &mut Put<'_>, field: u32, arguments: Arguments<'_>) {
    put.bytes(field, arguments.bytes);
    put.number(field + 1, u32::try_from(arguments.missing()).unwrap_or(u32::MAX));
}

pub(crate) fn arguments(bytes: &Bytes, missing: u32) -> Arguments<'_> {
    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
    Arguments { bytes, total_len: bytes.len().saturating_add(missing) }
}

/// A thread, unless it is the one that is called like the process.
fn put_tid(put: &mut Put<'_>, field: u32, tid: Pid, pid: Pid) {
    put.some_number(field, (tid != pid).then_some(tid.0));
}

pub(crate) fn put_key(put: &mut Put<'_>, key: ProcessKey) {
    put.number(1, key.pid.0);
    put.fixed(2, key.start.as_nanos());
}

pub(crate) fn key(key: proto::Key) -> ProcessKey {
    ProcessKey::new(Pid(key.pid), time(key.start))
}

pub(crate) fn put_subject(put: &mut Put<'_>, subject: &Subject) {
    put_key(put, subject.key);
    put.some_fixed(3, (subject.began != subject.key.start).then(|| subject.began.as_nanos()));
    put.number(4, subject.precision == Precision::Ticks);
}

pub(crate) fn subject(subject: proto::Subject) -> Subject {
    let start = time(subject.start);
    Subject {
        key: ProcessKey::new(Pid(subject.pid), start),
        began: subject.began.map_or(start, time),
        precision: if subject.to_the_tick { Precision::Ticks } else { Precision::Nanoseconds },
    }
}

/// Somebody, unless it is who is meant where the field is absent.
fn put_relative(put: &mut Put<'_>, field: u32, relative: Relative, absent: Relative) {
    if relative != absent {
        put.message(field, |put| {
            put_key(put, relative.key);
            put.some_fixed(3, relative.began.map(procession::BootTime::as_nanos));
        });
    }
}

fn relative(relative: Option<proto::Relative>, absent: Relative) -> Relative {
    relative.map_or(absent, |relative| Relative {
        key: ProcessKey::new(Pid(relative.pid), time(relative.start)),
        began: relative.began.map(time),
    })
}
