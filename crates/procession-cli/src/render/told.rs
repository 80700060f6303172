//! A fact of the table in this program, as lines show it.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use procession::{CapabilitySet, Fact, FactKind, Image, Nature, Origin, Process, text};
use procession_agent::Told;
use procession_kube::{ContainerId, PodName, Whose};

use super::Surroundings;
use super::view::{Kind, Name, Outcome, Place, User, View, Word};

const CAP_SYS_ADMIN: CapabilitySet = CapabilitySet(1 << 21);

/// What is told, with what it does not say itself.
pub(super) struct ToldView<'a> {
    told: &'a Told,
    container: Option<ContainerId>,
    surroundings: &'a Surroundings,
}

impl<'a> ToldView<'a> {
    pub(super) fn new(told: &'a Told, surroundings: &'a Surroundings) -> Self {
        Self { told, container: ContainerId::of_process(&told.fact.process), surroundings }
    }

    fn process(&self) -> &Process {
        &self.told.fact.process
    }
}

impl View for ToldView<'_> {
    fn kind(&self) -> Kind<'_> {
        match self.told.fact.kind {
            FactKind::Fork => Kind::Fork,
            FactKind::Exec => Kind::Exec,
            FactKind::Running => Kind::Running,
            FactKind::Change => Kind::Change,
            FactKind::Exit { status, .. } => Kind::Exit(status.map_or(Outcome::Gone, Outcome::Status)),
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp::try_from(self.surroundings.clock.at(self.told.fact.time)).unwrap_or_default()
    }

    fn pid(&self) -> u32 {
        self.process().pid().0
    }

    /// A container has users of its own, so the host's names are not put to its ids.
    fn user(&self) -> Option<User<'_>> {
        let uid = self.process().user()?;
        let name = self.surroundings.users.name(uid).filter(|_| self.container.is_none());
        Some(User { id: uid.0, name })
    }

    /// The pod, else the container's name, else its id.
    fn place(&self) -> Option<Place<'_>> {
        let container = self.container.as_ref()?;
        let whose = self.told.whose(self.process());
        let name = whose.map(Whose::container_name).filter(|name| !name.is_empty());
        Some(match (whose.and_then(Whose::pod), name) {
            (Some(PodName { namespace, name }), _) => Place::Pod { namespace, name },
            (None, Some(name)) => Place::Container(name),
            (None, None) => Place::Id(container.short()),
        })
    }

    fn depth(&self) -> u16 {
        self.told.fact.depth
    }

    fn name(&self) -> Name<'_> {
        name_of(self.process())
    }

    fn words(&self, put: &mut dyn FnMut(Word<'_>)) {
        if let Some(image) = &self.process().image {
            image.arguments().iter().skip(1).for_each(|argument| put(Word::Argument(argument)));
        }
    }

    fn markers(&self) -> Vec<Cow<'static, str>> {
        let mut markers = Vec::new();
        if let Some(image) = &self.process().image {
            let missing = image.arguments().missing();
            if missing > 0 {
                markers.push(Cow::Owned(format!("{missing} argument bytes missing")));
            }
            // An image is marked where it starts or is found. Its forks and its end share it.
            if matches!(self.told.fact.kind, FactKind::Exec | FactKind::Running) {
                image_markers(image, &mut markers);
            }
        }
        if self.process().origin == Origin::Fork && matches!(self.told.fact.kind, FactKind::Exit { .. }) {
            markers.push(Cow::Borrowed("fork"));
        }
        if self.process().origin == Origin::Inferred {
            markers.push(Cow::Borrowed("inferred"));
        }
        if !self.told.is_complete {
            markers.push(Cow::Borrowed("unknown container"));
        }
        markers
    }

    /// From its fork, whatever it ran since.
    fn lived(&self) -> Option<Duration> {
        Some(self.told.fact.time.since(self.process().began))
    }

    fn change(&self) -> Option<&Fact> {
        Some(&self.told.fact).filter(|fact| fact.kind == FactKind::Change)
    }

    fn ancestors(&self) -> Vec<(Name<'_>, u32)> {
        let of = self.process();
        // Images that a process replaced are its own past, not its parents.
        let lineage: Vec<_> =
            self.told.fact.lineage.iter().filter(|image| !is_same_process(image, of)).collect();
        let parents = lineage.chunk_by(|one, next| is_same_process(one, next));
        parents.map(|images| (name_of(images[0]), images[0].pid().0)).collect()
    }

    fn node(&self) -> Option<&str> {
        None
    }

    fn binary_text(&self) -> Cow<'_, str> {
        text::to_valid_utf8(self.process().binary())
    }

    fn arguments_text(&self) -> Cow<'_, str> {
        let list = self.process().image.as_ref().map(Image::arguments_text).unwrap_or_default();
        Cow::Owned(text::to_valid_utf8(&list).into_owned())
    }

    fn is_admin(&self) -> bool {
        let effective = self.process().credentials().map_or(0, |it| it.capabilities.effective.0);
        effective & CAP_SYS_ADMIN.0 != 0
    }
}

fn is_same_process(one: &Process, other: &Process) -> bool {
    (one.pid(), one.began) == (other.pid(), other.began)
}

fn name_of(process: &Process) -> Name<'_> {
    let Some(image) = &process.image else { return Name::Unknown };
    let binary = image.binary();
    if image.nature() == Nature::KernelThread {
        Name::KernelThread(binary)
    } else if !binary.is_empty() {
        Name::Binary(binary)
    } else if !image.comm().is_empty() {
        Name::Command(image.comm())
    } else {
        Name::Unknown
    }
}

fn image_markers(image: &Image, markers: &mut Vec<Cow<'static, str>>) {
    let raised = image.privileges();
    let is_in_memory = image.executable().starts_with(b"/memfd:");
    let is_unlinked = image.file().is_some_and(|file| file.is_unlinked());
    let is_deleted = is_unlinked || image.executable().ends_with(b" (deleted)");
    let all = [
        (raised.setuid, "setuid"),
        (raised.setgid, "setgid"),
        (raised.file_capabilities, "file capabilities"),
        (is_in_memory, "memfd"),
        (is_deleted && !is_in_memory, "deleted"),
    ];
    markers.extend(all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, marker)| Cow::Borrowed(marker)));
}
