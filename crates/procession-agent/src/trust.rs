//! Whether others can put something in the way of what is written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

/// Permissions by which others than the owner write.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Only the owner of a file removes it.
const STICKY: u32 = 0o1000;

/// Whether others than root and this process's user can make files in `directory`: also symbolic links, and
/// other names of files that are there already.
///
/// # Errors
///
/// It cannot be looked at.
pub(crate) fn is_shared(directory: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(directory)?;
    let is_ours = metadata.uid() == 0 || metadata.uid() == geteuid().as_raw();
    Ok(!is_ours || metadata.mode() & WRITTEN_BY_OTHERS != 0)
}

/// Whether they can also remove what is there, and put something else in its place.
///
/// # Errors
///
/// It cannot be looked at.
pub(crate) fn is_replaceable(directory: &Path) -> io::Result<bool> {
    Ok(is_shared(directory)? && fs::metadata(directory)?.mode() & STICKY == 0)
}

/// Refuses a directory, if it is there, in which others can make files, or that they can have chosen.
///
/// # Errors
///
/// It is one, and what to do.
pub(crate) fn refuse_shared(directory: &Path) -> io::Result<()> {
    refuse_planted_link(directory)?;
    match looked_at(directory) {
        Ok(true) => {
            let text = format!(
                "others can write in {}: make it root's alone (chown root, chmod 700), or choose another directory",
                directory.display()
            );
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether it is shared, or which one cannot be looked at.
fn looked_at(directory: &Path) -> io::Result<bool> {
    is_shared(directory).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot look at the directory {}: {error}", directory.display()))
    })
}

/// A link leads where who made it wanted.
fn refuse_planted_link(path: &Path) -> io::Result<()> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !is_link || !looked_at(above)? {
        return Ok(());
    }
    let text = format!(
        "{} is a symbolic link in a directory where others can write: remove it, or choose another directory",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_is_shared_if_others_can_write_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (mode, shared) in [
            (0o700, false),
            (0o755, false),
            (0o1755, false),
            (0o770, true),
            (0o757, true),
            // It protects files from removal, not names from being taken.
            (0o1777, true),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_shared(path).unwrap(), shared, "{mode:o}");
            assert_eq!(refuse_shared(path).is_err(), shared, "{mode:o}");
        }
        assert!(refuse_shared(&path.join("none")).is_ok());
    }

    #[test]
    fn a_link_is_trusted_where_only_root_can_have_made_it() {
        let [directory, elsewhere] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let link = directory.path().join("journal");
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        for (mode, is_refused) in [(0o700, false), (0o1777, true)] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(refuse_shared(&link).is_err(), is_refused, "{mode:o}");
        }
    }
}
