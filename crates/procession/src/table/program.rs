//! Which program a process was seen to run, against the one that is known: where the two are certainly not
//! the same, its exec was missed.
//!
//! Nothing tells when an exec was done that nobody saw: such an image has the time at which it was found as
//! its start, so that it has a name of its own, which stays.

use std::iter::successors;

use crate::arena::Slot;
use crate::event::{FileIdentity, Nature, Precision, Program, Running, Subject};
use crate::ids::ProcessKey;
use crate::image::Image;
use crate::process::Origin;
use crate::time::BootTime;

use super::Table;
use super::node::Node;
use super::survey::{is_of, is_undescribed, number};

/// What the kernel shows behind the path of a file that was deleted.
const DELETED: &[u8] = b" (deleted)";

/// Enough of a program to tell it from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgramMark {
    nature: Nature,
    /// Inode and device of the file that was loaded.
    file: Option<(u64, u32)>,
    /// A number for the last component of its path, which stays when the path is cut, or is seen from
    /// another root. Zero: nobody said.
    name: u32,
    /// A number for the command name. Zero: nobody said.
    comm: u32,
}

impl ProgramMark {
    pub(super) fn of(program: &Program<'_>) -> Self {
        Self::new(program.nature, program.executable, program.comm, program.file)
    }

    fn of_image(image: &Image) -> Self {
        Self::new(image.nature(), image.executable(), image.comm(), image.file())
    }

    fn new(nature: Nature, executable: &[u8], comm: &[u8], file: Option<FileIdentity>) -> Self {
        let executable = executable.strip_suffix(DELETED).unwrap_or(executable);
        let name = executable.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let file = file.filter(|file| file.inode != 0).map(|file| (file.inode, file.device));
        Self { nature, file, name: number_of(name), comm: number_of(comm) }
    }

    /// Whether it is certainly another than `known`. `are_comparable`: who said which files they are said
    /// it in the same terms.
    ///
    /// Two who look at one file in different ways may number it differently, where file systems lie over
    /// each other. A file can be moved, and a process can call itself what it likes: neither is an exec, but
    /// both at once is taken for one.
    fn is_other(self, known: Self, are_comparable: impl FnOnce() -> bool) -> bool {
        let is_said = self.file.is_some() || self.name != 0;
        match (known.nature, self.nature) {
            (_, Nature::KernelThread) => false,
            (Nature::KernelThread, Nature::User) => is_said,
            (Nature::User, Nature::User) => match self.file.zip(known.file) {
                Some((seen, known)) if seen == known => false,
                Some(_) if are_comparable() => true,
                _ => differ(self.name, known.name) && differ(self.comm, known.comm),
            },
        }
    }
}

fn number_of(text: &[u8]) -> u32 {
    number((!text.is_empty()).then_some(text))
}

/// Whether both are said, and are not the same.
fn differ(one: u32, other: u32) -> bool {
    one != 0 && other != 0 && one != other
}

/// Whether `subject` stands for a process in whichever image, because whoever says so does not know which.
fn is_by_begin(subject: Subject) -> bool {
    subject.precision == Precision::Ticks || subject.key.start == subject.began
}

impl Table {
    /// Whether `running`, a look at a process that is known, names it by its begin and shows another program
    /// than the table has: then its exec was missed, or is under way.
    ///
    /// Only a difference that is certain counts: another file by its inode and device where both were
    /// said in the same terms; else another file name together with another command name. So one that ran the
    /// same file again, with other arguments, is not found.
    pub fn runs_other_program(&self, running: &Running<'_>) -> bool {
        self.with_other_program(running.process, ProgramMark::of(&running.program)).is_some()
    }

    /// The image that is known of a process that was seen to run another program.
    pub(super) fn with_other_program(&self, seen: Subject, program: ProgramMark) -> Option<(Slot, &Node)> {
        let slot = self.live_slot_of(seen.key.pid).filter(|_| is_by_begin(seen))?;
        let node = self.nodes.get(slot).filter(|node| is_of(node, seen))?;
        let image = self.image(slot)?;
        let are_comparable = || seen.precision == Precision::Nanoseconds && self.is_described_exactly(node);
        let is_other = !is_undescribed(node, Some(image))
            && program.is_other(ProgramMark::of_image(image), are_comparable);
        is_other.then_some((slot, node))
    }

    /// Whether what `node` runs was told by a source that knows exact times, as the kernel does. Of what is
    /// shared since a fork somebody told who led to it: one of the nearest, or nobody knows.
    fn is_described_exactly(&self, node: &Node) -> bool {
        const NEAREST: usize = 16;
        let forker = |node: &&Node| match node.origin {
            Origin::Fork => self.nodes.get(node.parent?),
            _ => None,
        };
        let described = successors(Some(node), forker).take(NEAREST).find(|node| node.origin != Origin::Fork);
        described.is_some_and(|it| it.precision == Precision::Nanoseconds && it.origin != Origin::Inferred)
    }

    /// The image of which `running`, at `time`, says that its exec was missed, and the one before it.
    pub(super) fn unseen_image(&self, running: &Running<'_>, time: BootTime) -> Option<(Slot, Subject)> {
        running.gap?;
        let (before, node) = self.with_other_program(running.process, ProgramMark::of(&running.program))?;
        // Whoever looked before the known image was there saw the one that it replaced.
        if time <= node.start {
            return None;
        }
        let key = ProcessKey::new(node.pid, time);
        let precision = running.process.precision;
        self.slot_of(key).is_none().then_some((before, Subject { key, began: node.began, precision }))
    }
}
