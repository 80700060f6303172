//! The table and the baseline behind one set of operations, each told the same in its own form.

use std::hint::black_box;

use procession::{
    Arguments as Argv, BootTime, Capabilities, CapabilitySet, Cgroup, Context, Credentials, Entry, Event,
    EventKind, Exec, Exit, ExitStatus, FileIdentity, Fork, Gid, Namespaces, Precision, ProcessKey, Program,
    Running, Subject, Table, TableConfig, Uid, WorkingDirectory,
};

use crate::baseline::{CLONE, Cache, CloneEvent, EXECVE, ExecEvent};
use crate::workload::{
    Arguments, BEGIN, CAPABILITIES, CWD, Container, DIRECTORY, HOST_NAMESPACES, INIT, NAMESPACES, NODE,
    Parent, SECOND, USER, Who,
};

/// What is compared.
pub(crate) trait Processes {
    /// Entries that a process leaves behind that is forked, runs one program and exits.
    const ENTRIES_PER_LIFE: u32;

    /// With the parents in it, and room for `capacity` entries.
    fn new(capacity: usize) -> Self;
    fn fork(&mut self, who: Who);
    fn exec(&mut self, who: Who, arguments: &Arguments);
    fn exit(&mut self, who: Who, time: u64);
    /// Looks up a process and its parent, and takes and drops a reference on both.
    fn use_both(&mut self, who: Who);
    /// Looks up a process and its parent. Whether both are there.
    fn find_both(&self, key: ProcessKey) -> bool;
    fn advance(&mut self, now: u64);
    /// Entries.
    fn len(&self) -> usize;
}

/// The table.
pub(crate) struct Ours {
    pub(crate) table: Table,
}

impl Ours {
    fn apply(&mut self, event: &Event<'_>) {
        let _ = black_box(self.table.apply(black_box(event)));
    }

    fn run(&mut self, key: ProcessKey, owner: ProcessKey, binary: &str, container: &Container) {
        let arguments = Arguments::of(Who::new(key.pid.0, 0));
        let running = Running {
            process: subject(key, key.start),
            owner: owner.into(),
            context: context(container, &container.cgroup_path),
            program: program(binary, arguments.argv(), 7),
            gap: None,
        };
        self.apply(&Event { time: BootTime::from_nanos(BEGIN - SECOND), kind: EventKind::Running(running) });
    }

    pub(crate) fn find_one(&self, key: ProcessKey) -> Option<Entry<'_>> {
        self.table.get(key)
    }
}

impl Processes for Ours {
    const ENTRIES_PER_LIFE: u32 = 1;

    fn new(capacity: usize) -> Self {
        let default = TableConfig::default();
        let budget = default.budget.max(capacity * 512);
        let mut ours = Self { table: Table::new(TableConfig { budget, ..default }) };
        ours.run(INIT, ProcessKey::NONE, "/usr/lib/systemd/systemd", Parent(0).container());
        for parent in Parent::all() {
            ours.run(parent.key(), INIT, &parent.binary(), parent.container());
        }
        ours
    }

    fn fork(&mut self, who: Who) {
        let parent = who.parent();
        let fork = Fork {
            child: subject(who.key_of_fork(), BootTime::from_nanos(who.forked)),
            parent: parent.key().into(),
            parent_tid: parent.key().pid,
            owner: parent.key().into(),
            context: context(parent.container(), ""),
        };
        self.apply(&Event { time: BootTime::from_nanos(who.forked), kind: EventKind::Fork(fork) });
    }

    fn exec(&mut self, who: Who, arguments: &Arguments) {
        let container = who.container();
        let exec = Exec {
            process: subject(who.key_of_exec(), BootTime::from_nanos(who.forked)),
            replaces: Some(who.key_of_fork()),
            tid: who.pid(),
            owner: who.parent().key().into(),
            context: context(container, &container.cgroup_path),
            program: program(who.binary(), arguments.argv(), u64::from(who.number % 200) + 4_711),
        };
        self.apply(&Event { time: BootTime::from_nanos(who.execed), kind: EventKind::Exec(exec) });
    }

    fn exit(&mut self, who: Who, time: u64) {
        let exit = Exit {
            process: subject(who.key_of_exec(), BootTime::from_nanos(who.forked)),
            tid: who.pid(),
            owner: who.parent().key().into(),
            status: Some(ExitStatus::default()),
            comm: comm(who.binary()),
        };
        self.apply(&Event { time: BootTime::from_nanos(time), kind: EventKind::Exit(exit) });
    }

    fn use_both(&mut self, who: Who) {
        black_box(self.find_both(who.key_of_exec()));
    }

    fn find_both(&self, key: ProcessKey) -> bool {
        let Some(process) = self.table.get(key) else { return false };
        let Some(parent) = black_box(process).reference_parent() else { return false };
        black_box(parent.key()) != ProcessKey::NONE
    }

    fn advance(&mut self, now: u64) {
        self.table.advance(BootTime::from_nanos(now));
    }

    fn len(&self) -> usize {
        self.table.len()
    }
}

fn subject(key: ProcessKey, began: BootTime) -> Subject {
    Subject { key, began, precision: Precision::Nanoseconds }
}

/// As the eBPF source gives it: everything, but for a fork no path of the cgroup.
fn context<'a>(container: &Container, path: &'a str) -> Context<'a> {
    let [uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children, cgroup, user] = NAMESPACES;
    let (uid, gid, capabilities) = (Uid(USER), Gid(USER), CapabilitySet(CAPABILITIES));
    Context {
        ns_pid: None,
        session: Some(INIT.pid),
        credentials: Some(Credentials {
            uid,
            gid,
            suid: uid,
            sgid: gid,
            euid: uid,
            egid: gid,
            fsuid: uid,
            fsgid: gid,
            securebits: 0,
            login_uid: Some(uid),
            audit_session: None,
            capabilities: Capabilities {
                permitted: capabilities,
                effective: capabilities,
                bounding: capabilities,
                ..Capabilities::default()
            },
        }),
        namespaces: Some(Namespaces {
            uts,
            ipc,
            mnt,
            pid,
            pid_for_children,
            net,
            time,
            time_for_children,
            cgroup,
            user,
        }),
        cgroup: Some(Cgroup { id: container.cgroup_id, path: path.as_bytes() }),
    }
}

fn program<'a>(binary: &'a str, argv: &'a [u8], inode: u64) -> Program<'a> {
    Program {
        binary: binary.as_bytes(),
        executable: binary.as_bytes(),
        comm: comm(binary),
        cwd: WorkingDirectory::Path(CWD.as_bytes()),
        arguments: Argv::complete(argv),
        file: Some(FileIdentity { inode, device: 0x80_0001, links: 1, mode: 0o100_755, uid: 0, gid: 0 }),
        ..Program::default()
    }
}

fn comm(binary: &str) -> &[u8] {
    binary.strip_prefix(DIRECTORY).unwrap_or("systemd").as_bytes()
}

/// The reference's way.
pub(crate) struct Theirs {
    pub(crate) cache: Cache,
    next_tick: u64,
}

impl Theirs {
    /// The event of an exec: after a fork unless `replaced` is `None`.
    pub(crate) fn exec_event(who: Who, arguments: &Arguments, replaced: Option<ProcessKey>) -> ExecEvent<'_> {
        ExecEvent {
            key: who.key_of_exec(),
            parent: who.parent().key(),
            replaced,
            flags: EXECVE | CLONE,
            uid: USER,
            auid: USER,
            binary: who.binary(),
            arguments: arguments.block(),
            docker: who.container().short_id(),
            capabilities: [CAPABILITIES, CAPABILITIES, 0],
            namespaces: NAMESPACES,
            host_namespaces: HOST_NAMESPACES,
        }
    }

    pub(crate) fn clone_event(who: Who) -> CloneEvent {
        CloneEvent { child: who.key_of_fork(), parent: who.parent().key(), flags: EXECVE }
    }
}

impl Processes for Theirs {
    const ENTRIES_PER_LIFE: u32 = 2;

    fn new(capacity: usize) -> Self {
        let cache = Cache::new(NODE, capacity);
        let add = |key: ProcessKey, parent, binary: &str, container: &Container| {
            let who = Who::new(key.pid.0, 0);
            let arguments = Arguments::of(who);
            let docker = container.short_id();
            let event = Self::exec_event(who, &arguments, None);
            cache.exec(&ExecEvent { key, parent, binary, docker, ..event });
        };
        add(INIT, ProcessKey::NONE, "/usr/lib/systemd/systemd", Parent(0).container());
        for parent in Parent::all() {
            add(parent.key(), INIT, &parent.binary(), parent.container());
        }
        Self { cache, next_tick: BEGIN }
    }

    fn fork(&mut self, who: Who) {
        let added = self.cache.add_clone(black_box(&Self::clone_event(who)));
        black_box(added.is_ok());
        self.advance(who.forked);
    }

    fn exec(&mut self, who: Who, arguments: &Arguments) {
        self.cache.exec(black_box(&Self::exec_event(who, arguments, Some(who.key_of_fork()))));
    }

    fn exit(&mut self, who: Who, time: u64) {
        self.cache.exit(who.key_of_exec());
        self.advance(time);
    }

    fn use_both(&mut self, who: Who) {
        let (process, parent) = self.cache.with_parent(who.key_of_exec());
        let both = [process, parent];
        for entry in both.iter().flatten() {
            entry.ref_inc();
        }
        for entry in black_box(both).iter().flatten() {
            self.cache.ref_dec(entry);
        }
    }

    fn find_both(&self, key: ProcessKey) -> bool {
        let (process, parent) = self.cache.with_parent(key);
        black_box(&process).is_some() && black_box(&parent).is_some()
    }

    fn advance(&mut self, now: u64) {
        while self.next_tick <= now {
            self.cache.tick();
            self.next_tick += 30 * SECOND;
        }
    }

    fn len(&self) -> usize {
        self.cache.len()
    }
}
