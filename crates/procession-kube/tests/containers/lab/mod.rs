//! What every test needs: a folder, an image, daemons, and an end to all that was started.
//!
//! Other crates' tests with real containers use it too, by its path.

pub(crate) mod apart;
pub(crate) mod containerd;
pub(crate) mod docker;
pub(crate) mod podman;
pub(crate) mod runc;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession_kube::{
    Answer, Asked, CgroupContainer, ContainerId, ContainerInfo, Containers, RuntimeSocket, Runtimes,
    RuntimesConfig,
};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

/// Long enough for whatever happens at all on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Control groups that tests and runtimes make, at the top of each hierarchy.
const CGROUPS: [&str; 9] = [
    "docker",
    "kata_overhead",
    "kubepods",
    "kubepods.slice",
    "libpod_parent",
    "machine.slice",
    "procession-test",
    "system.slice",
    "user.slice",
];

/// The image that all containers are made of.
pub(crate) const IMAGE: &str = "localhost/procession-test:1";

/// Where programs of the system are.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A program of the system, not one that lies elsewhere on the path.
pub(crate) fn program(name: &str) -> Command {
    let path = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists()).unwrap();
    let mut command = Command::new(path);
    command.env("PATH", FOLDERS.join(":")).stdin(Stdio::null());
    command
}

/// Runs a program to its end, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// Waits until `probe` has something.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "no {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// An id that no other test has.
pub(crate) fn new_id() -> ContainerId {
    let uuid = || fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().replace('-', "");
    parse_id(&(uuid() + &uuid()))
}

pub(crate) fn parse_id(hex: &str) -> ContainerId {
    ContainerId::parse(hex.as_bytes()).unwrap_or_else(|| panic!("no id: {hex}"))
}

/// The containers that a process is in, by its control groups.
pub(crate) fn containers_of(pid: u32) -> Vec<CgroupContainer> {
    let text = fs::read(format!("/proc/{pid}/cgroup")).unwrap();
    Containers::of_proc_cgroup(&text).collect()
}

/// The one container that a process is in.
pub(crate) fn container_of(pid: u32) -> CgroupContainer {
    let [container] = containers_of(pid)[..] else {
        panic!("{}", fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap());
    };
    container
}

/// A client of these sockets that keeps no answer, and waits as long for one as a busy machine may need.
pub(crate) fn client(sockets: &[String]) -> Runtimes {
    client_that_waits(sockets, Duration::from_secs(30))
}

fn client_that_waits(sockets: &[String], timeout: Duration) -> Runtimes {
    let sockets = sockets.iter().map(|socket| socket.parse::<RuntimeSocket>().unwrap()).collect();
    let none = Duration::ZERO;
    let retry = Duration::from_millis(100);
    let config = RuntimesConfig {
        sockets,
        timeout,
        known_for: none,
        unknown_for: none,
        first_retry: retry,
        last_retry: retry,
        ..RuntimesConfig::default()
    };
    Runtimes::start(&config).unwrap()
}

/// Asks and waits for the reply.
pub(crate) fn ask(runtimes: &Runtimes, container: impl Into<CgroupContainer>) -> Answer {
    assert_ne!(runtimes.ask(container), Asked::Refused);
    runtimes.replies().recv_timeout(PATIENCE).unwrap().answer
}

pub(crate) fn known(answer: Answer) -> Arc<ContainerInfo> {
    let Answer::Known(info) = answer else { panic!("{answer:?}") };
    info
}

/// Checks that a daemon that hangs, ends and starts again is noticed each time.
pub(crate) fn outages(sockets: &[String], running: ContainerId, daemon: &mut Daemon) {
    let runtimes = client(sockets);
    assert_eq!(known(ask(&runtimes, running)).id, running);
    assert_eq!(ask(&runtimes, new_id()), Answer::Unknown);
    let hasty = client_that_waits(sockets, Duration::from_secs(5));
    daemon.freeze();
    assert_eq!(ask(&hasty, new_id()), Answer::Unreachable, "it hangs");
    daemon.signal(Signal::CONT);
    wait_for("answer after the daemon went on", || {
        (ask(&runtimes, new_id()) == Answer::Unknown).then_some(())
    });
    daemon.stop();
    assert_eq!(ask(&runtimes, new_id()), Answer::Unreachable, "it has ended");
    assert_eq!(known(ask(&runtimes, running)).id, running, "what was known stays known");
    daemon.start();
    wait_for("answer after the daemon's restart", || {
        (ask(&runtimes, new_id()) == Answer::Unknown).then_some(())
    });
    let fresh = client(sockets);
    assert_eq!(known(ask(&fresh, running)).id, running);
}

/// A folder, and all that goes when the test is over, however it ends.
pub(crate) struct Lab {
    folder: TempDir,
    cgroups_before: BTreeSet<PathBuf>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), cgroups_before: cgroups() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn socket(&self, protocol: &str, name: &str) -> String {
        format!("{protocol}:{}", self.text(name))
    }

    /// Makes a root folder whose only program is busybox.
    pub(crate) fn root_folder(&self, name: &str) -> PathBuf {
        let root = self.path(name);
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        root
    }

    /// An archive with [`IMAGE`], as `docker save` would make it, which all runtimes read. It is made once, however
    /// often runtimes are started in this folder.
    pub(crate) fn image(&self) -> PathBuf {
        let image = self.path("image.tar");
        if !image.exists() {
            self.make_image(&image);
        }
        image
    }

    fn make_image(&self, image: &Path) {
        let archive = self.path("image");
        fs::create_dir(&archive).unwrap();
        let root = self.root_folder("image-root");
        let layer = archive.join("layer.tar");
        run(program("tar").arg("-C").arg(root).arg("-cf").arg(&layer).arg("bin"));
        let hash = run(program("sha256sum").arg(&layer));
        let hash = hash.split(' ').next().unwrap();
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{hash}")] },
        });
        let manifest = serde_json::json!([
            { "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }
        ]);
        fs::write(archive.join("config.json"), config.to_string()).unwrap();
        fs::write(archive.join("manifest.json"), manifest.to_string()).unwrap();
        run(program("tar").arg("-C").arg(&archive).arg("-cf").arg(image).args([
            "manifest.json",
            "config.json",
            "layer.tar",
        ]));
    }

    /// A daemon that is told how to run by `configure` each time it is started.
    pub(crate) fn daemon(
        &self,
        name: &str,
        socket: &str,
        configure: impl Fn(&mut Command) + 'static,
    ) -> Daemon {
        let mut daemon = Daemon {
            name: name.to_owned(),
            socket: self.path(socket),
            log: self.path(&format!("{name}.log")),
            configure: Box::new(configure),
            process: None,
        };
        daemon.start();
        daemon
    }
}

impl Drop for Lab {
    /// Ends what names this folder on its command line (monitors and shims, which outlive daemons) or
    /// is in a control group that is new; then takes mounts and control groups away.
    fn drop(&mut self) {
        for _ in 0..100 {
            let new = self.new_cgroups();
            let processes: Vec<_> = new.iter().flat_map(|path| processes_in(path)).collect();
            let servants = processes_naming(self.folder.path());
            if processes.is_empty() && servants.is_empty() {
                break;
            }
            for pid in processes.into_iter().chain(servants) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(50));
        }
        for mount in mounts_under(self.folder.path()) {
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
        // The innermost first.
        for cgroup in self.new_cgroups().into_iter().rev() {
            drop(fs::remove_dir(cgroup));
        }
        let left: Vec<_> = self.new_cgroups();
        if !left.is_empty() {
            eprintln!("control groups could not be removed: {left:?}");
        }
    }
}

impl Lab {
    fn new_cgroups(&self) -> Vec<PathBuf> {
        cgroups().difference(&self.cgroups_before).cloned().collect()
    }
}

/// The roots of all hierarchies.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[2].starts_with("cgroup")).map(|fields| PathBuf::from(fields[1])).collect()
}

/// All control groups below [`CGROUPS`], outer ones before inner ones.
fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> =
        hierarchies().iter().flat_map(|root| CGROUPS.iter().map(move |name| root.join(name))).collect();
    while let Some(path) = open.pop() {
        let Ok(entries) = fs::read_dir(&path) else { continue };
        let entries = entries.filter_map(Result::ok);
        open.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        found.insert(path);
    }
    found
}

fn processes_in(cgroup: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

fn processes_naming(folder: &Path) -> Vec<Pid> {
    let folder = folder.to_str().unwrap();
    let names = |pid: &Pid| {
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(folder)
    };
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(names).collect()
}

/// Mount points below a folder, the latest first.
fn mounts_under(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut points: Vec<_> = points.filter(|point| point.starts_with(folder)).collect();
    points.reverse();
    points
}

/// A runtime's daemon, which ends with the test.
pub(crate) struct Daemon {
    name: String,
    socket: PathBuf,
    log: PathBuf,
    configure: Box<dyn Fn(&mut Command)>,
    process: Option<Child>,
}

impl Daemon {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(&mut self) {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
        let log = fs::File::create(&self.log).unwrap();
        let mut command = program(&self.name);
        (self.configure)(&mut command);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = command.spawn().unwrap();
        wait_for("listening daemon", || {
            let ended = process.try_wait().unwrap();
            let log = || fs::read_to_string(&self.log).unwrap();
            assert!(ended.is_none(), "{command:?}: {ended:?}\n{}", log());
            std::os::unix::net::UnixStream::connect(&self.socket).ok()
        });
        self.process = Some(process);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// Has it hang: when this returns, none of its threads runs any more.
    fn freeze(&self) {
        self.signal(Signal::STOP);
        let process = WaitId::Pid(Pid::from_child(self.process.as_ref().unwrap()));
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        wait_for("stop of the daemon", || waitid(process.clone(), options).unwrap());
    }

    /// Ends it as an administrator would.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut process = self.process.take().unwrap();
        wait_for("end of the daemon", || process.try_wait().unwrap());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = kill_process(Pid::from_child(&process), Signal::CONT);
            let _ = kill_process(Pid::from_child(&process), Signal::TERM);
            let start = Instant::now();
            while process.try_wait().is_ok_and(|ended| ended.is_none()) {
                if start.elapsed() > Duration::from_secs(15) {
                    drop(process.kill());
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("{} said:\n{}", self.name, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}
