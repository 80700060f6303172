//! A simulated machine: it makes true events, and never forgets.
//!
//! It is the oracle of the table: plain lists of all processes and all images that there ever were.

use std::collections::HashMap;
use std::sync::LazyLock;

use procession::{
    Arguments, BootTime, Change, Context, Credentials, Event, EventKind, Exec, Exit, ExitStatus, Fork,
    Origin, Pid, Precision, ProcessKey, Program, Provenance, Relative, Running, Subject, Uid,
};
use proptest::prelude::*;

/// What a history is made of. Numbers choose among what there is at that moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// `who` forks, as with `CLONE_PARENT` if `sibling`; `euid`: in other credentials.
    Fork { who: usize, pid: usize, sibling: bool, euid: Option<u32> },
    /// `who` runs another program with `len` bytes of arguments.
    Exec { who: usize, len: usize },
    /// `who` exits.
    Exit { who: usize, status: u32 },
    /// `who` goes on as another user, without an exec.
    #[allow(dead_code, reason = "the model has no changes as yet")]
    Become { who: usize, euid: u32 },
    /// `who` adopts the orphans among its descendants from now on.
    BecomeSubreaper { who: usize },
    /// A walk finds `who`, which is known already.
    Look { who: usize },
    /// A reader takes a handle of an image.
    Hold { which: usize },
    /// A reader drops a handle.
    LetGo { which: usize },
    /// Time passes.
    Wait { nanos: u64 },
}

/// What is applied to a table, in order.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are events")]
pub(crate) enum Step {
    Event(Event<'static>),
    Hold(ProcessKey),
    LetGo(usize),
}

/// How the source of the events knows times, and what it calls a process by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Everything to the nanosecond; a process by its current image.
    Kernel,
    /// The same after a walk over `/proc`, which knows the tick in which a process began.
    KernelAfterProc,
    /// Begins to the tick only; a process by its begin, whatever it runs.
    Proc,
}

/// The setting of a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) source: Source,
    /// The largest pid.
    pub(crate) pids: u32,
    /// Processes that run before anybody looks, besides the first.
    pub(crate) found: usize,
    /// The most bytes of arguments.
    pub(crate) longest_arguments: usize,
}

/// A process, for ever.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// When it was forked.
    pub(crate) began: BootTime,
    pub(crate) images: Vec<usize>,
    pub(crate) is_alive: bool,
    pub(crate) owner: Option<usize>,
    is_subreaper: bool,
}

/// An image, for ever: what the table has to say of it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) process: usize,
    pub(crate) key: ProcessKey,
    pub(crate) began: BootTime,
    pub(crate) origin: Origin,
    /// The image that forked the process, or that owned it when it was found.
    pub(crate) parent: Option<usize>,
    pub(crate) previous: Option<usize>,
    /// The owner that the last event told, if that is not the parent.
    pub(crate) owner: Option<ProcessKey>,
    pub(crate) binary: &'static [u8],
    pub(crate) arguments: &'static [u8],
    pub(crate) euid: Option<u32>,
    /// `None`: it runs. Else when it ended, and with which status unless another replaced it.
    pub(crate) end: Option<(BootTime, Option<ExitStatus>)>,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) world: World,
    pub(crate) now: u64,
    pub(crate) processes: Vec<Process>,
    pub(crate) images: Vec<Image>,
    /// Numbers of the processes that are alive. The first process is, always.
    pub(crate) living: Vec<usize>,
    /// Images by the name that the table has for them.
    pub(crate) by_key: HashMap<ProcessKey, usize>,
    /// Images that handles keep.
    pub(crate) held: Vec<usize>,
    execs: usize,
}

const TICK: u64 = 10_000_000;

/// No process and nobody's time: events begin after this.
const BOOT: u64 = 100 * TICK;

const BINARIES: [&[u8]; 6] =
    [b"/bin/sh", b"/bin/ls", b"/bin/ps", b"/usr/bin/make", b"/usr/bin/cc", b"/bin/env"];

/// More handles keep more than a small budget may hold.
const MOST_HANDLES: usize = 4;

/// Whose bytes from any multiple of four on are unlike those from any other on.
static NUMBERS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let arguments = (0x0101..=u16::MAX).map(|number| {
        let [high, low] = number.to_be_bytes();
        [b'-', high, low, 0]
    });
    arguments.flatten().collect()
});

impl Machine {
    /// A machine, and what a walk finds on it.
    pub(crate) fn new(world: World) -> (Self, Vec<Step>) {
        let mut machine = Self {
            world,
            now: BOOT,
            processes: Vec::new(),
            images: Vec::new(),
            living: Vec::new(),
            by_key: HashMap::new(),
            held: Vec::new(),
            execs: 0,
        };
        for number in 0..=world.found {
            machine.find(number);
        }
        // Latest first, so that children are found before their parents.
        let steps = (0..=world.found).rev().map(|process| Step::Event(machine.finding(process))).collect();
        (machine, steps)
    }

    fn find(&mut self, number: usize) {
        let began = BootTime::from_nanos(TICK * (1 + number as u64) + 3);
        let pid = Pid(u32::try_from(number).expect("a few") + 1);
        let owner = number.checked_sub(1).map(|last| last / 2);
        let image = Image {
            process: number,
            key: ProcessKey::new(pid, self.as_walked(began)),
            began: self.as_walked(began),
            origin: Origin::Running,
            parent: owner.map(|owner| self.processes[owner].images[0]),
            previous: None,
            owner: None,
            binary: BINARIES[number % BINARIES.len()],
            arguments: b"",
            euid: Some(0),
            end: None,
        };
        self.begin(pid, began, owner);
        self.add(image);
    }

    /// A process that lives from `began` on, without an image as yet.
    fn begin(&mut self, pid: Pid, began: BootTime, owner: Option<usize>) {
        self.living.push(self.processes.len());
        let (images, is_alive, is_subreaper) = (Vec::new(), true, false);
        self.processes.push(Process { pid, began, images, is_alive, owner, is_subreaper });
    }

    fn add(&mut self, image: Image) {
        let number = self.images.len();
        self.processes[image.process].images.push(number);
        self.by_key.insert(image.key, number);
        self.images.push(image);
    }

    /// Does it, and tells of it. `None`: nothing that anybody is told of, or impossible now.
    pub(crate) fn act(&mut self, action: Action) -> Option<Step> {
        match action {
            Action::Fork { who, pid, sibling, euid } => self.fork(who, pid, sibling, euid),
            Action::Exec { who, len } => Some(self.exec(self.pick(who), len)),
            Action::Exit { who, status } => self.exit(who, status),
            Action::Become { who, euid } => Some(self.become_user(self.pick(who), euid)),
            Action::BecomeSubreaper { who } => {
                let who = self.pick(who);
                self.processes[who].is_subreaper = true;
                None
            }
            Action::Look { who } => {
                self.tick(1);
                let process = self.pick(who);
                let event = self.finding(process);
                if let EventKind::Running(running) = event.kind {
                    self.note_walked_owner(process, running.owner.key);
                }
                Some(Step::Event(event))
            }
            Action::Hold { which } => self.hold(which),
            Action::LetGo { which } => {
                let which = which.checked_rem(self.held.len())?;
                self.held.swap_remove(which);
                Some(Step::LetGo(which))
            }
            Action::Wait { nanos } => {
                self.tick(nanos);
                None
            }
        }
    }

    fn pick(&self, who: usize) -> usize {
        self.living[place(who, self.living.len())]
    }

    pub(crate) fn current(&self, process: usize) -> usize {
        *self.processes[process].images.last().expect("every process runs something")
    }

    /// Lets time pass, and never stops where one tick becomes the next, so that a time that is
    /// known to the tick is none that is known exactly.
    fn tick(&mut self, nanos: u64) -> BootTime {
        self.now += nanos;
        self.now += u64::from(self.now.is_multiple_of(TICK));
        BootTime::from_nanos(self.now)
    }

    fn fork(&mut self, who: usize, pid: usize, sibling: bool, euid: Option<u32>) -> Option<Step> {
        let who = self.pick(who);
        let now = self.tick(1);
        let pid = self.free_pid(who, pid, now)?;
        let (parent, number) = (self.current(who), self.processes.len());
        let owner = if sibling { self.processes[who].owner.unwrap_or(who) } else { who };
        let inherited = &self.images[parent];
        let image = Image {
            process: number,
            key: ProcessKey::new(pid, self.as_known(now)),
            began: self.as_known(now),
            origin: Origin::Fork,
            parent: Some(parent),
            previous: None,
            owner: self.owner_but(owner, who),
            binary: inherited.binary,
            arguments: inherited.arguments,
            euid: euid.or(inherited.euid),
            end: None,
        };
        let fork = Fork {
            child: Subject { key: image.key, began: image.began, precision: self.precision() },
            parent: self.relative(who),
            parent_tid: self.processes[who].pid,
            owner: self.relative(owner),
            context: euid.map_or_else(Context::default, as_user),
        };
        self.begin(pid, now, Some(owner));
        self.add(image);
        Some(self.tell(EventKind::Fork(fork)))
    }

    fn exec(&mut self, who: usize, len: usize) -> Step {
        let now = self.tick(1);
        let old = self.current(who);
        let (pid, owner) = (self.processes[who].pid, self.processes[who].owner);
        self.execs += 1;
        let euid = u32::try_from(self.execs % 3).expect("small");
        let replaced = &self.images[old];
        let is_first = replaced.origin == Origin::Fork;
        let parent = replaced.parent;
        let image = Image {
            process: who,
            key: ProcessKey::new(pid, now),
            began: self.as_known(self.processes[who].began),
            origin: if is_first { Origin::FirstExec } else { Origin::Exec },
            parent,
            previous: (!is_first).then_some(old),
            owner: owner
                .zip(parent)
                .and_then(|(owner, parent)| self.owner_but(owner, self.images[parent].process)),
            binary: BINARIES[self.execs % BINARIES.len()],
            arguments: self.arguments(len),
            euid: Some(euid),
            end: None,
        };
        let exec = Exec {
            process: Subject { key: image.key, began: image.began, precision: self.precision() },
            replaces: (self.world.source != Source::Proc).then(|| self.kernel_name(who)),
            tid: pid,
            owner: owner.map_or(Relative::NONE, |owner| self.relative(owner)),
            context: as_user(euid),
            program: Program {
                binary: image.binary,
                arguments: Arguments::complete(image.arguments),
                ..Program::default()
            },
        };
        self.images[old].end = Some((now, None));
        self.add(image);
        self.tell(EventKind::Exec(exec))
    }

    /// Arguments that no other image has.
    fn arguments(&self, len: usize) -> &'static [u8] {
        let longest = self.world.longest_arguments;
        let first = 4 * self.execs % (NUMBERS.len() - longest - 4);
        &NUMBERS[first..first + 4 + len % longest]
    }

    fn become_user(&mut self, who: usize, euid: u32) -> Step {
        self.tick(1);
        let image = self.current(who);
        self.images[image].euid = Some(euid);
        let began = self.as_known(self.processes[who].began);
        let process = Subject { key: self.kernel_name(who), began, precision: self.precision() };
        self.tell(EventKind::Change(Change { process, context: as_user(euid) }))
    }

    fn exit(&mut self, who: usize, status: u32) -> Option<Step> {
        // The first process stays.
        if self.living.len() == 1 {
            return None;
        }
        let place = 1 + place(who, self.living.len() - 1);
        let now = self.tick(1);
        let who = self.living.swap_remove(place);
        let last = self.current(who);
        let (pid, owner) = (self.processes[who].pid, self.processes[who].owner?);
        let status = ExitStatus::from_raw(status);
        let key =
            if self.world.source == Source::Proc { self.images[last].key } else { self.kernel_name(who) };
        let began = self.as_known(self.processes[who].began);
        let exit = Exit {
            process: Subject { key, began, precision: self.precision() },
            tid: pid,
            owner: self.relative(owner),
            status: Some(status),
            comm: b"comm",
        };
        let parent = self.images[last].parent.map(|parent| self.images[parent].process);
        self.images[last].owner = parent.and_then(|parent| self.owner_but(owner, parent));
        self.images[last].end = Some((now, Some(status)));
        self.processes[who].is_alive = false;
        self.orphan_children_of(who);
        Some(self.tell(EventKind::Exit(exit)))
    }

    /// The nearest subreaper above, or else the first process, gets the children.
    fn orphan_children_of(&mut self, who: usize) {
        let above = std::iter::successors(self.processes[who].owner, |owner| self.processes[*owner].owner);
        let reaper = above.into_iter().find(|above| self.processes[*above].is_subreaper).unwrap_or(0);
        for process in self.processes.iter_mut().filter(|process| process.owner == Some(who)) {
            process.owner = Some(reaper);
        }
    }

    fn hold(&mut self, which: usize) -> Option<Step> {
        if self.held.len() == MOST_HANDLES {
            return None;
        }
        // Only of what surely is there: what runs.
        let image = self.current(self.pick(which));
        self.held.push(image);
        Some(Step::Hold(self.images[image].key))
    }

    /// A walk tells who owns a process, by the name that it has for it.
    fn note_walked_owner(&mut self, process: usize, name: ProcessKey) {
        let last = self.current(process);
        let parent = self.images[last].parent.map(|parent| self.images[parent].process);
        let is_other = self.processes[process].owner.is_some_and(|owner| Some(owner) != parent);
        self.images[last].owner = is_other.then_some(name);
    }

    /// What a walk says of a process.
    pub(crate) fn finding(&self, process: usize) -> Event<'static> {
        let image = &self.images[self.current(process)];
        let is_exact = self.world.source == Source::Kernel;
        let began = self.as_walked(self.processes[process].began);
        let key = if is_exact { image.key } else { ProcessKey::new(image.key.pid, began) };
        let owner = self.processes[process].owner;
        let running = Running {
            process: Subject {
                key,
                began,
                precision: if is_exact { Precision::Nanoseconds } else { Precision::Ticks },
            },
            owner: owner.map_or(Relative::NONE, |owner| {
                let (pid, began) = (self.processes[owner].pid, self.processes[owner].began);
                let name = ProcessKey::new(pid, self.as_walked(began));
                if is_exact { self.relative(owner) } else { name.into() }
            }),
            context: image.euid.map_or_else(Context::default, as_user),
            program: Program {
                binary: image.binary,
                arguments: Arguments::complete(image.arguments),
                ..Program::default()
            },
            gap: None,
        };
        Event { time: BootTime::from_nanos(self.now), kind: EventKind::Running(running) }
    }

    #[expect(clippy::large_types_passed_by_value, reason = "made for one call")]
    fn tell(&self, kind: EventKind<'static>) -> Step {
        Step::Event(Event { time: BootTime::from_nanos(self.now), kind })
    }

    /// A pid that nobody has.
    ///
    /// Who knows times to the tick cannot tell two processes of one pid in one tick, nor which of
    /// two processes in one tick is the other's parent unless it has the smaller pid. Both is said
    /// in the table's code, and left out here.
    fn free_pid(&self, parent: usize, pid: usize, now: BootTime) -> Option<Pid> {
        let is_coarse = self.world.source == Source::Proc;
        let in_this_tick = |process: &Process| is_coarse && process.began.as_ticks() == now.as_ticks();
        let least = if in_this_tick(&self.processes[parent]) { self.processes[parent].pid.0 } else { 0 };
        let first = u32::try_from(pid % self.world.pids as usize).expect("a pid");
        let candidates = (0..self.world.pids).map(|n| Pid(1 + (first + n) % self.world.pids));
        let is_free = |pid: &Pid| {
            let mut ever = self.processes.iter().filter(|process| process.pid == *pid);
            pid.0 > least && ever.all(|process| !process.is_alive && !in_this_tick(process))
        };
        candidates.into_iter().find(is_free)
    }

    fn precision(&self) -> Precision {
        if self.world.source == Source::Proc { Precision::Ticks } else { Precision::Nanoseconds }
    }

    /// When a process began, as events tell it.
    fn as_known(&self, began: BootTime) -> BootTime {
        if self.world.source == Source::Proc { to_the_tick(began) } else { began }
    }

    /// When a process began, as a walk tells it.
    fn as_walked(&self, began: BootTime) -> BootTime {
        if self.world.source == Source::Kernel { began } else { to_the_tick(began) }
    }

    /// What the kernel calls the current image of a process.
    fn kernel_name(&self, process: usize) -> ProcessKey {
        let image = &self.images[self.current(process)];
        let began = self.processes[process].began;
        if image.origin == Origin::Running { ProcessKey::new(image.key.pid, began) } else { image.key }
    }

    /// What the source calls a process that is another's parent.
    /// The same with its begin, which the kernel tells too.
    fn relative(&self, process: usize) -> Relative {
        let is_kernel = self.world.source != Source::Proc;
        Relative { key: self.name(process), began: is_kernel.then_some(self.processes[process].began) }
    }

    fn name(&self, process: usize) -> ProcessKey {
        match self.world.source {
            Source::Kernel | Source::KernelAfterProc => self.kernel_name(process),
            Source::Proc => {
                ProcessKey::new(self.processes[process].pid, to_the_tick(self.processes[process].began))
            }
        }
    }

    fn owner_but(&self, owner: usize, parent: usize) -> Option<ProcessKey> {
        (owner != parent).then(|| self.name(owner))
    }

    /// How the table knows the parent of an image.
    pub(crate) fn provenance(&self, image: &Image) -> Provenance {
        let first = &self.images[self.processes[image.process].images[0]];
        if first.origin == Origin::Running { Provenance::Found } else { Provenance::Observed }
    }

    /// The images that forked one another, nearest first.
    pub(crate) fn ancestors(&self, image: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.images[image].parent, |image| self.images[*image].parent)
    }

    /// The images that replaced one another, latest first.
    pub(crate) fn earlier_images(&self, image: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.images[image].previous, |image| self.images[*image].previous)
    }
}

/// No exact time of a machine is a whole tick.
pub(crate) fn to_the_tick(time: BootTime) -> BootTime {
    BootTime::from_ticks(time.as_ticks())
}

fn as_user(euid: u32) -> Context<'static> {
    let credentials = Credentials { euid: Uid(euid), ..Credentials::default() };
    Context { credentials: Some(credentials), ..Context::default() }
}

/// A place in a list, which `who` may count from its end.
fn place(who: usize, len: usize) -> usize {
    if who < FROM_THE_END { who % len } else { len - 1 - (who - FROM_THE_END) % len }
}

/// Larger numbers count from the end, where the youngest processes are.
const FROM_THE_END: usize = 256;

/// A process: any, one of the oldest, or one of the youngest, so that loops and chains come about.
fn anybody() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..FROM_THE_END, 2 => 0..3_usize, 3 => FROM_THE_END..FROM_THE_END + 3]
}

/// Nanoseconds that pass: within a microsecond, a millisecond, a few ticks, or beyond a grace time.
fn any_wait() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..1_000_u64,
        4 => 0..1_000_000_u64,
        4 => 0..5 * TICK,
        1 => 0..40_000_000_000_u64,
    ]
}

/// Something that may happen on a machine.
pub(crate) fn any_action() -> impl Strategy<Value = Action> {
    let who = anybody;
    prop_oneof![
        8 => (who(), any::<u8>().prop_map(usize::from), prop::bool::weighted(0.1), prop::option::weighted(0.1, 0..3_u32))
            .prop_map(|(who, pid, sibling, euid)| Action::Fork { who, pid, sibling, euid }),
        8 => (who(), 0..1_usize << 16).prop_map(|(who, len)| Action::Exec { who, len }),
        7 => (who(), 0..1_u32 << 16).prop_map(|(who, status)| Action::Exit { who, status }),
        1 => who().prop_map(|who| Action::BecomeSubreaper { who }),
        1 => who().prop_map(|who| Action::Look { who }),
        1 => who().prop_map(|which| Action::Hold { which }),
        1 => who().prop_map(|which| Action::LetGo { which }),
        6 => any_wait().prop_map(|nanos| Action::Wait { nanos }),
    ]
}
