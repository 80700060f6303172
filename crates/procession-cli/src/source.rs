//! Where events come from: what was asked for, or the best that works.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use procession_agent::holder_of_lock;
use procession_sensor::{
    Chosen, EbpfConfig, EbpfError, Source, SourceError, SourceKind, Unusable, open, open_best,
};

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
    refuse_another_clock()?;
    choose(wanted, EbpfConfig { ring_bytes, pin: None }, &summary::source)
}

/// The same, in the log.
pub(crate) fn open_logged(
    wanted: SourceArg,
    ring_bytes: u32,
    pin: Option<Pin>,
) -> anyhow::Result<Box<dyn Source>> {
    refuse_another_clock()?;
    let config = |pin| EbpfConfig { ring_bytes, pin };
    let Some(Pin { directory, is_required }) = pin else { return choose(wanted, config(None), &log) };
    match open_pinned(wanted, config(Some(directory.clone()))) {
        // Where they do not work without pins either, it is not the pins that are in the way.
        Some(Err(error)) if is_required && open(SourceKind::Ebpf, config(None)).is_ok() => {
            let holder = holder_of_pins(&error, &directory);
            bail!("cannot pin the eBPF programs: {:#}{holder}", anyhow::Error::from(error));
        }
        Some(Err(error)) => {
            let source = choose(wanted, config(None), &log)?;
            // Where none of them work, that was said, and these are none that could stay.
            if source.kind() == SourceKind::Ebpf {
                let (place, holder) = (directory.display(), holder_of_pins(&error, &directory));
                let error = anyhow::Error::from(error);
                tracing::warn!(
                    "the eBPF programs end with the agent, because they cannot be kept in {place}: {error:#}{holder}"
                );
            }
            Ok(source)
        }
        Some(Ok(source)) => {
            log(source.kind(), &[]);
            Ok(source)
        }
        None => choose(wanted, config(None), &log),
    }
}

fn holder_of_pins(error: &SourceError, directory: &Path) -> String {
    match error {
        SourceError::Ebpf(EbpfError::InUse { .. }) => holder_of_lock(directory),
        _ => String::new(),
    }
}

/// The kernel tells times by its own clock since boot. Where that of this process is another, all times would be
/// wrong, and so would be the names of processes.
fn refuse_another_clock() -> anyhow::Result<()> {
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    match boottime_offset(&offsets) {
        Some(seconds) => bail!(
            "this is a time namespace whose clock since boot differs from the kernel's by {seconds} s, so all times \
             would be wrong: start it in the host's time namespace"
        ),
        None => Ok(()),
    }
}

/// Seconds, in lines such as `boottime  86400  0`. `None`: it is the same clock.
pub(crate) fn boottime_offset(offsets: &str) -> Option<i64> {
    let mut words = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_whitespace();
    let (seconds, nanos): (i64, u32) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (seconds != 0 || nanos != 0).then_some(seconds)
}

/// eBPF programs that stay. `None`: there are none, so what there is to say is said without.
fn open_pinned(wanted: SourceArg, config: EbpfConfig) -> Option<Result<Box<dyn Source>, SourceError>> {
    let is_meant = matches!(wanted.only(), None | Some(SourceKind::Ebpf));
    if !is_meant {
        return None;
    }
    match open(SourceKind::Ebpf, config) {
        Ok(source) => Some(Ok(source)),
        // Without pins it may be the same; then that is said.
        Err(SourceError::NotPermitted { .. } | SourceError::Unsupported { .. }) => None,
        Err(error) => Some(Err(error)),
    }
}

fn log(kind: SourceKind, passed_over: &[Unusable]) {
    for unusable in passed_over {
        tracing::warn!("cannot use {unusable}{}", hint(unusable));
    }
    if kind == SourceKind::Ebpf {
        tracing::info!("observing with {kind}");
    } else {
        tracing::warn!("observing with {kind}: {}", kind.shortcomings());
    }
}

/// A filter of system calls refuses as a right that is missing does, to who has all of them too.
fn hint(unusable: &Unusable) -> &'static str {
    let is_refused = matches!(
        unusable.reason,
        SourceError::NotPermitted { .. } | SourceError::Ebpf(EbpfError::NotPermitted { .. })
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_filtered =
        status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|it| it.trim() == "2"));
    if is_refused && is_filtered {
        "; or the seccomp filter that this process is under has to allow it"
    } else {
        ""
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

#[cfg(test)]
mod tests {
    use super::boottime_offset;

    #[test]
    fn only_a_clock_that_differs_counts() {
        assert_eq!(
            boottime_offset("monotonic           0         0\nboottime            0         0\n"),
            None
        );
        assert_eq!(boottime_offset("monotonic 5 0\nboottime 1000000 0\n"), Some(1_000_000));
        assert_eq!(boottime_offset("monotonic 0 0\nboottime -1 999999999\n"), Some(-1));
        assert_eq!(boottime_offset(""), None);
    }
}
