//! What is said at the levels that people read: by libraries nothing, because what is wrong is told
//! once, by us.

use std::fmt;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());
static SAID: Mutex<Vec<Said>> = Mutex::new(Vec::new());

/// Listens to warnings and errors of all, and to what this product says besides.
pub(crate) struct Listener;

/// Something that this product said.
#[derive(Clone, Debug, Default)]
struct Said {
    node: String,
    message: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "node" {
            value.clone_into(&mut self.node);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= if is_ours(metadata) { Level::INFO } else { Level::WARN }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if is_ours(event.metadata()) {
            let mut said = Said::default();
            event.record(&mut said);
            SAID.lock().unwrap().push(said);
        } else {
            HEARD.lock().unwrap().push(format!("{} {event:?}", event.metadata().target()));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("procession")
}

/// How often this product said something of a node.
pub(crate) fn said(node: &str, what: &str) -> usize {
    let said = SAID.lock().unwrap();
    said.iter().filter(|said| said.node == node && said.message.contains(what)).count()
}

/// What libraries said.
pub(crate) fn heard() -> Vec<String> {
    HEARD.lock().unwrap().clone()
}
