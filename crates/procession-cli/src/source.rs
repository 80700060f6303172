//! Where events come from: what was asked for, or the best that works.

use anyhow::Context as _;
use procession_sensor::{Chosen, EbpfConfig, Source, SourceKind, Unusable, open, open_best};

use crate::args::SourceArg;
use crate::summary;

/// Opens it, and says on standard error what is missing with it.
pub(crate) fn open_told(wanted: SourceArg, ring_bytes: u32) -> anyhow::Result<Box<dyn Source>> {
    choose(wanted, ring_bytes, summary::source)
}

/// The same, in the log.
pub(crate) fn open_logged(wanted: SourceArg, ring_bytes: u32) -> anyhow::Result<Box<dyn Source>> {
    choose(wanted, ring_bytes, |kind, passed_over| {
        for unusable in passed_over {
            tracing::warn!("cannot use {unusable}");
        }
        if kind == SourceKind::Ebpf {
            tracing::info!("observing with {kind}");
        } else {
            tracing::warn!("observing with {kind}: {}", kind.shortcomings());
        }
    })
}

fn choose(
    wanted: SourceArg,
    ring_bytes: u32,
    tell: impl FnOnce(SourceKind, &[Unusable]),
) -> anyhow::Result<Box<dyn Source>> {
    let config = EbpfConfig { ring_bytes, ..EbpfConfig::default() };
    if let Some(kind) = wanted.only() {
        let source = open(kind, config).with_context(|| format!("cannot watch with {kind}"))?;
        tell(kind, &[]);
        return Ok(source);
    }
    let Chosen { source, passed_over } = open_best(config)?;
    tell(source.kind(), &passed_over);
    Ok(source)
}
