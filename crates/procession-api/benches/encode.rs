//! From what is told to what leaves, beside the reference's plain way in the same run: time,
//! allocations and length of the workload by which the reference was measured.
//!
//! ```text
//! cargo bench -p procession-api --bench encode               # some ten seconds
//! cargo bench -p procession-api --bench encode -- --profile  # only our JSON, for a profiler
//! ```
//!
//! The baseline has its messages ready, copies each deeply and encodes the copy by reflection. The two
//! take turns in rounds; printed are medians of CPU time of the thread. Ratios hold on any machine,
//! nanoseconds on one. The targets are multiples of what the reference took, where it took 30, 76 and
//! 139 µs for JSON, and 4.9, 17 and 25 µs for protobuf.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

#[expect(dead_code, reason = "no memory is measured here")]
#[path = "../../procession/benches/measure/mod.rs"]
mod measure;
mod workload;

use std::env;
use std::hint::black_box;

use measure::Cost;
use procession_api::dynamic::{EVENT, pool};
use procession_api::json;
use prost::Message as _;
use prost_reflect::{DynamicMessage, SerializeOptions};

use workload::{Load, Loads};

const ROUNDS: usize = 31;
/// Encodings in a round, for each side.
const OPERATIONS: u32 = 1_024;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let is_given = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo test --benches` wants to see that it starts.
    if is_given("--test") {
        return;
    }
    let loads = Loads::new();
    if is_given("--profile") {
        for _ in 0..100 {
            let _ = loads.all().map(|load| measured(load, ours_json));
        }
        return;
    }
    println!(
        "{:<34} {:>9} {:>12} {:>7} {:>9}   {:>16}   {:>18}",
        "CPU time", "ours ns", "baseline ns", "ratio", "bytes", "allocs (bytes)", "baseline's"
    );
    let json = loads.all().map(|load| compare("H1 JSON", load, ours_json, baseline_json));
    let protobuf = loads.all().map(|load| compare("H2 protobuf", load, ours_protobuf, baseline_protobuf));
    println!();
    for load in loads.all() {
        show("   the message alone", load, message);
        show("   JSON of the message alone", load, write);
        show("   protobuf of the message alone", load, encode);
    }
    println!();
    for (what, took, most) in
        [("H1", json, [2_000.0, 5_000.0, 9_300.0]), ("H2", protobuf, [980.0, 3_400.0, 5_000.0])]
    {
        for ((load, took), most) in loads.all().iter().zip(took).zip(most) {
            let verdict = if took <= most { "met" } else { "MISSED" };
            println!(
                "{what} {:<22} {took:>8.0} ns, at most {most:>6.0} on the reference's machine: {verdict}",
                load.name
            );
        }
    }
}

/// Prints a row, and returns our nanoseconds.
fn compare(what: &str, load: &Load, ours: Operation, baseline: Operation) -> f64 {
    let (mut our_costs, mut baseline_costs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_costs.push(measured(load, ours));
        baseline_costs.push(measured(load, baseline));
    }
    let [ours_cost, baseline] = [our_costs, baseline_costs].map(|costs| Cost::median(&costs));
    let mut out = Vec::new();
    ours(load, 0, &mut out);
    println!(
        "{:<34} {:>9.0} {:>12.0} {:>6.1}x {:>9}   {:>6.1} ({:>7.0})   {:>6.1} ({:>9.0})",
        format!("{what}, {}", load.name),
        ours_cost.nanos,
        baseline.nanos,
        baseline.nanos / ours_cost.nanos,
        out.len(),
        ours_cost.allocations,
        ours_cost.bytes,
        baseline.allocations,
        baseline.bytes,
    );
    ours_cost.nanos
}

fn show(what: &str, load: &Load, operation: Operation) {
    let costs: Vec<_> = (0..ROUNDS).map(|_| measured(load, operation)).collect();
    let cost = Cost::median(&costs);
    println!(
        "{:<44} {:>9.0} ns {:>6.1} allocs",
        format!("{what}, {}", load.name),
        cost.nanos,
        cost.allocations
    );
}

/// Does something with event number so many, and appends what comes of it.
type Operation = fn(&Load, usize, &mut Vec<u8>);

fn measured(load: &Load, operation: Operation) -> Cost {
    let mut out = Vec::with_capacity(1 << 16);
    Cost::of(OPERATIONS, || {
        for number in 0..OPERATIONS as usize {
            out.clear();
            operation(black_box(load), number % load.told.len(), &mut out);
            black_box(&out);
        }
    })
}

fn ours_json(load: &Load, number: usize, out: &mut Vec<u8>) {
    let event = load.message(number);
    json::write(&event, out);
}

fn ours_protobuf(load: &Load, number: usize, out: &mut Vec<u8>) {
    let event = load.message(number);
    *out = event.encode_to_vec();
}

fn message(load: &Load, number: usize, _: &mut Vec<u8>) {
    black_box(load.message(number));
}

fn write(load: &Load, number: usize, out: &mut Vec<u8>) {
    json::write(&load.messages[number], out);
}

fn encode(load: &Load, number: usize, out: &mut Vec<u8>) {
    load.messages[number].encode(out).expect("a vector grows");
}

fn baseline_json(load: &Load, number: usize, out: &mut Vec<u8>) {
    let copy = load.records[number].clone();
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut serializer = serde_json::Serializer::new(&mut *out);
    copy.serialize_with_options(&mut serializer, &options).expect("it is valid");
    out.push(b'\n');
}

fn baseline_protobuf(load: &Load, number: usize, out: &mut Vec<u8>) {
    *out = load.records[number].clone().encode_to_vec();
}

/// A message as reflection has it.
fn record(message: &procession_api::proto::tetragon::GetEventsResponse) -> DynamicMessage {
    let descriptor = pool().get_message_by_name(EVENT).expect("the schema has it");
    let mut record = DynamicMessage::new(descriptor);
    record.transcode_from(message).expect("it is that message");
    record
}
