//! Processes, in a stream that takes them from the table as the client reads.

use std::vec;

use futures_util::{Stream, StreamExt as _, stream};
use procession_api::proto::procession::v1::{ListProcessesRequest, ListProcessesResponse};
use tonic::Status;

use super::super::bound::Shared;
use super::super::ended;
use super::super::feed::Streamed;
use super::super::scan::{CHUNK, Row, Seen, rows, see};
use super::super::subscription::Subscription;
use crate::Node;

pub(super) async fn list(
    shared: &Shared,
    request: ListProcessesRequest,
) -> Result<Streamed<ListProcessesResponse>, Status> {
    let ListProcessesRequest { allow_list, deny_list, with_ended } = request;
    let is_filtered = !allow_list.is_empty() || !deny_list.is_empty();
    let mut subscription = Subscription::new(&allow_list, &deny_list, &[], shared.config.filters)?;
    let node = shared.node.clone();
    let rows = node.queries().ask(|view| rows(view.table)).await.map_err(ended)?;
    let is_shown = move |row: &Row| row.is_running() || (with_ended && row.has_exited);
    let rows: Vec<_> = rows.into_iter().filter(is_shown).map(|row| (row, ())).collect();
    let node_name = node.presenter().node_name().to_owned();
    let processes = seen_in_chunks(node, rows, is_filtered).filter_map(move |seen| {
        let told = seen.map(|((), seen)| {
            let is_shown = with_ended || seen.process.end.is_none();
            let is_admitted = is_shown && (!is_filtered || subscription.admits(&seen.as_event(&node_name)));
            is_admitted.then_some(ListProcessesResponse { process: Some(seen.process) })
        });
        std::future::ready(told.transpose())
    });
    Ok(Box::pin(processes))
}

/// Makes what is known now of entries, chunk by chunk, each with what is noted beside it. Those that have
/// gone meanwhile are left out.
pub(super) fn seen_in_chunks<N: Copy + Send + 'static>(
    node: Node,
    rows: Vec<(Row, N)>,
    with_parents: bool,
) -> impl Stream<Item = Result<(N, Seen), Status>> + Send {
    let chunks = stream::try_unfold((node, rows.into_iter()), move |(node, mut rows)| async move {
        let (chunk, notes) = next_chunk(&mut rows);
        if chunk.is_empty() {
            return Ok(None);
        }
        let seen = see(&node, chunk, with_parents).await?;
        let seen = notes.into_iter().zip(seen).filter_map(|(note, seen)| Some((note, seen?)));
        Ok(Some((seen.collect::<Vec<_>>(), (node, rows))))
    });
    chunks.flat_map(|chunk| {
        let (seen, error) = match chunk {
            Ok(seen) => (seen, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        stream::iter(seen.into_iter().map(Ok).chain(error))
    })
}

fn next_chunk<N>(rows: &mut vec::IntoIter<(Row, N)>) -> (Vec<Row>, Vec<N>) {
    rows.take(CHUNK).unzip()
}
