//! The members of the messages, in the order of the schema.

use serde::Serializer;
use serde::ser::SerializeMap;

use super::value::{Bytes, Json, Member, Name, Names, Value};
use crate::proto::tetragon::get_events_response::Event;
use crate::proto::tetragon::{
    self, CapabilitiesType, GetEventsResponse, ProcessPrivilegesChanged, SecureBitsType, ThrottleType,
};

fn put<M: SerializeMap>(object: &mut M, name: &'static str, member: &impl Member) -> Result<(), M::Error> {
    member.get().map_or(Ok(()), |value| object.serialize_entry(name, &Json(value)))
}

/// `member as "name" by form`: what is not called as its Rust field is, or is not what its Rust type
/// says.
macro_rules! view {
    ($($message:ident: $($member:ident $(as $name:literal)? $(by $form:expr)?),*;)*) => {$(
        impl Value for tetragon::$message {
            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_map(None)?;
                $(put(&mut object, name!($member $($name)?), &form!(self.$member $(, $form)?))?;)*
                object.end()
            }
        }
    )*};
}

macro_rules! name {
    ($member:ident) => {
        stringify!($member)
    };
    ($member:ident $name:literal) => {
        $name
    };
}

macro_rules! form {
    ($member:expr) => {
        $member
    };
    ($member:expr, $form:expr) => {
        $form(&$member)
    };
}

view! {
    Process: exec_id, pid, uid, cwd, binary, arguments, flags, start_time, auid, pod, docker, parent_exec_id,
        refcnt, cap, ns, tid, process_credentials, binary_properties, user, in_init_tree, environment_variables;
    UserRecord: name;
    EnvVar: key as "Key", value as "Value";
    Pod: namespace, name, uid, container, pod_labels, workload, workload_kind, pod_annotations;
    Container: id, name, image, start_time, pid, maybe_exec_probe, security_context;
    Image: id, name;
    SecurityContext: privileged;
    Capabilities: permitted by Names::<CapabilitiesType>::of, effective by Names::<CapabilitiesType>::of,
        inheritable by Names::<CapabilitiesType>::of;
    Namespace: inum, is_host;
    Namespaces: uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children, cgroup, user;
    UserNamespace: level, uid, gid, ns;
    ProcessCredentials: uid, gid, euid, egid, suid, sgid, fsuid, fsgid,
        securebits by Names::<SecureBitsType>::of, caps, user_ns;
    BinaryProperties: setuid, setgid, privileges_changed by Names::<ProcessPrivilegesChanged>::of, file;
    FileProperties: inode, path;
    InodeProperties: number, links;

    ProcessExec: process, parent, ancestors;
    ProcessExit: process, parent, signal, status, time, ancestors;
    ProcessLoader: process, path, buildid by Bytes, parent, ancestors;
    ProcessKprobe: process, parent, ancestors;
    ProcessTracepoint: process, parent, ancestors;
    ProcessUprobe: process, parent, ancestors;
    ProcessLsm: process, parent, ancestors;
    ProcessUsdt: process, parent, ancestors;
    ProcessThrottle: r#type as "type" by Name::<ThrottleType>::from, cgroup;
    Test: arg0, arg1, arg2, arg3;
    RateLimitInfo: number_of_dropped_process_events;
    AggregationInfo: count;
}

/// The event comes first, though its place in the schema is spread over the numbers.
impl Value for GetEventsResponse {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        if let Some(event) = &self.event {
            put_event(&mut object, event)?;
        }
        put(&mut object, "node_name", &self.node_name)?;
        put(&mut object, "time", &self.time)?;
        put(&mut object, "aggregation_info", &self.aggregation_info)?;
        put(&mut object, "cluster_name", &self.cluster_name)?;
        put(&mut object, "node_labels", &self.node_labels)?;
        object.end()
    }
}

fn put_event<M: SerializeMap>(object: &mut M, event: &Event) -> Result<(), M::Error> {
    match event {
        Event::ProcessExec(event) => object.serialize_entry("process_exec", &Json(event)),
        Event::ProcessExit(event) => object.serialize_entry("process_exit", &Json(event)),
        Event::ProcessKprobe(event) => object.serialize_entry("process_kprobe", &Json(event)),
        Event::ProcessTracepoint(event) => object.serialize_entry("process_tracepoint", &Json(event)),
        Event::ProcessLoader(event) => object.serialize_entry("process_loader", &Json(event)),
        Event::ProcessUprobe(event) => object.serialize_entry("process_uprobe", &Json(event)),
        Event::ProcessThrottle(event) => object.serialize_entry("process_throttle", &Json(event)),
        Event::ProcessLsm(event) => object.serialize_entry("process_lsm", &Json(event)),
        Event::ProcessUsdt(event) => object.serialize_entry("process_usdt", &Json(event)),
        Event::Test(event) => object.serialize_entry("test", &Json(event)),
        Event::RateLimitInfo(event) => object.serialize_entry("rate_limit_info", &Json(event)),
    }
}
