//! The table beside a plain port of the reference's way, in the same run: time, allocations and
//! memory of the workloads by which the reference was measured.
//!
//! ```text
//! cargo bench -p procession --bench table               # some two minutes
//! cargo bench -p procession --bench table -- --big      # and 10⁷ processes; wants 16 GB
//! cargo bench -p procession --bench table -- --profile  # only our lifecycles, for a profiler; or --profile-baseline
//! ```
//!
//! The two take turns in rounds; printed are medians of CPU time of the thread. Ratios hold on any
//! machine, nanoseconds on one.
//!
//! Where the reference takes a reference on a process and drops it, ours takes a snapshot and
//! drops it. Each process and each parent has everything that the eBPF source would tell.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

mod baseline;
mod measure;
mod memory;
mod speed;
mod systems;
mod workload;

use std::env;

use memory::{Load, Side, asked, weigh};
use speed::{Point, Row, point};
use systems::{Ours, Theirs};

fn main() {
    let mut arguments: Vec<_> = env::args().skip(1).collect();
    // `cargo bench` says that this is one; `cargo test --benches` wants to see that it starts.
    arguments.retain(|argument| argument != "--bench");
    let is_given = |name: &str| arguments.iter().any(|argument| argument == name);
    if is_given("--test") {
        return;
    }
    if let Some(bytes) = asked(&arguments) {
        println!("{bytes}");
        return;
    }
    if is_given("--profile") {
        println!("{:.0} ns per lifecycle", speed::profile::<Ours>(60).nanos);
        return;
    }
    if is_given("--profile-baseline") {
        println!("{:.0} ns per lifecycle", speed::profile::<Theirs>(10).nanos);
        return;
    }
    let mut targets = Targets(Vec::new());
    time(&mut targets);
    memory(&mut targets, is_given("--big"));
    scale(&mut targets, is_given("--big"));
    targets.print();
}

fn time(targets: &mut Targets) {
    println!(
        "{:<34} {:>10} {:>12} {:>7}   {:>16}   {:>18}",
        "CPU time", "ours ns", "baseline ns", "ratio", "allocs (bytes)", "baseline's"
    );
    let lifecycle = print(speed::lifecycle());
    targets.at_least("F   lifecycle, times faster than the baseline", lifecycle.ratio(), 15.0);
    let [exec, fork] = rows(speed::births());
    targets.at_most("A   allocations on exec", exec.ours.allocations, 2.0);
    targets.at_most("B   allocations on fork", fork.ours.allocations, NONE);
    let [_, _, hot, random, _, _] = rows(speed::lookups());
    targets.at_least("C2  lookup, hot, times faster", hot.ratio(), 10.0);
    targets.at_least("C2  lookup, random, times faster", random.ratio(), 10.0);
    targets.at_most("C2  allocations on lookup", random.ours.allocations.max(hot.ours.allocations), NONE);
    let [five, many, _, _] = rows(speed::arguments());
    let growth = many.ours.nanos / five.ours.nanos / 40.0;
    targets.at_most("D   time per argument, 200 to 5 of them", growth, 1.5);
}

/// None, but for the memory of a whole page of entries now and then.
const NONE: f64 = 0.02;

fn rows<const COUNT: usize>(rows: Vec<Row>) -> [Row; COUNT] {
    let rows = rows.into_iter().map(print).collect::<Vec<_>>();
    rows.try_into().unwrap_or_else(|rows: Vec<_>| unreachable!("{} rows", rows.len()))
}

fn print(row: Row) -> Row {
    let Row { name, ours, baseline } = &row;
    println!(
        "{name:<34} {:>10.1} {:>12.1} {:>6.1}x   {:>6.2} ({:>7.0})   {:>6.2} ({:>9.0})",
        ours.nanos,
        baseline.nanos,
        row.ratio(),
        ours.allocations,
        ours.bytes,
        baseline.allocations,
        baseline.bytes,
    );
    row
}

fn memory(targets: &mut Targets, big: bool) {
    println!("\n{:<34} {:>10} {:>12} {:>7}", "resident memory", "ours", "baseline", "ratio");
    let print = |name: &str, load, unit: f64| {
        let [ours, baseline] = [Side::Ours, Side::Baseline].map(|side| figure(weigh(side, load)) / unit);
        println!("{name:<34} {ours:>10.1} {baseline:>12.1} {:>6.1}x", baseline / ours);
        ours
    };
    let live = print("G   bytes per process, 65,536 live", Load::Live(65_536), 65_536.0);
    targets.at_most("G   bytes per live process", live, 300.0);
    if big {
        print("G   bytes per process, 10^6 live", Load::Live(1_000_000), 1e6);
    }
    let burst = print("F'  MB after 300,000 lifecycles", Load::Burst(300_000), 1e6);
    targets.at_most("F'  MB after 300,000 lifecycles", burst, 64.0);
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^52 bytes")]
fn figure(bytes: Option<u64>) -> f64 {
    bytes.map_or(f64::NAN, |bytes| bytes as f64)
}

fn scale(targets: &mut Targets, big: bool) {
    println!(
        "\n{:<16} {:>18} {:>18} {:>18} {:>18}",
        "live processes", "ours ns/event", "ours ns/lookup", "baseline ns/event", "baseline ns/lookup"
    );
    let largest = if big { 7 } else { 6 };
    let mut costs = Vec::new();
    for size in (3..=largest).map(|exponent| 10_u32.pow(exponent)) {
        let ours = point::<Ours>(size);
        costs.extend(ours.map(|ours| ours.event.nanos));
        // The baseline's copies of 10⁶ would need gigabytes.
        let theirs = if size <= 100_000 { point::<Theirs>(size) } else { None };
        print!("{size:<16}");
        for point in [ours, theirs] {
            match point {
                Some(Point { event, lookup }) => print!(" {:>18.1} {:>18.1}", event.nanos, lookup.nanos),
                None => print!(" {:>18} {:>18}", "-", "-"),
            }
        }
        println!();
    }
    if let [first, .., last] = costs[..] {
        targets.at_most("    cost per event, most to fewest live", last / first, 2.0);
    }
}

/// What was hoped for, and what came.
struct Targets(Vec<(String, bool)>);

impl Targets {
    fn at_least(&mut self, what: &str, figure: f64, target: f64) {
        self.0.push((format!("{what:<48} {figure:>9.2}   target >= {target}"), figure >= target));
    }

    fn at_most(&mut self, what: &str, figure: f64, target: f64) {
        self.0.push((format!("{what:<48} {figure:>9.2}   target <= {target}"), figure <= target));
    }

    fn print(&self) {
        println!();
        for (line, is_met) in &self.0 {
            println!("{:<6} {line}", if *is_met { "MET" } else { "MISSED" });
        }
    }
}
