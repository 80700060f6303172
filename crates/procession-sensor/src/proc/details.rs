//! Everything about one process, as an event wants it.

use procession::{
    Arguments, BootTime, Cgroup, Context, Credentials, FileIdentity, Namespaces, Nature, Pid,
    PrivilegeChange, Program, Uid, WorkingDirectory,
};
use rustix::fs::{major, minor};
use rustix::io::Errno;

use super::directory::{ProcessDir, Procfs};
use super::stat::Stat;
use super::status::Status;
use super::{cgroup, number};

/// The most bytes of arguments that are read. The kernel allows less: 6 MiB with the environment.
const LONGEST_ARGUMENTS: usize = 8 << 20;

/// What one long command line may leave allocated.
const KEPT_CAPACITY: usize = 64 * 1024;

/// What the kernel appends to the path of a file that was deleted. A file may also be called so.
const DELETED: &[u8] = b" (deleted)";

/// One process in full, in buffers that serve for the next one again.
#[derive(Debug, Default)]
pub(crate) struct Details {
    nature: Nature,
    comm: Vec<u8>,
    binary: Vec<u8>,
    cwd: Vec<u8>,
    arguments: Vec<u8>,
    arguments_len: usize,
    cgroup: Vec<u8>,
    file: Option<FileIdentity>,
    ns_pid: Option<Pid>,
    session: Option<Pid>,
    credentials: Option<Credentials>,
    namespaces: Option<Namespaces>,
    scratch: Vec<u8>,
}

impl Details {
    /// Reads the process that has `pid` and began at a time that `is_meant` recognises.
    ///
    /// `None`: there is no such process any more, and the details are empty.
    pub(crate) fn read(
        &mut self,
        procfs: &Procfs,
        pid: Pid,
        is_meant: impl FnOnce(BootTime) -> bool,
    ) -> Option<Stat> {
        self.clear();
        let process = procfs.process(pid)?;
        let stat = process.stat(&mut self.scratch).filter(|stat| is_meant(stat.began))?;
        self.nature = stat.nature();
        self.session = stat.session;
        self.read_comm(&process, &stat);
        self.read_status(&process);
        self.read_cgroup(&process);
        self.namespaces = self.read_namespaces(&process);
        match self.nature {
            Nature::User => self.read_program(&process),
            Nature::KernelThread => self.binary = [b"[", &self.comm[..], b"]"].concat(),
        }
        Some(stat)
    }

    /// Leaves only what `stat` said of a process that vanished before more could be read.
    pub(crate) fn set_vanished(&mut self, stat: &Stat) {
        self.clear();
        self.nature = stat.nature();
        self.session = stat.session;
        self.comm.extend_from_slice(stat.comm.as_bytes());
    }

    /// What the process runs.
    pub(crate) fn program(&self) -> Program<'_> {
        Program {
            nature: self.nature,
            binary: &self.binary,
            executable: if self.nature == Nature::User { &self.binary } else { b"" },
            comm: &self.comm,
            cwd: if self.cwd.starts_with(b"/") {
                WorkingDirectory::Path(&self.cwd)
            } else {
                WorkingDirectory::Unknown
            },
            environment: Arguments::default(),
            arguments: Arguments { bytes: &self.arguments, total_len: self.arguments_len },
            file: self.file,
            privileges: PrivilegeChange::default(),
        }
    }

    /// As whom and where it runs.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            ns_pid: self.ns_pid,
            session: self.session,
            credentials: self.credentials,
            namespaces: self.namespaces,
            cgroup: (!self.cgroup.is_empty()).then_some(Cgroup { id: 0, path: &self.cgroup }),
        }
    }

    fn clear(&mut self) {
        self.nature = Nature::User;
        for buffer in [
            &mut self.comm,
            &mut self.binary,
            &mut self.cwd,
            &mut self.arguments,
            &mut self.cgroup,
            &mut self.scratch,
        ] {
            buffer.clear();
            buffer.shrink_to(KEPT_CAPACITY);
        }
        self.arguments_len = 0;
        self.file = None;
        self.ns_pid = None;
        self.session = None;
        self.credentials = None;
        self.namespaces = None;
    }

    fn read_comm(&mut self, process: &ProcessDir, stat: &Stat) {
        if process.read_small("comm", &mut self.comm).is_ok() && self.comm.ends_with(b"\n") {
            self.comm.pop();
        } else {
            self.comm.clear();
            self.comm.extend_from_slice(stat.comm.as_bytes());
        }
    }

    fn read_status(&mut self, process: &ProcessDir) {
        if process.read_small("status", &mut self.scratch).is_err() {
            return;
        }
        let status = Status::parse(&self.scratch);
        self.ns_pid = status.ns_pid;
        self.credentials = status.credentials();
        let login_uid = self.read_id(process, "loginuid").map(Uid);
        let audit_session = self.read_id(process, "sessionid");
        if let Some(credentials) = &mut self.credentials {
            credentials.login_uid = login_uid;
            credentials.audit_session = audit_session;
        }
    }

    /// A file that holds one id, or -1 for none.
    fn read_id(&mut self, process: &ProcessDir, name: &str) -> Option<u32> {
        process.read_small(name, &mut self.scratch).ok()?;
        number(self.scratch.trim_ascii()).filter(|id| *id != u32::MAX)
    }

    fn read_cgroup(&mut self, process: &ProcessDir) {
        if process.read_small("cgroup", &mut self.scratch).is_ok() {
            self.cgroup.extend_from_slice(cgroup::path(&self.scratch).unwrap_or_default());
        }
    }

    fn read_program(&mut self, process: &ProcessDir) {
        let target = process.target("exe").ok();
        self.file = target.map(|stat| identity(&stat));
        read_path(process, "exe", target.as_ref(), &mut self.binary);
        let target = process.target("cwd").ok();
        read_path(process, "cwd", target.as_ref(), &mut self.cwd);
        // One byte more than wanted tells that there is more.
        if process.read("cmdline", LONGEST_ARGUMENTS + 1, &mut self.arguments).is_ok() {
            self.arguments_len = self.arguments.len();
            self.arguments.truncate(LONGEST_ARGUMENTS);
        }
    }

    /// Reads no more than the first `most` bytes of arguments of the process that has `pid` and began at a time
    /// that `is_meant` recognises. `None`: it has gone, or has none.
    pub(crate) fn arguments(
        &mut self,
        procfs: &Procfs,
        pid: Pid,
        most: usize,
        is_meant: impl FnOnce(BootTime) -> bool,
    ) -> Option<&[u8]> {
        self.clear();
        let process = procfs.process(pid)?;
        process.stat(&mut self.scratch).filter(|stat| is_meant(stat.began))?;
        process.read("cmdline", most, &mut self.arguments).ok()?;
        (!self.arguments.is_empty()).then_some(&self.arguments)
    }

    /// `None` when the links may not be read, as those of other users' processes.
    fn read_namespaces(&mut self, process: &ProcessDir) -> Option<Namespaces> {
        // A kernel without user namespaces, say, has no such link; but some kind it has.
        let mut any = false;
        let mut inode = |name: &str| match process.link(name, &mut self.scratch) {
            Ok(()) => {
                any = true;
                Some(namespace_inode(&self.scratch))
            }
            Err(Errno::NOENT) => Some(0),
            Err(_) => None,
        };
        let namespaces = Namespaces {
            uts: inode("ns/uts")?,
            ipc: inode("ns/ipc")?,
            mnt: inode("ns/mnt")?,
            pid: inode("ns/pid")?,
            pid_for_children: inode("ns/pid_for_children")?,
            net: inode("ns/net")?,
            time: inode("ns/time")?,
            time_for_children: inode("ns/time_for_children")?,
            cgroup: inode("ns/cgroup")?,
            user: inode("ns/user")?,
        };
        any.then_some(namespaces)
    }
}

impl ProcessDir {
    /// The pid in the innermost pid namespace, where only that is wanted.
    pub(crate) fn ns_pid(&self, buffer: &mut Vec<u8>) -> Option<Pid> {
        self.read_small("status", buffer).ok()?;
        Status::parse(buffer).ns_pid
    }
}

/// Reads a link as the path of `target`, the file that it leads to.
fn read_path(process: &ProcessDir, name: &str, target: Option<&rustix::fs::Stat>, path: &mut Vec<u8>) {
    if process.link(name, path).is_err() {
        path.clear();
    }
    let is_deleted = target.is_some_and(|target| target.st_nlink == 0);
    if is_deleted && path.ends_with(DELETED) {
        path.truncate(path.len() - DELETED.len());
    }
}

/// The number in `mnt:[4026531841]`; zero when there is none.
pub(super) fn namespace_inode(link: &[u8]) -> u32 {
    let digits = link.split(|byte| *byte == b'[').nth(1).and_then(|rest| rest.strip_suffix(b"]"));
    digits.and_then(number).unwrap_or(0)
}

fn identity(stat: &rustix::fs::Stat) -> FileIdentity {
    FileIdentity {
        inode: stat.st_ino,
        // The kernel's own dev_t, which differs from the one that stat(2) shows.
        device: major(stat.st_dev) << 20 | minor(stat.st_dev),
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::fake::{FakeProc, FakeStat};

    fn read(fake: &FakeProc, pid: u32) -> Details {
        let mut details = Details::default();
        details.read(&fake.open(), Pid(pid), |_| true).unwrap();
        details
    }

    #[test]
    fn missing_files_leave_facts_unknown() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat { comm: b"sh", ..FakeStat::default() });
        let details = read(&fake, 5);
        assert_eq!(details.program(), Program { comm: b"sh", ..Program::default() });
        assert_eq!(details.context(), Context { session: Some(Pid(1)), ..Context::default() });
    }

    #[test]
    fn a_process_without_a_readable_stat_is_none() {
        let fake = FakeProc::new();
        fake.directory("5");
        let mut details = Details::default();
        assert!(details.read(&fake.open(), Pid(5), |_| true).is_none());
        fake.file(5, "stat", b"5 (x) S 1 1");
        assert!(details.read(&fake.open(), Pid(5), |_| true).is_none());
        assert!(details.read(&fake.open(), Pid(6), |_| true).is_none());
    }

    #[test]
    fn bytes_of_every_kind_are_kept() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat { comm: b"a) \n", ..FakeStat::default() });
        fake.file(5, "comm", b"a) \n\n");
        fake.file(5, "cmdline", b"\xff\xfe\0\0b\n\0");
        fake.link(5, "exe", b"/bin/\xff x");
        fake.link(5, "cwd", b"/\xf0(\n");
        let details = read(&fake, 5);
        let program = details.program();
        assert_eq!(program.comm, b"a) \n");
        assert_eq!(program.arguments, Arguments::complete(b"\xff\xfe\0\0b\n\0"));
        assert_eq!((program.binary, program.executable), (&b"/bin/\xff x"[..], &b"/bin/\xff x"[..]));
        assert_eq!(program.cwd, WorkingDirectory::Path(b"/\xf0(\n"));
    }

    #[test]
    fn reading_the_next_process_leaves_nothing_of_the_last() {
        let fake = FakeProc::new();
        for pid in [5, 6] {
            fake.process(pid, &FakeStat::default());
        }
        fake.file(5, "cmdline", &vec![b'x'; 1 << 20]);
        fake.file(5, "cgroup", b"0::/a\n");
        fake.file(5, "status", b"Uid:\t1\t1\t1\t1\nGid:\t1\t1\t1\t1\nNStgid:\t5\t2\n");
        fake.link(5, "exe", b"/bin/x");
        fake.link(5, "ns/uts", b"uts:[7]");
        let mut details = read(&fake, 5);
        assert_eq!(details.context().ns_pid, Some(Pid(2)));
        assert_eq!(details.context().namespaces.unwrap().uts, 7);
        details.read(&fake.open(), Pid(6), |_| true).unwrap();
        assert_eq!(details.program(), Program { comm: b"sh", ..Program::default() });
        assert_eq!(details.context(), Context { session: Some(Pid(1)), ..Context::default() });
        assert!(details.arguments.capacity() <= KEPT_CAPACITY, "a long command line is not paid for twice");
    }

    #[test]
    fn arguments_beyond_all_bounds_are_cut_and_said_to_be() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat::default());
        fake.file(5, "cmdline", &vec![b'x'; LONGEST_ARGUMENTS + 10]);
        let details = read(&fake, 5);
        assert_eq!(details.program().arguments.bytes.len(), LONGEST_ARGUMENTS);
        assert!(details.program().arguments.missing() > 0);
    }

    #[test]
    fn the_kernels_flag_makes_a_kernel_thread_and_an_empty_command_line_does_not() {
        let fake = FakeProc::new();
        fake.process(5, &FakeStat { comm: b"wiped", ..FakeStat::default() });
        fake.file(5, "cmdline", b"");
        fake.process(6, &FakeStat { comm: b"kswapd0", flags: 0x0020_0040, ..FakeStat::default() });
        assert_eq!(read(&fake, 5).program().nature, Nature::User);
        let kernel = read(&fake, 6);
        assert_eq!(kernel.program().nature, Nature::KernelThread);
        assert_eq!(kernel.program().binary, b"[kswapd0]");
        assert!(kernel.program().executable.is_empty());
    }

    #[test]
    fn only_a_deleted_file_loses_the_suffix() {
        let fake = FakeProc::new();
        let existing = fake.path().join("tool (deleted)");
        std::fs::write(&existing, b"x").unwrap();
        fake.process(5, &FakeStat::default());
        fake.link(5, "exe", existing.as_os_str().as_encoded_bytes());
        let details = read(&fake, 5);
        assert!(details.program().binary.ends_with(b"/tool (deleted)"));
        let file = details.program().file.unwrap();
        assert_eq!((file.links, file.is_unlinked()), (1, false));
    }

    #[test]
    fn a_running_program_that_was_deleted_keeps_its_name() {
        let directory = tempfile::TempDir::new().unwrap();
        let tool = directory.path().join("tool");
        // Not by this process: one that another test is just starting would have it open to write, and keep it from being
        // executed.
        assert!(std::process::Command::new("cp").arg("/bin/sleep").arg(&tool).status().unwrap().success());
        let mut child = std::process::Command::new(&tool).arg("60").spawn().unwrap();
        std::fs::remove_file(&tool).unwrap();
        let mut details = Details::default();
        let procfs = Procfs::open(std::path::Path::new("/proc")).unwrap();
        details.read(&procfs, Pid(child.id()), |_| true).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(details.program().binary, tool.as_os_str().as_encoded_bytes());
        assert!(details.program().file.unwrap().is_unlinked());
    }

    // Not of this process: what a machine starts first, and what stays with it, is in no session.
    #[test]
    fn the_leader_of_a_session_is_read() {
        let mut leader = std::process::Command::new("setsid")
            .args(["sh", "-c", "echo; read line"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(leader.stdout.as_mut().unwrap(), &mut [0]).unwrap();

        let procfs = Procfs::open(std::path::Path::new("/proc")).unwrap();
        let mut details = Details::default();
        details.read(&procfs, Pid(leader.id()), |_| true).unwrap();
        assert_eq!(details.context().session, Some(Pid(leader.id())));
        drop(leader.stdin.take());
        leader.wait().unwrap();
    }

    #[test]
    fn the_own_process_is_read_in_full() {
        let procfs = Procfs::open(std::path::Path::new("/proc")).unwrap();
        let mut details = Details::default();
        let stat = details.read(&procfs, Pid(std::process::id()), |_| true).unwrap();
        assert_eq!(stat.parent, Pid(std::os::unix::process::parent_id()));

        let program = details.program();
        let arguments = std::env::args_os().map(|it| it.as_encoded_bytes().to_vec());
        assert!(program.arguments.iter().eq(arguments));
        let exe = std::env::current_exe().unwrap();
        assert_eq!(program.binary, exe.as_os_str().as_encoded_bytes());
        let cwd = std::env::current_dir().unwrap();
        assert_eq!(program.cwd, WorkingDirectory::Path(cwd.as_os_str().as_encoded_bytes()));

        let credentials = details.context().credentials.unwrap();
        assert_eq!(credentials.euid.0, rustix::process::geteuid().as_raw());
        assert_eq!(credentials.gid.0, rustix::process::getgid().as_raw());
        assert_ne!(details.context().namespaces.unwrap().mnt, 0);
        assert!(details.context().cgroup.unwrap().path.starts_with(b"/"));
    }
}
