//! Memory that is a file whose owner never answers: whoever reads it from outside waits for ever.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEntry, Request,
};

use crate::sys;

const NAME: &str = "memory";
const FILE: INodeNo = INodeNo(2);
const BYTES: u64 = 1 << 20;
const PAGE: u64 = 4096;
const FOR_EVER: Duration = Duration::from_hours(24);

/// Serves a file at `mount`, puts it over the pages in the midst of this process's own arguments, which are to be
/// found at `begin` to `end`, and says so. Until standard input ends.
pub(crate) fn perform(mount: &Path, (begin, end): (u64, u64)) -> Result<()> {
    let (first, last) = (begin.next_multiple_of(PAGE) + PAGE, end / PAGE * PAGE - PAGE);
    ensure!(last > first && last - first <= BYTES, "the arguments have to be some pages long");
    let session = fuser::spawn_mount(Unserved, mount, &Config::default());
    let session = session.with_context(|| format!("cannot mount at {}", mount.display()))?;
    let file = File::open(mount.join(NAME))?;
    sys::map_over(&file, usize::try_from(first)?, usize::try_from(last - first)?)?;
    // Not at the end of the process, which would ask itself for leave when it answers no more.
    drop(file);
    let mut said = io::stdout();
    said.write_all(b"ready\n")?;
    said.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    // Whoever waits for an answer gets none, and waits no more.
    drop(session);
    Ok(())
}

struct Unserved;

impl Filesystem for Unserved {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&FOR_EVER, &attributes(FILE, FileType::RegularFile), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let kind = if inode == FILE { FileType::RegularFile } else { FileType::Directory };
        reply.attr(&FOR_EVER, &attributes(inode, kind));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // To drop it would be an answer.
        mem::forget(reply);
    }
}

fn attributes(ino: INodeNo, kind: FileType) -> FileAttr {
    FileAttr {
        ino,
        size: BYTES,
        blocks: BYTES / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
