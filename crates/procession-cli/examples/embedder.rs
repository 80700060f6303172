//! A program of one's own around the table: sees programs start, says in which container and who led to them,
//! writes a journal, and saves its state. `docs/embedders.md` goes through it.
//!
//! ```text
//! cargo run -p procession-cli --example embedder -- 10      # seconds; as root, to see all
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::fs::File;
use std::time::{Duration, Instant};

use procession::{BootId, Entry, Event, FactKind, Table, TableConfig, text};
use procession_journal::{BlockBuilder, RawBlock, Recording, Writer, state_hash};
use procession_kube::ContainerId;
use procession_sensor::{EbpfConfig, open_best};

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(3), |text| text.parse())?;
    // Within 8 MiB, whatever happens. A seed that nobody can guess, because others choose the keys.
    let config = TableConfig { budget: 8 << 20, seed: random_seed(), ..TableConfig::default() };
    let mut lineage = Lineage::new(config)?;

    let mut chosen = open_best(EbpfConfig::default())?;
    for unusable in &chosen.passed_over {
        eprintln!("cannot use {unusable}");
    }
    chosen.source.walk(&mut |event| lineage.take(event))?;
    println!("{} processes already run", lineage.table.live());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        chosen.source.poll(Duration::from_millis(20), &mut |event| lineage.take(event))?;
        lineage.write()?;
    }
    lineage.finish()
}

/// The table, and the journal of what it was told.
struct Lineage {
    table: Table,
    recording: Recording,
    events: BlockBuilder,
    journal: Writer<File>,
}

impl Lineage {
    fn new(config: TableConfig) -> Result<Self, Box<dyn Error>> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let recording = Recording {
            node_name: "here".to_owned(),
            boot_id: boot_id.trim().parse::<BootId>()?,
            clock: procession_agent::wall_clock(),
            source: "an example".to_owned(),
            root: None,
            host_namespaces: None,
            table: config,
        };
        let mut journal = Writer::new(File::create("embedder.journal")?);
        journal.write(&RawBlock::head(&recording))?;
        Ok(Self { table: Table::new(config), recording, events: BlockBuilder::new(0), journal })
    }

    /// Written down first, then folded: so the journal gives the same state.
    fn take(&mut self, event: &Event<'_>) {
        self.events.push(event);
        let applied = self.table.apply(event);
        let entry = applied.process.and_then(|id| self.table.entry(id));
        if let (Some(entry), Some(FactKind::Exec)) = (entry, applied.kind) {
            println!("{}", told(entry));
        }
    }

    /// A block for what came since the last one.
    fn write(&mut self) -> std::io::Result<()> {
        if self.events.events() > 0 {
            self.journal.write(&self.events.take(&self.recording, b""))?;
        }
        Ok(())
    }

    /// The account, and a copy of the state to go on from.
    fn finish(mut self) -> Result<(), Box<dyn Error>> {
        self.write()?;
        let ledger = self.table.ledger();
        println!(
            "{} events, {} lost, {} processes concluded; {} bytes for {} processes",
            ledger.received(),
            ledger.lost(),
            ledger.inferred_processes(),
            self.table.memory(),
            self.table.live()
        );
        let checkpoint = self.table.checkpoint();
        let restored = Table::restore(&checkpoint);
        assert_eq!(state_hash(&restored), state_hash(&self.table));
        for block in RawBlock::checkpoint(&self.recording, &checkpoint, self.events.sequence(), b"") {
            self.journal.write(&block)?;
        }
        println!("to ask it: procession tree --journal embedder.journal");
        Ok(())
    }
}

/// `[4f2ac1d97e0b] /usr/bin/id ← sh(4700) ← httpd(31)`.
fn told(entry: Entry<'_>) -> String {
    let container = ContainerId::of_process(&entry.snapshot());
    let container = container.map(|id| format!("[{}] ", id.short())).unwrap_or_default();
    let parents: Vec<String> = entry
        .ancestors()
        .filter(|above| !above.is_same_process(entry))
        .take(4)
        .map(|above| format!(" ← {}({})", name(above), above.key().pid))
        .collect();
    format!("{container}{}{}", text::to_valid_utf8(entry.binary()), parents.concat())
}

fn name(entry: Entry<'_>) -> String {
    let path = text::to_valid_utf8(entry.binary()).into_owned();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish()
}
