//! Events that no kernel would send, with anything in any field.

use procession::{
    Arguments, BootTime, Capabilities, Cgroup, Change, Context, Credentials, Event, EventKind, Exec, Exit,
    ExitStatus, FileIdentity, Fork, Gap, Gone, Namespaces, Nature, Pid, Precision, PrivilegeChange,
    ProcessKey, Program, Running, Subject, Uid, WorkingDirectory,
};
use proptest::prelude::*;

/// What is done to a table.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are events")]
pub(crate) enum Deed {
    Apply(Event<'static>),
    Advance(BootTime),
    Hold(Pid),
    LetGo,
    /// Another table goes on, from a copy that was taken apart.
    HandOver,
}

static BYTES: [u8; 1 << 22] = [b'a'; 1 << 22];

/// Anything, most of it events that meet.
pub(crate) fn any_deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        30 => any_event().prop_map(Deed::Apply),
        2 => any_time().prop_map(Deed::Advance),
        1 => any_pid().prop_map(Deed::Hold),
        1 => Just(Deed::LetGo),
        1 => Just(Deed::HandOver),
    ]
}

fn any_event() -> impl Strategy<Value = Event<'static>> {
    (any_time(), any_kind()).prop_map(|(time, kind)| Event { time, kind })
}

/// Few of them, so that they meet, and the extremes.
fn any_pid() -> impl Strategy<Value = Pid> {
    prop_oneof![20 => 0..7_u32, 1 => Just(u32::MAX), 1 => any::<u32>()].prop_map(Pid)
}

fn any_time() -> impl Strategy<Value = BootTime> {
    let nanos = prop_oneof![
        20 => 0..8_u64,
        8 => (0..4_u64, 0..3_u64).prop_map(|(ticks, nanos)| ticks * 10_000_000 + nanos),
        4 => 0..100_000_000_000_u64,
        1 => (0..3_u64).prop_map(|less| u64::MAX - less),
    ];
    nanos.prop_map(BootTime::from_nanos)
}

fn any_key() -> impl Strategy<Value = ProcessKey> {
    (any_pid(), any_time()).prop_map(|(pid, start)| ProcessKey::new(pid, start))
}

fn any_subject() -> BoxedStrategy<Subject> {
    let precision = prop_oneof![3 => Just(Precision::Nanoseconds), 1 => Just(Precision::Ticks)];
    (any_key(), any_time(), precision, any::<bool>())
        .prop_map(|(key, began, precision, is_first)| Subject {
            key,
            began: if is_first { key.start } else { began },
            precision,
        })
        .boxed()
}

/// Boxed, as its parts are: what a choice among many is made of is too large for a stack.
fn any_kind() -> BoxedStrategy<EventKind<'static>> {
    let fork = (any_subject(), any_key(), any_pid(), any_key(), any_context()).prop_map(
        |(child, parent, parent_tid, owner, context)| {
            EventKind::Fork(Fork { child, parent: parent.into(), parent_tid, owner: owner.into(), context })
        },
    );
    let replaces = prop::option::of(any_key());
    let exec = (any_subject(), replaces, any_pid(), any_key(), any_context(), any_program()).prop_map(
        |(process, replaces, tid, owner, context, program)| {
            EventKind::Exec(Exec { process, replaces, tid, owner: owner.into(), context, program })
        },
    );
    let status = prop::option::of(prop_oneof![any::<u32>(), Just(u32::MAX)]);
    let exit = (any_subject(), any_pid(), any_key(), status, any_text()).prop_map(
        |(process, tid, owner, status, comm)| {
            EventKind::Exit(Exit {
                process,
                tid,
                owner: owner.into(),
                status: status.map(ExitStatus::from_raw),
                comm,
            })
        },
    );
    let gap = prop::option::of(any_gap());
    let running = (any_subject(), any_key(), any_context(), any_program(), gap).prop_map(
        |(process, owner, context, program, gap)| {
            EventKind::Running(Running { process, owner: owner.into(), context, program, gap })
        },
    );
    let gone = (any_subject(), any_gap()).prop_map(|(process, gap)| EventKind::Gone(Gone { process, gap }));
    let change = (any_subject(), any_context())
        .prop_map(|(process, context)| EventKind::Change(Change { process, context }));
    let lost = prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(EventKind::Lost);
    prop_oneof![
        8 => fork.boxed(),
        8 => exec.boxed(),
        8 => exit.boxed(),
        4 => running.boxed(),
        4 => change.boxed(),
        2 => gone.boxed(),
        1 => lost,
    ]
    .boxed()
}

fn any_gap() -> impl Strategy<Value = Gap> {
    prop_oneof![Just(Gap::Loss), Just(Gap::Absence)]
}

/// Text of any length up to that of the longest path.
fn any_text() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![8 => 0..4_usize, 1 => 0..4_097_usize].prop_map(|len| &BYTES[..len])
}

fn any_context() -> BoxedStrategy<Context<'static>> {
    let credentials = (any::<u8>(), any::<u8>()).prop_map(|(euid, login)| Credentials {
        euid: Uid(euid.into()),
        login_uid: Some(Uid(login.into())),
        capabilities: Capabilities::default(),
        ..Credentials::default()
    });
    let namespaces = any::<u8>().prop_map(|pid| Namespaces { pid: pid.into(), ..Namespaces::default() });
    let cgroup = (0..3_u64, any_text()).prop_map(|(id, path)| Cgroup { id, path });
    let all = (
        prop::option::of(any_pid()),
        prop::option::of(any_pid()),
        prop::option::of(credentials),
        prop::option::of(namespaces),
        prop::option::of(cgroup),
    );
    all.prop_map(|(ns_pid, session, credentials, namespaces, cgroup)| Context {
        ns_pid,
        session,
        credentials,
        namespaces,
        cgroup,
    })
    .boxed()
}

fn any_program() -> BoxedStrategy<Program<'static>> {
    let cwd = (0..3_u8, any_text()).prop_map(|(kind, path)| match kind {
        0 => WorkingDirectory::Unknown,
        1 => WorkingDirectory::Path(path),
        _ => WorkingDirectory::Tail(path),
    });
    let len = prop_oneof![400 => 0..9_usize, 100 => 0..20_000_usize, 1 => 0..BYTES.len()];
    let total = prop_oneof![Just(0), Just(usize::MAX), any::<usize>()];
    let arguments = (len, total).prop_map(|(len, total_len)| Arguments { bytes: &BYTES[..len], total_len });
    let file = prop::option::of((any::<u64>(), 0..2_u32).prop_map(|(inode, links)| FileIdentity {
        inode,
        links,
        ..FileIdentity::default()
    }));
    let nature = prop_oneof![Just(Nature::User), Just(Nature::KernelThread)];
    (nature, any_text(), any_text(), any_text(), cwd, arguments, file)
        .prop_map(|(nature, binary, executable, comm, cwd, arguments, file)| Program {
            nature,
            binary,
            executable,
            comm,
            cwd,
            environment: Arguments::default(),
            arguments,
            file,
            privileges: PrivilegeChange::default(),
        })
        .boxed()
}
