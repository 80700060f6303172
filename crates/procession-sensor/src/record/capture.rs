//! Records what the kernel side writes while a shell runs a few commands, for `replay` to read.
//!
//! The files hold the records (see `recorded`) of the shell and of its descendants, and none of any
//! other process. Those of `change` were put together from those of `pipeline`: not every kernel that
//! lets the others be recorded shows changes.
//!
//! ```text
//! cargo test -p procession-sensor --lib record::capture -- --ignored       # as root
//! PROCESSION_UPDATE_EXPECTED=1 cargo test -p procession-sensor --lib record::replay
//! git diff                                                                  # is it the truth?
//! ```

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use zerocopy::FromBytes as _;

use super::identify;
use super::layout::{ForkRecord, kind};
use crate::ebpf::raw::{RawConfig, RawSensor};

/// What is run, by the name of the file that its records go to.
const SCRIPTS: [(&str, &str); 9] = [
    ("pipeline", "ls / | sort | head -n 1\n(exit 3)\nsh -c 'kill -9 $$'\n"),
    (
        "script",
        "printf '#!/bin/sh\\nexit 7\\n' >run.sh; chmod +x run.sh\n./run.sh\n../procession-capture/run.sh\n",
    ),
    ("long_arguments", "/usr/bin/true $(seq 20000)\n"),
    ("thread_exec", "perl -Mthreads -e 'threads->create(sub { exec \"true\", \"-x\" })->join'\n"),
    ("privileges", "setpriv --reuid=1000 --regid=1000 --clear-groups su --version\n"),
    // A file without a name, run by its descriptor (memfd_create, execveat) in a directory that is gone.
    (
        "nameless",
        "cp /usr/bin/true . && mkdir gone && cd gone && rmdir ../gone && ../true && perl -e '
            my ($name, $empty) = (\"hidden\", \"\");
            my $fd = syscall(319, $name, 0);
            open(my $in, \"<\", \"/usr/bin/true\");
            open(my $out, \">&=\", $fd);
            local $/;
            syswrite($out, <$in>);
            my ($arguments, $environment) = (pack(\"p Q\", $name, 0), pack(\"Q\", $empty));
            syscall(322, $fd, $empty, $arguments, $environment, 0x1000);'\n",
    ),
    // In the root directory: what has to be quoted, what cannot be, and what is not UTF-8.
    (
        "arguments",
        "usr/bin/true 'a b' c '' 'say \"hi\"' \"$(printf 'a\\tb')\" '\u{e9}' \"$(printf 'x\\377\\376y')\" ''
        usr/bin/../bin/true '' x
        usr/bin/true
        usr/bin/true ''\n",
    ),
    // With and without a dump, and by a signal that has no name.
    (
        "signals",
        "ulimit -c unlimited
        sh -c 'kill -QUIT $$'
        sh -c 'kill -TERM $$'
        sh -c 'kill -40 $$'\n",
    ),
    ("container", "unshare --pid --fork sh -c '/usr/bin/true; exit 3'\nnsenter --version\n"),
];

/// The control group of the shell whose script is called so.
fn control_group(name: &str) -> &'static str {
    match name {
        "container" => {
            "procession-capture/\
             docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope"
        }
        _ => "procession-capture",
    }
}

pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A shell that waits for its first command.
fn shell(directory: &Path) -> Child {
    Command::new("/bin/sh")
        .env_clear()
        .env("PATH", "/usr/bin")
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A control group for the shell, so that the captures do not show that of whoever runs this.
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn with(process: &Child, name: &str) -> Self {
        let mounts = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let mount = mounts.into_iter().find(|mount| mount.join("cgroup.procs").exists()).unwrap();
        let group = Self(mount.join(control_group(name)));
        fs::create_dir_all(&group.0).unwrap();
        fs::write(group.0.join("cgroup.procs"), process.id().to_string()).unwrap();
        group
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

/// Whether a record is about a process of the family, which a fork in the family enlarges.
fn is_family(family: &mut HashSet<u32>, record: &[u8]) -> bool {
    let id = identify(record).unwrap();
    if id.kind == kind::FORK {
        let (fork, _) = ForkRecord::read_from_prefix(record).unwrap();
        if family.contains(&fork.creator.tgid) {
            family.insert(fork.subject.tgid);
        }
    }
    family.contains(&id.subject.pid.0)
}

fn capture(name: &str, script: &str) -> Vec<u8> {
    let directory =
        tempfile::Builder::new().prefix("procession-capture").rand_bytes(0).tempdir_in("/tmp").unwrap();
    let mut shell = shell(if name == "arguments" { Path::new("/") } else { directory.path() });
    let _group = ControlGroup::with(&shell, name);
    let mut family = HashSet::from([shell.id()]);
    let (mut sensor, mut ring) = RawSensor::load(&RawConfig::default()).unwrap();
    let mut kept = Vec::new();
    let mut keep = |record: &[u8]| {
        if is_family(&mut family, record) {
            kept.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes());
            kept.extend_from_slice(record);
        }
    };

    let walk = sensor.walk().unwrap();
    let mut rest = &walk[..];
    while let Ok(id) = identify(rest) {
        keep(&rest[..id.len]);
        rest = &rest[id.len..];
    }
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    shell.wait().unwrap();
    sensor.detach();
    while let Some((_, record)) = ring.next() {
        keep(record);
    }
    kept
}

#[test]
#[ignore = "needs root, and overwrites the captures in tests/data"]
fn record_what_the_kernel_writes() {
    for (name, script) in SCRIPTS {
        fs::write(directory().join(name).with_extension("records"), capture(name, script)).unwrap();
    }
}
