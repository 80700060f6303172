//! Processes that are there, one line each: as a table, or as a tree.

use super::Palette;
use super::duration::duration;
use super::line::Line;
use super::text::user_column;
use super::view::{Kind, View};

/// Writes lines of a list.
#[derive(Debug)]
pub(crate) struct List {
    line: Line,
    palette: Palette,
    width: Option<usize>,
}

/// A line of it.
pub(crate) struct Listed<'a> {
    pub(crate) view: &'a dyn View,
    /// When it began, with a space behind. Where that is told, so is how long it lived.
    pub(crate) began: Option<&'a str>,
    /// What a tree has before it.
    pub(crate) guides: &'a str,
    /// What a table says of its age, and in which container it is.
    pub(crate) columns: Option<[&'a str; 2]>,
}

impl List {
    /// `width`: lines are cut to it.
    pub(crate) fn new(palette: Palette, width: Option<usize>) -> Self {
        Self { line: Line::default(), palette, width }
    }

    /// Appends the line that says what the columns of a table are.
    pub(crate) fn head(&mut self, [age, container]: [&str; 2], out: &mut Vec<u8>) {
        self.line.clear();
        let head = format_args!("{:>7} {:<8} {age} {container} COMMAND", "PID", "USER");
        self.line.put(self.palette.faint, head);
        self.finish(out);
    }

    /// Appends the line of a process.
    pub(crate) fn put(&mut self, listed: &Listed<'_>, out: &mut Vec<u8>) {
        let Listed { view, began, guides, columns } = listed;
        self.line.clear();
        self.line.put(self.palette.faint, began.unwrap_or_default());
        self.line.put(self.palette.faint, guides);
        match columns {
            Some(columns) => self.table(*view, *columns),
            None => self.tree(*view),
        }
        self.line.command(*view, &self.palette);
        self.line.markers(*view, &self.palette);
        if let Kind::Exit(outcome) = view.kind() {
            self.line.outcome(outcome, &self.palette);
            if let Some(lived) = view.lived().filter(|_| began.is_some()) {
                self.line.put(self.palette.faint, format_args!("  {}", duration(lived)));
            }
        }
        self.finish(out);
    }

    fn table(&mut self, view: &dyn View, [age, container]: [&str; 2]) {
        self.line.plain(format_args!("{:>7} ", view.pid()));
        self.line.put(self.palette.user, user_column(view.user()));
        self.line.put(self.palette.faint, format_args!(" {age} "));
        self.line.put(self.palette.container, format_args!("{container} "));
    }

    fn tree(&mut self, view: &dyn View) {
        self.line.plain(format_args!("{} ", view.pid()));
        match view.user() {
            Some(user) => self.line.put(self.palette.user, format_args!("{user} ")),
            None => self.line.put(self.palette.user, "? "),
        }
        self.line.place(view, &self.palette);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(width) = self.width {
            self.line.fit(width);
        }
        self.line.write(out);
    }
}
