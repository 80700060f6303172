//! Programs that want to look like others, or like nothing.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::actor::actor;
use crate::agent::{Place, Running};
use crate::{NOBODY, Test};

pub(crate) const TESTS: [Test; 7] = [
    ("disguise::by_name", by_name),
    ("disguise::by_file", by_file),
    ("disguise::by_memory", by_memory),
    ("disguise::by_root", by_root),
    ("disguise::by_view_of_the_file_system", by_view_of_the_file_system),
    ("disguise::by_control_group", by_control_group),
    ("disguise::by_escapes", by_escapes),
];

/// Not every kernel has what it needs.
pub(crate) const BY_INTERPRETER: Test = ("disguise::by_interpreter", by_interpreter);

/// `argv[0]` and the name of a thread are the process's own to choose; the file that was executed is not.
fn by_name() {
    let place = Place::new();
    let agent = place.start(&[]);
    let mut lie = Command::new("/bin/sleep");
    let _child = Running::start(lie.arg0("[kworker/0:1]").arg("1010").uid(NOBODY));
    let exec = place.exec_with("1010");
    assert!(exec["binary"].as_str().unwrap().ends_with("/sleep"), "{exec}");
    assert_eq!(exec["uid"], NOBODY, "{exec}");
    // It takes another name while it runs.
    let script = "printf kworker >/proc/$$/comm; while :; do sleep 0.1011; done";
    let _child = Running::start(Command::new("sh").args(["-c", script, "sh", "renamed-mark"]));
    let exec = place.exec_with("renamed-mark");
    assert!(exec["binary"].as_str().unwrap().ends_with("sh"), "{exec}");
    let child = place.exec_with("0.1011");
    assert_eq!(child["parent_exec_id"], exec["exec_id"], "its children are still its own");
    agent.stop();
}

/// A file that is gone when somebody looks, and one that never had a name.
fn by_file() {
    let place = Place::new();
    let agent = place.start(&[]);
    let program = place.path("briefly");
    fs::copy("/bin/sleep", &program).unwrap();
    let _child = Running::start(Command::new(&program).arg("1012"));
    fs::remove_file(&program).unwrap();
    let exec = place.exec_with("1012");
    assert_eq!(exec["binary"], program.display().to_string(), "{exec}");

    let memory = rustix::fs::memfd_create("invisible", rustix::fs::MemfdFlags::empty()).unwrap();
    let mut memory = fs::File::from(memory);
    std::io::copy(&mut fs::File::open("/bin/sleep").unwrap(), &mut memory).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&memory));
    let _child = Running::start(Command::new(&path).arg("1013"));
    let exec = place.exec_with("1013");
    let binary = exec["binary"].as_str().unwrap();
    assert!(binary.contains("memfd:invisible") || binary == path, "{exec}");
    agent.stop();
}

/// `/proc/PID/cmdline` is the process's own to choose; what was executed was told before.
fn by_memory() {
    let place = Place::new();
    let agent = place.start(&[]);
    let child = Command::new(actor()).args(["relabel", "/sbin/harmless-mark"]).stdin(Stdio::piped()).spawn();
    let child = Running(child.unwrap());
    let pid = child.0.id().to_string();
    let shown = || fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    place.until("it shows another name", || shown().starts_with(b"/sbin/harmless-mark"));
    let exec = place.exec_with("/sbin/harmless-mark");
    assert_eq!(exec["arguments"], "relabel /sbin/harmless-mark", "{exec}");
    assert!(exec["binary"].as_str().unwrap().ends_with("/actor"), "{exec}");
    agent.stop();
    // The next one goes on from what was seen, not from what is shown.
    let agent = place.start(&[]);
    let answer = String::from_utf8(place.ask(&["why", &pid]).stdout).unwrap();
    assert!(answer.contains("relabel"), "{answer}");
    agent.stop();
}

const MOUNT: &str = "mount -t binfmt_misc none";

/// A script in a user namespace of its own.
fn with_own_users(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]);
    command
}

/// Why nobody can register interpreters of their own: that came with Linux 6.7, the module may be missing, and user
/// namespaces may be forbidden.
pub(crate) fn no_interpreters() -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{MOUNT} {}", folder.path().display());
    let tried = with_own_users(&script).stdin(Stdio::null()).output();
    let why = match tried {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("no binfmt_misc in a user namespace: {why}"))
}

/// The kernel runs another program in place of the file that is executed, as somebody registered (binfmt_misc, here
/// in a user namespace of its own): the file is told, as with a script.
fn by_interpreter() {
    let place = Place::new();
    let agent = place.start(&[]);
    let (register, file) = (place.path("registered"), place.path("picture.mark"));
    fs::create_dir(&register).unwrap();
    fs::write(&file, "read line").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!(
        "{MOUNT} {0}; echo ':mark:E::mark::/bin/sh:' >{0}/register; exec {1} interpreted-mark",
        register.display(),
        file.display()
    );
    let mut child = with_own_users(&script);
    let mut child = Running(child.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let arguments = format!("{} interpreted-mark", file.display());
    let mut found = None;
    place.until("it is interpreted", || {
        if child.0.try_wait().unwrap().is_some() {
            let mut said = String::new();
            child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("{said}");
        }
        found = place.execs("interpreted-mark").into_iter().find(|exec| exec["arguments"] == arguments);
        found.is_some()
    });
    let exec = found.unwrap();
    assert_eq!(
        (&exec["binary"], &exec["pid"]),
        (&file.display().to_string().into(), &child.0.id().into()),
        "{exec}"
    );
    let shown = fs::read(format!("/proc/{}/cmdline", child.0.id())).unwrap();
    assert!(shown.starts_with(b"/bin/sh\0"), "it is the interpreter that runs: {shown:?}");
    agent.stop();
}

/// Another root: paths are those within, and who changed it is told.
fn by_root() {
    let place = Place::new();
    let agent = place.start(&[]);
    let root = place.path("root");
    fs::create_dir(&root).unwrap();
    let script = format!("mount --rbind / {0}; exec chroot {0} /bin/sleep 1017", root.display());
    let _child = Running::start(Command::new("unshare").args(["-m", "sh", "-ec", &script]));
    let exec = place.exec_with("1017");
    place.until("the program within is told", || {
        place.execs("1017").iter().any(|exec| exec["arguments"] == "1017" && exec["binary"] == "/bin/sleep")
    });
    let chroot =
        place.execs("1017").into_iter().find(|exec| exec["binary"].as_str().unwrap().ends_with("/chroot"));
    let chroot = chroot.unwrap_or_else(|| panic!("{exec}"));
    assert_eq!(chroot["arguments"], format!("{} /bin/sleep 1017", root.display()), "{chroot}");
    agent.stop();
}

/// Paths are those that the process sees: another file may be mounted there, or another root. Who did that is
/// told too.
fn by_view_of_the_file_system() {
    let place = Place::new();
    let agent = place.start(&["--enable-process-ns"]);
    let cover = place.path("harmless");
    fs::copy("/bin/sleep", &cover).unwrap();
    let script = format!("mount --bind /bin/sleep {0}; exec {0} 1014", cover.display());
    let _child = Running::start(Command::new("unshare").args(["-m", "sh", "-ec", &script]));
    let exec = place.exec_with("1014");
    assert!(
        exec["binary"].as_str().is_some_and(|it| it == cover.display().to_string() || it.ends_with("/sleep")),
        "{exec}"
    );
    let mount = place.exec_with(&cover.display().to_string());
    assert!(mount["arguments"].as_str().unwrap().starts_with("--bind "), "{mount}");
    let (inside, outside) = (&exec["ns"]["mnt"], &place.execs("\"mnt\"")[0]["ns"]["mnt"]);
    assert_ne!(inside["inum"], outside["inum"], "another mount namespace is told: {exec}");
    agent.stop();
}

/// The hierarchy that tells containers apart.
fn control_groups() -> &'static Path {
    let of_memory = Path::new("/sys/fs/cgroup/memory");
    if of_memory.exists() { of_memory } else { Path::new("/sys/fs/cgroup") }
}

/// A control group that calls itself a container's. When it is dropped, all in it are killed.
struct Scope(PathBuf);

impl Scope {
    fn named(id: &str) -> Self {
        Self(control_groups().join(format!("docker-{id}.scope")))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        for _ in 0..500 {
            let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            for member in members.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                let _ = kill_process(member, Signal::KILL);
            }
            if !self.0.exists() || fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Root can call itself a container. Another user cannot; and whose child it is, stays to be seen.
fn by_control_group() {
    let place = Place::new();
    let agent = place.start(&[]);
    let id = format!("feedface{:08x}", std::process::id()).repeat(4);
    let scope = Scope::named(&id);
    let mut make = Command::new("mkdir");
    let refused = make.arg(&scope.0).uid(NOBODY).gid(NOBODY).output().unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    fs::create_dir(&scope.0).unwrap();
    let script = format!("echo $$ >{}/cgroup.procs; exec sleep 1016", scope.0.display());
    let child = Running::start(Command::new("sh").args(["-ec", &script]));
    let exec = place.exec_with("1016");
    drop((child, scope));
    assert!(exec["docker"].as_str().is_some_and(|docker| id.starts_with(docker)), "it is believed: {exec}");
    let chain = String::from_utf8(place.ask(&["why", exec["exec_id"].as_str().unwrap()]).stdout).unwrap();
    let myself = std::env::current_exe().unwrap();
    assert!(
        chain.contains(myself.file_name().unwrap().to_str().unwrap()),
        "and who made it is told: {chain}"
    );
    agent.stop();
}

/// No bytes of a process reach a terminal as they are.
fn by_escapes() {
    let place = Place::new();
    let agent = place.start(&[]);
    let program = place.path("\x1b[2Jevil\u{202e}\nname");
    fs::copy("/bin/sh", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    let child = Running::start(command.args([
        "-c",
        "while :; do sleep 1; done",
        "\x1b]0;title\x07",
        "\u{9b}31m",
        "escape-mark",
    ]));
    let exec = place.exec_with("escape-mark");
    assert!(exec["binary"].as_str().unwrap().contains("evil"), "{exec}");
    let (pid, journal) = (child.0.id().to_string(), place.path("journal").display().to_string());
    let history = ["history", &pid, "--journal", &journal];
    let told = || Command::new(env!("CARGO_BIN_EXE_procession")).args(history).output().unwrap();
    place.until("the journal has it", || String::from_utf8_lossy(&told().stdout).contains("evil"));
    for arguments in [
        &["why", &pid][..],
        &["tree", "--wide"],
        &["processes"],
        &history,
        &["why", &pid, "-o", "json"],
        &["dump"],
    ] {
        let output = if arguments[0] == "history" { told() } else { place.ask(arguments) };
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        // JSON is for programs: they may want the letters that turn the direction of writing.
        let is_json = arguments.contains(&"json") || arguments[0] == "dump";
        let is_bad = |c: char| (c.is_control() && c != '\n') || (!is_json && c == '\u{202e}');
        assert!(!text.contains(is_bad), "{arguments:?}: {text:?}");
        assert!(text.contains("evil"), "{arguments:?}: {text:?}");
    }
    let lines = fs::read_to_string(place.path("events.log")).unwrap();
    assert!(!lines.contains(|c: char| c.is_control() && c != '\n'), "the export is a line for each event");
    agent.stop();
}
