//! The second pass: the events of an import in their order, with all that came before them.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use procession::{BootId, Event, Table, TableConfig, WallClock};
use procession_journal::{BlockBuilder, Content, RawBlock, Reader, Recording, Writer};
use tempfile::NamedTempFile;

use super::draft::Draft;
use super::translate::{Early, Whole, tell_early};
use crate::target::{directory_of, no_place};

/// Events between two checkpoints: who asks for a moment waits no longer than it takes to fold as many.
const CHECKPOINT_EVERY: u64 = 200_000;

/// Where events come from, for a person.
const SOURCE: &str = "import";

/// What a journal has that was made.
pub(super) struct Composed {
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// Processes that run at its end.
    pub(super) live: usize,
}

/// Makes the journal `path`. Until it is whole there is none, or the one that was there before.
pub(super) fn compose(draft: Draft, whole: &Whole, path: &Path, is_forced: bool) -> anyhow::Result<Composed> {
    let cannot = || format!("cannot write {}", path.display());
    let events = draft.finish(whole.clock)?;
    let file = NamedTempFile::new_in(directory_of(path)).map_err(|error| no_place(path, &error))?;
    let (events, live) = fill(file.as_file(), events, whole).with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    let named = if is_forced { file.persist(path) } else { file.persist_noclobber(path) };
    named.with_context(cannot)?;
    let bytes = fs::metadata(path).with_context(cannot)?.len();
    Ok(Composed { events, bytes, live })
}

/// Writes the journal: its events, and the processes that run at its end.
pub(super) fn fill(file: &File, mut events: Reader<File>, whole: &Whole) -> anyhow::Result<(u64, usize)> {
    let writer = Writer::new(BufWriter::new(file.try_clone()?));
    let mut composer = Composer::new(writer, whole);
    composer.all(&mut events, whole)?;
    composer.close()
}

struct Composer {
    writer: Writer<BufWriter<File>>,
    builder: BlockBuilder,
    recording: Recording,
    table: Table,
    /// Events before the last checkpoint.
    checkpoint: u64,
}

impl Composer {
    fn new(writer: Writer<BufWriter<File>>, whole: &Whole) -> Self {
        let table = TableConfig::default();
        let recording = Recording {
            node_name: whole.node.clone(),
            boot_id: BootId::UNKNOWN,
            clock: WallClock::new(whole.first, whole.clock.at(whole.first)),
            source: SOURCE.to_owned(),
            root: None,
            host_namespaces: whole.host,
            table,
        };
        let builder = BlockBuilder::new(0);
        Self { writer, builder, recording, table: Table::new(table), checkpoint: 0 }
    }

    fn all(&mut self, events: &mut Reader<File>, whole: &Whole) -> anyhow::Result<()> {
        self.writer.write(&RawBlock::head(&self.recording))?;
        if !whole.containers.is_empty() {
            for block in RawBlock::names(&self.recording, &whole.containers) {
                self.writer.write(&block)?;
            }
        }
        let was_there = whole.early.partition_point(|early| early.start() <= whole.first);
        let (there, later) = whole.early.split_at(was_there);
        for early in there {
            tell_early(early, whole.first, &mut |event| self.push(event));
            self.write_if_full()?;
        }
        self.merge(events, later, whole)
    }

    /// Tells the events, and before each what began before it.
    fn merge(&mut self, events: &mut Reader<File>, later: &[Early], whole: &Whole) -> anyhow::Result<()> {
        let mut later = later.iter().peekable();
        while let Some(block) = events.next()? {
            let Content::Events(events) = &block.content else { continue };
            if let Some(recording) = &block.recording {
                self.recording.clock = recording.clock;
            }
            let mut written = Ok(());
            events.each(&mut |event| {
                while let Some(early) = later.next_if(|early| early.start() <= event.time) {
                    tell_early(early, whole.first, &mut |event| self.push(event));
                }
                self.push(event);
                if written.is_ok() {
                    written = self.write_if_full();
                }
            });
            written?;
        }
        for early in later {
            tell_early(early, whole.first, &mut |event| self.push(event));
        }
        Ok(())
    }

    fn push(&mut self, event: &Event<'_>) {
        self.builder.push(event);
        let _ = self.table.apply(event);
    }

    fn write_if_full(&mut self) -> anyhow::Result<()> {
        if self.builder.bytes() < BlockBuilder::FULL {
            return Ok(());
        }
        self.write()?;
        let sequence = self.builder.sequence();
        if sequence - self.checkpoint < CHECKPOINT_EVERY {
            return Ok(());
        }
        self.checkpoint = sequence;
        for block in RawBlock::checkpoint(&self.recording, &self.table.checkpoint(), sequence, &[]) {
            self.writer.write(&block)?;
        }
        Ok(())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        // A block is made when its last event has happened.
        let now = self.table.now();
        self.recording.clock = WallClock::new(now, self.recording.clock.at(now));
        let block = self.builder.take(&self.recording, &[]);
        self.writer.write(&block)?;
        Ok(())
    }

    /// The events that were written, and the processes that run.
    fn close(mut self) -> anyhow::Result<(u64, usize)> {
        self.write()?;
        let sequence = self.builder.sequence();
        let close = RawBlock::close(&self.recording, self.table.ledger(), sequence);
        self.writer.write(&close)?;
        self.writer.get_mut().flush()?;
        Ok((sequence, self.table.live()))
    }
}
