//! Secrets in events, hidden before anything is written or folded.

use std::sync::Arc;

use procession::{Arguments, Event, EventKind, Exec, Program, Running};
use procession_filter::Redaction;

use crate::redaction::SharedRedaction;

/// Hides the secrets of events.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    shared: SharedRedaction,
    arguments: Vec<u8>,
    environment: Vec<u8>,
}

impl Redactor {
    pub(crate) fn new(shared: SharedRedaction) -> Self {
        Self { shared, ..Self::default() }
    }

    /// The event without its secrets. `None`: it has none.
    pub(crate) fn hide<'e>(&'e mut self, event: &Event<'e>) -> Option<Event<'e>> {
        let program = match &event.kind {
            EventKind::Exec(exec) => exec.program,
            EventKind::Running(running) => running.program,
            _ => return None,
        };
        let redaction = self.shared.get();
        if redaction.is_empty() {
            return None;
        }
        let program = self.hide_in(&redaction, program)?;
        let kind = match event.kind {
            EventKind::Exec(exec) => EventKind::Exec(Exec { program, ..exec }),
            EventKind::Running(running) => EventKind::Running(Running { program, ..running }),
            kind => kind,
        };
        Some(Event { kind, ..*event })
    }

    fn hide_in<'e>(&'e mut self, redaction: &Arc<Redaction>, program: Program<'e>) -> Option<Program<'e>> {
        let arguments = redaction.arguments(&program);
        let environment = redaction.environment(&program);
        if arguments.is_none() && environment.is_none() {
            return None;
        }
        let arguments = put(arguments, program.arguments, &mut self.arguments);
        let environment = put(environment, program.environment, &mut self.environment);
        Some(Program { arguments, environment, ..program })
    }
}

/// What was hidden, if anything was. Nothing is said to be missing that was not missing before.
fn put<'e>(hidden: Option<Vec<u8>>, whole: Arguments<'e>, buffer: &'e mut Vec<u8>) -> Arguments<'e> {
    let Some(hidden) = hidden else { return whole };
    *buffer = hidden;
    Arguments { bytes: buffer, total_len: buffer.len() + whole.missing() }
}
