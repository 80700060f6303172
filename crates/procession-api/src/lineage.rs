//! What the table knows of a process, as the messages of our own API.

use procession::{
    BootId, Credentials, End, EndKind, Entry, ExitStatus, Gap, Image, Origin, ParentLink, Process,
    ProcessUid, Provenance, Spell, WallClock,
};
use procession_kube::Whose;

use crate::messages::{
    MessageEncoder, all_namespaces, binary_properties, capabilities, date, process_credentials, text,
};
use crate::proto::procession::v1::{self, end};
use crate::proto::tetragon::{self, ProcessCredentials};
use crate::users::Users;

/// An image of a process, with all that is known of it.
///
/// `whose` is what is known of the container that it runs in. `boot` makes the process's uid, which
/// without it stays empty. `clock` and `users` are as for events.
pub fn process(
    encoder: &MessageEncoder,
    entry: Entry<'_>,
    whose: Option<&Whose>,
    boot: Option<&BootId>,
    clock: &WallClock,
    users: &Users,
) -> v1::Process {
    let process = entry.snapshot();
    let owner = new_owner(entry);
    v1::Process {
        owner_exec_id: owner.map(|owner| encoder.exec_id(owner.key)).unwrap_or_default(),
        owner_provenance: owner.map(|owner| provenance(owner.provenance)).unwrap_or_default().into(),
        parent_binary: entry.parent().map(|parent| text(parent.binary())).unwrap_or_default(),
        depth: entry.depth().into(),
        ..snapshot(encoder, &process, whose, boot, clock, users)
    }
}

/// The same of what was known of a process at some time: nothing is told of others than itself.
pub fn snapshot(
    encoder: &MessageEncoder,
    process: &Process,
    whose: Option<&Whose>,
    boot: Option<&BootId>,
    clock: &WallClock,
    users: &Users,
) -> v1::Process {
    let image = process.image.as_ref();
    let uid = boot.map(|boot| ProcessUid::new(*boot, process.pid(), process.began));
    let parent_provenance = process.parent.map(|link| provenance(link.provenance));
    let past = image.map(Image::past).unwrap_or_default();
    v1::Process {
        process: Some(with_rights(encoder.process(process, whose, clock, users), process)),
        process_uid: uid.map(|uid| uid.to_string()).unwrap_or_default(),
        began: Some(date(clock, process.began)),
        origin: origin(process.origin).into(),
        parent_provenance: parent_provenance.unwrap_or_default().into(),
        end: process.end.map(|end| message_of_end(end, clock)),
        session: process.session.map_or(0, |leader| leader.0),
        past: past.iter().map(|spell| message_of_spell(encoder, spell, clock)).collect(),
        forgotten_spells: image.map_or(0, Image::forgotten_changes),
        stands_for: process
            .tombstone
            .as_ref()
            .map_or(0, |tombstone| tombstone.stands_for().saturating_add(1)),
        comm: image
            .filter(|image| image.binary().is_empty())
            .map(|image| text(image.comm()))
            .unwrap_or_default(),
        gap: gap_before(process.origin).into(),
        ..v1::Process::default()
    }
}

/// With the rights of a process and what is remarkable about its program, which who asks for one process
/// wants to see whatever events tell.
fn with_rights(mut message: tetragon::Process, process: &Process) -> tetragon::Process {
    if let Some(credentials) = process.credentials() {
        message.cap = Some(capabilities(&credentials.capabilities));
        message.process_credentials = Some(process_credentials(credentials));
    }
    message.binary_properties = binary_properties(process);
    let file = message.binary_properties.as_mut().and_then(|properties| properties.file.as_mut());
    if let Some((file, image)) = file.zip(process.image.as_ref()) {
        // The program may be called otherwise, as when it was run by a descriptor.
        file.path = text(image.executable());
    }
    message
}

fn origin(origin: Origin) -> v1::Origin {
    match origin {
        Origin::Fork => v1::Origin::Fork,
        Origin::FirstExec | Origin::Exec => v1::Origin::Exec,
        Origin::Running => v1::Origin::Running,
        Origin::Found(_) => v1::Origin::Found,
        Origin::Inferred => v1::Origin::Inferred,
    }
}

fn gap(gap: Gap) -> v1::Gap {
    match gap {
        Gap::Loss => v1::Gap::Loss,
        Gap::Absence => v1::Gap::Absence,
    }
}

/// Why events did not tell of a process that was found.
fn gap_before(origin: Origin) -> v1::Gap {
    match origin {
        Origin::Found(why) => gap(why),
        Origin::Fork | Origin::FirstExec | Origin::Exec | Origin::Running | Origin::Inferred => {
            v1::Gap::Unspecified
        }
    }
}

fn provenance(provenance: Provenance) -> v1::Provenance {
    match provenance {
        Provenance::Observed => v1::Provenance::Observed,
        Provenance::Found => v1::Provenance::Found,
        Provenance::Inferred => v1::Provenance::Inferred,
    }
}

/// Who owns a process now that its parent does not. Nobody owns one that has exited.
fn new_owner(entry: Entry<'_>) -> Option<ParentLink> {
    let owner = entry.owner().filter(|_| !entry.has_exited())?;
    // Both live, so that the pid tells whether they are one.
    let parent = entry.parent().and_then(Entry::current);
    parent.is_none_or(|parent| parent.key().pid != owner.key.pid).then_some(owner)
}

fn message_of_end(end: End, clock: &WallClock) -> v1::End {
    let how = match end.how {
        EndKind::Exited(status) => status.map(how_it_exited),
        EndKind::Replaced => Some(end::How::Replaced(end::Replaced {})),
        EndKind::Vanished => Some(end::How::Vanished(end::Vanished {})),
        EndKind::Gone(why) => Some(end::How::Gone(end::Gone { gap: gap(why).into() })),
    };
    v1::End { time: Some(date(clock, end.time)), how }
}

fn how_it_exited(status: ExitStatus) -> end::How {
    match status.signal() {
        Some(signal) => end::How::Signal(signal.to_string()),
        None => end::How::Status(status.code().into()),
    }
}

fn message_of_spell(encoder: &MessageEncoder, spell: &Spell, clock: &WallClock) -> v1::Spell {
    let host = encoder.options.namespaces.unwrap_or_default();
    v1::Spell {
        until: Some(date(clock, spell.until())),
        credentials: spell.credentials().map(all_credentials),
        namespaces: spell.namespaces().map(|own| all_namespaces(own, &host)),
        cgroup: text(spell.cgroup_path()),
        gap: spell.gap().map_or(v1::Gap::Unspecified, gap).into(),
    }
}

/// With the capabilities, for which a spell has no other place.
fn all_credentials(credentials: &Credentials) -> ProcessCredentials {
    let caps = Some(capabilities(&credentials.capabilities));
    ProcessCredentials { caps, ..process_credentials(credentials) }
}

#[cfg(test)]
mod tests;
