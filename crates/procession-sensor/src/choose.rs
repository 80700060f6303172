//! The best source that works here.

use std::path::Path;

use crate::connector::ConnectorSource;
use crate::ebpf::{EbpfConfig, EbpfSource};
use crate::error::{SourceError, Unusable};
use crate::poll::PollSource;
use crate::source::{Source, SourceKind};

/// A source, and why there is none better.
pub struct Chosen {
    /// The source; what happens from now on is recorded.
    pub source: Box<dyn Source>,
    /// The better ones that do not work here.
    pub passed_over: Vec<Unusable>,
}

/// Opens the best source that works.
#[expect(clippy::needless_pass_by_value, reason = "as for `open`, which keeps it")]
pub fn open_best(config: EbpfConfig) -> Result<Chosen, SourceError> {
    let mut passed_over = Vec::new();
    for kind in [SourceKind::Ebpf, SourceKind::Connector, SourceKind::Polling] {
        match open(kind, config.clone()) {
            Ok(source) => return Ok(Chosen { source, passed_over }),
            // Who wants the programs to stay is not helped by a source that cannot do that at all.
            Err(SourceError::Ebpf(error)) if error.is_about_pins() => return Err(error.into()),
            Err(reason) => passed_over.push(Unusable { kind, reason }),
        }
    }
    Err(SourceError::NoneWorks(passed_over))
}

/// Opens this source and no other.
pub fn open(kind: SourceKind, config: EbpfConfig) -> Result<Box<dyn Source>, SourceError> {
    Ok(match kind {
        SourceKind::Ebpf => Box::new(EbpfSource::open(config)?),
        SourceKind::Connector => Box::new(ConnectorSource::open()?),
        SourceKind::Polling => Box::new(PollSource::new(PollSource::DEFAULT_INTERVAL, Path::new("/proc"))?),
    })
}
