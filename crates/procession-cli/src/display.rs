//! From options to a renderer that fits where the output goes.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use procession::Namespaces;
use procession_agent::{Told, renewed, wall_clock};
use procession_api::json::JsonEncoder;
use procession_api::users::PasswdFile;

use crate::args::{ColorArg, ContainerArgs, OutputArg, WatchArgs};
use crate::render::{Compact, Form, Palette, Renderer, Surroundings, Text, TextOptions};

/// How often the wall clock and the user names are looked at again.
const REFRESH: Duration = Duration::from_secs(5);

/// A renderer, kept up to date.
pub(crate) struct Display {
    renderer: Renderer,
    users: PasswdFile,
    refreshed: Instant,
}

impl Display {
    /// `host`: the namespaces of the host, to tell which processes are in others.
    pub(crate) fn new(args: &WatchArgs, users: PasswdFile, host: Option<Namespaces>) -> Self {
        let show = &args.show;
        let node_name = node_name(&args.containers);
        let is_terminal = io::stdout().is_terminal();
        let palette =
            if is_coloured(show.color, is_terminal) { Palette::coloured() } else { Palette::plain() };
        let form = match show.output {
            OutputArg::Text => Form::Text(Text::new(TextOptions {
                forks: args.select.fork,
                tree: show.tree,
                ancestors: show.ancestors,
                width: terminal_width().filter(|_| is_terminal && !show.wide),
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
        };
        let surroundings =
            Surroundings { clock: wall_clock(), zone: TimeZone::system(), users: users.users().clone() };
        Self { renderer: Renderer::new(form, surroundings), users, refreshed: Instant::now() }
    }

    pub(crate) fn render(&mut self, told: &Told, out: &mut Vec<u8>) {
        self.renderer.render(told, out);
    }

    /// Looks at clock and users again when that is due.
    pub(crate) fn refresh(&mut self) {
        if self.refreshed.elapsed() < REFRESH {
            return;
        }
        self.refreshed = Instant::now();
        let surroundings = self.renderer.surroundings_mut();
        surroundings.clock = renewed(surroundings.clock);
        // A file that cannot be read now leaves the names that are known.
        if let Ok(true) = self.users.refresh() {
            surroundings.users = self.users.users().clone();
        }
    }
}

/// The users of this machine. Without a passwd file nobody has a name, and numbers are shown.
pub(crate) fn users() -> PasswdFile {
    let mut file = PasswdFile::new("/etc/passwd");
    let _ = file.refresh();
    file
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
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let given = args.node_name.clone();
    given
        .or_else(|| set("HUBBLE_NODE_NAME"))
        .or_else(|| set("NODE_NAME"))
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}
