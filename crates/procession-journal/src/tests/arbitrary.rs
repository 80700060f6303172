//! Any event that can be told of, text of any bytes in it.

use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Change, Context, Credentials, Event, EventKind,
    Exec, Exit, ExitStatus, FileIdentity, Fork, Gap, Gid, Gone, Namespaces, Nature, Pid, Precision,
    PrivilegeChange, ProcessKey, Program, Relative, Running, Subject, Uid, WorkingDirectory,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Texts, so that events can borrow them.
pub(super) type Texts = [Vec<u8>; 8];

/// An event without its texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    event: Event<'static>,
    cwd: u8,
    has_cgroup: bool,
    missing: [u32; 2],
}

pub(super) fn owned_event() -> impl Strategy<Value = (Shape, Texts)> {
    let text = || vec(any::<u8>(), 0..40);
    let texts = [text(), text(), text(), text(), text(), text(), text(), text()];
    (shape(), texts)
}

impl Shape {
    /// The event with texts wherever it has any.
    pub(super) fn event<'a>(&self, texts: &'a Texts) -> Event<'a> {
        let Event { time, kind } = self.event;
        let kind = match kind {
            EventKind::Fork(fork) => {
                EventKind::Fork(Fork { context: self.context(fork.context, texts), ..fork })
            }
            EventKind::Exec(exec) => EventKind::Exec(Exec {
                context: self.context(exec.context, texts),
                program: self.program(exec.program, texts),
                ..exec
            }),
            EventKind::Exit(exit) => EventKind::Exit(Exit { comm: &texts[0], ..exit }),
            EventKind::Running(running) => EventKind::Running(Running {
                context: self.context(running.context, texts),
                program: self.program(running.program, texts),
                ..running
            }),
            EventKind::Change(change) => {
                EventKind::Change(Change { context: self.context(change.context, texts), ..change })
            }
            EventKind::Lost(_) | EventKind::Gone(_) => kind,
        };
        Event { time, kind }
    }

    fn context<'a>(&self, context: Context<'static>, texts: &'a Texts) -> Context<'a> {
        let cgroup = self.has_cgroup.then(|| Cgroup { id: self.event.time.as_nanos(), path: &texts[7][..] });
        Context { cgroup, ..context }
    }

    fn program<'a>(&self, program: Program<'static>, texts: &'a Texts) -> Program<'a> {
        let [arguments, environment] = [(&texts[4], self.missing[0]), (&texts[5], self.missing[1])]
            .map(|(bytes, missing)| Arguments { bytes, total_len: bytes.len() + missing as usize });
        Program {
            binary: &texts[0],
            executable: &texts[1],
            comm: &texts[2],
            cwd: match self.cwd {
                0 => WorkingDirectory::Unknown,
                1 => WorkingDirectory::Path(&texts[3]),
                _ => WorkingDirectory::Tail(&texts[3]),
            },
            arguments,
            environment,
            ..program
        }
    }
}

fn shape() -> BoxedStrategy<Shape> {
    let event = (time(), kind()).prop_map(|(time, kind)| Event { time, kind });
    (event, 0..3_u8, any::<bool>(), [number(), number()])
        .prop_map(|(event, cwd, has_cgroup, missing)| Shape { event, cwd, has_cgroup, missing })
        .boxed()
}

fn kind() -> BoxedStrategy<EventKind<'static>> {
    let fork = (subject(), relative(), pid(), relative(), any::<bool>(), context()).prop_map(
        |(child, parent, parent_tid, owner, is_parent, context)| {
            let owner = if is_parent { parent } else { owner };
            EventKind::Fork(Fork { child, parent, parent_tid, owner, context })
        },
    );
    let exec = (subject(), option::of(key()), pid(), relative(), context(), program()).prop_map(
        |(process, replaces, tid, owner, context, program)| {
            EventKind::Exec(Exec { process, replaces, tid, owner, context, program })
        },
    );
    let exit =
        (subject(), pid(), relative(), option::of(number())).prop_map(|(process, tid, owner, status)| {
            let status = status.map(ExitStatus::from_raw);
            EventKind::Exit(Exit { process, tid, owner, status, comm: b"" })
        });
    let running = (subject(), relative(), context(), program(), option::of(gap())).prop_map(
        |(process, owner, context, program, gap)| {
            EventKind::Running(Running { process, owner, context, program, gap })
        },
    );
    let change =
        (subject(), context()).prop_map(|(process, context)| EventKind::Change(Change { process, context }));
    let gone = (subject(), gap()).prop_map(|(process, gap)| EventKind::Gone(Gone { process, gap }));
    prop_oneof![
        fork.boxed(),
        exec.boxed(),
        exit,
        running.boxed(),
        change,
        gone,
        long().prop_map(EventKind::Lost)
    ]
    .boxed()
}

fn subject() -> BoxedStrategy<Subject> {
    (key(), time(), any::<bool>(), any::<bool>())
        .prop_map(|(key, began, is_first, is_coarse)| Subject {
            key,
            began: if is_first { key.start } else { began },
            precision: if is_coarse { Precision::Ticks } else { Precision::Nanoseconds },
        })
        .boxed()
}

fn gap() -> impl Strategy<Value = Gap> {
    prop_oneof![Just(Gap::Loss), Just(Gap::Absence)]
}

fn relative() -> BoxedStrategy<Relative> {
    let somebody = (key(), option::of(time())).prop_map(|(key, began)| Relative { key, began });
    prop_oneof![Just(Relative::NONE), somebody].boxed()
}

fn key() -> impl Strategy<Value = ProcessKey> {
    (pid(), time()).prop_map(|(pid, start)| ProcessKey::new(pid, start))
}

fn context() -> BoxedStrategy<Context<'static>> {
    let ids = vec(number(), 10);
    let credentials = (ids, option::of(number()), option::of(number()), vec(long(), 5)).prop_map(
        |(ids, login_uid, audit_session, sets)| Credentials {
            uid: Uid(ids[0]),
            gid: Gid(ids[1]),
            suid: Uid(ids[2]),
            sgid: Gid(ids[3]),
            euid: Uid(ids[4]),
            egid: Gid(ids[5]),
            fsuid: Uid(ids[6]),
            fsgid: Gid(ids[7]),
            securebits: ids[8],
            login_uid: login_uid.map(Uid),
            audit_session,
            capabilities: Capabilities {
                permitted: CapabilitySet(sets[0]),
                effective: CapabilitySet(sets[1]),
                inheritable: CapabilitySet(sets[2]),
                bounding: CapabilitySet(sets[3]),
                ambient: CapabilitySet(sets[4]),
            },
        },
    );
    let namespaces = vec(number(), 10).prop_map(|ids| Namespaces {
        uts: ids[0],
        ipc: ids[1],
        mnt: ids[2],
        pid: ids[3],
        pid_for_children: ids[4],
        net: ids[5],
        time: ids[6],
        time_for_children: ids[7],
        cgroup: ids[8],
        user: ids[9],
    });
    (option::of(pid()), option::of(pid()), option::of(credentials), option::of(namespaces))
        .prop_map(|(ns_pid, session, credentials, namespaces)| Context {
            ns_pid,
            session,
            credentials,
            namespaces,
            cgroup: None,
        })
        .boxed()
}

fn program() -> BoxedStrategy<Program<'static>> {
    let file = (long(), vec(number(), 5)).prop_map(|(inode, rest)| FileIdentity {
        inode,
        device: rest[0],
        links: rest[1],
        mode: rest[2],
        uid: rest[3],
        gid: rest[4],
    });
    (any::<bool>(), option::of(file), any::<[bool; 5]>())
        .prop_map(|(is_kernel_thread, file, bits)| {
            let [setuid, setgid, file_capabilities, setuid_root, setgid_root] = bits;
            Program {
                nature: if is_kernel_thread { Nature::KernelThread } else { Nature::User },
                file,
                privileges: PrivilegeChange { setuid, setgid, file_capabilities, setuid_root, setgid_root },
                ..Program::default()
            }
        })
        .boxed()
}

fn pid() -> impl Strategy<Value = Pid> {
    number().prop_map(Pid)
}

fn time() -> impl Strategy<Value = BootTime> {
    long().prop_map(BootTime::from_nanos)
}

/// The special ones often.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), 0..300_u32, any::<u32>()]
}

fn long() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), 0..300_u64, any::<u64>()]
}
