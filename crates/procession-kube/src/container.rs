//! Container ids, and how runtimes write them into the names of control groups.
//!
//! | runtime, cgroup driver | path |
//! |---|---|
//! | docker, cgroupfs | `/docker/<id>` |
//! | docker, systemd | `/system.slice/docker-<id>.scope` |
//! | Kubernetes, cgroupfs | `/kubepods/burstable/pod<uid>/<id>` |
//! | containerd, systemd | `/kubepods.slice/…-pod<uid>.slice/cri-containerd-<id>.scope` |
//! | CRI-O, systemd | `/kubepods.slice/…-pod<uid>.slice/crio-<id>.scope` |
//! | podman, cgroupfs | `/libpod_parent/libpod-<id>` |
//! | podman, systemd | `/machine.slice/libpod-<id>.scope/container` |
//! | runc given a systemd name, cgroupfs | `/….slice:cri-containerd:<id>` |
//!
//! An id is accepted for its form, 64 hex digits, and never for its length alone.

use std::fmt;

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
        digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(digits))
    }

    /// The container that the processes of a control group belong to. `None`: the host.
    ///
    /// The innermost name that carries an id decides. So control groups that a container makes
    /// inside its own belong to it, and a container in a container is told from the outer one.
    pub fn of_cgroup(path: &[u8]) -> Option<Self> {
        // The kernel's mark on the control group of a zombie, after its directory went.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        let mut names = path.rsplit(|byte| *byte == b'/');
        while let Some(name) = names.next() {
            if name == b"conmon" {
                // Podman keeps its monitors here. An id in the name above is that of what they
                // watch, a container or a pod.
                names.next();
            } else if let Some(id) = Self::of_name(name) {
                return Some(id);
            }
        }
        None
    }

    /// The container that a process runs in. `None`: the host, or its control group is unknown.
    pub fn of_process(process: &Process) -> Option<Self> {
        Self::of_cgroup(process.image.as_ref()?.cgroup_path())
    }

    /// The id in one name of a path: `<id>` or `<runtime>-<id>`, perhaps a systemd scope.
    ///
    /// A `.service` is none, whatever its name: podman runs its health checks, which are host
    /// processes, in services that are named after the container.
    fn of_name(name: &[u8]) -> Option<Self> {
        let name = name.strip_suffix(b".scope").unwrap_or(name);
        let (runtime, id) = name.split_at_checked(name.len().checked_sub(Self::LEN)?)?;
        let is_container = match runtime {
            [] => true,
            [runtime @ .., b'-' | b':'] => !is_monitor(runtime),
            _ => false,
        };
        if is_container { Self::parse(id) } else { None }
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

/// Whether what stands before an id says that the processes watch the container from the host:
/// `crio-conmon`, `libpod-conmon`, `containerd-shim`.
fn is_monitor(runtime: &[u8]) -> bool {
    runtime.ends_with(b"conmon") || runtime.ends_with(b"shim")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ContainerId;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OUTER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const POD: &str = "pod6d3fd0a4-11a5-4d5c-8e0b-0f2b6a1c9e77";

    /// A template's text, with `<id>`, `<outer>` and `<pod>` filled in.
    fn path(template: &str) -> String {
        template.replace("<id>", ID).replace("<outer>", OUTER).replace("<pod>", POD)
    }

    #[test]
    fn containers_of_every_runtime_and_driver() {
        for template in [
            "/docker/<id>",
            "/system.slice/docker-<id>.scope",
            "/custom/parent/<id>",
            "/kubepods/besteffort/<pod>/<id>",
            "/kubepods/burstable/<pod>/<id>",
            "/kubepods/<pod>/<id>",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-<id>.scope",
            "/kubepods.slice/kubepods-pod1_2.slice/crio-<id>.scope",
            "/kubepods.slice/kubepods-pod1_2.slice/crio-<id>.scope/container",
            "/kubepods/<pod>/crio-<id>",
            "/system.slice/containerd.service/kubepods-pod1_2.slice:cri-containerd:<id>",
            "/libpod_parent/libpod-<id>",
            "/custom/libpod-<id>",
            "/machine.slice/libpod-<id>.scope",
            "/machine.slice/libpod-<id>.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container",
            "/system.slice/app.service/libpod-payload-<id>",
            "/k8s.io/<id>",
            "/../../docker/<id>",
        ] {
            let found = ContainerId::of_cgroup(path(template).as_bytes());
            assert_eq!(found.as_ref().map(ContainerId::as_str), Some(ID), "{template}");
        }
    }

    #[test]
    fn the_innermost_container_decides() {
        for template in [
            "/docker/<id>/init.scope",
            "/docker/<id>/system.slice/nginx.service",
            "/docker/<id>/libpod_parent/conmon",
            "/docker/<id> (deleted)",
            "/docker/<id>/syscont-cgroup-root/a/b",
            "/docker/<outer>/docker/<id>",
            "/docker/<outer>/kubelet/kubepods/burstable/<pod>/<id>/child",
        ] {
            let found = ContainerId::of_cgroup(path(template).as_bytes());
            assert_eq!(found.as_ref().map(ContainerId::as_str), Some(ID), "{template}");
        }
    }

    #[test]
    fn monitors_services_and_look_alikes_are_the_host() {
        let not_hex = "g".repeat(64);
        let upper_case = ID.to_uppercase();
        let too_long = format!("{ID}0");
        for template in [
            "",
            "/",
            "/init.scope",
            "/user.slice/user-0.slice/session-1.scope",
            "/system.slice/docker.service",
            "/system.slice/docker-<id>.service",
            "/system.slice/<id>.service",
            "/machine.slice/libpod-conmon-<id>.scope",
            "/kubepods.slice/kubepods-pod1_2.slice/crio-conmon-<id>.scope",
            "/kubepods/<pod>/crio-conmon-<id>",
            "/kubepods/<pod>/containerd-shim-<id>",
            "/libpod_parent/conmon",
            "/libpod_parent/libpod-<id>/conmon",
            "/libpod_parent/<id>/conmon",
            "/machine.slice/machine-libpod_pod_<id>.slice",
            "/kubepods/burstable/<pod>",
            "/docker/0123456789abcdef",
            &format!("/docker/{not_hex}"),
            &format!("/docker/{upper_case}"),
            &format!("/docker/{too_long}"),
            &format!("/docker/a{ID}"),
        ] {
            assert_eq!(ContainerId::of_cgroup(path(template).as_bytes()), None, "{template}");
        }
    }

    #[test]
    fn an_id_has_a_form_for_people_and_one_for_the_wire() {
        let id = ContainerId::parse(ID.as_bytes()).unwrap();
        assert_eq!(id.to_string(), ID);
        assert_eq!(id.short(), "0123456789ab");
        assert_eq!(id.wire(), "0123456789abcdef0123456789abcde");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_id_of_64_hex_digits_or_none(path: Vec<u8>) {
            check_form(&path)?;
        }

        #[test]
        fn any_names_like_a_runtimes_give_an_id_of_64_hex_digits_or_none(
            path in "(/(docker|libpod|crio)?[-:]?(conmon-?)?[0-9a-fA-Fg]{60,66}(\\.scope|\\.service)?){0,4}"
        ) {
            check_form(path.as_bytes())?;
        }
    }

    fn check_form(path: &[u8]) -> Result<(), TestCaseError> {
        if let Some(id) = ContainerId::of_cgroup(path) {
            prop_assert_eq!(id.as_str().len(), 64);
            prop_assert!(
                id.as_str().bytes().all(|digit| digit.is_ascii_hexdigit() && !digit.is_ascii_uppercase())
            );
        }
        Ok(())
    }
}
