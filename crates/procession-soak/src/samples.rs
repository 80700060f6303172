//! What the agent takes of the machine, second by second.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::machine::{self, Usage};
use crate::metrics::Metrics;

/// A second of the run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    pub(crate) time: f64,
    pub(crate) resident_bytes: u64,
    /// See [`Usage::own_bytes`].
    pub(crate) own_bytes: u64,
    /// Of one processor, since the sample before.
    pub(crate) agent_cpu: f64,
    /// The same of the storm: performers and all processes of acts.
    pub(crate) storm_cpu: f64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    pub(crate) table_bytes: u64,
    pub(crate) entries: u64,
    pub(crate) journal_bytes: u64,
    /// Records that the kernel side made, since the beginning.
    pub(crate) records: u64,
    /// Of those, the ones for which there was no room.
    pub(crate) lost: u64,
}

/// Who is looked at. The agent may be another one after a while.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    agent: AtomicU32,
    metrics: Mutex<String>,
    pub(crate) storm: Vec<u32>,
}

impl Subjects {
    pub(crate) fn new(storm: Vec<u32>) -> Self {
        Self { storm, ..Self::default() }
    }

    pub(crate) fn set_agent(&self, pid: u32, metrics: &str) {
        metrics.clone_into(&mut self.metrics.lock().unwrap_or_else(PoisonError::into_inner));
        self.agent.store(pid, Ordering::SeqCst);
    }
}

/// Takes a sample each second until it is dropped.
#[derive(Debug)]
pub(crate) struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    pub(crate) fn start(subjects: Arc<Subjects>) -> Self {
        let (samples, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (theirs, is_their_end) = (Arc::clone(&samples), Arc::clone(&is_over));
        let thread = thread::spawn(move || sample(&subjects, &theirs, &is_their_end));
        Self { samples, is_over, thread: Some(thread) }
    }

    pub(crate) fn all(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn last(&self) -> Option<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).last().copied()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sample(subjects: &Subjects, samples: &Mutex<Vec<Sample>>, is_over: &AtomicBool) {
    let begin = Instant::now();
    let mut before: Option<(u32, Instant, u64, u64)> = None;
    for second in 1.. {
        let next = begin + Duration::from_secs(second);
        while Instant::now() < next {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let agent = subjects.agent.load(Ordering::SeqCst);
        let address = subjects.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // While it is away there is nothing to measure.
        let (Some(usage), Ok(page)) = (machine::usage(agent), Metrics::of(&address)) else { continue };
        let storm: u64 = subjects.storm.iter().filter_map(|pid| machine::usage(*pid)).map(whole_cpu).sum();
        let now = Instant::now();
        let share = |ticks: u64, since: Instant| {
            to_float(ticks) / to_float(machine::ticks_a_second()) / now.duration_since(since).as_secs_f64()
        };
        let same = before.filter(|(pid, ..)| *pid == agent);
        let (agent_cpu, storm_cpu) = same.map_or((0.0, 0.0), |(_, since, of_agent, of_storm)| {
            (share(usage.cpu.saturating_sub(of_agent), since), share(storm.saturating_sub(of_storm), since))
        });
        before = Some((agent, now, usage.cpu, storm));
        let sample =
            Sample { time: begin.elapsed().as_secs_f64(), agent_cpu, storm_cpu, ..of_page(&page, usage) };
        samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }
}

fn whole_cpu(usage: Usage) -> u64 {
    usage.cpu + usage.children_cpu
}

fn of_page(page: &Metrics, usage: Usage) -> Sample {
    Sample {
        resident_bytes: usage.resident_bytes,
        own_bytes: usage.own_bytes,
        descriptors: usage.descriptors,
        threads: usage.threads,
        table_bytes: page.count("procession_table_bytes"),
        entries: page.count("procession_table_entries"),
        journal_bytes: page.count("procession_journal_bytes"),
        records: page.count("procession_kernel_records_total"),
        lost: page.count("procession_kernel_lost_records_total"),
        ..Sample::default()
    }
}

/// For arithmetic in which the last digits do not matter.
#[expect(clippy::cast_precision_loss, reason = "that is what it is for")]
pub(crate) fn to_float(number: u64) -> f64 {
    number as f64
}

/// Lowest, middle and highest of some values.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

/// By how much `y` grows with each unit of `x`: least squares.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = to_float(points.len() as u64);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

/// Writes them down: as JSON if the name says so, or as CSV.
pub(crate) fn write(path: &Path, samples: &[Sample]) -> Result<()> {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let text = if is_json { as_json(samples)? } else { as_csv(samples) };
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn as_csv(samples: &[Sample]) -> String {
    let mut text = String::from(
        "seconds,resident_bytes,agent_cpu,storm_cpu,descriptors,threads,table_bytes,table_entries,journal_bytes,records,lost,own_bytes\n",
    );
    for it in samples {
        let times = format!("{:.1},{},{:.3},{:.3}", it.time, it.resident_bytes, it.agent_cpu, it.storm_cpu);
        let rest = [
            it.descriptors,
            it.threads,
            it.table_bytes,
            it.entries,
            it.journal_bytes,
            it.records,
            it.lost,
            it.own_bytes,
        ];
        let rest = rest.map(|number| number.to_string()).join(",");
        let _ = writeln!(text, "{times},{rest}");
    }
    text
}

fn as_json(samples: &[Sample]) -> Result<String> {
    let all: Vec<_> = samples
        .iter()
        .map(|it| {
            json!({
                "seconds": it.time, "resident_bytes": it.resident_bytes, "agent_cpu": it.agent_cpu,
                "storm_cpu": it.storm_cpu, "descriptors": it.descriptors, "threads": it.threads,
                "table_bytes": it.table_bytes, "table_entries": it.entries,
                "journal_bytes": it.journal_bytes, "records": it.records, "lost": it.lost,
                "own_bytes": it.own_bytes,
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_a_spread_its_middle() {
        let line: Vec<_> = (0..10).map(|x| (f64::from(x), 3.0 * f64::from(x) + 7.0)).collect();
        assert!((slope(&line) - 3.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 2.0)]).abs() < 1e-9);
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
    }
}
