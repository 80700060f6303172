//! What was typed for the commands that ask an agent.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use procession::ProcessKey;
use procession_api::proto::tetragon::{EventType, LogLevel};

use super::connect::Address;
use crate::args::{LookArgs, SELECT, SHOW, TerminalArgs, WhichArgs};
use crate::when::{When, times};

/// Where an agent listens unless it is told otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "unix:///run/procession/procession.sock";

const AGENT: &str = "Which agent to ask, and how";
const PAST: &str = "What was";

/// Which agent to ask.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = AGENT)]
pub(crate) struct ServerArgs {
    /// The agent's address: `unix:///PATH` or HOST:PORT; without a port it is 54321
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADDRESS)]
    #[arg(env = "PROCESSION_SERVER_ADDRESS", hide_env_values = true)]
    pub(crate) server_address: Address,

    /// How long to wait for a connection and for each answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::args::parse_duration)]
    pub(crate) timeout: Duration,

    /// Speak TLS, and trust the authorities in this file (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca_cert_file: Option<PathBuf>,

    /// Show the agent this certificate (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["tls_key_file", "tls_ca_cert_file"])]
    pub(crate) tls_cert_file: Option<PathBuf>,

    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_key_file: Option<PathBuf>,

    /// The name that the agent's certificate must be for [default: the host in the address]
    #[arg(long, value_name = "NAME", requires = "tls_ca_cert_file")]
    pub(crate) tls_server_name: Option<String>,
}

/// Which moment to ask about, if not this one.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = PAST)]
pub(crate) struct PastArgs {
    /// Tell how it was then, from the agent's journal: `14:03`, `2026-11-29 14:03:07`, `-5m`; --help has
    /// all forms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) at: Option<When>,

    #[command(flatten)]
    pub(crate) journal: JournalArgs,
}

/// Which journal to read, if one is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = PAST)]
pub(crate) struct JournalArgs {
    /// Read this recording, or this directory of an agent's journal; without --at, as it was at its end
    /// [default with --at: `$PROCESSION_JOURNAL_DIR`, or `/var/lib/procession/journal`]
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) journal: Option<PathBuf>,
}

/// Show what an agent sees, live.
///
/// Like `watch`, but the observing is done by the agent (`procession agent`), so this needs no rights of
/// its own but to reach it, and it costs the machine nothing more.
#[derive(Args, Debug)]
#[command(after_long_help = EVENTS_EXAMPLES)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,

    #[command(flatten)]
    pub(crate) events: EventSelectArgs,

    #[command(flatten)]
    pub(crate) show: EventShowArgs,

    /// Read events from this file of JSON lines rather than from an agent; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["snapshot", "reconnect"], help_heading = AGENT)]
    pub(crate) input: Option<PathBuf>,

    /// When the agent goes away, wait for it to come back
    #[arg(long, help_heading = AGENT)]
    pub(crate) reconnect: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

impl EventsArgs {
    /// Whether only some of what happens is shown.
    pub(crate) fn is_selective(&self) -> bool {
        let SelectArgs { which, namespace_regex, cel_expression } = &self.select;
        let EventSelectArgs { exec, exit, event_types, .. } = &self.events;
        exec != exit
            || !event_types.is_empty()
            || !namespace_regex.is_empty()
            || !cel_expression.is_empty()
            || which.is_selective()
    }
}

const EVENTS_EXAMPLES: &str = "\
Examples:
  procession events                         all programs that run and end,
                                            until Ctrl-C
  procession events --snapshot              first what runs already
  procession events --namespace shop --pod '^cart-' --exec
                                            what is run in some pods
  procession events -o json -f process.binary,process.pod
                                            some fields of each event
  procession events --input events.json --binary curl
                                            what was exported before

Conditions of different kinds must all hold; repeated ones are alternatives.";

/// Which processes to show.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = SELECT)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,

    /// Only processes in pods whose namespace matches this regular expression somewhere (repeatable)
    #[arg(long, value_name = "REGEX", conflicts_with = "host")]
    pub(crate) namespace_regex: Vec<String>,

    /// Only what this expression in CEL is true for, such as
    /// `process_exec.process.binary.endsWith("sh")` (repeatable)
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cel_expression: Vec<String>,
}

/// Which events to show.
#[derive(Args, Debug)]
#[command(next_help_heading = SELECT)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub(crate) struct EventSelectArgs {
    /// Only programs that are run; with no such option, --exec and --exit are on
    #[arg(long, conflicts_with = "event_types")]
    pub(crate) exec: bool,

    /// Only processes that end
    #[arg(long, conflicts_with = "event_types")]
    pub(crate) exit: bool,

    /// Only events of these types, named as in the API, such as `PROCESS_EXEC`
    #[arg(short, long, value_name = "TYPE", value_delimiter = ',', value_parser = parse_event_type)]
    pub(crate) event_types: Vec<EventType>,

    /// Show first what already runs
    #[arg(long, alias = "running", overrides_with = "no_snapshot")]
    pub(crate) snapshot: bool,

    /// Begin with what happens next (the default)
    #[arg(long, overrides_with = "snapshot")]
    pub(crate) no_snapshot: bool,
}

/// How events look.
#[derive(Args, Debug)]
#[command(next_help_heading = SHOW)]
pub(crate) struct EventShowArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,

    /// Show only these fields of events, such as `process.binary` (json)
    #[arg(short, long, value_name = "FIELD", value_delimiter = ',')]
    pub(crate) fields: Vec<String>,

    /// Do not show these fields of events (json)
    #[arg(short = 'F', long, value_name = "FIELD", value_delimiter = ',')]
    pub(crate) exclude_fields: Vec<String>,

    /// Begin each line with the time, in UTC to the nanosecond (compact)
    #[arg(long)]
    pub(crate) timestamps: bool,
}

/// How a list looks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = SHOW)]
pub(crate) struct ListShowArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: ListOutputArg,

    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListOutputArg {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Say how the agent does, what it sees, and what it has lost.
///
/// Exits with 1 if the agent does not observe, or if there is none.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t, help_heading = SHOW)]
    pub(crate) output: ListOutputArg,
}

/// List the processes that the agent knows, or knew.
#[derive(Args, Debug)]
#[command(after_long_help = PROCESSES_EXAMPLES)]
pub(crate) struct ProcessesArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Also those that have ended and are still known
    #[arg(long, help_heading = SELECT)]
    pub(crate) ended: bool,

    #[command(flatten)]
    pub(crate) show: ListShowArgs,

    #[command(flatten)]
    pub(crate) past: PastArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const PROCESSES_EXAMPLES: &str = concat!(
    "\
Examples:
  procession processes                      what runs now
  procession processes --at 14:03 --user root
                                            what ran as root then, from the
                                            agent's journal
  procession processes --journal build.journal --ended
                                            what is known at the end of a
                                            recording

",
    times!()
);

/// Draw who started whom.
#[derive(Args, Debug)]
#[command(after_long_help = TREE_EXAMPLES)]
pub(crate) struct TreeArgs {
    /// The process to begin with: a pid, or an id as events have it in `exec_id` [default: all]
    #[arg(value_name = "PID|EXEC_ID")]
    pub(crate) root: Option<Name>,

    /// Also those that have ended and are still known
    #[arg(long, help_heading = SELECT)]
    pub(crate) ended: bool,

    #[command(flatten)]
    pub(crate) show: ListShowArgs,

    #[command(flatten)]
    pub(crate) past: PastArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const TREE_EXAMPLES: &str = concat!(
    "\
Examples:
  procession tree                           all that runs now
  procession tree 4711                      a process, and all that it started
  procession tree --at 14:03                what ran then, from the agent's
                                            journal
  procession tree --journal build.journal --at 14:03:07
                                            the same, from a recording

",
    times!()
);

/// Tell why a process is there: who started it, and who started that.
///
/// With when, as whom and where, up to the first process of the machine or of the record.
///
/// Says what was seen, and marks what was only found or concluded.
#[derive(Args, Debug)]
#[command(after_long_help = WHY_EXAMPLES)]
pub(crate) struct WhyArgs {
    /// The process: a pid, or an id as events have it in `exec_id`
    #[arg(value_name = "PID|EXEC_ID")]
    pub(crate) process: Name,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t, help_heading = SHOW)]
    pub(crate) output: ListOutputArg,

    /// Do not fold lines to the width of the terminal
    #[arg(long, help_heading = SHOW)]
    pub(crate) wide: bool,

    #[command(flatten)]
    pub(crate) past: PastArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const WHY_EXAMPLES: &str = concat!(
    "\
Examples:
  procession why 4711                       a process that runs, or just ended
  procession why 4711 --at '5m ago'         who it was then, from the agent's
                                            journal
  procession why 4711 --journal build.journal --at 14:03:07
                                            the same, from a recording

",
    times!()
);

/// Tell the life of a process: what it ran, as whom, how it ended.
///
/// Also who forked it, what it started, and to whom it belonged when its parent had ended.
///
/// Reads a journal, so that it does not matter how long ago that was.
#[derive(Args, Debug)]
#[command(after_long_help = HISTORY_EXAMPLES)]
pub(crate) struct HistoryArgs {
    /// The process: a pid, which several may have had, or an id as events have it in `exec_id`
    #[arg(value_name = "PID|EXEC_ID")]
    pub(crate) process: Name,

    /// Read this recording, or this directory of an agent's journal [default: `$PROCESSION_JOURNAL_DIR`, or
    /// `/var/lib/procession/journal`]
    #[arg(long, value_name = "FILE|DIR", help_heading = PAST)]
    pub(crate) journal: Option<PathBuf>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value_t, help_heading = SHOW)]
    pub(crate) output: ListOutputArg,
}

const HISTORY_EXAMPLES: &str = "\
Examples:
  procession history 4711                   from the agent's journal
  procession history 4711 --journal build.journal
                                            from a recording
  procession history bm9kZTE6MjEwMzQ5NzUwODk0MDM6NDY5ODc= -o json
                                            of one process among those that
                                            had the pid";

/// List what a process has started, and what that has started.
///
/// Those that are alive now; or with `--ever` all that ever were, as far as the journal has them.
#[derive(Args, Debug)]
#[command(after_long_help = DESCENDANTS_EXAMPLES)]
pub(crate) struct DescendantsArgs {
    /// The process: a pid, or an id as events have it in `exec_id`
    #[arg(value_name = "PID|EXEC_ID")]
    pub(crate) process: Name,

    /// Also those that have ended, however long ago, from the agent's journal
    #[arg(long, conflicts_with = "at", help_heading = SELECT)]
    pub(crate) ever: bool,

    #[command(flatten)]
    pub(crate) show: ListShowArgs,

    #[command(flatten)]
    pub(crate) past: PastArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

const DESCENDANTS_EXAMPLES: &str = concat!(
    "\
Examples:
  procession descendants 4711               what it has started that still runs
  procession descendants 4711 --ever        all that it ever started, from the
                                            agent's journal
  procession descendants 4711 --ever --journal build.journal
                                            the same, from a recording

",
    times!()
);

/// Write the agent's table of processes, one JSON object a line.
#[derive(Args, Debug)]
pub(crate) struct DumpArgs {
    /// In the form of the Tetragon client's dump of its process cache
    #[arg(long)]
    pub(crate) tetragon: bool,

    /// Leave out what nothing refers to
    #[arg(long, requires = "tetragon")]
    pub(crate) skip_zero_refcnt: bool,

    /// Leave out what the programs in the kernel know too
    #[arg(long, requires = "tetragon")]
    pub(crate) exclude_execve_map_processes: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Show or set how much the agent logs.
#[derive(Args, Debug)]
pub(crate) struct LoglevelArgs {
    #[command(subcommand)]
    pub(crate) action: LoglevelAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LoglevelAction {
    /// Show it
    Get {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set it, until the agent is started again
    Set {
        /// What is logged at the least
        #[arg(value_enum)]
        level: LevelArg,

        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelArg {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LevelArg> for LogLevel {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Error => Self::Error,
            LevelArg::Warn => Self::Warn,
            LevelArg::Info => Self::Info,
            LevelArg::Debug => Self::Debug,
            LevelArg::Trace => Self::Trace,
        }
    }
}

/// How a process is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Pid(u32),
    ExecId(String),
}

/// As it is typed.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => pid.fmt(f),
            Self::ExecId(id) => id.fmt(f),
        }
    }
}

/// What there is to say of a text that names no process.
const NO_NAME: &str = "expected a pid, as `ps` shows it, or an exec_id: the id that events and \
    `procession processes -o json` have for a process, such as bm9kZTE6MjEwMzQ5NzUwODk0MDM6NDY5ODc=";

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Pid).map_err(|_| "no process has so large a pid".to_owned());
        }
        match ProcessKey::parse_exec_id(text) {
            Some(_) => Ok(Self::ExecId(text.to_owned())),
            None => Err(NO_NAME.to_owned()),
        }
    }
}

fn parse_event_type(text: &str) -> Result<EventType, String> {
    let name = text.trim().to_ascii_uppercase();
    match EventType::from_str_name(&name) {
        Some(EventType::Undef) | None => {
            Err("expected the name of a type of events, such as PROCESS_EXEC or PROCESS_EXIT".to_owned())
        }
        Some(known) => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_named_by_number_or_id() {
        for (text, name) in [
            ("4711", Some(Name::Pid(4711))),
            ("bm9kZTo1OjE=", Some(Name::ExecId("bm9kZTo1OjE=".into()))),
            ("4294967296", None),
            ("", None),
            ("abc", None),
            ("-1", None),
            // Base64 of `node1`: no start, no pid.
            ("bm9kZTE=", None),
        ] {
            assert_eq!(text.parse().ok(), name, "{text}");
        }
        let told = "abc".parse::<Name>().unwrap_err();
        let example = told.rsplit(' ').next().unwrap();
        assert!(example.parse::<Name>().is_ok() && told.contains("processes -o json"), "{told}");
    }

    #[test]
    fn types_of_events_have_the_names_of_the_api() {
        assert_eq!(parse_event_type("process_exec"), Ok(EventType::ProcessExec));
        assert_eq!(parse_event_type("RATE_LIMIT_INFO"), Ok(EventType::RateLimitInfo));
        for bad in ["", "UNDEF", "exec"] {
            assert!(parse_event_type(bad).is_err(), "{bad}");
        }
    }
}
