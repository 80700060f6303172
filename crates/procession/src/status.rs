//! How a process ended.

use std::fmt;

/// The status that `wait(2)` reports: an exit code, or the signal that killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExitStatus(u16);

impl ExitStatus {
    /// From the kernel's `exit_code`: `status << 8 | core << 7 | signal`. Higher bits have no meaning.
    pub const fn from_raw(raw: u32) -> Self {
        let [low, high, ..] = raw.to_le_bytes();
        Self(u16::from_le_bytes([low, high]))
    }

    /// The kernel's form.
    pub const fn as_raw(self) -> u32 {
        self.0 as u32
    }

    /// What the program passed to `exit`, 0 to 255; zero when a signal ended it.
    pub const fn code(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// The signal that ended the process.
    pub const fn signal(self) -> Option<Signal> {
        let [low, ..] = self.0.to_le_bytes();
        match low & 0x7f {
            0 => None,
            number => Some(Signal(number)),
        }
    }

    /// The kernel says that a core was dumped.
    pub const fn core_dumped(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Exit code 0 and no signal.
    pub const fn success(self) -> bool {
        self.code() == 0 && self.signal().is_none()
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal() {
            None => write!(f, "exit {}", self.code()),
            Some(signal) if self.core_dumped() => write!(f, "{signal} (core dumped)"),
            Some(signal) => write!(f, "{signal}"),
        }
    }
}

/// A signal number, 1 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(u8);

impl Signal {
    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its name as Linux has it on most architectures, `SIGKILL`; `None` for real-time signals.
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(usize::from(self.0).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_code() {
        for (raw, text, success) in [
            (0, "exit 0", true),
            (3 << 8, "exit 3", false),
            (9, "SIGKILL", false),
            (0x80 | 6, "SIGABRT (core dumped)", false),
            (34, "signal 34", false),
        ] {
            let status = ExitStatus::from_raw(raw);
            assert_eq!(status.to_string(), text);
            assert_eq!(status.success(), success, "{text}");
        }
    }
}
