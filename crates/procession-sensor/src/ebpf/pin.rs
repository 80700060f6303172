//! What stays in the kernel when the process ends: maps and links, by names in a BPF filesystem.
//!
//! ```text
//! DIR/                        locked by the process that reads
//!     maps-LAYOUT/            events, stats, tasks, claims
//!     programs-HASH/          one build of the programs: of each its link, by its name, and NAME-program
//!     making/                 either of them, not yet complete
//! ```
//!
//! A directory gets its name when all is in it, so programs whose directory has a name are at work. Several
//! builds may be, for a moment or because a process died as one took over from another: each fork, exec
//! and exit is told once (`bpf/maps.h`, `claims`). Without programs at work the maps are of no use: there was
//! a time that they know nothing of.
//!
//! The links keep programs at work. The programs themselves are pinned to be looked at: without CAP_SYS_ADMIN a
//! program cannot be had from its link.
//!
//! Nothing in the maps says whether the programs work, so whoever may write these cannot make them stop.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};

use super::raw::EbpfError;
use crate::error::SourceError;
use crate::record::layout::LAYOUT_VERSION;

/// The maps that outlive the programs.
pub(super) const MAPS: [&str; 4] = ["events", "stats", "tasks", "claims"];

/// What is pinned of a build: links alone at first, then programs too. A build in another form is another build.
const FORM: u64 = 2;

/// Where a BPF filesystem belongs.
const STANDARD_MOUNT: &str = "/sys/fs/bpf";
/// What statfs(2) calls it.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// A directory of pins that no other process uses.
#[derive(Debug)]
pub(super) struct PinDirectory {
    path: PathBuf,
    /// Holds the lock, until the process ends in whatever way.
    lock: File,
}

/// Programs that are at work.
#[derive(Debug)]
pub(super) struct Standing {
    /// Where their links are.
    pub(super) links: PathBuf,
    /// Of the object that they are from.
    hash: u64,
}

impl Standing {
    pub(super) fn is_from(&self, object: &[u8]) -> bool {
        self.hash == hash(object)
    }
}

impl Drop for PinDirectory {
    /// A program that is just being started has the lock too, until its exec.
    fn drop(&mut self) {
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl PinDirectory {
    /// Makes the directory, and the filesystem if it is missing at its usual place; locks it.
    pub(super) fn open(path: &Path) -> Result<Self, EbpfError> {
        ensure_filesystem(path)?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed("make", path, error))?;
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self, EbpfError> {
        let lock = File::open(path).map_err(|error| failed("open", path, error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(EbpfError::InUse { path: path.to_owned() }),
            Err(error) => Err(failed("lock", path, error.into())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the maps are, or come to be.
    pub(super) fn maps(&self) -> PathBuf {
        self.path.join(format!("maps-{LAYOUT_VERSION}"))
    }

    /// The programs that are at work with maps that we understand, if their `hooks` are all there: those of
    /// `object`, or else of another build. Everything else is removed.
    pub(super) fn take_stock(&self, hooks: &[&str], object: &[u8]) -> Result<Option<Standing>, EbpfError> {
        let mut builds = Vec::new();
        for (name, path) in self.entries()? {
            match standing(&name, &path) {
                Some(standing) => builds.push(standing),
                None if path == self.maps() => {}
                None => remove(&path)?,
            }
        }
        let has_maps = MAPS.iter().all(|map| self.maps().join(map).exists());
        let is_at_work = |it: &Standing| has_maps && hooks.iter().all(|hook| it.links.join(hook).exists());
        let (mut at_work, dead): (Vec<_>, Vec<_>) = builds.into_iter().partition(is_at_work);
        at_work.sort_by_key(|it| !it.is_from(object));
        let mut at_work = at_work.into_iter();
        let first = at_work.next();
        for other in dead.into_iter().chain(at_work) {
            remove(&other.links)?;
        }
        if first.is_none() {
            remove(&self.maps())?;
        }
        Ok(first)
    }

    /// An empty directory for pins that are not complete yet.
    pub(super) fn begin(&self) -> Result<PathBuf, EbpfError> {
        let making = self.path.join("making");
        remove(&making)?;
        fs::create_dir(&making).map_err(|error| failed("make", &making, error))?;
        Ok(making)
    }

    /// What was begun is complete: all maps.
    pub(super) fn finish_maps(&self) -> Result<(), EbpfError> {
        self.finish(&self.maps())
    }

    /// What was begun is complete: links and programs of `object`.
    pub(super) fn finish_links(&self, object: &[u8]) -> Result<(), EbpfError> {
        self.finish(&self.path.join(format!("programs-{:016x}", hash(object))))
    }

    fn finish(&self, to: &Path) -> Result<(), EbpfError> {
        fs::rename(self.path.join("making"), to).map_err(|error| failed("make", to, error))
    }

    /// Ends `standing`, and removes what it has written.
    pub(super) fn give_up(&self, standing: &Standing) -> Result<(), EbpfError> {
        remove(&standing.links)?;
        remove(&self.maps())
    }

    /// Removes everything, and the directory itself. Returns whether there was anything.
    pub(super) fn remove_all(&self) -> Result<bool, EbpfError> {
        let entries = self.entries()?;
        // The links first: without them the maps are not filled any more.
        let are_maps = |(name, _): &&(String, PathBuf)| name.starts_with("maps-");
        let (maps, links): (Vec<_>, Vec<_>) = entries.iter().partition(are_maps);
        for (_, path) in links.into_iter().chain(maps) {
            remove(path)?;
        }
        fs::remove_dir(&self.path).map_err(|error| failed("remove", &self.path, error))?;
        Ok(!entries.is_empty())
    }

    /// What is ours in the directory, by name.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>, EbpfError> {
        let list = |error| failed("list", &self.path, error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(list)? {
            let entry = entry.map_err(list)?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if name == "making" || name.starts_with("maps-") || name.starts_with("programs-") {
                entries.push((name, entry.path()));
            }
        }
        Ok(entries)
    }
}

/// Pins that one source alone has made. As long as there is this, no other process uses the directory, even if the
/// source is gone.
#[derive(Debug)]
pub struct FreshPins(Arc<PinDirectory>);

impl FreshPins {
    pub(super) fn of(pins: &Arc<PinDirectory>) -> Self {
        Self(Arc::clone(pins))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes them and their directory. Their programs end with the source, if it is still there.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub fn remove(self) -> Result<(), SourceError> {
        self.0.remove_all()?;
        Ok(())
    }
}

/// Removes everything that is pinned in `path`, and `path` itself. Returns whether there was anything.
pub(super) fn remove_all(path: &Path) -> Result<bool, EbpfError> {
    if !path.exists() {
        return Ok(false);
    }
    if !is_bpf_filesystem(path) {
        return Err(EbpfError::NoFilesystem { path: path.to_owned() });
    }
    PinDirectory::lock(path)?.remove_all()
}

/// Removes the pins of programs that others have taken over from.
pub(super) fn remove(path: &Path) -> Result<(), EbpfError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// What the name of a directory of links says.
fn standing(name: &str, path: &Path) -> Option<Standing> {
    let hash = u64::from_str_radix(name.strip_prefix("programs-")?, 16).ok()?;
    Some(Standing { links: path.to_owned(), hash })
}

fn hash(object: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(object, FORM)
}

/// Where the program `name` is pinned whose link is in `links`. Names in a BPF filesystem have no dots.
pub(super) fn program(links: &Path, name: &str) -> PathBuf {
    links.join(format!("{name}-program"))
}

fn ensure_filesystem(path: &Path) -> Result<(), EbpfError> {
    let exists = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    if is_bpf_filesystem(exists) {
        return Ok(());
    }
    if exists != Path::new(STANDARD_MOUNT) {
        return Err(EbpfError::NoFilesystem { path: path.to_owned() });
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
    mount("bpf", STANDARD_MOUNT, "bpf", flags, Some(c"mode=700"))
        .map_err(|error| failed("mount a BPF filesystem at", Path::new(STANDARD_MOUNT), error.into()))
}

fn is_bpf_filesystem(path: &Path) -> bool {
    statfs(path).is_ok_and(|it| it.f_type == BPF_FS_MAGIC)
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> EbpfError {
    if matches!(source.kind(), io::ErrorKind::PermissionDenied) {
        return EbpfError::NotPermitted { operation, object: "the directory of pinned programs" };
    }
    EbpfError::Pins { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories_tell_the_build() {
        let path = Path::new("/sys/fs/bpf/x/programs");
        let found = standing(&format!("programs-{:016x}", hash(b"object")), path).unwrap();
        assert!(found.is_from(b"object") && !found.is_from(b"another"));
        let without_programs = format!("programs-{:016x}", xxhash_rust::xxh3::xxh3_64(b"object"));
        assert!(
            !standing(&without_programs, path).unwrap().is_from(b"object"),
            "a form that has no programs"
        );
        assert_eq!(&*found.links, path);
        for other in ["making", "maps-1", "programs-", "programs-x", "programs-12-1"] {
            assert!(standing(other, path).is_none(), "{other}");
        }
    }

    #[test]
    fn pins_are_only_where_pins_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pins");
        assert!(matches!(PinDirectory::open(&path), Err(EbpfError::NoFilesystem { .. })));
        assert!(!path.exists(), "nothing was made");
        assert!(matches!(remove_all(directory.path()), Err(EbpfError::NoFilesystem { .. })));
        assert!(directory.path().exists(), "a directory that is not of ours is left alone");
        assert!(!remove_all(&path).unwrap());
    }
}
