//! What no line of JSON shows: that has tests of its own.

use std::time::SystemTime;

use procession::{
    Arguments, BootTime, Context, Credentials, Event, EventKind, Exec, Fact, FactKind, LineageDetail, Pid,
    PrivilegeChange, ProcessKey, Program, Subject, Table, TableConfig, WallClock,
};
use procession_kube::Told;

use super::{AnnotationOptions, MessageEncoder};
use crate::proto::tetragon::get_events_response::Event as Member;
use crate::proto::tetragon::{EnvVar, ProcessExec};
use crate::users::Users;

fn exec() -> Fact {
    let mut table = Table::new(TableConfig::default());
    let start = BootTime::from_nanos(5);
    let exec = Exec {
        process: Subject::exact(ProcessKey::new(Pid(7), start), start),
        context: Context { credentials: Some(Credentials::default()), ..Context::default() },
        program: Program {
            binary: b"/bin/\xffls",
            environment: Arguments::complete(b"HOME=/\xff\xff=\0nonsense\0"),
            privileges: PrivilegeChange { setuid: true, ..PrivilegeChange::default() },
            ..Program::default()
        },
        ..Exec::default()
    };
    let applied = table.apply(&Event { time: start, kind: EventKind::Exec(exec) });
    table.fact(applied.process.unwrap(), start, FactKind::Exec, LineageDetail::Full).unwrap()
}

fn clock() -> WallClock {
    WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH)
}

fn encoder(options: AnnotationOptions) -> MessageEncoder {
    MessageEncoder { node_name: "n".into(), cluster_name: "east".into(), options }
}

fn message(options: AnnotationOptions) -> ProcessExec {
    let event = encoder(options).event(&Told::from(exec()), &clock(), &Users::default()).unwrap();
    assert_eq!((&*event.node_name, &*event.cluster_name), ("n", "east"));
    let Some(Member::ProcessExec(exec)) = event.event else { panic!("{event:?}") };
    exec
}

#[test]
fn the_environment_is_told_when_it_is_asked_for() {
    let process = message(AnnotationOptions::default()).process.unwrap();
    assert_eq!(process.environment_variables, []);
    let options = AnnotationOptions { environment: true, ..AnnotationOptions::default() };
    let variable = |key: &str, value: &str| EnvVar { key: key.into(), value: value.into() };
    assert_eq!(
        message(options).process.unwrap().environment_variables,
        [variable("HOME", "/\u{fffd}="), variable("invalid", "nonsense")]
    );
}

#[test]
fn a_process_by_itself_is_as_in_an_event_but_for_the_properties_of_its_binary() {
    let options = AnnotationOptions { credentials: true, environment: true, ..AnnotationOptions::default() };
    let mut of_event = message(options).process.unwrap();
    assert!(of_event.binary_properties.take().is_some());
    let alone = encoder(options).process(&exec().process, None, &clock(), &Users::default());
    assert_eq!(alone, of_event);
    assert_eq!(alone.binary, "/bin/\u{fffd}ls");
    assert_eq!(alone.in_init_tree, Some(false), "told even so");
}
