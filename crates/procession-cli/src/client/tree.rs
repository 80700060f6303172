//! `procession tree`.

use std::collections::HashMap;
use std::process::ExitCode;

use procession_api::proto::procession::v1::{GetTreeRequest, GetTreeResponse, Process};

use super::args::{ListOutputArg, TreeArgs};
use super::connect::{Agent, refusal};
use super::screen::Screen;
use super::words::Moment;
use super::{answer, collect, json, processes, refusal_about, screen, target};
use crate::render::{List, Listed, MessageView, timestamp};

/// Levels that are drawn. A chain of forks may be as long as there are pids, and each of its lines would
/// be longer than the one before; what is deeper stands at this level, with its own in words.
const DEEPEST: usize = 64;

pub(super) async fn run(agent: &Agent, args: &TreeArgs, screen: &mut Screen<'_>) -> anyhow::Result<ExitCode> {
    let timeout = args.server.timeout;
    let request = GetTreeRequest { root: args.root.as_ref().map(target), with_ended: args.ended };
    let about = |status: &_| match &args.root {
        Some(name) => refusal_about(agent, name, status),
        None => refusal(status),
    };
    let stream = answer(timeout, agent.lineage().get_tree(request)).await.map_err(|status| about(&status))?;
    let all = collect(timeout, stream).await.map_err(|status| about(&status))?;
    match args.show.output {
        ListOutputArg::Text => {
            screen.put_heading(agent.heading());
            Tree::of(all).draw(&mut screen::list(&args.show), screen.lines());
        }
        ListOutputArg::Json => {
            for response in &all {
                screen.put_line(&json::line(response));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Processes, and below each what it started.
pub(super) struct Tree {
    /// When each began, where that is to be told.
    began: Option<Vec<String>>,
    processes: Vec<Process>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl Tree {
    /// Parents come before their children. One whose parent's program is not among them any more belongs
    /// to the last that came a level above.
    pub(super) fn of(responses: Vec<GetTreeResponse>) -> Self {
        let mut tree = Self { began: None, processes: Vec::new(), children: Vec::new(), roots: Vec::new() };
        let mut by_id = HashMap::new();
        let mut last_of_level: Vec<usize> = Vec::new();
        for GetTreeResponse { process, level } in responses {
            let Some(entry) = process else { continue };
            let Some(process) = &entry.process else { continue };
            let (place, level) = (tree.processes.len(), level as usize);
            let named = by_id.get(&process.parent_exec_id).copied();
            let above = level.min(last_of_level.len()).checked_sub(1).map(|above| last_of_level[above]);
            match (level, named.or(above)) {
                (1.., Some(parent)) => tree.children[parent].push(place),
                _ => tree.roots.push(place),
            }
            last_of_level.truncate(level);
            last_of_level.push(place);
            by_id.insert(process.exec_id.clone(), place);
            tree.processes.push(entry);
            tree.children.push(Vec::new());
        }
        tree
    }

    /// The same, and each line begins with when the process did.
    pub(super) fn with_times(self, moment: &Moment) -> Self {
        let began = |entry: &Process| entry.began.as_ref().map(timestamp);
        let times: Vec<_> = self.processes.iter().map(|entry| began(entry).map(|it| moment.at(it))).collect();
        let width = times.iter().flatten().map(String::len).max().unwrap_or_default();
        let padded = times.into_iter().map(|time| format!("{:>width$} ", time.as_deref().unwrap_or("?")));
        Self { began: Some(padded.collect()), ..self }
    }

    /// Appends the lines of all.
    pub(super) fn draw(mut self, list: &mut List, out: &mut Vec<u8>) {
        let is_by_time = self.began.is_some();
        for siblings in self.children.iter_mut().chain([&mut self.roots]) {
            siblings.sort_by_cached_key(|place| {
                let (pid, began, start) = processes::age(&self.processes[*place]);
                // Pids begin anew when the largest was given.
                (is_by_time.then_some(began), pid, began, start)
            });
        }
        // What is to be drawn, with its level and whether it is the last below its parent. A stack of our
        // own: how deep the tree is, others choose.
        let mut next: Vec<_> = self.roots.iter().rev().map(|root| (*root, 0, true)).collect();
        let mut are_last = Vec::new();
        while let Some((place, level, is_last)) = next.pop() {
            are_last.truncate(level);
            are_last.push(is_last);
            if let Some(view) = MessageView::of_process(&self.processes[place]) {
                let began = self.began.as_ref().map(|times| &*times[place]);
                list.put(&Listed { view: &view, began, guides: &guides(&are_last), columns: None }, out);
            }
            let children = self.children[place].iter().rev().enumerate();
            next.extend(children.map(|(from_last, child)| (*child, level + 1, from_last == 0)));
        }
    }
}

/// What is drawn before a process, by whether it and those above are the last below their parents.
fn guides(are_last: &[bool]) -> String {
    let level = are_last.len().saturating_sub(1);
    let Some(is_last) = are_last.last().filter(|_| level > 0) else { return String::new() };
    let drawn = level.min(DEEPEST);
    let mut guides: String =
        are_last[1..drawn].iter().map(|is_last| if *is_last { "   " } else { "│  " }).collect();
    guides.push_str(if *is_last { "└─ " } else { "├─ " });
    if level > DEEPEST {
        guides += "(level ";
        guides += &level.to_string();
        guides += ") ";
    }
    guides
}
