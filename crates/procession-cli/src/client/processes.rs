//! `procession processes`.

use std::process::ExitCode;

use procession_api::proto::procession::v1::{ListProcessesRequest, Process};

use super::args::{ListOutputArg, ProcessesArgs};
use super::connect::{Agent, refusal};
use super::screen::Screen;
use super::words::Moment;
use super::{answer, collect, filter, json, screen};
use crate::args::WrongOption;
use crate::render::{List, Listed, MessageView, View as _, duration, timestamp};
use crate::summary;

/// Columns that the name of a container gets at the most.
const WIDEST_CONTAINER: usize = 40;

pub(super) async fn run(
    agent: &Agent,
    args: &ProcessesArgs,
    screen: &mut Screen<'_>,
) -> anyhow::Result<ExitCode> {
    let timeout = args.server.timeout;
    let allow_list = filter::allow(&args.select, &[], &agent.accounts()).map_err(WrongOption)?;
    let request = ListProcessesRequest { allow_list, deny_list: Vec::new(), with_ended: args.ended };
    let stream = answer(timeout, agent.lineage().list_processes(request)).await;
    let all = collect(timeout, stream.map_err(|status| refusal(&status))?).await;
    let all = all.map_err(|status| refusal(&status))?;
    let processes = sorted(all.into_iter().filter_map(|item| item.process), args.select.which.host);
    if processes.is_empty() {
        summary::tell(format_args!("no process matches"));
    }
    match args.show.output {
        ListOutputArg::Text => {
            screen.put_heading(agent.heading());
            table(&processes, &agent.moment(), &mut screen::list(&args.show), screen.lines());
        }
        ListOutputArg::Json => {
            for process in &processes {
                screen.put_line(&json::line(process));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// By pid, and of one pid by age. Filters know only of pods, so what runs in another container is taken out
/// here where the host alone is asked for.
pub(super) fn sorted(all: impl Iterator<Item = Process>, is_host_only: bool) -> Vec<Process> {
    let is_on_host =
        |entry: &Process| MessageView::of_process(entry).is_some_and(|view| view.place().is_none());
    let mut processes: Vec<_> = all.filter(|entry| !is_host_only || is_on_host(entry)).collect();
    processes.sort_by_cached_key(age);
    processes
}

/// Older processes first.
pub(super) fn age(entry: &Process) -> (u32, jiff::Timestamp, jiff::Timestamp) {
    let process = entry.process.as_ref();
    let start = process.and_then(|process| process.start_time.as_ref()).map(timestamp).unwrap_or_default();
    let began = entry.began.as_ref().map_or(start, timestamp);
    (process.and_then(|process| process.pid).unwrap_or_default(), began, start)
}

/// The table for people.
pub(super) fn table(processes: &[Process], moment: &Moment, list: &mut List, out: &mut Vec<u8>) {
    let views: Vec<_> = processes.iter().filter_map(MessageView::of_process).collect();
    let rows: Vec<_> = views
        .iter()
        .map(|view| {
            let age = view.began.map_or("?".to_owned(), |began| duration(moment.since(began)).to_string());
            (age, view.place().map_or("-".to_owned(), |place| cut(place.to_string())))
        })
        .collect();
    let widest = |of: fn(&(String, String)) -> &String, head: &str| {
        rows.iter().map(|row| of(row).chars().count()).fold(head.len(), usize::max)
    };
    let (age_columns, container_columns) = (widest(|row| &row.0, "AGE"), widest(|row| &row.1, "CONTAINER"));
    let [age, container] =
        [format!("{:>age_columns$}", "AGE"), format!("{:<container_columns$}", "CONTAINER")];
    list.head([&age, &container], out);
    for (view, (age, container)) in views.iter().zip(&rows) {
        let columns = [format!("{age:>age_columns$}"), format!("{container:<container_columns$}")];
        let [age, container] = &columns;
        list.put(&Listed { view, began: None, guides: "", columns: Some([age, container]) }, out);
    }
}

fn cut(mut name: String) -> String {
    if let Some((cut, _)) = name.char_indices().nth(WIDEST_CONTAINER - 1)
        && name.chars().count() > WIDEST_CONTAINER
    {
        name.truncate(cut);
        name.push('…');
    }
    name
}
