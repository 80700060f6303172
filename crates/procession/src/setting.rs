//! As whom and where images run, and how that changed while they ran.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::credentials::Credentials;
use crate::event::{Context, Gap, WorkingDirectory};
use crate::heap::{allocation, counted_allocation};
use crate::intern::Footprint;
use crate::namespaces::{Cgroup, Namespaces};
use crate::time::BootTime;

/// The most changes of one image that are remembered; of more, the latest.
pub const LONGEST_HISTORY: usize = 16;

/// As whom and where an image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) credentials: Option<Credentials>,
    pub(crate) namespaces: Option<Namespaces>,
    cgroup: Option<Cgroup<Box<[u8]>>>,
    cwd: Directory,
    /// What it was before, oldest first. A setting with a past belongs to one image; all others are
    /// interned.
    past: Box<[Spell]>,
    /// Changes before those.
    forgotten: u32,
}

/// A working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Directory {
    #[default]
    Unknown,
    Path(Box<[u8]>),
    Tail(Box<[u8]>),
}

/// As whom and where an image ran until it changed. See [`Image::past`](crate::Image::past).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spell {
    setting: Arc<Setting>,
    until: BootTime,
    gap: Option<Gap>,
}

impl Spell {
    pub(crate) fn new(setting: Arc<Setting>, until: BootTime, gap: Option<Gap>) -> Self {
        Self { setting, until, gap }
    }

    pub(crate) fn setting(&self) -> &Arc<Setting> {
        &self.setting
    }

    /// When it ended: with the next change. With a [`gap`](Self::gap): at the latest.
    pub fn until(&self) -> BootTime {
        self.until
    }

    /// Why the change that ended it was not seen: it showed in what was found running later. `None`:
    /// it was seen.
    pub fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// Ids and capabilities.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.setting.credentials.as_ref()
    }

    /// Namespaces.
    pub fn namespaces(&self) -> Option<&Namespaces> {
        self.setting.namespaces.as_ref()
    }

    /// Id of the control group; zero: unknown.
    pub fn cgroup_id(&self) -> u64 {
        self.setting.cgroup().map_or(0, |cgroup| cgroup.id)
    }

    /// Path of the control group in its hierarchy. Empty: unknown.
    pub fn cgroup_path(&self) -> &[u8] {
        self.setting.cgroup().map_or(b"", |cgroup| cgroup.path)
    }
}

/// [`Setting`] without a past, borrowed: it hashes and compares alike.
#[derive(Clone, Copy, Hash, PartialEq, Eq)]
pub(crate) struct SettingKey<'a> {
    // What differs most comes first, so that most comparisons are short.
    cgroup: Option<Cgroup<&'a [u8]>>,
    credentials: Option<&'a Credentials>,
    namespaces: Option<&'a Namespaces>,
    cwd: WorkingDirectory<'a>,
}

impl<'a> SettingKey<'a> {
    pub(crate) fn new(context: &'a Context<'a>, cwd: WorkingDirectory<'a>) -> Self {
        let Context { credentials, namespaces, cgroup, .. } = context;
        Self { cgroup: *cgroup, credentials: credentials.as_ref(), namespaces: namespaces.as_ref(), cwd }
    }

    /// The setting that `context` describes; where it is silent, that of `base`.
    pub(crate) fn over(context: &'a Context<'a>, base: &'a Setting) -> Self {
        Self {
            credentials: context.credentials.as_ref().or(base.credentials.as_ref()),
            namespaces: context.namespaces.as_ref().or(base.namespaces.as_ref()),
            cgroup: context.cgroup.filter(|_| !base.is_in_cgroup(context)).or(base.cgroup()),
            cwd: base.cwd(),
        }
    }

    /// `later` as it would be had it come after `new` rather than `old`: what it has from `old`, it
    /// has from `new`.
    fn carried(later: &'a Setting, old: &'a Setting, new: &'a Setting) -> Self {
        fn pick<T: PartialEq + Copy>(later: T, old: T, new: T) -> T {
            if later == old { new } else { later }
        }
        let [later, old, new] = [later, old, new].map(Setting::key);
        Self {
            cgroup: pick(later.cgroup, old.cgroup, new.cgroup),
            credentials: pick(later.credentials, old.credentials, new.credentials),
            namespaces: pick(later.namespaces, old.namespaces, new.namespaces),
            cwd: later.cwd,
        }
    }

    pub(crate) fn to_setting(self) -> Setting {
        Setting {
            credentials: self.credentials.copied(),
            namespaces: self.namespaces.copied(),
            cgroup: self.cgroup.map(|cgroup| Cgroup { id: cgroup.id, path: cgroup.path.into() }),
            cwd: match self.cwd {
                WorkingDirectory::Unknown => Directory::Unknown,
                WorkingDirectory::Path(path) => Directory::Path(path.into()),
                WorkingDirectory::Tail(path) => Directory::Tail(path.into()),
            },
            ..Setting::default()
        }
    }
}

impl Setting {
    pub(crate) fn from_parts(
        (credentials, namespaces): (Option<Credentials>, Option<Namespaces>),
        cgroup: Option<Cgroup<&[u8]>>,
        cwd: WorkingDirectory<'_>,
        past: Box<[Spell]>,
        forgotten: u32,
    ) -> Self {
        let (credentials, namespaces) = (credentials.as_ref(), namespaces.as_ref());
        Self { past, forgotten, ..SettingKey { cgroup, credentials, namespaces, cwd }.to_setting() }
    }

    pub(crate) fn cgroup(&self) -> Option<Cgroup<&[u8]>> {
        self.cgroup.as_ref().map(|cgroup| Cgroup { id: cgroup.id, path: &*cgroup.path })
    }

    pub(crate) fn cwd(&self) -> WorkingDirectory<'_> {
        match &self.cwd {
            Directory::Unknown => WorkingDirectory::Unknown,
            Directory::Path(path) => WorkingDirectory::Path(path),
            Directory::Tail(path) => WorkingDirectory::Tail(path),
        }
    }

    pub(crate) fn past(&self) -> &[Spell] {
        &self.past
    }

    pub(crate) fn forgotten(&self) -> u32 {
        self.forgotten
    }

    /// Bytes that no interner accounts for.
    pub(crate) fn own_bytes(&self) -> usize {
        if self.past.is_empty() { 0 } else { counted_allocation(size_of::<Self>()) + self.heap_bytes() }
    }

    pub(crate) fn agrees_with(&self, context: &Context<'_>) -> bool {
        let credentials = context.credentials.is_none() || self.credentials == context.credentials;
        let namespaces = context.namespaces.is_none() || self.namespaces == context.namespaces;
        credentials && namespaces && self.is_in_cgroup(context)
    }

    /// A context without a path names the same cgroup when the ids agree.
    fn is_in_cgroup(&self, context: &Context<'_>) -> bool {
        let Some(cgroup) = context.cgroup else { return true };
        self.cgroup
            .as_ref()
            .is_some_and(|own| own.id == cgroup.id && (cgroup.path.is_empty() || *own.path == *cgroup.path))
    }

    /// The setting after a change at `time`; `None`: it changed nothing. A change that comes after
    /// later ones takes its place before them.
    ///
    /// `gap` is why the change was not seen, when it was only found out at `time`. `intern` gives the
    /// shared setting of a key.
    pub(crate) fn changed(
        &self,
        (time, gap): (BootTime, Option<Gap>),
        context: &Context<'_>,
        intern: &mut impl FnMut(&SettingKey<'_>) -> Arc<Self>,
    ) -> Option<Self> {
        let place = self.past.partition_point(|spell| spell.until <= time);
        let mut spells: Vec<_> = self.past.iter().map(|spell| Arc::clone(&spell.setting)).collect();
        spells.push(intern(&self.key()));
        let old = Arc::clone(&spells[place]);
        if old.agrees_with(context) {
            return None;
        }
        let new = intern(&SettingKey::over(context, &old));
        for later in &mut spells[place + 1..] {
            *later = intern(&SettingKey::carried(later, &old, &new));
        }
        spells.insert(place + 1, new);

        let mut ends: Vec<_> = self.past.iter().map(|spell| (spell.until, spell.gap)).collect();
        ends.insert(place, (time, gap));
        let current = spells.pop()?;
        let forgotten = spells.len().saturating_sub(LONGEST_HISTORY);
        let past = spells.into_iter().zip(ends).skip(forgotten);
        Some(Self {
            past: past.map(|(setting, (until, gap))| Spell { setting, until, gap }).collect(),
            forgotten: self.forgotten.saturating_add(u32::try_from(forgotten).unwrap_or(u32::MAX)),
            ..Self::clone(&current)
        })
    }

    /// An equal setting in which everything is shared that `intern` can share.
    pub(crate) fn adopted(&self, intern: &mut impl FnMut(&SettingKey<'_>) -> Arc<Self>) -> Arc<Self> {
        if self.past.is_empty() {
            return intern(&self.key());
        }
        let past = self.past.iter().map(|spell| {
            let setting = intern(&spell.setting.key());
            Spell { setting, ..*spell }
        });
        Arc::new(Self { past: past.collect(), ..self.clone() })
    }

    fn key(&self) -> SettingKey<'_> {
        let (credentials, namespaces) = (self.credentials.as_ref(), self.namespaces.as_ref());
        SettingKey { cgroup: self.cgroup(), credentials, namespaces, cwd: self.cwd() }
    }
}

impl Hash for Setting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq<SettingKey<'_>> for Setting {
    fn eq(&self, other: &SettingKey<'_>) -> bool {
        self.past.is_empty() && self.key() == *other
    }
}

impl Footprint for Setting {
    fn heap_bytes(&self) -> usize {
        let cgroup = self.cgroup.as_ref().map_or(0, |cgroup| cgroup.path.len());
        let sizes = [cgroup, self.cwd().as_bytes().len(), size_of_val(&*self.past)];
        sizes.map(allocation).into_iter().sum()
    }
}
