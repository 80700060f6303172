//! Which facts a person watches: a predicate over what the table tells.

use procession::{FactKind, Pid, Process, Uid};
use regex::bytes::{Regex, RegexBuilder};

use crate::FilterError;

/// The kinds of facts to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one switch for each kind of fact")]
pub struct Kinds {
    /// Processes that were there before.
    pub running: bool,
    /// New processes.
    pub fork: bool,
    /// New images.
    pub exec: bool,
    /// Ends of processes.
    pub exit: bool,
    /// Changes of credentials, namespaces, session or control group without an exec.
    pub change: bool,
}

impl Default for Kinds {
    /// Execs and exits, as the reference system does.
    fn default() -> Self {
        Self { running: false, fork: false, exec: true, exit: true, change: false }
    }
}

impl Kinds {
    fn admits(self, kind: FactKind) -> bool {
        match kind {
            FactKind::Running => self.running,
            FactKind::Fork => self.fork,
            FactKind::Exec => self.exec,
            FactKind::Exit { .. } => self.exit,
            FactKind::Change => self.change,
        }
    }
}

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In no container.
    Host,
    /// Nobody saw where.
    Unknown,
    /// In a container.
    Container {
        /// Its id: hex digits.
        id: &'a str,
        /// What it is called, as far as that is known yet.
        names: Option<ContainerNames<'a>>,
    },
}

/// What a container is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerNames<'a> {
    /// The container's own name.
    pub name: &'a str,
    /// The Kubernetes namespace of its pod. `None`: it is in no pod.
    pub namespace: Option<&'a str>,
    /// Its pod. `None`: it is in none.
    pub pod: Option<&'a str>,
}

/// A predicate over facts.
///
/// Different conditions must all hold; of several values of one condition, any is enough; a
/// condition without values holds. It is compiled once and cannot fail afterwards; matching takes
/// time linear in the text.
#[derive(Clone, Debug)]
pub struct Filter {
    kinds: Kinds,
    pids: Vec<Pid>,
    users: Vec<Uid>,
    binaries: Vec<Regex>,
    places: Places,
}

/// Where processes run that are to be shown.
#[derive(Clone, Debug, Default)]
struct Places {
    host_only: bool,
    namespaces: Vec<String>,
    pods: Vec<Regex>,
    containers: Vec<ContainerPattern>,
}

/// By name, or by the beginning of the id.
#[derive(Clone, Debug)]
struct ContainerPattern {
    name: Regex,
    id: Option<String>,
}

/// The fewest digits of a container's id that can be meant for one.
const SHORTEST_ID: usize = 12;

/// Whether a text can be meant for the id of a container, or for how it begins: at least the 12 hex digits
/// that runtimes show to people.
pub fn may_be_id(text: &str) -> bool {
    text.len() >= SHORTEST_ID && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Largest compiled size of a regular expression, in bytes.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

impl Filter {
    /// Admits every fact of these kinds.
    pub fn new(kinds: Kinds) -> Self {
        Self { kinds, pids: Vec::new(), users: Vec::new(), binaries: Vec::new(), places: Places::default() }
    }

    /// Only processes with this pid.
    #[must_use]
    pub fn pid(mut self, pid: Pid) -> Self {
        self.pids.push(pid);
        self
    }

    /// Only processes whose effective user is this one.
    #[must_use]
    pub fn user(mut self, user: Uid) -> Self {
        self.users.push(user);
        self
    }

    /// Only processes whose binary matches `pattern` somewhere.
    ///
    /// The syntax is that of the `regex` crate over bytes, so that `\w`, `\d` and `\b` are ASCII,
    /// as they are in the reference system's RE2.
    pub fn binary(mut self, pattern: &str) -> Result<Self, FilterError> {
        self.binaries.push(compile(pattern)?);
        Ok(self)
    }

    /// Only processes that run in no container.
    #[must_use]
    pub fn host_only(mut self) -> Self {
        self.places.host_only = true;
        self
    }

    /// Only processes in pods of this Kubernetes namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.places.namespaces.push(namespace.to_owned());
        self
    }

    /// Only processes in pods whose name matches `pattern` somewhere.
    pub fn pod(mut self, pattern: &str) -> Result<Self, FilterError> {
        self.places.pods.push(compile(pattern)?);
        Ok(self)
    }

    /// Only processes in containers whose name matches `pattern` somewhere, or whose id begins with it:
    /// at least the 12 hex digits that runtimes show to people.
    pub fn container(mut self, pattern: &str) -> Result<Self, FilterError> {
        let id = may_be_id(pattern).then(|| pattern.to_ascii_lowercase());
        self.places.containers.push(ContainerPattern { name: compile(pattern)?, id });
        Ok(self)
    }

    /// Whether anything that is of this kind is to be shown: what can be asked before the process is
    /// looked at.
    pub fn wants(&self, kind: FactKind) -> bool {
        self.kinds.admits(kind)
    }

    /// Whether to show what happened to `process`.
    pub fn admits(&self, kind: FactKind, process: &Process) -> bool {
        self.kinds.admits(kind)
            && any_or_none(&self.pids, |pid| *pid == process.pid())
            && any_or_none(&self.users, |user| Some(*user) == process.user())
            && any_or_none(&self.binaries, |regex| regex.is_match(process.binary()))
    }

    /// Whether to show what happens in this place. `None`: that depends on what is not known, the place
    /// or what the container is called.
    pub fn admits_place(&self, place: Place<'_>) -> Option<bool> {
        let Places { host_only, namespaces, pods, containers } = &self.places;
        let are_any = namespaces.is_empty() && pods.is_empty() && containers.is_empty();
        let (id, names) = match place {
            Place::Host => return Some(are_any),
            Place::Unknown => return (are_any && !host_only).then_some(true),
            Place::Container { .. } if *host_only => return Some(false),
            Place::Container { id, names } => (id, names),
        };
        let has_id =
            |pattern: &ContainerPattern| pattern.id.as_deref().is_some_and(|own| id.starts_with(own));
        let is_meant = containers.is_empty() || containers.iter().any(has_id);
        let Some(names) = names else {
            return (namespaces.is_empty() && pods.is_empty() && is_meant).then_some(true);
        };
        let is_in = |namespace: &String| names.namespace == Some(namespace);
        let has_pod = |regex: &Regex| names.pod.is_some_and(|pod| regex.is_match(pod.as_bytes()));
        let is_called = |pattern: &ContainerPattern| pattern.name.is_match(names.name.as_bytes());
        Some(
            any_or_none(namespaces, is_in)
                && any_or_none(pods, has_pod)
                && (is_meant || containers.iter().any(is_called)),
        )
    }
}

fn compile(pattern: &str) -> Result<Regex, FilterError> {
    let regex = RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_SIZE_LIMIT).build();
    regex.map_err(|error| FilterError::pattern(pattern, &error))
}

fn any_or_none<T>(values: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use procession::{
        BootTime, Context, Credentials, Event, EventKind, Precision, ProcessKey, Program, Running, Subject,
        Table,
    };

    use super::*;

    fn process(pid: u32, euid: u32, binary: &[u8]) -> Process {
        let key = ProcessKey::new(Pid(pid), BootTime::from_nanos(5));
        let credentials = Credentials { euid: Uid(euid), ..Credentials::default() };
        let event = EventKind::Running(Running {
            process: Subject { key, began: key.start, precision: Precision::Nanoseconds },
            owner: ProcessKey::NONE.into(),
            context: Context { credentials: Some(credentials), ..Context::default() },
            program: Program { binary, ..Program::default() },
            gap: None,
        });
        let mut table = Table::default();
        let id = table.apply(&Event { time: key.start, kind: event }).process.unwrap();
        table.process(id).unwrap()
    }

    #[test]
    fn conditions_are_anded_and_their_values_ored() {
        let bash = process(7, 1000, b"/usr/bin/bash");
        let all = || Filter::new(Kinds::default());
        assert!(all().admits(FactKind::Exec, &bash));
        assert!(all().pid(Pid(1)).pid(Pid(7)).admits(FactKind::Exec, &bash));
        assert!(!all().pid(Pid(7)).user(Uid(0)).admits(FactKind::Exec, &bash));
        assert!(all().user(Uid(1000)).binary("bash$").unwrap().admits(FactKind::Exec, &bash));
        assert!(!all().binary("^bash").unwrap().admits(FactKind::Exec, &bash));
    }

    #[test]
    fn kinds_are_exact() {
        let bash = process(7, 0, b"/bin/bash");
        assert!(!Filter::new(Kinds { exec: false, ..Kinds::default() }).admits(FactKind::Exec, &bash));
        let exit = FactKind::Exit { tid: Pid(7), status: None };
        assert!(Filter::new(Kinds::default()).admits(exit, &bash));
        assert!(!Filter::new(Kinds::default()).admits(FactKind::Fork, &bash));
    }

    #[test]
    fn the_host_and_containers_are_places() {
        let filter = || Filter::new(Kinds::default());
        let id = "4f2ac1d97e0b36588c6a54f3e2b1907d";
        let unnamed = Place::Container { id, names: None };
        let docker = ContainerNames { name: "web-1", namespace: None, pod: None };
        let docker = Place::Container { id, names: Some(docker) };
        let pod = ContainerNames { name: "app", namespace: Some("shop"), pod: Some("cart-0") };
        let pod = Place::Container { id, names: Some(pod) };
        let places = [Place::Host, Place::Unknown, unnamed, docker, pod];
        let (yes, no, unknown) = (Some(true), Some(false), None);
        for (filter, expected) in [
            (filter(), [yes, yes, yes, yes, yes]),
            (filter().host_only(), [yes, unknown, no, no, no]),
            (filter().namespace("shop"), [no, unknown, unknown, no, yes]),
            (filter().namespace("sho").namespace("shop"), [no, unknown, unknown, no, yes]),
            (filter().pod("^cart-").unwrap(), [no, unknown, unknown, no, yes]),
            (filter().namespace("other").pod("cart").unwrap(), [no, unknown, unknown, no, no]),
            (filter().container("^web").unwrap(), [no, unknown, unknown, yes, no]),
            (filter().container("4F2AC1D97E0B").unwrap(), [no, unknown, yes, yes, yes]),
            (filter().container("4f2ac1d97e0").unwrap(), [no, unknown, unknown, no, no]),
            (filter().container(id).unwrap().pod("x").unwrap(), [no, unknown, unknown, no, no]),
        ] {
            assert_eq!(places.map(|place| filter.admits_place(place)), expected, "{filter:?}");
        }
    }

    #[test]
    fn binaries_are_bytes_and_bad_patterns_are_errors() {
        let odd = process(1, 0, b"/tmp/\xff\xfe");
        assert!(Filter::new(Kinds::default()).binary(r"/tmp/\xff").unwrap().admits(FactKind::Exec, &odd));
        for bad in ["(", "a{100000}{100000}"] {
            let error = Filter::new(Kinds::default()).binary(bad).unwrap_err();
            assert!(error.to_string().contains(bad));
        }
    }
}
