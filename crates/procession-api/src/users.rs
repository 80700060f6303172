//! Names for user ids, from a file in the form of `/etc/passwd`.
//!
//! Only that file is read. Users that the name service switch (NSS) would find elsewhere, in LDAP
//! or `systemd-homed`, have no name here: asking NSS may block on a network, and would load
//! foreign code into a program that runs as root.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use procession::Uid;

/// Users, by id and by name. Where an id or a name stands twice, the first line counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    names: HashMap<Uid, Box<str>>,
    uids: HashMap<Box<str>, Uid>,
}

impl Users {
    /// Reads the text of a passwd file. Lines that are not of its form are skipped.
    ///
    /// ```
    /// use procession::Uid;
    /// use procession_api::users::Users;
    ///
    /// let users = Users::parse(b"root:x:0:0:root:/root:/bin/sh\nno colons\n");
    /// assert_eq!(users.name(Uid::ROOT), Some("root"));
    /// assert_eq!(users.uid("root"), Some(Uid::ROOT));
    /// ```
    pub fn parse(passwd: &[u8]) -> Self {
        let mut users = Self::default();
        for (name, uid) in passwd.split(|byte| *byte == b'\n').filter_map(parse_line) {
            users.names.entry(uid).or_insert_with(|| name.into());
            users.uids.entry(name.into()).or_insert(uid);
        }
        users
    }

    /// The name of a user.
    pub fn name(&self, uid: Uid) -> Option<&str> {
        self.names.get(&uid).map(AsRef::as_ref)
    }

    /// The id of the user called `name`.
    pub fn uid(&self, name: &str) -> Option<Uid> {
        self.uids.get(name).copied()
    }
}

/// `name:password:uid:…`
fn parse_line(line: &[u8]) -> Option<(&str, Uid)> {
    let mut fields = str::from_utf8(line).ok()?.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some((name, Uid(uid)))
}

/// A passwd file, and what it said when it was last read.
#[derive(Debug)]
pub struct PasswdFile {
    path: PathBuf,
    modified: Option<SystemTime>,
    users: Users,
}

impl PasswdFile {
    /// The file at `path`. Nothing is read before the first [`refresh`](Self::refresh).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), modified: None, users: Users::default() }
    }

    /// The users that the file listed when it was last read.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Reads the file if it was modified since it was last read, and says whether it was.
    ///
    /// One `stat` when it was not. After an error the users stay as they were.
    pub fn refresh(&mut self) -> io::Result<bool> {
        // The time is taken first: a change during the read then shows the next time.
        let modified = fs::metadata(&self.path)?.modified()?;
        if self.modified == Some(modified) {
            return Ok(false);
        }
        self.users = Users::parse(&fs::read(&self.path)?);
        self.modified = Some(modified);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_line_counts_and_malformed_ones_are_skipped() {
        let users = Users::parse(
            b"root:x:0:0::/root:/bin/sh\n\
              toor:x:0:0::/root:/bin/sh\n\
              alice:x:1000:1000\n\
              alice:x:1001:1001\n\
              # comment\n\
              +::::::\n\
              :x:5:5\n\
              huge:x:4294967296:0\n\
              negative:x:-1:0\n\
              short:x\n\
              \xff:x:7:7\n\
              last:x:8:8",
        );
        for (uid, name) in [
            (0, Some("root")),
            (1000, Some("alice")),
            (1001, Some("alice")),
            (5, None),
            (7, None),
            (8, Some("last")),
        ] {
            assert_eq!(users.name(Uid(uid)), name, "{uid}");
        }
        for (name, uid) in
            [("root", Some(0)), ("toor", Some(0)), ("alice", Some(1000)), ("huge", None), ("", None)]
        {
            assert_eq!(users.uid(name), uid.map(Uid), "{name}");
        }
    }

    #[test]
    fn the_file_is_read_again_only_when_it_was_modified() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let write = |text: &str, modified: u64| {
            fs::write(&path, text).unwrap();
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        };
        let mut passwd = PasswdFile::new(&path);
        assert_eq!(passwd.refresh().unwrap_err().kind(), io::ErrorKind::NotFound);

        write("alice:x:1:1", 1);
        assert!(passwd.refresh().unwrap());
        write("bob:x:1:1", 1);
        assert!(!passwd.refresh().unwrap(), "same time: taken for the same text");
        assert_eq!(passwd.users().name(Uid(1)), Some("alice"));
        write("bob:x:1:1", 2);
        assert!(passwd.refresh().unwrap());
        assert_eq!(passwd.users().name(Uid(1)), Some("bob"));

        fs::remove_file(&path).unwrap();
        assert!(passwd.refresh().is_err());
        assert_eq!(passwd.users().name(Uid(1)), Some("bob"), "a file that went takes no name away");
    }
}
