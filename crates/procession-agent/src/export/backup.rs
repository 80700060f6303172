//! Names of backups: `<name>-<YYYY-MM-DDThh-mm-ss.mmm><ext>[.gz]`, in UTC, next to the file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::{fs, path};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

const FORMAT: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const STAMP_LENGTH: usize = "2006-01-02T15-04-05.000".len();
const COMPRESSED: &[u8] = b".gz";
/// A compressed backup in the making.
const PARTIAL: &[u8] = b".gz.part";

/// When a file became a backup, to the millisecond. No two backups of a file have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(Timestamp);

impl Stamp {
    /// Now, or right after `last` if that is not over: backups are in the order of their names,
    /// whatever becomes of the clock.
    pub(super) fn after(last: Option<Self>) -> Self {
        let now = Timestamp::now().as_millisecond();
        let next = last.map_or(now, |Self(last)| now.max(last.as_millisecond() + 1));
        Self(Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok().filter(|text| text.len() == STAMP_LENGTH)?;
        let time = DateTime::strptime(FORMAT, text).ok()?;
        let stamp = Offset::UTC.to_timestamp(time).ok().map(Self)?;
        // There are other ways to write a time, such as with a space for a zero; the file of that name is another's.
        (stamp.to_string() == text).then_some(stamp)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.strftime(FORMAT).fmt(formatter)
    }
}

/// In which forms a backup is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forms {
    pub(super) plain: bool,
    pub(super) compressed: bool,
    /// Compressed, but not to the end.
    pub(super) partial: bool,
}

/// How the backups of a file are called.
#[derive(Clone, Debug)]
pub(super) struct BackupNames {
    directory: PathBuf,
    prefix: Vec<u8>,
    extension: Vec<u8>,
}

impl BackupNames {
    /// Those of the file at `path`, which must name a file.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let path = path::absolute(path)?;
        let (Some(directory), Some(stem)) = (path.parent(), path.file_stem()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not the name of a file"));
        };
        let extension = path.extension().map(|extension| [b".", extension.as_bytes()].concat());
        Ok(Self {
            directory: directory.to_owned(),
            prefix: [stem.as_bytes(), b"-"].concat(),
            extension: extension.unwrap_or_default(),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn plain(&self, stamp: Stamp) -> PathBuf {
        self.path(stamp, b"")
    }

    pub(super) fn compressed(&self, stamp: Stamp) -> PathBuf {
        self.path(stamp, COMPRESSED)
    }

    pub(super) fn partial(&self, stamp: Stamp) -> PathBuf {
        self.path(stamp, PARTIAL)
    }

    /// The backups that there are, oldest first.
    pub(super) fn list(&self) -> io::Result<BTreeMap<Stamp, Forms>> {
        let mut backups = BTreeMap::<Stamp, Forms>::new();
        for entry in fs::read_dir(&self.directory)? {
            let Some((stamp, suffix)) = self.parse(&entry?.file_name()) else { continue };
            let forms = backups.entry(stamp).or_default();
            match suffix {
                Suffix::None => forms.plain = true,
                Suffix::Compressed => forms.compressed = true,
                Suffix::Partial => forms.partial = true,
            }
        }
        Ok(backups)
    }

    fn path(&self, stamp: Stamp, suffix: &[u8]) -> PathBuf {
        let stamp = stamp.to_string();
        let name = [&self.prefix, stamp.as_bytes(), &self.extension, suffix].concat();
        self.directory.join(OsString::from_vec(name))
    }

    fn parse(&self, name: &OsStr) -> Option<(Stamp, Suffix)> {
        let rest = name.as_bytes().strip_prefix(self.prefix.as_slice())?;
        let (stamp, rest) = rest.split_at_checked(STAMP_LENGTH)?;
        let suffix = match rest.strip_prefix(self.extension.as_slice())? {
            b"" => Suffix::None,
            COMPRESSED => Suffix::Compressed,
            PARTIAL => Suffix::Partial,
            _ => return None,
        };
        Some((Stamp::parse(stamp)?, suffix))
    }
}

/// The path that is written to and removed for what is taken for a backup because of its name. `None`: it is not.
#[cfg(feature = "fuzzing")]
pub(crate) fn renamed(file: &Path, name: &OsStr) -> Option<PathBuf> {
    let names = BackupNames::of(file).ok()?;
    let (stamp, suffix) = names.parse(name)?;
    Some(match suffix {
        Suffix::None => names.plain(stamp),
        Suffix::Compressed => names.compressed(stamp),
        Suffix::Partial => names.partial(stamp),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suffix {
    None,
    Compressed,
    Partial,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Stamp {
        Stamp::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_are_those_of_the_reference() {
        let names = BackupNames::of(Path::new("/var/log/tetragon.log")).unwrap();
        let stamp = stamp("2026-02-03T04-05-06.078");
        let plain = names.plain(stamp);
        assert_eq!(plain, Path::new("/var/log/tetragon-2026-02-03T04-05-06.078.log"));
        let compressed = names.compressed(stamp);
        assert_eq!(compressed, Path::new("/var/log/tetragon-2026-02-03T04-05-06.078.log.gz"));
        assert_eq!(names.parse(plain.file_name().unwrap()), Some((stamp, Suffix::None)));
        assert_eq!(names.parse(compressed.file_name().unwrap()), Some((stamp, Suffix::Compressed)));
    }

    #[test]
    fn files_of_others_are_not_taken_for_backups() {
        let names = BackupNames::of(Path::new("/var/log/tetragon.log")).unwrap();
        for other in [
            "tetragon.log",
            "tetragon-2026-02-03.log",
            "tetragon-2026-02-03T04-05-06.log",
            "tetragon-2026-02-03T04-05-06.078.log.bz2",
            "tetragon-2026-02-03T04-05-06.078.txt",
            "tetragon-2026-13-03T04-05-06.078.log",
            "tetragon-2026-02-03T04-05- 6.078.log",
            "tetragon-2026-02- 3T04-05-06.078.log",
            "tetragon-2026-02-3T04-05-06.0780.log",
            "tetragon-+2026-2-03T04-05-06.078.log",
            "tetragon-2026-02-03T04-05-60.078.log",
            "tetragon-other-2026-02-03T04-05-06.078.log",
            "other-2026-02-03T04-05-06.078.log",
        ] {
            assert_eq!(names.parse(OsStr::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_file_needs_no_extension() {
        for name in ["events", ".events"] {
            let names = BackupNames::of(&Path::new("/var/log").join(name)).unwrap();
            let stamp = stamp("2026-02-03T04-05-06.078");
            let expected = format!("/var/log/{name}-2026-02-03T04-05-06.078");
            assert_eq!(names.plain(stamp), Path::new(&expected));
        }
        assert!(BackupNames::of(Path::new("/")).is_err());
    }

    #[test]
    fn stamps_go_on_when_the_clock_does_not() {
        let far = stamp("2999-12-31T23-59-59.999");
        assert_eq!(Stamp::after(Some(far)).to_string(), "3000-01-01T00-00-00.000");
        let first = Stamp::after(None);
        assert!(Stamp::after(Some(first)) > first);
        assert!(first < far);
    }
}
