//! The reference's way to cache processes, ported to plain Rust: what the table is compared with.
//!
//! One LRU map from the `exec_id` text to an entry; an entry is a lock around a message of owned
//! strings. A fork copies the parent's message and overrides some fields, an exec builds one with
//! the arguments joined to one text, and every lookup makes the text of an `exec_id` first. Callers
//! count references up and down by hand; what comes to zero is queued, and deleted at the second
//! tick of a collector after that. It behaves as the reference's v1.1.0, with the collector of
//! later versions, which gives back its queue.
//!
//! Kinder than the reference:
//!
//! * The LRU's list lives in one vector and its map uses a fast hash; no element is an allocation
//!   of its own. There is no garbage collector of the language, and optional numbers and parts of
//!   messages are stored in place: an exec allocates 36 times where the reference does 58 times.
//! * The queue is filled by a call, not through a channel to another task, and a lock is never
//!   contended.
//!
//! Harsher: a copied message copies its strings, which in Go are shared. A fork then allocates
//! nearly as often and as much as in the reference (19 and 23 times, 1.2 kB).
//!
//! Left out: pods, redaction, user names, environment, binaries found relative to the working
//! directory, the reading of two clocks for each start time, logs, and all metrics but the size.

mod lru;
mod record;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use procession::ProcessKey;

use lru::Lru;
use record::{
    BinaryProperties, Capabilities, Namespaces, Process, ProcessCredentials, Timestamp, decode_flags,
};
pub(crate) use record::{CLONE, EXECVE, ExecEvent, decode_arguments};

/// One process, as the reference's `ProcessInternal`.
pub(crate) struct Entry {
    process: Mutex<Process>,
    capabilities: Option<Arc<Capabilities>>,
    credentials: Option<Arc<ProcessCredentials>>,
    namespaces: Option<Arc<Namespaces>>,
    binary_properties: Option<Arc<BinaryProperties>>,
    colour: AtomicU8,
    references: AtomicU32,
}

const IN_USE: u8 = 0;
const DELETE_PENDING: u8 = 1;
const DELETE_READY: u8 = 2;
const DELETED: u8 = 3;

impl Entry {
    pub(crate) fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ref_inc(&self) {
        self.references.fetch_add(1, Ordering::SeqCst);
    }
}

/// A fork as the reference's kernel side reports it.
pub(crate) struct CloneEvent {
    pub(crate) child: ProcessKey,
    pub(crate) parent: ProcessKey,
    pub(crate) flags: u32,
}

pub(crate) struct Cache {
    node: String,
    entries: Mutex<Lru<Arc<Entry>>>,
    /// What the collector looks at at each tick.
    queue: Mutex<Vec<Arc<Entry>>>,
    size: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    pub(crate) fn new(node: &str, capacity: usize) -> Self {
        Self {
            node: node.to_owned(),
            entries: Mutex::new(Lru::new(capacity)),
            queue: Mutex::default(),
            size: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The reference's `GetProcessID`.
    pub(crate) fn exec_id(&self, key: ProcessKey) -> String {
        BASE64.encode(format!("{}:{}:{}", self.node, key.start.as_nanos(), key.pid))
    }

    /// The reference's `Get`.
    pub(crate) fn get(&self, exec_id: &str) -> Result<Arc<Entry>, String> {
        let found = self.entries().get(exec_id).cloned();
        found.ok_or_else(|| {
            self.misses.fetch_add(1, Ordering::Relaxed);
            format!("invalid entry for process ID: {exec_id}")
        })
    }

    /// The reference's `GetParentProcessInternal`: process first, parent second.
    pub(crate) fn with_parent(&self, key: ProcessKey) -> (Option<Arc<Entry>>, Option<Arc<Entry>>) {
        let Ok(entry) = self.get(&self.exec_id(key)) else { return (None, None) };
        let parent = self.get(&entry.process().parent_exec_id).ok();
        (Some(entry), parent)
    }

    /// The reference's `AddExecEvent`.
    pub(crate) fn add_exec(&self, event: &ExecEvent<'_>) -> Arc<Entry> {
        let parent = if event.replaced.is_none() || event.is_clone() {
            event.parent
        } else {
            event.replaced.unwrap_or(event.parent)
        };
        let parent = if parent.pid.0 == 0 { ProcessKey::NONE } else { parent };
        let (arguments, cwd) = decode_arguments(event.arguments, event.flags);
        let process = Process {
            exec_id: self.exec_id(event.key),
            parent_exec_id: self.exec_id(parent),
            pid: Some(event.key.pid.0),
            tid: Some(event.key.pid.0),
            uid: Some(event.uid),
            auid: Some(event.auid),
            cwd,
            binary: event.binary.to_owned(),
            arguments,
            flags: decode_flags(event.flags).join(" "),
            start_time: Some(Timestamp::from_nanos(event.key.start.as_nanos())),
            docker: event.docker.to_owned(),
            ..Process::default()
        };
        let entry = Arc::new(Entry {
            process: Mutex::new(process),
            capabilities: Some(Arc::new(Capabilities::from_sets(event.capabilities))),
            credentials: Some(Arc::new(ProcessCredentials::all(event.uid))),
            namespaces: Some(Arc::new(Namespaces::from_inodes(event.namespaces, event.host_namespaces))),
            binary_properties: Some(Arc::default()),
            colour: AtomicU8::new(IN_USE),
            references: AtomicU32::new(1),
        });
        self.insert(&entry);
        entry
    }

    /// The reference's `AddCloneEvent`.
    pub(crate) fn add_clone(&self, event: &CloneEvent) -> Result<Arc<Entry>, String> {
        let parent_exec_id = self.exec_id(event.parent);
        let parent = self.get(&parent_exec_id)?;
        let mut process = parent.process().clone();
        process.exec_id = self.exec_id(event.child);
        process.parent_exec_id.clone_from(&parent.process().exec_id);
        process.pid = Some(event.child.pid.0);
        process.tid = Some(event.child.pid.0);
        process.flags = decode_flags(event.flags).join(" ");
        process.start_time = Some(Timestamp::from_nanos(event.child.start.as_nanos()));
        process.refcnt = 1;
        let entry = Arc::new(Entry {
            process: Mutex::new(process),
            capabilities: parent.capabilities.clone(),
            credentials: parent.credentials.clone(),
            namespaces: parent.namespaces.clone(),
            binary_properties: parent.binary_properties.clone(),
            colour: AtomicU8::new(IN_USE),
            references: AtomicU32::new(1),
        });
        parent.ref_inc();
        self.insert(&entry);
        Ok(entry)
    }

    /// An exec as the reference's event handler treats it.
    pub(crate) fn exec(&self, event: &ExecEvent<'_>) {
        let entry = self.add_exec(event);
        let parent = self.get(&entry.process().parent_exec_id);
        if let Ok(parent) = parent {
            parent.ref_inc();
        }
        let Some(replaced) = event.replaced else { return };
        let (old, parent) = self.with_parent(replaced);
        for entry in [old, parent].into_iter().flatten() {
            self.ref_dec(&entry);
        }
    }

    /// An exit as the reference's event handler treats it.
    pub(crate) fn exit(&self, key: ProcessKey) {
        let (process, parent) = self.with_parent(key);
        for entry in [parent, process].into_iter().flatten() {
            self.ref_dec(&entry);
        }
    }

    pub(crate) fn ref_dec(&self, entry: &Arc<Entry>) {
        if entry.references.fetch_sub(1, Ordering::SeqCst) == 1
            && entry.colour.swap(DELETE_PENDING, Ordering::SeqCst) == IN_USE
        {
            self.queue().push(Arc::clone(entry));
        }
    }

    /// What the collector does every 30 seconds.
    pub(crate) fn tick(&self) {
        let mut queue = std::mem::take(&mut *self.queue());
        queue.retain(|entry| {
            if entry.references.load(Ordering::SeqCst) != 0 {
                entry.colour.store(IN_USE, Ordering::SeqCst);
                return false;
            }
            if entry.colour.load(Ordering::SeqCst) == DELETE_PENDING {
                entry.colour.store(DELETE_READY, Ordering::SeqCst);
                return true;
            }
            entry.colour.store(DELETED, Ordering::SeqCst);
            if self.entries().remove(&entry.process().exec_id) {
                self.size.fetch_sub(1, Ordering::Relaxed);
            }
            false
        });
        queue.shrink_to_fit();
        *self.queue() = queue;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    fn insert(&self, entry: &Arc<Entry>) {
        let exec_id: Arc<str> = entry.process().exec_id.as_str().into();
        let evicted = self.entries().insert(exec_id, Arc::clone(entry));
        if evicted.is_none() {
            self.size.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Lru<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
