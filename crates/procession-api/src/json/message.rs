//! The messages of the reference system's schema, member by member in its order.
//!
//! What is unset or empty is left out, as the JSON form of protobuf has it. An `Option` around a
//! number is one of protobuf's wrappers: it is printed when set, even if it is zero.

#![expect(clippy::struct_field_names, reason = "the schema's names")]

use std::collections::BTreeMap;

use serde::Serialize;

use super::value::{CapabilityList, Docker, ExecId, SecureBits, Text, Timestamp, Wide};
use crate::flags::Flags;

#[derive(Serialize)]
pub(super) struct GetEventsResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process_exec: Option<ProcessExec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process_exit: Option<ProcessExit<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) node_name: &'a str,
    pub(super) time: Timestamp,
}

#[derive(Serialize)]
pub(super) struct ProcessExec<'a> {
    pub(super) process: Process<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Process<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ancestors: Vec<Process<'a>>,
}

#[derive(Serialize)]
pub(super) struct ProcessExit<'a> {
    pub(super) process: Process<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Process<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) signal: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) status: u32,
    pub(super) time: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ancestors: Vec<Process<'a>>,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exec_id: Option<ExecId<'a>>,
    pub(super) pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(skip_serializing_if = "Text::is_empty")]
    pub(super) cwd: Text<'a>,
    #[serde(skip_serializing_if = "Text::is_empty")]
    pub(super) binary: Text<'a>,
    #[serde(skip_serializing_if = "Text::is_empty")]
    pub(super) arguments: Text<'a>,
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub(super) flags: Flags,
    pub(super) start_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Pod<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) docker: Option<Docker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_exec_id: Option<ExecId<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cap: Option<Capabilities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ns: Option<Namespaces>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process_credentials: Option<ProcessCredentials>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) binary_properties: Option<BinaryProperties>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserRecord<'a>>,
}

#[derive(Serialize)]
pub(super) struct Pod<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) uid: &'a str,
    pub(super) container: Container<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pod_labels: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) workload: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) workload_kind: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pod_annotations: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
pub(super) struct Container<'a> {
    pub(super) id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
    pub(super) image: ContainerImage<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) maybe_exec_probe: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) security_context: Option<SecurityContext>,
}

#[derive(Serialize)]
pub(super) struct ContainerImage<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
}

#[derive(Serialize)]
pub(super) struct SecurityContext {
    #[serde(skip_serializing_if = "is_false")]
    pub(super) privileged: bool,
}

#[derive(Serialize)]
pub(super) struct Capabilities {
    #[serde(skip_serializing_if = "CapabilityList::is_empty")]
    pub(super) permitted: CapabilityList,
    #[serde(skip_serializing_if = "CapabilityList::is_empty")]
    pub(super) effective: CapabilityList,
    #[serde(skip_serializing_if = "CapabilityList::is_empty")]
    pub(super) inheritable: CapabilityList,
}

#[derive(Serialize)]
pub(super) struct Namespaces {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uts: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ipc: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mnt: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid_for_children: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) net: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_for_children: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cgroup: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<Namespace>,
}

#[derive(Serialize)]
pub(super) struct Namespace {
    pub(super) inum: u32,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) is_host: bool,
}

#[derive(Serialize)]
pub(super) struct ProcessCredentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) euid: u32,
    pub(super) egid: u32,
    pub(super) suid: u32,
    pub(super) sgid: u32,
    pub(super) fsuid: u32,
    pub(super) fsgid: u32,
    #[serde(skip_serializing_if = "SecureBits::is_empty")]
    pub(super) securebits: SecureBits,
}

#[derive(Serialize)]
pub(super) struct BinaryProperties {
    pub(super) setuid: u32,
    pub(super) setgid: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) privileges_changed: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<FileProperties>,
}

#[derive(Serialize)]
pub(super) struct FileProperties {
    pub(super) inode: InodeProperties,
}

#[derive(Serialize)]
pub(super) struct InodeProperties {
    pub(super) number: Wide,
    pub(super) links: u32,
}

#[derive(Serialize)]
pub(super) struct UserRecord<'a> {
    pub(super) name: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
