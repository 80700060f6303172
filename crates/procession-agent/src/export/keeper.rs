//! What becomes of backups, apart from the thread that writes events: the oldest are removed, the others
//! compressed.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use flate2::Compression;
use flate2::write::GzEncoder;
use tracing::dispatcher;

use super::backup::{BackupNames, Forms, Stamp};
use super::counts::{Counters, count};
use super::open::{NO_LINK, NO_WAIT};

/// How much is compressed before it is asked again whether to go on.
const BLOCK: usize = 64 << 10;

/// What is kept, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keeping {
    /// The most backups. Zero: all.
    pub(super) max_backups: usize,
    pub(super) compress: bool,
}

/// Has a thread tidy up.
#[derive(Debug)]
pub(super) struct Keeper {
    jobs: Sender<Keeping>,
    /// Nothing comes, but an end.
    running: Receiver<()>,
    is_over: Arc<AtomicBool>,
}

impl Keeper {
    pub(super) fn start(names: BackupNames, counters: Arc<Counters>) -> io::Result<Self> {
        let (jobs, receiver) = unbounded();
        let (alive, running) = bounded(0);
        let is_over = Arc::new(AtomicBool::new(false));
        let mut work = Work { names, counters, is_over: Arc::clone(&is_over), was_said: false };
        let dispatch = dispatcher::get_default(Clone::clone);
        let run = move || {
            let _alive: Sender<()> = alive;
            dispatcher::with_default(&dispatch, || {
                while let Ok(keeping) = receiver.recv() {
                    // Only how it is to be in the end counts.
                    work.tidy(receiver.try_iter().last().unwrap_or(keeping), &receiver);
                }
            });
        };
        thread::Builder::new().name("export-backups".to_owned()).spawn(run)?;
        Ok(Self { jobs, running, is_over })
    }

    /// Asks for it. Nobody waits.
    pub(super) fn tidy(&self, keeping: Keeping) {
        // The thread is there as long as this is.
        let _ = self.jobs.send(keeping);
    }

    /// Lets it come to its end, and after `deadline` breaks it off: what is not compressed then stays
    /// as it is until the next start.
    pub(super) fn finish(self, deadline: Instant) {
        let Self { jobs, running, is_over } = self;
        drop(jobs);
        let _ = running.recv_deadline(deadline);
        is_over.store(true, Ordering::Relaxed);
    }
}

struct Work {
    names: BackupNames,
    counters: Arc<Counters>,
    is_over: Arc<AtomicBool>,
    /// Whether a failure was said that lasts.
    was_said: bool,
}

impl Work {
    /// Removes what is too much, and compresses one after the other. Between two it looks whether
    /// something else is wanted: the files come and go while it works.
    fn tidy(&mut self, keeping: Keeping, jobs: &Receiver<Keeping>) {
        loop {
            let result = self.step(keeping);
            if let Err((what, kind)) = &result {
                self.failed(what, *kind);
                return;
            }
            let is_done = result == Ok(false);
            if is_done {
                self.was_said = false;
            }
            if is_done || !jobs.is_empty() || self.is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Whether there is more to do.
    fn step(&self, keeping: Keeping) -> Result<bool, (String, io::ErrorKind)> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| (format!("{path}: {error}"), error.kind())
        };
        let mut backups = self.names.list().map_err(failed(self.names.directory()))?;
        for (&stamp, forms) in &backups {
            if forms.partial {
                remove(&self.names.partial(stamp)).map_err(failed(&self.names.partial(stamp)))?;
            }
        }
        backups.retain(|_, forms| forms.plain || forms.compressed);
        let kept = if keeping.max_backups == 0 { usize::MAX } else { keeping.max_backups };
        let excess = backups.len().saturating_sub(kept);
        for (&stamp, _) in backups.iter().take(excess) {
            for path in [self.names.plain(stamp), self.names.compressed(stamp)] {
                remove(&path).map_err(failed(&path))?;
            }
        }
        let plain = backups.iter().skip(excess).find(|(_, forms)| forms.plain);
        let Some((&stamp, &forms)) = plain.filter(|_| keeping.compress) else { return Ok(false) };
        self.compress(stamp, forms).map_err(failed(&self.names.plain(stamp)))?;
        Ok(true)
    }

    fn compress(&self, stamp: Stamp, forms: Forms) -> io::Result<()> {
        let (plain, partial) = (self.names.plain(stamp), self.names.partial(stamp));
        // Both are there if it was cut off between its last two steps: the compressed one is whole.
        if !forms.compressed {
            let is_whole = gzip(&plain, &partial, &self.is_over);
            if !matches!(is_whole, Ok(true)) {
                let _ = fs::remove_file(&partial);
                return is_whole.map(drop);
            }
            fs::rename(&partial, self.names.compressed(stamp))?;
        }
        remove(&plain)
    }

    fn failed(&mut self, what: &str, kind: io::ErrorKind) {
        count(&self.counters.backup_errors);
        if !std::mem::replace(&mut self.was_said, true) {
            tracing::warn!(
                error = what,
                "backups of the export cannot be compressed or removed, and take space: {}",
                super::trouble::advice(kind)
            );
        }
    }
}

/// Removes a file, which may be gone already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compresses a file into another that nobody but the owner of the first may read either. False: it was
/// broken off.
fn gzip(from: &Path, to: &Path, is_over: &AtomicBool) -> io::Result<bool> {
    let mut plain = OpenOptions::new().read(true).custom_flags(NO_LINK | NO_WAIT).open(from)?;
    let metadata = plain.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let options = OpenOptions::new().write(true).create_new(true).mode(metadata.mode() & 0o777).open(to)?;
    options.set_permissions(metadata.permissions())?;
    let mut encoder = GzEncoder::new(options, Compression::default());
    let mut block = vec![0; BLOCK];
    loop {
        if is_over.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match plain.read(&mut block) {
            Ok(0) => break,
            Ok(length) => encoder.write_all(&block[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let compressed = encoder.finish()?;
    compressed.set_modified(metadata.modified()?)?;
    // The plain one goes next.
    compressed.sync_all()?;
    Ok(true)
}
