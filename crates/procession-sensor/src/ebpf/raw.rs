//! The BPF object in the kernel: loaded, attached, and its maps opened. Bytes only; nothing here
//! knows what a record means.
//!
//! All that depends on the loader library is in this file.

use std::error::Error;
use std::io::{self, Read};
use std::iter;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::{MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, Iter, Program, ProgramError, ProgramFd};
use aya::util::{KernelVersion, nr_cpus};
use aya::{Btf, BtfError, Ebpf, EbpfLoader};

use crate::record::layout::stat;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/sensor.bpf.o");

/// Program and tracepoint, in the order in which they are attached: a process whose fork was seen
/// has all its execs and its exit seen too.
const HOOKS: [(&str, &str); 3] =
    [("on_exec", "sched_process_exec"), ("on_exit", "sched_process_exit"), ("on_fork", "sched_process_fork")];

const WALK: &str = "on_walk";

/// Program, kernel function, and what of a process changes there between two execs. The sensor works
/// without them: not every kernel lets programs be called by functions, and a function may be gone,
/// or have become part of another.
const CHANGES: [(&str, &str, &str); 4] = [
    ("on_credentials", "commit_creds", "credentials"),
    ("on_unshare", "ksys_unshare", "namespaces by unshare(2)"),
    ("on_setns", SETNS, "namespaces by setns(2)"),
    ("on_session", "ksys_setsid", "sessions"),
];

/// The entry of a system call has a name of its own on each architecture.
const SETNS: &str = if cfg!(target_arch = "aarch64") { "__arm64_sys_setns" } else { "__x64_sys_setns" };

/// The first kernel with all that the live programs use: task storage for tracepoints came last.
const OLDEST_KERNEL: KernelVersion = KernelVersion::new(5, 13, 0);

/// How many lines of the verifier's log an error keeps: its verdict stands at the end.
const VERDICT_LINES: usize = 8;

/// What can be chosen about the kernel side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawConfig {
    /// Size of the ring. Rounded up to a power of two of at least a page.
    pub(crate) ring_bytes: u32,
    /// The reader is woken when this many bytes wait; 0 wakes it for every record.
    pub(crate) wake_bytes: u32,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self { ring_bytes: 8 << 20, wake_bytes: 256 << 10 }
    }
}

/// Why the kernel side does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EbpfError {
    /// The kernel lacks what the programs use.
    #[error("Linux {major}.{minor} is too old: it needs Linux 5.13 or later")]
    TooOld {
        /// Of the running kernel.
        major: u32,
        /// Likewise.
        minor: u32,
    },
    /// The kernel was built without the types that programs are fitted to.
    #[error("read kernel types from /sys/kernel/btf/vmlinux (needs CONFIG_DEBUG_INFO_BTF)")]
    NoBtf(#[source] BtfError),
    /// The caller lacks a capability, or a lockdown forbids BPF.
    #[error("not permitted: it needs root, or CAP_BPF and CAP_PERFMON, to {operation} `{object}`")]
    NotPermitted {
        /// What was tried.
        operation: &'static str,
        /// On which map, program or object.
        object: &'static str,
    },
    /// The object does not fit this kernel, or its maps cannot be had.
    #[error("create the maps of BPF object `sensor.bpf.o`")]
    Object(#[source] Box<aya::EbpfError>),
    /// The verifier refused a program: the kernel is too old, or has changed.
    #[error("load BPF program `{program}`: refused by the kernel's verifier: {verdict}")]
    Refused {
        /// Name of the program.
        program: &'static str,
        /// The last lines of the verifier's log.
        verdict: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel has programs, but not at functions: its configuration or its policy forbids it.
    #[error("this kernel does not let BPF programs be called by its functions")]
    NoFunctions,
    /// Any other failure with one program.
    #[error("{operation} BPF program `{program}`")]
    Program {
        /// What was tried.
        operation: &'static str,
        /// Name of the program.
        program: &'static str,
        /// What the system said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map of the object cannot be used.
    #[error("open BPF map `{map}`")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What the system said.
        #[source]
        source: Box<MapError>,
    },
    /// How many CPUs there can be is not known, so neither is how many buffers are needed.
    #[error("read the number of CPUs from {path}")]
    Cpus {
        /// The file that was read.
        path: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The sensor in the kernel. Dropping it detaches everything.
pub(crate) struct RawSensor {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    walk_refused: Option<EbpfError>,
    changes_refused: Vec<(&'static str, EbpfError)>,
}

impl RawSensor {
    /// Loads and attaches the programs for fork, exec and exit.
    ///
    /// The others may fail by themselves: the walk, which asks for a newer kernel (5.18 instead of
    /// 5.13, see [`Self::walk_refused`]), and those for changes ([`Self::changes_refused`]).
    pub(crate) fn load(config: RawConfig) -> Result<Self, EbpfError> {
        Self::try_load(config).map_err(or_too_old)
    }

    fn try_load(config: RawConfig) -> Result<Self, EbpfError> {
        let btf = Btf::from_sys_fs().map_err(EbpfError::NoBtf)?;
        let mut ebpf = load_object(&btf, config)?;
        let ring = open_ring(&mut ebpf)?;
        let walk_refused = load_walk(&mut ebpf, &btf).err();
        // The verifier takes its time over each program; the hooks come to life close together.
        for (program, tracepoint) in HOOKS {
            load_hook(&mut ebpf, program, tracepoint, &btf)?;
        }
        let loaded = CHANGES.map(|(program, function, _)| load_change(&mut ebpf, program, function, &btf));
        let mut changes_refused = Vec::new();
        for ((program, _, what), loaded) in CHANGES.into_iter().zip(loaded) {
            let attached = loaded.and_then(|()| attach_change(&mut ebpf, program));
            changes_refused.extend(attached.err().map(|error| (what, error)));
        }
        for (program, _) in HOOKS {
            attach_hook(&mut ebpf, program)?;
        }
        Ok(Self { ebpf, ring, walk_refused, changes_refused })
    }

    /// The records of live events.
    pub(crate) fn ring(&mut self) -> &mut RingBuf<MapData> {
        &mut self.ring
    }

    /// Why [`Self::walk`] cannot work here, if so.
    pub(crate) fn walk_refused(&self) -> Option<&EbpfError> {
        self.walk_refused.as_ref()
    }

    /// Changes of what are not seen here, and why.
    pub(crate) fn changes_refused(&self) -> &[(&'static str, EbpfError)] {
        &self.changes_refused
    }

    /// Ends recording. What is in the ring can still be read, and so can the counts.
    pub(crate) fn detach(&mut self) {
        for (name, _) in HOOKS.into_iter().rev() {
            // Refused only for a program that was detached before.
            let _ = program::<BtfTracePoint>(&mut self.ebpf, name).and_then(BtfTracePoint::unload);
        }
        for (name, ..) in CHANGES {
            // Likewise, or because it was never loaded.
            let _ = match any_program(&mut self.ebpf, name) {
                Program::FEntry(program) => program.unload(),
                Program::FExit(program) => program.unload(),
                _ => Ok(()),
            };
        }
    }

    /// One walk over all processes: the bytes of its records, one after the other.
    pub(crate) fn walk(&mut self) -> io::Result<Vec<u8>> {
        let program = program::<Iter>(&mut self.ebpf, WALK).map_err(io::Error::other)?;
        let id = program.attach().map_err(io::Error::other)?;
        let link = program.take_link(id).map_err(io::Error::other)?;
        let mut file = link.into_file().map_err(io::Error::other)?;
        let mut records = Vec::new();
        file.read_to_end(&mut records)?;
        Ok(records)
    }

    /// How often the kernel did not run one of the live programs, because it was running already on
    /// that CPU. They do so when a program is preempted, which those at functions can be, and from 7.0
    /// on the others too; most count it.
    pub(crate) fn skipped(&self) -> u64 {
        let names = HOOKS.map(|(name, _)| name).into_iter().chain(CHANGES.map(|(name, ..)| name));
        names.filter_map(|name| self.skips_of(name)).sum()
    }

    /// aya has no name for this count, but the kernel prints it.
    fn skips_of(&self, name: &str) -> Option<u64> {
        let descriptor = descriptor(self.ebpf.program(name)?)?.as_fd().as_raw_fd();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
        info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
    }

    /// The counts of [`stat`], summed over all CPUs.
    pub(crate) fn stats(&self) -> Result<[u64; stat::COUNT], EbpfError> {
        let failed = |source| EbpfError::Map { map: "stats", source: Box::new(source) };
        let map = self.ebpf.map("stats").expect("the object that we embed has a map `stats`");
        let map: PerCpuArray<_, [u64; stat::COUNT]> = map.try_into().map_err(failed)?;
        let mut sums = [0; stat::COUNT];
        for counts in map.get(&0, 0).map_err(failed)?.iter() {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        Ok(sums)
    }
}

fn load_object(btf: &Btf, config: RawConfig) -> Result<Ebpf, EbpfError> {
    let cpus = nr_cpus().map_err(|(path, source)| EbpfError::Cpus { path, source })?;
    let cpus = u32::try_from(cpus).expect("no kernel has 2^32 CPUs");
    EbpfLoader::new()
        .btf(Some(btf))
        // aya knows no reader for task storage, and none is needed: only programs use it.
        .allow_unsupported_maps()
        .override_global("wake_bytes", &config.wake_bytes, true)
        .map_max_entries("events", config.ring_bytes)
        .map_max_entries("live_buffers", cpus)
        .load(OBJECT)
        .map_err(|source| {
            if is_permission(&source) {
                return EbpfError::NotPermitted {
                    operation: "create the maps of BPF object",
                    object: "sensor.bpf.o",
                };
            }
            EbpfError::Object(Box::new(source))
        })
}

fn load_hook(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str, btf: &Btf) -> Result<(), EbpfError> {
    program::<BtfTracePoint>(ebpf, name)
        .and_then(|program| program.load(tracepoint, btf))
        .map_err(|source| failed("load", name, source))
}

fn attach_hook(ebpf: &mut Ebpf, name: &'static str) -> Result<(), EbpfError> {
    program::<BtfTracePoint>(ebpf, name)
        .and_then(BtfTracePoint::attach)
        .map(|_| ())
        .map_err(|source| failed("attach", name, source))
}

fn load_change(ebpf: &mut Ebpf, name: &'static str, function: &str, btf: &Btf) -> Result<(), EbpfError> {
    let loaded = match any_program(ebpf, name) {
        Program::FEntry(program) => program.load(function, btf),
        Program::FExit(program) => program.load(function, btf),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(|source| function_failed("load", name, source))
}

fn attach_change(ebpf: &mut Ebpf, name: &'static str) -> Result<(), EbpfError> {
    let attached = match any_program(ebpf, name) {
        Program::FEntry(program) => program.attach().map(|_| ()),
        Program::FExit(program) => program.attach().map(|_| ()),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    attached.map_err(|source| function_failed("attach", name, source))
}

/// A refusal cannot be for want of a capability: those at tracepoints need the same ones.
fn function_failed(operation: &'static str, name: &'static str, source: ProgramError) -> EbpfError {
    if is_permission(&source) { EbpfError::NoFunctions } else { failed(operation, name, source) }
}

fn load_walk(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), EbpfError> {
    program::<Iter>(ebpf, WALK)
        .and_then(|program| program.load("task", btf))
        .map_err(|source| failed("load", WALK, source))
}

fn open_ring(ebpf: &mut Ebpf) -> Result<RingBuf<MapData>, EbpfError> {
    let map = ebpf.take_map("events").expect("the object that we embed has a map `events`");
    map.try_into().map_err(|source| EbpfError::Map { map: "events", source: Box::new(source) })
}

/// The program `name`, which is of type `P`.
fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    any_program(ebpf, name).try_into()
}

fn any_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Program {
    ebpf.program_mut(name).expect("the object that we embed has all the programs")
}

fn descriptor(program: &Program) -> Option<&ProgramFd> {
    match program {
        Program::BtfTracePoint(program) => program.fd().ok(),
        Program::FEntry(program) => program.fd().ok(),
        Program::FExit(program) => program.fd().ok(),
        _ => None,
    }
}

fn failed(operation: &'static str, program: &'static str, source: ProgramError) -> EbpfError {
    if is_permission(&source) {
        return EbpfError::NotPermitted { operation, object: program };
    }
    match source {
        ProgramError::LoadError { io_error, verifier_log } => {
            EbpfError::Refused { program, verdict: last_lines(&verifier_log.to_string()), source: io_error }
        }
        source => EbpfError::Program { operation, program, source: Box::new(source) },
    }
}

/// What a too old kernel says of its own differs with each version and explains nothing. It is asked
/// for its version only after a failure, because distributions port features back.
fn or_too_old(error: EbpfError) -> EbpfError {
    match (error, KernelVersion::current()) {
        (error @ EbpfError::NotPermitted { .. }, _) => error,
        (_, Ok(version)) if version < OLDEST_KERNEL => {
            EbpfError::TooOld { major: version.code() >> 16, minor: version.code() >> 8 & 0xff }
        }
        (error, _) => error,
    }
}

/// Whether the kernel said EPERM: the verifier says EACCES when it refuses a program.
fn is_permission(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error() == Some(libc::EPERM))
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(VERDICT_LINES)..].join("; ")
}
