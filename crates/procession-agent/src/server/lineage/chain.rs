//! A process and every image that led to it.

use procession::Entry;
use procession_api::proto::procession::v1::{GetLineageResponse, Link, Relation};
use prost::Message as _;

use crate::{Node, View};

/// The longest chain that is told: a loop of execs makes it as long as memory lasts.
const LONGEST: usize = 1024;

/// The bytes, encoded, after which no more of it is told: clients take 4 MiB.
const LARGEST: usize = 2 << 20;

/// The last pid whose parent is the kernel: `init` and `kthreadd` come from nobody.
const LAST_FROM_NOBODY: u32 = 2;

/// The chain that begins with `entry`.
pub(super) fn lineage(view: &View<'_>, node: &Node, entry: Entry<'_>) -> GetLineageResponse {
    let present = |(entry, relation): (Entry<'_>, Relation)| Link {
        process: Some(node.presenter().entry(entry, view.inventory)),
        relation: relation.into(),
    };
    let chain = std::iter::successors(Some((entry, Relation::Self_)), |(entry, _)| before(*entry));
    let mut bytes = 0;
    let mut last = entry;
    let told = chain.take(LONGEST).map_while(|(entry, relation)| {
        let link = (bytes < LARGEST).then(|| present((entry, relation)))?;
        bytes += link.encoded_len();
        last = entry;
        Some(link)
    });
    let chain = told.collect();
    let is_cut = before(last).is_some() || last.key().pid.0 > LAST_FROM_NOBODY;
    GetLineageResponse { chain, is_cut }
}

/// What the process ran before, or else who forked it.
fn before(entry: Entry<'_>) -> Option<(Entry<'_>, Relation)> {
    let previous = entry.previous().map(|entry| (entry, Relation::Previous));
    previous.or_else(|| entry.parent().map(|entry| (entry, Relation::Parent)))
}
