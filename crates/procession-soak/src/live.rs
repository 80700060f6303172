//! The agent's list of live processes against `/proc`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use procession::ProcessKey;
use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::procession::v1::{
    GetLineageRequest, ListProcessesRequest, Process, Provenance, Relation, Target, target,
};
use rustix::time::{ClockId, clock_gettime};
use tonic::transport::Channel;

use crate::clients::lineage;
use crate::machine::{self, Running};

/// How often it is looked again before a difference counts: what begins and ends meanwhile is told late.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// By how many ticks two clocks may tell the same moment.
const TOLERANCE: u64 = 5;

/// What the comparison came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compared {
    pub(crate) processes: usize,
    pub(crate) differences: Vec<String>,
}

/// Compares both until they agree, or for long enough that a difference is one.
pub(crate) async fn compare(socket: &Path) -> Result<Compared> {
    let mut client = lineage(socket).await?;
    let mut compared = look(&mut client).await?;
    for _ in 0..LOOKS {
        if compared.differences.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        let again = look(&mut client).await?;
        compared.processes = again.processes;
        compared.differences.retain(|difference| again.differences.contains(difference));
    }
    Ok(compared)
}

/// All that the agent knows, by pid if they live.
pub(crate) async fn list(
    client: &mut LineageServiceClient<Channel>,
    with_ended: bool,
) -> Result<Vec<Process>> {
    let request = ListProcessesRequest { with_ended, ..ListProcessesRequest::default() };
    let mut list = client.list_processes(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(item) = list.message().await? {
        all.extend(item.process);
    }
    Ok(all)
}

async fn look(client: &mut LineageServiceClient<Channel>) -> Result<Compared> {
    let before = machine::running();
    let known = list(client, false).await?;
    let after = machine::running();
    let mut compared = Compared { processes: known.len(), differences: Vec::new() };
    let mut by_pid: HashMap<u32, &Process> = HashMap::new();
    for process in &known {
        let pid = pid_of(process);
        if by_pid.insert(pid, process).is_some() {
            compared.differences.push(format!("two processes that live have the pid {pid}"));
        }
        if !before.contains_key(&pid) && !after.contains_key(&pid) {
            compared.differences.push(format!("{} is thought to live", named(process)));
        }
    }
    for (pid, now) in
        before.iter().filter(|(pid, now)| after.get(*pid).is_some_and(|it| it.began == now.began))
    {
        let Some(known) = by_pid.get(pid) else {
            compared.differences.push(format!("{pid}, which runs {:?}, is not known", now.file));
            continue;
        };
        if after.get(pid) == Some(now) {
            compared.differences.extend(difference(client, *pid, now, known).await?);
        }
    }
    Ok(compared)
}

async fn difference(
    client: &mut LineageServiceClient<Channel>,
    pid: u32,
    now: &Running,
    known: &Process,
) -> Result<Option<String>> {
    let began = ticks(known);
    if began.abs_diff(now.began) > TOLERANCE {
        return Ok(Some(format!("{} began at tick {}, and {began} is known", named(known), now.began)));
    }
    if let Some(file) = &now.file
        && let Some(difference) = another_file(file, known)
    {
        return Ok(Some(difference));
    }
    // What is only concluded may be wrong, and says so.
    if known.owner_provenance() == Provenance::Inferred {
        return Ok(None);
    }
    let owner = owner_of(client, pid, known).await?;
    if now.owner != 0 && owner != Some(now.owner) {
        return Ok(Some(format!("{} is owned by {}, and {owner:?} is known", named(known), now.owner)));
    }
    Ok(None)
}

/// In ticks since boot.
fn ticks(known: &Process) -> u64 {
    let Some(began) = known.began else { return 0 };
    let nanos =
        |time: rustix::time::Timespec| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    let boot = nanos(clock_gettime(ClockId::Realtime)) - nanos(clock_gettime(ClockId::Boottime));
    let began = i128::from(began.seconds) * 1_000_000_000 + i128::from(began.nanos) - boot;
    let tick = 1_000_000_000 / i128::from(machine::ticks_a_second());
    u64::try_from(began / tick).unwrap_or(0)
}

/// Only where the name that the exec was given can be followed from here.
fn another_file(file: &Path, known: &Process) -> Option<String> {
    let process = known.process.as_ref()?;
    let name = Path::new(&process.binary);
    let is_beyond = !process.docker.is_empty() || !name.is_absolute();
    if is_beyond || ["/proc/", "/dev/", "/memfd:"].iter().any(|front| process.binary.starts_with(front)) {
        return None;
    }
    let found = fs::canonicalize(name).ok()?;
    (found != file && !is_script(&found) && file.exists())
        .then(|| format!("{} runs {}, and {} is known", named(known), file.display(), process.binary))
}

fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}

async fn owner_of(
    client: &mut LineageServiceClient<Channel>,
    pid: u32,
    known: &Process,
) -> Result<Option<u32>> {
    let pid_in = |exec_id: &str| ProcessKey::parse_exec_id(exec_id).map(|(_, key)| key.pid.0);
    if !known.owner_exec_id.is_empty() {
        return Ok(pid_in(&known.owner_exec_id));
    }
    let Some(process) = &known.process else { return Ok(None) };
    // The image before may have been its own.
    match pid_in(&process.parent_exec_id) {
        Some(parent) if parent != pid => return Ok(Some(parent)),
        _ => {}
    }
    let target = Some(Target { name: Some(target::Name::ExecId(process.exec_id.clone())) });
    let Ok(answer) = client.get_lineage(GetLineageRequest { target }).await else { return Ok(None) };
    let chain = answer.into_inner().chain;
    let parent = chain.into_iter().find(|link| link.relation == i32::from(Relation::Parent));
    Ok(parent.and_then(|link| link.process).map(|process| pid_of(&process)))
}

/// Zero: it is not told.
pub(crate) fn pid_of(process: &Process) -> u32 {
    process.process.as_ref().and_then(|process| process.pid).unwrap_or(0)
}

fn named(known: &Process) -> String {
    let binary = known.process.as_ref().map(|process| process.binary.as_str()).unwrap_or_default();
    format!("{} ({binary})", pid_of(known))
}
