//! A process and every image that led to it.

use procession::Entry;
use procession_api::proto::procession::v1::{GetLineageResponse, Link, Relation};

use crate::{Node, View};

/// The longest chain that is told: a loop of execs makes it as long as memory lasts.
const LONGEST: usize = 1024;

/// The last pid whose parent is the kernel: `init` and `kthreadd` come from nobody.
const LAST_FROM_NOBODY: u32 = 2;

/// The chain that begins with `entry`.
pub(super) fn lineage(view: &View<'_>, node: &Node, entry: Entry<'_>) -> GetLineageResponse {
    let present = |(entry, relation): (Entry<'_>, Relation)| Link {
        process: Some(node.presenter().entry(entry, view.inventory)),
        relation: relation.into(),
    };
    let chain = || std::iter::successors(Some((entry, Relation::Self_)), |(entry, _)| before(*entry));
    let last = chain().take(LONGEST).last();
    let is_cut =
        last.is_some_and(|(entry, _)| before(entry).is_some() || entry.key().pid.0 > LAST_FROM_NOBODY);
    GetLineageResponse { chain: chain().take(LONGEST).map(present).collect(), is_cut }
}

/// What the process ran before, or else who forked it.
fn before(entry: Entry<'_>) -> Option<(Entry<'_>, Relation)> {
    let previous = entry.previous().map(|entry| (entry, Relation::Previous));
    previous.or_else(|| entry.parent().map(|entry| (entry, Relation::Parent)))
}
