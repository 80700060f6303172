//! A checkpoint in plain parts: what one writes to keep it, and reads to have it again.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::arguments::Arguments;
use crate::credentials::{Credentials, PrivilegeChange};
use crate::event::{FileIdentity, Gap, Nature, Subject, WorkingDirectory};
use crate::ids::{Pid, ProcessKey};
use crate::image::{Image, ProgramFile};
use crate::ledger::Ledger;
use crate::namespaces::{Cgroup, Namespaces};
use crate::process::{End, Origin, Provenance};
use crate::setting::Setting;
use crate::time::BootTime;

use super::checkpoint::{Checkpoint, Content, Saved};

/// What a [`Checkpoint`] holds besides its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedState {
    /// The table's time, as far as it is certain.
    pub now: BootTime,
    /// The time of the latest event, if that is far ahead and the next one has to agree; else no later than
    /// `now`.
    pub latest: BootTime,
    /// The account of every event so far.
    pub ledger: Ledger,
    /// As in [`Explanation`](crate::Explanation).
    pub dropped_early: u64,
    /// As in [`Explanation`](crate::Explanation).
    pub folded: u64,
    /// As in [`Explanation`](crate::Explanation).
    pub evicted_live: u64,
}

/// One part of a [`Checkpoint`]. Programs, settings and images are numbered from 0 on, each kind by
/// itself, in the order in which they come; they come before the parts that name their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A program that images or tombstones share.
    Program(SavedProgram<'a>),
    /// As whom and where images run.
    Setting(SavedSetting<'a>),
    /// What entries run.
    Image(SavedImage<'a>),
    /// An entry of the table. It comes after those to which it links.
    Entry(SavedEntry),
    /// An entry that has ended and waits for the end of its grace time, behind those named before.
    Grace(ProcessKey),
    /// An ended entry that others keep, behind those named before.
    Ancestor(ProcessKey),
}

/// A program, as it was named, found and loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedProgram<'a> {
    /// A program, or a thread of the kernel.
    pub nature: Nature,
    /// As in [`Image::binary`].
    pub binary: &'a [u8],
    /// As in [`Image::executable`].
    pub executable: &'a [u8],
    /// As in [`Image::comm`].
    pub comm: &'a [u8],
    /// As in [`Image::file`].
    pub file: Option<FileIdentity>,
}

/// As whom and where images run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedSetting<'a> {
    /// Ids and capabilities.
    pub credentials: Option<Credentials>,
    /// Namespaces.
    pub namespaces: Option<Namespaces>,
    /// Control group.
    pub cgroup: Option<Cgroup<&'a [u8]>>,
    /// Working directory.
    pub cwd: WorkingDirectory<'a>,
    /// What it was before, oldest first: as in [`Image::past`].
    pub past: Vec<SavedSpell>,
    /// Changes before those.
    pub forgotten: u32,
}

/// A setting until it changed: [`Spell`](crate::Spell).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSpell {
    /// The number of a setting without a past.
    pub setting: u32,
    /// When it changed.
    pub until: BootTime,
    /// Why the change was not seen. `None`: it was.
    pub gap: Option<Gap>,
}

/// What a process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedImage<'a> {
    /// The number of a program.
    pub program: u32,
    /// The number of a setting.
    pub setting: u32,
    /// The arguments.
    pub arguments: Arguments<'a>,
    /// The environment.
    pub environment: Arguments<'a>,
    /// How the exec raised the rights of the process.
    pub privileges: PrivilegeChange,
}

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedEntry {
    /// The image, and the process that it is of.
    pub subject: Subject,
    /// How it came to be known.
    pub origin: Origin,
    /// The image that forked the process.
    pub parent: Option<ProcessKey>,
    /// How that is known, or would be.
    pub parent_provenance: Provenance,
    /// Who owns the process, when that is not its parent.
    pub owner: Option<ProcessKey>,
    /// The image that it replaced, with that which a process shared with its parent, unlike
    /// [`Process::previous`](crate::Process::previous).
    pub previous: Option<ProcessKey>,
    /// Pid in the innermost pid namespace.
    pub ns_pid: Option<Pid>,
    /// Pid of the process that leads the session.
    pub session: Option<Pid>,
    /// As in [`Entry::is_followed`](crate::Entry::is_followed).
    pub is_followed: bool,
    /// As in [`Process::in_init_tree`](crate::Process::in_init_tree).
    pub in_init_tree: bool,
    /// As in [`Entry::depth`](crate::Entry::depth).
    pub depth: u16,
    /// Whether it is the latest image of its pid. One that runs is.
    pub is_latest: bool,
    /// What it runs.
    pub content: SavedContent,
    /// How it ended. `None`: it runs.
    pub end: Option<End>,
}

/// What is known of what an entry runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SavedContent {
    /// Nothing.
    #[default]
    Unknown,
    /// All of it.
    Image {
        /// The number of an image.
        image: u32,
    },
    /// What is left when memory was short.
    Tombstone {
        /// The number of a program.
        program: u32,
        /// For how many older ones it stands.
        stands_for: u32,
    },
}

impl Checkpoint {
    /// All of its parts, in an order in which a [`CheckpointBuilder`](crate::CheckpointBuilder) takes
    /// them.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut numbers = Numbers::default();
        let entries = self.entries.iter().flat_map(move |saved| numbers.parts_of(saved));
        let grace = self.grace.iter().map(|key| Part::Grace(*key));
        let ancestors = self.ancestors.iter().map(|key| Part::Ancestor(*key));
        entries.chain(grace).chain(ancestors)
    }
}

/// The numbers that shared values have by now.
#[derive(Default)]
struct Numbers {
    programs: Numbered,
    settings: Numbered,
    images: Numbered,
}

/// The numbers of values of one kind, by where they are in memory.
#[derive(Default)]
struct Numbered(HashMap<usize, u32, FixedState>);

impl Numbered {
    /// The number of the value at `address`, and whether it is new.
    fn of(&mut self, address: usize) -> (u32, bool) {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let number = *self.0.entry(address).or_insert(next);
        (number, number == next)
    }
}

impl Numbers {
    /// The entry, after what it names and was not named before.
    fn parts_of<'a>(&mut self, saved: &'a Saved) -> VecDeque<Part<'a>> {
        let mut parts = VecDeque::with_capacity(1);
        let content = match &saved.content {
            Content::Unknown => SavedContent::Unknown,
            Content::Image(image) => SavedContent::Image { image: self.image(image, &mut parts) },
            Content::Tombstone { program, stands_for } => SavedContent::Tombstone {
                program: self.program(program, &mut parts),
                stands_for: *stands_for,
            },
        };
        parts.push_back(Part::Entry(SavedEntry { content, ..saved.entry }));
        parts
    }

    fn image<'a>(&mut self, image: &'a Image, parts: &mut VecDeque<Part<'a>>) -> u32 {
        let (number, is_new) = self.images.of(image.address());
        if is_new {
            let saved = SavedImage {
                program: self.program(image.program(), parts),
                setting: self.setting(image.setting(), parts),
                arguments: image.arguments(),
                environment: image.environment(),
                privileges: image.privileges(),
            };
            parts.push_back(Part::Image(saved));
        }
        number
    }

    fn program<'a>(&mut self, program: &'a Arc<ProgramFile>, parts: &mut VecDeque<Part<'a>>) -> u32 {
        let (number, is_new) = self.programs.of(Arc::as_ptr(program).addr());
        if is_new {
            let ProgramFile { nature, binary, executable, comm, file } = &**program;
            let (nature, file) = (*nature, *file);
            parts.push_back(Part::Program(SavedProgram { nature, binary, executable, comm, file }));
        }
        number
    }

    fn setting<'a>(&mut self, setting: &'a Arc<Setting>, parts: &mut VecDeque<Part<'a>>) -> u32 {
        // The past comes first, so that the numbers stay in order.
        let past = setting.past().iter().map(|spell| SavedSpell {
            setting: self.setting(spell.setting(), parts),
            until: spell.until(),
            gap: spell.gap(),
        });
        let past: Vec<_> = past.collect();
        let (number, is_new) = self.settings.of(Arc::as_ptr(setting).addr());
        if is_new {
            parts.push_back(Part::Setting(SavedSetting {
                credentials: setting.credentials,
                namespaces: setting.namespaces,
                cgroup: setting.cgroup(),
                cwd: setting.cwd(),
                past,
                forgotten: setting.forgotten(),
            }));
        }
        number
    }
}
