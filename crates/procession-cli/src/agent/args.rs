//! The options of `procession agent`: their one definition, wherever a value comes from.

use std::num::IntErrorKind;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{
    BoolishValueParser, NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, Resettable,
};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Id};
use procession_journal::Fsync;

use super::catalogue::{Catalogue, Kind};
use super::settings::{Origin, Setting};
use crate::args::{ContainerArgs, SourceArg, parse_bytes, parse_duration, parse_size};
use crate::log;
use crate::when::span_of;

/// Observe this node, and serve what happens to others.
///
/// Follows every process of this machine, and gives what it sees to clients of the gRPC API, to a
/// file of JSON lines, and to Prometheus. Speaks Tetragon's API, so that its clients work unchanged.
///
/// Every option can be given here, in files, or in the environment: the end of this help has all places.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_long_help = MORE)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
pub(crate) struct AgentArgs {
    /// Where events come from; `auto` takes the best that works
    #[arg(long, value_enum, default_value_t, help_heading = SOURCE)]
    pub(crate) source: SourceArg,

    /// Kernel memory in which events wait to be read (eBPF), rounded up to a power of two
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = parse_size)]
    #[arg(help_heading = SOURCE)]
    pub(crate) ring_size: u32,

    /// The most memory for what is known of processes; 48M is room for some 150,000 live ones
    #[arg(long, value_name = "SIZE", default_value = "48M", value_parser = parse_budget)]
    #[arg(help_heading = SOURCE)]
    pub(crate) table_budget: usize,

    /// Keep every event in this directory, and go on from there after a restart: nothing is forgotten
    ///
    /// Everything about processes that `procession tree --at` and the like can then be asked for. Without a
    /// value under systemd it is `journal` in the state directory of the service; an empty one keeps nothing.
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true, help_heading = JOURNAL)]
    pub(crate) journal_dir: String,

    /// The most room for the journal, in MiB; the oldest files go first
    #[arg(long, value_name = "MIB", default_value = "1024", help_heading = JOURNAL)]
    #[arg(value_parser = whole(4..=u32::MAX, MIB, "4096"))]
    pub(crate) journal_max_size_mb: u32,

    /// How long the journal remembers, for example `12h` or `30d`; `0s` is for as long as there is room
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_interval)]
    #[arg(help_heading = JOURNAL)]
    pub(crate) journal_max_age: Duration,

    /// When the journal is forced to the disk: `never`, `always`, or so often. A loss of power costs what is
    /// later; the end of the agent costs nothing
    #[arg(long, value_name = "WHEN", default_value = "5s", value_parser = parse_fsync)]
    #[arg(help_heading = JOURNAL)]
    pub(crate) journal_fsync: Fsync,

    /// Where the kernel keeps the eBPF programs when the agent ends, so that the next one misses nothing; in
    /// a BPF file system. Only with a journal
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/procession", help_heading = JOURNAL)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) pin_dir: String,

    /// Let the programs end with the agent: what happens until the next one starts is only found out
    #[arg(long, help_heading = JOURNAL)]
    pub(crate) no_pin: bool,

    /// Keep all of root's rights: the agent can then write where root has no permission, dumps core, and
    /// whoever takes it over has the machine
    ///
    /// Without it the agent gives up what its work does not need: it passes over no permissions of files,
    /// and when the eBPF programs are attached it can attach no more. What is left, it says when it starts.
    #[arg(long, help_heading = RIGHTS)]
    pub(crate) keep_privileges: bool,

    /// A name for the cluster that this node is in, to be put into each event
    #[arg(long, value_name = "NAME", default_value = "", help_heading = EVENTS)]
    pub(crate) cluster_name: String,

    /// Add credentials and capabilities
    #[arg(long, help_heading = EVENTS)]
    pub(crate) enable_process_cred: bool,

    /// Add namespaces
    #[arg(long, help_heading = EVENTS)]
    pub(crate) enable_process_ns: bool,

    /// Add the chain of parents
    #[arg(long, help_heading = EVENTS)]
    pub(crate) enable_ancestors: bool,

    /// Make secrets in arguments unreadable, for all readers and in the journal: what a group of a regular
    /// expression matches becomes `*****`
    ///
    /// Filters as JSON objects, for example `{"redact":["--password[=\\s](\\S+)"]}`. With a journal they are
    /// hidden before anything is kept, so that a change of the filters does not bring them back.
    #[arg(long, value_name = "JSON", default_value = "", help_heading = EVENTS)]
    pub(crate) redaction_filters: String,

    #[command(flatten)]
    pub(crate) containers: ContainerArgs,

    /// Serve the gRPC API here: `unix:///PATH` or HOST:PORT; without a port it is 54321. Repeatable;
    /// an empty one serves nobody
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///run/procession/procession.sock")]
    #[arg(help_heading = SERVER)]
    pub(crate) server_address: Vec<String>,

    /// Certificate of the server, in PEM; with --server-tls-key-file it speaks TLS
    #[arg(long, value_name = "FILE", help_heading = SERVER)]
    pub(crate) server_tls_cert_file: Option<PathBuf>,

    /// Private key to the certificate, in PEM
    #[arg(long, value_name = "FILE", help_heading = SERVER)]
    pub(crate) server_tls_key_file: Option<PathBuf>,

    /// Certificates of those who may vouch for clients, in PEM (repeatable)
    #[arg(long, value_name = "FILE", help_heading = SERVER)]
    pub(crate) server_tls_client_ca_files: Vec<PathBuf>,

    /// Serve only clients that show a certificate from --server-tls-client-ca-files
    #[arg(long, help_heading = SERVER)]
    pub(crate) server_tls_require_client_cert: bool,

    /// The most clients at a time, at each address
    #[arg(long, value_name = "NUMBER", default_value = "1024", help_heading = SERVER)]
    #[arg(value_parser = whole(1..=u32::MAX, "", "1024"))]
    pub(crate) server_max_connections: u32,

    /// Serve gRPC health checks alone here too: HOST:PORT. They are on --server-address anyway
    #[arg(long, value_name = "ADDRESS", default_value = "", help_heading = SERVER)]
    pub(crate) health_server_address: String,

    /// Events kept for the slowest reader, of the API or the export; what is older it has lost
    #[arg(long, value_name = "NUMBER", default_value = "10000", help_heading = SERVER)]
    #[arg(value_parser = whole(1..=u32::MAX, "", "10000"))]
    pub(crate) event_queue_size: u32,

    /// The most memory for these events
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_queue_bytes)]
    #[arg(help_heading = SERVER)]
    pub(crate) event_queue_bytes: usize,

    /// Serve /metrics, /healthz and /readyz here: HOST:PORT. Empty: nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "", help_heading = METRICS)]
    pub(crate) metrics_server: String,

    /// Labels that metrics of events have. Fewer make fewer series
    #[arg(long, value_name = "LABEL", default_value = "namespace,workload,pod,binary")]
    #[arg(value_parser = labels(), help_heading = METRICS)]
    pub(crate) metrics_label_filter: Vec<String>,

    /// Count events by what they are and whose
    #[arg(long, default_value = "true", help_heading = METRICS)]
    pub(crate) enable_event_metrics: bool,

    /// Write events to this file as JSON lines; `-` is standard output. Empty: no export
    #[arg(long, value_name = "FILE", default_value = "", help_heading = EXPORT)]
    pub(crate) export_filename: String,

    /// Begin another file above this size, in MiB
    #[arg(long, value_name = "MIB", default_value = "10", help_heading = EXPORT)]
    #[arg(value_parser = whole(1..=u32::MAX, MIB, "100"))]
    pub(crate) export_file_max_size_mb: u32,

    /// Begin another file after this time, for example `24h`; `0s` is never
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_interval)]
    #[arg(help_heading = EXPORT)]
    pub(crate) export_file_rotation_interval: Duration,

    /// Full files to keep
    #[arg(long, value_name = "NUMBER", default_value = "5", help_heading = EXPORT)]
    #[arg(value_parser = whole(0..=u32::MAX, "", "5"))]
    pub(crate) export_file_max_backups: u32,

    /// Compress full files with gzip
    #[arg(long, help_heading = EXPORT)]
    pub(crate) export_file_compress: bool,

    /// Who may read and write the file, as chmod has it; its owner always may, others never write
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = parse_mode)]
    #[arg(help_heading = EXPORT)]
    pub(crate) export_file_perm: u32,

    /// Events to write a minute at most; -1 is without limit, 0 writes none
    #[arg(long, value_name = "NUMBER", default_value = "-1", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i64).range(-1..=i64::from(u32::MAX)), help_heading = EXPORT)]
    pub(crate) export_rate_limit: i64,

    /// Write only events that one of these filters matches: JSON objects, separated by white space
    #[arg(long, value_name = "JSON", default_value = "", help_heading = EXPORT)]
    pub(crate) export_allowlist: String,

    /// Write no event that one of these filters matches
    #[arg(long, value_name = "JSON", default_value = "", help_heading = EXPORT)]
    pub(crate) export_denylist: String,

    /// Write only some fields, or leave some out: JSON objects such as
    /// {"fields": "process.pod", "action": "EXCLUDE"}
    #[arg(long, value_name = "JSON", default_value = "", help_heading = EXPORT)]
    pub(crate) field_filters: String,

    /// What to log; `PROCESSION_LOG=TARGET=LEVEL,...` says it in more detail, and wins
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL", help_heading = LOG)]
    pub(crate) log_level: log::Level,

    /// Form of the log, which is on standard error
    #[arg(long, value_enum, default_value_t, value_name = "FORM", help_heading = LOG)]
    pub(crate) log_format: log::Format,
}

/// Where options come from. Not options themselves: no file can give them.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Where options come from")]
pub(crate) struct PlaceArgs {
    /// Read options from this file, which must be there [default: /etc/procession/agent.toml, which
    /// need not]
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) config: Option<String>,

    /// Read options from this directory: one file for each, with its name, that holds the value
    #[arg(long, value_name = "DIR", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) config_dir: Option<String>,

    /// Show every option with its value and where it comes from, as a file for --config, and exit
    #[arg(long)]
    pub(crate) print_config: bool,

    /// Remove the eBPF programs that a stopped agent left in the kernel, and exit. They are in --pin-dir: those of
    /// this machine's agent, unless you name another
    #[arg(long, conflicts_with = "print_config")]
    pub(crate) detach_all: bool,
}

const SOURCE: &str = "What to observe";
const JOURNAL: &str = "What is kept on disk";
const RIGHTS: &str = "What the agent may do";
const EVENTS: &str = "What events tell";
const SERVER: &str = "The API";
const METRICS: &str = "Metrics";
const EXPORT: &str = "Export to a file";
const LOG: &str = "The log";

/// What numbers of some options count.
const MIB: &str = " of MiB";

const MORE: &str = "\
Places that are read; what is later in this list wins:
  1. the defaults
  2. /usr/lib/procession/agent.conf.d/NAME, a file for each option that holds
     its value
  3. /usr/local/lib/procession/agent.conf.d/NAME
  4. /etc/procession/agent.toml, or the file of --config:  NAME = VALUE
  5. /etc/procession/agent.conf.d/NAME
  6. the directory of --config-dir, for example a Kubernetes ConfigMap
  7. the environment: PROCESSION_NAME, in capitals and with _ for -
  8. the command line

A list is taken whole from one place. Its items are separated by commas; in
the TOML file it may be an array. A name that no option has is an error in a
file, and a warning in the environment.

Signals:
  SIGTERM, SIGINT  stop, and write what is under way; a second one ends at once
  SIGHUP           read all this again. Log level, filters, rate limit and
                   labels change at once; what needs a restart is logged.
                   After an error nothing changes

Examples:
  procession agent                          serve the API on a Unix socket
  procession agent --server-address localhost --metrics-server :2112
                                            on TCP port 54321, with metrics
  procession agent --export-filename - --server-address ''
                                            only write JSON lines to standard
                                            output
  procession agent --export-filename /var/log/procession/events.log \\
      --export-denylist '{\"namespace\": [\"\", \"kube-system\"]}'
                                            a file without the host and the
                                            system's pods
  procession agent --journal-dir /var/lib/procession/journal
                                            with a memory that outlasts it
  procession agent --print-config           what applies here, and why

Exit status:
  0    stopped by a signal
  1    failed
  2    an option is wrong";

/// What was typed for `procession agent`: the layer that wins over all others.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(super) settings: Vec<Setting>,
    pub(super) places: PlaceArgs,
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Vec::new();
        for option in &Catalogue::new().options {
            if matches.value_source(&option.id) == Some(ValueSource::CommandLine) {
                settings.push(Setting {
                    name: option.name.clone(),
                    values: option.values_of(matches)?,
                    origin: Origin::CommandLine,
                });
            }
        }
        Ok(Self { settings, places: PlaceArgs::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        AgentArgs::augment_args(PlaceArgs::augment_args(command)).mut_args(open_to_layers)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Lets a later layer take back what an earlier one said: switches can be off, lists are one value,
/// and what excludes each other is judged when all layers are known.
fn open_to_layers(arg: Arg) -> Arg {
    if ["print_config", "detach_all"].contains(&arg.get_id().as_str()) {
        return arg;
    }
    let arg = arg.conflicts_with(Resettable::<Id>::Reset);
    match Kind::of(&arg) {
        Kind::Switch => {
            let is_set_already = !arg.get_default_values().is_empty();
            let arg = if is_set_already { arg } else { arg.default_value("false").hide_default_value(true) };
            arg.action(ArgAction::Set)
                .value_parser(BoolishValueParser::new())
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_possible_values(true)
        }
        Kind::List => arg.value_delimiter(','),
        Kind::Number | Kind::Text => arg,
    }
}

/// The labels that metrics can have. An empty one stands for none.
fn labels() -> PossibleValuesParser {
    let none = PossibleValue::new("").hide(true);
    PossibleValuesParser::new(
        ["namespace", "workload", "pod", "binary"].map(PossibleValue::new).into_iter().chain([none]),
    )
}

fn parse_budget(text: &str) -> Result<usize, String> {
    parse_bytes(text).filter(|bytes| *bytes >= procession::MINIMUM_BUDGET).ok_or_else(|| {
        format!("expected a size from {}K on, for example 48M", procession::MINIMUM_BUDGET >> 10)
    })
}

fn parse_queue_bytes(text: &str) -> Result<usize, String> {
    parse_bytes(text)
        .filter(|bytes| *bytes >= 1 << 20)
        .ok_or_else(|| "expected a size from 1M on, for example 64M".to_owned())
}

fn parse_fsync(text: &str) -> Result<Fsync, String> {
    match text {
        "never" => Ok(Fsync::Never),
        "always" => Ok(Fsync::Always),
        time => {
            let time = parse_duration(time).map_err(|_| "expected never, always, or a time such as 5s")?;
            Ok(if time.is_zero() { Fsync::Always } else { Fsync::Every(time) })
        }
    }
}

/// A time that data is kept for, where seconds taken for days would lose some: only nothing needs no unit.
fn parse_interval(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("a time cannot be negative; 0s is never".to_owned());
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(format!("{text} of what? write `{text}d`, `{text}h`, `{text}m` or `{text}s`"));
    }
    span_of(text).ok_or_else(|| "expected a number with s, m, h, d or w, for example 12h or 7d".to_owned())
}

/// A whole number. `unit` and `example` are for people.
fn whole(
    range: RangeInclusive<u32>,
    unit: &'static str,
    example: &'static str,
) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse::<u32>() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(number) if number < *range.start() => Err(format!("it has to be at least {}", range.start())),
        Ok(_) => Err(format!("it can be {} at most", range.end())),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            Err(format!("it can be {} at most", range.end()))
        }
        Err(_) => Err(format!("expected a whole number{unit}, such as {example}")),
    }
}

/// Permissions of a file that holds no program and that others do not write.
fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode @ 0..=0o777) if !digits.starts_with('+') => Ok(mode & 0o664 | 0o600),
        _ => Err("expected three octal digits as for chmod, for example 640".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_no_sign() {
        for (text, size) in [("1", 1), ("2k", 2 << 10), ("48M", 48 << 20), ("3G", 3 << 30)] {
            assert_eq!(parse_bytes(text), Some(size), "{text}");
        }
        for bad in
            ["", "M", "+1M", "-1", "1.5M", "1MB", "99999999999999999999", "18446744073709551615G", "1é"]
        {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        assert!(parse_budget("1").is_err() && parse_queue_bytes("1023K").is_err());
    }

    #[test]
    fn ages_and_when_to_sync() {
        for (text, hours) in [("7d", 168), ("2w", 336), ("1d12h", 36), ("1.5d", 36), ("0s", 0), ("0", 0)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_hours(hours)), "{text}");
        }
        for bad in ["", "d", "-1d", "x", "7x", "99999999999999999999d", "1e400", "NaN"] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_fsync("never"), Ok(Fsync::Never));
        assert_eq!(parse_fsync("always"), Ok(Fsync::Always));
        assert_eq!(parse_fsync("0s"), Ok(Fsync::Always));
        assert_eq!(parse_fsync("250ms"), Ok(Fsync::Every(Duration::from_millis(250))));
        assert!(parse_fsync("").is_err() && parse_fsync("sometimes").is_err());
    }

    /// Taken for seconds, it would have removed what was to be kept for days.
    #[test]
    fn a_time_to_keep_data_needs_a_unit() {
        assert_eq!(parse_interval("7"), Err("7 of what? write `7d`, `7h`, `7m` or `7s`".to_owned()));
        assert!(parse_interval("24").is_err() && parse_interval("1.5").is_err());
    }

    #[test]
    fn whole_numbers_say_what_they_can_be() {
        let size = whole(4..=u32::MAX, MIB, "4096");
        assert_eq!(size("4"), Ok(4));
        for bad in ["4G", "1.5", "", "-1", "10k"] {
            assert_eq!(size(bad), Err("expected a whole number of MiB, such as 4096".to_owned()), "{bad}");
        }
        assert_eq!(size("0"), Err("it has to be at least 4".to_owned()));
        assert_eq!(size("99999999999"), Err("it can be 4294967295 at most".to_owned()));
    }

    #[test]
    fn a_mode_keeps_the_owner_in_and_others_from_writing() {
        for (text, mode) in [("600", 0o600), ("0o640", 0o640), ("777", 0o664), ("0", 0o600), ("0644", 0o644)]
        {
            assert_eq!(parse_mode(text), Ok(mode), "{text}");
        }
        for bad in ["", "8", "rw", "1777", "-1", "+600"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }
}
