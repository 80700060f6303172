//! The columns: their names, their types, and what is in them. `docs/parquet.md` says what they mean.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use parquet::errors::ParquetError;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;
use procession::text::to_valid_utf8;
use procession::{
    CapabilitySet, Credentials, EndKind, ExitStatus, FactKind, Gap, Image, Namespaces, Nature, Origin,
    Process, ProcessUid, Provenance, Signal, WorkingDirectory,
};
use procession_api::capability_name;

use crate::row::{Row, text, told};

/// The version of the schema: it rises when a column goes, or means something else. New columns do not
/// raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Whether a row may have nothing in it.
    pub is_optional: bool,
    pub(crate) content: Content,
}

/// What a row has in a column, and of which type that is.
#[derive(Debug)]
pub(crate) enum Content {
    /// `BOOLEAN`.
    Bool(for<'a> fn(&Row<'a>) -> Option<bool>),
    /// `INT32`, without a sign.
    U32(for<'a> fn(&Row<'a>) -> Option<u32>),
    /// `INT64`.
    I64(for<'a> fn(&Row<'a>) -> Option<i64>),
    /// `INT64`, without a sign.
    U64(for<'a> fn(&Row<'a>) -> Option<u64>),
    /// `INT64`: microseconds of UTC.
    Time(for<'a> fn(&Row<'a>) -> Option<SystemTime>),
    /// UTF-8.
    Text(for<'a> fn(&Row<'a>) -> Option<Cow<'a, str>>),
    /// A list of texts.
    Texts(for<'a> fn(&Row<'a>) -> Option<Vec<Cow<'a, str>>>),
}

use Content::{Bool, I64, Text, Texts, Time, U32, U64};

const fn always(name: &'static str, content: Content) -> Column {
    Column { name, is_optional: false, content }
}

const fn maybe(name: &'static str, content: Content) -> Column {
    Column { name, is_optional: true, content }
}

/// All columns, in their order.
pub static COLUMNS: &[Column] = &[
    // What happened.
    always("time", Time(|row| Some(row.at(row.time)))),
    always("event", Text(|row| Some(event(row).into()))),
    always("sequence", U64(|row| Some(row.sequence))),
    always("boot_time_ns", U64(|row| Some(row.time.as_nanos()))),
    // Where.
    always("node_name", Text(|row| Some(row.recording.node_name.as_str().into()))),
    always("boot_id", Text(|row| Some(row.recording.boot_id.to_string().into()))),
    maybe("source", Text(|row| told(&row.recording.source))),
    // To whom.
    always("exec_id", Text(|row| Some(row.exec_id(row.process.key)))),
    always("process_uid", Text(|row| Some(process_uid(row).into()))),
    always("pid", U32(|row| Some(row.process.pid().0))),
    maybe("pid_in_ns", U32(|row| Some(row.process.ns_pid?.0))),
    maybe("tid", U32(tid)),
    always("start_time", Time(|row| Some(row.at(row.process.key.start)))),
    always("process_start_time", Time(|row| Some(row.at(row.process.began)))),
    always("origin", Text(|row| Some(origin(row.process.origin).into()))),
    maybe("gap", Text(|row| Some(gap(row)?.into()))),
    // What led to it.
    maybe("parent_exec_id", Text(|row| Some(row.exec_id(row.process.reference_parent()?)))),
    maybe("parent_pid", U32(|row| Some(row.process.reference_parent()?.pid.0))),
    maybe("parent_program", Text(|row| text(row.parent?.binary()))),
    maybe("parent_command_line", Text(|row| command_line(row.parent?))),
    maybe("forked_by_exec_id", Text(|row| Some(row.exec_id(row.process.parent?.key)))),
    maybe("forked_by_pid", U32(|row| Some(row.process.parent?.key.pid.0))),
    maybe("forked_by_provenance", Text(|row| Some(provenance(row.process.parent?.provenance).into()))),
    maybe("replaced_exec_id", Text(|row| Some(row.exec_id(row.process.previous?)))),
    maybe("owner_exec_id", Text(|row| Some(row.exec_id(row.process.owner?)))),
    maybe("owner_pid", U32(|row| Some(row.process.owner?.pid.0))),
    maybe("session", U32(|row| Some(row.process.session?.0))),
    always("depth", U32(|row| Some(row.depth.into()))),
    // What it runs.
    maybe("program", Text(|row| text(row.process.binary()))),
    maybe("executable", Text(|row| text(row.image()?.executable()))),
    maybe("comm", Text(|row| text(row.image()?.comm()))),
    maybe("arguments", Texts(arguments)),
    maybe("command_line", Text(|row| command_line(row.process))),
    maybe("arguments_missing", U64(|row| Some(row.image()?.arguments().missing() as u64))),
    maybe("environment", Texts(environment)),
    maybe("cwd", Text(|row| text(row.image()?.cwd().as_bytes()))),
    maybe("cwd_is_partial", Bool(|row| Some(matches!(row.image()?.cwd(), WorkingDirectory::Tail(_))))),
    maybe("kernel_thread", Bool(|row| Some(row.image()?.nature() == Nature::KernelThread))),
    maybe("file_inode", U64(|row| Some(row.image()?.file()?.inode))),
    maybe("file_device", U32(|row| Some(row.image()?.file()?.device))),
    maybe("file_links", U32(|row| Some(row.image()?.file()?.links))),
    maybe("file_mode", U32(|row| Some(row.image()?.file()?.mode))),
    maybe("file_uid", U32(|row| Some(row.image()?.file()?.uid))),
    maybe("file_gid", U32(|row| Some(row.image()?.file()?.gid))),
    maybe("file_unlinked", Bool(|row| Some(row.image()?.file()?.is_unlinked()))),
    maybe("memfd", Bool(|row| is_in_memory(row.image()?))),
    // How the exec raised its rights.
    maybe("setuid", Bool(|row| Some(row.image()?.privileges().setuid))),
    maybe("setgid", Bool(|row| Some(row.image()?.privileges().setgid))),
    maybe("file_capabilities", Bool(|row| Some(row.image()?.privileges().file_capabilities))),
    maybe("setuid_root", Bool(|row| Some(row.image()?.privileges().setuid_root))),
    maybe("setgid_root", Bool(|row| Some(row.image()?.privileges().setgid_root))),
    // As whom.
    maybe("uid", U32(|row| Some(credentials(row)?.uid.0))),
    maybe("euid", U32(|row| Some(credentials(row)?.euid.0))),
    maybe("suid", U32(|row| Some(credentials(row)?.suid.0))),
    maybe("fsuid", U32(|row| Some(credentials(row)?.fsuid.0))),
    maybe("gid", U32(|row| Some(credentials(row)?.gid.0))),
    maybe("egid", U32(|row| Some(credentials(row)?.egid.0))),
    maybe("sgid", U32(|row| Some(credentials(row)?.sgid.0))),
    maybe("fsgid", U32(|row| Some(credentials(row)?.fsgid.0))),
    maybe("login_uid", U32(|row| Some(credentials(row)?.login_uid?.0))),
    maybe("audit_session", U32(|row| credentials(row)?.audit_session)),
    maybe("securebits", U32(|row| Some(credentials(row)?.securebits))),
    maybe("capabilities", Text(|row| Some(names(credentials(row)?.capabilities.effective).into()))),
    maybe("cap_effective", U64(|row| Some(credentials(row)?.capabilities.effective.0))),
    maybe("cap_permitted", U64(|row| Some(credentials(row)?.capabilities.permitted.0))),
    maybe("cap_inheritable", U64(|row| Some(credentials(row)?.capabilities.inheritable.0))),
    maybe("cap_bounding", U64(|row| Some(credentials(row)?.capabilities.bounding.0))),
    maybe("cap_ambient", U64(|row| Some(credentials(row)?.capabilities.ambient.0))),
    // In which namespaces, control group, container and pod.
    maybe("uts_ns", U32(|row| namespace(row, |it| it.uts))),
    maybe("ipc_ns", U32(|row| namespace(row, |it| it.ipc))),
    maybe("mnt_ns", U32(|row| namespace(row, |it| it.mnt))),
    maybe("pid_ns", U32(|row| namespace(row, |it| it.pid))),
    maybe("pid_ns_for_children", U32(|row| namespace(row, |it| it.pid_for_children))),
    maybe("net_ns", U32(|row| namespace(row, |it| it.net))),
    maybe("time_ns", U32(|row| namespace(row, |it| it.time))),
    maybe("time_ns_for_children", U32(|row| namespace(row, |it| it.time_for_children))),
    maybe("cgroup_ns", U32(|row| namespace(row, |it| it.cgroup))),
    maybe("user_ns", U32(|row| namespace(row, |it| it.user))),
    maybe("cgroup_id", U64(|row| Some(row.image()?.cgroup_id()).filter(|id| *id != 0))),
    maybe("cgroup", Text(|row| text(row.image()?.cgroup_path()))),
    maybe("container_id", Text(|row| told(row.container_id?))),
    maybe("container_name", Text(|row| told(&row.container?.name))),
    maybe("container_image", Text(|row| told(&row.container?.image))),
    maybe("container_image_id", Text(|row| told(&row.container?.image_id))),
    maybe("pod_namespace", Text(|row| told(&row.pod()?.namespace))),
    maybe("pod", Text(|row| told(&row.pod()?.name))),
    maybe("pod_uid", Text(|row| told(&row.pod()?.uid))),
    maybe("workload", Text(|row| told(&row.pod()?.workload))),
    maybe("workload_kind", Text(|row| told(&row.pod()?.workload_kind))),
    // How it ended.
    maybe("exit_code", U32(exit_code)),
    maybe("signal", Text(|row| Some(signal_name(status(row)?.signal()?)))),
    maybe("signal_number", U32(|row| Some(status(row)?.signal()?.number().into()))),
    maybe("core_dumped", Bool(|row| Some(status(row)?.core_dumped()))),
    maybe("duration_us", I64(duration_us)),
];

impl Content {
    /// The type in Parquet's own notation: what stands before the name, and what after it.
    fn notation(&self) -> (&'static str, &'static str) {
        match self {
            Bool(_) => ("BOOLEAN", ""),
            U32(_) => ("INT32", " (INTEGER(32,false))"),
            I64(_) => ("INT64", ""),
            U64(_) => ("INT64", " (INTEGER(64,false))"),
            Time(_) => ("INT64", " (TIMESTAMP(MICROS,true))"),
            Text(_) => ("BINARY", " (STRING)"),
            Texts(_) => ("group", " (LIST) { repeated group list { required BINARY element (STRING); } }"),
        }
    }
}

/// The schema of every part.
pub(crate) fn schema() -> Result<TypePtr, ParquetError> {
    let mut text = "message events {".to_owned();
    for Column { name, is_optional, content } in COLUMNS {
        let presence = if *is_optional { "optional" } else { "required" };
        let (before, after) = content.notation();
        let end = if matches!(content, Texts(_)) { "" } else { ";" };
        let _infallible = write!(text, " {presence} {before} {name}{after}{end}");
    }
    text.push('}');
    parse_message_type(&text).map(Arc::new)
}

fn event(row: &Row<'_>) -> &'static str {
    match row.kind {
        None => "known",
        Some(FactKind::Fork) => "fork",
        Some(FactKind::Exec) => "exec",
        Some(FactKind::Exit { .. }) if was_missed(row.process) => "gone",
        Some(FactKind::Exit { .. }) => "exit",
        Some(FactKind::Running) => "found",
        Some(FactKind::Change) => "change",
    }
}

/// Whether nobody saw it end.
fn was_missed(process: &Process) -> bool {
    process.end.is_some_and(|end| matches!(end.how, EndKind::Vanished | EndKind::Gone(_)))
}

fn process_uid(row: &Row<'_>) -> String {
    ProcessUid::new(row.recording.boot_id, row.process.pid(), row.process.began).to_string()
}

fn tid(row: &Row<'_>) -> Option<u32> {
    match row.kind {
        Some(FactKind::Exit { tid, .. }) => Some(tid.0),
        _ => None,
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Fork => "fork",
        Origin::FirstExec | Origin::Exec => "exec",
        Origin::Running => "running",
        Origin::Found(_) => "found",
        Origin::Inferred => "inferred",
    }
}

/// Why it had to be found out that the process runs, or that it has ended.
fn gap(row: &Row<'_>) -> Option<&'static str> {
    let gap = match (row.process.end.map(|end| end.how), row.process.origin) {
        (Some(EndKind::Gone(gap)), _) if event(row) == "gone" => gap,
        (_, Origin::Found(gap)) => gap,
        _ => return None,
    };
    Some(match gap {
        Gap::Loss => "loss",
        Gap::Absence => "absence",
    })
}

fn provenance(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Observed => "observed",
        Provenance::Found => "found",
        Provenance::Inferred => "inferred",
    }
}

fn arguments<'a>(row: &Row<'a>) -> Option<Vec<Cow<'a, str>>> {
    Some(row.image()?.arguments().iter().map(to_valid_utf8).collect())
}

fn environment<'a>(row: &Row<'a>) -> Option<Vec<Cow<'a, str>>> {
    let environment = row.image()?.environment();
    (environment.total_len > 0).then(|| environment.iter().map(to_valid_utf8).collect())
}

/// The program and its arguments as a person would type them.
fn command_line(process: &Process) -> Option<Cow<'_, str>> {
    let image = process.image.as_ref()?;
    let binary = to_valid_utf8(image.binary());
    let arguments = image.arguments_text();
    if arguments.is_empty() {
        return (!binary.is_empty()).then_some(binary);
    }
    Some(format!("{binary} {}", to_valid_utf8(&arguments).trim_start_matches(' ')).into())
}

fn is_in_memory(image: &Image) -> Option<bool> {
    (!image.executable().is_empty()).then(|| image.executable().starts_with(b"/memfd:"))
}

fn credentials<'a>(row: &Row<'a>) -> Option<&'a Credentials> {
    row.process.credentials()
}

/// The names of the capabilities in a set, with commas between them.
fn names(set: CapabilitySet) -> String {
    let mut names = String::new();
    for number in set.iter() {
        let separator = if names.is_empty() { "" } else { "," };
        let _infallible = match capability_name(number) {
            Some(name) => write!(names, "{separator}CAP_{}", name.trim_start_matches("CAP_")),
            None => write!(names, "{separator}{number}"),
        };
    }
    names
}

/// Zero: the kernel has none of that kind.
fn namespace(row: &Row<'_>, which: fn(&Namespaces) -> u32) -> Option<u32> {
    row.image()?.namespaces().map(which).filter(|inode| *inode != 0)
}

fn status(row: &Row<'_>) -> Option<ExitStatus> {
    match row.kind {
        Some(FactKind::Exit { status, .. }) => status,
        _ => None,
    }
}

fn exit_code(row: &Row<'_>) -> Option<u32> {
    let status = status(row)?;
    status.signal().is_none().then(|| status.code().into())
}

fn signal_name<'a>(signal: Signal) -> Cow<'a, str> {
    signal.name().map_or_else(|| signal.to_string().into(), Cow::Borrowed)
}

/// From its fork to its end, if that was seen.
fn duration_us(row: &Row<'_>) -> Option<i64> {
    if event(row) != "exit" {
        return None;
    }
    i64::try_from(row.time.since(row.process.began).as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_column_has_a_name_of_its_own_that_needs_no_quotes() {
        let names: BTreeSet<_> = COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(names.len(), COLUMNS.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        assert_eq!(schema().unwrap().get_fields().len(), COLUMNS.len());
    }

    #[test]
    fn capabilities_have_the_names_of_the_kernel() {
        assert_eq!(names(CapabilitySet(0)), "");
        assert_eq!(names(CapabilitySet(1 << 1 | 1 << 21 | 1 << 63)), "CAP_DAC_OVERRIDE,CAP_SYS_ADMIN,63");
    }
}
