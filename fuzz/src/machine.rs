//! What the program asks of the machine it runs on, for messages that help: files of `/proc` beside those of processes; and
//! the names of files in the folders it writes to.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use procession_agent::fuzzing as agent;
use procession_cli::fuzzing as cli;
use procession_journal::fuzzing as journal;

use crate::memory;

/// The text of `/proc/locks`, `/proc/net/tcp`, `/proc/PID/status`, `timens_offsets`, `/proc/PID/cgroup`; behind a NUL
/// that of a control group's limit. What is found stands in the text, and is found in front of any text.
pub fn machine_files(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let (text, limit) = text.split_once('\0').unwrap_or((text, "max"));
    let words: Vec<_> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '-').collect();
    let stands = |number: i128| words.iter().any(|word| word.parse() == Ok(number));
    memory::within(text.as_bytes(), 8_192, 64, || {
        locks(text, &stands);
        ports(text, &stands);
        if let Some(seconds) = cli::boottime_offset(text) {
            assert!(stands(seconds.into()));
        }
        if let Some(user) = agent::uid_of(text) {
            assert!(stands(user.into()));
        }
    });
    assert_eq!(cli::boottime_offset(&format!("boottime 5 0\n{text}")), Some(5));
    assert_eq!(agent::uid_of(&format!("Uid:\t7\t0\t0\t0\n{text}")), Some(7));
    limits(text, limit);
}

fn locks(text: &str, stands: &dyn Fn(i128) -> bool) {
    const INODE: u64 = 77;
    if let Some(pid) = agent::pid_of_lock(text, INODE) {
        assert!(pid > 0 && stands(pid.into()) && stands(INODE.into()));
    }
    let first = format!("1: FLOCK  ADVISORY  WRITE 4711 00:2c:{INODE} 0 EOF\n{text}");
    assert_eq!(agent::pid_of_lock(&first, INODE), Some(4_711));
}

fn ports(text: &str, stands: &dyn Fn(i128) -> bool) {
    const PORT: u16 = 0x0035;
    if let Some(socket) = agent::socket_of_port(text, PORT) {
        assert!(stands(socket.into()));
    }
    let first = format!(
        "sl\n   0: 00000000:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 4711 1\n{text}"
    );
    assert_eq!(agent::socket_of_port(&first, PORT), Some(4_711));
}

/// The longest line that is tried: the kernel has no longer path.
const LONGEST_LINE: usize = 4_096;

/// The root of each hierarchy has this limit, and no other group has any: it is that of every line that names a
/// hierarchy.
fn limits(text: &str, limit: &str) {
    // Out of the folder there may be anything.
    let is_tried = |line: &&str| line.len() <= LONGEST_LINE && line.split('/').all(|name| name != "..");
    let lines: Vec<_> = text.lines().filter(|line| line.contains(':')).filter(is_tried).take(16).collect();
    if lines.is_empty() {
        return;
    }
    let mount = tempfile::tempdir().expect("there is room for a folder");
    for (folder, file) in [("unified", "memory.max"), ("memory", "memory.limit_in_bytes")] {
        let folder = mount.path().join(folder);
        fs::create_dir(&folder).expect("there is room for a folder");
        fs::write(folder.join(file), limit).expect("there is room for a file");
    }
    let expected = limit.trim().parse().ok();
    for line in lines {
        let mut parts = line.splitn(3, ':').skip(1);
        let names_hierarchy = |names: &str| names.is_empty() || names.split(',').any(|it| it == "memory");
        let is_group = parts.next().is_some_and(names_hierarchy) && parts.next().is_some();
        assert_eq!(cli::memory_limit(line, mount.path()), expected.filter(|_| is_group), "{line}");
    }
}

/// The name of a file. What is taken for a backup of an export is called as the agent calls that backup, so that no
/// other file is ever compressed or removed in its place; what is taken for a journal begins with its number.
pub fn file_names(name: &[u8]) {
    let name = OsStr::from_bytes(name);
    if Path::new(name).components().ne([Component::Normal(name)]) {
        return;
    }
    for file in ["/x/events.log", "/x/events", "/x/.log"] {
        if let Some(backup) = agent::backup(file.as_ref(), name) {
            assert_eq!(backup, Path::new("/x").join(name));
        }
    }
    if let Some(number) = journal::number_in(name.as_ref()) {
        let digits =
            name.as_bytes().split(|byte| *byte == b'-').next().and_then(|digits| str::from_utf8(digits).ok());
        assert_eq!(digits.map(str::parse), Some(Ok(number)));
        assert!(name.as_bytes().ends_with(b"Z.procession"));
    }
}
