//! The summary, in Markdown.

use std::fmt::Write as _;

use crate::args::Args;
use crate::kept::Compared;
use crate::samples::{Sample, slope, spread, to_float};
use crate::soak::Verdict;

/// Everything that a reader wants to know of the run.
pub(crate) fn markdown(args: &Args, seed: u64, verdict: &Verdict, samples: &[Sample]) -> String {
    let mut text = String::new();
    let minutes = verdict.blown.as_secs_f64() / 60.0;
    let _ = writeln!(
        text,
        "## Soak: {minutes:.1} minutes of storm, seed {seed}, {} lives a second wanted\n",
        args.rate
    );
    let _ = writeln!(text, "| | |\n|---|---|");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    row("to repeat", format!("`{}`", command_line(args, seed)));
    let result = if verdict.failures.is_empty() {
        "all agrees".to_owned()
    } else {
        format!("{} differ", verdict.failures.len())
    };
    row("result", result);
    done_and_told(&mut row, verdict);
    clients(&mut row, verdict);
    checkpoints(&mut row, verdict);
    kept(&mut row, verdict);
    resources(&mut row, verdict, samples);
    for note in &verdict.notes {
        row("note", note.clone());
    }
    kinds(&mut text, verdict);
    for failure in &verdict.failures {
        let _ = writeln!(text, "* DIFFERS: {failure}");
    }
    text
}

/// The same acts follow from the same seed.
fn command_line(args: &Args, seed: u64) -> String {
    let mut words = vec![env!("CARGO_PKG_NAME").to_owned()];
    words.extend(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()));
    if args.seed.is_none() {
        words.push(format!("--seed {seed}"));
    }
    words.join(" ")
}

fn done_and_told(row: &mut impl FnMut(&str, String), verdict: &Verdict) {
    let (done, told, missing) = (verdict.done, verdict.told, verdict.missing);
    let rate = to_float(done.lives) / verdict.blown.as_secs_f64().max(1.0);
    row(
        "done",
        format!(
            "{} acts: {} lives, {} execs; {rate:.0} lives a second",
            verdict.acts, done.lives, done.execs
        ),
    );
    row("containers", verdict.containers.to_string());
    let held = verdict.held;
    row("begun and held", format!("{} execs of {} processes that live on", held.execs, held.lives));
    row(
        "told",
        format!(
            "{} ends, {} execs: of what was done, of containers, of what is held",
            told.lives, told.execs
        ),
    );
    row("not told", format!("{} ends, {} execs", missing.lives, missing.execs));
    row(
        "after losses",
        format!("{} found by looking, {} told less exactly", verdict.found, verdict.deviations),
    );
    for (name, count) in &verdict.lost {
        row(name, count.to_string());
    }
}

fn clients(row: &mut impl FnMut(&str, String), verdict: &Verdict) {
    for (name, tally) in [("fast client", verdict.reader), ("slow client", verdict.slow)] {
        row(name, format!("{} events read, {} lost", tally.read, tally.lost));
    }
    let asked = &verdict.asked;
    row(
        "asking client",
        format!(
            "{} answers, {} about who was gone, slowest {:?}",
            asked.answers, asked.too_late, asked.slowest
        ),
    );
}

fn checkpoints(row: &mut impl FnMut(&str, String), verdict: &Verdict) {
    row(
        "checkpoints",
        format!(
            "{}: {} live processes compared with /proc, {} sums",
            verdict.checkpoints, verdict.compared, verdict.identities
        ),
    );
    let evicted: Vec<String> =
        verdict.evicted.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    row("memory pressure", evicted.join(", "));
}

/// What is on the disk when all is over.
fn kept(row: &mut impl FnMut(&str, String), verdict: &Verdict) {
    let compared = |it: &Compared| {
        let percent = 100.0 * to_float(it.acts) / to_float(it.played.max(1));
        format!(
            "{} of {} acts compared ({percent:.1} %): {} execs, {} known to be lost, {} missing",
            it.acts, it.played, it.execs, it.lost, it.missing
        )
    };
    let (journal, export) = (&verdict.journal, &verdict.export);
    let mib = |bytes: u64| to_float(bytes) / f64::from(1 << 20);
    let (written, left) = verdict.journal_bytes;
    row(
        "journal",
        format!(
            "{}; {} events left, {:.1} MiB of {:.1} written",
            compared(journal),
            journal.events,
            mib(left),
            mib(written)
        ),
    );
    row(
        "export",
        format!(
            "{}, and {} ends; {} lines left in {} files, {} rotations",
            compared(export),
            export.ends,
            export.events,
            verdict.export_files,
            verdict.rotations
        ),
    );
    row("asked of the journal", format!("{} histories and trees", verdict.histories));
    row("restarts", verdict.restarts.to_string());
    row("pids", format!("below {}, came round {} times", verdict.pid_max, verdict.pid_rounds));
}

fn resources(row: &mut impl FnMut(&str, String), verdict: &Verdict, samples: &[Sample]) {
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let of = |value: fn(&Sample) -> f64| spread(samples.iter().map(value).collect());
    let (low, middle, high) = of(|sample| to_float(sample.resident_bytes));
    let late = &samples[samples.len() / 4..];
    let points: Vec<_> = late.iter().map(|sample| (sample.time, to_float(sample.resident_bytes))).collect();
    let hourly = mib(slope(&points)) * 3_600.0;
    row(
        "resident memory",
        format!(
            "{:.1} / {:.1} / {:.1} MiB (lowest, median, highest); {hourly:+.2} MiB an hour after the first quarter",
            mib(low),
            mib(middle),
            mib(high)
        ),
    );
    let (low, middle, high) = of(|sample| to_float(sample.own_bytes));
    row("of that its own (RssAnon)", format!("{:.1} / {:.1} / {:.1} MiB", mib(low), mib(middle), mib(high)));
    let (low, middle, high) = of(|sample| to_float(sample.table_bytes));
    row("table", format!("{:.1} / {:.1} / {:.1} MiB", mib(low), mib(middle), mib(high)));
    for (name, value) in [
        ("CPU of the agent", (|sample| 100.0 * sample.agent_cpu) as fn(&Sample) -> f64),
        ("CPU of the storm", |sample| 100.0 * sample.storm_cpu),
    ] {
        let (low, middle, high) = of(value);
        row(name, format!("{low:.0} / {middle:.0} / {high:.0} % of one processor"));
    }
    let (before, after) = verdict.descriptors;
    row("descriptors", format!("{before} at the beginning, {after} at the end"));
    let (before, after) = verdict.threads;
    row("threads", format!("{before} at the beginning, {after} at the end"));
}

fn kinds(text: &mut String, verdict: &Verdict) {
    let _ = writeln!(text, "\n| told, by kind of act | ends | execs |\n|---|---|---|");
    for (kind, counts) in &verdict.kinds {
        let _ = writeln!(text, "| {kind:?} | {} | {} |", counts.lives, counts.execs);
    }
    let _ = writeln!(text);
}
