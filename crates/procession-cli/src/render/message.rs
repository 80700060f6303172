//! A message of an agent, as lines show it.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use procession::{Fact, Uid};
use procession_api::proto::procession::v1;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    CapabilitiesType, GetEventsResponse, Process, ProcessPrivilegesChanged,
};

use super::view::{Kind, Name, Outcome, Place, User, View, Word};

/// Digits of a container's id that people are shown.
const SHORT_ID: usize = 12;

/// What a message says of a process.
#[derive(Clone, Debug)]
pub(crate) struct MessageView<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) time: Timestamp,
    pub(crate) process: &'a Process,
    pub(crate) parent: Option<&'a Process>,
    /// From the parent of the parent up.
    pub(crate) ancestors: &'a [Process],
    /// When the process began.
    pub(crate) began: Option<Timestamp>,
    /// Nobody saw it start, nor found it.
    pub(crate) is_inferred: bool,
    /// It is known to have run nothing of its own.
    pub(crate) is_fork: bool,
    pub(crate) depth: u16,
    /// The name of its thread, where the program is not known.
    pub(crate) comm: &'a str,
    pub(crate) node: &'a str,
}

impl<'a> MessageView<'a> {
    /// Of an event. `None`: it is not about the start or end of a process.
    pub(crate) fn of_event(event: &'a GetEventsResponse, depth: u16) -> Option<Self> {
        let (kind, process, parent, ancestors) = match event.event.as_ref()? {
            Event::ProcessExec(exec) => (Kind::Exec, &exec.process, &exec.parent, &exec.ancestors),
            Event::ProcessExit(exit) => {
                let outcome = if exit.signal.is_empty() {
                    Outcome::Code(exit.status)
                } else {
                    Outcome::Signal(&exit.signal)
                };
                (Kind::Exit(outcome), &exit.process, &exit.parent, &exit.ancestors)
            }
            _ => return None,
        };
        let process = process.as_ref()?;
        Some(Self {
            kind,
            time: event.time.as_ref().map(timestamp).unwrap_or_default(),
            process,
            parent: parent.as_ref(),
            ancestors,
            began: process.start_time.as_ref().map(timestamp),
            // Whatever else is known of a process, its flags say from where.
            is_inferred: process.flags.is_empty(),
            // They do not say that.
            is_fork: false,
            depth,
            comm: "",
            node: &event.node_name,
        })
    }

    /// Of a process in a list. `None`: there is none in it.
    pub(crate) fn of_process(entry: &'a v1::Process) -> Option<Self> {
        let process = entry.process.as_ref()?;
        let start = process.start_time.as_ref().map(timestamp);
        let end = entry.end.as_ref();
        let kind = end.and_then(outcome).map_or(Kind::Running, Kind::Exit);
        Some(Self {
            kind,
            time: end.and_then(|end| end.time.as_ref()).map(timestamp).or(start).unwrap_or_default(),
            process,
            parent: None,
            ancestors: &[],
            began: entry.began.as_ref().map(timestamp).or(start),
            is_inferred: entry.origin() == v1::Origin::Inferred,
            is_fork: entry.origin() == v1::Origin::Fork,
            depth: u16::try_from(entry.depth).unwrap_or(u16::MAX),
            comm: &entry.comm,
            node: "",
        })
    }
}

/// How a program ended: `None` when it was replaced, for then the process did not.
pub(crate) fn outcome(end: &v1::End) -> Option<Outcome<'_>> {
    match end.how.as_ref() {
        Some(v1::end::How::Status(code)) => Some(Outcome::Code(*code)),
        Some(v1::end::How::Signal(name)) => Some(Outcome::Signal(name)),
        Some(v1::end::How::Replaced(_)) => None,
        Some(v1::end::How::Vanished(_) | v1::end::How::Gone(_)) | None => Some(Outcome::Gone),
    }
}

/// A time that no clock shows is taken for the beginning of time.
pub(crate) fn timestamp(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).unwrap_or_default()
}

/// What a process of a message is called: by its thread's name `comm` where its program is not known.
pub(crate) fn name_of<'a>(process: &'a Process, comm: &'a str) -> Name<'a> {
    let binary = process.binary.as_bytes();
    if is_kernel_thread(process) {
        Name::KernelThread(binary)
    } else if !binary.is_empty() {
        Name::Binary(binary)
    } else if !comm.is_empty() {
        Name::Command(comm.as_bytes())
    } else {
        Name::Unknown
    }
}

/// The path of a program begins at the root, or at the folder that it was run from; the name of a
/// kernel's thread stands in brackets.
pub(crate) fn is_kernel_thread(process: &Process) -> bool {
    process.binary.starts_with('[') && process.binary.ends_with(']')
}

/// The user, by the name that the agent gives it: the names of this machine need not be those of the
/// other, nor those of a container.
pub(crate) fn user_of(process: &Process) -> Option<User<'_>> {
    let id = process.uid.filter(|uid| *uid != Uid::INVALID.0)?;
    let name = process.user.as_ref().map(|user| user.name.as_str()).filter(|name| !name.is_empty());
    Some(User { id, name })
}

pub(crate) fn place_of(process: &Process) -> Option<Place<'_>> {
    let pod = process.pod.as_ref();
    let container = pod.and_then(|pod| pod.container.as_ref()).map(|container| container.name.as_str());
    match (pod.filter(|pod| !pod.name.is_empty()), container.filter(|name| !name.is_empty())) {
        (Some(pod), _) => Some(Place::Pod { namespace: &pod.namespace, name: &pod.name }),
        (None, Some(name)) => Some(Place::Container(name)),
        (None, None) if process.docker.is_empty() => None,
        (None, None) => Some(Place::Id(process.docker.get(..SHORT_ID).unwrap_or(&process.docker))),
    }
}

/// What deserves a second look in a process, by what a message says.
pub(crate) fn markers_of(process: &Process, is_inferred: bool) -> Vec<Cow<'static, str>> {
    let has_flag = |wanted: &str| process.flags.split(' ').any(|flag| flag == wanted);
    let raised = process.binary_properties.as_ref();
    let is_set = |id: Option<u32>| id.is_some_and(|id| id != Uid::INVALID.0);
    let has_capabilities =
        |changes: &[i32]| changes.contains(&i32::from(ProcessPrivilegesChanged::PrivilegesRaisedExecFileCap));
    let file = raised.and_then(|raised| raised.file.as_ref());
    let is_in_memory =
        process.binary.starts_with("/memfd:") || file.is_some_and(|file| file.path.starts_with("/memfd:"));
    let is_unlinked = file.and_then(|file| file.inode.as_ref()).is_some_and(|inode| inode.links == Some(0));
    let all = [
        (has_flag("truncArgs"), "argument bytes missing"),
        (raised.is_some_and(|raised| is_set(raised.setuid)), "setuid"),
        (raised.is_some_and(|raised| is_set(raised.setgid)), "setgid"),
        (raised.is_some_and(|raised| has_capabilities(&raised.privileges_changed)), "file capabilities"),
        (is_in_memory, "memfd"),
        (is_unlinked && !is_in_memory, "deleted"),
        (is_inferred, "inferred"),
        (has_flag("unknownContainer"), "unknown container"),
    ];
    all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, marker)| Cow::Borrowed(marker)).collect()
}

/// The arguments, one by one where the text still tells where each ends.
pub(crate) fn words_of(process: &Process, put: &mut dyn FnMut(Word<'_>)) {
    let text = process.arguments.as_str();
    if text.is_empty() {
        return;
    }
    match split(text) {
        Some(words) => words.iter().for_each(|word| put(Word::Argument(word.as_bytes()))),
        None => put(Word::Text(text)),
    }
}

/// Undoes how the reference joins arguments: a space separates, and what holds one stands in double
/// quotes. `None`: there are other ways to read it.
fn split(text: &str) -> Option<Vec<&str>> {
    // A first argument in quotes is preceded by a space.
    let mut rest = text.strip_prefix(' ').filter(|rest| rest.starts_with('"')).unwrap_or(text);
    let mut words = Vec::new();
    loop {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        // Nothing is quoted that has no space, and quotes inside are not marked as such.
        if word.contains('"') || (rest.starts_with('"') && !word.contains(' ')) {
            return None;
        }
        words.push(word);
        match after.strip_prefix(' ') {
            Some(after) => rest = after,
            None if after.is_empty() => return Some(words),
            None => return None,
        }
    }
}

impl View for MessageView<'_> {
    fn kind(&self) -> Kind<'_> {
        self.kind
    }

    fn time(&self) -> Timestamp {
        self.time
    }

    fn pid(&self) -> u32 {
        self.process.pid.unwrap_or_default()
    }

    fn user(&self) -> Option<User<'_>> {
        user_of(self.process)
    }

    fn place(&self) -> Option<Place<'_>> {
        place_of(self.process)
    }

    fn depth(&self) -> u16 {
        self.depth
    }

    fn name(&self) -> Name<'_> {
        name_of(self.process, self.comm)
    }

    fn words(&self, put: &mut dyn FnMut(Word<'_>)) {
        words_of(self.process, put);
    }

    fn markers(&self) -> Vec<Cow<'static, str>> {
        let mut markers = markers_of(self.process, self.is_inferred);
        // The program is its parent's.
        if self.is_fork && matches!(self.kind, Kind::Exit(_)) {
            markers.push(Cow::Borrowed("fork"));
        }
        markers
    }

    fn lived(&self) -> Option<Duration> {
        let lived = self.time.duration_since(self.began?);
        Some(Duration::try_from(lived).unwrap_or_default())
    }

    fn change(&self) -> Option<&Fact> {
        None
    }

    fn ancestors(&self) -> Vec<(Name<'_>, u32)> {
        let mut ancestors = Vec::new();
        let mut below = self.process.pid;
        for process in self.parent.into_iter().chain(self.ancestors) {
            // Images that a process replaced are its own past, not its parents.
            if std::mem::replace(&mut below, process.pid) != process.pid {
                ancestors.push((name_of(process, ""), process.pid.unwrap_or_default()));
            }
        }
        ancestors
    }

    fn node(&self) -> Option<&str> {
        Some(self.node)
    }

    fn binary_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.process.binary)
    }

    fn arguments_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.process.arguments)
    }

    fn is_admin(&self) -> bool {
        let effective = self.process.cap.as_ref().map_or(&[][..], |sets| &sets.effective);
        effective.contains(&i32::from(CapabilitiesType::CapSysAdmin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart_where_the_text_allows() {
        for (text, words) in [
            ("-l /tmp", Some(vec!["-l", "/tmp"])),
            ("-c \"a b\" c", Some(vec!["-c", "a b", "c"])),
            (" \"a b\" c", Some(vec!["a b", "c"])),
            ("x  y", Some(vec!["x", "", "y"])),
            ("a\tb", Some(vec!["a\tb"])),
            ("\"say \"hi\"\"", None),
            ("a\"b c", None),
            ("\"", None),
            ("\"ab\"", None),
            ("\"a b\"c", None),
        ] {
            assert_eq!(split(text), words, "{text}");
        }
    }
}
