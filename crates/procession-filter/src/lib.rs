//! Which facts to show.
//!
//! ```
//! use procession_filter::{Filter, Kinds};
//!
//! let filter = Filter::new(Kinds { exit: false, ..Kinds::default() }).binary("^/usr/bin/")?;
//! # Ok::<(), procession_filter::FilterError>(())
//! ```

#![forbid(unsafe_code)]

use procession::{FactKind, Pid, Process, Uid};
use regex::bytes::{Regex, RegexBuilder};

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
}

/// A filter that cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is not a regular expression that can be used")]
pub struct FilterError {
    pattern: String,
    source: regex::Error,
}

/// Largest compiled size of a regular expression, in bytes.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

impl Filter {
    /// Admits every fact of these kinds.
    pub fn new(kinds: Kinds) -> Self {
        Self { kinds, pids: Vec::new(), users: Vec::new(), binaries: Vec::new() }
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
        let regex = RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_SIZE_LIMIT).build();
        let regex = regex.map_err(|source| FilterError { pattern: pattern.to_owned(), source })?;
        self.binaries.push(regex);
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
    fn binaries_are_bytes_and_bad_patterns_are_errors() {
        let odd = process(1, 0, b"/tmp/\xff\xfe");
        assert!(Filter::new(Kinds::default()).binary(r"/tmp/\xff").unwrap().admits(FactKind::Exec, &odd));
        for bad in ["(", "a{100000}{100000}"] {
            let error = Filter::new(Kinds::default()).binary(bad).unwrap_err();
            assert!(error.to_string().contains(bad));
        }
    }
}
