//! Processes, in a stream that takes them from the table as the client reads.

use futures_util::{Stream, StreamExt as _, stream};
use procession_api::proto::procession::v1::{ListProcessesRequest, ListProcessesResponse};
use tonic::Status;

use super::super::bound::Shared;
use super::super::feed::Streamed;
use super::super::scan::{Row, Scope, Seen, first, rows, see};
use super::super::subscription::{Subscription, Wish};
use super::super::turns::{drained, worked_out};
use crate::Node;

pub(super) async fn list(
    shared: &Shared,
    request: ListProcessesRequest,
) -> Result<Streamed<ListProcessesResponse>, Status> {
    let ListProcessesRequest { allow_list, deny_list, with_ended } = request;
    let scope = Scope::of(&allow_list, &deny_list);
    let mut subscription =
        Subscription::compile(shared, Wish { allow: allow_list, deny: deny_list, fields: Vec::new() })
            .await?;
    let node = shared.node.clone();
    let place = shared.turns.place().await?;
    let rows = shared.turns.ask(&node, place.clone(), |view| rows(view.table)).await?;
    let is_shown = move |row: &Row| row.is_running() || (with_ended && row.has_exited);
    let is_seen = move |row: &Row| scope == Scope::Everything || is_shown(row);
    let ordered = worked_out(move || {
        let mut rows = rows;
        rows.retain(is_seen);
        // Filters that follow descendants must see their parents first.
        rows.sort_unstable_by_key(Row::rank);
        rows.into_iter().map(|row| (row, is_shown(&row))).collect()
    });
    let rows = ordered.await?;
    let depth = scope.depth(shared.config.filters);
    let node_name = node.presenter().node_name().to_owned();
    let processes = seen_in_chunks(node, rows, depth).map(move |seen| {
        seen.map(|(is_shown, seen)| {
            let is_admitted = scope == Scope::Plain || subscription.admits(&seen.as_event(&node_name));
            // It may have ended since it was noted.
            let is_shown = is_shown && (with_ended || seen.process.end.is_none());
            (is_admitted && is_shown).then_some(ListProcessesResponse { process: Some(seen.process) })
        })
    });
    Ok(drained(processes, place, shared.config.read_timeout))
}

/// Makes what is known now of entries, chunk by chunk, each with what is noted beside it. Those that have
/// gone meanwhile are left out.
pub(super) fn seen_in_chunks<N: Copy + Send + 'static>(
    node: Node,
    rows: Vec<(Row, N)>,
    depth: usize,
) -> impl Stream<Item = Result<(N, Seen), Status>> + Send {
    let chunks = stream::try_unfold((node, rows.into_iter()), move |(node, mut rows)| async move {
        if rows.as_slice().is_empty() {
            return Ok(None);
        }
        let seen = see(&node, first(rows.as_slice()), depth).await?;
        let rows_of_it = rows.by_ref().take(seen.len());
        let seen = rows_of_it.zip(seen).filter_map(|((_, note), seen)| Some((note, seen?)));
        let seen: Vec<_> = seen.collect();
        Ok(Some((seen, (node, rows))))
    });
    chunks.flat_map(|chunk| {
        let (seen, error) = match chunk {
            Ok(seen) => (seen, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        stream::iter(seen.into_iter().map(Ok).chain(error))
    })
}
