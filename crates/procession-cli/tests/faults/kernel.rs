//! A kernel that refuses, and file systems of it that are missing: what is missing is told, and what can still be
//! done is done.

use std::path::Path;
use std::process::Command;

use crate::agent::{Agent, Setup, run_marked};
use crate::site::{Site, end, without};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 10] = [
    ("kernel::no_right_to_bpf", Needs::Installed(|| without("setpriv")), no_right_to_bpf),
    ("kernel::bpf_is_refused_by_seccomp", Needs::Installed(|| without("perl")), bpf_is_refused_by_seccomp),
    (
        "kernel::attaching_is_refused_by_seccomp",
        Needs::Installed(|| without("perl")),
        attaching_is_refused_by_seccomp,
    ),
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
    sees_what_runs(&agent);
    says(agent, words)
}

fn sees_what_runs(agent: &Agent) {
    run_marked("seen", 20);
    // A source that looks now and then misses what is short.
    let long = Command::new("sleep").args(["1.5", "0.25"]).status().unwrap();
    assert!(long.success());
    agent.wait_for_export("1.5 0.25");
}

/// It ends, and has said these words.
fn says(agent: Agent, words: &[&str]) -> String {
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

/// Instructions of a filter of system calls, as seccomp(2) has them: code, how many to pass over if it is so and if
/// it is not, operand.
type Filter = [[u32; 4]];

const LOAD: u32 = 0x20;
const IS: u32 = 0x15;
const RETURN: u32 = 0x06;
const ALLOWED: u32 = 0x7fff_0000;
/// EPERM.
const REFUSED: u32 = 0x0005_0001;
/// Where the number of the call and its first argument are.
const CALL: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;
/// bpf(2), and what it is asked for when a program is attached.
const BPF: u32 = 321;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const LINK_CREATE: u32 = 28;

const NO_BPF: [[u32; 4]; 4] =
    [[LOAD, 0, 0, CALL], [IS, 0, 1, BPF], [RETURN, 0, 0, REFUSED], [RETURN, 0, 0, ALLOWED]];

const NO_ATTACH: [[u32; 4]; 7] = [
    [LOAD, 0, 0, CALL],
    [IS, 0, 3, BPF],
    [LOAD, 0, 0, FIRST_ARGUMENT],
    [IS, 2, 0, RAW_TRACEPOINT_OPEN],
    [IS, 1, 0, LINK_CREATE],
    [RETURN, 0, 0, ALLOWED],
    [RETURN, 0, 0, REFUSED],
];

/// Started under a filter, put there by a language that can.
fn under(filter: &Filter, setup: Setup) -> Setup {
    let length = filter.len();
    let words: Vec<_> = filter.iter().flatten().map(u32::to_string).collect();
    let script = format!(
        "my $f = pack('SCCL' x {length}, {}); my $p = pack('S x6 P', {length}, $f); \
         syscall(157, 38, 1, 0, 0, 0) == 0 or die; syscall(157, 22, 2, $p) == 0 or die \"$!\"; exec @ARGV",
        words.join(", ")
    );
    setup.by(&["perl", "-e", &script])
}

/// bpf(2) fails with EPERM, whatever it is asked for.
fn bpf_is_refused_by_seccomp() {
    let words = ["cannot use eBPF: not permitted", "create the maps", "seccomp", "observing with"];
    falls_back(&|setup| under(&NO_BPF, setup), &words);
    // What an agent before has left goes on for the next that can read it, and is not this one's.
    let site = Site::new();
    end(site.setup().start());
    check_no_pins_are_said(&works_and_says(under(&NO_BPF, site.setup()), &words));
    let said = end(site.setup().start());
    assert!(said.contains("going on from the journal") && said.contains("observing with eBPF"), "{said}");
}

/// The programs are loaded, and then each of them is refused its place.
fn attaching_is_refused_by_seccomp() {
    let words = ["cannot use eBPF: not permitted", "to attach `on_exec`", "seccomp", "observing with"];
    falls_back(&|setup| under(&NO_ATTACH, setup), &words);
}

/// Wherever the programs were to stay, another source observes. Of what was begun nothing is left, nor is that said.
fn falls_back(refused: &dyn Fn(Setup) -> Setup, words: &[&str]) {
    let site = Site::new();
    let said = works_and_says(refused(site.setup()), words);
    assert!(!site.pins().exists(), "{said}");
    check_no_pins_are_said(&said);

    let site = Site::new();
    let agent = within(refused(site.setup_without_pins()), "true").start();
    sees_what_runs(&agent);
    let usual = format!("/proc/{}/root/sys/fs/bpf", agent.pid());
    assert!(Path::new(&usual).exists() && !Path::new(&usual).join("procession").exists());
    check_no_pins_are_said(&says(agent, words));
}

fn check_no_pins_are_said(said: &str) {
    assert!(!said.contains("eBPF programs"), "neither that they stay nor that they cannot: {said}");
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
