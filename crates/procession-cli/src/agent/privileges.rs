//! Which of root's rights the agent gives up, and when.
//!
//! In two steps. At the start goes what neither the start nor the work needs, above all the right to pass
//! over the permissions of files: what cannot be written later cannot be written from the beginning, and
//! that is told at once. When the programs are attached goes what only that needed.
//!
//! Capabilities belong to threads, and a thread has those of the one that starts it. So both steps are
//! taken before there is another thread.

use std::{fs, io};

use anyhow::{Context as _, anyhow};
use procession_agent::privileges::held;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior, umask};
use rustix::system::uname;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::config::AgentConfig;

/// Files that are made are the owner's alone, unless somebody says otherwise of one.
const UMASK: Mode = Mode::RWXG.union(Mode::RWXO);

/// What the work needs: `/proc` of other users' processes.
const TO_WORK: CapabilitySet = CapabilitySet::SYS_PTRACE;

/// What the start needs besides: to load and attach the programs, to mount the file system for their pins
/// where there is none, to hear the kernel's notices (before Linux 6.6), and to give up the rest for good.
const TO_START: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::SETPCAP);

/// From this Linux on, whoever has a map open may look into it, whatever `unprivileged_bpf_disabled` says.
const OPEN_MAPS_ARE_READABLE: (u32, u32) = (5, 19);

/// What an agent keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Privileges {
    to_work: CapabilitySet,
    keeps_all: bool,
    /// It could have opened every file before.
    was_above_permissions: bool,
    is_root: bool,
}

impl Privileges {
    /// The first step, before anything is opened.
    pub(super) fn begin(config: &AgentConfig) -> anyhow::Result<Self> {
        umask(UMASK);
        let before = capabilities(None).context("cannot find out the capabilities")?.effective;
        let privileges = Self {
            to_work: to_work(config, uname().release().to_str().unwrap_or_default(), is_bpf_restricted()),
            keeps_all: config.keeps_privileges,
            was_above_permissions: before.contains(CapabilitySet::DAC_OVERRIDE),
            is_root: geteuid().is_root(),
        };
        if !privileges.keeps_all {
            // What the agent has in memory are the arguments of all users' processes.
            set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot forbid core dumps")?;
            set_no_new_privs(true).context("cannot refuse new privileges")?;
            keep_only(TO_START | privileges.to_work);
        }
        Ok(privileges)
    }

    /// The second step, when the source is open.
    pub(super) fn settle(self) {
        if !self.keeps_all {
            keep_only(self.to_work);
        }
        let held = match held() {
            none if none.is_empty() => "none".to_owned(),
            some => some.join(", "),
        };
        if self.keeps_all {
            tracing::warn!("no privileges are given up, as `keep-privileges` says; capabilities: {held}");
        } else {
            tracing::info!("capabilities from here on: {held}");
        }
    }

    /// Adds to the error of a start what this has to do with it.
    pub(super) fn explain(self, error: anyhow::Error) -> anyhow::Error {
        let is_refusal = |cause: &(dyn std::error::Error + 'static)| {
            let error = cause.downcast_ref::<io::Error>();
            // What system calls want of capabilities is another matter, and another number.
            let is_capability = |error: &io::Error| error.raw_os_error() == Some(Errno::PERM.raw_os_error());
            error.is_some_and(|it| it.kind() == io::ErrorKind::PermissionDenied && !is_capability(it))
        };
        if !error.chain().any(is_refusal) {
            return error;
        }
        let advice = match self {
            Self { is_root: false, .. } => {
                "the agent is root's: start it with `sudo`, or by `systemctl start procession`. Without root it \
                 works too, but sees less, and wants places that are yours: set `server-address`, `journal-dir` \
                 and `export-filename`"
            }
            Self { keeps_all: false, was_above_permissions: true, .. } => {
                "permissions of files count for the agent, though root starts it: give the file to root, or set \
                 `keep-privileges`"
            }
            _ => return error,
        };
        anyhow!("{error:#}; {advice}")
    }
}

/// What an agent needs all the time on a kernel of this release.
fn to_work(config: &AgentConfig, release: &str, is_bpf_restricted: bool) -> CapabilitySet {
    let mut needed = TO_WORK;
    needed.set(CapabilitySet::NET_BIND_SERVICE, has_low_port(config));
    // Of a release that cannot be read the worst is assumed.
    let are_maps_readable = version(release).is_some_and(|version| version >= OPEN_MAPS_ARE_READABLE);
    needed.set(CapabilitySet::BPF, is_bpf_restricted && !are_maps_readable);
    needed
}

/// Whether an address has a port that only the privileged may take.
fn has_low_port(config: &AgentConfig) -> bool {
    let server = config.server.addresses.iter().chain(&config.server.health_address);
    let addresses = server.chain(&config.metrics.address).filter(|address| !address.starts_with("unix:"));
    let mut ports = addresses.filter_map(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
    ports.any(|port| (1..1024).contains(&port))
}

/// Major and minor number.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether only the privileged may use bpf(2).
fn is_bpf_restricted() -> bool {
    let text = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    text.map_or(true, |text| text.trim() != "0")
}

/// Where a sandbox does not let them be given up, the agent works with what the sandbox admits.
fn keep_only(kept: CapabilitySet) {
    if let Err(error) = restrict(kept) {
        tracing::warn!(
            %error,
            "capabilities cannot be given up: the agent holds more than it needs; a filter of system calls \
             should admit capset(2)"
        );
    }
}

/// Gives up what is not in `kept`, in this thread and those that it starts. What can be given up is, whatever
/// else cannot: the first error.
fn restrict(kept: CapabilitySet) -> io::Result<()> {
    let of_programs = restrict_programs(kept);
    let kept = capabilities(None)?.permitted & kept;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    let own = set_capabilities(None, sets).map_err(io::Error::from);
    of_programs.and(own)
}

/// The same of what programs could have that are started.
fn restrict_programs(kept: CapabilitySet) -> io::Result<()> {
    // Without CAP_SETPCAP, as under a service manager that withholds it, the bounding set stays. Then it is
    // the refusal of new privileges alone that keeps a program that is started from having more.
    if capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        for capability in in_bounding_set().filter(|capability| !kept.contains(*capability)) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    Ok(clear_ambient_capability_set()?)
}

/// Also those that we have no name for.
fn in_bounding_set() -> impl Iterator<Item = CapabilitySet> {
    let each = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    each.filter(|capability| capability_is_in_bounding_set(*capability).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    const NEW: &str = "6.1.0-18-amd64";

    #[test]
    fn only_permissions_of_files_are_explained_by_what_was_given_up() {
        let privileges =
            Privileges { to_work: TO_WORK, keeps_all: false, was_above_permissions: true, is_root: true };
        for (errno, is_explained) in [(Errno::ACCESS, true), (Errno::PERM, false), (Errno::NOENT, false)] {
            let error = anyhow::Error::from(io::Error::from(errno)).context("cannot start");
            let text = format!("{:#}", privileges.explain(error));
            assert_eq!(text.contains("keep-privileges"), is_explained, "{text}");
        }
        let wrapped = io::Error::new(io::ErrorKind::PermissionDenied, "cannot make the directory");
        assert!(format!("{:#}", privileges.explain(wrapped.into())).contains("keep-privileges"));
    }

    #[test]
    fn who_is_not_root_is_told_that_the_agent_is_roots() {
        for keeps_all in [false, true] {
            let privileges =
                Privileges { to_work: TO_WORK, keeps_all, was_above_permissions: false, is_root: false };
            let error = anyhow::Error::from(io::Error::from(Errno::ACCESS)).context("cannot open /run/x");
            let text = format!("{:#}", privileges.explain(error));
            assert!(text.starts_with("cannot open /run/x: Permission denied"), "{text}");
            assert!(text.contains("sudo") && text.contains("`server-address`"), "{text}");
            let other = format!("{:#}", privileges.explain(io::Error::from(Errno::NOSPC).into()));
            assert!(!other.contains("sudo"), "{other}");
        }
        let root =
            Privileges { to_work: TO_WORK, keeps_all: true, was_above_permissions: true, is_root: true };
        let text = format!("{:#}", root.explain(io::Error::from(Errno::ACCESS).into()));
        assert!(!text.contains("sudo") && !text.contains("keep-privileges"), "{text}");
    }

    #[test]
    fn versions_are_read_off_releases() {
        for (release, expected) in [
            ("6.18.44-fc", Some((6, 18))),
            ("5.4.0-187-generic", Some((5, 4))),
            ("5.19", Some((5, 19))),
            ("5.10-rc1", Some((5, 10))),
            ("6", None),
            ("six.1", None),
            ("", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn maps_of_old_kernels_need_a_capability() {
        let config = config(&[]);
        for (release, is_restricted, needs) in [
            (NEW, true, false),
            (NEW, false, false),
            ("5.18.0", true, true),
            ("5.18.0", false, false),
            ("5.19.0", true, false),
            ("unknown", true, true),
        ] {
            let needed = to_work(&config, release, is_restricted);
            assert_eq!(needed.contains(CapabilitySet::BPF), needs, "{release} {is_restricted}");
            assert!(needed.contains(TO_WORK));
        }
    }

    #[test]
    fn low_ports_need_a_capability() {
        for (options, needs) in [
            (&["--server-address=:443"][..], true),
            (&["--server-address=[::1]:1023"], true),
            (&["--metrics-server=localhost:80"], true),
            (&["--health-server-address=:1"], true),
            (&["--server-address=:1024", "--metrics-server=:2112"], false),
            (&["--server-address=localhost"], false),
            (&["--metrics-server=:0"], false),
            (&["--server-address=unix:///run/a:80"], false),
        ] {
            let needed = to_work(&config(options), NEW, true);
            assert_eq!(needed.contains(CapabilitySet::NET_BIND_SERVICE), needs, "{options:?}");
        }
    }
}
