//! What an operation costs: CPU time of this thread, allocations, bytes, and resident memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: Counting = Counting { allocations: AtomicU64::new(0), bytes: AtomicU64::new(0) };

/// The system's allocator, with a count of what was asked of it.
///
/// The counts are loaded and stored rather than added to atomically: no two threads work at once
/// while something is measured, and an atomic addition would add to the time.
struct Counting {
    allocations: AtomicU64,
    bytes: AtomicU64,
}

impl Counting {
    fn count(&self, size: usize) {
        self.allocations.store(self.allocations.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + size as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on as it is to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Cost of one operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) nanos: f64,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
}

impl Cost {
    /// The cost per operation of `work`, which does `operations` of them.
    pub(crate) fn of(operations: u32, work: impl FnOnce()) -> Self {
        let before = (cpu_nanos(), counts());
        work();
        let after = (cpu_nanos(), counts());
        #[expect(clippy::cast_precision_loss, reason = "no measurement is exact to 52 bits")]
        let each = |before: u64, after: u64| (after - before) as f64 / f64::from(operations);
        Self {
            nanos: each(before.0, after.0),
            allocations: each(before.1.0, after.1.0),
            bytes: each(before.1.1, after.1.1),
        }
    }

    /// The median of each measure.
    pub(crate) fn median(costs: &[Self]) -> Self {
        let median = |measure: fn(&Self) -> f64| {
            let mut values: Vec<_> = costs.iter().map(measure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            nanos: median(|cost| cost.nanos),
            allocations: median(|cost| cost.allocations),
            bytes: median(|cost| cost.bytes),
        }
    }
}

fn counts() -> (u64, u64) {
    (ALLOCATOR.allocations.load(Ordering::Relaxed), ALLOCATOR.bytes.load(Ordering::Relaxed))
}

/// Not the wall clock: others use this machine too.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Bytes of this program that are in memory now.
pub(crate) fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * page_size() as u64
}
