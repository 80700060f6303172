//! Containers of runc, in control groups as the runtimes above it name them.

use std::fs;
use std::path::Path;
use std::process::Child;

use procession_kube::{ContainerId, RuntimeFamily};

use crate::lab::runc::POD;
use crate::lab::{self, Lab, container_of, containers_of, hierarchies, new_id, program};

pub(crate) fn containers_of_kubernetes() {
    let lab = Lab::new();
    let others = [
        ("/docker/<id>".to_owned(), RuntimeFamily::Docker),
        ("/system.slice/docker-<id>.scope".to_owned(), RuntimeFamily::Docker),
        ("/machine.slice/libpod-<id>.scope/container".to_owned(), RuntimeFamily::Podman),
        ("/procession-test/kubepods.slice:cri-containerd:<id>".to_owned(), RuntimeFamily::Containerd),
    ];
    for (cgroup, family) in lab::runc::cgroups_of_kubelets().into_iter().chain(others) {
        let id = new_id();
        let pid = start(&lab, id, &cgroup.replace("<id>", id.as_str()));
        let found = container_of(pid);
        assert_eq!((found.id, found.family), (id, family), "{cgroup}");
    }
}

fn start(lab: &Lab, id: ContainerId, cgroup: &str) -> u32 {
    lab::runc::start(lab, id, cgroup, &["/bin/sleep", "1000000"])
}

pub(crate) fn a_container_in_a_container() {
    let lab = Lab::new();
    let (outer, inner) = (new_id(), new_id());
    let outer_cgroup = format!("/kubepods/burstable/{POD}/{outer}");
    let outer_pid = start(&lab, outer, &outer_cgroup);
    let inner_pid = start(&lab, inner, &format!("{outer_cgroup}/docker/{inner}"));
    assert_eq!(container_of(outer_pid).id, outer);
    let ids: Vec<_> = containers_of(inner_pid).iter().map(|found| found.id).collect();
    assert_eq!(ids, [inner, outer]);
}

pub(crate) fn control_groups_inside() {
    let lab = Lab::new();
    let id = new_id();
    let cgroup = format!("/docker/{id}");
    let pid = start(&lab, id, &cgroup);
    for inside in ["init.scope", "system.slice/nginx.service", "libpod_parent/conmon"] {
        enter(&format!("{cgroup}/{inside}"), pid);
        assert_eq!(container_of(pid).id, id, "{inside}");
    }
}

pub(crate) fn a_monitor_is_on_the_host() {
    let _lab = Lab::new();
    let sleep = Sleeper::start();
    for template in [
        "/kubepods/burstable/POD/crio-conmon-<id>",
        "/kubepods.slice/kubepods-burstable.slice/crio-conmon-<id>.scope",
        "/machine.slice/libpod-conmon-<id>.scope",
        "/libpod_parent/<id>/conmon",
        "/kata_overhead/<id>",
        "/system.slice/docker-<id>.service",
        "/docker/0123456789abcdef0123456789abcdef",
    ] {
        enter(&template.replace("POD", POD).replace("<id>", new_id().as_str()), sleep.0.id());
        assert_eq!(containers_of(sleep.0.id()), [], "{template}");
    }
}

/// Moves a process into a control group of each hierarchy, made for it if need be.
///
/// Some controllers admit nobody before they are set up; those hierarchies are left out.
fn enter(cgroup: &str, pid: u32) {
    let enter = |root: &Path| {
        let folder = root.join(cgroup.trim_start_matches('/'));
        fs::create_dir_all(&folder).is_ok() && fs::write(folder.join("cgroup.procs"), pid.to_string()).is_ok()
    };
    let entered = hierarchies().iter().filter(|root| enter(root)).count();
    assert!(entered > 0, "{cgroup}");
}

/// A process of the host.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(program("busybox").args(["sleep", "1000000"]).spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
