//! Namespaces of their own for tests.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::FOLDERS;

// Programs that tests need; their image is made of `busybox`.
pub(crate) const CONTAINERD: &[&str] = &["busybox", "containerd", "ctr", "runc"];
pub(crate) const DOCKER: &[&str] = &["busybox", "docker", "dockerd", "runc"];
pub(crate) const PODMAN: &[&str] = &["busybox", "conmon", "podman", "runc"];
pub(crate) const RUNC: &[&str] = &["busybox", "runc"];

/// Set for tests that run in namespaces of their own.
const APART: &str = "PROCESSION_TEST_APART";

/// Hides where runtimes leave things, whatever they are told, and goes on.
const HIDE: &str = r#"
for folder in /run /dev/shm /etc/docker /etc/cni/net.d /var/lib/containers; do
    [ ! -d $folder ] || mount -n -t tmpfs tmpfs $folder || exit
done
exec "$@"
"#;

/// Begins again in namespaces of its own: its mounts are seen by nobody else, and when it ends,
/// however that be, all its processes and then its mounts go. Returns where that is done or cannot be.
pub(crate) fn move_apart() {
    if env::var_os(APART).is_some() || missing(&[]).is_some() {
        return;
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    again.args(["--", "sh", "-c", HIDE, "sh"]).args(env::args_os()).env(APART, "1");
    panic!("{again:?}: {}", again.exec());
}

/// Why tests that need these programs cannot run. `None`: they can.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if !can_unshare() {
        return Some("needs namespaces of its own, which this root may not make".to_owned());
    }
    let is_missing = |program: &&&str| !FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists());
    let missing: Vec<_> = programs.iter().filter(is_missing).copied().collect();
    let text = format!("needs {}: run crates/procession-kube/tests/containers/install", missing.join(", "));
    (!missing.is_empty()).then_some(text)
}

/// Whether this process may make namespaces. It need not, once it is in some.
fn can_unshare() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "--pid", "--fork", "true"]).stderr(Stdio::null());
        env::var_os(APART).is_some() || probe.status().is_ok_and(|status| status.success())
    })
}
