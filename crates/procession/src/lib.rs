//! Exact, bounded, in-memory process lineage for Linux.
//!
//! When something strange runs on a server, people ask: what is this process, who started it, in
//! which container, with which rights, and what ran before it? This library keeps the answer. It
//! is a fold over an ordered log of kernel events: [`Table::apply`] takes one [`Event`] at a time,
//! and anybody may ask the [`Table`] in between. It reads no clock, file or socket, so that the
//! same log always gives the same state.
//!
//! ```
//! use procession::{BootTime, Event, EventKind, Fork, Pid, ProcessKey, Subject, Table, TableConfig};
//!
//! let mut table = Table::new(TableConfig::default());
//! let shell = ProcessKey::new(Pid(100), BootTime::from_nanos(1_000));
//! let child = ProcessKey::new(Pid(101), BootTime::from_nanos(2_000));
//!
//! let fork = Fork { child: Subject::exact(child, child.start), parent: shell.into(), ..Fork::default() };
//! let _ = table.apply(&Event { time: child.start, kind: EventKind::Fork(fork) });
//!
//! let parent = table.get(child).and_then(|entry| entry.parent()).expect("its fork was seen");
//! assert_eq!(parent.key(), shell);
//! ```
//!
//! The example `process_tree` goes on from there: it builds a tree from events, and asks who started
//! what, as whom, and who owns it now.
//!
//! # Reading
//!
//! * [`Table::get`] and [`Table::get_live`] lend an [`Entry`]. From there one walks: [`Entry::parent`],
//!   [`Entry::ancestors`], [`Entry::children`], [`Entry::descendants`], [`Entry::owner`],
//!   [`Entry::session_root`]. Nothing is copied.
//! * [`Entry::snapshot`] makes a [`Process`], and [`Table::fact`] a [`Fact`]: values that are free of
//!   the table, to be sent to other threads and kept.
//! * [`Table::hold`] keeps an entry, and those that led to it, for as long as the [`Handle`] lives.
//!
//! # Memory
//!
//! A table has a budget in bytes ([`TableConfig::budget`]) and keeps within it: an exec loop or a
//! fork bomb cannot make it grow, nor push other processes out. What it does when memory is short,
//! and what it then still knows, is told by [`Table::explain`]; [`Entry::retention`] says why one entry
//! is there.
//!
//! # The words
//!
//! * **process**: a thread group. Threads are not tracked.
//! * **image**: what a process runs between two execs ([`Image`]): binary, arguments, working
//!   directory, credentials, namespaces. A fork shares it. What changes without an exec is told by
//!   [`EventKind::Change`], and [`Image::past`] remembers what was.
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
    Change, Context, Event, EventKind, Exec, Exit, FileIdentity, Fork, Gap, Gone, Nature, Precision, Program,
    Relative, Running, Subject, WorkingDirectory,
};
pub use fact::{Fact, FactKind, LONGEST_LINEAGE, LineageDetail};
pub use ids::{Pid, ProcessKey};
pub use image::Image;
pub use ledger::{Account, Counted, Ledger, Outcome};
pub use namespaces::{Cgroup, Namespaces};
pub use process::{End, EndKind, Origin, ParentLink, Process, Provenance, Tombstone};
pub use setting::{LONGEST_HISTORY, Spell};
pub use status::{ExitStatus, Signal};
pub use table::{
    Applied, Checkpoint, CheckpointBuilder, Entry, Explanation, Handle, InvalidCheckpoint, MINIMUM_BUDGET,
    Part, ProcessId, Retention, SavedContent, SavedEntry, SavedImage, SavedProgram, SavedSetting, SavedSpell,
    SavedState, Survey, Suspects, Table, TableConfig,
};
pub use time::{BootTime, WallClock};
pub use uid::{BootId, NotABootId, ProcessUid};
