//! What a line shows, wherever it comes from: a fact of this program's own table, or a message of an agent.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::time::Duration;

use anstyle::Style;
use jiff::Timestamp;
use procession::{ExitStatus, Fact};

use super::Palette;
use super::escape::{ShellWord, Visible};

/// What the forms look at. Each is asked only for what it shows.
pub(crate) trait View {
    /// What happened.
    fn kind(&self) -> Kind<'_>;
    /// When.
    fn time(&self) -> Timestamp;
    /// To which process, as the host numbers it.
    fn pid(&self) -> u32;
    /// Whose the process is. `None`: nobody saw.
    fn user(&self) -> Option<User<'_>>;
    /// The container it runs in. `None`: none, or nobody saw.
    fn place(&self) -> Option<Place<'_>>;
    /// How many levels deep it is in a tree.
    fn depth(&self) -> u16;
    /// What it is called.
    fn name(&self) -> Name<'_>;
    /// Its arguments, from the second on.
    fn words(&self, put: &mut dyn FnMut(Word<'_>));
    /// What deserves a second look.
    fn markers(&self) -> Vec<Cow<'static, str>>;
    /// How long the process lived, of one that ended.
    fn lived(&self) -> Option<Duration>;
    /// The fact whose change is to be told.
    fn change(&self) -> Option<&Fact>;
    /// The processes that led to this one, nearest first.
    fn ancestors(&self) -> Vec<(Name<'_>, u32)>;

    /// The machine it happened on, where that is told with it.
    fn node(&self) -> Option<&str>;
    /// The path of the binary, as a text.
    fn binary_text(&self) -> Cow<'_, str>;
    /// The arguments as one text, in the reference's form.
    fn arguments_text(&self) -> Cow<'_, str>;
    /// Whether it has the capability to do nearly everything.
    fn is_admin(&self) -> bool;
}

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Fork,
    Exec,
    Running,
    Change,
    Exit(Outcome<'a>),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// As the kernel tells it.
    Status(ExitStatus),
    /// With this exit code.
    Code(u32),
    /// By a signal of this name.
    Signal(&'a str),
    /// Nobody saw how.
    Gone,
}

impl Outcome<'_> {
    pub(super) fn style(self, palette: &Palette) -> Style {
        let is_expected = match self {
            Self::Status(status) => status.success(),
            Self::Code(code) => code == 0,
            Self::Signal(_) => false,
            Self::Gone => true,
        };
        if is_expected { palette.faint } else { palette.failure }
    }
}

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(name) => Visible(name.as_bytes()).fmt(f),
            Self::Gone => f.write_str("gone"),
        }
    }
}

/// A user, with the name that belongs to the id where the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User<'a> {
    pub(crate) id: u32,
    pub(crate) name: Option<&'a str>,
}

/// By name, or else by number.
impl Display for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => Visible(name.as_bytes()).fmt(f),
            None => self.id.fmt(f),
        }
    }
}

/// A container, by the best name that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Pod { namespace: &'a str, name: &'a str },
    Container(&'a str),
    Id(&'a str),
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => {
                write!(f, "{}/{}", Visible(namespace.as_bytes()), Visible(name.as_bytes()))
            }
            Self::Container(name) | Self::Id(name) => Visible(name.as_bytes()).fmt(f),
        }
    }
}

/// What a process is called: by its binary, else by its command name, else not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    Binary(&'a [u8]),
    KernelThread(&'a [u8]),
    Command(&'a [u8]),
    Unknown,
}

impl Name<'_> {
    /// Without the folders that the binary is in.
    pub(crate) fn short(self) -> Self {
        match self {
            Self::Binary(path) => Self::Binary(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)),
            other => other,
        }
    }
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary(path) => ShellWord(path).fmt(f),
            Self::KernelThread(name) | Self::Command(name) => Visible(name).fmt(f),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// Of the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    /// An argument.
    Argument(&'a [u8]),
    /// Several, of which nobody can tell any more where one ends.
    Text(&'a str),
}

impl Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(argument) => ShellWord(argument).fmt(f),
            Self::Text(text) => Visible(text.as_bytes()).fmt(f),
        }
    }
}
