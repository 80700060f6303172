//! `procession export`: a journal as files for other programs.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use procession_parquet::{ExportError, Exported, Occupied, Options, Progress, export};

use crate::journal;
use crate::signals::{INTERRUPTED, Signals};
use crate::summary::{count, passed_over, tell, thousands};
use crate::when::{When, times};

/// Write what was recorded as Parquet files, to ask in SQL.
///
/// DuckDB, ClickHouse, pandas, Spark and others read them.
///
/// Each program that ran, each end, fork and change of rights is a row, with all that was known of the
/// process by then: who started it, with which arguments, as whom, in which container and pod, and how it
/// ended. The files are in folders by node and day (UTC): DIR/node=NAME/day=YYYY-MM-DD/*.parquet.
///
/// To export a journal again when it has grown replaces what was there, and nothing is there twice; what the
/// journal has forgotten meanwhile stays.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// Write into this directory, which is made, for its owner alone, if it is not there
    #[arg(long, value_name = "DIR")]
    parquet: PathBuf,

    /// The recording, or the directory of an agent's journal
    #[arg(long, value_name = "FILE|DIR", env = "PROCESSION_JOURNAL_DIR", hide_env_values = true)]
    #[arg(default_value = "/var/lib/procession/journal")]
    journal: PathBuf,

    /// Only from this time on, such as `14:03` or `-5m` (--help has all forms). Into a directory of its own
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<When>,

    /// Only before this time. Into a directory of its own
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<When>,

    /// Write even if there is something else in the directory; files of the same names are replaced
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = concat!(
    "\
Examples:
  procession export --parquet /srv/processes
                                            all that the agent's journal tells
  procession export --parquet night --journal night.journal --from 03:00 \\
      --to 03:20
                                            twenty minutes of a recording
  duckdb -c \"SELECT program, count(*) FROM 'night/*/*/*.parquet'
             WHERE event = 'exec' GROUP BY 1 ORDER BY 2 DESC\"
                                            what ran how often

docs/parquet.md of Procession describes every column.

",
    times!()
);

/// How often a person is told how far it has come.
const PACE: Duration = Duration::from_millis(200);

/// Exports a journal.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let journal = journal::open(&args.journal)?;
    let options = Options {
        directory: args.parquet.clone(),
        from: args.from.map(When::here_told).transpose()?,
        to: args.to.map(When::here_told).transpose()?,
        is_forced: args.force,
        program: concat!("procession ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let signals = Signals::catch()?;
    let mut meter = Meter::new();
    let exported = export(&journal, &options, &mut |progress| {
        meter.show(progress);
        if signals.is_any() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    meter.clear();
    let exported = match exported {
        Err(ExportError::Stopped) => {
            tell(format_args!("{}", stopped(&options)));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        exported => exported.map_err(occupied)?,
    };
    journal::tell_damage(&args.journal, journal.unread());
    tell_of(&exported, &options.directory);
    Ok(ExitCode::SUCCESS)
}

/// What there is when the export was stopped. A span has no name by which the same one could be known again.
fn stopped(options: &Options) -> String {
    let is_whole = options.from.is_none() && options.to.is_none();
    let advice = if is_whole { "the same command again completes it" } else { "`--force` begins it anew" };
    format!("stopped: {} has at most a part of it; {advice}", options.directory.display())
}

/// What to do when there is something in the directory.
fn occupied(error: ExportError) -> anyhow::Error {
    let advice = match &error {
        ExportError::Occupied(Occupied::NoDirectory { .. }) => "name another one with --parquet",
        ExportError::Occupied(Occupied::Foreign { .. } | Occupied::Mixed { .. }) => {
            "name another directory with --parquet, or use --force"
        }
        ExportError::Occupied(_) => "name another directory with --parquet",
        _ => return error.into(),
    };
    anyhow!("{:#}: {advice}", anyhow::Error::new(error))
}

fn tell_of(exported: &Exported, directory: &Path) {
    journal::tell_unreadable(
        &exported.damage,
        |(path, damage)| journal::unreadable(path, damage),
        |(_, damage)| damage.missing(),
    );
    journal::tell_left_out(exported.left_out);
    if let Some(passed_over) = passed_over(exported.unreadable) {
        tell(format_args!("{passed_over}"));
    }
    let written = exported.written;
    if written.rows == 0 {
        tell(format_args!("nothing was recorded in that time, so nothing was written"));
        return;
    }
    let (rows, files) = (count(written.rows, "row", "rows"), count(written.files, "file", "files"));
    tell(format_args!("{rows} in {files} of {} bytes in {}", thousands(written.bytes), directory.display()));
}

/// Tells how far it has come, on a terminal.
struct Meter {
    is_shown: bool,
    last: Option<Instant>,
}

impl Meter {
    fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), last: None }
    }

    fn show(&mut self, Progress { read, all, rows }: Progress) {
        if !self.is_shown || self.last.is_some_and(|last| last.elapsed() < PACE) {
            return;
        }
        self.last = Some(Instant::now());
        let percent = read.saturating_mul(100) / all.max(1);
        let rows = thousands(rows);
        let _unseen = write!(io::stderr(), "\r\x1b[Kprocession: {percent} % read, {rows} rows");
    }

    fn clear(&self) {
        if self.last.is_some() {
            let _unseen = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
