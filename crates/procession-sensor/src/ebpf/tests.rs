//! On the real kernel: rings whose positions others have written, and losses that no record comes after.
//!
//! Needs root and eBPF. Without them it is said why nothing was tried; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, that is a failure.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use procession::{Event, EventKind};

use super::*;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// A directory of pins that is gone when this is.
struct Pins(PathBuf);

impl Pins {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pins = Self(format!("/sys/fs/bpf/procession-ring-{}-{number}", std::process::id()).into());
        let Err(error) = EbpfSource::open(pins.config(1 << 20)) else { return Some(pins) };
        let required = env::var_os("PROCESSION_REQUIRE_PRIVILEGED_TESTS").is_some();
        assert!(!required, "{}", chain(&error));
        eprintln!("SKIPPED: {}", chain(&error));
        None
    }

    fn config(&self, ring_bytes: u32) -> EbpfConfig {
        EbpfConfig { ring_bytes, pin: Some(self.0.clone()) }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = detach_all(&self.0);
    }
}

/// Runs a program with the argument `mark` and reads until that is told of. Again and again: on a busy machine the ring
/// may have had no room for it, or have been given up.
fn run_until_told(source: &mut EbpfSource, mark: &str) {
    let end = Instant::now() + DEADLINE;
    let mut is_told = false;
    while !is_told {
        assert!(Instant::now() < end, "never told: {mark}");
        assert!(Command::new("true").arg(mark).status().unwrap().success());
        source.poll(Duration::from_millis(100), &mut |event| is_told |= is_exec_of(event, mark)).unwrap();
    }
}

fn is_exec_of(event: &Event<'_>, mark: &str) -> bool {
    let EventKind::Exec(exec) = &event.kind else { return false };
    exec.program.arguments.bytes.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
}

#[test]
fn a_ring_whose_positions_make_no_sense_begins_anew() {
    let Some(pins) = Pins::new() else { return };
    let spoilt: [fn(usize) -> usize; 6] = [
        |produced| produced + 4096,
        |produced| produced + 8,
        |produced| produced - 4,
        |produced| produced - 24,
        |_| usize::MAX & !7,
        |produced| produced.wrapping_sub(64 << 20),
    ];
    for (number, spoil) in spoilt.into_iter().enumerate() {
        let mut before = EbpfSource::open(pins.config(1 << 20)).unwrap();
        before.keep();
        run_until_told(&mut before, &format!("ring-{number}-before"));
        let bookmark = before.bookmark();
        before.ring.give_up_to(spoil(usize::try_from(before.ring.produced()).unwrap()));
        drop(before);

        let mut after = EbpfSource::open(pins.config(1 << 20)).unwrap();
        after.keep();
        // Whatever it makes of the bookmark.
        let _ = after.resume(&bookmark).unwrap();
        run_until_told(&mut after, &format!("ring-{number}-after"));
        after.release(&after.bookmark());
    }
}

/// What `event` says is lost.
fn losses_in(event: &Event<'_>) -> u64 {
    if let EventKind::Lost(count) = event.kind { count } else { 0 }
}

/// What the kernel says is lost.
fn lost(source: &EbpfSource) -> u64 {
    let counts = source.kernel_counts().unwrap();
    [counts.fork, counts.exec, counts.exit, counts.change].iter().map(|it| it.lost).sum()
}

/// Whatever comes after it, each loss is told, and none of them twice.
#[test]
fn losses_are_told_without_a_record_that_comes_after_them() {
    let Some(pins) = Pins::new() else { return };
    detach_all(&pins.0).unwrap();
    let mut source = EbpfSource::open(pins.config(16 << 10)).unwrap();
    source.walk(&mut |_| {}).unwrap();
    let end = Instant::now() + DEADLINE;
    while lost(&source) == 0 {
        assert!(Instant::now() < end, "the ring is too large");
        let _ = Command::new("true").status().unwrap();
    }
    let mut told = 0;
    while told < lost(&source) {
        assert!(Instant::now() < end + DEADLINE, "told {told} of {}", lost(&source));
        source.poll(Duration::from_millis(20), &mut |event| told += losses_in(event)).unwrap();
    }
    source.finish(&mut |event| told += losses_in(event)).unwrap();
    assert!(told <= lost(&source), "told {told} of {}", lost(&source));
}
