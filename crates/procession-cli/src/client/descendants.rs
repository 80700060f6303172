//! `procession descendants`.

use std::process::ExitCode;

use procession_agent::RecordedInventory;
use procession_api::proto::procession::v1::{GetTreeRequest, GetTreeResponse};
use procession_journal::Descendants;

use super::args::{DescendantsArgs, ListOutputArg, ListShowArgs};
use super::connect::Agent;
use super::history::target_of;
use super::recorded::Recorded;
use super::screen::Screen;
use super::tree::Tree;
use super::words::Moment;
use super::{answer, collect, json, no_such, now as now_here, refusal_about, screen, target};
use crate::journal::{self, default_path};
use crate::progress;
use crate::summary::{self, thousands};

/// The most that are listed.
const MOST: usize = 100_000;

/// Those that are alive, by an agent or at a time of a recording.
pub(super) async fn now(
    agent: &Agent,
    args: &DescendantsArgs,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    let timeout = args.server.timeout;
    let request = GetTreeRequest { root: Some(target(&args.process)), with_ended: false };
    let about = |status: &_| refusal_about(agent, &args.process, status);
    let stream = answer(timeout, agent.lineage().get_tree(request)).await.map_err(|status| about(&status))?;
    let all = collect(timeout, stream).await.map_err(|status| about(&status))?;
    screen.put_heading(agent.heading().filter(|_| args.show.output == ListOutputArg::Text));
    show(all, &args.show, &agent.moment(), screen);
    Ok(ExitCode::SUCCESS)
}

/// All that ever were.
pub(super) fn ever(args: &DescendantsArgs, screen: &mut Screen<'_>) -> anyhow::Result<ExitCode> {
    let path = args.past.journal.journal.clone().unwrap_or_else(default_path);
    let journal = journal::open(&path)?;
    let target = target_of(&args.process)?;
    let found = progress::told(&journal, || journal.descendants_ever(target, MOST))?;
    journal::tell_damage(&path, &found.damage);
    if found.list.is_empty() {
        return Err(no_such(&args.process, &path));
    }
    let names = journal.names()?;
    journal::tell_left_out(names.left_out());
    let left_out = found.left_out();
    let inventory = RecordedInventory::new(names);
    show(responses(&found, &inventory), &args.show, &now_here(), screen);
    if left_out > 0 {
        summary::tell(format_args!("left out: {} more, and what they started", thousands(left_out)));
    }
    Ok(ExitCode::SUCCESS)
}

fn responses(found: &Descendants, inventory: &RecordedInventory) -> Vec<GetTreeResponse> {
    let boots: Vec<_> =
        found.recordings.iter().map(|recording| Recorded::new(recording, inventory)).collect();
    let responses = found.list.iter().filter_map(|descendant| {
        let process = boots.get(descendant.boot)?.process(&descendant.process);
        Some(GetTreeResponse { process: Some(process), level: descendant.level })
    });
    responses.collect()
}

/// With times: what has the same pid may be another process.
fn show(all: Vec<GetTreeResponse>, args: &ListShowArgs, moment: &Moment, screen: &mut Screen<'_>) {
    match args.output {
        ListOutputArg::Text => {
            Tree::of(all).with_times(moment).draw(&mut screen::list(args), screen.lines());
        }
        ListOutputArg::Json => all.iter().for_each(|response| screen.put_line(&json::line(response))),
    }
}
