//! The events of a build, as the eBPF source tells of them: `make` starts shells, these start compilers,
//! and those start what does the work.

use std::fmt::Write as _;

use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Context, Credentials, Event, EventKind, Exec,
    Exit, ExitStatus, FileIdentity, Fork, Namespaces, Pid, ProcessKey, Program, Running, Subject, Uid,
    WorkingDirectory,
};

/// Takes each event.
type Sink<'s> = &'s mut dyn FnMut(&Event<'_>);

/// A build without end.
pub(crate) struct Build {
    now: u64,
    pid: u32,
    file: u64,
    random: u64,
    text: String,
    /// Events that are still wanted of a call.
    wanted: u32,
}

/// A process and who started it.
#[derive(Clone, Copy)]
struct Task {
    key: ProcessKey,
    began: BootTime,
    parent: ProcessKey,
}

/// The processes of one compilation: program, and the arguments with `@` for the name of the file.
const SHELL: [&str; 2] =
    ["/usr/bin/dash", "/bin/sh\0-c\0gcc -O2 -g -Wall -Iinclude -c src/@.c -o build/@.o\0"];
const DRIVER: [&str; 2] = ["/usr/bin/gcc", "gcc\0-O2\0-g\0-Wall\0-Iinclude\0-c\0src/@.c\0-o\0build/@.o\0"];
const COMPILER: [&str; 2] = [
    "/usr/lib/gcc/x86_64-linux-gnu/13/cc1",
    "/usr/lib/gcc/x86_64-linux-gnu/13/cc1\0-quiet\0-I\0include\0-imultiarch\0x86_64-linux-gnu\0src/@.c\0-quiet\0\
     -dumpdir\0build/\0-dumpbase\0@.c\0-dumpbase-ext\0.c\0-mtune=generic\0-march=x86-64\0-g\0-O2\0-Wall\0\
     -fasynchronous-unwind-tables\0-fstack-protector-strong\0-Wformat\0-Wformat-security\0\
     -fstack-clash-protection\0-fcf-protection\0-o\0/tmp/cc%.s\0",
];
const ASSEMBLER: [&str; 2] =
    ["/usr/bin/as", "as\0-I\0include\0--gdwarf-5\0--64\0-o\0build/@.o\0/tmp/cc%.s\0"];

impl Build {
    /// The pid of `make`.
    pub(crate) const MAKE: Pid = Pid(1_000);

    const MAKE_TASK: Task = Task {
        key: ProcessKey::new(Self::MAKE, BootTime::from_nanos(5_000_000_000)),
        began: BootTime::from_nanos(5_000_000_000),
        parent: ProcessKey::NONE,
    };

    pub(crate) fn new() -> Self {
        Self { now: 6_000_000_000, pid: 1_000, file: 0, random: 1, text: String::new(), wanted: 0 }
    }

    /// The next `count` events; what is begun then is left as it is.
    pub(crate) fn events(&mut self, count: u32, sink: Sink<'_>) {
        self.wanted = count;
        self.tell(Self::MAKE_TASK, sink);
        while self.wanted > 0 {
            self.file += 1;
            let shell = self.start(Self::MAKE_TASK, SHELL, sink);
            let driver = self.start(shell, DRIVER, sink);
            for program in [COMPILER, ASSEMBLER] {
                let tool = self.start(driver, program, sink);
                self.exit(tool, sink);
            }
            self.exit(driver, sink);
            self.exit(shell, sink);
        }
    }

    /// So many processes that run, each with a command line of its own.
    pub(crate) fn processes(&mut self, count: u32, sink: Sink<'_>) {
        self.wanted = u32::MAX;
        self.tell(Self::MAKE_TASK, sink);
        for _ in 1..count {
            self.file += 1;
            self.start(Self::MAKE_TASK, DRIVER, sink);
        }
    }

    fn send(&mut self, kind: &EventKind<'_>, sink: Sink<'_>) {
        if self.wanted > 0 {
            self.wanted -= 1;
            sink(&Event { time: BootTime::from_nanos(self.now), kind: *kind });
        }
    }

    fn tick(&mut self) -> BootTime {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.now += 200_000 + (self.random >> 44);
        BootTime::from_nanos(self.now)
    }

    fn tell(&mut self, task: Task, sink: Sink<'_>) {
        let program =
            Program { binary: b"/usr/bin/make", arguments: Arguments::complete(b"make\0-j2\0"), ..program() };
        let process = Subject::exact(task.key, task.began);
        let running = Running { process, context: context(), program, ..Running::default() };
        self.send(&EventKind::Running(running), sink);
    }

    fn start(&mut self, parent: Task, [binary, arguments]: [&str; 2], sink: Sink<'_>) -> Task {
        let began = self.tick();
        self.pid = if self.pid >= 4_000_000 { 1_001 } else { self.pid + 1 };
        let shared = ProcessKey::new(Pid(self.pid), began);
        let child = Subject::exact(shared, began);
        let (owner, parent_tid) = (parent.key.into(), parent.key.pid);
        self.send(
            &EventKind::Fork(Fork { child, parent: owner, parent_tid, owner, context: Context::default() }),
            sink,
        );

        let key = ProcessKey::new(shared.pid, self.tick());
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        for part in arguments.split_inclusive(['@', '%']) {
            text.push_str(part.trim_end_matches(['@', '%']));
            if part.ends_with('@') {
                write!(text, "module{}/part{:04}", self.file / 40, self.file % 9_973).unwrap();
            } else if part.ends_with('%') {
                write!(text, "{:06x}", self.random >> 40).unwrap();
            }
        }
        let comm = binary.rsplit('/').next().unwrap_or_default().as_bytes();
        let arguments = Arguments::complete(text.as_bytes());
        let program = Program {
            binary: binary.as_bytes(),
            executable: binary.as_bytes(),
            comm,
            arguments,
            file: Some(FileIdentity {
                inode: 1_000 + binary.len() as u64,
                mode: 0o100_755,
                links: 1,
                ..FileIdentity::default()
            }),
            ..program()
        };
        self.send(
            &EventKind::Exec(Exec {
                process: Subject::exact(key, began),
                replaces: Some(shared),
                tid: key.pid,
                owner,
                context: context(),
                program,
            }),
            sink,
        );
        self.text = text;
        Task { key, began, parent: parent.key }
    }

    fn exit(&mut self, task: Task, sink: Sink<'_>) {
        self.tick();
        let process = Subject::exact(task.key, task.began);
        let status = Some(ExitStatus::from_raw(0));
        let exit = Exit { process, tid: task.key.pid, owner: task.parent.into(), status, comm: b"" };
        self.send(&EventKind::Exit(exit), sink);
    }
}

fn program() -> Program<'static> {
    Program {
        cwd: WorkingDirectory::Path(b"/home/builder/work/project"),
        comm: b"make",
        ..Program::default()
    }
}

fn context() -> Context<'static> {
    let uid = Uid(1_000);
    Context {
        ns_pid: None,
        session: Some(Build::MAKE),
        credentials: Some(Credentials {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            capabilities: Capabilities {
                bounding: CapabilitySet(0x1ff_ffff_ffff),
                ..Capabilities::default()
            },
            ..Credentials::default()
        }),
        namespaces: Some(Namespaces {
            uts: 4_026_531_838,
            ipc: 4_026_531_839,
            mnt: 4_026_531_841,
            pid: 4_026_531_836,
            pid_for_children: 4_026_531_836,
            net: 4_026_531_840,
            time: 4_026_531_834,
            time_for_children: 4_026_531_834,
            cgroup: 4_026_531_835,
            user: 4_026_531_837,
        }),
        cgroup: Some(Cgroup { id: 5_000, path: b"/user.slice/user-1000.slice/session-1.scope" }),
    }
}
