//! The `flags` text of a process: how its image came to be known, and what could not be read.

use std::fmt;

use procession::{Nature, Origin, Process, WorkingDirectory};

/// The reference system's flag bits, printed as names.
///
/// Only the bits that Procession has a fact for are ever set. The others speak of limits that the
/// reference's BPF programs have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// An exec was seen; or a fork, whose flag in the reference has the same bit.
    pub const EXECVE: Self = Self(0x1);
    /// Found running.
    pub const PROC_FS: Self = Self(0x4);
    /// Bytes of the arguments are missing.
    pub const TRUNCATED_ARGUMENTS: Self = Self(0x10);
    /// The working directory is the root.
    pub const ROOT_CWD: Self = Self(0x1000);
    /// The working directory could not be read.
    pub const ERROR_CWD: Self = Self(0x2000);
    /// The exec was the first since the fork.
    pub const CLONE: Self = Self(0x4000);
    /// Only the last components of the working directory are known.
    pub const PARTIAL_CWD: Self = Self(0x40_0000);

    /// It descends from the first process of its container, not from one that was put into it.
    pub const IN_INIT_TREE: Self = Self(0x200_0000);

    /// Nobody said in time whose container it is. Not one of the reference's.
    pub const UNKNOWN_CONTAINER: Self = Self(0x8000_0000);

    /// Names in the order in which the reference prints them, which is not that of the bits.
    const NAMES: [(Self, &str); 9] = [
        (Self::EXECVE, "execve"),
        (Self::PROC_FS, "procFS"),
        (Self::TRUNCATED_ARGUMENTS, "truncArgs"),
        (Self::ROOT_CWD, "rootcwd"),
        (Self::ERROR_CWD, "errorCWD"),
        (Self::CLONE, "clone"),
        (Self::PARTIAL_CWD, "errorPathResolutionCwd"),
        (Self::IN_INIT_TREE, "inInitTree"),
        (Self::UNKNOWN_CONTAINER, "unknownContainer"),
    ];

    /// The flags of `process`. None for a process that was only inferred.
    pub fn of(process: &Process) -> Self {
        let place = if process.in_init_tree { Self::IN_INIT_TREE } else { Self::default() };
        let history = match process.origin {
            Origin::Inferred => return Self::default(),
            // The image is the parent's, and so would be the flags about it.
            Origin::Fork => Self::EXECVE,
            Origin::FirstExec => Self::EXECVE | Self::CLONE | Self::about_image(process),
            Origin::Exec => Self::EXECVE | Self::about_image(process),
            Origin::Running | Origin::Found(_) => Self::PROC_FS | Self::about_image(process),
        };
        history | place
    }

    fn about_image(process: &Process) -> Self {
        let Some(image) = process.image.as_ref().filter(|image| image.nature() == Nature::User) else {
            return Self::default();
        };
        let cwd = match image.cwd() {
            // The reference's walk over /proc sets both.
            WorkingDirectory::Unknown if matches!(process.origin, Origin::Running | Origin::Found(_)) => {
                Self::ROOT_CWD | Self::ERROR_CWD
            }
            WorkingDirectory::Unknown => Self::ERROR_CWD,
            WorkingDirectory::Path(b"/") => Self::ROOT_CWD,
            WorkingDirectory::Path(_) => Self::default(),
            WorkingDirectory::Tail(_) => Self::PARTIAL_CWD,
        };
        if image.arguments().missing() > 0 { cwd | Self::TRUNCATED_ARGUMENTS } else { cwd }
    }

    /// No flag is set: the text is empty.
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// The names, as `Display` writes them.
    pub(crate) fn to_text(self) -> String {
        // Most processes have two or three.
        let mut text = String::with_capacity(32);
        for (_, name) in Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag)) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(name);
        }
        text
    }

    const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    #[test]
    fn names_are_printed_in_the_order_of_the_reference() {
        for (flags, text) in [
            (Flags::default(), ""),
            (Flags::PROC_FS | Flags::EXECVE, "execve procFS"),
            (Flags::CLONE | Flags::ROOT_CWD | Flags::EXECVE, "execve rootcwd clone"),
            (
                Flags::PROC_FS | Flags::ERROR_CWD | Flags::ROOT_CWD | Flags::TRUNCATED_ARGUMENTS,
                "procFS truncArgs rootcwd errorCWD",
            ),
            (Flags::EXECVE | Flags::PARTIAL_CWD | Flags::CLONE, "execve clone errorPathResolutionCwd"),
            (Flags::IN_INIT_TREE | Flags::EXECVE | Flags::CLONE, "execve clone inInitTree"),
        ] {
            assert_eq!(flags.to_string(), text);
        }
    }
}
