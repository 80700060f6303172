//! The proc connector's messages: `linux/netlink.h`, `linux/connector.h`, `linux/cn_proc.h`.
//!
//! One datagram holds one message: a netlink header, a connector header, a `proc_event`, all in
//! the machine's byte order. The event's body depends on its kind and is read as far as its kind
//! needs, so that longer ones of newer kernels do no harm.

use procession::Pid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::proc::Comm;

/// The identity of the proc connector among connectors, and its multicast group
/// (`CN_IDX_PROC`, `CN_VAL_PROC`).
const ID: ConnectorId = ConnectorId { index: 1, value: 1 };

/// The multicast group as a bit mask, as an address wants it.
pub(super) const GROUP: u32 = 1 << (ID.index - 1);

const PROC_CN_MCAST_LISTEN: u32 = 1;
const NLMSG_DONE: u16 = 3;

const PROC_EVENT_NONE: u32 = 0;
const PROC_EVENT_FORK: u32 = 0x1;
const PROC_EVENT_EXEC: u32 = 0x2;
const PROC_EVENT_UID: u32 = 0x4;
const PROC_EVENT_GID: u32 = 0x40;
const PROC_EVENT_SID: u32 = 0x80;
const PROC_EVENT_COMM: u32 = 0x200;
const PROC_EVENT_EXIT: u32 = 0x8000_0000;

/// `struct nlmsghdr`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct NetlinkHeader {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct cb_id`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct ConnectorId {
    index: u32,
    value: u32,
}

/// `struct cn_msg` without its data.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct ConnectorHeader {
    id: ConnectorId,
    sequence: u32,
    ack: u32,
    len: u16,
    flags: u16,
}

/// `struct proc_event` without its body.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct EventHeader {
    what: u32,
    cpu: u32,
    timestamp_ns: u64,
}

/// A task as the bodies name it: `process_pid` is the thread, `process_tgid` the process.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct RawTask {
    pid: u32,
    tgid: u32,
}

/// `struct fork_proc_event`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct ForkBody {
    parent: RawTask,
    child: RawTask,
}

/// `struct comm_proc_event`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct CommBody {
    process: RawTask,
    comm: [u8; 16],
}

/// `struct exit_proc_event`. The parent is zero before Linux 4.18.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct ExitBody {
    process: RawTask,
    code: u32,
    signal: u32,
    parent: RawTask,
}

/// The request to be sent events.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    netlink: NetlinkHeader,
    connector: ConnectorHeader,
    operation: u32,
}

const REQUEST_LEN: u32 = 40;
const OPERATION_LEN: u16 = 4;

const _: () = {
    assert!(size_of::<NetlinkHeader>() == 16);
    assert!(size_of::<ConnectorHeader>() == 20);
    assert!(size_of::<EventHeader>() == 16);
    assert!(size_of::<Request>() == REQUEST_LEN as usize);
};

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) tid: Pid,
    pub(super) process: Pid,
}

impl Task {
    /// The thread that gave the process its pid.
    pub(super) fn is_leader(self) -> bool {
        self.tid == self.process
    }
}

impl From<RawTask> for Task {
    fn from(raw: RawTask) -> Self {
        Self { tid: Pid(raw.pid), process: Pid(raw.tgid) }
    }
}

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The answer to a [`listen_request`] with this token.
    Answer { token: u32, errno: u32 },
    /// A new task: a process, when it leads itself; else a thread.
    Fork { parent: Task, child: Task },
    /// A new image in a process.
    Exec { process: Pid },
    /// A task changed its user or group ids, or began a session; an exec that does so says it, too.
    Changed { task: Task },
    /// A task renamed itself.
    Renamed { task: Task, comm: Comm },
    /// The end of a task.
    Exit { task: Task, status: u32, parent: Pid },
    /// What lineage does not need: tracing, core dumps.
    Other,
}

/// One message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The CPU that sent it.
    pub(super) cpu: u32,
    /// Its number among all that this CPU sent.
    pub(super) sequence: u32,
    /// When it happened, on `CLOCK_MONOTONIC`.
    pub(super) monotonic_nanos: u64,
    pub(super) notice: Notice,
}

impl Message {
    /// Reads a datagram. `None`: it is not from the proc connector, or it is cut off.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        let (_, rest) = NetlinkHeader::read_from_prefix(datagram).ok()?;
        let (connector, rest) = ConnectorHeader::read_from_prefix(rest).ok()?;
        if connector.id != ID {
            return None;
        }
        let (event, body) = EventHeader::read_from_prefix(rest.get(..connector.len.into())?).ok()?;
        Some(Self {
            cpu: event.cpu,
            sequence: connector.sequence,
            monotonic_nanos: event.timestamp_ns,
            notice: notice(&event, &connector, body)?,
        })
    }
}

fn notice(event: &EventHeader, connector: &ConnectorHeader, body: &[u8]) -> Option<Notice> {
    Some(match event.what {
        PROC_EVENT_NONE => {
            Notice::Answer { token: connector.ack.wrapping_sub(1), errno: prefix::<u32>(body)? }
        }
        PROC_EVENT_FORK => {
            let ForkBody { parent, child } = prefix(body)?;
            Notice::Fork { parent: parent.into(), child: child.into() }
        }
        PROC_EVENT_EXEC => Notice::Exec { process: Pid(prefix::<RawTask>(body)?.tgid) },
        PROC_EVENT_UID | PROC_EVENT_GID | PROC_EVENT_SID => {
            Notice::Changed { task: prefix::<RawTask>(body)?.into() }
        }
        PROC_EVENT_COMM => {
            let CommBody { process, comm } = prefix(body)?;
            Notice::Renamed { task: process.into(), comm: Comm::new(&comm) }
        }
        PROC_EVENT_EXIT => {
            let ExitBody { process, code, parent, .. } = prefix(body)?;
            Notice::Exit { task: process.into(), status: code, parent: Pid(parent.tgid) }
        }
        _ => Notice::Other,
    })
}

fn prefix<T: FromBytes>(body: &[u8]) -> Option<T> {
    T::read_from_prefix(body).ok().map(|(value, _)| value)
}

/// The datagram that asks for all events. The kernel answers with [`Notice::Answer`].
///
/// Linux 6.6 and later could leave out kinds of events that are of no use here. They would still
/// be numbered, so their absence could not be told from loss: it is worth the traffic to have all.
pub(super) fn listen_request(token: u32) -> impl AsRef<[u8]> {
    let request = Request {
        netlink: NetlinkHeader { len: REQUEST_LEN, kind: NLMSG_DONE, flags: 0, sequence: 0, port: 0 },
        connector: ConnectorHeader { id: ID, sequence: 0, ack: token, len: OPERATION_LEN, flags: 0 },
        operation: PROC_CN_MCAST_LISTEN,
    };
    request.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram(what: u32, body: &[u32]) -> Vec<u8> {
        let mut data = EventHeader { what, cpu: 3, timestamp_ns: 77 }.as_bytes().to_vec();
        data.extend(body.iter().flat_map(|word| word.to_ne_bytes()));
        let len = u16::try_from(data.len()).unwrap();
        let connector = ConnectorHeader { id: ID, sequence: 9, ack: 5, len, flags: 0 };
        let netlink = NetlinkHeader { len: 0, kind: NLMSG_DONE, flags: 0, sequence: 0, port: 0 };
        [netlink.as_bytes(), connector.as_bytes(), &data].concat()
    }

    fn task(tid: u32, process: u32) -> Task {
        Task { tid: Pid(tid), process: Pid(process) }
    }

    #[test]
    fn reads_what_the_header_files_lay_out() {
        for (what, body, expect) in [
            (0, &[1][..], Notice::Answer { token: 4, errno: 1 }),
            (1, &[11, 10, 21, 20], Notice::Fork { parent: task(11, 10), child: task(21, 20) }),
            (2, &[8, 8], Notice::Exec { process: Pid(8) }),
            (4, &[8, 8, 0, 0], Notice::Changed { task: task(8, 8) }),
            (0x40, &[9, 8, 0, 0], Notice::Changed { task: task(9, 8) }),
            (0x80, &[8, 8], Notice::Changed { task: task(8, 8) }),
            (0x100, &[8, 8, 1, 1], Notice::Other),
            (
                0x8000_0000,
                &[12, 10, 256, 17, 5, 4],
                Notice::Exit { task: task(12, 10), status: 256, parent: Pid(4) },
            ),
        ] {
            let expect = Message { cpu: 3, sequence: 9, monotonic_nanos: 77, notice: expect };
            assert_eq!(Message::parse(&datagram(what, body)), Some(expect));
        }
    }

    #[test]
    fn a_new_name_ends_at_its_nul() {
        let name = [u32::from_ne_bytes(*b"ab\0c"), 0, 0, 0];
        let message = Message::parse(&datagram(0x200, &[&[7, 7], &name[..]].concat())).unwrap();
        assert_eq!(message.notice, Notice::Renamed { task: task(7, 7), comm: Comm::new(b"ab") });
    }

    #[test]
    fn a_message_that_is_cut_off_or_of_another_connector_is_none() {
        let full = datagram(PROC_EVENT_EXIT, &[12, 10, 256, 17, 5, 4]);
        for len in 0..full.len() {
            assert_eq!(Message::parse(&full[..len]), None, "{len}");
        }
        let mut other = full;
        other[16] ^= 1;
        assert_eq!(Message::parse(&other), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Message::parse(&bytes);
        }

        #[test]
        fn any_body_is_survived(what: u32, body in proptest::collection::vec(any::<u32>(), 0..9)) {
            let _ = Message::parse(&datagram(what, &body));
        }
    }
}
