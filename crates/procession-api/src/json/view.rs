//! The members of the messages, in the order of the schema.

use super::value::{Bytes, Member, Name, Names, Value};
use crate::proto::tetragon::get_events_response::Event;
use crate::proto::tetragon::{
    self, CapabilitiesType, GetEventsResponse, ProcessPrivilegesChanged, SecureBitsType, ThrottleType,
};

/// Appends a member if it is set. `name` has its comma, its quotes and its colon.
fn put(name: &str, member: &impl Member, out: &mut Vec<u8>) {
    if let Some(value) = member.get() {
        out.extend_from_slice(name.as_bytes());
        value.write(out);
    }
}

/// Appends an object of which each member was written with a comma before it.
fn object(out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    members(out);
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

/// `member as "name" by form`: what is not called as its Rust field is, or is not what its Rust type
/// says.
macro_rules! view {
    ($($message:ident: $($member:ident $(as $name:literal)? $(by $form:expr)?),*;)*) => {$(
        impl Value for tetragon::$message {
            fn write(&self, out: &mut Vec<u8>) {
                object(out, |out| {
                    $(put(name!($member $($name)?), &form!(self.$member $(, $form)?), out);)*
                });
            }
        }
    )*};
}

macro_rules! name {
    ($member:ident) => {
        concat!(",\"", stringify!($member), "\":")
    };
    ($member:ident $name:literal) => {
        concat!(",\"", $name, "\":")
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
    fn write(&self, out: &mut Vec<u8>) {
        object(out, |out| {
            if let Some(event) = &self.event {
                put_event(event, out);
            }
            put(name!(node_name), &self.node_name, out);
            put(name!(time), &self.time, out);
            put(name!(aggregation_info), &self.aggregation_info, out);
            put(name!(cluster_name), &self.cluster_name, out);
            put(name!(node_labels), &self.node_labels, out);
        });
    }
}

fn put_event(event: &Event, out: &mut Vec<u8>) {
    let (name, event): (_, &dyn Value) = match event {
        Event::ProcessExec(event) => (name!(process_exec), event),
        Event::ProcessExit(event) => (name!(process_exit), event),
        Event::ProcessKprobe(event) => (name!(process_kprobe), event),
        Event::ProcessTracepoint(event) => (name!(process_tracepoint), event),
        Event::ProcessLoader(event) => (name!(process_loader), event),
        Event::ProcessUprobe(event) => (name!(process_uprobe), event),
        Event::ProcessThrottle(event) => (name!(process_throttle), event),
        Event::ProcessLsm(event) => (name!(process_lsm), event),
        Event::ProcessUsdt(event) => (name!(process_usdt), event),
        Event::Test(event) => (name!(test), event),
        Event::RateLimitInfo(event) => (name!(rate_limit_info), event),
    };
    out.extend_from_slice(name.as_bytes());
    event.write(out);
}
