//! How what happens looks: the last stage of the pipeline, here or at the end of a stream from an agent.
//!
//! | form | for | module |
//! |---|---|---|
//! | text | people | `text` |
//! | compact | people used to the reference system's client | `compact` |
//! | JSON | programs | `procession_api::json` |
//!
//! Text and compact lines show a `view`, which is made of what this program was `told` by its own table or
//! of a `message` of an agent. A `list` shows processes that are there.
//!
//! What a process is called, and with which arguments, is its owner's choice. So nothing of it
//! reaches a terminal as it is: control characters and what else may change how a line looks are
//! shown as escapes (`escape`), in every form.

mod change;
mod compact;
mod duration;
mod escape;
mod forks;
mod line;
mod list;
mod message;
mod palette;
mod text;
mod told;
mod view;

use jiff::tz::TimeZone;
use procession::WallClock;
use procession_agent::Told;
use procession_api::json::JsonEncoder;
use procession_api::users::Users;

pub(crate) use compact::Compact;
pub(crate) use duration::duration;
pub(crate) use escape::{Sentence, Visible, is_deceptive};
use forks::Forks;
pub(crate) use list::{List, Listed};
pub(crate) use message::{
    MessageView, is_kernel_thread, markers_of, name_of, place_of, timestamp, user_of, words_of,
};
pub(crate) use palette::Palette;
pub(crate) use text::{Text, TextOptions};
use told::ToldView;
pub(crate) use view::{Name, Place, View};

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
    /// Those that a tree shows though forks are not asked for.
    forks: Forks,
}

impl Renderer {
    pub(crate) fn new(form: Form, surroundings: Surroundings) -> Self {
        Self { form, surroundings, forks: Forks::default() }
    }

    /// To bring clock and users up to date between facts.
    pub(crate) fn surroundings_mut(&mut self) -> &mut Surroundings {
        &mut self.surroundings
    }

    /// Appends the line of what is told to `out`; nothing when the form has none for it.
    pub(crate) fn render(&mut self, told: &Told, out: &mut Vec<u8>) {
        match &mut self.form {
            Form::Text(text) => {
                let Self { surroundings, forks, .. } = self;
                if let Some(fork) = text.is_tree_of_programs().then(|| forks.above(told)).flatten() {
                    text.render(&ToldView::new(&fork, surroundings), &surroundings.zone, out);
                }
                text.render(&ToldView::new(told, surroundings), &surroundings.zone, out);
            }
            Form::Compact(compact) => compact.render(&ToldView::new(told, &self.surroundings), out),
            Form::Json(json) => {
                json.encode(told, &self.surroundings.clock, &self.surroundings.users, out);
            }
        }
    }
}

/// A form of lines for what an agent tells. Its JSON is another matter: it is told as it comes.
#[derive(Debug)]
pub(crate) enum MessageForm {
    Text(Text),
    Compact(Compact),
}

impl MessageForm {
    /// Appends the line of what `view` shows to `out`; nothing when the form has none for it.
    pub(crate) fn render(&mut self, view: &dyn View, zone: &TimeZone, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => text.render(view, zone, out),
            Self::Compact(compact) => compact.render(view, out),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
