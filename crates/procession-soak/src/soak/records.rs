//! Journal and export at each checkpoint: what they still have of the storm since the last one.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Soak;
use crate::book::Book;
use crate::export::{self, Exported};
use crate::journal;
use crate::kept::{Kept, Reading};
use crate::pages::Stretch;

/// How long what was told may take to reach the disk.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// What was written and lost since the agent began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    journal_bytes: u64,
    rotations: u64,
    /// What the export need not have: the agent did not get it, or the export did not.
    lost: u64,
}

impl Soak<'_> {
    fn written(&self) -> Result<Written> {
        let page = self.metrics()?;
        let lost = [
            "procession_kernel_lost_records_total",
            "procession_queue_dropped_facts_total",
            "procession_reader_lost_events_total{kind=\"export\"}",
        ];
        Ok(Written {
            journal_bytes: page.count("procession_journal_written_bytes_total"),
            rotations: page.count("procession_export_rotations_total"),
            lost: lost.iter().map(|name| page.count(name)).sum(),
        })
    }

    /// Compares both while the storm stands still.
    pub(super) fn check_records(&mut self) -> Result<()> {
        let stretch = Stretch {
            pages: std::mem::take(&mut self.pages),
            held: self.storm.held(),
            end: (self.storm.limit, self.containers_played()),
        };
        let before = self.written;
        self.check_journal(&stretch, before)?;
        self.check_export(&stretch, before)?;
        self.written = self.written()?;
        Ok(())
    }

    fn another_book(&self) -> Book {
        let actor = self.place.actor.display().to_string();
        Book::new(self.storm.run(), self.storm.seed(), actor)
    }

    fn check_journal(&mut self, stretch: &Stretch, before: Written) -> Result<()> {
        let read = || journal::read(&self.place.journal(), Reading::new(stretch, self.another_book()));
        let kept = until(read, |kept| kept.is_sound(kept.lost))?;
        let written = self.written()?.journal_bytes.saturating_sub(before.journal_bytes);
        // Retention removes one file at a time, which is a quarter at most.
        let is_all_left = self.verdict.restarts == 0 && written < u64::from(self.args.journal_mb) << 19;
        self.check_part("journal", &kept, stretch, is_all_left);
        self.check_missing("journal", &kept, kept.lost);
        self.verdict.journal.add(&kept, stretch);
        Ok(())
    }

    fn check_export(&mut self, stretch: &Stretch, before: Written) -> Result<()> {
        // Asked before the files are read: what is counted later may not be in them.
        let counted = self.metrics()?.count("tetragon_events_exported_total");
        let lost = self.written()?.lost.saturating_sub(before.lost);
        let seed = self.storm.seed();
        // One that was killed may have written what its successor tells again.
        let is_excused = self.verdict.restarts > 0;
        let is_whole =
            |it: &Exported| is_excused || it.kept.is_sound(lost) && it.kept.missing_ends(seed) <= lost;
        let read = || export::read(&self.place.export(), Reading::new(stretch, self.another_book()));
        let exported = until(read, is_whole)?;
        self.verdict.export_files = exported.files;
        self.verdict.export.add(&exported.kept, stretch);
        if !is_excused {
            self.check_missing("export", &exported.kept, lost);
            self.check_ends(&exported.kept, lost);
            self.check_lines(&exported.kept, stretch, before, counted)?;
        }
        Ok(())
    }

    fn check_ends(&mut self, kept: &Kept, lost: u64) {
        let ends = kept.missing_ends(self.storm.seed());
        self.verdict.fail_unless(ends <= lost, || {
            format!("export: {ends} ends are missing, {lost} events are known to be lost")
        });
    }

    /// What was removed is not there to be counted.
    fn check_lines(&mut self, kept: &Kept, stretch: &Stretch, before: Written, counted: u64) -> Result<()> {
        let rotations = self.written()?.rotations;
        let backups = u64::from(self.args.export_backups);
        self.check_part("export", kept, stretch, rotations - before.rotations <= backups);
        self.verdict.fail_unless(rotations > backups || kept.events >= counted, || {
            format!("export: {counted} lines were counted, {} are there", kept.events)
        });
        Ok(())
    }

    /// With the limits of `--ci` there is room for all that is played from one checkpoint to the next.
    pub(super) fn check_shares(&mut self) {
        for (name, it) in [("journal", self.verdict.journal.clone()), ("export", self.verdict.export.clone())]
        {
            self.verdict.fail_unless(!self.args.ci || 2 * it.acts >= it.played, || {
                format!("{name}: only {} of {} acts were left to compare", it.acts, it.played)
            });
        }
    }

    /// A comparison with nothing is none.
    fn check_part(&mut self, name: &str, kept: &Kept, stretch: &Stretch, is_all_left: bool) {
        self.verdict.fail_unless(kept.execs > 0, || {
            format!("{name}: nothing of what was played since the last checkpoint is left to compare: give it more room")
        });
        self.verdict.fail_unless(!is_all_left || kept.part.is_whole(), || {
            let (acts, all) = (&kept.part.acts, stretch.acts());
            format!("{name}: begins with act {} of the last {all}, and nothing was removed", acts.start)
        });
    }

    fn check_missing(&mut self, name: &str, kept: &Kept, lost: u64) {
        self.verdict.fail_each(name, &kept.faults);
        if let Some((summary, examples)) = kept.uncounted(lost) {
            self.verdict.fail_each(&format!("{name}: {summary}"), examples);
        }
    }
}

/// Reads again until all is there, but not for ever: it is written some time after it is told, and a file may get
/// another name, or be at half a line.
fn until<T>(read: impl Fn() -> Result<T>, is_whole: impl Fn(&T) -> bool) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let it = read();
        if it.as_ref().is_ok_and(&is_whole) || Instant::now() > deadline {
            return it;
        }
        thread::sleep(PAUSE);
    }
}
