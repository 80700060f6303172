//! What the reference writes of recorded records, by the rules of its behaviour and with none of our code.
//!
//! It keeps what the reference keeps: in the kernel the image that each pid runs, in its cache a message of
//! each image, by its `exec_id`. Where we differ on purpose, it says so with *ours*.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::record::{Facts, Ids, Kind, Record, Records, Text};
use super::{BOOT, CLUSTER, NODE};

/// What the reference is asked for beyond the usual.
#[derive(Clone, Copy)]
pub(crate) struct Detail {
    pub(crate) credentials: bool,
    pub(crate) namespaces: bool,
}

/// A pid and when its image began.
type Key = (u32, u64);

/// Stands for no parent.
const NONE: Key = (0, 1);

/// What the kernel's side knows of a process.
struct Task {
    key: Key,
    /// It was forked, and has run no program of its own.
    is_clone: bool,
    is_in_init_tree: bool,
    permitted: u64,
}

pub(crate) struct Oracle<'a> {
    detail: Detail,
    records: Records<'a>,
    host: [u32; 10],
    tasks: HashMap<u32, Task>,
    cache: HashMap<String, Map<String, Value>>,
    /// Of the arguments of the next exec.
    parts: Vec<u8>,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(detail: Detail, file: &'a [u8]) -> Self {
        let records = Records::new(file);
        let shell = records.iter().find(|record| record.kind() == Kind::Walk).unwrap();
        let host = shell.facts().namespaces();
        Self { detail, records, host, tasks: HashMap::new(), cache: HashMap::new(), parts: Vec::new() }
    }

    /// The events, in their order.
    pub(crate) fn lines(mut self) -> Vec<Value> {
        self.records.iter().filter_map(|record| self.line(record)).collect()
    }

    fn line(&mut self, record: Record<'_>) -> Option<Value> {
        let (member, time) = match record.kind() {
            Kind::Part => {
                self.parts.extend_from_slice(record.part());
                return None;
            }
            Kind::Fork => {
                self.fork(record);
                return None;
            }
            Kind::Change => return None,
            // It is dated to the start of the process.
            Kind::Walk => (("process_exec", self.found(record)), record.image_start()),
            Kind::Exec => (("process_exec", self.exec(record)), record.time()),
            Kind::Exit => (("process_exit", self.exit(record)), record.time()),
        };
        let (name, member) = member;
        Some(json!({ name: member, "node_name": NODE, "time": date(time), "cluster_name": CLUSTER }))
    }

    /// The child has the message of its parent, but for what is its own.
    fn fork(&mut self, record: Record<'_>) {
        let parent = &self.tasks[&record.relative_pid()];
        let key = (record.pid(), record.image_start());
        let is_in_init_tree = parent.is_in_init_tree || record.facts().ns_pid() == 1;
        let parent_id = exec_id(parent.key);
        let mut message = self.cache[&parent_id].clone();
        for (name, value) in [
            ("exec_id", exec_id(key).into()),
            ("pid", key.0.into()),
            ("tid", key.0.into()),
            ("parent_exec_id", parent_id.into()),
            // Its flag has the bit of an exec.
            ("flags", if is_in_init_tree { "execve inInitTree" } else { "execve" }.into()),
            ("start_time", date(key.1)),
            ("in_init_tree", is_in_init_tree.into()),
            // *Ours*: no `refcnt`, which is 1 in the reference. There are no counts.
        ] {
            message.insert(name.to_owned(), value);
        }
        let permitted = record.facts().capabilities()[0];
        self.tasks.insert(key.0, Task { key, is_clone: true, is_in_init_tree, permitted });
        self.cache.insert(exec_id(key), message);
    }

    fn found(&mut self, record: Record<'_>) -> Value {
        let key = (record.pid(), record.image_start());
        // *Ours*: the parent's start is exact, not in hundredths of a second.
        let parent = self.tasks.get(&record.relative_pid());
        let parent_key = parent.map_or((record.relative_pid(), record.relative_began()), |task| task.key);
        let is_in_init_tree =
            record.facts().ns_pid() == 1 || parent.is_some_and(|parent| parent.is_in_init_tree);
        let permitted = record.facts().capabilities()[0];
        self.tasks.insert(key.0, Task { key, is_clone: false, is_in_init_tree, permitted });
        let exe = record.exe().path();
        let message = self.image(record, &exe, Origin::Walk, parent_key, is_in_init_tree);
        self.show_exec(&message)
    }

    fn exec(&mut self, record: Record<'_>) -> Value {
        let key = (record.pid(), record.image_start());
        let before = self.tasks.remove(&key.0).expect("the capture has its fork");
        let parent = if before.is_clone { self.tasks[&record.relative_pid()].key } else { before.key };
        let is_in_init_tree = before.is_in_init_tree || record.facts().ns_pid() == 1;
        let filename = match record.filename() {
            // *Ours*: the file itself; the reference knows no more than the number of a descriptor.
            name if name.starts_with(b"/dev/fd/") => record.exe().path(),
            name => name.to_vec(),
        };
        let permitted = record.facts().capabilities()[0];
        self.tasks.insert(key.0, Task { key, is_clone: false, is_in_init_tree, permitted });
        let origin = if before.is_clone { Origin::FirstExec } else { Origin::Exec };
        let message = self.image(record, &filename, origin, parent, is_in_init_tree);
        let mut event = self.show_exec(&message);
        let properties = binary_properties(record, before.permitted);
        if self.detail.credentials && !properties.is_empty() {
            event["process"]["binary_properties"] = properties.into();
        }
        event
    }

    fn exit(&mut self, record: Record<'_>) -> Value {
        let task = self.tasks.remove(&record.pid()).unwrap();
        let mut event = self.show_exec(&self.cache[&exec_id(task.key)]);
        let status = record.status() >> 8 & 0xff;
        let signal = signal_name(record.status() & 0x7f);
        event["time"] = date(record.time());
        if status != 0 {
            event["status"] = status.into();
        }
        if !signal.is_empty() {
            event["signal"] = signal.into();
        }
        event
    }

    /// An image, and its parent if that is in the cache.
    fn show_exec(&self, process: &Map<String, Value>) -> Value {
        let parent = process["parent_exec_id"].as_str().and_then(|id| self.cache.get(id));
        let mut event = json!({ "process": process });
        if let Some(parent) = parent {
            event["parent"] = parent.clone().into();
        }
        event
    }

    /// Makes the message of an image, and keeps it.
    fn image(
        &mut self,
        record: Record<'_>,
        filename: &[u8],
        origin: Origin,
        parent: Key,
        is_in_init_tree: bool,
    ) -> Map<String, Value> {
        let key = (record.pid(), record.image_start());
        let (inline, total) = record.arguments();
        let block = [inline, &std::mem::take(&mut self.parts)].concat();
        let is_cut = (block.len() as u64) < total;
        let cwd = cwd(record.cwd());
        let (arguments, cwd) = decode_arguments(&without_first(&block), cwd.as_deref());
        let facts = record.facts();
        let mut message = Map::new();
        let mut put = |name: &str, value: Value| {
            if value != "" {
                message.insert(name.to_owned(), value);
            }
        };
        put("exec_id", exec_id(key).into());
        put("pid", key.0.into());
        put("tid", key.0.into());
        put("uid", facts.ids().euid.into());
        put("auid", facts.login_uid().into());
        put("binary", text(&binary(filename, &cwd)).into());
        put("arguments", text(&arguments).into());
        put("flags", flags(origin, &cwd, is_cut, is_in_init_tree).into());
        put("cwd", text(&cwd).into());
        put("start_time", date(key.1));
        put("docker", container(&record.cgroup().path()).into());
        put("parent_exec_id", exec_id(if parent.0 == 0 { NONE } else { parent }).into());
        put("in_init_tree", is_in_init_tree.into());
        if self.detail.credentials {
            put("cap", capabilities(facts));
            put("process_credentials", credentials(facts.ids()));
        }
        if self.detail.namespaces {
            put("ns", namespaces(facts.namespaces(), self.host));
        }
        self.cache.insert(exec_id(key), message.clone());
        message
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Walk,
    FirstExec,
    Exec,
}

fn exec_id((pid, start): Key) -> String {
    STANDARD.encode(format!("{NODE}:{start}:{pid}"))
}

/// RFC 3339 with no, 3, 6 or 9 digits of a fraction: the fewest that are exact.
fn date(boot_nanos: u64) -> Value {
    let (seconds, nanos) = (BOOT + boot_nanos / 1_000_000_000, boot_nanos % 1_000_000_000);
    let second = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
    let fraction = format!("{nanos:09}");
    let fraction = [0, 3, 6, 9].into_iter().find(|digits| fraction[*digits..].bytes().all(|b| b == b'0'));
    let digits = &format!("{nanos:09}")[..fraction.unwrap_or(9)];
    let point = if digits.is_empty() { "" } else { "." };
    format!("{}{point}{digits}Z", second.strftime("%Y-%m-%dT%H:%M:%S")).into()
}

/// Each run of bytes that are not UTF-8 becomes one replacement character.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut is_in_run = false;
    for chunk in bytes.utf8_chunks() {
        is_in_run &= chunk.valid().is_empty();
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && !is_in_run {
            text.push('\u{fffd}');
            is_in_run = true;
        }
    }
    text
}

/// `None`: it could not be read.
fn cwd(cwd: Text<'_>) -> Option<Vec<u8>> {
    assert!(cwd.state <= 1, "no capture has another");
    let deleted: &[u8] = if cwd.is_deleted { b" (deleted)" } else { b"" };
    (cwd.state == 1).then(|| [&cwd.path(), deleted].concat())
}

/// The reference leaves out the name under which a program was called.
fn without_first(block: &[u8]) -> Vec<u8> {
    let end = block.iter().position(|byte| *byte == 0);
    end.map_or(Vec::new(), |end| block[end + 1..].to_vec())
}

/// The working directory is the last of the arguments there, unless it is the root.
fn decode_arguments(arguments: &[u8], cwd: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    let is_embedded = cwd.is_some_and(|cwd| cwd != b"/");
    let mut joined = arguments.to_vec();
    if is_embedded {
        if joined.last().is_some_and(|last| *last != 0) {
            // The last argument was cut.
            joined.push(0);
        }
        joined.extend_from_slice(cwd.unwrap_or_default());
    }
    while joined.last() == Some(&0) {
        joined.pop();
    }
    let mut tokens: Vec<_> = joined.split(|byte| *byte == 0).collect();
    let cwd = if is_embedded { tokens.pop().unwrap().to_vec() } else { cwd.unwrap_or_default().to_vec() };
    let mut text = Vec::new();
    for token in tokens {
        if token.contains(&b' ') {
            text.extend_from_slice(&[b" \"", token, b"\""].concat());
        } else {
            if !text.is_empty() {
                text.push(b' ');
            }
            text.extend_from_slice(token);
        }
    }
    (text, cwd)
}

fn binary(filename: &[u8], cwd: &[u8]) -> Vec<u8> {
    if filename.starts_with(b"/") || filename.is_empty() {
        return filename.to_vec();
    }
    let mut components: Vec<&[u8]> = Vec::new();
    for component in [cwd, b"/", filename].concat().split(|byte| *byte == b'/').map(<[u8]>::to_vec) {
        match &*component {
            b"" | b"." => {}
            b".." => {
                components.pop();
            }
            _ => components.push(component.leak()),
        }
    }
    components.iter().flat_map(|component| [b"/", *component].concat()).collect()
}

fn flags(origin: Origin, cwd: &[u8], is_cut: bool, is_in_init_tree: bool) -> String {
    let is_walk = origin == Origin::Walk;
    let all = [
        (!is_walk, "execve"),
        (is_walk, "procFS"),
        (is_cut, "truncArgs"),
        (cwd == b"/" || (is_walk && cwd.is_empty()), "rootcwd"),
        (cwd.is_empty(), "errorCWD"),
        (origin == Origin::FirstExec, "clone"),
        (is_in_init_tree, "inInitTree"),
    ];
    all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect::<Vec<_>>().join(" ")
}

/// The first 31 characters of an id of 64 at the end of the path.
fn container(cgroup: &[u8]) -> String {
    let path = String::from_utf8(cgroup.to_vec()).unwrap();
    let last = path.rsplit('/').next().unwrap_or_default();
    let candidate = last.rsplit([':', '-']).next().unwrap_or_default();
    if candidate.len() >= 64 && !candidate.ends_with("service") {
        candidate[..31].to_owned()
    } else {
        String::new()
    }
}

fn binary_properties(record: Record<'_>, permitted_before: u64) -> Map<String, Value> {
    let ids = record.facts().ids();
    let [permitted, _, _, _, ambient] = record.facts().capabilities();
    let is_raised = record.are_rights_raised();
    let changes = [
        (permitted & !permitted_before != 0 && ambient == 0 && ids.euid == ids.uid, "CAP"),
        (ids.uid != 0 && ids.euid == 0, "SETUID"),
        (ids.gid != 0 && ids.egid == 0, "SETGID"),
    ];
    let changes = changes.into_iter().filter(|(is_so, _)| is_raised && *is_so);
    let changes: Vec<_> =
        changes.map(|(_, what)| Value::from(format!("PRIVILEGES_RAISED_EXEC_FILE_{what}"))).collect();
    let mut properties = Map::new();
    if is_raised && ids.euid != ids.uid {
        properties.insert("setuid".into(), ids.euid.into());
    }
    if is_raised && ids.egid != ids.gid {
        properties.insert("setgid".into(), ids.egid.into());
    }
    if !changes.is_empty() {
        properties.insert("privileges_changed".into(), changes.into());
    }
    if record.inode() != 0 && record.links() == 0 {
        let file = json!({ "inode": { "number": record.inode().to_string(), "links": 0 } });
        properties.insert("file".into(), file);
    }
    properties
}

fn capabilities(facts: Facts<'_>) -> Value {
    let mut sets = Map::new();
    let [permitted, effective, inheritable, ..] = facts.capabilities();
    for (name, set) in [("permitted", permitted), ("effective", effective), ("inheritable", inheritable)] {
        let bits = (0..64_u32).filter(|bit| set >> bit & 1 == 1);
        let list: Vec<_> = bits
            .map(|bit| {
                let name = CAPABILITIES.get(bit as usize);
                name.map_or(Value::from(bit), |name| Value::from(*name))
            })
            .collect();
        if !list.is_empty() {
            sets.insert(name.into(), list.into());
        }
    }
    sets.into()
}

fn credentials(ids: Ids) -> Value {
    assert_eq!(ids.securebits, 0, "no capture has others");
    let Ids { uid, gid, suid, sgid, euid, egid, fsuid, fsgid, .. } = ids;
    json!({
        "uid": uid, "gid": gid, "euid": euid, "egid": egid,
        "suid": suid, "sgid": sgid, "fsuid": fsuid, "fsgid": fsgid,
    })
}

fn namespaces(own: [u32; 10], host: [u32; 10]) -> Value {
    const NAMES: [&str; 10] = [
        "uts",
        "ipc",
        "mnt",
        "pid",
        "pid_for_children",
        "net",
        "time",
        "time_for_children",
        "cgroup",
        "user",
    ];
    let mut all = Map::new();
    let has_time = own[6] != 0;
    for ((name, own), host) in NAMES.into_iter().zip(own).zip(host) {
        if name.starts_with("time") && !has_time {
            continue;
        }
        let value =
            if own == host { json!({ "inum": own, "is_host": true }) } else { json!({ "inum": own }) };
        all.insert(name.to_owned(), value);
    }
    all.into()
}

/// Of the first 31; none of others.
fn signal_name(number: u32) -> &'static str {
    match number {
        3 => "SIGQUIT",
        9 => "SIGKILL",
        15 => "SIGTERM",
        0 | 32.. => "",
        _ => panic!("no capture has signal {number}"),
    }
}

/// By number.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];
