//! What the program reads that nobody else does: options, exports, what runtimes and the Kubernetes API say, and the
//! questions of clients about processes.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::LazyLock;
use std::time::Duration;

use procession::{Table, TableConfig};
use procession_agent::Past;
use procession_api::dynamic::{EVENT, Unknown, parse_json};
use procession_api::proto::procession::v1::follow_response::Item;
use procession_api::proto::procession::v1::lineage_service_client::LineageServiceClient;
use procession_api::proto::procession::v1::{
    FollowRequest, FollowResponse, GetLedgerResponse, GetLineageRequest, GetLineageResponse,
    GetStatusResponse, GetTreeRequest, GetTreeResponse, ListProcessesRequest, Process, Target, target,
};
use procession_api::proto::tetragon::GetEventsResponse;
use procession_api::users::Users;
use procession_cli::fuzzing as cli;
use procession_journal::{Content, Journal, Reader};
use procession_kube::{ContainerId, ContainerInfo, fuzzing as kube};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::memory;

/// Lines of an export. The journal that is made of them has no damage, and what was told of it.
///
/// # Panics
///
/// It is otherwise, or there is no room for files.
pub fn import(lines: &[u8]) {
    let Some(imported) = cli::import(lines).expect("there is room for files") else { return };
    assert!(imported.journal.len() <= (64 << 10) + 64 * lines.len());
    let mut reader = Reader::new(Cursor::new(&imported.journal)).expect("memory can be read");
    let mut table = Table::new(TableConfig::default());
    let mut events = 0;
    while let Some(block) = reader.next().expect("memory can be read") {
        match &block.content {
            Content::Damage(damage) => panic!("{damage}"),
            Content::Events(of_block) => {
                events += of_block.len() as u64;
                let unreadable = of_block.each(&mut |event| {
                    let _ = table.apply(event);
                });
                assert_eq!(unreadable, 0);
            }
            _ => {}
        }
    }
    assert_eq!((events, table.live()), (imported.events, imported.live));
}

/// The text of `agent.toml`; and after a NUL each, `NAME=VALUE` of the file of a drop-in directory or of a variable.
pub fn config(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    cli::config(file, &parts.collect::<Vec<_>>());
}

/// Arguments of the command line with NULs between; the whole as a time.
pub fn command_line(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    cli::command_line(&text.split('\0').collect::<Vec<_>>());
    if let Some(time) = cli::time(text) {
        assert_eq!(cli::time(&format!(" {text} ")), Some(time), "white space around it means nothing");
    }
}

/// A pod as the Kubernetes API writes it. Each of its containers can be found.
pub fn pod(json: &[u8]) {
    let Some((pod, defects)) = memory::within(json, 64 << 10, 512, || kube::pod(json)) else { return };
    let ids: HashSet<_> = pod.containers.iter().map(|container| container.id).collect();
    assert_eq!(ids.len(), pod.containers.len(), "no id is there twice");
    for (place, container) in pod.containers.iter().enumerate() {
        assert_eq!(pod.position(&container.id), Some(place));
    }
    // A few of an empty object, which lacks all that a pod must have; else each takes bytes to write.
    assert!(defects.total() <= 8 + json.len() as u64);
}

/// What a runtime answers when it is asked for the container whose id is 64 times `a`; the first byte says in which
/// protocol. CRI has two answers, of which the second begins after the first 0xff.
pub fn runtimes(input: &[u8]) {
    let Some((protocol, answer)) = input.split_first() else { return };
    let id = ContainerId::parse(&[b'a'; ContainerId::LEN]).expect("it is an id");
    let mut parts = answer.splitn(2, |byte| *byte == 0xff);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let told: Vec<ContainerInfo> = memory::within(answer, 64 << 10, 256, || match protocol % 4 {
        0 => kube::docker(answer, false, id).into_iter().collect(),
        1 => kube::docker(answer, true, id).into_iter().collect(),
        2 => kube::containerd(answer, id).into_iter().collect(),
        _ => kube::cri(first, second, id).into_iter().flatten().collect(),
    });
    for info in told {
        assert_eq!(info.id, id);
        assert_ne!(info.pid, Some(0));
    }
}

/// A node that a journal had, and a connection to it.
struct Asked {
    runtime: Runtime,
    client: LineageServiceClient<Channel>,
    /// It ends with this.
    _past: Past,
}

static ASKED: LazyLock<Asked> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/recorded.procession");
    let restored =
        Journal::open(path.as_ref()).and_then(|journal| journal.latest()).expect("it is a journal");
    let past = Past::new(restored, Users::default()).expect("there is a thread for it");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("epoll is there");
    let channel = runtime.block_on(past.connect()).expect("both ends are ours");
    Asked { runtime, client: LineageServiceClient::new(channel), _past: past }
});

/// No answer takes as long, however busy the machine is.
const LONGEST: Duration = Duration::from_mins(1);

/// A question about processes; the first byte says which. It is answered, or the client is told what is wrong with it.
pub fn questions(input: &[u8]) {
    let Some((question, message)) = input.split_first() else { return };
    let Asked { runtime, client, .. } = &*ASKED;
    let mut client = client.clone();
    let answered = runtime.block_on(async {
        tokio::time::timeout(LONGEST, async {
            match question % 4 {
                0 => match decode::<FollowRequest>(message) {
                    Some(request) => first(client.follow(request).await?.into_inner()).await,
                    None => Ok(()),
                },
                1 => match decode::<ListProcessesRequest>(message) {
                    Some(request) => all(client.list_processes(request).await?.into_inner()).await,
                    None => Ok(()),
                },
                2 => match decode::<GetTreeRequest>(message) {
                    Some(request) => all(client.get_tree(request).await?.into_inner()).await,
                    None => Ok(()),
                },
                _ => match decode::<GetLineageRequest>(message) {
                    Some(request) => client.get_lineage(request).await.map(|_| ()),
                    None => Ok(()),
                },
            }
        })
        .await
    });
    let answered: Result<(), Status> = answered.expect("an answer comes");
    if let Err(status) = answered {
        let is_told = matches!(
            status.code(),
            Code::InvalidArgument | Code::NotFound | Code::Unimplemented | Code::ResourceExhausted
        );
        assert!(is_told, "{status:?}");
    }
}

fn decode<M: Message + Default>(message: &[u8]) -> Option<M> {
    M::decode(message).ok()
}

/// What comes at first of a stream that has no end.
async fn first<M>(mut stream: Streaming<M>) -> Result<(), Status> {
    stream.message().await.map(|_| ())
}

async fn all<M>(mut stream: Streaming<M>) -> Result<(), Status> {
    while stream.message().await?.is_some() {}
    Ok(())
}

/// Of a recording with many processes, so many make a seed.
const ENOUGH: usize = 8;

/// What an agent answers that has the recording of the seeds, events of `lines` of JSON, and the two messages of `status`:
/// answers as [`render`](crate::render) takes them, with names.
///
/// # Errors
///
/// The agent refuses.
pub fn answers(lines: &str, status: &str) -> Result<Vec<(&'static str, Vec<u8>)>, Status> {
    let (processes, tree, lineage) = ASKED.runtime.block_on(recorded_answers())?;
    let events: Vec<GetEventsResponse> = lines.lines().map(|line| parsed(EVENT, line)).collect();
    let follow = |item| FollowResponse { item: Some(item) };
    let running = processes.iter().cloned().map(|process| follow(Item::Running(process)));
    let snapshot: Vec<_> = running.chain(events.iter().cloned().map(|it| follow(Item::Event(it)))).collect();
    Ok(vec![
        ("events", answer(0, &events)),
        ("compact", answer(1, &events)),
        ("snapshot", answer(2, &snapshot)),
        ("events_json", answer(3, &events)),
        ("processes", answer(4, &processes)),
        ("tree", answer(5, &tree)),
        ("descendants", answer(6, &tree)),
        ("why", answer(7, std::slice::from_ref(&lineage))),
        ("status", of_status(8, status)),
        ("dump", answer(9, &processes)),
        ("tree_json", answer(11, &tree)),
        ("why_json", answer(12, &[lineage])),
        ("status_json", of_status(13, status)),
    ])
}

type Answers = (Vec<Process>, Vec<GetTreeResponse>, GetLineageResponse);

async fn recorded_answers() -> Result<Answers, Status> {
    let mut client = ASKED.client.clone();
    let list = ListProcessesRequest { with_ended: true, ..ListProcessesRequest::default() };
    let mut stream = client.list_processes(list).await?.into_inner();
    let mut processes = Vec::new();
    while let Some(response) = stream.message().await? {
        processes.extend(response.process);
    }
    let mut stream = client.get_tree(GetTreeRequest { root: None, with_ended: true }).await?.into_inner();
    let mut tree = Vec::new();
    while let Some(response) = stream.message().await? {
        tree.push(response);
    }
    let deepest = processes.iter().max_by_key(|process| process.depth).and_then(|it| it.process.as_ref());
    let name = deepest.map(|process| target::Name::ExecId(process.exec_id.clone()));
    let request = GetLineageRequest { target: Some(Target { name }) };
    let lineage = client.get_lineage(request).await?.into_inner();
    processes.truncate(ENOUGH);
    tree.truncate(ENOUGH);
    Ok((processes, tree, lineage))
}

fn of_status(question: u8, lines: &str) -> Vec<u8> {
    let (status, ledger) = lines.split_once('\n').expect("there are two lines");
    let status: GetStatusResponse = parsed("procession.v1.GetStatusResponse", status);
    let ledger: GetLedgerResponse = parsed("procession.v1.GetLedgerResponse", ledger);
    let mut bytes = answer(question, &[status]);
    ledger.encode_length_delimited(&mut bytes).expect("a vector has room");
    bytes
}

fn parsed<M: Message + Default>(name: &str, line: &str) -> M {
    parse_json(name, line, Unknown::Ignore).expect("it is such a message")
}

/// A question, no width, and messages with their lengths.
fn answer(question: u8, messages: &[impl Message]) -> Vec<u8> {
    let begin = vec![question, u8::MAX];
    messages.iter().fold(begin, |mut bytes, message| {
        message.encode_length_delimited(&mut bytes).expect("a vector has room");
        bytes
    })
}
