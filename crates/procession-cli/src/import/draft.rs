//! The events of an import before it is known what comes before them: a journal in a file without a name.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use procession::{BootId, Event, TableConfig, WallClock};
use procession_journal::{BlockBuilder, Reader, Recording, Writer};

use crate::target::{directory_of, no_place};

/// Events, in the order in which they were told.
pub(super) struct Draft {
    writer: Writer<BufWriter<File>>,
    builder: BlockBuilder,
}

impl Draft {
    /// Beside the file that is to be made, where there is room for it.
    pub(super) fn new(beside: &Path) -> anyhow::Result<Self> {
        let file = tempfile::tempfile_in(directory_of(beside));
        Ok(Self::within(file.map_err(|error| no_place(beside, &error))?))
    }

    /// In an empty file.
    pub(super) fn within(file: File) -> Self {
        Self { writer: Writer::new(BufWriter::new(file)), builder: BlockBuilder::new(0) }
    }

    pub(super) fn push(&mut self, event: &Event<'_>) {
        self.builder.push(event);
    }

    /// How many there are.
    pub(super) fn events(&self) -> u64 {
        self.builder.sequence()
    }

    pub(super) fn write_if_full(&mut self, clock: WallClock) -> anyhow::Result<()> {
        if self.builder.bytes() < BlockBuilder::FULL { Ok(()) } else { self.write(clock) }
    }

    fn write(&mut self, clock: WallClock) -> anyhow::Result<()> {
        let block = self.builder.take(&recording(clock), &[]);
        self.writer.write(&block).context("cannot write what was read")?;
        Ok(())
    }

    /// To read all of them.
    pub(super) fn finish(mut self, clock: WallClock) -> anyhow::Result<Reader<File>> {
        self.write(clock)?;
        let writer = self.writer.get_mut();
        let file = writer.flush().and_then(|()| writer.get_ref().try_clone());
        file.and_then(Reader::new).context("cannot read what was written")
    }
}

/// Nothing of it is known yet but how the clocks stood.
fn recording(clock: WallClock) -> Recording {
    Recording {
        node_name: String::new(),
        boot_id: BootId::UNKNOWN,
        clock,
        source: String::new(),
        root: None,
        host_namespaces: None,
        table: TableConfig::default(),
    }
}
