//! The file that a command is to make: what is refused before it begins, and what it is called until it is whole.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use procession_agent::holder_of_lock;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::TempPath;

/// Why no file can be made at `path`, in terms of the directory that it would be in: the name of the file that
/// could not be made there is one that nobody has asked for.
pub(crate) fn no_place(path: &Path, error: &io::Error) -> anyhow::Error {
    let (file, directory) = (path.display(), directory_of(path));
    let place = directory.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow!("cannot write {file}: there is no directory {place}; make it first, or name another file")
        }
        io::ErrorKind::NotADirectory => {
            anyhow!("cannot write {file}: {place} is no directory; name another file")
        }
        io::ErrorKind::PermissionDenied => anyhow!(
            "cannot write {file}: no permission to make a file in {place}; name another file, or try `sudo`"
        ),
        io::ErrorKind::ReadOnlyFilesystem => {
            anyhow!("cannot write {file}: {place} is on a read-only file system; name another file")
        }
        io::ErrorKind::StorageFull => {
            anyhow!("cannot write {file}: no space is left on the disk of {place}; name another file")
        }
        // Without the name of the file.
        _ => match error.raw_os_error() {
            Some(number) => anyhow!("cannot write {file}: {}", io::Error::from_raw_os_error(number)),
            None => anyhow!("cannot write {file}: {}", error.kind()),
        },
    }
}

/// In which a file is, or would be.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What was recorded before is not to be recorded again, and only a file can be replaced.
pub(crate) fn refuse_what_is_there(path: &Path, is_forced: bool) -> anyhow::Result<()> {
    match fs::metadata(path) {
        // Also a link to nothing: it would be replaced.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            Ok(())
        }
        Ok(file) if file.is_dir() => bail!("{} is a directory: name a file in it", path.display()),
        Ok(file) if !file.is_file() => {
            bail!("{} is no regular file: a recording cannot be written there", path.display())
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(no_place(path, &error)),
        _ if is_forced => refuse_what_is_written(path),
        _ => bail!("{} is there already: `--force` replaces it", path.display()),
    }
}

/// Refuses to replace what is being recorded: whoever does that would go on, and nobody could read it.
fn refuse_what_is_written(path: &Path) -> anyhow::Result<()> {
    let Ok(file) = fs::File::open(path) else { return Ok(()) };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => {
            let holder = holder_of_lock(path);
            bail!("another program writes {}{holder}: stop it, or name another file", path.display())
        }
        _ => Ok(()),
    }
}

/// Refuses to replace what is to be read.
pub(crate) fn refuse_same_file(input: &Path, target: &Path) -> anyhow::Result<()> {
    if let (Ok(input), Ok(target_file)) = (fs::metadata(input), fs::metadata(target))
        && (input.dev(), input.ino()) == (target_file.dev(), target_file.ino())
    {
        bail!("{} is the file that is to be read: name another one to be made", target.display());
    }
    Ok(())
}

/// A file that has a name of its own until it is a recording. Before that nothing is replaced, and nothing is
/// left behind.
pub(crate) struct Place {
    path: PathBuf,
    /// `None`: it has its name.
    temporary: Option<TempPath>,
}

impl Place {
    pub(crate) fn beside(path: &Path) -> anyhow::Result<Self> {
        // What a link leads to is replaced, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = format!(".{}.", path.file_name().unwrap_or_default().display());
        let mut builder = tempfile::Builder::new();
        let file = builder.prefix(&name).tempfile_in(directory_of(&path));
        let file = file.map_err(|error| no_place(&path, &error))?;
        Ok(Self { temporary: Some(file.into_temp_path()), path })
    }

    /// Where it is now.
    pub(crate) fn current(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.path)
    }

    /// Gives it its name, which somebody else may have taken meanwhile.
    pub(crate) fn settle(&mut self, is_forced: bool) -> io::Result<()> {
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        let named =
            if is_forced { temporary.persist(&self.path) } else { temporary.persist_noclobber(&self.path) };
        Ok(named?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let said = |path: &Path| Place::beside(path).err().map(|error| format!("{error:#}"));
        let missing = directory.path().join("none").join("x");
        let expected = format!(
            "cannot write {}: there is no directory {}; make it first, or name another file",
            missing.display(),
            directory.path().join("none").display()
        );
        assert_eq!(said(&missing), Some(expected));
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let told = said(&file.join("x")).unwrap();
        assert!(told.ends_with(&format!("{} is no directory; name another file", file.display())), "{told}");
        assert_eq!(said(&directory.path().join("x")), None);
    }

    #[test]
    fn what_cannot_be_made_is_not_called_by_a_name_of_our_own() {
        for (number, told) in [(13, "no permission to make a file in /a;"), (36, "File name too long")] {
            let error = io::Error::from_raw_os_error(number);
            let text = no_place(Path::new("/a/b"), &error).to_string();
            assert!(text.starts_with("cannot write /a/b: ") && text.contains(told), "{text}");
        }
        let wrapped = io::Error::new(io::ErrorKind::PermissionDenied, "at path \"/a/.b.xyz\"");
        assert!(!no_place(Path::new("b"), &wrapped).to_string().contains(".b.xyz"));
    }
}
