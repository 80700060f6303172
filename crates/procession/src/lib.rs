//! Exact, bounded, in-memory process lineage for Linux.
//!
//! When something strange runs on a server, people ask: what is this process, who started it, in
//! which container, with which rights, and what ran before it? This library keeps the answer. It
//! is a fold over an ordered log of kernel events: [`Table::apply`] takes one [`Event`] at a time,
//! and anybody may ask the [`Table`] in between. It reads no clock, file or socket, so that the
//! same log always gives the same state.
//!
//! ```
//! use procession::{BootTime, Context, Event, EventKind, Fork, Pid, ProcessKey, Subject, Table, TableConfig};
//!
//! let mut table = Table::new(TableConfig::default());
//! let shell = ProcessKey::new(Pid(100), BootTime::from_nanos(1_000));
//! let child = ProcessKey::new(Pid(101), BootTime::from_nanos(2_000));
//! let fork = Fork {
//!     child: Subject::exact(child, child.start),
//!     parent: shell,
//!     parent_tid: shell.pid,
//!     owner: shell,
//!     context: Context::default(),
//! };
//! let _ = table.apply(&Event { time: child.start, kind: EventKind::Fork(fork) });
//!
//! let process = table.get(child).expect("its fork was seen");
//! assert_eq!(process.parent().map(|parent| parent.key()), Some(shell));
//! ```
//!
//! # Memory
//!
//! A table has a budget in bytes ([`TableConfig::budget`]) and keeps within it: an exec loop or a
//! fork bomb cannot make it grow, nor push other processes out. What it does when memory is short,
//! and what it then still knows, is told by [`Table::explain`].
//!
//! # The words
//!
//! * **process**: a thread group. Threads are not tracked.
//! * **image**: what a process runs between two execs ([`Image`]): binary, arguments, working
//!   directory, credentials, namespaces. Immutable; a fork shares it.
//! * **key**: pid and start time of an image ([`ProcessKey`]). Printed, it is the `exec_id`.
//! * **lineage**: the chain of processes that forked one another, each in the image it had then.
//! * **ledger**: the account of every event ([`Ledger`]).

#![forbid(unsafe_code)]

mod arena;
mod arguments;
mod credentials;
mod event;
mod fact;
mod heap;
mod ids;
mod image;
mod index;
mod intern;
mod ledger;
mod namespaces;
mod process;
pub mod reference;
mod setting;
mod status;
mod table;
pub mod text;
mod time;
mod uid;

pub use arguments::Arguments;
pub use credentials::{Capabilities, CapabilitySet, Credentials, Gid, PrivilegeChange, Uid};
pub use event::{
    Change, Context, Event, EventKind, Exec, Exit, FileIdentity, Fork, Nature, Precision, Program, Running,
    Subject, WorkingDirectory,
};
pub use fact::{Fact, FactKind, LONGEST_LINEAGE, LineageDetail};
pub use ids::{Pid, ProcessKey};
pub use image::Image;
pub use ledger::{Account, Counted, Ledger, Outcome};
pub use namespaces::{Cgroup, Namespaces};
pub use process::{End, EndKind, Origin, ParentLink, Process, Provenance, Tombstone};
pub use setting::{LONGEST_HISTORY, Spell};
pub use status::{ExitStatus, Signal};
pub use table::{Applied, Entry, Explanation, Handle, MINIMUM_BUDGET, ProcessId, Table, TableConfig};
pub use time::{BootTime, WallClock};
pub use uid::{BootId, NotABootId, ProcessUid};
