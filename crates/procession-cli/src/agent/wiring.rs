//! From what the options mean to the agent that they describe.

use std::str::FromStr as _;
use std::sync::Arc;

use anyhow::Context as _;
use procession_agent::metrics::{EventMetricsConfig, LabelFilter};
use procession_agent::server::{ServerAddress, ServerConfig, TlsConfig};
use procession_agent::web::WebConfig;
use procession_agent::{
    Agent, AgentConfig, Detail, ExportConfig, ExportFilter, ExportSink, FileConfig, Form, HoldConfig,
    JournalConfig, JournalTarget, LogConfig, LogLevel, OpenJournal, Rotation, envelope,
};
use procession_filter::{
    EventFilter, FieldFilters, FilterOptions, Redaction, parse_field_filters, parse_filters,
    parse_redaction_filters,
};
use procession_journal::DirectoryConfig;
use tracing::Level;

use super::config::{self, Destination, RateLimit};
use super::layers::STATE_DIRECTORY;
use super::memory;
use super::pins::{self, Pins};
use super::privileges::Privileges;
use super::settings::{Origin, Setting, Settings};
use crate::source::Pin;
use crate::{containers, display, log, source};

/// Starts the agent that `config` describes, with the pins that it has. `settings` are shown to clients.
pub(super) fn start(
    config: &config::AgentConfig,
    settings: &Settings,
    log: &log::Control,
    privileges: Privileges,
) -> anyhow::Result<(Agent, Pins)> {
    memory::warn_if_short(config);
    let config_of_agent = agent(config, settings, log)?;
    // Before the source: who else writes the journal reads the same ring.
    let is_pin_required = settings.get("pin-dir").is_some_and(Setting::is_given);
    let pin = config.pin_dir.clone().filter(|_| config_of_agent.journal.is_some());
    let pin = pin.map(|directory| Pin { directory, is_required: is_pin_required });
    let source = source::open_logged(config.source, config.ring_size, pin)?;
    // It keeps other agents off them until it is known whether they stay.
    let fresh = source.fresh_pins();
    // There may be some that are not its own.
    let own_pins = config.pin_dir.as_deref().filter(|_| !source.bookmark().is_empty());
    // Before the inventory, which starts threads.
    privileges.settle();
    if let Some(unseen) = source.unseen_changes() {
        tracing::warn!("{unseen}");
    }
    let started = containers::inventory(&config.containers)
        .and_then(|inventory| Ok(Agent::start(source, Box::new(inventory), config_of_agent)?));
    if let (Err(_), Some(fresh)) = (&started, fresh) {
        pins::remove(fresh);
    }
    Ok((started?, Pins::new(own_pins)))
}

/// What an agent can do otherwise while it runs.
pub(super) fn reconfigure(agent: &Agent, config: &config::AgentConfig) -> anyhow::Result<()> {
    // All of it is compiled before any of it changes.
    let redaction = redaction(&config.redaction_filters)?;
    let export = config.export.as_ref().map(|export| {
        let options = filter_options(config);
        anyhow::Ok((filter(export, options)?, form(export)?, rate_limit(export.rate_limit)))
    });
    let export = export.transpose()?;
    agent.node().presenter().set_redaction(redaction);
    agent.events().set_labels(labels(&config.metrics));
    if let (Some(running), Some((filter, form, rate_limit))) = (agent.export(), export) {
        running.set_filter(filter);
        running.set_form(form);
        running.set_rate_limit(rate_limit);
    }
    Ok(())
}

fn agent(
    config: &config::AgentConfig,
    settings: &Settings,
    log: &log::Control,
) -> anyhow::Result<AgentConfig> {
    let node_name = display::node_name(&config.containers);
    let journal = config.journal.as_ref().map(|of| journal(of, settings, &node_name));
    let config::DetailConfig { credentials, namespaces, ancestors } = config.detail;
    let config::QueueConfig { events, bytes } = config.queue;
    Ok(AgentConfig {
        cluster_name: config.cluster_name.clone(),
        detail: Detail { credentials, namespaces, ancestors },
        table_budget: config.table_budget,
        hold: HoldConfig { wait: config.containers.pod_wait, ..HoldConfig::default() },
        log: LogConfig { events, bytes },
        redaction: redaction(&config.redaction_filters)?,
        server: server(config)?,
        web: config.metrics.address.clone().map(|address| WebConfig { address }),
        event_metrics: EventMetricsConfig {
            is_enabled: config.metrics.counts_events,
            labels: labels(&config.metrics),
            ..EventMetricsConfig::default()
        },
        export: config.export.as_ref().map(|of| export(of, config, &node_name)).transpose()?,
        journal: journal.transpose()?.flatten(),
        log_level: Arc::new(log.clone()),
        settings: settings.0.iter().map(|setting| (setting.name.clone(), setting.values.join(","))).collect(),
        ..AgentConfig::new(node_name)
    })
}

fn server(config: &config::AgentConfig) -> anyhow::Result<ServerConfig> {
    let config::ServerConfig { addresses, tls, max_connections, health_address } = &config.server;
    let addresses = addresses.iter().map(|address| ServerAddress::from_str(address));
    let health_address = health_address.as_deref().map(ServerAddress::from_str);
    Ok(ServerConfig {
        addresses: addresses.collect::<Result<_, _>>()?,
        health_address: health_address.transpose()?,
        tls: tls.as_ref().map(|tls| TlsConfig {
            cert: tls.certificate.clone(),
            key: tls.key.clone(),
            client_ca: tls.client_authorities.clone(),
            require_client_cert: tls.requires_client_certificate,
        }),
        max_connections: *max_connections,
        filters: filter_options(config),
        ..ServerConfig::default()
    })
}

/// `None`: it cannot be had, and nobody asked for it: only the service manager offered a place.
fn journal(
    config: &config::JournalConfig,
    settings: &Settings,
    node_name: &str,
) -> anyhow::Result<Option<OpenJournal>> {
    let config::JournalConfig { path, max_bytes, max_age, fsync } = config.clone();
    let directory = DirectoryConfig { max_bytes, max_age, fsync, ..DirectoryConfig::new(&path) };
    let target = JournalTarget::Directory(directory);
    let opened = JournalConfig::new(target, node_name).and_then(JournalConfig::open);
    let origin = settings.get("journal-dir").map(|setting| &setting.origin);
    match opened {
        Ok(journal) => Ok(Some(journal)),
        Err(error) if origin == Some(&Origin::Environment(STATE_DIRECTORY.into())) => {
            tracing::warn!(%error, "no journal is kept: what is known now is not known after a restart");
            Ok(None)
        }
        Err(error) => Err(error).context("cannot keep a journal; an empty `journal-dir` does without"),
    }
}

fn export(
    config: &config::ExportConfig,
    whole: &config::AgentConfig,
    node_name: &str,
) -> anyhow::Result<ExportConfig> {
    let sink = match &config.destination {
        Destination::Stdout => ExportSink::Stdout,
        Destination::File(file) => ExportSink::File(FileConfig {
            path: file.path.clone(),
            rotation: Rotation {
                max_size_bytes: file.max_bytes,
                interval: file.rotation_interval,
                max_backups: file.max_backups,
            },
            compress: file.compresses,
            mode: file.mode,
        }),
    };
    Ok(ExportConfig {
        sink,
        rate_limit: rate_limit(config.rate_limit),
        filter: filter(config, filter_options(whole))?,
        form: form(config)?,
        envelope: envelope(node_name, &whole.cluster_name),
    })
}

fn rate_limit(limit: RateLimit) -> Option<std::num::NonZeroU32> {
    match limit {
        RateLimit::PerMinute(events) => Some(events),
        RateLimit::Unlimited | RateLimit::Nothing => None,
    }
}

fn filter_options(config: &config::AgentConfig) -> FilterOptions {
    FilterOptions { credentials: config.detail.credentials, ancestors: config.detail.ancestors }
}

fn filter(config: &config::ExportConfig, options: FilterOptions) -> anyhow::Result<ExportFilter> {
    let allow = parse_filters(&config.allowlist).context("in `export-allowlist`")?;
    let deny = parse_filters(&config.denylist).context("in `export-denylist`")?;
    // Which of the lists it is, the error says.
    let mut filter = EventFilter::new(&allow, &deny, options).context("in the filters of the export")?;
    if config.rate_limit == RateLimit::Nothing {
        // Not an export less: the limit may be raised while the agent runs.
        return Ok(Box::new(|_| false));
    }
    Ok(Box::new(move |event| filter.admits(event)))
}

fn form(config: &config::ExportConfig) -> anyhow::Result<Form> {
    let filters = parse_field_filters(&config.field_filters).context("in `field-filters`")?;
    Ok(Form::new(FieldFilters::new(&filters).context("in `field-filters`")?))
}

fn redaction(text: &str) -> anyhow::Result<Redaction> {
    let filters = parse_redaction_filters(text).context("in `redaction-filters`")?;
    let redaction = Redaction::new(&filters).context("in `redaction-filters`")?;
    for warning in redaction.warnings() {
        tracing::warn!("in `redaction-filters`: {warning}");
    }
    Ok(redaction)
}

fn labels(config: &config::MetricsConfig) -> LabelFilter {
    let labels = LabelFilter::from_str(&config.labels.join(","));
    labels.unwrap_or_else(|never| match never {})
}

impl LogLevel for log::Control {
    fn get(&self) -> Level {
        self.level().and_then(|level| level.filter().into_level()).unwrap_or(Level::ERROR)
    }

    fn set(&self, level: Level) -> Result<(), String> {
        self.set_level(level.into());
        Ok(())
    }
}
