//! From options to a renderer that fits where the output goes.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use jiff::tz::TimeZone;
use procession::{Namespaces, Uid, WallClock};
use procession_agent::{RecordedClock, Told, renewed, wall_clock};
use procession_api::json::JsonEncoder;
use procession_api::users::{PasswdFile, Users};

use crate::args::{ColorArg, ContainerArgs, OutputArg, SelectArgs, ShowArgs};
use crate::render::{Compact, Form, Palette, Renderer, Surroundings, Text, TextOptions};

/// How often the wall clock and the user names are looked at again.
const REFRESH: Duration = Duration::from_secs(5);

/// A renderer, kept up to date.
pub(crate) struct Display {
    renderer: Renderer,
    times: Times,
}

/// Whose clocks and users are shown.
enum Times {
    /// Those of this machine, as they are.
    Live { users: PasswdFile, refreshed: Instant },
    /// Those of a recording, as they were. What happened up to `after` is not shown.
    Recorded { clock: RecordedClock, after: Option<SystemTime> },
}

/// What was asked for of how things look.
pub(crate) struct Looks<'a> {
    pub(crate) select: &'a SelectArgs,
    pub(crate) show: &'a ShowArgs,
    /// The machine that is shown.
    pub(crate) node_name: String,
}

impl Display {
    /// Of this machine. `host`: the namespaces of the host, to tell which processes are in others.
    pub(crate) fn live(looks: Looks<'_>, users: PasswdFile, host: Option<Namespaces>) -> Self {
        let surroundings = surroundings(wall_clock(), users.users().clone());
        let renderer = Renderer::new(looks.form(host), surroundings);
        Self { renderer, times: Times::Live { users, refreshed: Instant::now() } }
    }

    /// Of a recording, which began when the clocks stood so. What happened up to `after` is not shown.
    pub(crate) fn recorded(
        looks: Looks<'_>,
        users: Users,
        host: Option<Namespaces>,
        (first, clock): (WallClock, RecordedClock),
        after: Option<SystemTime>,
    ) -> Self {
        let renderer = Renderer::new(looks.form(host), surroundings(first, users));
        Self { renderer, times: Times::Recorded { clock, after } }
    }

    pub(crate) fn render(&mut self, told: &Told, out: &mut Vec<u8>) {
        if let Times::Recorded { clock, after } = &self.times
            && let Some(clock) = clock.at(told.fact.time)
        {
            if after.is_some_and(|after| clock.at(told.fact.time) <= after) {
                return;
            }
            self.renderer.surroundings_mut().clock = clock;
        }
        self.renderer.render(told, out);
    }

    /// Looks at clock and users again when that is due.
    pub(crate) fn refresh(&mut self) {
        let Times::Live { users, refreshed } = &mut self.times else { return };
        if refreshed.elapsed() < REFRESH {
            return;
        }
        *refreshed = Instant::now();
        let surroundings = self.renderer.surroundings_mut();
        surroundings.clock = renewed(surroundings.clock);
        // A file that cannot be read now leaves the names that are known.
        if let Ok(true) = users.refresh() {
            surroundings.users = users.users().clone();
        }
    }
}

fn surroundings(clock: WallClock, users: Users) -> Surroundings {
    Surroundings { clock, zone: TimeZone::system(), users }
}

impl Looks<'_> {
    fn form(self, host: Option<Namespaces>) -> Form {
        let Self { select, show, node_name } = self;
        let is_terminal = io::stdout().is_terminal();
        let palette = if is_coloured(show.look.terminal.color, is_terminal) {
            Palette::coloured()
        } else {
            Palette::plain()
        };
        match show.look.output {
            OutputArg::Text => Form::Text(Text::new(TextOptions {
                forks: select.fork,
                tree: show.look.tree,
                ancestors: show.look.ancestors,
                width: terminal_width().filter(|_| is_terminal && !show.look.terminal.wide),
                palette,
            })),
            OutputArg::Compact => Form::Compact(Compact {
                node_name,
                timestamps: false,
                capabilities: show.credentials,
                palette,
            }),
            OutputArg::Json => {
                Form::Json(JsonEncoder { node_name, options: show.detail().annotations(host) })
            }
        }
    }
}

/// The users of this machine. Without a passwd file nobody has a name, and numbers are shown.
pub(crate) fn users() -> PasswdFile {
    let mut file = PasswdFile::new("/etc/passwd");
    let _ = file.refresh();
    file
}

/// Who has accounts on a machine.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    users: Users,
    /// The machine, if it is not this one: nobody but root is known there.
    stranger: Option<String>,
}

impl Accounts {
    /// Those of this machine.
    pub(crate) fn here(users: Users) -> Self {
        Self { users, stranger: None }
    }

    /// Those that the machine called `node` had: this machine's, if it is that. Of another nobody has a name
    /// but root, who is the same everywhere.
    pub(crate) fn of(node: &str) -> Self {
        if node == own_node_name() {
            return Self::here(users().users().clone());
        }
        Self { users: Users::parse(b"root:x:0:0::/:\n"), stranger: Some(node.to_owned()) }
    }

    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    /// For programs: a name that was not recorded is none that a program should be told.
    pub(crate) fn recorded_users(&self) -> Users {
        if self.stranger.is_some() { Users::default() } else { self.users.clone() }
    }

    /// The id of a user, by name or number.
    pub(crate) fn uid(&self, user: &str) -> anyhow::Result<Uid> {
        if let Ok(number) = user.parse() {
            return Ok(Uid(number));
        }
        let root = || (user == "root").then_some(Uid::ROOT);
        self.users.uid(user).or_else(root).with_context(|| match &self.stranger {
            None => format!("there is no user `{user}` in /etc/passwd; a number works too"),
            Some(node) => format!(
                "who is `{user}`? The recording is of node {node}, not of this machine: user names are not \
                 known; give a number"
            ),
        })
    }
}

/// <https://no-color.org>: set and not empty means no colour, unless it is asked for by name.
pub(crate) fn is_coloured(color: ColorArg, is_terminal: bool) -> bool {
    match color {
        ColorArg::Always => true,
        ColorArg::Never => false,
        ColorArg::Auto => is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

pub(crate) fn terminal_width() -> Option<usize> {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).ok()?.ws_col;
    (columns > 0).then_some(usize::from(columns))
}

/// The name of this machine: as it was given, or found as the reference system finds it.
pub(crate) fn node_name(args: &ContainerArgs) -> String {
    args.node_name.clone().unwrap_or_else(own_node_name)
}

/// The name of this machine, as it is found.
pub(crate) fn own_node_name() -> String {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    set("HUBBLE_NODE_NAME")
        .or_else(|| set("NODE_NAME"))
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_another_machine_only_root_and_numbers_are_known() {
        let there = Accounts::of("no-such-node");
        assert_eq!(there.uid("root").unwrap(), Uid::ROOT);
        assert_eq!(there.uid("33").unwrap(), Uid(33));
        assert_eq!(there.users().name(Uid::ROOT), Some("root"));
        let error = there.uid("www-data").unwrap_err().to_string();
        assert!(error.contains("of node no-such-node") && error.contains("give a number"), "{error}");
        let here = Accounts::here(Users::parse(b"www:x:33:33"));
        assert_eq!((here.uid("www").unwrap(), here.uid("root").unwrap()), (Uid(33), Uid::ROOT));
        assert!(here.uid("nobody-here").unwrap_err().to_string().contains("/etc/passwd"));
    }
}
