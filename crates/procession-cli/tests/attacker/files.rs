//! What is written: who may read it, and where it is not written to.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Test;
use crate::agent::{Place, shell};

pub(crate) const TESTS: [Test; 3] = [
    ("files::are_for_their_owner", are_for_their_owner),
    ("files::planted_ones_are_refused", planted_ones_are_refused),
    ("files::root_needs_permissions_too", root_needs_permissions_too),
];

fn below(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        }
        found.push(path);
    }
}

/// Whatever the umask: the export and its backups, the journal, recordings, tables made of them.
fn are_for_their_owner() {
    let place = Place::new();
    let lax = |command: &Command| {
        let mut outer = Command::new("sh");
        outer.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
        outer
    };
    let options = ["--export-file-max-size-mb=1", "--export-file-compress"];
    let mut outer = lax(&place.command(&options));
    outer.stderr(fs::File::create(place.path("log")).unwrap());
    let agent = place.spawn(outer);
    let arguments = "x".repeat(60_000);
    for _ in 0..60 {
        assert!(Command::new("/bin/true").arg(&arguments).status().unwrap().success());
    }
    place.until("a backup is there", || {
        let files = fs::read_dir(place.path("")).unwrap();
        files.map(|file| file.unwrap().file_name()).any(|name| name.to_string_lossy().ends_with(".log.gz"))
    });
    agent.stop();
    let program = || Command::new(env!("CARGO_BIN_EXE_procession"));
    let (recording, tables) = (place.path("recording"), place.path("tables"));
    let mut record = program();
    record.arg("record").arg(&recording).args(["--", "true"]);
    assert!(lax(&record).output().unwrap().status.success());
    let mut export = program();
    export.arg("export").arg("--journal").arg(&recording).arg("--parquet").arg(&tables);
    let output = lax(&export).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let mut found = Vec::new();
    below(&place.path(""), &mut found);
    assert!(found.iter().any(|path| path.extension().is_some_and(|it| it == "parquet")), "{found:?}");
    for path in found.iter().filter(|path| !["log", "agent.toml"].map(|name| place.path(name)).contains(path))
    {
        let metadata = path.symlink_metadata().unwrap();
        // What is in a directory that is closed is closed.
        let is_open = metadata.mode() & 0o077 != 0 && !path.starts_with(&tables);
        let is_socket = metadata.file_type().is_socket();
        assert!(!is_open || is_socket, "{}: {:o}", path.display(), metadata.mode());
    }
    assert_eq!(fs::metadata(&tables).unwrap().mode() & 0o077, 0);
}

/// In a directory where others can write.
fn planted_ones_are_refused() {
    let place = Place::new();
    let (shared, victim) = (place.path("shared"), place.path("victim"));
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(&victim, "{\"not\": \"ours\"").unwrap();
    let export = shared.join("events.log");
    let option = format!("--export-filename={}", export.display());
    symlink(&victim, &export).unwrap();
    assert!(
        place.refusal(&[&option]).contains("it is a symbolic link, in a directory where others can write")
    );
    fs::remove_file(&export).unwrap();
    fs::hard_link(&victim, &export).unwrap();
    assert!(place.refusal(&[&option]).contains("it is a file that has other names too"));
    fs::remove_file(&export).unwrap();
    shell(format!("touch {0}; chown nobody {0}", export.display()));
    // The kernel refuses it in a sticky directory, and we do elsewhere.
    let refusal = place.refusal(&[&option]);
    assert!(refusal.contains("it is another user's") || refusal.contains("ermission denied"), "{refusal}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "{\"not\": \"ours\"", "nothing is cut or added");

    let refusal = place.refusal(&[&format!("--journal-dir={}", shared.display())]);
    assert!(refusal.contains("others can write in"), "{refusal}");

    let socket = shared.join("socket");
    symlink(&victim, &socket).unwrap();
    let refusal = place.refusal(&[&format!("--server-address=unix://{}", socket.display())]);
    assert!(refusal.contains("there is a file that is not a socket"), "{refusal}");
}

/// That is said at the start, and not when the first file is full.
fn root_needs_permissions_too() {
    let place = Place::new();
    let foreign = place.path("foreign");
    fs::create_dir(&foreign).unwrap();
    shell(format!("chown nobody {0}; chmod 700 {0}", foreign.display()));
    let option = format!("--export-filename={}/events.log", foreign.display());
    let refusal = place.refusal(&[&option]);
    assert!(refusal.contains("keep-privileges"), "{refusal}");
    place.start(&[&option, "--keep-privileges"]).stop();
}
