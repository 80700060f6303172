//! Containers without a daemon.

use std::fs;

use procession_kube::{ContainerId, RuntimeFamily};

use super::{Lab, program, run};

pub(crate) const POD: &str = "pod6d3fd0a4-11a5-4d5c-8e0b-0f2b6a1c9e77";
const POD_SLICE: &str = "pod6d3fd0a4_11a5_4d5c_8e0b_0f2b6a1c9e77.slice";

/// Runs a command as a container in a control group, and returns the pid of its first process.
pub(crate) fn start(lab: &Lab, id: ContainerId, cgroup: &str, command: &[&str]) -> u32 {
    let name = format!("bundle-{}", id.short());
    lab.root_folder(&format!("{name}/rootfs"));
    let bundle = lab.path(&name);
    run(program("runc").current_dir(&bundle).arg("spec"));
    let config = bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = command.into();
    spec["linux"]["cgroupsPath"] = cgroup.into();
    fs::write(&config, spec.to_string()).unwrap();
    let pid_file = bundle.join("pid");
    let log = fs::File::create(bundle.join("log")).unwrap();
    let mut runc = program("runc");
    runc.arg("--root").arg(lab.path("runc")).args(["run", "--detach", "--pid-file"]).arg(&pid_file);
    runc.arg("--bundle").arg(&bundle).arg(id.as_str());
    // What a container writes to outlives the command, so it is a file.
    let status = runc.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
    assert!(status.success(), "{}", fs::read_to_string(bundle.join("log")).unwrap());
    fs::read_to_string(pid_file).unwrap().parse().unwrap()
}

/// What kubelets call the control groups of containers of each class of service, with both drivers and
/// each runtime; `<id>` stands for the container's id.
pub(crate) fn cgroups_of_kubelets() -> Vec<(String, RuntimeFamily)> {
    vec![
        (format!("/kubepods/besteffort/{POD}/<id>"), RuntimeFamily::Kubernetes),
        (format!("/kubepods/burstable/{POD}/<id>"), RuntimeFamily::Kubernetes),
        (format!("/kubepods/{POD}/<id>"), RuntimeFamily::Kubernetes),
        (format!("/kubepods/burstable/{POD}/crio-<id>"), RuntimeFamily::CriO),
        (slice("besteffort-", "cri-containerd-<id>.scope"), RuntimeFamily::Containerd),
        (slice("burstable-", "cri-containerd-<id>.scope"), RuntimeFamily::Containerd),
        (
            format!("/kubepods.slice/kubepods-{POD_SLICE}/cri-containerd-<id>.scope"),
            RuntimeFamily::Containerd,
        ),
        (slice("besteffort-", "crio-<id>.scope"), RuntimeFamily::CriO),
        (slice("burstable-", "docker-<id>.scope"), RuntimeFamily::Docker),
    ]
}

fn slice(class: &str, name: &str) -> String {
    let class_slice = format!("kubepods-{}.slice", class.trim_end_matches('-'));
    format!("/kubepods.slice/{class_slice}/kubepods-{class}{POD_SLICE}/{name}")
}
