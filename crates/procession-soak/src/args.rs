//! What was typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Runs the agent under a storm of processes, and compares what it saw with what was done.
///
/// Starts `procession agent` with everything on (journal, export, metrics), three clients that read and ask
/// without end, and a storm of processes of every kind, all as children of its own. Every act of the storm
/// follows from a seed and a number, so what the agent should have seen of it needs no record: it is
/// computed again.
///
/// Every minute and at the end the storm pauses, and the agent's account is compared with the truth: each
/// process told once or counted as lost, the live ones as in /proc, the sums of the ledger, the journal, the
/// export, memory, descriptors and threads.
///
/// Needs root and eBPF.
#[derive(Clone, Debug, Parser)]
#[command(name = "procession-soak", version, after_long_help = MORE)]
pub(crate) struct Args {
    /// How long the storm lasts, for example `90s`, `2m` or `1h`
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    pub(crate) duration: Duration,

    /// What CI runs: two minutes with three checkpoints, in which pids come round
    #[arg(long, conflicts_with = "duration")]
    pub(crate) ci: bool,

    /// What decides which acts are played; the same seed plays the same [default: a random one]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    /// Process lives a second, from fork to end
    #[arg(long, value_name = "NUMBER", default_value = "600")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,

    /// How many acts go on at a time
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) performers: u16,

    /// Time from one checkpoint to the next
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub(crate) checkpoint: Duration,

    /// Let pids come round: the machine's `pid_max` during the run, put back at the end
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1_000..=4_194_304))]
    pub(crate) pid_max: Option<u32>,

    /// Kill the agent (-9) at random, so often on average, and start it again
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) restart_every: Option<Duration>,

    /// The program under test [default: `procession` beside this one, built if it is not there]
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,

    /// Who performs the acts [default: `examples/actor` beside this one, built if it is not there]
    #[arg(long, value_name = "FILE")]
    pub(crate) actor: Option<PathBuf>,

    /// The agent's --ring-size
    #[arg(long, value_name = "SIZE", default_value = "8M", help_heading = "Limits of the agent")]
    pub(crate) ring_size: String,

    /// The agent's --table-budget: so little that what has ended goes early
    #[arg(long, value_name = "SIZE", default_value = "3M", help_heading = "Limits of the agent")]
    pub(crate) table_budget: String,

    /// The agent's --journal-max-size-mb
    #[arg(long, value_name = "MIB", default_value_t = 6, help_heading = "Limits of the agent")]
    pub(crate) journal_mb: u32,

    /// The agent's --export-file-max-size-mb
    #[arg(long, value_name = "MIB", default_value_t = 16, help_heading = "Limits of the agent")]
    pub(crate) export_mb: u32,

    /// The agent's --export-file-max-backups
    #[arg(long, value_name = "NUMBER", default_value_t = 19, help_heading = "Limits of the agent")]
    pub(crate) export_backups: u32,

    /// The agent's --event-queue-size
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, help_heading = "Limits of the agent")]
    pub(crate) event_queue: u32,

    /// The agent's --event-queue-bytes
    #[arg(long, value_name = "SIZE", default_value = "16M", help_heading = "Limits of the agent")]
    pub(crate) event_queue_bytes: String,

    /// Draw resident memory and CPU over time into this file, as SVG
    #[arg(long, value_name = "FILE", help_heading = "What is written")]
    pub(crate) plot: Option<PathBuf>,

    /// Write what was measured each second into this file: CSV, or JSON if its name ends so
    #[arg(long, value_name = "FILE", help_heading = "What is written")]
    pub(crate) samples: Option<PathBuf>,

    /// Write a summary in Markdown into this file
    #[arg(long, value_name = "FILE", help_heading = "What is written")]
    pub(crate) report: Option<PathBuf>,

    /// Keep the working directory, with the agent's log, journal and export
    #[arg(long, help_heading = "What is written")]
    pub(crate) keep: bool,
}

const MORE: &str = "\
Signals:
  SIGINT, SIGTERM  end the storm now, and check all the same

Examples:
  procession-soak --ci
  procession-soak --duration 1h --plot soak.svg --samples soak.csv --report soak.md
  procession-soak --duration 5m --seed 7 --rate 2000 --pid-max 4096
  procession-soak --duration 5m --restart-every 20s

Exit status:
  0    all agrees
  1    something differs, and what is said
  2    an option is wrong, or the run could not be made";

impl Args {
    /// As typed, with what `--ci` stands for.
    pub(crate) fn resolved(mut self) -> Self {
        if self.ci {
            self.duration = Duration::from_mins(2);
            self.checkpoint = Duration::from_secs(40);
        }
        self
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => 0,
    };
    let number: u64 = number.parse().unwrap_or(0);
    match number.checked_mul(seconds) {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a time such as 90s, 2m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_hours(1)));
        for bad in ["", "0s", "-1s", "5x", "s", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
