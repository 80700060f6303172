//! Sockets in the file system.
//!
//! A socket is made under another name and renamed, so that its path never leads to one that is not
//! ready or whose permissions are too wide.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};

use crate::folders;
use crate::holder::told;
use crate::trust;

/// A socket's file; it is removed with this, unless it is another's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// The longest path that the address of a socket holds.
const LONGEST_PATH: usize = 107;

/// Connections that wait until they are accepted; the kernel's own limit is often lower.
pub(super) const BACKLOG: i32 = 1024;

/// How long whoever listens on a path may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// Listens on `path`, in place of a socket there on which nobody answers.
pub(super) async fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    folders::make(directory)?;
    let temporary = temporary_name(directory);
    let longest = path.as_os_str().len().max(temporary.as_os_str().len());
    if longest > LONGEST_PATH {
        let text = format!("the path is too long for a socket by {} bytes", longest - LONGEST_PATH);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if trust::is_replaceable(directory)? {
        let path = path.display();
        tracing::warn!(
            "others can replace the socket {path}, and answer in the agent's name: put it into a directory \
             that is root's alone, such as /run/procession"
        );
    }
    refuse_what_is_in_use(path).await?;
    let listener = make(&temporary).and_then(|listener| {
        fs::rename(&temporary, path)?;
        Ok(listener)
    });
    let listener = listener.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
    Ok((UnixListener::from_std(listener)?, file))
}

/// Short, and of this process only.
fn temporary_name(directory: &Path) -> PathBuf {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    directory.join(format!(".{:x}.{made:x}", std::process::id()))
}

fn make(path: &Path) -> io::Result<StdListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Before it listens nobody can connect, whatever the permissions are.
    permit(path)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

/// Whoever can write in the directory may have put something else there by now: that is left alone.
fn permit(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !made.metadata()?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "somebody has replaced it"));
    }
    let itself = format!("/proc/self/fd/{}", made.as_raw_fd());
    fs::set_permissions(itself, Permissions::from_mode(SOCKET_MODE))
}

async fn refuse_what_is_in_use(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        let text = "there is a file that is not a socket; remove it or choose another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let listener = match tokio::time::timeout(ANSWER, UnixStream::connect(path)).await {
        Ok(Err(error))
            if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
        {
            return Ok(());
        }
        Ok(Ok(stream)) => stream.peer_cred().ok().and_then(|listener| listener.pid()?.try_into().ok()),
        Ok(Err(_)) | Err(_) => None,
    };
    let holder = told(listener);
    let text = format!("another agent listens there{holder}; stop it or choose another path");
    Err(io::Error::new(io::ErrorKind::AddrInUse, text))
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}
