//! Where events come from: what was asked for, or the best that works.

use std::path::PathBuf;

use anyhow::Context as _;
use procession_sensor::{Chosen, EbpfConfig, Source, SourceError, SourceKind, Unusable, open, open_best};

use crate::args::SourceArg;
use crate::summary;

/// Where eBPF programs stay when this process ends.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) directory: PathBuf,
    /// Whether it is an error that they cannot.
    pub(crate) is_required: bool,
}

/// Opens it, and says on standard error what is missing with it.
pub(crate) fn open_told(wanted: SourceArg, ring_bytes: u32) -> anyhow::Result<Box<dyn Source>> {
    choose(wanted, EbpfConfig { ring_bytes, pin: None }, &summary::source)
}

/// The same, in the log.
pub(crate) fn open_logged(
    wanted: SourceArg,
    ring_bytes: u32,
    pin: Option<Pin>,
) -> anyhow::Result<Box<dyn Source>> {
    let config = |pin| EbpfConfig { ring_bytes, pin };
    let Some(Pin { directory, is_required }) = pin else { return choose(wanted, config(None), &log) };
    match open_pinned(wanted, config(Some(directory.clone()))) {
        Some(Err(error)) if is_required => Err(error).context("cannot pin the eBPF programs"),
        Some(Err(error)) => {
            let place = directory.display();
            tracing::warn!(
                "the eBPF programs end with the agent, because they cannot be kept in {place}: {error:#}"
            );
            choose(wanted, config(None), &log)
        }
        Some(Ok(source)) => {
            log(source.kind(), &[]);
            Ok(source)
        }
        None => choose(wanted, config(None), &log),
    }
}

/// eBPF programs that stay. `None`: there are none, so what there is to say is said without.
fn open_pinned(wanted: SourceArg, config: EbpfConfig) -> Option<anyhow::Result<Box<dyn Source>>> {
    let is_meant = matches!(wanted.only(), None | Some(SourceKind::Ebpf));
    if !is_meant {
        return None;
    }
    match open(SourceKind::Ebpf, config) {
        Ok(source) => Some(Ok(source)),
        // Without pins it may be the same; then that is said.
        Err(SourceError::NotPermitted { .. } | SourceError::Unsupported { .. }) => None,
        Err(error) => Some(Err(error.into())),
    }
}

fn log(kind: SourceKind, passed_over: &[Unusable]) {
    for unusable in passed_over {
        tracing::warn!("cannot use {unusable}");
    }
    if kind == SourceKind::Ebpf {
        tracing::info!("observing with {kind}");
    } else {
        tracing::warn!("observing with {kind}: {}", kind.shortcomings());
    }
}

fn choose(
    wanted: SourceArg,
    config: EbpfConfig,
    tell: &dyn Fn(SourceKind, &[Unusable]),
) -> anyhow::Result<Box<dyn Source>> {
    if let Some(kind) = wanted.only() {
        let source = open(kind, config).with_context(|| format!("cannot watch with {kind}"))?;
        tell(kind, &[]);
        return Ok(source);
    }
    let Chosen { source, passed_over } = open_best(config)?;
    tell(source.kind(), &passed_over);
    Ok(source)
}
