//! Opens what is exported to, so that the next line begins where a line begins.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{
    FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::outbox::Tail;
use crate::holder::{holder_of_lock, is_lock_ours};
use crate::trust;

/// The longest piece of a line for whose begin is searched, and a piece of that.
const LONGEST_PIECE: u64 = 4 << 20;
const SEARCHED_AT_ONCE: u64 = 64 << 10;

/// Permissions by which others than the owner read, and lock.
const READ_BY_OTHERS: u32 = 0o044;

/// Opens no symbolic link.
#[expect(clippy::cast_possible_wrap, reason = "flags are bits")]
pub(super) const NO_LINK: i32 = OFlags::NOFOLLOW.bits() as i32;
/// Does not wait for who is at the other end of a pipe.
#[expect(clippy::cast_possible_wrap, reason = "flags are bits")]
pub(super) const NO_WAIT: i32 = OFlags::NONBLOCK.bits() as i32;

/// A file that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) tail: Tail<File>,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    pub(super) since: SystemTime,
    /// Whether it is one that can be rotated and cut: no device.
    pub(super) is_regular: bool,
}

/// The bits of `mode` that a file with events may have: nobody executes it, not everybody writes it,
/// and its owner reads and writes it.
pub(super) fn permitted(mode: u32) -> u32 {
    mode & 0o664 | 0o600
}

/// Device and inode.
pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Opens a file, or makes it, with these permissions, to append lines to it.
pub(super) fn open(path: &Path, mode: u32) -> io::Result<Open> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        // To open one waits until somebody reads it.
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "a pipe cannot be exported to; `-` is standard output",
        ));
    }
    let (file, mut metadata) = open_ours(path, mode)?;
    let is_regular = metadata.is_file();
    if is_regular {
        refuse_what_is_in_use(&file, path, metadata.mode())?;
        if metadata.mode() & 0o7777 != mode {
            permit(&file, path, mode);
        }
        mend(&file, path, metadata.len())?;
        metadata = file.metadata()?;
    }
    let tail = if is_regular { Tail::new(file, metadata.len()) } else { Tail::of_stream(file) };
    Ok(Open {
        tail,
        identity: identity(&metadata),
        // An agent that begins again does not put off the next rotation.
        since: metadata.created().unwrap_or_else(|_| SystemTime::now()),
        is_regular,
    })
}

/// Opens or makes it. Where others can make files, one that they may have made is refused.
fn open_ours(path: &Path, mode: u32) -> io::Result<(File, Metadata)> {
    let is_shared = trust::is_shared(directory(path))?;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(mode);
    if is_shared {
        options.custom_flags(NO_LINK | NO_WAIT);
    }
    let file = options.open(path).map_err(explain)?;
    let metadata = file.metadata()?;
    if is_shared {
        refuse_planted(&metadata)?;
    }
    Ok((file, metadata))
}

/// Where the file is.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that somebody else owns, or that has another name elsewhere, need not be one of ours. What is no file
/// at all may have taken the place of one a moment ago.
fn refuse_planted(metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(planted("not a regular file"));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(planted("another user's"));
    }
    if metadata.nlink() > 1 {
        return Err(planted("a file that has other names too"));
    }
    Ok(())
}

fn planted(what: &str) -> io::Error {
    let text = format!(
        "it is {what}, in a directory where others can write: remove it, or export to a directory that is \
         root's alone"
    );
    io::Error::new(ErrorKind::InvalidInput, text)
}

fn explain(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) { planted("a symbolic link") } else { error }
}

/// Two who write the same file cut each other's lines. Where files cannot be locked, nobody is refused; and who
/// can only read one does not keep it from being written, by a lock for which that is enough.
fn refuse_what_is_in_use(file: &File, path: &Path, mode: u32) -> io::Result<()> {
    if flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK) {
        return Ok(());
    }
    let holder = holder_of_lock(path);
    if mode & READ_BY_OTHERS != 0 && !is_lock_ours(path) {
        let path = path.display();
        tracing::warn!("another user's program has locked {path}{holder}: the export goes on all the same");
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::ResourceBusy, format!("another program exports to it{holder}")))
}

/// The umask does not count, nor what a file of that name had before.
fn permit(file: &File, path: &Path, mode: u32) {
    if let Err(error) = file.set_permissions(Permissions::from_mode(mode)) {
        let mode = format!("{mode:o}");
        tracing::warn!(path = %path.display(), %error, mode, "the file of the export keeps other permissions");
    }
}

/// Sees to it that a file of this length ends with a whole line. One that was cut off when an agent ended
/// goes; what does not look like a line of ours stays, and gets an end.
fn mend(file: &File, path: &Path, length: u64) -> io::Result<()> {
    let Some(begin) = torn_line(file, length)? else { return Ok(()) };
    let mut first = [0];
    file.read_exact_at(&mut first, begin)?;
    let is_ours = first == *b"{" && length - begin < LONGEST_PIECE;
    if is_ours && file.set_len(begin).is_ok() {
        let bytes = length - begin;
        tracing::warn!(path = %path.display(), bytes, "the export ended within a line, which is removed");
        return Ok(());
    }
    (&mut &*file).write_all(b"\n")
}

/// Where the last line begins, if it has no end.
fn torn_line(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut end = length;
    let mut piece = Vec::new();
    while end > 0 && length - end < LONGEST_PIECE {
        let begin = end.saturating_sub(SEARCHED_AT_ONCE);
        piece.resize(usize::try_from(end - begin).unwrap_or(usize::MAX), 0);
        file.read_exact_at(&mut piece, begin)?;
        if let Some(newline) = piece.iter().rposition(|byte| *byte == b'\n') {
            let after = begin + newline as u64 + 1;
            return Ok((after < length).then_some(after));
        }
        end = begin;
    }
    Ok((length > 0).then_some(end))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Somebody else locks it, and says so: a program with its lock, until it is dropped.
    struct Locked(std::process::Child);

    impl Locked {
        fn by_nobody(path: &Path) -> Self {
            let mut command = Command::new("flock");
            command.arg("--no-fork").arg(path).args(["sh", "-c", "echo; exec sleep 600"]);
            let mut child = command.uid(65_534).gid(65_534).stdout(Stdio::piped()).spawn().unwrap();
            let mut said = [0];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
            Self(child)
        }
    }

    impl Drop for Locked {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn who_can_only_read_it_does_not_stop_the_export() {
        if !geteuid().is_root() {
            println!("SKIPPED: only root can be another user too");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("events.log");
        let first = open(&path, 0o644).unwrap();
        assert!(open(&path, 0o644).unwrap_err().to_string().contains("another program exports to it"));
        drop(first);
        let _locked = Locked::by_nobody(&path);
        open(&path, 0o644).unwrap();
    }

    #[test]
    fn what_others_may_have_put_there_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.log");
        let victim = tempfile::NamedTempFile::new().unwrap();
        let refused = || {
            let error = open(&path, 0o600).unwrap_err();
            fs::remove_file(&path).unwrap();
            error.to_string()
        };
        let permit = |mode| fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        permit(0o1777);
        symlink(victim.path(), &path).unwrap();
        assert!(refused().contains("a symbolic link"));
        fs::write(directory.path().join("other"), "{").unwrap();
        fs::hard_link(directory.path().join("other"), &path).unwrap();
        assert!(refused().contains("other names"));
        assert_eq!(fs::read(directory.path().join("other")).unwrap(), b"{", "it is not mended");
        // A pipe that takes the place of a file after the first look at it: whoever opens it does not wait.
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(open_ours(&path, 0o600).unwrap_err().to_string().contains("not a regular file"));
        fs::remove_file(&path).unwrap();
        open(&path, 0o600).unwrap();
        open(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        // Who made a link where only root can knew what it leads to.
        permit(0o755);
        symlink(victim.path(), &path).unwrap();
        open(&path, 0o600).unwrap();
    }

    #[test]
    fn nobody_executes_it_not_everybody_writes_it_and_its_owner_may() {
        assert_eq!(permitted(0o600), 0o600);
        assert_eq!(permitted(0o7777), 0o664);
        assert_eq!(permitted(0), 0o600);
        assert_eq!(permitted(0o044), 0o644);
    }
}
