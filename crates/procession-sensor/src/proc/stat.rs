//! `/proc/PID/stat`: the one file without which there is no process.

use procession::{BootTime, Nature, Pid};

use super::number;

/// The fields of `/proc/PID/stat` that tell who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Command name. Newer kernels print it raw, older ones with line breaks escaped.
    pub(crate) comm: Comm,
    /// The parent as the kernel has it now; zero for the first processes of a machine.
    pub(crate) parent: Pid,
    /// The leader of the session. `None`: there is none, as for the kernel's threads, or it is outside of
    /// the pid namespace whose processes this `/proc` shows.
    pub(crate) session: Option<Pid>,
    /// Threads, the exited leader included.
    pub(crate) threads: u32,
    /// When the process began, to the tick.
    pub(crate) began: BootTime,
    /// Address of the program's code. Zero or one: there is none, or it may not be seen.
    pub(crate) start_code: u64,
    /// Address of the bottom of the stack, drawn anew by each exec. Zero: it may not be seen.
    pub(crate) start_stack: u64,
    state: u8,
    flags: u32,
}

/// The flag by which the kernel marks its own threads (`PF_KTHREAD`, `linux/sched.h`).
const PF_KTHREAD: u32 = 0x0020_0000;

/// The flag by which the kernel marks a thread that ends (`PF_EXITING`, likewise).
const PF_EXITING: u32 = 0x0000_0004;

impl Stat {
    /// Reads the one line of the file. `None`: it is not such a line, or it is cut off.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        // The name may hold spaces, parentheses and line breaks; what follows it holds none.
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let comm = Comm::new(line.get(open + 1..close)?);
        // From here on, proc(5) counts from 3: state, parent, group, session, tty, its group, ...
        let mut fields = line[close + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        let state = *fields.next()?.first()?;
        let parent = Pid(number(fields.next()?)?);
        let session = Some(Pid(number(fields.nth(1)?)?)).filter(|leader| *leader != Pid(0));
        let flags = number(fields.nth(2)?)?;
        let threads = number(fields.nth(10)?)?;
        let began = BootTime::from_ticks(number(fields.nth(1)?)?);
        let start_code = fields.nth(3).and_then(number).unwrap_or(0);
        let start_stack = fields.nth(1).and_then(number).unwrap_or(0);
        Some(Self { comm, parent, session, threads, began, start_code, start_stack, state, flags })
    }

    /// A thread of the kernel. The kernel's own mark decides: an empty command line would also fit
    /// zombies and processes that wiped theirs.
    pub(crate) const fn nature(&self) -> Nature {
        if self.flags & PF_KTHREAD == 0 { Nature::User } else { Nature::KernelThread }
    }

    /// The leader has exited. The process goes on while other threads live.
    pub(crate) const fn leader_has_exited(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// The leader, or the thread whose file this is, exits or has exited.
    pub(crate) const fn leader_is_ending(&self) -> bool {
        self.leader_has_exited() || self.flags & PF_EXITING != 0
    }

    /// Nothing of the process runs any more: only its exit status waits to be collected.
    pub(crate) const fn has_ended(&self) -> bool {
        self.leader_has_exited() && self.threads <= 1
    }
}

/// A command name, at most 15 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Comm {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Comm {
    /// `TASK_COMM_LEN` without its NUL. Longer ones are seen for kernel workers only, whose name
    /// `/proc` extends by what they are at.
    const MAX: usize = 15;

    /// The name in `text`, up to the first NUL.
    pub(crate) fn new(text: &[u8]) -> Self {
        let name = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut comm = Self { bytes: [0; Self::MAX], len: name.len().min(Self::MAX) };
        comm.bytes[..comm.len].copy_from_slice(&name[..comm.len]);
        comm
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proc::fake::FakeStat;

    fn line(comm: &[u8]) -> Vec<u8> {
        FakeStat { comm, parent: 7, session: 9, start: 4_711, ..FakeStat::default() }.line(42)
    }

    #[test]
    fn a_name_may_hold_anything() {
        for comm in [&b"sh"[..], b"", b"a b", b") R 1 (", b"x)\n", b"\xff\xfe", b"(((", b"))) S 1 1"] {
            let stat = Stat::parse(&line(comm)).unwrap();
            assert_eq!(stat.comm.as_bytes(), comm);
            assert_eq!((stat.parent, stat.began), (Pid(7), BootTime::from_ticks(4_711)));
            assert_eq!(stat.session, Some(Pid(9)));
        }
    }

    #[test]
    fn a_line_that_is_cut_off_before_the_start_time_is_no_process() {
        let full = line(b"a) b");
        let enough = full.windows(4).position(|field| field == b"4711").unwrap() + 4;
        for len in 0..enough - 4 {
            assert_eq!(Stat::parse(&full[..len]), None, "{len}");
        }
        assert_eq!(Stat::parse(&full[..enough]).map(|stat| stat.start_stack), Some(0));
    }

    #[test]
    fn no_process_leads_session_0() {
        let line = FakeStat { session: 0, ..FakeStat::default() }.line(1);
        assert_eq!(Stat::parse(&line).unwrap().session, None);
    }

    #[test]
    fn states_and_kinds() {
        let stat = |state, threads, flags| {
            let fake = FakeStat { state, flags, threads, ..FakeStat::default() };
            Stat::parse(&fake.line(1)).unwrap()
        };
        assert!(stat('Z', 1, 0).has_ended());
        assert!(stat('X', 0, 0).has_ended());
        assert!(!stat('Z', 2, 0).has_ended(), "other threads outlive the leader");
        assert!(!stat('S', 1, 0).has_ended());
        assert!(stat('R', 1, PF_EXITING | 0x0040_0000).leader_is_ending());
        assert!(stat('Z', 2, 0).leader_is_ending() && !stat('R', 1, 0x0040_0000).leader_is_ending());
        assert_eq!(stat('S', 1, PF_KTHREAD | 0x40).nature(), Nature::KernelThread);
        assert_eq!(stat('S', 1, 0x0040_0000).nature(), Nature::User);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Stat::parse(&bytes);
        }

        #[test]
        fn a_line_with_any_fields_is_survived(tail in "[ -~]{0,200}", comm: Vec<u8>) {
            let _ = Stat::parse(&[b"1 (", &comm[..], b") ", tail.as_bytes()].concat());
        }

        #[test]
        fn any_name_is_read_back(comm in proptest::collection::vec(1u8.., 0..16)) {
            let stat = Stat::parse(&line(&comm)).unwrap();
            prop_assert_eq!(stat.comm.as_bytes(), &comm[..]);
        }
    }
}
