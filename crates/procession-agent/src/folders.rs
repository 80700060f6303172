//! Makes directories for what others are to reach.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

/// Everybody may pass, and look at what is in it.
const MODE: u32 = 0o755;

/// Makes a directory, and those above it, where there are none. The umask does not count: an agent's is that of
/// files that are its own.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().create(directory) {
            Ok(()) => permit(directory)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Of what was just made: a link that somebody has put there by now is not followed.
fn permit(made: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    File::from(open(made, flags, Mode::empty())?).set_permissions(Permissions::from_mode(MODE))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_made_can_be_passed_and_what_was_there_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
        let deep = own.join("a/b");
        make(&deep).unwrap();
        assert_eq!([mode(&own), mode(&own.join("a")), mode(&deep)], [0o700, MODE, MODE]);
        fs::set_permissions(&deep, Permissions::from_mode(0o750)).unwrap();
        make(&deep).unwrap();
        assert_eq!(mode(&deep), 0o750);
    }
}
