//! The table against a look at the machine: who is missing, who has gone, and who has other rights or runs
//! another program.
//!
//! Nothing here changes the table. Whoever looked tells it what was found, as events like all others
//! ([`EventKind::Running`](crate::EventKind::Running) with a gap, [`EventKind::Gone`](crate::EventKind::Gone)),
//! so that the log has them too.

use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::event::{Context, Precision, Program, Running, Subject};
use crate::ids::Pid;
use crate::image::Image;
use crate::process::Origin;
use crate::setting::Setting;
use crate::time::BootTime;

use super::Table;
use super::node::Node;
use super::program::ProgramMark;

/// The processes that run, as somebody saw who looked at all of them, one after the other.
#[derive(Clone, Debug)]
pub struct Survey {
    began: BootTime,
    seen: HashMap<Pid, Seen, FixedState>,
}

/// A process that was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    subject: Subject,
    rights: Rights,
    session: Option<Pid>,
    program: ProgramMark,
}

/// Enough of a context to tell it from another: a number for each part. Zero: nobody said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rights([u32; 3]);

/// In what a table and a [`Survey`] do not agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspects {
    /// Seen running, though the table knows neither that image nor a later one of the process, or not
    /// what it runs.
    pub missing: Vec<Subject>,
    /// Live in the table since before the survey began, and not seen.
    pub gone: Vec<Subject>,
    /// Seen running as somebody else, or elsewhere, or in another session, than the table has it.
    pub changed: Vec<Subject>,
    /// Seen running another program than the table has, by somebody who does not know which image it is:
    /// an exec was missed, or was under way. Whoever looks once more, and finds the same, knows that it was
    /// missed.
    pub doubtful: Vec<Subject>,
    /// How many of what was seen and is not known are younger than the survey: their events may be on the
    /// way, or lost. Whoever looks once more will know.
    pub young: usize,
}

impl Suspects {
    /// The table and the survey agree, as far as can be told.
    pub fn is_empty(&self) -> bool {
        [&self.missing, &self.gone, &self.changed, &self.doubtful].iter().all(|list| list.is_empty())
    }
}

impl Survey {
    /// A survey that begins now, at `began`.
    pub fn new(began: BootTime) -> Self {
        Self { began, seen: HashMap::with_hasher(FixedState::default()) }
    }

    /// The same, when it turns out only later when it began.
    #[must_use]
    pub fn begun_at(self, began: BootTime) -> Self {
        Self { began, ..self }
    }

    /// When it began.
    pub fn began(&self) -> BootTime {
        self.began
    }

    /// Processes that were seen.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// `subject` runs.
    pub fn saw(&mut self, subject: Subject) {
        self.saw_as(subject, &Context::default());
    }

    /// `subject` runs, as whom and where `context` says. Parts of it that are `None` are not compared.
    pub fn saw_as(&mut self, subject: Subject, context: &Context<'_>) {
        self.saw_program(subject, context, &Program::default());
    }

    /// What an event that tells of a running process says: [`saw_as`](Self::saw_as), and which program it
    /// runs.
    pub fn saw_running(&mut self, running: &Running<'_>) {
        self.saw_program(running.process, &running.context, &running.program);
    }

    fn saw_program(&mut self, subject: Subject, context: &Context<'_>, program: &Program<'_>) {
        let (rights, program) = (Rights::of_context(context), ProgramMark::of(program));
        let seen = Seen { subject, rights, session: context.session, program };
        let latest = self.seen.entry(subject.key.pid).or_insert(seen);
        // Of two that had the pid while the survey went on, and of two images, the later one.
        if (latest.subject.began, latest.subject.key.start) <= (subject.began, subject.key.start) {
            *latest = seen;
        }
    }
}

impl Rights {
    fn of_context(context: &Context<'_>) -> Self {
        let Context { credentials, namespaces, cgroup, .. } = context;
        Self([number(credentials.as_ref()), number(namespaces.as_ref()), number(cgroup.map(|it| it.id))])
    }

    fn of_setting(setting: &Setting) -> Self {
        let cgroup = setting.cgroup().map(|it| it.id);
        Self([number(setting.credentials.as_ref()), number(setting.namespaces.as_ref()), number(cgroup)])
    }

    /// Whether `seen` says of a part what this does not.
    fn lacks(self, seen: Self) -> bool {
        self.0.into_iter().zip(seen.0).any(|(known, seen)| seen != 0 && known != seen)
    }
}

pub(super) fn number(part: Option<impl Hash>) -> u32 {
    let Some(part) = part else { return 0 };
    let [a, b, c, d, ..] = FixedState::default().hash_one(part).to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

impl Table {
    /// In what the table and `survey` do not agree.
    ///
    /// The table must have been told all events up to the end of the survey, as far as they were not
    /// lost: then what began, changed or ended meanwhile is no suspect. Of images that began meanwhile
    /// nothing is said but how many are not known ([`Suspects::young`]). The cost is that of a look at
    /// every entry.
    pub fn suspects(&self, survey: &Survey) -> Suspects {
        let mut suspects = Suspects::default();
        for seen in survey.seen.values() {
            match self.verdict(survey, *seen) {
                Verdict::Agreed => {}
                Verdict::Doubtful => suspects.doubtful.push(seen.subject),
                Verdict::Missing if survey.is_older(seen.subject) => suspects.missing.push(seen.subject),
                Verdict::Missing => suspects.young += 1,
                Verdict::Changed => suspects.changed.push(seen.subject),
            }
        }
        let live = self.nodes.iter().filter(|(_, node)| node.is_running());
        let gone = live.filter(|(_, node)| survey.should_have_seen(node) && !survey.has_seen(node));
        suspects.gone.extend(gone.map(|(_, node)| node.subject()));
        // The order of a hash table is nobody's business; parents come before their children.
        let Suspects { missing, gone, changed, doubtful, .. } = &mut suspects;
        for list in [missing, gone, changed, doubtful] {
            list.sort_unstable_by_key(|it| (it.began, it.key.pid, it.key.start));
        }
        suspects
    }

    fn verdict(&self, survey: &Survey, seen: Seen) -> Verdict {
        let subject = seen.subject;
        let of_pid = self.latest_slot_of(subject.key.pid);
        let Some((slot, node)) = of_pid.and_then(|slot| Some((slot, self.nodes.get(slot)?))) else {
            return Verdict::Missing;
        };
        if !is_of(node, subject) {
            // A later process with this pid: the one that was seen has ended.
            return if node.began > subject.began { Verdict::Agreed } else { Verdict::Missing };
        }
        if !node.is_running() {
            return Verdict::Agreed;
        }
        let image = self.image(slot);
        let is_exact =
            node.precision == Precision::Nanoseconds && subject.precision == Precision::Nanoseconds;
        if is_exact && node.start < subject.key.start || is_undescribed(node, image) {
            return Verdict::Missing;
        }
        // One that began after the survey did may not be the one that was seen.
        if survey.is_older(node.subject()) && self.with_other_program(subject, seen.program).is_some() {
            return Verdict::Doubtful;
        }
        let is_changed = lacks_session(node.pid, self.session_of(slot), seen.session)
            || image.is_some_and(|image| lacks_rights(node, image.setting(), seen, survey.began));
        if is_changed { Verdict::Changed } else { Verdict::Agreed }
    }
}

/// What there is to say of a process that was seen.
enum Verdict {
    Agreed,
    Missing,
    Changed,
    Doubtful,
}

/// Whether a process was seen in another session than is known of it.
///
/// It leaves the one it was forked into only once, for one of its own: so who is known to be in its own was
/// seen before that, whenever that was.
pub(super) fn lacks_session(pid: Pid, known: Option<Pid>, seen: Option<Pid>) -> bool {
    seen.is_some() && known != seen && known != Some(pid)
}

impl Survey {
    /// Whether the image of `subject` was there when the survey began.
    fn is_older(&self, subject: Subject) -> bool {
        let start = subject.key.start;
        let latest = match subject.precision {
            Precision::Nanoseconds => start,
            // It began within the tick.
            Precision::Ticks => start.after(BootTime::TICK),
        };
        latest < self.began
    }

    /// Whether `node` was there when the survey began.
    fn should_have_seen(&self, node: &Node) -> bool {
        let latest = match node.precision {
            Precision::Nanoseconds => node.began,
            // It began within the tick.
            Precision::Ticks => node.began.after(BootTime::TICK),
        };
        latest < self.began
    }

    fn has_seen(&self, node: &Node) -> bool {
        self.seen.get(&node.pid).is_some_and(|seen| is_of(node, seen.subject))
    }
}

/// Whether `node` is an image of the process of `subject`, as far as is known by now: of some that were
/// inferred only an image is known, and not when the process began.
pub(super) fn is_of(node: &Node, subject: Subject) -> bool {
    node.key() == subject.key || node.is_same_process(subject)
}

/// Whether it is not known what `node` runs: its events were missed, or those of the one that forked it.
pub(super) fn is_undescribed(node: &Node, image: Option<&Image>) -> bool {
    match node.origin {
        Origin::Inferred => true,
        Origin::Fork => image.is_none_or(|image| image.binary().is_empty() && image.executable().is_empty()),
        Origin::FirstExec | Origin::Exec | Origin::Running | Origin::Found(_) => false,
    }
}

/// Whether `node` was seen in its current image as somebody else, or elsewhere, than in `setting`, by a survey
/// that began then.
fn lacks_rights(node: &Node, setting: &Setting, seen: Seen, began: BootTime) -> bool {
    let Subject { key, began: process_began, precision } = seen.subject;
    let is_exact = node.precision == Precision::Nanoseconds && precision == Precision::Nanoseconds;
    // Who names it by its begin has lost what it kept of it, and means what it runs by now.
    let is_this_image = !is_exact || node.start == key.start || key.start == process_began;
    // What changed after the survey began may have been seen before that.
    is_this_image && known_since(node, setting) < began && Rights::of_setting(setting).lacks(seen.rights)
}

/// Since when it is known as whom and where `node` runs.
fn known_since(node: &Node, setting: &Setting) -> BootTime {
    setting.past().last().map_or(node.start, |spell| spell.until().max(node.start))
}
