//! What a soak does. An *act* is a small tree of process lives, and all of it follows from a seed and the
//! act's number: so who performs it and who checks what was seen of it need not tell each other anything,
//! and nobody has to store what ten million processes did.
//!
//! It depends on the standard library alone, so that a checker can include this file by its path.

use std::fmt;
use std::str::FromStr;

/// Acts from this number on are held: their processes live until they are let go.
pub(crate) const FIRST_HELD: u64 = 1 << 40;

/// Acts from this number on are containers, which the actor does not make.
pub(crate) const FIRST_CONTAINER: u64 = 1 << 41;

/// The argument that says which image this is: `soak:RUN:SEED:ACT.LIFE.IMAGE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    /// Tells one soak from another on the same machine.
    pub(crate) run: u32,
    pub(crate) seed: u64,
    pub(crate) act: u64,
    pub(crate) life: usize,
    pub(crate) image: usize,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, seed, act, life, image } = self;
        write!(f, "soak:{run}:{seed}:{act}.{life}.{image}")
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix("soak:").ok_or(())?;
        let numbers: Vec<&str> = rest.split([':', '.']).collect();
        let [run, seed, act, life, image] = numbers[..] else { return Err(()) };
        Ok(Self {
            run: run.parse().map_err(drop)?,
            seed: seed.parse().map_err(drop)?,
            act: act.parse().map_err(drop)?,
            life: life.parse().map_err(drop)?,
            image: image.parse().map_err(drop)?,
        })
    }
}

/// What an act is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Forks,
    Execs,
    Spawns,
    ExecChain,
    ThreadExec,
    Threads,
    Orphans,
    OrphansOfDead,
    CloneParent,
    Chain,
    PidNamespace,
    Namespaces,
    Credentials,
    Sessions,
    Arguments,
    LongArguments,
    Signals,
    Files,
    Held,
    Container,
}

/// How often each is played, in parts of the sum.
const WEIGHTS: [(Kind, u64); 18] = [
    (Kind::Forks, 30),
    (Kind::Execs, 20),
    (Kind::Spawns, 10),
    (Kind::ExecChain, 6),
    (Kind::ThreadExec, 4),
    (Kind::Threads, 6),
    (Kind::Orphans, 4),
    (Kind::OrphansOfDead, 4),
    (Kind::CloneParent, 3),
    (Kind::Chain, 2),
    (Kind::PidNamespace, 1),
    (Kind::Namespaces, 2),
    (Kind::Credentials, 5),
    (Kind::Sessions, 3),
    (Kind::Arguments, 6),
    (Kind::LongArguments, 1),
    (Kind::Signals, 6),
    (Kind::Files, 2),
];

impl Kind {
    fn of(act: u64, random: &mut Random) -> Self {
        match act {
            FIRST_CONTAINER.. => return Self::Container,
            FIRST_HELD.. => return Self::Held,
            _ => {}
        }
        let mut at = random.below(WEIGHTS.iter().map(|(_, weight)| weight).sum());
        let chosen = WEIGHTS.iter().find(|(_, weight)| match at.checked_sub(*weight) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        chosen.map_or(Self::Forks, |(kind, _)| *kind)
    }
}

/// An act.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// The first is the act's root, forked by who performs acts. Parents come before their children.
    pub(crate) lives: Vec<Life>,
}

/// A process from its fork to its end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Who forks it, and after how many execs of its own. `None`: who performs acts.
    pub(crate) parent: Option<(usize, usize)>,
    pub(crate) made: Made,
    /// Who waits for it, when that is not its parent.
    pub(crate) reaper: Reaper,
    /// What it does before its first exec, or before it makes children.
    pub(crate) steps: Vec<Step>,
    /// What it runs, one after the other. Empty: what its parent runs.
    pub(crate) images: Vec<Image>,
    pub(crate) wave: Wave,
    pub(crate) end: End,
}

/// How a process is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Fork,
    /// `CLONE_PARENT`: to the kernel it is a child of its parent's parent.
    Sibling,
    /// It runs its first image at once.
    Vfork,
    /// It runs its first image at once.
    Spawn,
}

/// Who waits for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaper {
    Parent,
    /// This life, which adopts it.
    Life(usize),
    /// Who performs acts adopts it.
    Performer,
}

/// How a process goes about its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wave {
    /// Waits for one before it makes the next.
    Sequential,
    /// Makes all, then waits for all.
    AtOnce,
    /// Makes all and ends.
    Leaves,
}

/// Something that a process does about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Subreaper,
    /// Waits until another than its parent owns it.
    AwaitAdoption,
    /// Waits until it is let go.
    Hold,
    Session,
    Groups(u32),
    Users(u32),
    EffectiveUser(u32),
    /// Only these of the capabilities below 32 stay effective.
    Capability(u32),
    SecureBits,
    NewMounts,
    NewHostName,
    NewNetwork,
    NewUsers,
    NewPids,
    /// Into the mount namespace of who made it, and back.
    VisitMounts,
    /// Of the pid namespace that it is in, where the kernel has one for each.
    PidMax(u32),
    FailedExec,
}

/// What an exec runs.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) by: By,
    pub(crate) file: FileKind,
    /// Whether it is told its pid and that of its owner, as the host has them.
    pub(crate) has_pids: bool,
    /// `argv[0]`.
    pub(crate) name: Vec<u8>,
    /// Arguments after those that say which image it is.
    pub(crate) extra: Vec<Vec<u8>>,
}

/// Which thread execs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The only thread.
    Process,
    /// The leader, while so many others live.
    Leader(usize),
    /// Another, while so many others live.
    Thread(usize),
}

/// What kind of file is exec'd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// The actor.
    Actor,
    /// `true(1)`, which ends at once.
    True,
    /// A file that lives in memory only.
    Memory,
    /// A file whose name is gone.
    Deleted,
    /// A script that the actor interprets.
    Script,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(u8),
    Signal(i32),
    /// The leader ends first, then the last of so many threads.
    LeaderFirst(u8, usize),
    /// So many threads end at the same moment.
    Race(u8, usize),
}

impl End {
    /// What wait(2) says of it.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Code(code) | Self::LeaderFirst(code, _) | Self::Race(code, _) => Outcome::Code(code),
            Self::Signal(signal) => Outcome::Signal(signal),
        }
    }
}

/// What wait(2) says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Code(u8),
    Signal(i32),
}

/// Signals that end a process. The last is one of those that have numbers only.
const SIGNALS: [i32; 16] = [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 31, 40];

/// Depth of the chains that are held: more ancestors than any limit of the product.
const HELD_DEPTH: usize = 130;

/// More processes than the pid namespace's own `pid_max` of 301 leaves pids: they come round.
const WRAPPING: usize = 320;
const SMALL_PID_MAX: u32 = 310;

impl Plan {
    /// The act of that number.
    pub(crate) fn new(seed: u64, act: u64) -> Self {
        let mut random = Random(seed ^ act.wrapping_mul(0xa076_1d64_78bd_642f));
        let kind = Kind::of(act, &mut random);
        let mut draft = Draft { random, lives: Vec::new() };
        draft.write(kind);
        Self { kind, lives: draft.lives }
    }

    /// The image that this life runs when it ends: its own last one, or that of who forked it.
    pub(crate) fn last_image(&self, life: usize) -> Option<(usize, usize)> {
        self.image_at(life, self.lives.get(life)?.images.len())
    }

    /// The image that this life runs after so many execs.
    pub(crate) fn image_at(&self, life: usize, execs: usize) -> Option<(usize, usize)> {
        let (mut life, mut execs) = (life, execs);
        while execs == 0 {
            (life, execs) = self.lives.get(life)?.parent?;
        }
        Some((life, execs - 1))
    }

    /// What the kernel does for it.
    pub(crate) fn counts(&self) -> Counts {
        let execs = self.lives.iter().map(|life| life.images.len() as u64).sum();
        Counts { lives: self.lives.len() as u64, execs }
    }

    /// Those whom `life` waits for after so many execs.
    pub(crate) fn wards(&self, life: usize, execs: usize) -> Vec<usize> {
        let is_ward = |ward: &usize| {
            let it = &self.lives[*ward];
            match it.reaper {
                Reaper::Parent => it.parent == Some((life, execs)),
                Reaper::Life(reaper) => reaper == life && self.descends(*ward, life, execs),
                Reaper::Performer => false,
            }
        };
        (0..self.lives.len()).filter(is_ward).collect()
    }

    fn descends(&self, life: usize, from: usize, execs: usize) -> bool {
        let mut at = life;
        while let Some((parent, stage)) = self.lives[at].parent {
            if parent == from {
                return stage == execs;
            }
            at = parent;
        }
        false
    }
}

/// How much there is to be seen of an act, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) lives: u64,
    pub(crate) execs: u64,
}

/// An act that is being made up.
struct Draft {
    random: Random,
    lives: Vec<Life>,
}

impl Draft {
    fn write(&mut self, kind: Kind) {
        match kind {
            Kind::Container => self.container(),
            Kind::Held => self.held(),
            _ => {
                let root = self.root();
                self.write_below(kind, root);
            }
        }
    }

    fn write_below(&mut self, kind: Kind, root: usize) {
        match kind {
            Kind::Forks => self.forks(root),
            Kind::Execs => self.execs(root),
            Kind::Spawns => self.spawns(root),
            Kind::ExecChain => self.exec_chain(root),
            Kind::ThreadExec => self.thread_exec(root),
            Kind::Threads => self.threads(root),
            Kind::Orphans => self.orphans(root, Reaper::Life(root)),
            Kind::OrphansOfDead => self.orphans(root, Reaper::Performer),
            Kind::CloneParent => self.siblings(root),
            Kind::Chain => self.chain(root),
            Kind::PidNamespace => self.pid_namespace(root),
            Kind::Namespaces => self.namespaces(root),
            Kind::Credentials => self.credentials(root),
            Kind::Sessions => self.sessions(root),
            Kind::Arguments => self.arguments(root),
            Kind::LongArguments => self.long_arguments(root),
            Kind::Signals => self.signals(root),
            Kind::Files => self.files(root),
            Kind::Held | Kind::Container => {}
        }
    }

    fn add(&mut self, life: Life) -> usize {
        self.lives.push(life);
        self.lives.len() - 1
    }

    /// Forked by who performs acts, it runs the actor, waits for one child after the other, and exits.
    fn root(&mut self) -> usize {
        let end = self.code();
        self.add(Life {
            parent: None,
            made: Made::Fork,
            reaper: Reaper::Performer,
            steps: Vec::new(),
            images: vec![image()],
            wave: Wave::Sequential,
            end,
        })
    }

    /// Forked by `parent` after all its execs, it runs what that runs, and exits with a code of its own.
    fn child(&mut self, parent: usize) -> usize {
        let number = self.lives.len();
        let execs = self.lives[parent].images.len();
        self.add(Life {
            parent: Some((parent, execs)),
            made: Made::Fork,
            reaper: Reaper::Parent,
            steps: Vec::new(),
            images: Vec::new(),
            wave: Wave::Sequential,
            end: End::Code(u8::try_from(1 + number % 120).unwrap_or(1)),
        })
    }

    /// A child that runs the actor, too.
    fn program(&mut self, parent: usize) -> usize {
        let child = self.child(parent);
        self.lives[child].images.push(image());
        self.lives[child].end = self.code();
        child
    }

    /// A child that runs `true(1)`.
    fn truth(&mut self, parent: usize) -> usize {
        let child = self.child(parent);
        self.lives[child].images.push(Image { file: FileKind::True, ..image() });
        self.lives[child].end = End::Code(0);
        child
    }

    /// Any code but that by which the actor says that it failed.
    fn code(&mut self) -> End {
        let code = self.random.below(255);
        End::Code(u8::try_from(if code == 125 { 255 } else { code }).unwrap_or(0))
    }

    fn forks(&mut self, root: usize) {
        if self.random.below(2) == 0 {
            self.lives[root].wave = Wave::AtOnce;
        }
        for _ in 0..8 + self.random.below(16) {
            self.child(root);
        }
    }

    fn execs(&mut self, root: usize) {
        self.lives[root].wave = if self.random.below(2) == 0 { Wave::AtOnce } else { Wave::Sequential };
        for _ in 0..1 + self.random.below(4) {
            self.truth(root);
            let shell = self.program(root);
            self.child(shell);
        }
        let child = self.child(root);
        self.lives[child].steps.push(Step::FailedExec);
    }

    fn spawns(&mut self, root: usize) {
        for made in [Made::Vfork, Made::Spawn, Made::Spawn] {
            let child = if self.random.below(2) == 0 { self.program(root) } else { self.truth(root) };
            self.lives[child].made = made;
            self.lives[child].images[0].has_pids = false;
        }
    }

    fn exec_chain(&mut self, root: usize) {
        let child = self.program(root);
        for _ in 0..1 + self.random.below(6) {
            self.child(child);
            self.lives[child].images.push(image());
        }
    }

    fn thread_exec(&mut self, root: usize) {
        for by in [By::Thread(3), By::Leader(2)] {
            let child = self.program(root);
            self.lives[child].images[0].by = by;
            self.child(child);
        }
    }

    fn threads(&mut self, root: usize) {
        for end in 0..3 {
            let child = if self.random.below(3) == 0 { self.program(root) } else { self.child(root) };
            let (End::Code(code), threads) = (self.lives[child].end, 2 + self.random.below(10)) else {
                continue;
            };
            let threads = usize::try_from(threads).unwrap_or(2);
            self.lives[child].end =
                if end == 0 { End::LeaderFirst(code, threads) } else { End::Race(code, threads) };
        }
    }

    /// The parents end before their children, which `reaper` adopts.
    fn orphans(&mut self, root: usize, reaper: Reaper) {
        if reaper == Reaper::Life(root) {
            // After its exec, which keeps it: but there it is known which life this is.
            self.lives[root].steps.push(Step::Subreaper);
            self.lives[root].wave = Wave::AtOnce;
        }
        for _ in 0..1 + self.random.below(3) {
            let parent = self.child(root);
            self.lives[parent].wave = Wave::Leaves;
            for _ in 0..1 + self.random.below(2) {
                let orphan =
                    if self.random.below(2) == 0 { self.program(parent) } else { self.child(parent) };
                self.lives[orphan].steps.push(Step::AwaitAdoption);
                self.lives[orphan].reaper = reaper;
            }
        }
    }

    fn siblings(&mut self, root: usize) {
        self.lives[root].wave = Wave::AtOnce;
        let forker = self.child(root);
        self.lives[forker].wave = Wave::Leaves;
        for exec in [false, true] {
            let sibling = if exec { self.program(forker) } else { self.child(forker) };
            self.lives[sibling].made = Made::Sibling;
            self.lives[sibling].reaper = Reaper::Life(root);
        }
    }

    fn chain(&mut self, root: usize) {
        let mut last = root;
        for depth in 0..10 + self.random.below(50) {
            last = if depth % 20 == 9 { self.program(last) } else { self.child(last) };
        }
    }

    fn pid_namespace(&mut self, root: usize) {
        let outside = self.child(root);
        self.lives[outside].steps.push(Step::NewPids);
        let init = self.program(outside);
        self.lives[init].images[0].has_pids = false;
        if self.random.below(4) == 0 {
            self.lives[init].steps.push(Step::PidMax(SMALL_PID_MAX));
            for _ in 0..WRAPPING {
                self.child(init);
            }
        }
        for _ in 0..3 {
            let inside = self.program(init);
            self.lives[inside].images[0].has_pids = false;
            self.child(inside);
        }
    }

    fn namespaces(&mut self, root: usize) {
        let news = [
            &[Step::NewMounts][..],
            &[Step::NewHostName, Step::NewMounts],
            &[Step::NewNetwork],
            &[Step::NewUsers],
            &[Step::NewMounts, Step::VisitMounts],
        ];
        let which = usize::try_from(self.random.below(5)).unwrap_or(0);
        for exec in [false, true] {
            let child = if exec { self.program(root) } else { self.child(root) };
            self.lives[child].steps.extend(news[which]);
        }
    }

    fn credentials(&mut self, root: usize) {
        let id = 1_000 + u32::try_from(self.random.below(50_000)).unwrap_or(0);
        let ways = [
            vec![Step::Groups(id), Step::Users(id)],
            vec![Step::EffectiveUser(id), Step::EffectiveUser(0)],
            vec![Step::Capability(21)],
            vec![Step::SecureBits, Step::Groups(id)],
        ];
        for steps in ways {
            let child = if self.random.below(2) == 0 { self.program(root) } else { self.child(root) };
            self.lives[child].steps = steps;
        }
    }

    fn sessions(&mut self, root: usize) {
        for exec in [false, true] {
            let child = if exec { self.program(root) } else { self.child(root) };
            self.lives[child].steps.push(Step::Session);
            self.child(child);
        }
    }

    fn arguments(&mut self, root: usize) {
        const ODD: [&[u8]; 10] = [
            b"",
            b"\n",
            b"a\nb",
            b"two words",
            b"\xff\xfe",
            b"\"",
            b"\x1b[31m",
            b"-",
            "\u{1f980}".as_bytes(),
            b"\t",
        ];
        for _ in 0..2 {
            let child = self.program(root);
            for _ in 0..self.random.below(8) {
                let odd = ODD[usize::try_from(self.random.below(10)).unwrap_or(0)];
                self.lives[child].images[0].extra.push(odd.to_vec());
            }
            let name = ODD[usize::try_from(self.random.below(10)).unwrap_or(0)];
            self.lives[child].images[0].name = name.to_vec();
        }
    }

    fn long_arguments(&mut self, root: usize) {
        let child = self.truth(root);
        let length = usize::try_from(1_000 + self.random.below(100_000)).unwrap_or(0);
        let letter = b'a' + u8::try_from(self.random.below(26)).unwrap_or(0);
        // Two long ones, or many short ones.
        let extra = if self.random.below(2) == 0 {
            vec![vec![letter; length]; 2]
        } else {
            vec![vec![letter]; length / 10]
        };
        self.lives[child].images[0].extra = extra;
    }

    fn signals(&mut self, root: usize) {
        let from = usize::try_from(self.random.below(16)).unwrap_or(0);
        for number in 0..4 {
            let child = if number == 0 { self.program(root) } else { self.child(root) };
            self.lives[child].end = End::Signal(SIGNALS[(from + number) % SIGNALS.len()]);
        }
    }

    fn files(&mut self, root: usize) {
        for file in [FileKind::Memory, FileKind::Deleted, FileKind::Script] {
            let child = self.program(root);
            self.lives[child].images[0].file = file;
        }
    }

    /// A long chain of living ancestors, some of which run another program than before, and a family of
    /// processes that differ, all of which stay until they are let go.
    fn held(&mut self) {
        let root = self.root();
        self.lives[root].wave = Wave::AtOnce;
        let mut last = root;
        for depth in 0..HELD_DEPTH {
            last = if depth % 16 == 7 { self.program(last) } else { self.child(last) };
        }
        self.lives[last].steps.push(Step::Hold);
        let differences = [
            vec![Step::Session],
            vec![Step::NewMounts, Step::NewHostName],
            vec![Step::NewNetwork],
            vec![Step::SecureBits, Step::Groups(1_234), Step::Users(1_234)],
        ];
        for steps in differences {
            let child = self.program(root);
            self.lives[child].steps = steps;
            let grandchild = self.child(child);
            self.lives[grandchild].steps.push(Step::Hold);
        }
        let outside = self.child(root);
        self.lives[outside].steps.push(Step::NewPids);
        let init = self.program(outside);
        self.lives[init].images[0].has_pids = false;
        let inside = self.child(init);
        self.lives[inside].steps.push(Step::Hold);
        let runs_on = self.program(root);
        self.lives[runs_on].images.push(image());
        let child = self.child(runs_on);
        self.lives[child].steps.push(Step::Hold);
    }

    /// A shell that runs two programs.
    fn container(&mut self) {
        let root = self.root();
        self.lives[root].images[0].has_pids = false;
        self.lives[root].end = End::Code(3);
        for _ in 0..2 {
            let child = self.truth(root);
            self.lives[child].images[0].has_pids = false;
        }
    }
}

fn image() -> Image {
    Image {
        by: By::Process,
        file: FileKind::Actor,
        has_pids: true,
        name: b"actor".to_vec(),
        extra: Vec::new(),
    }
}

/// SplitMix64: a number follows from the one before, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of so many, from 0 on.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
