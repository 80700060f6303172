//! What real runtimes write, what looks like it, and what nobody writes.

use proptest::prelude::*;

use super::{CgroupContainer, ContainerId, Containers, RuntimeFamily};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OUTER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const POD: &str = "pod6d3fd0a4-11a5-4d5c-8e0b-0f2b6a1c9e77";
const POD_SLICE: &str =
    "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6d3fd0a4_11a5_4d5c.slice";

/// A template's text, with `<id>`, `<outer>`, `<pod>` and `<pod.slice>` filled in.
fn fill(template: &str) -> String {
    template
        .replace("<id>", ID)
        .replace("<outer>", OUTER)
        .replace("<pod>", POD)
        .replace("<pod.slice>", POD_SLICE)
}

/// All containers of a path, innermost first: `<id>`, `<outer>`, or the id itself.
fn containers(path: &str) -> Vec<String> {
    let name = |found: CgroupContainer| found.id.to_string().replace(ID, "<id>").replace(OUTER, "<outer>");
    Containers::of_cgroup(path.as_bytes()).map(name).collect()
}

#[test]
fn containers_of_every_runtime_and_driver() {
    use RuntimeFamily::{Containerd, CriO, Docker, Kubernetes, Podman, Unknown};
    for (family, template) in [
        (Docker, "/docker/<id>"),
        (Docker, "/system.slice/docker-<id>.scope"),
        (Docker, "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<id>.scope"),
        (Docker, "/system.slice:docker:<id>"),
        (Docker, "/../../docker/<id>"),
        (Unknown, "/custom/parent/<id>"),
        (Unknown, "/ecs/5f2a6f9f5c1d4b7c8f3b2a1d0c9e8f7a/<id>"),
        (Unknown, "/lxc/<id>"),
        (Unknown, "/../<id>"),
        (Kubernetes, "/kubepods/besteffort/<pod>/<id>"),
        (Kubernetes, "/kubepods/burstable/<pod>/<id>"),
        (Kubernetes, "/kubepods/<pod>/<id>"),
        (Kubernetes, "/kubepods/burstable/pod0123456789abcdef0123456789abcdef/<id>"),
        (Kubernetes, "/<pod.slice>/<id>.scope"),
        (Kubernetes, "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1_2.slice/<id>.scope"),
        (Docker, "/<pod.slice>/docker-<id>.scope"),
        (Containerd, "/<pod.slice>/cri-containerd-<id>.scope"),
        (
            Containerd,
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1_2.slice/cri-containerd-<id>.scope",
        ),
        (Containerd, "/system.slice/containerd.service/kubepods-pod1_2.slice:cri-containerd:<id>"),
        (Containerd, "/system.slice/nerdctl-<id>.scope"),
        (CriO, "/<pod.slice>/crio-<id>.scope"),
        (CriO, "/<pod.slice>/crio-<id>.scope/container"),
        (CriO, "/kubepods/<pod>/crio-<id>"),
        (Podman, "/libpod_parent/libpod-<id>"),
        (Podman, "/libpod_parent/<outer>/libpod-<id>"),
        (Podman, "/custom/libpod-<id>"),
        (Podman, "/custom/<outer>/libpod-<id>"),
        (Podman, "/machine.slice/libpod-<id>.scope"),
        (Podman, "/machine.slice/libpod-<id>.scope/container"),
        (Podman, "/machine.slice/machine-libpod_pod_<outer>.slice/libpod-<id>.scope/container"),
        (Podman, "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container"),
        (
            Podman,
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_<outer>.slice/libpod-<id>.scope",
        ),
        (Podman, "/system.slice/app.service/libpod-payload-<id>"),
        (Unknown, "/k8s.io/<id>"),
        (Unknown, "/default/<id>"),
    ] {
        let path = fill(template);
        let found: Vec<_> = Containers::of_cgroup(path.as_bytes()).collect();
        let id = ContainerId::parse(ID.as_bytes()).unwrap();
        assert_eq!(found, [CgroupContainer { id, family }], "{template}");
    }
}

#[test]
fn what_a_container_makes_inside_belongs_to_it() {
    for template in [
        "/docker/<id>/init.scope",
        "/docker/<id>/system.slice/nginx.service",
        "/docker/<id>/user.slice/user-0.slice/session-1.scope",
        "/docker/<id>/libpod_parent/conmon",
        "/docker/<id>/conmon",
        "/kubepods/<pod>/<id>/conmon",
        "/docker/<id>/machine.slice/libpod-conmon-<outer>.scope",
        "/docker/<id>/kata_overhead/kubepods/burstable/<pod>/<outer>",
        "/docker/<id>/docker/buildkit/y0xq2qxp5n1u8p0bq7a1q5v3z",
        "/docker/<id>/system.slice/<outer>.service",
        "/docker/<id> (deleted)",
        "/docker/<id>/init.scope (deleted)",
        "/docker/<id>/syscont-cgroup-root/a/b",
        "/machine.slice/systemd-nspawn@web.service/payload/system.slice/docker-<id>.scope",
        "/lxc.payload.web/docker/<id>",
        "/docker/<id>/",
        "/docker/<id>//a",
    ] {
        assert_eq!(containers(&fill(template)), ["<id>"], "{template}");
    }
}

#[test]
fn a_container_in_a_container_comes_before_the_outer_one() {
    for template in [
        "/docker/<outer>/docker/<id>",
        "/kubepods/burstable/<pod>/<outer>/docker/<id>",
        "/kubepods/burstable/<pod>/<outer>/docker/<id>/init.scope",
        "/<pod.slice>/cri-containerd-<outer>.scope/docker/<id>",
        "/<pod.slice>/crio-<outer>.scope/container/system.slice/docker-<id>.scope",
        "/docker/<outer>/kubelet/kubepods/burstable/<pod>/<id>/child",
        "/docker/<outer>/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-containerd-<id>.scope",
        "/system.slice/docker-<outer>.scope/<pod.slice>/cri-containerd-<id>.scope",
        "/docker/<outer>/libpod_parent/libpod-<id>",
        "/docker/<outer>/libpod-<id>",
        "/kubepods/<pod>/<outer>/libpod-<id>",
        "/libpod_parent/libpod-<outer>/libpod_parent/libpod-<id>",
    ] {
        assert_eq!(containers(&fill(template)), ["<id>", "<outer>"], "{template}");
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
        "/system.slice/<id>-4f2ac1d97e0b3658.service",
        "/system.slice/var-lib-docker-containers-<id>-mounts-shm.mount",
        "/system.slice/containerd-shim-<id>.scope",
        "/system.slice/app.service/supervisor",
        "/machine.slice/libpod-conmon-<id>.scope",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-<id>.scope",
        "/system.slice/crio-conmon-<id>.scope",
        "/<pod.slice>/crio-conmon-<id>.scope",
        "/system.slice:crio-conmon:<id>",
        "/kubepods/<pod>/crio-conmon-<id>",
        "/kubepods/<pod>/containerd-shim-<id>",
        "/kubepods/<pod>/kata_<id>",
        "/kata_overhead/<id>",
        "/kata_overhead/kubepods/burstable/<pod>/<id>",
        "/kata_overhead/<pod.slice>/cri-containerd-<id>.scope",
        "/libpod_parent/conmon",
        "/libpod_parent/libpod-<id>/conmon",
        "/libpod_parent/<id>/conmon",
        "/machine.slice/machine-libpod_pod_<id>.slice",
        "/machine.slice/machine-<id>.scope",
        "/machine.slice/machine-<id>.scope/payload/init.scope",
        "/machine.slice/systemd-nspawn@<id>.service/payload",
        "/lxc.payload.<id>",
        "/lxc.monitor.<id>",
        "/kubepods/burstable/<pod>",
        "/k8s.io/busybox",
        "/docker/buildkit/y0xq2qxp5n1u8p0bq7a1q5v3z",
        "/buildkit/y0xq2qxp5n1u8p0bq7a1q5v3z",
        // Prefixes of an id, and hex of other lengths.
        "/docker/0123456789abcdef",
        "/docker/0123456789abcdef0123456789abcde",
        "/docker/0123456789abcdef0123456789abcdef",
        "/docker/<id><id>",
        "/docker/x<id>",
        "/docker/<id>.slice",
        "/system.slice/docker-<id>.scope.d",
        &format!("/docker/{not_hex}"),
        &format!("/docker/{upper_case}"),
        &format!("/docker/{too_long}"),
        &format!("/docker/a{ID}"),
    ] {
        assert_eq!(containers(&fill(template)), [""; 0], "{template}");
    }
}

#[test]
fn of_all_hierarchies_the_one_that_tells_most_decides() {
    for (text, expected) in [
        // cgroup v2.
        ("0::/<pod.slice>/crio-<id>.scope\n", &["<id>"][..]),
        // v1: a controller that the runtime does not use.
        ("11:rdma:/\n5:name=systemd:/kubepods/<pod>/<id>\n4:memory:/kubepods/<pod>/<id>\n", &["<id>"]),
        // Hybrid: the runtime does not use v2, and systemd has its own service there.
        (
            "4:memory:/docker/<id>\n1:name=systemd:/docker/<id>\n0::/system.slice/containerd.service\n",
            &["<id>"],
        ),
        // Hybrid: the runtime uses v2 only.
        ("4:memory:/\n1:name=systemd:/\n0::/docker/<id>\n", &["<id>"]),
        // A runtime in a container, which has only some controllers.
        ("4:memory:/docker/<outer>/docker/<id>\n3:cpuset:/docker/<outer>\n", &["<id>", "<outer>"]),
        ("3:cpuset:/docker/<outer>\n4:memory:/docker/<outer>/docker/<id>\n", &["<id>", "<outer>"]),
        // Where they contradict each other, the first.
        ("4:memory:/docker/<id>\n3:cpuset:/docker/<outer>\n", &["<id>"]),
        // Names may hold colons.
        ("0::/system.slice:docker:<id>\n", &["<id>"]),
        ("0::/init.scope\n", &[]),
        ("<id>\n:<id>\n\n", &[]),
        ("", &[]),
    ] {
        let text = fill(text);
        let found = Containers::of_proc_cgroup(text.as_bytes()).map(|found| found.id.to_string());
        let found: Vec<_> = found.map(|id| id.replace(ID, "<id>").replace(OUTER, "<outer>")).collect();
        assert_eq!(found, expected, "{text}");
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
    fn any_bytes_give_ids_of_64_hex_digits_or_none(path: Vec<u8>) {
        check_form(&path)?;
    }

    #[test]
    fn any_names_like_a_runtimes_give_ids_of_64_hex_digits_or_none(
        path in "((/|[0-9]:[a-z]?:/|\n)(docker|libpod|crio|conmon|pod1)?[-:]?(conmon-?)?([0-9a-fA-Fg]{60,66}|[0-9a-f]{64})?(\\.scope|\\.service)?){0,6}( \\(deleted\\))?"
    ) {
        check_form(path.as_bytes())?;
    }

    #[test]
    fn the_first_of_all_is_the_one(path in "(/(docker|libpod-|crio-)?/?[0-9a-f]{64}(\\.scope)?){0,4}") {
        let all: Vec<_> = Containers::of_cgroup(path.as_bytes()).map(|found| found.id).collect();
        prop_assert_eq!(ContainerId::of_cgroup(path.as_bytes()), all.first().copied());
    }
}

fn check_form(path: &[u8]) -> Result<(), TestCaseError> {
    for found in Containers::of_cgroup(path).chain(Containers::of_proc_cgroup(path)) {
        let id = found.id;
        let is_hex = |digit: u8| digit.is_ascii_hexdigit() && !digit.is_ascii_uppercase();
        prop_assert!(id.as_str().len() == 64 && id.as_str().bytes().all(is_hex));
        prop_assert!(path.windows(64).any(|part| part == id.as_str().as_bytes()));
    }
    Ok(())
}
