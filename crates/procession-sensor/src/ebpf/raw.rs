//! The BPF object in the kernel: loaded, attached, and its maps opened. Bytes only; nothing here
//! knows what a record means.
//!
//! All that depends on the loader library is in this file.

use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::iter;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use aya::pin::PinError;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{BtfTracePoint, Iter, Program, ProgramError, ProgramFd};
use aya::util::{KernelVersion, nr_cpus};
use aya::{Btf, BtfError, Ebpf, EbpfLoader};
use nix::sys::signal::{SigSet, SigmaskHow};

use super::object;
use super::pin::{self, MAPS, PinDirectory, Standing};
use super::ring::Ring;
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
#[derive(Clone, Debug)]
pub(crate) struct RawConfig {
    /// Size of the ring. Rounded up to a power of two of at least a page.
    pub(crate) ring_bytes: u32,
    /// The reader is woken each time that this many bytes have come; 0 wakes it for every record.
    pub(crate) wake_bytes: u32,
    /// Where the programs and what they write are pinned.
    pub(crate) pin: Option<PathBuf>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self { ring_bytes: 8 << 20, wake_bytes: 256 << 10, pin: None }
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
    /// Pins need a filesystem of their own.
    #[error(
        "{} is not in a BPF filesystem, where alone programs can stay: mount one with `mount -t bpf bpf \
         /sys/fs/bpf` and use a directory in it, or let the programs end with the process", path.display()
    )]
    NoFilesystem {
        /// The directory that was to be used.
        path: PathBuf,
    },
    /// Of the records in one ring each is read by one reader.
    #[error(
        "another process reads what is pinned in {}: stop it, or use another directory", path.display()
    )]
    InUse {
        /// The directory of pins.
        path: PathBuf,
    },
    /// The directory of pins cannot be used.
    #[error("cannot {operation} {}", path.display())]
    Pins {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
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

impl EbpfError {
    /// Whether it is about what is to stay, and not about whether the programs work here.
    pub(crate) const fn is_about_pins(&self) -> bool {
        matches!(self, Self::NoFilesystem { .. } | Self::InUse { .. } | Self::Pins { .. })
    }
}

/// The sensor in the kernel. Dropping it detaches everything that is not pinned.
pub(crate) struct RawSensor {
    ebpf: Ebpf,
    walk_refused: Option<EbpfError>,
    changes_refused: Vec<(&'static str, EbpfError)>,
    /// The live programs, if another process has loaded them.
    taken_over: Vec<TakenOver>,
    /// Those that are pinned: whoever removes the pins detaches nothing while this process works.
    links: Vec<FdLink>,
    /// Keeps other processes off the pins.
    pins: Option<Arc<PinDirectory>>,
    was_at_work: bool,
}

impl RawSensor {
    /// Loads and attaches the programs for fork, exec and exit, or takes over those that are pinned.
    ///
    /// The others may fail by themselves: the walk, which asks for a newer kernel (5.18 instead of
    /// 5.13, see [`Self::walk_refused`]), and those for changes ([`Self::changes_refused`]).
    pub(crate) fn load(config: &RawConfig) -> Result<(Self, Ring), EbpfError> {
        Self::try_load(config).map_err(or_too_old)
    }

    fn try_load(config: &RawConfig) -> Result<(Self, Ring), EbpfError> {
        let btf = Btf::from_sys_fs().map_err(EbpfError::NoBtf)?;
        let Some(path) = &config.pin else {
            return Start { btf: &btf, pins: None, standing: None }.run(config);
        };
        let pins = PinDirectory::open(path)?;
        let ((sensor, ring), was_at_work) = Self::load_pinned(&btf, &pins, config)?;
        Ok((Self { pins: Some(Arc::new(pins)), was_at_work, ..sensor }, ring))
    }

    /// Also says whether programs were at work there. Leaves nothing behind that does not work.
    fn load_pinned(
        btf: &Btf,
        pins: &PinDirectory,
        config: &RawConfig,
    ) -> Result<((Self, Ring), bool), EbpfError> {
        let hooks = HOOKS.map(|(program, _)| program);
        let standing = pins.take_stock(&hooks, OBJECT)?;
        let begin = |standing| Start { btf, pins: Some(pins), standing }.run(config);
        if let Some(standing) = &standing {
            match begin(Some(standing)) {
                Ok(started) => return Ok((started, true)),
                // Nobody would ever start here again.
                Err(EbpfError::Map { source, .. }) if is_unreadable_for_ever(&source) => {
                    pins.give_up(standing)?;
                }
                Err(error) => {
                    // What was begun beside it goes.
                    let _ = pins.take_stock(&hooks, OBJECT);
                    return Err(error);
                }
            }
        }
        let started = begin(None).inspect_err(|_| {
            // Maps without programs are of no use to anybody, and an empty directory would tell of programs.
            let _ = pins.remove_all();
        })?;
        Ok((started, false))
    }

    /// Whether programs have been recording into the ring since before this process.
    pub(crate) fn was_at_work(&self) -> bool {
        self.was_at_work
    }

    /// Whether the programs go on when the process ends.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Where they are pinned.
    pub(super) fn pins(&self) -> Option<&Arc<PinDirectory>> {
        self.pins.as_ref()
    }

    /// The kernel's number of the ring.
    pub(crate) fn ring_id(&self) -> Result<u32, EbpfError> {
        let info = events(&self.ebpf).info().map_err(map_failed("events"))?;
        Ok(info.id())
    }

    /// Why [`Self::walk`] cannot work here, if so.
    pub(crate) fn walk_refused(&self) -> Option<&EbpfError> {
        self.walk_refused.as_ref()
    }

    /// Changes of what are not seen here, and why.
    pub(crate) fn changes_refused(&self) -> &[(&'static str, EbpfError)] {
        &self.changes_refused
    }

    /// Ends recording, unless the programs are pinned. What is in the ring can still be read, and so can
    /// the counts.
    pub(crate) fn detach(&mut self) {
        if self.is_pinned() {
            return;
        }
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
        self.skips().filter_map(Result::ok).sum()
    }

    /// Why [`Self::skipped`] leaves a program out, if so.
    pub(crate) fn uncounted(&self) -> Option<EbpfError> {
        self.skips().find_map(Result::err)
    }

    /// Of each of the live programs how often it was skipped.
    fn skips(&self) -> impl Iterator<Item = Result<u64, EbpfError>> {
        let names = HOOKS.map(|(name, _)| name).into_iter().chain(CHANGES.map(|(name, ..)| name));
        let loaded = names.filter_map(|name| Some(skips_of(descriptor(self.ebpf.program(name)?)?)));
        loaded.chain(self.taken_over.iter().map(TakenOver::skips))
    }

    /// The counts of [`stat`], summed over all CPUs.
    pub(crate) fn stats(&self) -> Result<[u64; stat::COUNT], EbpfError> {
        let failed = map_failed("stats");
        let map = self.ebpf.map("stats").expect("the object that we embed has a map `stats`");
        let map: PerCpuArray<_, [u64; stat::COUNT]> = map.try_into().map_err(&failed)?;
        let mut sums = [0; stat::COUNT];
        for counts in map.get(&0, 0).map_err(&failed)?.iter() {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        Ok(sums)
    }
}

/// A program that another process has loaded.
struct TakenOver {
    pin: PathBuf,
    opened: io::Result<OwnedFd>,
}

impl TakenOver {
    fn open(pin: PathBuf) -> Self {
        Self { opened: object::open(&pin), pin }
    }

    fn skips(&self) -> Result<u64, EbpfError> {
        match &self.opened {
            Ok(program) => skips_of(program),
            // It would be the same another time.
            Err(error) => Err(pin_failed("open the pinned program", &self.pin, copy(error))),
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// How often the kernel skipped a program. aya has no name for this count, but the kernel prints it.
fn skips_of(program: impl AsFd) -> Result<u64, EbpfError> {
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd()));
    let count = fs::read_to_string(&path).and_then(|info| {
        let count = info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok());
        count.ok_or_else(|| io::ErrorKind::InvalidData.into())
    });
    count.map_err(|error| pin_failed("read the count of skips in", &path, error))
}

/// From the object to programs at work.
struct Start<'a> {
    btf: &'a Btf,
    pins: Option<&'a PinDirectory>,
    standing: Option<&'a Standing>,
}

impl Start<'_> {
    fn run(&self, config: &RawConfig) -> Result<(RawSensor, Ring), EbpfError> {
        let same = self.standing.filter(|standing| standing.is_from(OBJECT));
        let mut ebpf = self.load_object(config, same.is_some())?;
        let ring = open_ring(&ebpf)?;
        let walk_refused = load_walk(&mut ebpf, self.btf).err();
        let mut sensor = RawSensor {
            ebpf,
            walk_refused,
            changes_refused: Vec::new(),
            taken_over: Vec::new(),
            links: Vec::new(),
            pins: None,
            was_at_work: false,
        };
        match same {
            Some(standing) => self.take_over(standing, &mut sensor),
            None => self.begin(&mut sensor)?,
        }
        Ok((sensor, ring))
    }

    /// With the maps of programs that are at work, if there are any.
    fn load_object(&self, config: &RawConfig, taken_over: bool) -> Result<Ebpf, EbpfError> {
        let cpus = nr_cpus().map_err(|(path, source)| EbpfError::Cpus { path, source })?;
        let cpus = u32::try_from(cpus).expect("no kernel has 2^32 CPUs");
        let maps = match (self.pins, self.standing) {
            (Some(pins), None) => Some(pins.begin()?),
            (Some(pins), Some(_)) => Some(pins.maps()),
            (None, _) => None,
        };
        let paths = maps.iter().flat_map(|maps| MAPS.map(|name| (name, maps.join(name))));
        let mut loader = EbpfLoader::new();
        for (name, path) in paths {
            loader.map_pin_path(name, path);
        }
        let ebpf = loader
            .btf(Some(self.btf))
            // aya knows no reader for task storage, and none is needed: only programs use it.
            .allow_unsupported_maps()
            .override_global("wake_bytes", &config.wake_bytes, true)
            .map_max_entries("events", config.ring_bytes)
            // Those at work have buffers of their own.
            .map_max_entries("live_buffers", if taken_over { 1 } else { cpus })
            .load(OBJECT)
            .map_err(object_failed)?;
        if let (Some(pins), None) = (self.pins, self.standing) {
            pins.finish_maps()?;
        }
        Ok(ebpf)
    }

    /// Attaches the programs. Those of another build go on until all are attached, so that no event is missed
    /// in between.
    fn begin(&self, sensor: &mut RawSensor) -> Result<(), EbpfError> {
        let ebpf = &mut sensor.ebpf;
        // The verifier takes its time over each program.
        for (program, tracepoint) in HOOKS {
            load_hook(ebpf, program, tracepoint, self.btf)?;
        }
        let loaded = CHANGES.map(|(program, function, _)| load_change(ebpf, program, function, self.btf));
        let links = self.pins.map(PinDirectory::begin).transpose()?;
        for ((program, _, what), loaded) in CHANGES.into_iter().zip(loaded) {
            match loaded.and_then(|()| attach_change(ebpf, program, links.as_deref())) {
                Ok(link) => sensor.links.extend(link),
                Err(error) => sensor.changes_refused.push((what, error)),
            }
        }
        for (program, _) in HOOKS {
            sensor.links.extend(attach_hook(ebpf, program, links.as_deref())?);
        }
        if let Some(pins) = self.pins {
            pins.finish_links(OBJECT)?;
        }
        self.standing.map_or(Ok(()), |standing| pin::remove(&standing.links))
    }

    /// Leaves at work what is. What could not be attached then is tried again, to know why.
    fn take_over(&self, standing: &Standing, sensor: &mut RawSensor) {
        let (there, missing): (Vec<_>, Vec<_>) =
            CHANGES.into_iter().partition(|(program, ..)| standing.links.join(program).exists());
        for (program, function, what) in missing {
            let loaded = load_change(&mut sensor.ebpf, program, function, self.btf);
            match loaded.and_then(|()| attach_change(&mut sensor.ebpf, program, Some(&standing.links))) {
                Ok(link) => sensor.links.extend(link),
                Err(error) => sensor.changes_refused.push((what, error)),
            }
        }
        for name in HOOKS.map(|(program, _)| program).into_iter().chain(there.into_iter().map(|it| it.0)) {
            sensor.links.extend(PinnedLink::from_pin(standing.links.join(name)).map(FdLink::from));
            sensor.taken_over.push(TakenOver::open(pin::program(&standing.links, name)));
        }
    }
}

fn object_failed(source: aya::EbpfError) -> EbpfError {
    if is_permission(&source) {
        return EbpfError::NotPermitted {
            operation: "create the maps of BPF object",
            object: "sensor.bpf.o",
        };
    }
    EbpfError::Object(Box::new(source))
}

fn events(ebpf: &Ebpf) -> &MapData {
    match ebpf.map("events") {
        Some(Map::RingBuf(map)) => map,
        _ => unreachable!("the object that we embed has a ring `events`"),
    }
}

fn open_ring(ebpf: &Ebpf) -> Result<Ring, EbpfError> {
    let map = events(ebpf);
    let bytes = map.info().map_err(map_failed("events"))?.max_entries();
    let failed = |source| map_failed("events")(MapError::IoError(source));
    Ring::open(map.fd().as_fd(), bytes).map_err(failed)
}

/// Whether somebody has frozen the ring, or made it something else. Whatever else is wrong with it may pass, as a
/// want of descriptors does.
fn is_unreadable_for_ever(error: &MapError) -> bool {
    let MapError::IoError(error) = error else { return false };
    error.raw_os_error() == Some(libc::EPERM) || error.kind() == io::ErrorKind::InvalidData
}

fn map_failed(map: &'static str) -> impl Fn(MapError) -> EbpfError {
    move |source| EbpfError::Map { map, source: Box::new(source) }
}

/// How often to load a program again. It takes a tenth of a second at most.
const LOADS: usize = 20;

/// The verifier gives up when a signal comes, with EAGAIN, even if nobody will handle it: and the children of
/// this process may end all the while. So they wait, or go to another thread.
fn undisturbed(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let mut loaded = load();
    // Not all can be made to wait: those of a debugger cannot.
    for _ in 1..LOADS {
        match &loaded {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == io::ErrorKind::WouldBlock => {
                loaded = load();
            }
            _ => break,
        }
    }
    if let Ok(before) = before {
        // Refused only for what is no mask.
        let _ = before.thread_set_mask();
    }
    loaded
}

fn load_hook(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str, btf: &Btf) -> Result<(), EbpfError> {
    program::<BtfTracePoint>(ebpf, name)
        .and_then(|program| undisturbed(|| program.load(tracepoint, btf)))
        .map_err(|source| failed("load", name, source))
}

/// Attaches a program, for as long as `links` has its link or somebody holds what is returned; without
/// `links` as long as `ebpf` lives.
fn attach_hook(
    ebpf: &mut Ebpf,
    name: &'static str,
    links: Option<&Path>,
) -> Result<Option<FdLink>, EbpfError> {
    let attach_failed = |source| failed("attach", name, source);
    let program = program::<BtfTracePoint>(ebpf, name).map_err(attach_failed)?;
    let id = program.attach().map_err(attach_failed)?;
    let Some(links) = links else { return Ok(None) };
    let link = program.take_link(id).map_err(attach_failed)?;
    pin_attached(ebpf, name, link.into(), links).map(Some)
}

fn load_change(ebpf: &mut Ebpf, name: &'static str, function: &str, btf: &Btf) -> Result<(), EbpfError> {
    let loaded = match any_program(ebpf, name) {
        Program::FEntry(program) => undisturbed(|| program.load(function, btf)),
        Program::FExit(program) => undisturbed(|| program.load(function, btf)),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(|source| function_failed("load", name, source))
}

fn attach_change(
    ebpf: &mut Ebpf,
    name: &'static str,
    links: Option<&Path>,
) -> Result<Option<FdLink>, EbpfError> {
    let link: Result<Option<FdLink>, _> = match any_program(ebpf, name) {
        Program::FEntry(program) => program.attach().and_then(|id| match links {
            Some(_) => program.take_link(id).map(|link| Some(link.into())),
            None => Ok(None),
        }),
        Program::FExit(program) => program.attach().and_then(|id| match links {
            Some(_) => program.take_link(id).map(|link| Some(link.into())),
            None => Ok(None),
        }),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    let link = link.map_err(|source| function_failed("attach", name, source))?;
    link.zip(links).map(|(link, links)| pin_attached(ebpf, name, link, links)).transpose()
}

/// The program goes first: where its link is, it is too.
fn pin_attached(
    ebpf: &mut Ebpf,
    name: &'static str,
    link: FdLink,
    links: &Path,
) -> Result<FdLink, EbpfError> {
    let (of_program, of_link) = (pin::program(links, name), links.join(name));
    // Left by a process that came no further.
    let _ = fs::remove_file(&of_program);
    let failed = |path, source| pin_failed("pin a program at", path, io_error_of(source));
    any_program(ebpf, name).pin(&of_program).map_err(|error| failed(&of_program, error))?;
    link.pin(&of_link).map(FdLink::from).map_err(|error| failed(&of_link, error))
}

fn io_error_of(error: PinError) -> io::Error {
    match error {
        PinError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}

fn pin_failed(operation: &'static str, path: &Path, source: io::Error) -> EbpfError {
    EbpfError::Pins { operation, path: path.to_owned(), source }
}

/// A refusal cannot be for want of a capability: those at tracepoints need the same ones.
fn function_failed(operation: &'static str, name: &'static str, source: ProgramError) -> EbpfError {
    if is_permission(&source) { EbpfError::NoFunctions } else { failed(operation, name, source) }
}

fn load_walk(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), EbpfError> {
    program::<Iter>(ebpf, WALK)
        .and_then(|program| undisturbed(|| program.load("task", btf)))
        .map_err(|source| failed("load", WALK, source))
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
