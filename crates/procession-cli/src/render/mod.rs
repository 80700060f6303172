//! How facts look: the last stage of the pipeline.
//!
//! | form | for | module |
//! |---|---|---|
//! | text | people | `text` |
//! | compact | people used to the reference system's client | `compact` |
//! | JSON | programs | `procession_api::json` |
//!
//! What a process is called, and with which arguments, is its owner's choice. So nothing of it
//! reaches a terminal as it is: control characters and what else may change how a line looks are
//! shown as escapes (`escape`), in every form.

mod change;
mod compact;
mod duration;
mod escape;
mod line;
mod palette;
mod text;

use jiff::tz::TimeZone;
use procession::WallClock;
use procession_agent::Told;
use procession_api::json::JsonEncoder;
use procession_api::users::Users;

pub(crate) use compact::Compact;
pub(crate) use duration::duration;
pub(crate) use escape::{Sentence, is_deceptive};
pub(crate) use palette::Palette;
pub(crate) use text::{Text, TextOptions};

/// What a fact does not say itself, and how it is shown depends on.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// Turns boot times into dates. To be renewed now and then: wall clocks are stepped.
    pub(crate) clock: WallClock,
    /// The zone of the times that people read.
    pub(crate) zone: TimeZone,
    /// Names of the host's users.
    pub(crate) users: Users,
}

/// A form, with its options.
#[derive(Debug)]
pub(crate) enum Form {
    Text(Text),
    Compact(Compact),
    Json(JsonEncoder),
}

/// Writes what is told, each as one line at most.
#[derive(Debug)]
pub(crate) struct Renderer {
    form: Form,
    surroundings: Surroundings,
}

impl Renderer {
    pub(crate) fn new(form: Form, surroundings: Surroundings) -> Self {
        Self { form, surroundings }
    }

    /// To bring clock and users up to date between facts.
    pub(crate) fn surroundings_mut(&mut self) -> &mut Surroundings {
        &mut self.surroundings
    }

    /// Appends the line of what is told to `out`; nothing when the form has none for it.
    pub(crate) fn render(&mut self, told: &Told, out: &mut Vec<u8>) {
        match &mut self.form {
            Form::Text(text) => text.render(told, &self.surroundings, out),
            Form::Compact(compact) => compact.render(told, &self.surroundings, out),
            Form::Json(json) => {
                json.encode(told, &self.surroundings.clock, &self.surroundings.users, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
