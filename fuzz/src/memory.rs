//! How much memory a parser takes, to tell when that is out of proportion to its input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The system's allocator, with a count for each thread of the bytes that it holds, and of the most since the count
/// was begun.
struct Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn add(bytes: usize, is_more: bool) {
    let change = if is_more { bytes.cast_signed() } else { -bytes.cast_signed() };
    // At the end of a thread there is no count any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now + change;
        held.set((now, most.max(now)));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: every call is passed on as it is to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), true);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), true);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size, true);
        add(layout.size(), false);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(layout.size(), false);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Does something with `input`, for which this thread may at no time hold more than `least` bytes, and `times` bytes
/// for each one of the input, beyond what it held before.
///
/// # Panics
///
/// It took more.
pub fn within<T>(input: &[u8], least: usize, times: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let result = work();
    let (_, most) = HELD.with(Cell::get);
    let taken = usize::try_from(most - before).unwrap_or_default();
    let allowed = least + times * input.len();
    assert!(taken <= allowed, "{taken} bytes of memory for {} bytes of input", input.len());
    result
}
