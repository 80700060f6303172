//! The parts of a checkpoint.

use bytes::Bytes;
use procession::{
    End, EndKind, ExitStatus, Gap, Origin, Part, Pid, Provenance, SavedContent, SavedEntry, SavedImage,
    SavedProgram, SavedSetting, SavedSpell, SavedState,
};
use prost::Message;

use super::context::{
    cgroup, credentials, directory, file, namespaces, privilege_bits, privileges, put_cgroup,
    put_credentials, put_directory, put_file, put_namespaces, time,
};
use super::event::{arguments, gap, key, nature, put_arguments, put_gap, put_key, put_subject, subject};
use super::recording::{ledger, put_ledger};
use super::wire::{Put, count};
use crate::proto;

/// Marks of an entry.
const FOLLOWED: u32 = 1;
const IN_INIT_TREE: u32 = 2;

pub(crate) fn put_state(put: &mut Put<'_>, state: &SavedState) {
    put.fixed(1, state.now.as_nanos());
    put.message(2, |put| put_ledger(put, &state.ledger));
    put.number(3, state.dropped_early);
    put.number(4, state.folded);
    put.number(5, state.evicted_live);
    put.fixed(6, state.latest.as_nanos());
}

pub(crate) fn state(state: &proto::State) -> SavedState {
    SavedState {
        now: time(state.now),
        latest: time(state.latest),
        ledger: state.ledger.as_ref().map(ledger).unwrap_or_default(),
        dropped_early: state.dropped_early,
        folded: state.folded,
        evicted_live: state.evicted_live,
    }
}

/// One of the repeated fields of a `proto::Checkpoint`.
pub(crate) fn put_part(put: &mut Put<'_>, part: &Part<'_>) {
    match part {
        Part::Program(program) => put.message(5, |put| put_program(put, program)),
        Part::Setting(setting) => put.message(6, |put| put_setting(put, setting)),
        Part::Image(image) => put.message(7, |put| put_image(put, image)),
        Part::Entry(entry) => put.message(8, |put| put_entry(put, entry)),
        Part::Grace(key) => put.message(9, |put| put_key(put, *key)),
        Part::Ancestor(key) => put.message(10, |put| put_key(put, *key)),
    }
}

/// Whether a field of a `proto::Checkpoint` has a part.
pub(crate) fn is_part(field: u64) -> bool {
    (5..=10).contains(&field)
}

/// Hands over the part in a field. `None`: it says what is not known here.
pub(crate) fn with_part<T>(field: u64, message: Bytes, take: impl FnOnce(&Part<'_>) -> T) -> Option<T> {
    match field {
        5 => Some(take(&Part::Program(program(&decode(message)?)))),
        6 => Some(take(&Part::Setting(setting(&decode(message)?)?))),
        7 => Some(take(&Part::Image(image(&decode(message)?)))),
        8 => Some(take(&Part::Entry(entry(&decode(message)?)?))),
        9 => Some(take(&Part::Grace(key(decode(message)?)))),
        10 => Some(take(&Part::Ancestor(key(decode(message)?)))),
        _ => None,
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Option<M> {
    M::decode(message).ok()
}

/// At least as many bytes as a part takes in memory, here and in a checkpoint.
pub(crate) fn weight(field: u64, message: &[u8]) -> usize {
    let own = match field {
        6 => PART + count(message, &[6]) * SPELL,
        9 | 10 => KEY,
        _ => PART,
    };
    own + message.len()
}

/// More than the largest of all parts without what it points to, the place of an entry in an index, and what
/// allocating them costs.
const PART: usize = 512;
/// The same of what a setting was before.
const SPELL: usize = 64;
/// The same of a part that is a key, in a list that may have grown to twice what is in it.
const KEY: usize = 64;

fn put_program(put: &mut Put<'_>, program: &SavedProgram<'_>) {
    put.number(1, program.nature == procession::Nature::KernelThread);
    put.bytes(2, program.binary);
    put.bytes(3, program.executable);
    put.bytes(4, program.comm);
    if let Some(file) = &program.file {
        put.message(5, |put| put_file(put, file));
    }
}

fn program(program: &proto::ProgramFile) -> SavedProgram<'_> {
    SavedProgram {
        nature: nature(program.is_kernel_thread),
        binary: &program.binary,
        executable: &program.executable,
        comm: &program.comm,
        file: program.file.map(file),
    }
}

fn put_setting(put: &mut Put<'_>, setting: &SavedSetting<'_>) {
    if let Some(credentials) = &setting.credentials {
        put.message(1, |put| put_credentials(put, credentials));
    }
    if let Some(namespaces) = &setting.namespaces {
        put.message(2, |put| put_namespaces(put, namespaces));
    }
    if let Some(cgroup) = setting.cgroup {
        put.message(3, |put| put_cgroup(put, cgroup));
    }
    put_directory(put, 4, setting.cwd);
    for spell in &setting.past {
        put.message(6, |put| {
            put.number(1, spell.setting);
            put.fixed(2, spell.until.as_nanos());
            put_gap(put, 3, spell.gap);
        });
    }
    put.number(7, setting.forgotten);
}

fn setting(setting: &proto::Setting) -> Option<SavedSetting<'_>> {
    Some(SavedSetting {
        credentials: setting.credentials.as_ref().map(credentials),
        namespaces: setting.namespaces.as_ref().map(namespaces),
        cgroup: setting.cgroup.as_ref().map(cgroup),
        cwd: directory(setting.cwd.as_ref(), setting.cwd_is_tail),
        past: setting.past.iter().map(spell).collect::<Option<_>>()?,
        forgotten: setting.forgotten,
    })
}

fn spell(spell: &proto::Spell) -> Option<SavedSpell> {
    let gap = match spell.gap {
        None => None,
        Some(number) => Some(gap(number)?),
    };
    Some(SavedSpell { setting: spell.setting, until: time(spell.until), gap })
}

fn put_image(put: &mut Put<'_>, image: &SavedImage<'_>) {
    put.number(1, image.program);
    put.number(2, image.setting);
    put_arguments(put, 3, image.arguments);
    put_arguments(put, 5, image.environment);
    put.number(7, privilege_bits(image.privileges));
}

fn image(image: &proto::Image) -> SavedImage<'_> {
    SavedImage {
        program: image.program,
        setting: image.setting,
        arguments: arguments(&image.arguments, image.arguments_missing),
        environment: arguments(&image.environment, image.environment_missing),
        privileges: privileges(image.privileges),
    }
}

fn put_entry(put: &mut Put<'_>, entry: &SavedEntry) {
    put.message(1, |put| put_subject(put, &entry.subject));
    put.number(2, origin_number(entry.origin));
    put_some_key(put, 3, entry.parent);
    put.number(4, provenance_number(entry.parent_provenance));
    put_some_key(put, 5, entry.owner);
    put_some_key(put, 6, entry.previous);
    put.some_number(7, entry.ns_pid.map(|pid| pid.0));
    put.some_number(8, entry.session.map(|pid| pid.0));
    let marks = [(entry.is_followed, FOLLOWED), (entry.in_init_tree, IN_INIT_TREE)];
    put.number(9, marks.iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| mark).sum::<u32>());
    put.number(10, entry.depth);
    put.number(11, entry.is_latest);
    put_content(put, entry.content);
    if let Some(end) = &entry.end {
        put.message(15, |put| put_end(put, end));
    }
}

fn put_some_key(put: &mut Put<'_>, field: u32, key: Option<procession::ProcessKey>) {
    if let Some(key) = key {
        put.message(field, |put| put_key(put, key));
    }
}

fn put_content(put: &mut Put<'_>, content: SavedContent) {
    match content {
        SavedContent::Unknown => {}
        SavedContent::Image { image } => put.some_number(12, Some(image)),
        SavedContent::Tombstone { program, stands_for } => {
            put.some_number(13, Some(program));
            put.number(14, stands_for);
        }
    }
}

/// `None`: it is two things at once.
fn content(entry: &proto::Entry) -> Option<SavedContent> {
    match (entry.image, entry.tombstone) {
        (None, None) => Some(SavedContent::Unknown),
        (Some(image), None) => Some(SavedContent::Image { image }),
        (None, Some(program)) => Some(SavedContent::Tombstone { program, stands_for: entry.stands_for }),
        (Some(_), Some(_)) => None,
    }
}

fn entry(entry: &proto::Entry) -> Option<SavedEntry> {
    Some(SavedEntry {
        subject: subject(entry.subject?),
        origin: ORIGINS.get(usize::try_from(entry.origin).ok()?).copied()?,
        parent: entry.parent.map(key),
        parent_provenance: PROVENANCES.get(usize::try_from(entry.parent_provenance).ok()?).copied()?,
        owner: entry.owner.map(key),
        previous: entry.previous.map(key),
        ns_pid: entry.ns_pid.map(Pid),
        session: entry.session.map(Pid),
        is_followed: entry.marks & FOLLOWED != 0,
        in_init_tree: entry.marks & IN_INIT_TREE != 0,
        depth: u16::try_from(entry.depth).ok()?,
        is_latest: entry.is_latest,
        content: content(entry)?,
        end: match &entry.end {
            None => None,
            Some(end) => Some(self::end(end)?),
        },
    })
}

/// Each in the place of its number.
const ORIGINS: [Origin; 7] = [
    Origin::Fork,
    Origin::FirstExec,
    Origin::Exec,
    Origin::Running,
    Origin::Inferred,
    Origin::Found(Gap::Loss),
    Origin::Found(Gap::Absence),
];

const PROVENANCES: [Provenance; 3] = [Provenance::Observed, Provenance::Found, Provenance::Inferred];

const fn origin_number(origin: Origin) -> u32 {
    match origin {
        Origin::Fork => 0,
        Origin::FirstExec => 1,
        Origin::Exec => 2,
        Origin::Running => 3,
        Origin::Inferred => 4,
        Origin::Found(Gap::Loss) => 5,
        Origin::Found(Gap::Absence) => 6,
    }
}

const fn provenance_number(provenance: Provenance) -> u32 {
    match provenance {
        Provenance::Observed => 0,
        Provenance::Found => 1,
        Provenance::Inferred => 2,
    }
}

fn put_end(put: &mut Put<'_>, end: &End) {
    put.fixed(1, end.time.as_nanos());
    let (how, status) = match end.how {
        EndKind::Exited(status) => (0_u32, status),
        EndKind::Replaced => (1, None),
        EndKind::Vanished => (2, None),
        EndKind::Gone(Gap::Loss) => (3, None),
        EndKind::Gone(Gap::Absence) => (4, None),
    };
    put.number(2, how);
    put.some_number(3, status.map(ExitStatus::as_raw));
}

fn end(end: &proto::End) -> Option<End> {
    let how = match end.how {
        0 => EndKind::Exited(end.status.map(ExitStatus::from_raw)),
        1 => EndKind::Replaced,
        2 => EndKind::Vanished,
        3 => EndKind::Gone(Gap::Loss),
        4 => EndKind::Gone(Gap::Absence),
        _ => return None,
    };
    Some(End { time: time(end.time), how })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back() {
        for origin in ORIGINS {
            assert_eq!(ORIGINS[origin_number(origin) as usize], origin);
        }
        for provenance in PROVENANCES {
            assert_eq!(PROVENANCES[provenance_number(provenance) as usize], provenance);
        }
    }
}
