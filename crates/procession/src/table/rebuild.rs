//! A checkpoint from its parts, wherever they come from: what does not fit together is refused, so that
//! every checkpoint is one that a table could have given.

use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::event::Subject;
use crate::ids::{Pid, ProcessKey};
use crate::image::{Image, ProgramFile};
use crate::setting::{LONGEST_HISTORY, Setting, Spell};
use crate::time::BootTime;

use super::TableConfig;
use super::checkpoint::{Checkpoint, Content, Saved};
use super::parts::{Part, SavedContent, SavedEntry, SavedImage, SavedProgram, SavedSetting, SavedState};

/// No table can have counted more of anything.
const MOST: u64 = 1 << 56;

/// Makes a [`Checkpoint`] of the parts of one ([`Checkpoint::parts`]).
#[derive(Debug)]
pub struct CheckpointBuilder {
    config: TableConfig,
    state: SavedState,
    programs: Vec<Arc<ProgramFile>>,
    settings: Vec<Arc<Setting>>,
    images: Vec<Image>,
    entries: Vec<Saved>,
    grace: Vec<ProcessKey>,
    ancestors: Vec<ProcessKey>,
}

/// Parts that do not make a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCheckpoint {
    /// A part names a part that did not come before it.
    Number {
        /// The kind of part that is named.
        what: &'static str,
        /// Its number.
        number: u32,
    },
    /// An entry, or a place in a queue, is there twice.
    Twice(ProcessKey),
    /// An entry links to one that is not there or that it cannot have come after.
    Link {
        /// Which entry.
        from: ProcessKey,
        /// What it links to.
        to: ProcessKey,
    },
    /// What is said of an entry cannot be so.
    Entry {
        /// Which entry.
        key: ProcessKey,
        /// What is wrong.
        why: &'static str,
    },
    /// What a setting was before is not in order.
    Past,
    /// Something was counted more often than can be.
    Count,
}

impl fmt::Display for InvalidCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the checkpoint is damaged: ")?;
        match self {
            Self::Number { what, number } => write!(f, "it names {what} {number}, which is not in it"),
            Self::Twice(key) => write!(f, "process {key} is there twice"),
            Self::Link { from, to } => {
                write!(f, "process {from} links to {to}, which is not there or did not precede it")
            }
            Self::Entry { key, why } => write!(f, "process {key} {why}"),
            Self::Past => f.write_str("what was before a change of rights is not in order"),
            Self::Count => f.write_str("a count is too large"),
        }
    }
}

impl std::error::Error for InvalidCheckpoint {}

type Result<T> = std::result::Result<T, InvalidCheckpoint>;

impl CheckpointBuilder {
    /// Nothing yet, of a table with this configuration.
    pub fn new(config: TableConfig, state: SavedState) -> Self {
        Self {
            config,
            state,
            programs: Vec::new(),
            settings: Vec::new(),
            images: Vec::new(),
            entries: Vec::new(),
            grace: Vec::new(),
            ancestors: Vec::new(),
        }
    }

    /// Takes the next part.
    ///
    /// # Errors
    ///
    /// When it names a part that did not come before, or is nothing that a table can have.
    pub fn add(&mut self, part: &Part<'_>) -> Result<()> {
        match part {
            Part::Program(program) => self.programs.push(Arc::new(program_file(program))),
            Part::Setting(setting) => self.settings.push(Arc::new(self.setting(setting)?)),
            Part::Image(image) => self.images.push(self.image(image)?),
            Part::Entry(entry) => self.entries.push(self.entry(*entry)?),
            Part::Grace(key) => self.grace.push(*key),
            Part::Ancestor(key) => self.ancestors.push(*key),
        }
        Ok(())
    }

    /// The checkpoint, when all parts have come.
    ///
    /// # Errors
    ///
    /// When the entries do not fit together.
    pub fn finish(mut self) -> Result<Checkpoint> {
        check_counts(&self.state)?;
        self.entries.sort_by_key(Saved::rank);
        let by_key = self.entries_by_key()?;
        self.check_links(&by_key)?;
        self.check_latest()?;
        let mut waiting = HashSet::with_hasher(FixedState::default());
        for key in self.grace.iter().chain(&self.ancestors) {
            check_waiting(*key, &by_key)?;
            if !waiting.insert(*key) {
                return Err(InvalidCheckpoint::Twice(*key));
            }
        }
        Ok(Checkpoint {
            config: self.config,
            state: self.state,
            entries: self.entries,
            grace: self.grace,
            ancestors: self.ancestors,
        })
    }

    fn setting(&self, saved: &SavedSetting<'_>) -> Result<Setting> {
        let is_in_order = saved.past.is_sorted_by_key(|spell| spell.until);
        if saved.past.len() > LONGEST_HISTORY || !is_in_order {
            return Err(InvalidCheckpoint::Past);
        }
        let spells = saved.past.iter().map(|spell| {
            let setting = named(&self.settings, "setting", spell.setting)?;
            // What was, had no past of its own: else it could be as deep as one likes.
            if !setting.past().is_empty() {
                return Err(InvalidCheckpoint::Past);
            }
            Ok(Spell::new(Arc::clone(setting), spell.until, spell.gap))
        });
        let past = spells.collect::<Result<Box<[_]>>>()?;
        let SavedSetting { credentials, namespaces, cgroup, cwd, forgotten, .. } = saved;
        Ok(Setting::from_parts((*credentials, *namespaces), *cgroup, *cwd, past, *forgotten))
    }

    fn image(&self, saved: &SavedImage<'_>) -> Result<Image> {
        let program = Arc::clone(named(&self.programs, "program", saved.program)?);
        let setting = Arc::clone(named(&self.settings, "setting", saved.setting)?);
        Ok(Image::new(program, setting, [saved.arguments, saved.environment], saved.privileges))
    }

    fn entry(&self, entry: SavedEntry) -> Result<Saved> {
        let key = entry.subject.key;
        let content = match entry.content {
            SavedContent::Unknown => Content::Unknown,
            SavedContent::Image { image } => Content::Image(named(&self.images, "image", image)?.clone()),
            SavedContent::Tombstone { program, stands_for } => {
                let program = Arc::clone(named(&self.programs, "program", program)?);
                Content::Tombstone { program, stands_for }
            }
        };
        let runs = entry.end.is_none();
        let why = match &content {
            _ if key.pid == Pid(0) => Some("has pid 0"),
            _ if runs && !entry.is_latest => Some("runs, and is not the latest of its pid"),
            Content::Tombstone { .. } if runs => Some("runs, and is a tombstone"),
            _ => None,
        };
        why.map_or(Ok(Saved { entry, content }), |why| Err(InvalidCheckpoint::Entry { key, why }))
    }

    fn entries_by_key(&self) -> Result<ByKey> {
        let mut by_key = ByKey::with_capacity_and_hasher(self.entries.len(), FixedState::default());
        for saved in &self.entries {
            let key = saved.entry.subject.key;
            let known = Known {
                began: saved.entry.subject.began,
                may_wait: saved.entry.end.is_some() && !matches!(saved.content, Content::Tombstone { .. }),
            };
            if by_key.insert(key, known).is_some() {
                return Err(InvalidCheckpoint::Twice(key));
            }
        }
        Ok(by_key)
    }

    fn check_links(&self, by_key: &ByKey) -> Result<()> {
        for Saved { entry, .. } in &self.entries {
            let from = entry.subject.key;
            let is_other_process = |to: ProcessKey| to.pid != from.pid;
            if let Some(to) = entry.previous.filter(|to| is_other_process(*to)) {
                return Err(InvalidCheckpoint::Link { from, to });
            }
            for to in [entry.parent, entry.previous].into_iter().flatten() {
                let precedes = by_key.get(&to).is_some_and(|known| known.rank(to) < rank(entry.subject));
                if !precedes {
                    return Err(InvalidCheckpoint::Link { from, to });
                }
            }
        }
        Ok(())
    }

    fn check_latest(&self) -> Result<()> {
        let mut pids = HashSet::with_hasher(FixedState::default());
        let latest = self.entries.iter().filter(|saved| saved.entry.is_latest);
        for key in latest.map(|saved| saved.entry.subject.key) {
            if !pids.insert(key.pid) {
                return Err(InvalidCheckpoint::Entry {
                    key,
                    why: "is one of two that are the latest of their pid",
                });
            }
        }
        Ok(())
    }
}

type ByKey = HashMap<ProcessKey, Known, FixedState>;

/// What the checks need of an entry.
#[derive(Clone, Copy)]
struct Known {
    began: BootTime,
    /// Whether it may be in a queue.
    may_wait: bool,
}

impl Known {
    fn rank(self, key: ProcessKey) -> Rank {
        (self.began, key.pid, key.start)
    }
}

/// As that of a node.
type Rank = (BootTime, Pid, BootTime);

fn rank(subject: Subject) -> Rank {
    (subject.began, subject.key.pid, subject.key.start)
}

impl Saved {
    fn rank(&self) -> Rank {
        rank(self.entry.subject)
    }
}

fn named<'a, T>(parts: &'a [T], what: &'static str, number: u32) -> Result<&'a T> {
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    parts.get(place).ok_or(InvalidCheckpoint::Number { what, number })
}

fn program_file(saved: &SavedProgram<'_>) -> ProgramFile {
    let SavedProgram { nature, binary, executable, comm, file } = *saved;
    ProgramFile { nature, binary: binary.into(), executable: executable.into(), comm: comm.into(), file }
}

fn check_waiting(key: ProcessKey, by_key: &ByKey) -> Result<()> {
    match by_key.get(&key) {
        Some(known) if known.may_wait => Ok(()),
        Some(_) => Err(InvalidCheckpoint::Entry { key, why: "waits in a queue where it cannot be" }),
        None => Err(InvalidCheckpoint::Entry { key, why: "waits in a queue and is not there" }),
    }
}

fn check_counts(state: &SavedState) -> Result<()> {
    let SavedState { ledger, dropped_early, folded, evicted_live, .. } = state;
    let others =
        [ledger.inferred_processes(), ledger.inferred_exits(), *dropped_early, *folded, *evicted_live];
    let is_possible = ledger.received() < MOST && others.iter().all(|count| *count < MOST);
    if is_possible { Ok(()) } else { Err(InvalidCheckpoint::Count) }
}
