//! The form for people: aligned columns, then the command, then how it ended.
//!
//! ```text
//! 22:13:22.000     101 alice    exec /bin/ls -l 'a b'
//! 22:13:22.005     101 alice    end  /bin/ls -l 'a b'  exit 0  5.1ms
//! 22:13:22.007     103 1000     exec [shop/cart-0] /bin/cart
//! 22:13:22.010     102 root     set  /usr/bin/newuidmap 7 0 1000 1  caps -chown
//! ```

use std::fmt::{self, Display};

use anstyle::Style;
use jiff::tz::TimeZone;
use procession::{BootTime, ExitStatus, Fact, FactKind, Image, Nature, Origin, Process, WallClock};
use procession_agent::Told;
use procession_kube::{ContainerId, PodName, Whose};

use super::change::Change;
use super::duration::duration;
use super::escape::{ShellWord, Visible};
use super::line::Line;
use super::{Palette, Surroundings};

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

/// Writes facts in the form for people.
#[derive(Debug)]
pub(crate) struct Text {
    options: TextOptions,
    line: Line,
}

impl Text {
    pub(crate) fn new(options: TextOptions) -> Self {
        Self { options, line: Line::default() }
    }

    pub(super) fn render(&mut self, told: &Told, surroundings: &Surroundings, out: &mut Vec<u8>) {
        let fact = &told.fact;
        if fact.kind == FactKind::Fork && !self.options.forks {
            return;
        }
        let container = ContainerId::of_process(&fact.process);
        self.line.clear();
        self.when_and_who(fact, container, surroundings);
        self.event(fact.kind);
        self.guides(fact.depth);
        self.container(container, told.whose(&fact.process));
        self.command(&fact.process);
        self.markers(told);
        self.outcome(fact);
        self.change(fact);
        self.ancestors(&fact.process, &fact.lineage);
        if let Some(width) = self.options.width {
            self.line.fit(width);
        }
        self.line.write(out);
    }

    fn when_and_who(&mut self, fact: &Fact, container: Option<ContainerId>, surroundings: &Surroundings) {
        let palette = &self.options.palette;
        let time = TimeOfDay { time: fact.time, clock: &surroundings.clock, zone: &surroundings.zone };
        self.line.put(palette.faint, time);
        self.line.plain(format_args!(" {:>7} ", fact.process.pid()));
        self.line.put(palette.user, user_column(&fact.process, container, surroundings));
    }

    fn event(&mut self, kind: FactKind) {
        let palette = &self.options.palette;
        let (style, word) = match kind {
            FactKind::Fork => (palette.fork, "fork"),
            FactKind::Exec => (palette.exec, "exec"),
            FactKind::Exit { .. } => (palette.end, "end "),
            FactKind::Running => (palette.live, "live"),
            FactKind::Change => (palette.live, "set "),
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

    /// The pod, else the container's name, else its id.
    fn container(&mut self, container: Option<ContainerId>, whose: Option<&Whose>) {
        let Some(container) = container else { return };
        let style = self.options.palette.container;
        let name = whose.map(Whose::container_name).filter(|name| !name.is_empty());
        match (whose.and_then(Whose::pod), name) {
            (Some(PodName { namespace, name }), _) => {
                let [namespace, name] = [namespace, name].map(|text| Visible(text.as_bytes()));
                self.line.put(style, format_args!("[{namespace}/{name}] "));
            }
            (None, Some(name)) => self.line.put(style, format_args!("[{}] ", Visible(name.as_bytes()))),
            (None, None) => self.line.put(style, format_args!("[{}] ", container.short())),
        }
    }

    fn command(&mut self, process: &Process) {
        let start = self.line.len();
        self.line.put(self.options.palette.binary, Name { process, whole_path: true });
        if let Some(image) = &process.image {
            for argument in image.arguments().iter().skip(1) {
                self.line.plain(' ');
                self.line.plain(ShellWord(argument));
            }
        }
        self.line.elastic_from(start);
    }

    /// What deserves a second look.
    fn markers(&mut self, told: &Told) {
        let fact = &told.fact;
        if let Some(image) = &fact.process.image {
            let missing = image.arguments().missing();
            if missing > 0 {
                self.marker(format_args!("{missing} argument bytes missing"));
            }
            // An image is marked where it starts or is found. Its forks and its end share it.
            if matches!(fact.kind, FactKind::Exec | FactKind::Running) {
                self.image_markers(image);
            }
        }
        if fact.process.origin == Origin::Inferred {
            self.marker("inferred");
        }
        if !told.is_complete {
            self.marker("unknown container");
        }
    }

    fn image_markers(&mut self, image: &Image) {
        let raised = image.privileges();
        let is_in_memory = image.executable().starts_with(b"/memfd:");
        let is_unlinked = image.file().is_some_and(|file| file.is_unlinked());
        let is_deleted = is_unlinked || image.executable().ends_with(b" (deleted)");
        for (is_so, marker) in [
            (raised.setuid, "setuid"),
            (raised.setgid, "setgid"),
            (raised.file_capabilities, "file capabilities"),
            (is_in_memory, "memfd"),
            (is_deleted && !is_in_memory, "deleted"),
        ] {
            if is_so {
                self.marker(marker);
            }
        }
    }

    fn marker(&mut self, marker: impl Display) {
        self.line.plain(' ');
        self.line.put(self.options.palette.marker, format_args!("({marker})"));
    }

    /// How the process ended, and how long it lived: from its fork, whatever it ran since.
    fn outcome(&mut self, fact: &Fact) {
        let FactKind::Exit { status, .. } = fact.kind else { return };
        let palette = &self.options.palette;
        self.line.plain("  ");
        match status {
            Some(status) => self.line.put(outcome_style(palette, status), status),
            None => self.line.put(palette.faint, "gone"),
        }
        let lived = duration(fact.time.since(fact.process.began));
        self.line.put(palette.faint, format_args!("  {lived}"));
    }

    fn change(&mut self, fact: &Fact) {
        if fact.kind == FactKind::Change {
            self.line.plain(Change(fact));
        }
    }

    fn ancestors(&mut self, of: &Process, lineage: &[Process]) {
        if !self.options.ancestors {
            return;
        }
        let faint = self.options.palette.faint;
        // Images that a process replaced are its own past, not its parents.
        let lineage: Vec<_> = lineage.iter().filter(|image| !is_same_process(image, of)).collect();
        let parents = lineage.chunk_by(|one, next| is_same_process(one, next));
        let (shown, more) = (parents.clone().take(MOST_ANCESTORS), parents.skip(MOST_ANCESTORS).count());
        for process in shown.filter_map(|images| images.first()) {
            let name = Name { process, whole_path: false };
            self.line.put(faint, format_args!(" ← {name}({})", process.pid()));
        }
        if more > 0 {
            self.line.put(faint, format_args!(" ← {more} more"));
        }
    }
}

fn is_same_process(one: &Process, other: &Process) -> bool {
    (one.pid(), one.began) == (other.pid(), other.began)
}

fn outcome_style(palette: &Palette, status: ExitStatus) -> Style {
    if status.success() { palette.faint } else { palette.failure }
}

/// The user's name, or the id where there is none. A container has users of its own, so the host's
/// names are not put to its ids.
fn user_column(process: &Process, container: Option<ContainerId>, surroundings: &Surroundings) -> String {
    let Some(uid) = process.user() else { return format!("{:<USER_COLUMNS$}", '?') };
    let name = surroundings.users.name(uid).filter(|_| container.is_none());
    let mut user = name.map_or_else(|| uid.to_string(), |name| Visible(name.as_bytes()).to_string());
    // As `ps` does it.
    if let Some((cut, _)) = user.char_indices().nth(USER_COLUMNS - 1)
        && user.chars().count() > USER_COLUMNS
    {
        user.truncate(cut);
        user.push('+');
    }
    format!("{user:<USER_COLUMNS$}")
}

/// What a process is called: by its binary, else by its command name, else not at all.
struct Name<'a> {
    process: &'a Process,
    whole_path: bool,
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(image) = &self.process.image else { return f.write_str("?") };
        let binary = image.binary();
        if image.nature() == Nature::KernelThread {
            Visible(binary).fmt(f)
        } else if !binary.is_empty() {
            ShellWord(if self.whole_path { binary } else { file_name(binary) }).fmt(f)
        } else if !image.comm().is_empty() {
            Visible(image.comm()).fmt(f)
        } else {
            f.write_str("?")
        }
    }
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// `HH:MM:SS.mmm` in a time zone.
struct TimeOfDay<'a> {
    time: BootTime,
    clock: &'a WallClock,
    zone: &'a TimeZone,
}

impl Display for TimeOfDay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::try_from(self.clock.at(self.time)).unwrap_or_default();
        let time = self.zone.to_datetime(time);
        let (hour, minute, second, milli) = (time.hour(), time.minute(), time.second(), time.millisecond());
        write!(f, "{hour:02}:{minute:02}:{second:02}.{milli:03}")
    }
}
