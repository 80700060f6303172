//! Where a scenario plays: its directory, what it shares with its children, and the truth so far.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::{env, process};

use anyhow::{Context, Result, ensure};

use crate::program::{Program, words};
use crate::sys::{self, Slot};
use crate::truth::{Change, Event, Exec, Exit, Fork, Ids, Status};

/// The actor's side of a scenario. Every event in the truth is added here.
pub(crate) struct Scene {
    /// The actor's own pid: the root of all that happens, itself not in the truth.
    pub(crate) actor: u32,
    /// The actor's own file.
    pub(crate) exe: PathBuf,
    /// A directory that everyone may enter, removed at the end.
    pub(crate) directory: PathBuf,
    /// Shared with all children.
    pub(crate) board: &'static [Slot],
    events: Vec<Event>,
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        sys::keep_children_waitable();
        sys::become_subreaper()?;
        let actor = process::id();
        let directory = env::temp_dir().canonicalize()?.join(format!("procession-actor-{actor}"));
        let board = sys::board()?;
        let exe = env::current_exe()?;
        make_directory(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { actor, exe, directory, board, events: Vec::new() })
    }

    /// The actor's own program as helper.
    pub(crate) fn helper<W: AsRef<[u8]>>(&self, arguments: impl IntoIterator<Item = W>) -> Result<Program> {
        Program::new(&self.exe, words(arguments)?)
    }

    /// A copy of the actor's own file in the scene's directory.
    pub(crate) fn copy(&self, name: &str) -> Result<PathBuf> {
        let copy = self.directory.join(name);
        fs::copy(&self.exe, &copy)?;
        fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
        Ok(copy)
    }

    /// Forks a child of the actor that runs `child` and exits with the code it returns.
    pub(crate) fn fork(&mut self, child: impl FnOnce() -> i32) -> Result<u32> {
        let pid = sys::fork(child)?;
        self.forked(pid, self.actor);
        Ok(pid)
    }

    /// Forks a child that execs `program` after `prepare`, and sees it to its end.
    pub(crate) fn perform(
        &mut self,
        program: &Program,
        prepare: impl FnOnce() -> io::Result<()>,
    ) -> Result<Status> {
        let pid = self.fork(|| prepare().map_or(sys::FAILED, |()| program.run()))?;
        self.executed(pid, program);
        self.reap(pid)
    }

    /// `parent` forked `pid`.
    pub(crate) fn forked(&mut self, pid: u32, parent: u32) {
        self.push(Event::Fork(Fork { pid, parent, owner: None, ns_pid: None }));
    }

    /// `pid` exec'd `program`.
    pub(crate) fn executed(&mut self, pid: u32, program: &Program) {
        self.push(Event::Exec(Exec { pid, ..program.truth.clone() }));
    }

    /// Waits for a child of the actor and notes how it ended.
    pub(crate) fn reap(&mut self, pid: u32) -> Result<Status> {
        let status = sys::wait(pid).with_context(|| format!("cannot wait for {pid}"))?;
        self.exited(pid, None, status)
    }

    /// Waits for a descendant that the actor, as subreaper, has adopted.
    pub(crate) fn reap_orphan(&mut self, pid: u32) -> Result<Status> {
        let status = sys::wait(pid).with_context(|| format!("cannot wait for the orphan {pid}"))?;
        self.exited(pid, Some(self.actor), status)
    }

    /// `pid` ended, and wait(2) gave somebody this raw status.
    pub(crate) fn exited(&mut self, pid: u32, owner: Option<u32>, status: i32) -> Result<Status> {
        let status = sys::status(status);
        ensure!(status != Status::Exited { code: sys::FAILED }, "process {pid} could not do its part");
        self.push(Event::Exit(Exit { pid, owner, ids: None, status }));
        Ok(status)
    }

    /// [`exited`](Self::exited), of a process that ran as `ids` to its end.
    pub(crate) fn exited_as(&mut self, pid: u32, ids: Ids, status: i32) -> Result<()> {
        self.exited(pid, None, status)?;
        if let Some(Event::Exit(exit)) = self.events.last_mut() {
            exit.ids = Some(ids);
        }
        Ok(())
    }

    /// Where a child writes down how it changed; to be made before the fork, for the child may lose
    /// the right to open files here.
    pub(crate) fn diary(&self) -> Result<Diary> {
        Ok(Diary(File::create_new(self.diary_path())?))
    }

    /// Takes over what a child wrote down.
    pub(crate) fn changed(&mut self) -> Result<()> {
        let diary = self.diary_path();
        for line in fs::read_to_string(&diary)?.lines() {
            self.push(Event::Change(serde_json::from_str(line)?));
        }
        Ok(fs::remove_file(diary)?)
    }

    fn diary_path(&self) -> PathBuf {
        self.directory.join("diary")
    }

    /// What does not fit the above.
    pub(crate) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The pid that a child wrote on the board.
    pub(crate) fn id_on_board(&self, slot: usize) -> Result<u32> {
        let id = self.board[slot].id.load(SeqCst);
        ensure!(id != 0, "slot {slot} of the board was not filled");
        Ok(id)
    }

    /// Writes the truth.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut out = BufWriter::new(fs::File::create(file)?);
        for event in &self.events {
            serde_json::to_writer(&mut out, event)?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }
}

/// What a child changed about itself.
pub(crate) struct Diary(File);

impl Diary {
    /// Writes down how the calling process runs now: what came before was a change.
    pub(crate) fn note(&mut self) -> io::Result<()> {
        let namespace = |kind: &str| -> io::Result<u32> {
            let inode = fs::metadata(format!("/proc/self/ns/{kind}"))?.ino();
            u32::try_from(inode).map_err(io::Error::other)
        };
        let change = Change {
            pid: process::id(),
            ids: sys::ids(),
            capabilities: sys::capabilities()?.effective(),
            session: sys::session(),
            mnt: namespace("mnt")?,
            uts: namespace("uts")?,
            // Nobody knows which that is before the first of them is there.
            pid_for_children: namespace("pid_for_children").unwrap_or(0),
        };
        let line = serde_json::to_string(&change)?;
        writeln!(self.0, "{line}")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What is left behind in the temporary directory changes no truth.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A directory that everyone may enter, whatever the umask.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}
