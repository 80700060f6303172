//! What was typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use procession_agent::Detail;
use procession_kube::RuntimeSocket;
use procession_sensor::SourceKind;

use crate::agent;
use crate::client::args::{
    DescendantsArgs, DumpArgs, EventsArgs, HistoryArgs, LoglevelArgs, ProcessesArgs, StatusArgs, TreeArgs,
    WhyArgs,
};
#[cfg(feature = "parquet")]
use crate::export::ExportArgs;
use crate::when::{When, times};

/// Sees every process on this machine: what it is, who started it, with which rights.
#[derive(Debug, Parser)]
#[command(name = "procession", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Watch(Box<WatchArgs>),
    Record(Box<RecordArgs>),
    Replay(Box<ReplayArgs>),
    Import(ImportArgs),
    Agent(agent::Typed),
    Events(EventsArgs),
    Status(StatusArgs),
    Processes(ProcessesArgs),
    Tree(TreeArgs),
    Why(WhyArgs),
    History(HistoryArgs),
    Descendants(DescendantsArgs),
    #[cfg(feature = "parquet")]
    Export(ExportArgs),
    Dump(DumpArgs),
    Loglevel(LoglevelArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Watch processes start and end, live.
///
/// Shows every program that any process on this machine runs, and how it ends. With a command
/// after `--`, runs that command and shows only what it starts.
///
/// Uses eBPF, which needs root. Without it, falls back to the kernel's proc connector and then to
/// reading /proc, and says what is missing.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,

    #[command(flatten)]
    pub(crate) show: ShowArgs,

    #[command(flatten)]
    pub(crate) containers: ContainerArgs,

    #[command(flatten)]
    pub(crate) observe: ObserveArgs,

    /// Run this command, and watch it and what it starts; exit with its status
    #[arg(last = true, value_name = "COMMAND", help_heading = None)]
    pub(crate) command: Vec<OsString>,
}

/// Where events come from, and for how long.
#[derive(Args, Debug)]
#[command(next_help_heading = WHERE)]
pub(crate) struct ObserveArgs {
    /// Stop after this long, for example `10s`, `500ms`, `5m` or `1h`; a command is asked to end
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,

    /// Where events come from; `auto` takes the best that works
    #[arg(long, value_enum, default_value_t, env = "PROCESSION_SOURCE", hide_env_values = true)]
    pub(crate) source: SourceArg,

    /// Kernel memory in which events wait to be read (eBPF), rounded up to a power of two
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = parse_size)]
    #[arg(env = "PROCESSION_RING_SIZE", hide_env_values = true)]
    pub(crate) ring_size: u32,
}

/// Record all that happens into a file, to look at it later.
///
/// Everything on this machine is recorded, until Ctrl-C. With a command after `--`, until that ends;
/// then `replay` shows what the command started, and the rest with `--all`.
///
/// The file can be asked questions: `procession tree --journal FILE --at 14:03`, and `why`, `processes`,
/// `history` and `descendants` alike. It has the arguments of all programs, and is for its owner alone.
#[derive(Args, Debug)]
#[command(after_long_help = RECORD_EXAMPLES)]
pub(crate) struct RecordArgs {
    /// The file to be made
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Replace the file if there is one
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) containers: ContainerArgs,

    #[command(flatten)]
    pub(crate) observe: ObserveArgs,

    /// Run this command, and record until it ends; exit with its status
    #[arg(last = true, value_name = "COMMAND", help_heading = None)]
    pub(crate) command: Vec<OsString>,
}

const RECORD_EXAMPLES: &str = "\
Examples:
  procession record build.journal -- make   what a build runs, to be kept
  procession replay build.journal --tree    what `watch --tree -- make` would
                                            have shown
  procession record night.journal --duration 8h
                                            everything, for eight hours
  procession tree --journal night.journal --at 03:15
                                            what ran at a quarter past three

Exit status:
  0    ended by Ctrl-C, or when the time was up
  1    failed
  2    an option is wrong
  124  the time was up before the command ended
  other ones are those of the command";

/// Show what was recorded, as `watch` would have shown it.
///
/// Takes a file that `record` or `import` has made, or the directory of an agent's journal. Times are those
/// of the recording. Goes as fast as it can, or at the recorded pace with `--speed 1`.
///
/// What cannot be read is told on standard error, and the rest is shown.
#[derive(Args, Debug)]
#[command(after_long_help = REPLAY_EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// The recording, or the directory of an agent's journal
    #[arg(value_name = "FILE|DIR")]
    pub(crate) journal: PathBuf,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Show everything, though the recording is of one command
    #[arg(long, help_heading = SELECT)]
    pub(crate) all: bool,

    /// Begin at this time: `14:03`, `2026-11-29 14:03:07`, `-5m`; --help has all forms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = SELECT)]
    pub(crate) from: Option<When>,

    /// End at this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = SELECT)]
    pub(crate) to: Option<When>,

    #[command(flatten)]
    pub(crate) show: ShowArgs,

    /// Keep the recorded pace (1), or so many times as fast, such as 10 or 0.5
    #[arg(long, value_name = "N", value_parser = parse_speed, help_heading = SHOW)]
    pub(crate) speed: Option<f64>,
}

const REPLAY_EXAMPLES: &str = concat!(
    "\
Examples:
  procession replay build.journal           what was recorded
  procession replay build.journal --tree --exit
                                            how what a build ran ended,
                                            by lineage
  procession replay /var/lib/procession/journal --from -10m --user root
                                            what root did in the last ten
                                            minutes
  procession replay night.journal --from 03:00 --to 03:20 -o json
                                            twenty minutes of events for a
                                            program to read
  procession replay build.journal --speed 2 twice as fast as it happened

Conditions of different kinds must all hold; repeated ones are alternatives.

",
    times!()
);

/// Make a recording of events that were exported before.
///
/// Reads JSON lines, as the Tetragon agent exports them, its client prints them with `-o json`, and so do
/// `procession agent`, `events` and `watch`. They may be compressed by gzip. The recording that is made of
/// them can be asked what they tell together: who started what, and what ran when.
///
/// What an export does not have, the recording has not either: forks of processes that ran nothing, changes
/// of users and namespaces between programs, and the portable ids of processes.
#[derive(Args, Debug)]
#[command(after_long_help = IMPORT_EXAMPLES)]
pub(crate) struct ImportArgs {
    /// The file of JSON lines; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) input: PathBuf,

    /// The file to be made
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,

    /// Replace that file if there is one
    #[arg(long)]
    pub(crate) force: bool,

    /// Take the events of this node; has to be given where there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  procession import /var/log/tetragon/tetragon.log --to t.journal
  kubectl logs -n kube-system ds/tetragon -c export-stdout |
    procession import - --to t.journal
  procession tree --journal t.journal --at '2026-11-29 14:03:07'
                                            what ran then, and who had
                                            started it
  procession history 4711 --journal t.journal
                                            the life of a process";

/// Write completions for a shell to standard output.
///
/// Where the shell finds them: for bash a file `procession` in
/// ~/.local/share/bash-completion/completions, for zsh `_procession` in a directory of `$fpath`, for
/// fish `procession.fish` in ~/.config/fish/completions.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Write the manual pages.
///
/// All of them into a directory, or procession(1) to standard output.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory, which is made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

const WHERE: &str = "What to watch, and how long";
pub(crate) const SELECT: &str = "What to show";
pub(crate) const SHOW: &str = "How to show it";

const EXAMPLES: &str = "\
Examples:
  procession watch                          everything, until Ctrl-C
  procession watch --tree -- make           what a build really runs
  procession watch --user www-data --exec   what the web server executes
  procession watch --change -- sudo true    how its rights change on the way
  procession watch --binary 'curl|wget' --ancestors
                                            who calls curl or wget, and who
                                            called them
  procession watch --namespace shop --pod '^cart-'
                                            what runs in some pods
  procession watch --host --exec            what runs outside all containers
  procession watch -o json --duration 1m    a minute of events for a program

Conditions of different kinds must all hold; repeated ones are alternatives.

Exit status:
  0    ended by Ctrl-C, or when the time was up
  1    failed
  2    an option is wrong
  124  the time was up before the command ended
  other ones are those of the command";

#[derive(Args, Debug)]
#[command(next_help_heading = SELECT)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub(crate) struct SelectArgs {
    /// Show programs that are run; with no such option, --exec and --exit are on
    #[arg(long)]
    pub(crate) exec: bool,

    /// Show processes that end
    #[arg(long)]
    pub(crate) exit: bool,

    /// Show forks too: new processes, before they run anything of their own
    #[arg(long)]
    pub(crate) fork: bool,

    /// Show changes of user, capabilities, namespaces and session too; `-o json` and `-o compact`
    /// have no line for them
    #[arg(long)]
    pub(crate) change: bool,

    /// Show first what already runs
    #[arg(long, alias = "snapshot")]
    pub(crate) running: bool,

    #[command(flatten)]
    pub(crate) which: WhichArgs,
}

/// Which processes to show, of this machine or of an agent's.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = SELECT)]
pub(crate) struct WhichArgs {
    /// Only the process with this id (repeatable)
    #[arg(long, value_name = "PID", value_parser = parse_pid)]
    pub(crate) pid: Vec<u32>,

    /// Only programs whose path matches this regular expression somewhere (repeatable)
    #[arg(long, value_name = "REGEX")]
    pub(crate) binary: Vec<String>,

    /// Only processes of this user, by number, or by name as /etc/passwd here has it (repeatable)
    #[arg(long, value_name = "USER")]
    pub(crate) user: Vec<String>,

    /// Only processes in pods of this Kubernetes namespace (repeatable)
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Vec<String>,

    /// Only processes in pods whose name matches this regular expression somewhere (repeatable)
    #[arg(long, value_name = "REGEX")]
    pub(crate) pod: Vec<String>,

    /// Only processes in containers whose name matches this regular expression somewhere, or whose id
    /// begins with it, from 12 digits on (repeatable)
    #[arg(long, value_name = "REGEX")]
    pub(crate) container: Vec<String>,

    /// Only processes in no container
    #[arg(long, conflicts_with_all = ["namespace", "pod", "container"])]
    pub(crate) host: bool,
}

#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Whose containers they are")]
pub(crate) struct ContainerArgs {
    /// Ask the container runtime on this socket, for example `cri:/run/crio/crio.sock`; PROTOCOL is
    /// `cri`, `containerd`, `docker` or `podman` (repeatable; in place of the usual sockets)
    #[arg(long, value_name = "PROTOCOL:PATH", conflicts_with = "no_runtimes")]
    pub(crate) runtime_socket: Vec<RuntimeSocket>,

    /// Ask no container runtime
    #[arg(long)]
    pub(crate) no_runtimes: bool,

    /// Follow the pods of this node at the Kubernetes API; in a pod that is done anyway
    #[arg(long)]
    pub(crate) kubernetes: bool,

    /// Reach the Kubernetes API as this file says, and follow its pods [default: `$KUBECONFIG`,
    /// `~/.kube/config`, or the service account of the pod that this runs in]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The name of this node [default: `$HUBBLE_NODE_NAME`, `$NODE_NAME`, or the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,

    /// How long events may wait until it is known whose their container is; what comes later is
    /// shown without
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_wait)]
    pub(crate) pod_wait: Duration,

    /// Add the annotations of pods, as far as the Kubernetes API tells of them (json)
    #[arg(long)]
    pub(crate) pod_annotations: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = SHOW)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,

    /// Add credentials and capabilities (json)
    #[arg(long)]
    pub(crate) credentials: bool,

    /// Add namespaces (json)
    #[arg(long)]
    pub(crate) namespaces: bool,
}

/// How events look, of this machine or of an agent's.
#[derive(Args, Debug)]
#[command(next_help_heading = SHOW)]
pub(crate) struct LookArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: OutputArg,

    /// Indent by lineage: what a process starts while it is watched stands below it
    #[arg(long)]
    pub(crate) tree: bool,

    /// Add the chain of parents to each event, as far as an agent tells it
    #[arg(long)]
    pub(crate) ancestors: bool,

    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
}

/// How lines fit a terminal.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = SHOW)]
pub(crate) struct TerminalArgs {
    /// Do not cut lines to the width of the terminal
    #[arg(long)]
    pub(crate) wide: bool,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: ColorArg,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputArg {
    /// Aligned lines for people
    #[default]
    Text,
    /// The compact lines of the Tetragon client
    Compact,
    /// One JSON object a line, in Tetragon's schema
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceArg {
    /// The best source that works here
    #[default]
    Auto,
    /// eBPF programs in the kernel
    Ebpf,
    /// The kernel's proc connector, with details from /proc
    #[value(alias = "proc-connector")]
    Connector,
    /// Reading /proc again and again
    #[value(alias = "proc")]
    Polling,
}

impl SelectArgs {
    /// Whether there is something that is not shown, though it is by default.
    pub(crate) fn is_selective(&self) -> bool {
        self.exec != self.exit || self.which.is_selective()
    }
}

impl WhichArgs {
    /// Whether only some processes are shown.
    pub(crate) fn is_selective(&self) -> bool {
        let Self { pid, binary, user, namespace, pod, container, host } = self;
        *host
            || !pid.is_empty()
            || [binary, user, namespace, pod, container].iter().any(|values| !values.is_empty())
    }
}

impl ShowArgs {
    pub(crate) fn detail(&self) -> Detail {
        Detail { credentials: self.credentials, namespaces: self.namespaces, ancestors: self.look.ancestors }
    }
}

impl SourceArg {
    /// The source that was asked for by name.
    pub(crate) fn only(self) -> Option<SourceKind> {
        match self {
            Self::Auto => None,
            Self::Ebpf => Some(SourceKind::Ebpf),
            Self::Connector => Some(SourceKind::Connector),
            Self::Polling => Some(SourceKind::Polling),
        }
    }
}

/// A value that turned out wrong only when it was used.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct WrongOption(pub(crate) anyhow::Error);

/// The id of a process.
fn parse_pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a number, as `ps` shows it".to_owned())
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a number with ms, s, m or h, for example 10s".to_owned()),
    };
    let seconds = number.parse::<f64>().map_err(|_| "expected a number, for example 10s".to_owned())? * scale;
    Duration::try_from_secs_f64(seconds).map_err(|_| "that is longer than anybody can wait".to_owned())
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    parse_duration(text).and_then(|wait| {
        if wait <= LONGEST_WAIT { Ok(wait) } else { Err("events wait no longer than an hour".to_owned()) }
    })
}

const LONGEST_WAIT: Duration = Duration::from_hours(1);

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('x').parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("expected how many times as fast, for example 1, 10 or 0.5".to_owned()),
    }
}

pub(crate) fn parse_size(text: &str) -> Result<u32, String> {
    let bytes = parse_bytes(text).and_then(|bytes| u32::try_from(bytes).ok());
    bytes
        .filter(|bytes| (MIN_RING..=MAX_RING).contains(bytes))
        .ok_or_else(|| "expected a size from 64K to 1G, for example 8M".to_owned())
}

/// A number of bytes, as `48M`.
pub(crate) fn parse_bytes(text: &str) -> Option<usize> {
    let (number, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let is_plain = number.bytes().all(|digit| digit.is_ascii_digit());
    number.parse::<usize>().ok().filter(|_| is_plain)?.checked_mul(1 << shift)
}

const MIN_RING: u32 = 64 << 10;
const MAX_RING: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What is longer would be folded, where a table has nothing to be folded at.
    #[test]
    fn what_stands_below_the_options_fits_a_terminal() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines() {
                assert!(line.chars().count() < 80, "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in
            [("10s", 10_000), ("1.5s", 1_500), ("250ms", 250), ("2m", 120_000), ("3", 3_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "10 s", "10x", "-1s", "1e400s", "1.2.3s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_wait("1h"), Ok(LONGEST_WAIT));
        assert!(parse_wait("1.1h").is_err() && parse_wait("9999999999999999999s").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("8M"), Ok(8 << 20));
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        for bad in ["", "M", "1", "+1M", "2G", "2048M", "99999999999", "99999999999G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
