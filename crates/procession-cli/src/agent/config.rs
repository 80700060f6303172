//! What the options mean to the agent.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use procession_agent::server::ServerAddress;
use procession_filter::{
    EventFilter, FieldFilters, FilterOptions, Redaction, parse_field_filters, parse_filters,
    parse_redaction_filters,
};
use procession_journal::Fsync;

use super::args::AgentArgs;
use super::settings::{Setting, Settings};
use crate::args::{ContainerArgs, SourceArg};
use crate::log;

/// How the agent shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentConfig {
    /// Where events come from.
    pub(crate) source: SourceArg,
    /// Kernel memory in which events wait, in bytes.
    pub(crate) ring_size: u32,
    /// The most memory for the table of processes, in bytes.
    pub(crate) table_budget: usize,
    /// What is kept on disk. `None`: nothing.
    pub(crate) journal: Option<JournalConfig>,
    /// Where the eBPF programs stay when the agent ends. `None`: they do not.
    pub(crate) pin_dir: Option<PathBuf>,
    /// Whether nothing of root's rights is given up.
    pub(crate) keeps_privileges: bool,
    /// Who is asked whose a container is.
    pub(crate) containers: ContainerArgs,
    /// Put into each event, unless it is empty.
    pub(crate) cluster_name: String,
    /// What events tell.
    pub(crate) detail: DetailConfig,
    /// Filters, as JSON objects separated by white space.
    pub(crate) redaction_filters: String,
    /// The gRPC API.
    pub(crate) server: ServerConfig,
    /// What is kept for readers.
    pub(crate) queue: QueueConfig,
    /// Prometheus.
    pub(crate) metrics: MetricsConfig,
    /// The file of events. `None`: there is none.
    pub(crate) export: Option<ExportConfig>,
    /// What is logged, and how.
    pub(crate) log: LogConfig,
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalConfig {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// The most room that it takes, in bytes.
    pub(crate) max_bytes: u64,
    /// How long it remembers. `None`: for as long as there is room.
    pub(crate) max_age: Option<Duration>,
    /// When it is forced to the disk.
    pub(crate) fsync: Fsync,
}

/// What events tell beyond the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DetailConfig {
    /// Credentials and capabilities.
    pub(crate) credentials: bool,
    /// Namespaces.
    pub(crate) namespaces: bool,
    /// The chain of parents.
    pub(crate) ancestors: bool,
}

/// The gRPC API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerConfig {
    /// Where it is served: `unix:///PATH`, `HOST` or `HOST:PORT`. None: nowhere.
    pub(crate) addresses: Vec<String>,
    /// `None`: in clear.
    pub(crate) tls: Option<TlsConfig>,
    /// The most clients at a time.
    pub(crate) max_connections: usize,
    /// Where health checks are served alone too.
    pub(crate) health_address: Option<String>,
}

/// How the server shows who it is, and asks who its clients are. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsConfig {
    /// Its certificate.
    pub(crate) certificate: PathBuf,
    /// The key to that.
    pub(crate) key: PathBuf,
    /// Who may vouch for clients. None: clients are not asked.
    pub(crate) client_authorities: Vec<PathBuf>,
    /// Whether clients without a certificate are refused.
    pub(crate) requires_client_certificate: bool,
}

/// What is kept for readers of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueConfig {
    /// Events, at least one.
    pub(crate) events: usize,
    /// Their memory in bytes.
    pub(crate) bytes: usize,
}

/// Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` are: `HOST:PORT`. `None`: nowhere.
    pub(crate) address: Option<String>,
    /// Labels of metrics of events: of `namespace`, `workload`, `pod`, `binary`.
    pub(crate) labels: Vec<String>,
    /// Whether events are counted by what they are and whose.
    pub(crate) counts_events: bool,
}

/// The export of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportConfig {
    /// Where to.
    pub(crate) destination: Destination,
    /// How much of it.
    pub(crate) rate_limit: RateLimit,
    /// Filters, as JSON objects separated by white space. Empty: all events pass.
    pub(crate) allowlist: String,
    /// In the same form.
    pub(crate) denylist: String,
    /// In the same form.
    pub(crate) field_filters: String,
}

/// Where exported events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// A file.
    File(FileConfig),
}

/// A file that is followed by another when it is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileConfig {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// When it is full, in bytes.
    pub(crate) max_bytes: u64,
    /// After which time it is replaced anyway.
    pub(crate) rotation_interval: Option<Duration>,
    /// Full files that are kept.
    pub(crate) max_backups: usize,
    /// Whether those are compressed.
    pub(crate) compresses: bool,
    /// Its permissions.
    pub(crate) mode: u32,
}

/// How many events are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateLimit {
    /// All.
    Unlimited,
    /// So many a minute.
    PerMinute(NonZeroU32),
    /// None.
    Nothing,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// How much.
    pub(crate) level: log::Level,
    /// In which form.
    pub(crate) format: log::Format,
}

impl AgentConfig {
    pub(super) fn new(args: AgentArgs) -> Self {
        let (export, journal) = (export(&args), journal(&args));
        Self {
            source: args.source,
            ring_size: args.ring_size,
            table_budget: args.table_budget,
            pin_dir: Some(args.pin_dir.into()).filter(|_| journal.is_some() && !args.no_pin),
            journal,
            keeps_privileges: args.keep_privileges,
            containers: args.containers,
            cluster_name: args.cluster_name,
            detail: DetailConfig {
                credentials: args.enable_process_cred,
                namespaces: args.enable_process_ns,
                ancestors: args.enable_ancestors,
            },
            redaction_filters: args.redaction_filters,
            server: ServerConfig {
                tls: tls(
                    args.server_tls_cert_file,
                    args.server_tls_key_file,
                    args.server_tls_client_ca_files,
                    args.server_tls_require_client_cert,
                ),
                addresses: without_empty(args.server_address),
                max_connections: size(args.server_max_connections),
                health_address: some(args.health_server_address),
            },
            queue: QueueConfig { events: size(args.event_queue_size), bytes: args.event_queue_bytes },
            metrics: MetricsConfig {
                address: some(args.metrics_server),
                labels: without_empty(args.metrics_label_filter),
                counts_events: args.enable_event_metrics,
            },
            export,
            log: LogConfig { level: args.log_level, format: args.log_format },
        }
    }
}

fn journal(args: &AgentArgs) -> Option<JournalConfig> {
    (!args.journal_dir.is_empty()).then(|| JournalConfig {
        path: args.journal_dir.clone().into(),
        max_bytes: u64::from(args.journal_max_size_mb) << 20,
        max_age: Some(args.journal_max_age).filter(|age| !age.is_zero()),
        fsync: args.journal_fsync,
    })
}

fn export(args: &AgentArgs) -> Option<ExportConfig> {
    let destination = match args.export_filename.as_str() {
        "" => return None,
        "-" => Destination::Stdout,
        path => Destination::File(FileConfig {
            path: path.into(),
            max_bytes: u64::from(args.export_file_max_size_mb) << 20,
            rotation_interval: Some(args.export_file_rotation_interval).filter(|time| !time.is_zero()),
            max_backups: size(args.export_file_max_backups),
            compresses: args.export_file_compress,
            mode: args.export_file_perm,
        }),
    };
    Some(ExportConfig {
        destination,
        rate_limit: match u32::try_from(args.export_rate_limit).map(NonZeroU32::new) {
            Ok(Some(events)) => RateLimit::PerMinute(events),
            Ok(None) => RateLimit::Nothing,
            Err(_) => RateLimit::Unlimited,
        },
        allowlist: args.export_allowlist.clone(),
        denylist: args.export_denylist.clone(),
        field_filters: args.field_filters.clone(),
    })
}

fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_authorities: Vec<PathBuf>,
    requires_client_certificate: bool,
) -> Option<TlsConfig> {
    let (certificate, key) = certificate.zip(key)?;
    Some(TlsConfig { certificate, key, client_authorities, requires_client_certificate })
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn without_empty(texts: Vec<String>) -> Vec<String> {
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Texts whose form clap does not know: the option, and what is wrong.
pub(super) fn unreadable(args: &AgentArgs) -> Vec<(&'static str, String)> {
    let options = FilterOptions { credentials: args.enable_process_cred, ancestors: args.enable_ancestors };
    let addresses = args.server_address.iter().map(|address| ("server-address", address));
    let addresses = addresses.chain([("health-server-address", &args.health_server_address)]);
    let checks = [
        ("redaction-filters", redaction(&args.redaction_filters)),
        ("export-allowlist", event_filters(&args.export_allowlist, "", options)),
        ("export-denylist", event_filters("", &args.export_denylist, options)),
        ("field-filters", field_filters(&args.field_filters)),
    ];
    let addresses = addresses.filter(|(_, address)| !address.is_empty());
    let wrong_addresses = addresses
        .filter_map(|(option, address)| Some((option, ServerAddress::from_str(address).err()?.to_string())));
    let metrics = wrong_address(&args.metrics_server).map(|reason| ("metrics-server", reason));
    let wrong =
        checks.into_iter().filter_map(|(option, check)| Some((option, format!("{:#}", check.err()?))));
    wrong.chain(wrong_addresses).chain(metrics).collect()
}

/// What is wrong with an address of which the port has no default.
fn wrong_address(address: &str) -> Option<String> {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    let is_wrong = !address.is_empty() && !matches!(port, Some(Ok(_)));
    is_wrong
        .then(|| format!("`{address}` is no address to listen on: write HOST:PORT, such as localhost:2112"))
}

fn redaction(text: &str) -> anyhow::Result<()> {
    Redaction::new(&parse_redaction_filters(text)?)?;
    Ok(())
}

fn event_filters(allow: &str, deny: &str, options: FilterOptions) -> anyhow::Result<()> {
    EventFilter::new(&parse_filters(allow)?, &parse_filters(deny)?, options)?;
    Ok(())
}

fn field_filters(text: &str) -> anyhow::Result<()> {
    FieldFilters::new(&parse_field_filters(text)?)?;
    Ok(())
}

/// Options that are good by themselves, but make no sense together: each as a sentence that says where
/// they come from and what to do.
pub(super) fn contradictions(args: &AgentArgs, settings: &Settings, defaults: &Settings) -> Vec<String> {
    let name = |option: &str| {
        let origin = settings.get(option).map(|setting| setting.origin.to_string());
        format!("`{option}` ({})", origin.unwrap_or_default())
    };
    let (has_cert, has_key) = (args.server_tls_cert_file.is_some(), args.server_tls_key_file.is_some());
    let mut found = Vec::new();
    for (this, has_this, other, has_other) in [
        ("server-tls-cert-file", has_cert, "server-tls-key-file", has_key),
        ("server-tls-key-file", has_key, "server-tls-cert-file", has_cert),
    ] {
        if has_this && !has_other {
            found.push(format!("{} needs `{other}` too: set both, or none for no TLS", name(this)));
        }
    }
    let has_ca = !args.server_tls_client_ca_files.is_empty();
    if has_ca && !has_cert && !has_key {
        found.push(format!(
            "{} needs TLS: set `server-tls-cert-file` and `server-tls-key-file`",
            name("server-tls-client-ca-files")
        ));
    }
    if args.server_tls_require_client_cert && !has_ca {
        found.push(format!(
            "{} needs `server-tls-client-ca-files`, the certificates of those who vouch for clients",
            name("server-tls-require-client-cert")
        ));
    }
    if args.containers.no_runtimes && !args.containers.runtime_socket.is_empty() {
        found.push(format!(
            "{} and {} contradict each other: remove one",
            name("runtime-socket"),
            name("no-runtimes")
        ));
    }
    if args.no_pin && settings.get("pin-dir").is_some_and(Setting::is_given) {
        found.push(format!("{} and {} contradict each other: remove one", name("pin-dir"), name("no-pin")));
    }
    found.extend(
        pointless_export(args, settings, defaults).map(|(option, why)| format!("{} {why}", name(&option))),
    );
    found
}

/// What is said about an export that does not happen. Not where it was turned off on purpose: then the
/// rest may stay as it is.
fn pointless_export<'s>(
    args: &AgentArgs,
    settings: &'s Settings,
    defaults: &'s Settings,
) -> impl Iterator<Item = (String, &'static str)> + 's {
    let is_file_unnamed = settings.get("export-filename").is_none_or(|setting| !setting.is_given());
    let is_stdout = args.export_filename == "-";
    settings.given().filter_map(move |setting| {
        let name = setting.name.as_str();
        let is_usual = defaults.get(name).is_some_and(|usual| usual.values == setting.values);
        let why = if is_file_unnamed && name.starts_with("export-") {
            "needs an export: set `export-filename` to a file, to `-`, or to an empty name for no export"
        } else if is_stdout && name.starts_with("export-file-") && !is_usual {
            "is about a file, but `export-filename` is `-`, standard output: remove it"
        } else {
            return None;
        };
        Some((name.to_owned(), why))
    })
}
