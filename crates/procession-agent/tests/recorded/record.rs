//! Reads recorded records by their offsets, which are those of `bpf/record.h` of the sensor.

use procession::Namespaces;

/// Offsets within a record.
mod at {
    pub(super) const SUBJECT: usize = 32;
    /// The creator of a fork; the parent of an image or of who exits.
    pub(super) const RELATIVE: usize = 56;
    pub(super) const OWN_FACTS: usize = 104;
    pub(super) const IMAGE_FACTS: usize = 160;
    pub(super) const IMAGE_DATA: usize = 472;
    pub(super) const PART_DATA: usize = 72;
}

/// Records of a file, one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    pub(crate) fn new(file: &'a [u8]) -> Self {
        Self(file)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Record<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (record, after) = after.split_at(u32::from_le_bytes(*len) as usize);
            rest = after;
            Some(Record(record))
        })
    }

    /// Those of the shell, which was found running on the host.
    pub(crate) fn host_namespaces(self) -> Namespaces {
        let shell = self.iter().find(|record| record.kind() == Kind::Walk).unwrap();
        let [uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children, cgroup, user] =
            shell.facts().namespaces();
        Namespaces { uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children, cgroup, user }
    }

    /// The file, as if there had been no room for the rest of long arguments.
    pub(crate) fn without_argument_parts(self) -> Vec<u8> {
        let kept = self.iter().filter(|record| record.kind() != Kind::Part);
        let framed = kept.flat_map(|record| {
            let len = u32::try_from(record.0.len()).unwrap();
            [&len.to_le_bytes(), record.0].concat()
        });
        framed.collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fork,
    Exec,
    Exit,
    Part,
    Walk,
    Change,
}

/// A text, and what is known of it.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) state: u32,
    pub(crate) is_deleted: bool,
}

impl Text<'_> {
    /// Of components, last one first. Empty: there is none.
    pub(crate) fn path(self) -> Vec<u8> {
        let components = self.bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let mut path = Vec::new();
        for component in components.collect::<Vec<_>>().into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(component);
        }
        match (self.state, path.is_empty()) {
            (0, _) => Vec::new(),
            (_, true) => b"/".to_vec(),
            (_, false) => path,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.0[at..at + 2].try_into().unwrap())
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    pub(crate) fn kind(self) -> Kind {
        [Kind::Fork, Kind::Exec, Kind::Exit, Kind::Part, Kind::Walk, Kind::Change]
            [usize::from(self.u16(0)) - 1]
    }

    pub(crate) fn time(self) -> u64 {
        self.u64(8)
    }

    pub(crate) fn pid(self) -> u32 {
        self.u32(at::SUBJECT + 16)
    }

    pub(crate) fn image_start(self) -> u64 {
        self.u64(at::SUBJECT)
    }

    /// Of who forked, or whose child it is.
    pub(crate) fn relative_pid(self) -> u32 {
        self.u32(at::RELATIVE + 16)
    }

    pub(crate) fn relative_began(self) -> u64 {
        self.u64(at::RELATIVE + 8)
    }

    pub(crate) fn status(self) -> u32 {
        self.u32(104)
    }

    pub(crate) fn are_rights_raised(self) -> bool {
        self.u32(100) != 0
    }

    pub(crate) fn inode(self) -> u64 {
        self.u64(112)
    }

    pub(crate) fn links(self) -> u32 {
        self.u32(112 + 28)
    }

    pub(crate) fn facts(self) -> Facts<'a> {
        let is_image = matches!(self.kind(), Kind::Exec | Kind::Walk);
        let at = match self.kind() {
            Kind::Change => 56,
            _ if is_image => at::IMAGE_FACTS,
            _ => at::OWN_FACTS,
        };
        Facts(Self(&self.0[at..at + 208]))
    }

    fn text(self, at: usize) -> Text<'a> {
        let start = at::IMAGE_DATA + self.u32(at) as usize;
        let bytes = &self.0[start..start + self.u32(at + 4) as usize];
        Text { bytes, state: self.u32(at + 8), is_deleted: self.u32(at + 12) != 0 }
    }

    /// As it was passed to the system call.
    pub(crate) fn filename(self) -> &'a [u8] {
        let text = self.text(368).bytes;
        text.strip_suffix(b"\0").unwrap_or(text)
    }

    pub(crate) fn exe(self) -> Text<'a> {
        self.text(400)
    }

    pub(crate) fn cwd(self) -> Text<'a> {
        self.text(416)
    }

    pub(crate) fn cgroup(self) -> Text<'a> {
        self.text(432)
    }

    /// The begin of the arguments, and how long all of them are.
    pub(crate) fn arguments(self) -> (&'a [u8], u64) {
        let start = at::IMAGE_DATA + self.u32(464) as usize;
        (&self.0[start..start + self.u32(468) as usize], self.u64(448))
    }

    /// A part of the arguments of the next exec.
    pub(crate) fn part(self) -> &'a [u8] {
        &self.0[at::PART_DATA..]
    }
}

/// As whom and where.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a>(Record<'a>);

/// User and group ids.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) suid: u32,
    pub(crate) sgid: u32,
    pub(crate) euid: u32,
    pub(crate) egid: u32,
    pub(crate) fsuid: u32,
    pub(crate) fsgid: u32,
    pub(crate) securebits: u32,
}

impl Facts<'_> {
    #[expect(clippy::similar_names, reason = "these are their names")]
    pub(crate) fn ids(self) -> Ids {
        let [uid, gid, suid, sgid, euid, egid, fsuid, fsgid, securebits] =
            [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|number| self.0.u32(4 * number));
        Ids { uid, gid, suid, sgid, euid, egid, fsuid, fsgid, securebits }
    }

    /// Permitted, effective, inheritable, bounding and ambient.
    pub(crate) fn capabilities(self) -> [u64; 5] {
        [0, 1, 2, 3, 4].map(|number| self.0.u64(48 + 8 * number))
    }

    /// In the order in which the reference lists them.
    pub(crate) fn namespaces(self) -> [u32; 10] {
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|number| self.0.u32(88 + 4 * number))
    }

    /// 0 in the host's process namespace.
    pub(crate) fn ns_pid(self) -> u32 {
        if self.0.u32(144) == 0 { 0 } else { self.0.u32(140) }
    }

    pub(crate) fn login_uid(self) -> u32 {
        self.0.u32(148)
    }
}
