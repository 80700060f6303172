//! The file that is exported to: continued, rotated, and opened anew when somebody takes it away.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::backup::{BackupNames, Stamp};
use super::counts::{Counters, count};
use super::keeper::{Keeper, Keeping};
use super::open::{Open, identity, open, permitted};
use super::outbox::Outbox;
use super::{FileConfig, Rotation};
use crate::folders;

/// How often it is looked whether the file is still the one of that name.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a rotation that failed the next one is tried.
const ROTATION_PAUSE: Duration = Duration::from_secs(5);
/// A file that rotates.
#[derive(Debug)]
pub(super) struct ExportFile {
    path: PathBuf,
    mode: u32,
    compress: bool,
    rotation: Rotation,
    names: BackupNames,
    /// `None`: it has to be opened, for the first time or anew.
    open: Option<Open>,
    /// When the next look at its name is due.
    check_at: Instant,
    /// Until when no rotation is tried, because one failed.
    pause: Option<Instant>,
    keeper: Keeper,
    counters: Arc<Counters>,
}

impl ExportFile {
    /// Opens it, and makes its directory if there is none.
    pub(super) fn open(config: FileConfig, counters: Arc<Counters>) -> io::Result<Self> {
        let FileConfig { path, rotation, compress, mode } = config;
        let names = BackupNames::of(&path)?;
        folders::make(names.directory())?;
        let mut file = Self {
            mode: permitted(mode),
            compress,
            rotation,
            open: None,
            check_at: Instant::now(),
            pause: None,
            keeper: Keeper::start(names.clone(), Arc::clone(&counters))?,
            counters,
            names,
            path,
        };
        if file.opened()?.is_regular {
            file.tidy();
        }
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Has it opened anew before anything else is written.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// From now on.
    pub(super) fn set_rotation(&mut self, rotation: Rotation) {
        if self.rotation != rotation {
            self.rotation = rotation;
            self.tidy();
        }
    }

    /// What has to be done whether something is written or not.
    pub(super) fn upkeep(&mut self) -> io::Result<()> {
        if Instant::now() >= self.check_at {
            self.check();
        }
        let interval = self.rotation.interval;
        let open = self.opened()?;
        let age = open.since.elapsed().unwrap_or_default();
        if interval.is_some_and(|interval| age >= interval) && open.tail.length > 0 && self.rotate() {
            self.opened()?;
        }
        Ok(())
    }

    /// Writes all of it, into as many files as it takes. After an error the rest is still there.
    pub(super) fn write(&mut self, outbox: &mut Outbox) -> io::Result<()> {
        while !outbox.is_empty() {
            let is_paused = self.is_paused();
            let limit = match self.rotation.max_size_bytes {
                0 => u64::MAX,
                _ if is_paused => u64::MAX,
                limit => limit,
            };
            let counters = Arc::clone(&self.counters);
            let open = self.opened()?;
            let room = if open.is_regular { limit.saturating_sub(open.tail.length) } else { u64::MAX };
            let bytes = match outbox.fitting(room) {
                // A line that is longer than a file may be has a file for itself; one that was begun
                // ends where it began.
                0 if open.tail.length == 0 || open.tail.is_torn() => outbox.first(),
                0 => {
                    self.rotate();
                    continue;
                }
                bytes => bytes,
            };
            open.tail.append(outbox, bytes, &counters)?;
        }
        Ok(())
    }

    /// Sees to it that what was written survives a power failure, and ends what is done to backups.
    pub(super) fn finish(self, deadline: Instant) -> io::Result<()> {
        let synced = match &self.open {
            Some(open) if open.is_regular => open.tail.medium.sync_all(),
            _ => Ok(()),
        };
        self.keeper.finish(deadline);
        synced
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open(&self.path, self.mode)?,
        };
        Ok(self.open.insert(open))
    }

    /// Looks whether the file is still there under its name, and how long it is.
    fn check(&mut self) {
        self.check_at = Instant::now() + CHECK_INTERVAL;
        let Some(open) = &mut self.open else { return };
        match fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == open.identity => {
                // Somebody may have cut it.
                open.tail.length = metadata.len();
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::debug!(path = %self.path.display(), %error, "cannot look at the file of the export");
            }
            _ => {
                let path = self.path.display();
                tracing::info!(%path, "the file of the export was moved or removed: it is made anew");
                self.open = None;
            }
        }
    }

    /// Makes the file a backup, and says whether it is none any more.
    fn rotate(&mut self) -> bool {
        self.check();
        let Some(open) = &self.open else { return true };
        if !open.is_regular || open.tail.is_torn() || self.is_paused() {
            return false;
        }
        if let Err(error) = self.back_up() {
            count(&self.counters.write_errors);
            if self.pause.is_none() {
                tracing::warn!(
                    path = %self.path.display(),
                    %error,
                    "the file of the export cannot be rotated, and grows: {}",
                    super::trouble::advice(error.kind())
                );
            }
            self.pause = Some(Instant::now() + ROTATION_PAUSE);
            return false;
        }
        self.open = None;
        self.pause = None;
        count(&self.counters.rotations);
        self.tidy();
        true
    }

    fn back_up(&self) -> io::Result<()> {
        let last = self.names.list()?.last_key_value().map(|(stamp, _)| *stamp);
        let mut stamp = Stamp::after(last);
        loop {
            match rename_to_new(&self.path, &self.names.plain(stamp)) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => stamp = Stamp::after(Some(stamp)),
                result => return result,
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.pause.is_some_and(|pause| Instant::now() < pause)
    }

    fn tidy(&self) {
        let keeping = Keeping { max_backups: self.rotation.max_backups, compress: self.compress };
        self.keeper.tidy(keeping);
    }
}

/// Renames without replacing anything.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can. Nobody else gives such names.
        Err(Errno::INVAL | Errno::NOSYS) if !to.try_exists()? => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(ErrorKind::AlreadyExists.into()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests;
