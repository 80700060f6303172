//! On the real kernel: rings whose positions others have written, which are given up, and losses that no record
//! comes after.
//!
//! Needs root and eBPF. Without them it is said why nothing was tried; with
//! `PROCESSION_REQUIRE_PRIVILEGED_TESTS` set, as in CI, that is a failure.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
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

/// What a source has told.
#[derive(Debug, Default)]
struct Told {
    received: u64,
    lost: u64,
}

impl Told {
    fn take(&mut self, event: &Event<'_>) {
        self.lost += losses_in(event);
        self.received += u64::from(!matches!(event.kind, EventKind::Lost(_)));
    }

    fn poll(&mut self, source: &mut EbpfSource) {
        source.poll(Duration::from_millis(20), &mut |event| self.take(event)).unwrap();
    }

    /// Whether each event that the kernel has counted was handed over, or told as lost. More never are.
    fn is_balanced(&self, source: &EbpfSource) -> bool {
        let counts = source.kernel_counts().unwrap();
        let kinds = [counts.fork, counts.exec, counts.exit, counts.change];
        let attempted: u64 = kinds.iter().map(|it| it.attempted).sum();
        let told = self.received + self.lost;
        assert!(told <= attempted, "{self:?} of {attempted}");
        told == attempted
    }

    /// Reads until it [is balanced](Self::is_balanced): others do something all the while.
    fn poll_until_balanced(&mut self, source: &mut EbpfSource) {
        let end = Instant::now() + DEADLINE;
        while !self.is_balanced(source) {
            assert!(Instant::now() < end, "{self:?} of {:?}", source.kernel_counts());
            self.poll(source);
        }
    }
}

fn run_true() {
    assert!(Command::new("true").status().unwrap().success());
}

const SMALL_RING: u32 = 16 << 10;

/// Has the kernel write over what `source` has not read.
fn overrun(source: &EbpfSource) {
    let end = Instant::now() + DEADLINE;
    while source.ring.produced() - source.ring.position() <= SMALL_RING.into() {
        assert!(Instant::now() < end, "the kernel does not take what it is given");
        source.ring.give_up_to(usize::try_from(source.ring.produced()).unwrap());
        run_true();
    }
}

/// Of a ring that is given up each event is told as lost that it held.
#[test]
fn what_a_ring_held_that_is_given_up_is_lost_event_by_event() {
    let Some(pins) = Pins::new() else { return };
    detach_all(&pins.0).unwrap();
    for config in [pins.config(SMALL_RING), EbpfConfig { ring_bytes: SMALL_RING, pin: None }] {
        let mut source = EbpfSource::open(config).unwrap();
        let mut told = Told::default();
        for round in 1..4 {
            run_true();
            told.poll_until_balanced(&mut source);
            let before = told.lost;
            overrun(&source);
            told.poll_until_balanced(&mut source);
            assert!(told.lost > before, "{told:?}");
            assert_eq!(source.malformed(), round, "how often it was given up");
        }
        // Without pins no program is at work any more, and all is settled.
        overrun(&source);
        source.finish(&mut |event| told.take(event)).unwrap();
        assert!(
            told.is_balanced(&source) || source.raw.is_pinned(),
            "{told:?} of {:?}",
            source.kernel_counts()
        );
    }
}

/// Where in a record that is still to be read is what looks like the begin of one that is being written: the lower
/// half of its time, every other two seconds.
fn looks_unfinished(source: &mut EbpfSource, told: &mut Told) -> u64 {
    const BUSY: u32 = 1 << 31;
    const HEADER: u64 = 8;
    const TIME: usize = 8;
    let end = Instant::now() + DEADLINE;
    loop {
        told.poll(source);
        run_true();
        let is_busy = |record: &[u8]| {
            record[TIME..].first_chunk().is_some_and(|word| u32::from_le_bytes(*word) & BUSY != 0)
        };
        if let Some((position, _)) = source.ring.ahead().find(|(_, record)| is_busy(record)) {
            return position + HEADER + TIME as u64;
        }
        assert!(Instant::now() < end, "no time has such a bit");
    }
}

/// The one who comes after waits for a record that is never complete, and gives up what its predecessor had read
/// and what it had not.
#[test]
fn what_a_ring_holds_that_is_never_complete_is_lost_but_for_what_was_read() {
    for is_held_up in [false, true] {
        check_take_over(is_held_up);
    }
}

/// `is_held_up`: the predecessor could read no further either.
fn check_take_over(is_held_up: bool) {
    let Some(pins) = Pins::new() else { return };
    detach_all(&pins.0).unwrap();
    let mut before = EbpfSource::open(pins.config(1 << 20)).unwrap();
    before.keep();
    let mut told = Told::default();
    let place = looks_unfinished(&mut before, &mut told);
    let bookmark = if is_held_up {
        before.ring.go_to(usize::try_from(place).unwrap());
        before.bookmark()
    } else {
        told.poll_until_balanced(&mut before);
        before.bookmark()
    };
    before.ring.give_up_to(usize::try_from(place).unwrap());
    drop(before);
    run_true();
    let mut after = EbpfSource::open(pins.config(1 << 20)).unwrap();
    assert_eq!(after.resume(&bookmark).unwrap(), Resumed::Continued);
    told.poll_until_balanced(&mut after);
    assert!(told.lost >= 3, "{told:?}");
    assert_eq!(after.malformed(), 1);
}

/// A record that is never complete holds up those behind it until the end: they are lost, not forgotten.
#[test]
fn what_a_record_holds_up_until_the_end_is_lost() {
    let Some(pins) = Pins::new() else { return };
    detach_all(&pins.0).unwrap();
    let mut source = EbpfSource::open(EbpfConfig { ring_bytes: 1 << 20, pin: None }).unwrap();
    let mut told = Told::default();
    let place = looks_unfinished(&mut source, &mut told);
    source.ring.go_to(usize::try_from(place).unwrap());
    source.finish(&mut |event| told.take(event)).unwrap();
    assert!(told.is_balanced(&source), "{told:?} of {:?}", source.kernel_counts());
    assert!(told.lost > 0, "{told:?}");
}

/// Whether it did harm nobody knows: it is to be looked.
#[test]
fn what_programs_could_not_keep_of_tasks_is_a_doubt() {
    let Some(pins) = Pins::new() else { return };
    let mut source = EbpfSource::open(pins.config(1 << 20)).unwrap();
    source.poll(Duration::ZERO, &mut |_| {}).unwrap();
    let map = MapData::from_pin(source.raw.pins().unwrap().maps().join("stats")).unwrap();
    let mut stats = PerCpuArray::<_, [u64; stat::COUNT]>::try_from(Map::PerCpuArray(map)).unwrap();
    let mut counts = stats.get(&0, 0).unwrap().to_vec();
    for counts in &mut counts {
        counts[stat::STORAGE_FAILED] += 3;
    }
    let failed = 3 * counts.len() as u64;
    stats.set(0, PerCpuValues::try_from(counts).unwrap(), 0).unwrap();
    let end = Instant::now() + DEADLINE;
    while source.doubts() < failed {
        assert!(Instant::now() < end, "{} of {failed}", source.doubts());
        source.poll(Duration::from_millis(100), &mut |_| {}).unwrap();
    }
    assert_eq!(source.kernel_counts().unwrap().storage_failed, failed);
}
