//! Each command against an agent with scripted answers, over a socket; and exact lines for them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use procession_api::Encoded;
use procession_api::proto::procession::v1::{self, end, target};
use procession_api::proto::procession_servers::lineage_service_server::{
    LineageService, LineageServiceServer,
};
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    self, BinaryProperties, Container, GetEventsResponse, Pod, ProcessCredentials, ProcessExec, ProcessExit,
    RateLimitInfo, UserRecord,
};
use proptest::prelude::*;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::args::{DumpArgs, EventsArgs, ProcessesArgs, ServerArgs, StatusArgs, TreeArgs, WhyArgs};
use super::connect::Agent;
use super::events::{Presenter, Told};
use super::screen::Screen;
use super::words::Moment;
use super::{dump, events, processes, status, tree, why};
use crate::args::{Cli, Command};
use crate::render::{List, Palette};
use crate::signals::Signals;

/// 12:00:00 of a day.
const NOON: i64 = 1_795_521_600;

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: NOON + seconds, nanos: 0 })
}

fn moment() -> Moment {
    Moment { now: Timestamp::new(NOON + 600, 0).unwrap(), zone: TimeZone::UTC }
}

/// A process of root's with this command line, that was run at this second.
fn process(pid: u32, binary: &str, arguments: &str, start: i64) -> tetragon::Process {
    tetragon::Process {
        exec_id: format!("id-{pid}-{start}"),
        pid: Some(pid),
        uid: Some(0),
        binary: binary.to_owned(),
        arguments: arguments.to_owned(),
        flags: "execve clone".to_owned(),
        start_time: at(start),
        user: Some(UserRecord { name: "root".to_owned() }),
        ..tetragon::Process::default()
    }
}

fn of_user(uid: u32, name: &str, process: tetragon::Process) -> tetragon::Process {
    let user = (!name.is_empty()).then(|| UserRecord { name: name.to_owned() });
    tetragon::Process { uid: Some(uid), user, ..process }
}

fn in_pod(namespace: &str, name: &str, container: &str, process: tetragon::Process) -> tetragon::Process {
    let container = Container { name: container.to_owned(), ..Container::default() };
    let pod = Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        container: Some(container),
        ..Pod::default()
    };
    tetragon::Process { pod: Some(pod), docker: "0123456789abcdef0123456789abcde".to_owned(), ..process }
}

/// Seen from its fork on, a second before it ran this.
fn seen(process: tetragon::Process) -> v1::Process {
    let began =
        process.start_time.map(|start| prost_types::Timestamp { seconds: start.seconds - 1, ..start });
    v1::Process {
        process: Some(process),
        began,
        origin: v1::Origin::Exec.into(),
        parent_provenance: v1::Provenance::Observed.into(),
        ..v1::Process::default()
    }
}

fn found(process: tetragon::Process) -> v1::Process {
    v1::Process {
        began: process.start_time,
        process: Some(process),
        origin: v1::Origin::Running.into(),
        parent_provenance: v1::Provenance::Found.into(),
        ..v1::Process::default()
    }
}

fn ended(seconds: i64, how: end::How, process: v1::Process) -> v1::Process {
    v1::Process { end: Some(v1::End { time: at(seconds), how: Some(how) }), ..process }
}

fn init() -> v1::Process {
    v1::Process { parent_provenance: 0, ..found(process(1, "/usr/lib/systemd/systemd", "--system", -3600)) }
}

fn chain(links: Vec<(v1::Relation, v1::Process)>) -> v1::GetLineageResponse {
    let link = |(relation, process): (v1::Relation, _)| v1::Link {
        process: Some(process),
        relation: relation.into(),
    };
    v1::GetLineageResponse { chain: links.into_iter().map(link).collect(), is_cut: false }
}

#[track_caller]
fn check_story(lineage: &v1::GetLineageResponse, owners: &[(&str, &str)], expected: &str) {
    let owners = owners.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect();
    let story = why::Story { lineage, owners, moment: moment() }.told();
    assert_eq!(story, expected, "\n{story}");
}

use v1::Relation::{Parent, Previous, Self_};

#[test]
fn why_a_command_of_a_shell_runs() {
    let lineage = chain(vec![
        (Self_, seen(of_user(1000, "alice", process(4711, "/usr/bin/sleep", "60", 300)))),
        (Parent, seen(of_user(1000, "alice", process(4700, "/bin/bash", "-c \"run cart\"", 100)))),
        (Parent, ended(500, end::How::Status(0), seen(process(900, "/usr/sbin/sshd", "-D", -60)))),
        (Parent, init()),
    ]);
    check_story(
        &lineage,
        &[],
        "\
sleep (pid 4711) runs /usr/bin/sleep 60 as alice, since 12:05:00, 5 minutes ago.
  It was started at 12:04:59 by bash (pid 4700), which then ran /bin/bash -c 'run cart' as alice.

bash (pid 4700) still runs that.
  It was started at 12:01:39 by sshd (pid 900), which then ran /usr/sbin/sshd -D as root.

sshd (pid 900) exited with status 0 at 12:08:20, 1 minute ago.
  It was started at 11:58:59 by systemd (pid 1), which then ran /usr/lib/systemd/systemd --system as root.

systemd (pid 1) still runs that. [found running: its start was not seen]
  The kernel starts it when the machine boots.
",
    );
}
