//! What happened to one process.

use std::collections::HashMap;
use std::time::SystemTime;

use procession::{
    Applied, Entry, Event, Fact, FactKind, LONGEST_LINEAGE, LineageDetail, Outcome, ParentLink, Pid, Process,
    ProcessKey, Table,
};

use crate::journal::{Moment, Witness};
use crate::recording::Recording;

use super::Target;
use super::family::{Extent, Family};

/// All that a journal has on one process.
#[derive(Clone, Debug)]
pub struct Life {
    /// What the journal says of itself where the process is last heard of: node, boot, clocks.
    pub recording: Recording,
    /// The process as it was last heard of, in its last image.
    pub process: Process,
    /// Those that led to it, its parent by the reference system's rule first, as far as was known when it
    /// was first heard of.
    pub lineage: Vec<Process>,
    /// What happened, in the order in which it was told.
    pub happenings: Vec<Happening>,
    /// Its children, as they were last heard of, in the order in which they began.
    pub children: Vec<Process>,
    /// Children that are not in the list.
    pub children_left_out: u64,
}

/// Something that happened to a process.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When, by the clock of that time.
    pub time: SystemTime,
    /// What.
    pub what: What,
}

/// What can happen to a process.
#[derive(Clone, Debug)]
pub enum What {
    /// This is what it ran when the journal begins, or goes on after a part that is missing. The time is
    /// that at which this image of it began.
    Known(Box<Process>),
    /// An event, with the process as it was then, and its parent.
    Event(Box<Fact>),
    /// From now on this one owns it, because the one that did exited. `None`: nobody knows who.
    Inherited(Option<ParentLink>),
}

/// What is remembered of one life while the journal is folded.
#[derive(Debug)]
struct Draft {
    life: Life,
    owner: Option<ProcessKey>,
}

/// Follows all processes that had a pid.
#[derive(Debug)]
pub(super) struct Biography {
    target: Target,
    /// These processes and their children.
    family: Family,
    /// By the place in the family.
    drafts: HashMap<usize, Draft>,
    /// Which of them has the pid now.
    current: Option<usize>,
}

impl Biography {
    pub(super) fn new(target: Target, most_children: usize) -> Self {
        // The processes themselves take room, too: there are few of them.
        let members = most_children.saturating_add(1);
        let family = Family::new(target, Extent { levels: 1, members });
        Self { target, family, drafts: HashMap::new(), current: None }
    }

    /// The lives, in order. With `from`, what happened before is left out, and who had exited by then.
    pub(super) fn into_lives(self, from: Option<SystemTime>) -> Vec<Life> {
        let mut drafts = self.drafts;
        let members = self.family.into_members();
        for (number, member) in members.iter().enumerate() {
            if let Some(draft) = drafts.get_mut(&number) {
                draft.life.process = member.process.clone();
                draft.life.children_left_out = member.left_out;
            }
            if let Some(draft) = member.parent.and_then(|parent| drafts.get_mut(&parent)) {
                draft.life.children.push(member.process.clone());
            }
        }
        let is_late = |time: SystemTime| from.is_none_or(|from| time >= from);
        let mut lives = Vec::new();
        for (number, member) in members.into_iter().enumerate() {
            let Some(Draft { mut life, .. }) = drafts.remove(&number).filter(|_| member.is_target) else {
                continue;
            };
            if member.ended.is_none_or(is_late) {
                life.happenings.retain(|it| is_late(it.time) || matches!(it.what, What::Known(_)));
                lives.push(life);
            }
        }
        lives
    }

    /// Tells what images of the process `entry` a table knows that was not followed until now.
    fn know(&mut self, entry: Entry<'_>, recording: &Recording) {
        let Some((number, _)) = self.family.meet(entry, recording.clock) else { return };
        let is_news = self.drafts.get(&number).is_none_or(|draft| {
            let known = &draft.life.process;
            known.key < entry.key() || known.key == entry.key() && known.end.is_none() && !entry.is_running()
        });
        if is_news {
            let time = recording.clock.at(entry.key().start);
            let process = entry.snapshot();
            self.note(number, entry, recording, Happening { time, what: What::Known(Box::new(process)) });
        }
    }

    fn note(&mut self, number: usize, entry: Entry<'_>, recording: &Recording, happening: Happening) {
        let draft = self.drafts.entry(number).or_insert_with(|| Draft::new(entry, recording));
        draft.life.recording.clone_from(recording);
        draft.life.process = entry.snapshot();
        draft.life.happenings.push(happening);
        self.current = Some(number);
        if entry.is_running() {
            draft.owner = entry.owner().map(|owner| owner.key);
        }
    }

    /// Sees an event of one of the processes themselves.
    fn see(&mut self, entry: Entry<'_>, recording: &Recording, event: &Event<'_>, number: usize) {
        let Some(kind) = FactKind::of(&event.kind) else { return };
        let former = self.drafts.get(&number).map(|draft| draft.owner);
        let fact = entry.fact(entry.snapshot(), event.time, kind, LineageDetail::Parent);
        let time = recording.clock.at(event.time);
        self.note(number, entry, recording, Happening { time, what: What::Event(Box::new(fact)) });
        if let Some(former) = former {
            self.compare_owner(number, former, entry, time);
        }
    }

    /// Another process exited: it may have been the owner.
    fn see_exit_of(&mut self, pid: Pid, table: &Table, time: SystemTime) {
        let Some((number, draft)) = self.current.and_then(|number| Some((number, self.drafts.get(&number)?)))
        else {
            return;
        };
        let former = draft.owner;
        if former.is_none_or(|owner| owner.pid != pid) {
            return;
        }
        let entry = table.get_live(draft.life.process.pid());
        if let Some(entry) = entry.filter(|entry| entry.began() == draft.life.process.began) {
            self.compare_owner(number, former, entry, time);
        }
    }

    fn compare_owner(
        &mut self,
        number: usize,
        former: Option<ProcessKey>,
        entry: Entry<'_>,
        time: SystemTime,
    ) {
        let owner = entry.owner().filter(|_| entry.is_running());
        let pid = |key: ProcessKey| key.pid;
        let Some(draft) = self.drafts.get_mut(&number).filter(|_| entry.is_running()) else { return };
        if owner.map(|owner| pid(owner.key)) != former.map(pid) {
            draft.life.happenings.push(Happening { time, what: What::Inherited(owner) });
        }
        draft.owner = owner.map(|owner| owner.key);
    }
}

impl Draft {
    fn new(entry: Entry<'_>, recording: &Recording) -> Self {
        let life = Life {
            recording: recording.clone(),
            process: entry.snapshot(),
            lineage: entry.reference_lineage().take(LONGEST_LINEAGE).map(Entry::snapshot).collect(),
            happenings: Vec::new(),
            children: Vec::new(),
            children_left_out: 0,
        };
        Self { life, owner: None }
    }
}

impl Witness for Biography {
    fn restored(&mut self, table: &Table, recording: &Recording) {
        let mut images: Vec<_> =
            table.entries().filter(|entry| entry.key().pid == self.target.pid()).collect();
        images.sort_by_key(|entry| (entry.began(), entry.key().start));
        for entry in images {
            self.know(entry, recording);
        }
        self.family.look_through(table, recording.clock);
    }

    fn applied(&mut self, moment: Moment<'_>, applied: Applied) {
        let Moment { table, recording, event, .. } = moment;
        let Some(entry) = applied.process.and_then(|id| table.entry(id)) else { return };
        if matches!(applied.outcome, Outcome::Duplicate | Outcome::Rejected) {
            return;
        }
        let met = self.family.meet(entry, recording.clock);
        // What came before this one was heard of may be its child.
        if applied.outcome == Outcome::Late && met.is_some_and(|(_, is_new)| is_new) {
            self.family.look_through(table, recording.clock);
        }
        if entry.key().pid == self.target.pid() {
            if let Some((number, _)) = met {
                self.see(entry, recording, event, number);
            }
        } else if entry.has_exited() {
            self.see_exit_of(entry.key().pid, table, recording.clock.at(event.time));
        }
    }
}
