//! Where lines go.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Instant;

use super::counts::Counters;
use super::file::ExportFile;
use super::outbox::{Outbox, Tail};
use super::{ExportSink, Rotation};

/// Where lines go.
#[derive(Debug)]
pub(super) enum Sink {
    File(Box<ExportFile>),
    /// Not buffered, unlike what the standard library writes there.
    Stdout(Tail<File>, Arc<Counters>),
}

impl Sink {
    pub(super) fn open(sink: ExportSink, counters: Arc<Counters>) -> io::Result<Self> {
        match sink {
            ExportSink::File(config) => {
                let path = config.path.display().to_string();
                let file = ExportFile::open(config, counters);
                let file = file.map_err(|error| {
                    let advice = super::trouble::advice(error.kind());
                    io::Error::new(error.kind(), format!("cannot export to {path}: {error}: {advice}"))
                });
                Ok(Self::File(Box::new(file?)))
            }
            ExportSink::Stdout => {
                let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                Ok(Self::Stdout(Tail::of_stream(stdout), counters))
            }
        }
    }

    /// Its name, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(file) => file.path().display().to_string(),
            Self::Stdout(..) => "standard output".to_owned(),
        }
    }

    pub(super) fn reopen(&mut self) {
        if let Self::File(file) = self {
            file.reopen();
        }
    }

    pub(super) fn set_rotation(&mut self, rotation: Rotation) {
        if let Self::File(file) = self {
            file.set_rotation(rotation);
        }
    }

    /// Does what is due, and writes all of `outbox`. After an error the rest is still there.
    pub(super) fn write(&mut self, outbox: &mut Outbox) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.upkeep()?;
                file.write(outbox)
            }
            Self::Stdout(tail, counters) => {
                let bytes = outbox.len();
                tail.append(outbox, bytes, counters)
            }
        }
    }

    pub(super) fn finish(self, deadline: Instant) -> io::Result<()> {
        match self {
            Self::File(file) => file.finish(deadline),
            Self::Stdout(..) => Ok(()),
        }
    }
}
