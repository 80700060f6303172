//! A kernel that refuses, and file systems of it that are missing: what is missing is told, and what can still be
//! done is done.

use crate::agent::{Setup, run_marked};
use crate::site::{Site, end, without};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 9] = [
    ("kernel::no_right_to_bpf", Needs::Installed(|| without("setpriv")), no_right_to_bpf),
    ("kernel::bpf_is_refused_by_seccomp", Needs::Installed(|| without("perl")), bpf_is_refused_by_seccomp),
    ("kernel::no_locked_memory", Needs::Installed(|| without("prlimit")), no_locked_memory),
    ("kernel::no_types", Needs::Installed(|| without("unshare")), no_types),
    ("kernel::no_tracefs", Needs::Installed(|| without("unshare")), no_tracefs),
    ("kernel::no_place_for_pins", Needs::Installed(|| without("unshare")), no_place_for_pins),
    ("kernel::no_sys", Needs::Installed(|| without("unshare")), no_sys),
    ("kernel::hidden_processes", Needs::Installed(|| without("unshare")), hidden_processes),
    ("kernel::no_processes_at_all", Needs::Installed(|| without("unshare")), no_processes_at_all),
];

/// Started in mounts of its own, which `script` has changed; with a place for pins that goes with them.
fn within(setup: Setup, script: &str) -> Setup {
    let script = format!("mount -t bpf none /sys/fs/bpf && {script} && exec \"$@\"");
    setup.by(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
}

/// It starts, says these words, and sees what runs from then on.
fn works_and_says(setup: Setup, words: &[&str]) -> String {
    let agent = setup.start();
    run_marked("seen", 20);
    // A source that looks now and then misses what is short.
    let long = std::process::Command::new("sleep").args(["1.5", "0.25"]).status().unwrap();
    assert!(long.success());
    agent.wait_for_export("1.5 0.25");
    let said = end(agent);
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
    said
}

fn no_right_to_bpf() {
    let site = Site::new();
    let rights = "-bpf,-sys_admin,-perfmon";
    let by = ["setpriv", "--inh-caps", rights, "--bounding-set", rights];
    let setup = site.setup_without_pins().by(&by);
    works_and_says(setup, &["cannot use eBPF: not permitted", "CAP_BPF", "observing with"]);
}

/// bpf(2) fails with EPERM, whoever asks: a filter of three instructions, put there by a language that can.
fn bpf_is_refused_by_seccomp() {
    let site = Site::new();
    let script = "my $f = pack('SCCL' x 4, 0x20,0,0,0, 0x15,0,1,321, 0x06,0,0,0x00050001, 0x06,0,0,0x7fff0000); \
                  my $p = pack('S x6 P', 4, $f); \
                  syscall(157, 38, 1, 0, 0, 0) == 0 or die; syscall(157, 22, 2, $p) == 0 or die \"$!\"; exec @ARGV";
    let setup = site.setup_without_pins().by(&["perl", "-e", script]);
    works_and_says(setup, &["cannot use eBPF: not permitted", "seccomp", "observing with"]);
}

/// Since kernels count the memory of maps otherwise, this limit is of no consequence.
fn no_locked_memory() {
    let site = Site::new();
    let said = works_and_says(site.setup().by(&["prlimit", "--memlock=0:0"]), &["observing with eBPF"]);
    assert!(!said.contains("cannot"), "{said}");
}

fn no_types() {
    let site = Site::new();
    let setup = within(site.setup_without_pins(), "mount -t tmpfs none /sys/kernel/btf");
    works_and_says(
        setup,
        &["cannot use eBPF", "/sys/kernel/btf/vmlinux (needs CONFIG_DEBUG_INFO_BTF)", "observing with"],
    );
}

/// Nothing of it is needed.
fn no_tracefs() {
    let site = Site::new();
    let hide =
        "for at in /sys/kernel/tracing /sys/kernel/debug; do [ ! -d $at ] || mount -t tmpfs none $at; done";
    let said = works_and_says(within(site.setup_without_pins(), hide), &["observing with eBPF"]);
    assert!(!said.contains("cannot"), "{said}");
}

fn no_place_for_pins() {
    let site = Site::new();
    // Where there is no BPF file system at its usual place, the agent mounts one.
    let hide = "mount -t tmpfs none /sys/fs/bpf";
    let said = works_and_says(within(site.setup(), hide), &["observing with eBPF"]);
    assert!(!said.contains("cannot"), "{said}");
    // Who did not ask for pins is told that there are none.
    let hide = "mount -o remount,bind,ro /sys/fs/bpf";
    let words =
        ["the eBPF programs end with the agent, because they cannot be kept in", "observing with eBPF"];
    works_and_says(within(site.setup_without_pins(), hide), &words);
    // Who asked is refused.
    let (status, said) = within(site.setup(), hide).fail();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("cannot pin the eBPF programs"), "{said}");
}

fn no_sys() {
    let site = Site::new();
    let setup = within(site.setup_without_pins(), "umount -R -l /sys");
    works_and_says(setup, &["cannot use eBPF", "/sys/kernel/btf", "observing with"]);
}

/// Root sees all in spite of `hidepid`.
fn hidden_processes() {
    let site = Site::new();
    let setup = within(site.setup_without_pins(), "mount -t proc -o hidepid=2 proc /proc");
    works_and_says(setup, &["observing with eBPF"]);
    // What is no process is hidden then, such as which boot this is.
    let (status, said) = within(site.setup_without_pins(), "mount -t proc -o subset=pid proc /proc").fail();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("/proc"), "{said}");
}

fn no_processes_at_all() {
    let site = Site::new();
    let (status, said) = within(site.setup_without_pins(), "mount -t tmpfs none /proc").fail();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("/proc"), "{said}");
}
