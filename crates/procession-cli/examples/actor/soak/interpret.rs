//! What the processes of an act do: they follow the plan from where they are in it.

use std::ffi::{CStr, CString};
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::{env, process, thread};

use super::plan::{By, End, FileKind, Image, Made, Outcome, Plan, Step, Token, Wave};
use crate::sys::{self, Namespace, Vector};
use crate::threads::hold_threads;
use crate::truth::Status;

/// An act, in one of its processes.
#[derive(Clone, Copy)]
pub(super) struct Play<'a> {
    pub(super) plan: &'a Plan,
    pub(super) run: u32,
    pub(super) seed: u64,
    pub(super) act: u64,
}

/// Waits for these lives, of which `known` has that pid. Whether each ended as planned.
pub(super) fn settle(plan: &Plan, wards: Vec<usize>, known: Option<(u32, usize)>) -> io::Result<bool> {
    let mut expected: Vec<(usize, Outcome)> =
        wards.into_iter().map(|life| (life, plan.lives[life].end.outcome())).collect();
    let mut is_as_planned = true;
    while !expected.is_empty() {
        let (pid, status) = sys::wait_any_status()?;
        let seen = outcome(status);
        let of_known = known.filter(|(known, _)| *known == pid).map(|(_, life)| life);
        let is_it = |(life, outcome): &(usize, Outcome)| {
            let may_be =
                of_known.map_or_else(|| known.is_none_or(|(_, known)| *life != known), |it| *life == it);
            may_be && *outcome == seen
        };
        let position = expected.iter().position(is_it);
        is_as_planned &= position.is_some();
        expected.swap_remove(position.unwrap_or(0));
    }
    Ok(is_as_planned)
}

fn outcome(status: i32) -> Outcome {
    match sys::status(status) {
        Status::Exited { code } => Outcome::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        Status::Signaled { signal, .. } => Outcome::Signal(signal),
    }
}

impl Play<'_> {
    /// Goes on with a life after so many execs, up to its next exec or its end. The code to exit with.
    pub(super) fn go_on(self, life: usize, execs: usize) -> io::Result<i32> {
        let it = self.plan.lives.get(life).ok_or(io::ErrorKind::InvalidInput)?;
        let runs = execs.checked_sub(1).and_then(|image| it.images.get(image));
        if runs.is_some_and(|image| image.file == FileKind::Script) {
            fs::remove_file(self.beside("script", life)?)?;
        }
        if execs == 0 {
            let maker = sys::parent();
            for step in &it.steps {
                take(*step, maker)?;
            }
        }
        if !self.make_children(life, execs)? {
            return Ok(sys::FAILED);
        }
        match it.images.get(execs) {
            Some(image) => Ok(self.exec_by(life, execs, image)?),
            None => Ok(end(it.end)),
        }
    }

    /// Whether all of them ended as planned, as far as this one waits for them.
    fn make_children(self, life: usize, execs: usize) -> io::Result<bool> {
        let wave = self.plan.lives[life].wave;
        let mut is_as_planned = true;
        for (child, it) in self.plan.lives.iter().enumerate() {
            if it.parent != Some((life, execs)) {
                continue;
            }
            let pid = self.make(child)?;
            if wave == Wave::Sequential {
                is_as_planned &= outcome(sys::wait(pid)?) == it.end.outcome();
            }
        }
        if wave == Wave::AtOnce {
            is_as_planned &= settle(self.plan, self.plan.wards(life, execs), None)?;
        }
        Ok(is_as_planned)
    }

    fn make(self, child: usize) -> io::Result<u32> {
        let it = &self.plan.lives[child];
        let maker = process::id();
        let live = || {
            // Those that wait to be adopted have to know who made them, who may be gone by now.
            if it.steps.first() == Some(&Step::AwaitAdoption) {
                sys::until(|| sys::parent() != maker);
            }
            self.go_on(child, 0).unwrap_or(sys::FAILED)
        };
        let first = || it.images.first().ok_or(io::ErrorKind::InvalidInput);
        match it.made {
            Made::Fork => sys::fork(live),
            Made::Sibling => sys::fork_sibling(live),
            Made::Vfork => {
                let image = first()?;
                sys::vfork_exec(&path_of(image.file)?, &Vector::new(&self.arguments(child, 0, image)?))
            }
            Made::Spawn => {
                let image = first()?;
                sys::spawn(&path_of(image.file)?, &Vector::new(&self.arguments(child, 0, image)?))
            }
        }
    }

    fn token(self, life: usize, image: usize) -> Token {
        Token { run: self.run, seed: self.seed, act: self.act, life, image }
    }

    /// As an exec takes them.
    fn arguments(self, life: usize, number: usize, image: &Image) -> io::Result<Vec<CString>> {
        let (pid, owner) = if image.has_pids { (process::id(), sys::parent()) } else { (0, 0) };
        let mut words = vec![image.name.clone()];
        // An interpreter is given it by the script's first line.
        if image.file != FileKind::Script {
            words.push(self.token(life, number).to_string().into_bytes());
        }
        words.push(format!("pid={pid}").into_bytes());
        words.push(format!("owner={owner}").into_bytes());
        words.extend(image.extra.iter().cloned());
        words.into_iter().map(|word| CString::new(word).map_err(io::Error::other)).collect()
    }

    fn exec_by(self, life: usize, number: usize, image: &Image) -> io::Result<i32> {
        match image.by {
            By::Process => self.exec(life, number, image),
            By::Leader(threads) => {
                hold_threads(threads);
                self.exec(life, number, image)
            }
            By::Thread(threads) => {
                hold_threads(threads - 1);
                let exec = || self.exec(life, number, image).unwrap_or(sys::FAILED);
                Ok(thread::scope(|scope| scope.spawn(exec).join().unwrap_or(sys::FAILED)))
            }
        }
    }

    /// It returns only when it failed.
    fn exec(self, life: usize, number: usize, image: &Image) -> io::Result<i32> {
        let arguments = self.arguments(life, number, image)?;
        let vector = Vector::new(&arguments);
        match image.file {
            FileKind::Actor | FileKind::True => sys::exec(&path_of(image.file)?, &vector),
            FileKind::Memory => {
                let mut file = sys::memory_file(c"soak")?;
                io::copy(&mut File::open(env::current_exe()?)?, &mut file)?;
                sys::exec_open(file.as_fd(), &vector)
            }
            FileKind::Deleted => {
                let copy = self.copy("deleted", life)?;
                let file = File::open(&copy)?;
                fs::remove_file(&copy)?;
                sys::exec_open(file.as_fd(), &vector)
            }
            FileKind::Script => {
                let script = self.beside("script", life)?;
                let first = format!("#!{} {}\n", env::current_exe()?.display(), self.token(life, number));
                fs::write(&script, first)?;
                fs::set_permissions(&script, Permissions::from_mode(0o755))?;
                sys::exec(&c_path(&script)?, &vector)
            }
        };
        Ok(sys::FAILED)
    }

    fn copy(self, name: &str, life: usize) -> io::Result<PathBuf> {
        let copy = self.beside(name, life)?;
        fs::copy(env::current_exe()?, &copy)?;
        fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
        Ok(copy)
    }

    /// A file beside the actor, which nobody else has.
    fn beside(self, name: &str, life: usize) -> io::Result<PathBuf> {
        Ok(env::current_exe()?.with_file_name(format!("{name}-{}-{life}", self.act)))
    }
}

fn path_of(file: FileKind) -> io::Result<CString> {
    match file {
        FileKind::True => Ok(c"/bin/true".to_owned()),
        _ => c_path(&env::current_exe()?),
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn take(step: Step, maker: u32) -> io::Result<()> {
    match step {
        Step::Subreaper => sys::become_subreaper(),
        // By who made it, who knows the pid to wait for.
        Step::AwaitAdoption => Ok(()),
        Step::Hold => {
            sys::until(|| io::stdin().read(&mut [0]).is_ok_and(|bytes| bytes == 0) || sys::parent() != maker);
            Ok(())
        }
        Step::Session => sys::begin_session(),
        Step::Groups(id) => sys::set_groups_of_process(id),
        Step::Users(id) => sys::set_users(id),
        Step::EffectiveUser(id) => sys::set_effective_user(id),
        Step::Capability(number) => sys::capabilities()?.only([number]).set(),
        Step::SecureBits => sys::secure_bits(1),
        Step::NewMounts => Namespace::Mounts.leave(),
        Step::NewHostName => Namespace::HostName.leave(),
        Step::NewNetwork => Namespace::Network.leave(),
        Step::NewUsers => Namespace::Users.leave(),
        Step::NewPids => sys::unshare_pid_namespace(),
        Step::VisitMounts => visit_mounts(maker),
        Step::PidMax(most) => limit_pids(most),
        Step::FailedExec => {
            let missing: &CStr = c"/no/such/program";
            let error = sys::exec(missing, &Vector::new(&[c"missing".to_owned()]));
            if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        }
    }
}

fn visit_mounts(whose: u32) -> io::Result<()> {
    let own = Namespace::Mounts.open()?;
    Namespace::Mounts.enter(&File::open(format!("/proc/{whose}/ns/mnt"))?)?;
    Namespace::Mounts.enter(&own)
}

/// Only where each pid namespace has a limit of its own, which is since Linux 6.14: before, it would be
/// that of the machine.
fn limit_pids(most: u32) -> io::Result<()> {
    const LIMIT: &str = "/proc/sys/kernel/pid_max";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next().and_then(Result::ok), numbers.next().and_then(Result::ok));
    if version >= (Some(6), Some(14)) && process::id() == 1 {
        fs::write(LIMIT, most.to_string())?;
    }
    Ok(())
}

fn end(end: End) -> i32 {
    match end {
        End::Code(code) => code.into(),
        End::Signal(signal) => sys::die_by(signal),
        End::LeaderFirst(code, threads) => {
            hold_threads(threads.saturating_sub(1));
            thread::spawn(move || {
                sys::until(leader_is_gone);
                sys::exit_process(code.into())
            });
            sys::exit_thread(code.into())
        }
        End::Race(code, threads) => race(code, threads),
    }
}

/// The leader is a zombie, kept for the sake of the process's pid.
fn leader_is_gone() -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", process::id()));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// Half of the threads by exit(2), half by exit_group(2).
fn race(code: u8, threads: usize) -> ! {
    fn end(code: u8, thread: usize) -> ! {
        if thread.is_multiple_of(2) { sys::exit_thread(code.into()) } else { sys::exit_process(code.into()) }
    }
    let start = Arc::new(Barrier::new(threads));
    for thread in 1..threads {
        let start = Arc::clone(&start);
        thread::spawn(move || {
            start.wait();
            end(code, thread)
        });
    }
    start.wait();
    end(code, 0)
}
