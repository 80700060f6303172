//! Which process is asked about.

use procession::{Entry, Pid, ProcessKey, Table};
use procession_api::proto::procession::v1;
use procession_api::proto::procession::v1::target::Name;
use tonic::Status;

use crate::Node;

/// A process, as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Who has this pid, or had it last.
    Pid(Pid),
    /// A program of a process, on the node of this name.
    Image { exec_id: String, node: String, key: ProcessKey },
}

impl Target {
    pub(super) fn new(target: Option<v1::Target>) -> Result<Self, Status> {
        match target.and_then(|target| target.name) {
            None => {
                Err(Status::invalid_argument("the target does not say which process: set `pid` or `exec_id`"))
            }
            Some(Name::Pid(pid)) => Ok(Self::Pid(Pid(pid))),
            Some(Name::ExecId(exec_id)) => match ProcessKey::parse_exec_id(&exec_id) {
                Some((node, key)) => Ok(Self::Image { exec_id, node, key }),
                None => Err(Status::invalid_argument(format!(
                    "`{exec_id}` is no exec_id: one is base64 of `node:start:pid`"
                ))),
            },
        }
    }

    pub(super) fn find<'t>(&self, table: &'t Table, node: &Node) -> Result<Entry<'t>, Status> {
        match self {
            Self::Pid(pid) => find_pid(table, *pid)
                .ok_or_else(|| Status::not_found(format!("no process with pid {pid} is known"))),
            Self::Image { exec_id, node: named, key } => table.get(*key).ok_or_else(|| {
                let own = node.presenter().node_name();
                let reason = if *named == own {
                    format!(
                        "pid {} did not run a program from {} after boot, or it is forgotten",
                        key.pid, key.start
                    )
                } else {
                    format!("it names the node `{named}`, and this is `{own}`")
                };
                Status::not_found(format!("`{exec_id}` is not known: {reason}"))
            }),
        }
    }
}

fn find_pid(table: &Table, pid: Pid) -> Option<Entry<'_>> {
    let latest = || {
        let had_it = table.entries().filter(|entry| entry.key().pid == pid);
        had_it.max_by_key(|entry| (entry.began(), entry.key().start))
    };
    table.get_live(pid).or_else(latest)
}
