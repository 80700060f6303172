//! The form for people: aligned columns, then the command, then how it ended.
//!
//! ```text
//! 22:13:22.000     101 alice    exec /bin/ls -l 'a b'
//! 22:13:22.005     101 alice    end  /bin/ls -l 'a b'  exit 0  5.1ms
//! 22:13:22.007     103 1000     exec [shop/cart-0] /bin/cart
//! 22:13:22.010     102 root     set  /usr/bin/newuidmap 7 0 1000 1  caps -chown
//! ```

use std::fmt::{self, Display};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Palette;
use super::change::Change;
use super::duration::duration;
use super::line::Line;
use super::view::{Kind, Outcome, User, View};

/// Levels of a tree that are drawn. What is deeper is drawn at this level: a chain of forks may be
/// as long as there are pids, and each of its lines would be longer than the one before.
const DEEPEST: u16 = 32;

/// Ancestors that are named. An image that was replaced counts as one, so a loop of execs makes
/// this list as long as it likes.
const MOST_ANCESTORS: usize = 32;

const USER_COLUMNS: usize = 8;

/// What people may choose about the text form.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextOptions {
    /// Show forks too.
    pub(crate) forks: bool,
    /// Indent each process under the one that forked it.
    pub(crate) tree: bool,
    /// Name the processes that led to this one, as far as the fact has them.
    pub(crate) ancestors: bool,
    /// Cut lines to this many columns. `None`: never, as programs want it that read a pipe.
    pub(crate) width: Option<usize>,
    pub(crate) palette: Palette,
}

/// Writes what happens in the form for people.
#[derive(Debug)]
pub(crate) struct Text {
    options: TextOptions,
    line: Line,
}

impl Text {
    pub(crate) fn new(options: TextOptions) -> Self {
        Self { options, line: Line::default() }
    }

    /// Whether it is drawn as a tree, and forks have no lines of their own.
    pub(super) fn is_tree_of_programs(&self) -> bool {
        self.options.tree && !self.options.forks
    }

    pub(super) fn render(&mut self, view: &dyn View, zone: &TimeZone, out: &mut Vec<u8>) {
        let kind = view.kind();
        if kind == Kind::Fork && !self.options.forks && !self.options.tree {
            return;
        }
        self.line.clear();
        self.when_and_who(view, zone);
        self.event(kind);
        self.guides(view.depth());
        self.line.place(view, &self.options.palette);
        self.line.command(view, &self.options.palette);
        self.line.markers(view, &self.options.palette);
        if let Kind::Exit(outcome) = kind {
            self.outcome(outcome, view);
        }
        if let Some(fact) = view.change() {
            self.line.plain(Change(fact));
        }
        self.ancestors(view);
        if let Some(width) = self.options.width {
            self.line.fit(width);
        }
        self.line.write(out);
    }

    fn when_and_who(&mut self, view: &dyn View, zone: &TimeZone) {
        let palette = &self.options.palette;
        self.line.put(palette.faint, TimeOfDay { time: view.time(), zone });
        self.line.plain(format_args!(" {:>7} ", view.pid()));
        self.line.put(palette.user, user_column(view.user()));
    }

    fn event(&mut self, kind: Kind<'_>) {
        let palette = &self.options.palette;
        let (style, word) = match kind {
            Kind::Fork => (palette.fork, "fork"),
            Kind::Exec => (palette.exec, "exec"),
            Kind::Exit(_) => (palette.end, "end "),
            Kind::Running => (palette.live, "live"),
            Kind::Change => (palette.live, "set "),
        };
        self.line.plain(' ');
        self.line.put(style, word);
        self.line.plain(' ');
    }

    fn guides(&mut self, depth: u16) {
        if !self.options.tree || depth == 0 {
            return;
        }
        let faint = self.options.palette.faint;
        for _ in 1..depth.min(DEEPEST) {
            self.line.put(faint, "│ ");
        }
        self.line.put(faint, "└─");
    }

    /// How the process ended, and how long it lived.
    fn outcome(&mut self, outcome: Outcome<'_>, view: &dyn View) {
        let palette = &self.options.palette;
        self.line.outcome(outcome, palette);
        if let Some(lived) = view.lived() {
            self.line.put(palette.faint, format_args!("  {}", duration(lived)));
        }
    }

    fn ancestors(&mut self, view: &dyn View) {
        if !self.options.ancestors {
            return;
        }
        let faint = self.options.palette.faint;
        let ancestors = view.ancestors();
        for (name, pid) in ancestors.iter().take(MOST_ANCESTORS) {
            self.line.put(faint, format_args!(" ← {}({pid})", name.short()));
        }
        let more = ancestors.len().saturating_sub(MOST_ANCESTORS);
        if more > 0 {
            self.line.put(faint, format_args!(" ← {more} more"));
        }
    }
}

/// Parts of lines.
impl Line {
    /// The container, in brackets.
    pub(super) fn place(&mut self, view: &dyn View, palette: &Palette) {
        if let Some(place) = view.place() {
            self.put(palette.container, format_args!("[{place}] "));
        }
    }

    /// What it runs: the part that is cut first.
    pub(super) fn command(&mut self, view: &dyn View, palette: &Palette) {
        let start = self.len();
        self.put(palette.binary, view.name());
        view.words(&mut |word| {
            self.plain(' ');
            self.plain(word);
        });
        self.elastic_from(start);
    }

    /// What deserves a second look.
    pub(super) fn markers(&mut self, view: &dyn View, palette: &Palette) {
        for marker in view.markers() {
            self.plain(' ');
            self.put(palette.marker, format_args!("({marker})"));
        }
    }

    /// How it ended.
    pub(super) fn outcome(&mut self, outcome: Outcome<'_>, palette: &Palette) {
        self.plain("  ");
        self.put(outcome.style(palette), outcome);
    }
}

/// The user in a column of its own.
pub(super) fn user_column(user: Option<User<'_>>) -> String {
    let Some(user) = user else { return format!("{:<USER_COLUMNS$}", '?') };
    let mut user = user.to_string();
    // As `ps` does it.
    if let Some((cut, _)) = user.char_indices().nth(USER_COLUMNS - 1)
        && user.chars().count() > USER_COLUMNS
    {
        user.truncate(cut);
        user.push('+');
    }
    format!("{user:<USER_COLUMNS$}")
}

/// `HH:MM:SS.mmm` in a time zone.
struct TimeOfDay<'a> {
    time: Timestamp,
    zone: &'a TimeZone,
}

impl Display for TimeOfDay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.zone.to_datetime(self.time);
        let (hour, minute, second, milli) = (time.hour(), time.minute(), time.second(), time.millisecond());
        write!(f, "{hour:02}:{minute:02}:{second:02}.{milli:03}")
    }
}
