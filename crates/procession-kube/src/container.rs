//! Container ids, and how runtimes write them into the names of control groups.
//!
//! | runtime, cgroup driver | path |
//! |---|---|
//! | docker, cgroupfs | `/docker/<id>` |
//! | docker, systemd | `/system.slice/docker-<id>.scope` |
//! | Kubernetes, cgroupfs | `/kubepods/burstable/pod<uid>/<id>` |
//! | containerd, systemd | `/kubepods.slice/…-pod<uid>.slice/cri-containerd-<id>.scope` |
//! | CRI-O, cgroupfs | `/kubepods/burstable/pod<uid>/crio-<id>` |
//! | CRI-O, systemd | `/kubepods.slice/…-pod<uid>.slice/crio-<id>.scope` |
//! | podman, cgroupfs | `/libpod_parent/libpod-<id>` |
//! | podman, systemd | `/machine.slice/libpod-<id>.scope/container` |
//! | runc given a systemd name, cgroupfs | `/….slice:cri-containerd:<id>` |
//!
//! Above these may stand the control group of another container, in which the runtime itself runs;
//! below them may be some that the container made for itself. cgroup v1 and v2 have the same paths.
//!
//! An id is accepted for its form, 64 hex digits, and never for its length alone. Still, a name is a
//! claim: whoever may make control groups chooses it. A runtime (`Runtimes`) can confirm
//! it.

use std::fmt;
use std::iter::FusedIterator;

use memchr::{memmem, memrchr};
use procession::Process;

/// The id that a runtime gave a container.
///
/// Every id is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId([u8; ContainerId::LEN]);

impl ContainerId {
    /// Digits in an id.
    pub const LEN: usize = 64;
    const SHORT_LEN: usize = 12;
    const WIRE_LEN: usize = 31;

    /// Reads an id. `None`: `hex` is not 64 lower-case hex digits.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let digits: [u8; Self::LEN] = hex.try_into().ok()?;
        let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        // Without an early end the compiler takes many at once.
        digits.iter().fold(true, |all, digit| all & is_hex(digit)).then_some(Self(digits))
    }

    /// The container that the processes of a control group belong to. `None`: the host.
    ///
    /// The innermost name that carries an id decides. So control groups that a container makes
    /// inside its own belong to it, and a container in a container is told from the outer one,
    /// which [`Containers`] has too.
    pub fn of_cgroup(path: &[u8]) -> Option<Self> {
        Containers::of_cgroup(path).next().map(|container| container.id)
    }

    /// The container that a process runs in. `None`: the host, or its control group is unknown.
    pub fn of_process(process: &Process) -> Option<Self> {
        CgroupContainer::of_process(process).map(|container| container.id)
    }

    /// The whole id.
    #[expect(clippy::missing_panics_doc, reason = "every id is made of ASCII digits")]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hex digits are ASCII")
    }

    /// The first 12 digits: what `docker ps` shows to people.
    pub fn short(&self) -> &str {
        &self.as_str()[..Self::SHORT_LEN]
    }

    /// The first 31 digits: what the reference system puts in its `docker` field, whose kernel
    /// side has room for no more.
    pub fn wire(&self) -> &str {
        &self.as_str()[..Self::WIRE_LEN]
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContainerId").field(&self.as_str()).finish()
    }
}

impl From<ContainerId> for CgroupContainer {
    /// A container of which nothing but the id is known.
    fn from(id: ContainerId) -> Self {
        Self { id, family: RuntimeFamily::Unknown }
    }
}

/// A container that the path of a control group names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CgroupContainer {
    /// Its id.
    pub id: ContainerId,
    /// Who seems to have made it.
    pub family: RuntimeFamily,
}

impl CgroupContainer {
    /// The container that a process runs in. `None`: the host, or its control group is unknown.
    pub fn of_process(process: &Process) -> Option<Self> {
        Containers::of_cgroup(process.image.as_ref()?.cgroup_path()).next()
    }
}

/// What a path tells of the runtime that made a container.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RuntimeFamily {
    /// containerd: `cri-containerd-<id>.scope`.
    Containerd,
    /// CRI-O: `crio-<id>`.
    CriO,
    /// docker: `docker-<id>.scope`, `/docker/<id>`.
    Docker,
    /// podman: `libpod-<id>`.
    Podman,
    /// Some runtime of a kubelet: `/pod<uid>/<id>`.
    Kubernetes,
    /// Nothing.
    Unknown,
}

/// The containers that the processes of a control group belong to, from the innermost outwards.
///
/// ```
/// use procession_kube::Containers;
///
/// let (outer, inner) = ("a".repeat(64), "b".repeat(64));
/// let path = format!("/docker/{outer}/kubepods/pod1/{inner}/init.scope");
///
/// let ids: Vec<_> = Containers::of_cgroup(path.as_bytes()).map(|found| found.id.to_string()).collect();
/// assert_eq!(ids, [inner, outer]);
/// ```
#[derive(Clone, Debug)]
pub struct Containers<'a> {
    /// The names that were not looked at yet.
    rest: &'a [u8],
    /// Whether the name just below was one that podman gives.
    is_above_podman: bool,
}

impl<'a> Containers<'a> {
    /// Reads the path of one control group, as the kernel or a line of `/proc/PID/cgroup` has it.
    pub fn of_cgroup(path: &'a [u8]) -> Self {
        // The kernel's mark on the control group of a zombie, after its directory went.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        Self { rest: outside_overhead(path), is_above_podman: false }
    }

    /// Reads a whole `/proc/PID/cgroup`, with one line for each hierarchy.
    ///
    /// Of the hierarchies the one that names the most containers decides, and of equal ones the
    /// first: not every runtime uses every hierarchy of cgroup v1 or of the hybrid form, and a
    /// runtime in a container may see only some.
    pub fn of_proc_cgroup(text: &'a [u8]) -> Self {
        let paths =
            text.split(|byte| *byte == b'\n').filter_map(|line| line.splitn(3, |b| *b == b':').nth(2));
        let deepest = paths.rev().max_by_key(|path| Self::of_cgroup(path).count());
        Self::of_cgroup(deepest.unwrap_or_default())
    }

    fn next_name(&mut self) -> Option<&'a [u8]> {
        let name = last_name(self.rest)?;
        let above = self.rest.len() - name.len();
        self.rest = &self.rest[..above.saturating_sub(1)];
        Some(name)
    }

    /// The container that `name` stands for, given the names around it.
    fn container(&self, name: &[u8]) -> Option<CgroupContainer> {
        let (label, id) = parse_name(name)?;
        let above = last_name(self.rest).unwrap_or_default();
        let family = match label {
            b"" if above == b"docker" => RuntimeFamily::Docker,
            b"" if above.starts_with(b"pod") || is_pod_slice(above) => RuntimeFamily::Kubernetes,
            // A pod of podman: its containers and monitors are below.
            b"" if self.is_above_podman => return None,
            b"docker" => RuntimeFamily::Docker,
            b"cri-containerd" | b"nerdctl" => RuntimeFamily::Containerd,
            b"crio" => RuntimeFamily::CriO,
            b"libpod" | b"libpod-payload" => RuntimeFamily::Podman,
            label if is_on_the_host(label) => return None,
            _ => RuntimeFamily::Unknown,
        };
        Some(CgroupContainer { id, family })
    }
}

impl Iterator for Containers<'_> {
    type Item = CgroupContainer;

    fn next(&mut self) -> Option<CgroupContainer> {
        while let Some(name) = self.next_name() {
            let found = self.container(name);
            let is_podman = found.is_some_and(|found| found.family == RuntimeFamily::Podman);
            let is_monitor = name == b"conmon";
            if is_monitor && last_name(self.rest).is_some_and(|above| above.starts_with(b"libpod")) {
                // What it watches, or the root of all that podman runs.
                self.next_name();
            }
            self.is_above_podman = is_podman || is_monitor;
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl FusedIterator for Containers<'_> {}

/// The part of a path above `kata_overhead`, where Kata keeps what runs virtual machines on the host:
/// below it stand the paths of the containers that run in them.
fn outside_overhead(path: &[u8]) -> &[u8] {
    memmem::find(path, b"/kata_overhead/").map_or(path, |at| &path[..at])
}

/// What follows the last `/`. `None`: the path is used up.
fn last_name(path: &[u8]) -> Option<&[u8]> {
    let start = memrchr(b'/', path).map_or(0, |slash| slash + 1);
    (!path.is_empty()).then(|| &path[start..])
}

/// The id in one name, and what stands before it: `<id>`, `<label>-<id>` or
/// `<slice>:<label>:<id>`, perhaps as a systemd scope.
///
/// A `.service` has none, whatever its name: podman runs its health checks, which are host
/// processes, in services that are named after the container.
fn parse_name(name: &[u8]) -> Option<(&[u8], ContainerId)> {
    let name = name.strip_suffix(b".scope").unwrap_or(name);
    let (before, id) = name.split_at_checked(name.len().checked_sub(ContainerId::LEN)?)?;
    let label = match before {
        [] => before,
        [label @ .., b'-' | b':'] => label.rsplit(|byte| *byte == b':').next()?,
        _ => return None,
    };
    Some((label, ContainerId::parse(id)?))
}

/// Whether a name is that of a pod's slice: `kubepods-burstable-pod<uid>.slice`, perhaps with the
/// kubelet's own slice before it.
fn is_pod_slice(name: &[u8]) -> bool {
    let kubepods = b"kubepods";
    name.ends_with(b".slice") && name.windows(kubepods.len()).any(|part| part == kubepods)
}

/// Whether the processes below a name that carries an id run on the host nevertheless: those that
/// watch a container (`crio-conmon`, `libpod-conmon`, `containerd-shim`), and what systemd-machined
/// calls a machine, whose name may be any.
fn is_on_the_host(label: &[u8]) -> bool {
    label.ends_with(b"conmon") || label.ends_with(b"shim") || label == b"machine"
}

#[cfg(test)]
mod tests;
