//! From the bytes of a record to an event.
//!
//! Total: any bytes give an event, nothing, or a [`Malformed`]; a bad record costs itself alone.

use std::collections::HashMap;
use std::ops::Range;

use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Change, Context, Credentials, Event, EventKind,
    Exec, Exit, ExitStatus, FileIdentity, Fork, Gid, Namespaces, Nature, Pid, Precision, PrivilegeChange,
    ProcessKey, Program, Relative, Running, Subject, Uid, WorkingDirectory,
};
use zerocopy::FromBytes;

use super::layout::{self, kind, text_state};

/// A record that is not as its own header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What a record is about, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordId {
    /// One of [`kind`].
    pub(crate) kind: u16,
    /// Bytes of the record.
    pub(crate) len: usize,
    /// The CPU that wrote it, and its number there.
    pub(crate) cpu: u32,
    /// Number of the record on that CPU.
    pub(crate) seq: u64,
    /// When it happened.
    pub(crate) time: BootTime,
    /// The image that the record is about.
    pub(crate) subject: ProcessKey,
    /// When its process began.
    pub(crate) began: BootTime,
}

/// Reads the begin of a record.
pub(crate) fn identify(bytes: &[u8]) -> Result<RecordId, Malformed> {
    let (header, rest) = read::<layout::Header>(bytes)?;
    let (subject, _) = read::<layout::ProcessRef>(rest)?;
    let len = header.len as usize;
    if len > bytes.len() {
        return Err(Malformed);
    }
    let (subject, began) = (key(subject), BootTime::from_nanos(subject.process_start));
    let time = BootTime::from_nanos(header.time);
    Ok(RecordId { kind: header.kind, len, cpu: header.cpu, seq: header.seq, time, subject, began })
}

/// Turns records into events, in the order in which they come out of the ring.
///
/// Paths arrive as components from the last to the first, and long argument vectors in parts, so
/// both are put together here, in buffers that are used again for each record.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    texts: Texts,
    /// Parts of an argument vector whose exec record is still to come, by CPU: one CPU writes all
    /// of them in one go, so there is never more than one vector for each.
    parts: HashMap<u32, Parts>,
    arguments: Vec<u8>,
}

#[derive(Debug)]
struct Parts {
    subject: ProcessKey,
    /// Where the first byte belongs in the argument block.
    start: u64,
    bytes: Vec<u8>,
}

/// No argument block is larger: the kernel allows three quarters of its 8 MiB stack limit.
pub(super) const ARGUMENTS_MAX: usize = 6 << 20;

/// What one long argument block may leave allocated.
pub(super) const KEPT_CAPACITY: usize = 64 * 1024;

/// Stands before a path that never meets the process's root, as in what getcwd(2) returns.
const UNREACHABLE: &[u8] = b"(unreachable)";

impl Decoder {
    /// The event in `bytes`; `None` for a part of an argument vector, which is kept for later.
    pub(crate) fn decode<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<Event<'a>>, Malformed> {
        let id = identify(bytes)?;
        let bytes = bytes.get(..id.len).ok_or(Malformed)?;
        match id.kind {
            kind::FORK => fork(bytes).map(Some),
            kind::EXIT => exit(bytes).map(Some),
            kind::CHANGE => change(bytes).map(Some),
            kind::EXEC | kind::WALK => self.image(bytes).map(Some),
            kind::ARGS => self.keep_part(bytes).map(|()| None),
            _ => Err(Malformed),
        }
    }

    /// Bytes of memory that the decoder has for itself.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let parts: usize = self.parts.values().map(|parts| parts.bytes.capacity()).sum();
        self.texts.bytes.capacity() + self.arguments.capacity() + parts
    }

    fn keep_part(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let (record, data) = read::<layout::ArgsRecord>(bytes)?;
        let part = data.get(..record.len as usize).ok_or(Malformed)?;
        let subject = key(record.subject);
        let parts = self.parts.entry(record.header.cpu).or_insert_with(|| Parts {
            subject,
            start: record.offset,
            bytes: Vec::new(),
        });
        if parts.subject != subject {
            *parts = Parts { subject, start: record.offset, bytes: Vec::new() };
        }
        // After a lost part the rest could not be placed; the exec record tells how much is missing.
        let follows = parts.start.checked_add(parts.bytes.len() as u64) == Some(record.offset);
        if follows && parts.bytes.len() + part.len() <= ARGUMENTS_MAX {
            parts.bytes.extend_from_slice(part);
        }
        Ok(())
    }

    fn image<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Event<'a>, Malformed> {
        let (record, data) = read::<layout::ImageRecord>(bytes)?;
        let inline = slice(data, record.args.offset, record.args.len)?;
        // A walk record holds all that there is, and may come between an exec and its parts.
        let is_exec = record.header.kind == kind::EXEC;
        let parts = if is_exec { self.parts.remove(&record.header.cpu) } else { None };
        let continues =
            |parts: &Parts| parts.subject == key(record.subject) && parts.start == inline.len() as u64;
        self.arguments.clear();
        self.arguments.shrink_to(KEPT_CAPACITY);
        let block = match parts.filter(continues) {
            None => inline,
            Some(parts) => {
                self.arguments.extend_from_slice(inline);
                self.arguments.extend_from_slice(&parts.bytes);
                &self.arguments
            }
        };
        let total_len = usize::try_from(record.args.total).map_err(|_| Malformed)?;
        let arguments = Arguments { bytes: block, total_len: total_len.max(block.len()) };

        self.texts.assemble(&record, data)?;
        let texts = &self.texts;
        let program = Program {
            nature: nature(&record.facts),
            binary: texts.get(&texts.binary),
            executable: texts.get(&texts.executable),
            comm: texts.get(&texts.comm),
            cwd: texts.cwd(),
            environment: Arguments::default(),
            arguments,
            file: file(&record.file),
            privileges: privileges(&record),
        };
        let path = texts.get(&texts.cgroup);
        let context = context(&record.facts, path);
        let process = subject(record.subject);
        let owner = relative(record.owner);
        let kind = if is_exec {
            let before = BootTime::from_nanos(record.replaced_image_start);
            let replaces = Some(ProcessKey::new(process.key.pid, before));
            EventKind::Exec(Exec { process, replaces, tid: Pid(record.old_tid), owner, context, program })
        } else {
            EventKind::Running(Running { process, owner, context, program, gap: None })
        };
        Ok(Event { time: BootTime::from_nanos(record.header.time), kind })
    }
}

fn fork(bytes: &[u8]) -> Result<Event<'_>, Malformed> {
    let (record, _) = read::<layout::ForkRecord>(bytes)?;
    let fork = Fork {
        child: subject(record.subject),
        parent: relative(record.creator),
        parent_tid: Pid(record.creator.tid),
        owner: relative(record.owner),
        context: context(&record.facts, b""),
    };
    Ok(Event { time: BootTime::from_nanos(record.header.time), kind: EventKind::Fork(fork) })
}

fn change(bytes: &[u8]) -> Result<Event<'_>, Malformed> {
    let (record, _) = read::<layout::ChangeRecord>(bytes)?;
    let mut context = context(&record.facts, b"");
    // A leader that has ended has none any more; the process still runs where it ran.
    context.namespaces = context.namespaces.filter(|namespaces| namespaces.mnt != 0);
    let change = Change { process: subject(record.subject), context };
    Ok(Event { time: BootTime::from_nanos(record.header.time), kind: EventKind::Change(change) })
}

fn exit(bytes: &[u8]) -> Result<Event<'_>, Malformed> {
    let (record, _) = read::<layout::ExitRecord>(bytes)?;
    // Not the copy in `record`: the event refers to `bytes`.
    let comm = std::mem::offset_of!(layout::ExitRecord, comm);
    let comm = bytes.get(comm..comm + record.comm.len()).ok_or(Malformed)?;
    let exit = Exit {
        process: subject(record.subject),
        tid: Pid(record.subject.tid),
        owner: relative(record.owner),
        status: Some(ExitStatus::from_raw(record.status)),
        comm: until_nul(comm),
    };
    Ok(Event { time: BootTime::from_nanos(record.header.time), kind: EventKind::Exit(exit) })
}

/// The texts of one image record, put together in one buffer.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    binary: Range<usize>,
    executable: Range<usize>,
    comm: Range<usize>,
    cwd: Range<usize>,
    cwd_state: u32,
    cgroup: Range<usize>,
}

impl Texts {
    fn get(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    fn cwd(&self) -> WorkingDirectory<'_> {
        let path = self.get(&self.cwd);
        match self.cwd_state {
            text_state::ABSENT => WorkingDirectory::Unknown,
            text_state::TRUNCATED => WorkingDirectory::Tail(path),
            _ => WorkingDirectory::Path(path),
        }
    }

    fn assemble(&mut self, record: &layout::ImageRecord, data: &[u8]) -> Result<(), Malformed> {
        self.bytes.clear();
        self.executable = self.push_path(record.exe, data)?;
        self.cwd = self.push_path(record.cwd, data)?;
        if record.cwd.flags & layout::TEXT_DELETED != 0 && !self.cwd.is_empty() {
            // As /proc/PID/cwd and the reference system show a directory that is no longer there.
            self.bytes.extend_from_slice(b" (deleted)");
            self.cwd.end = self.bytes.len();
        }
        self.cwd_state = record.cwd.state;
        self.cgroup = self.push_path(record.cgroup, data)?;
        self.comm = self.push(until_nul(&record.facts.comm));
        let filename = until_nul(slice(data, record.filename.offset, record.filename.len)?);
        let is_script = record.interp.state != text_state::ABSENT;
        self.binary = self.push_binary(nature(&record.facts), filename, is_script);
        Ok(())
    }

    /// The file that the exec named. See [`Program::binary`].
    fn push_binary(&mut self, nature: Nature, filename: &[u8], is_script: bool) -> Range<usize> {
        if nature == Nature::KernelThread {
            let start = self.bytes.len();
            self.bytes.push(b'[');
            self.bytes.extend_from_within(self.comm.clone());
            self.bytes.push(b']');
            return start..self.bytes.len();
        }
        // Named by a descriptor, or found by a walk: only the file itself can tell.
        if filename.is_empty() || (filename.starts_with(b"/dev/fd/") && !is_script) {
            return self.executable.clone();
        }
        if filename.starts_with(b"/") || self.cwd.is_empty() {
            return self.push(filename);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_within(self.cwd.clone());
        let top =
            if self.bytes[start..].starts_with(UNREACHABLE) { start + UNREACHABLE.len() } else { start };
        for component in filename.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => match self.bytes[top..].iter().rposition(|byte| *byte == b'/') {
                    Some(parent) => self.bytes.truncate(top + parent),
                    // Out of the part of the path that is known.
                    None if self.cwd_state == text_state::TRUNCATED => return self.executable.clone(),
                    None => {}
                },
                name => {
                    if self.bytes.last() != Some(&b'/') || self.bytes.len() == start {
                        self.bytes.push(b'/');
                    }
                    self.bytes.extend_from_slice(name);
                }
            }
        }
        start..self.bytes.len()
    }

    fn push(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        start..self.bytes.len()
    }

    /// A path whose components come last first, each with a NUL at its end.
    fn push_path(&mut self, text: layout::Text, data: &[u8]) -> Result<Range<usize>, Malformed> {
        let components = slice(data, text.offset, text.len)?;
        let start = self.bytes.len();
        match text.state {
            text_state::ABSENT => return Ok(start..start),
            // The kernel shows a file without a directory as one in the root: `/memfd:name`.
            text_state::NAME_ONLY => {
                self.bytes.push(b'/');
                self.bytes.extend_from_slice(until_nul(components));
                return Ok(start..self.bytes.len());
            }
            text_state::UNREACHABLE => self.bytes.extend_from_slice(UNREACHABLE),
            _ => {}
        }
        let components = components.strip_suffix(b"\0").unwrap_or(components);
        for component in components.rsplit(|byte| *byte == 0) {
            // What is cut off does not begin at the root.
            if text.state != text_state::TRUNCATED || self.bytes.len() > start {
                self.bytes.push(b'/');
            }
            self.bytes.extend_from_slice(component);
        }
        Ok(start..self.bytes.len())
    }
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    T::read_from_prefix(bytes).map_err(|_| Malformed)
}

fn slice(data: &[u8], offset: u32, len: u32) -> Result<&[u8], Malformed> {
    let start = offset as usize;
    let end = start.checked_add(len as usize).ok_or(Malformed)?;
    data.get(start..end).ok_or(Malformed)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn key(process: layout::ProcessRef) -> ProcessKey {
    // A walk does not know which image a parent runs; its fork then stands for it.
    let start = if process.image_start == 0 { process.process_start } else { process.image_start };
    ProcessKey::new(Pid(process.tgid), BootTime::from_nanos(start))
}

fn relative(process: layout::ProcessRef) -> Relative {
    let began = (process.process_start != 0).then_some(BootTime::from_nanos(process.process_start));
    Relative { key: key(process), began }
}

fn subject(process: layout::ProcessRef) -> Subject {
    Subject {
        key: key(process),
        began: BootTime::from_nanos(process.process_start),
        precision: Precision::Nanoseconds,
    }
}

fn context<'a>(facts: &layout::Facts, cgroup_path: &'a [u8]) -> Context<'a> {
    Context {
        ns_pid: (facts.pidns_level > 0).then_some(Pid(facts.nspid)),
        session: Some(Pid(facts.sid)).filter(|leader| *leader != Pid(0)),
        credentials: Some(credentials(facts)),
        namespaces: Some(namespaces(&facts.ns)),
        cgroup: Some(Cgroup { id: facts.cgroup_id, path: cgroup_path }),
    }
}

fn credentials(facts: &layout::Facts) -> Credentials {
    let set = |id: u32| (id != u32::MAX).then_some(id);
    let (ids, caps) = (&facts.creds, &facts.caps);
    Credentials {
        uid: Uid(ids.uid),
        gid: Gid(ids.gid),
        suid: Uid(ids.suid),
        sgid: Gid(ids.sgid),
        euid: Uid(ids.euid),
        egid: Gid(ids.egid),
        fsuid: Uid(ids.fsuid),
        fsgid: Gid(ids.fsgid),
        securebits: ids.securebits,
        login_uid: set(facts.loginuid).map(Uid),
        audit_session: set(facts.audit_session),
        capabilities: Capabilities {
            permitted: CapabilitySet(caps.permitted),
            effective: CapabilitySet(caps.effective),
            inheritable: CapabilitySet(caps.inheritable),
            bounding: CapabilitySet(caps.bounding),
            ambient: CapabilitySet(caps.ambient),
        },
    }
}

fn namespaces(ns: &layout::Namespaces) -> Namespaces {
    Namespaces {
        uts: ns.uts,
        ipc: ns.ipc,
        mnt: ns.mnt,
        pid: ns.pid,
        pid_for_children: ns.pid_for_children,
        net: ns.net,
        time: ns.time,
        time_for_children: ns.time_for_children,
        cgroup: ns.cgroup,
        user: ns.user,
    }
}

/// `PF_KTHREAD` of the kernel's `sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

fn nature(facts: &layout::Facts) -> Nature {
    if facts.task_flags & PF_KTHREAD == 0 { Nature::User } else { Nature::KernelThread }
}

fn file(file: &layout::FileFacts) -> Option<FileIdentity> {
    (file.inode != 0).then_some(FileIdentity {
        inode: file.inode,
        device: file.device,
        links: file.links,
        mode: file.mode,
        uid: file.uid,
        gid: file.gid,
    })
}

/// What the file gave the process beyond what it had.
///
/// The kernel clears personality bits exactly when an exec raises privileges, so without that
/// nothing was raised, even if real and effective ids differ: they did before.
fn privileges(record: &layout::ImageRecord) -> PrivilegeChange {
    const SET_ID_BITS: u32 = 0o6000;
    if record.per_clear == 0 {
        return PrivilegeChange::default();
    }
    let (ids, caps) = (&record.facts.creds, &record.facts.caps);
    let setuid = ids.euid != ids.uid;
    let setgid = ids.egid != ids.gid;
    PrivilegeChange {
        setuid,
        setgid,
        file_capabilities: !setuid
            && caps.ambient == 0
            && caps.permitted != 0
            && record.file.mode & SET_ID_BITS == 0,
        setuid_root: setuid && ids.euid == 0,
        setgid_root: setgid && ids.egid == 0,
    }
}
