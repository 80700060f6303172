//! Machines on which cgroup v2 is mounted beside the hierarchies of v1.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

const UNIFIED: &str = "/sys/fs/cgroup/unified";
const MEMORY: &str = "/sys/fs/cgroup/memory";

pub(crate) fn trials() -> Vec<Trial> {
    let is_hybrid = [UNIFIED, MEMORY].iter().all(|root| Path::new(root).join("cgroup.procs").exists());
    if !is_hybrid {
        // Not one that is ignored: CI runs those too.
        eprintln!("SKIPPED: hybrid: this machine has no cgroup v1 beside v2");
        return Vec::new();
    }
    vec![Trial::test("hybrid::a_container_in_v1_is_seen_whatever_its_place_in_v2", || {
        a_container_in_v1_is_seen_whatever_its_place_in_v2();
        Ok(())
    })]
}

/// A control group that is removed again.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(root: &str, name: &str) -> Self {
        let path = Path::new(root).join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn processes(&self) -> String {
        self.0.join("cgroup.procs").display().to_string()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What was in it has ended; a group that is left over is no reason to fail.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Some runtimes use only v1 there, and their containers stay in v2 where they were started.
fn a_container_in_v1_is_seen_whatever_its_place_in_v2() {
    let id = format!("{:064x}", std::process::id());
    let service = Cgroup::new(UNIFIED, &format!("procession-test-{}", std::process::id()));
    let container = Cgroup::new(MEMORY, &id);
    let (service, container) = (service.processes(), container.processes());
    for places in [vec![&service], vec![&container], vec![&service, &container]] {
        let moves: Vec<_> = places.iter().map(|place| format!("echo $$ > {place}; ")).collect();
        for source in ["ebpf", "connector"] {
            let mut watch = Command::new(crate::PROCESSION);
            watch.args(["watch", "--no-runtimes", "--exec", "--source", source, "--", "sh", "-c"]);
            // Long enough for the connector, which looks in /proc once it has heard of it.
            let output = watch.arg(format!("{}/bin/sleep 1.5", moves.concat())).output().unwrap();
            let lines = String::from_utf8(output.stdout).unwrap();
            let sleep =
                lines.lines().find(|line| line.contains("sleep 1.5") && !line.contains("sh -c")).unwrap();
            let is_in_container = sleep.contains(&format!("[{}] ", &id[..12]));
            assert_eq!(is_in_container, places.contains(&&container), "{source}: {lines}");
        }
    }
}
