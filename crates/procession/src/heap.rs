//! What memory on the heap costs.

/// Bytes that an allocation of `bytes` takes: allocators hand out multiples of 16, and most of them
/// (glibc's is meant here) put 8 bytes of their own in front.
pub(crate) fn allocation(bytes: usize) -> usize {
    const OWN: usize = 8;
    const UNIT: usize = 16;
    const LEAST: usize = 32;
    if bytes == 0 { 0 } else { (bytes + OWN).next_multiple_of(UNIT).max(LEAST) }
}

/// Bytes that a value of `bytes` takes that is behind an [`Arc`](std::sync::Arc).
pub(crate) fn counted_allocation(bytes: usize) -> usize {
    const COUNTS: usize = 2 * size_of::<usize>();
    allocation(COUNTS + bytes)
}
