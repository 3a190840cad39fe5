//! How much memory a case takes at its peak.

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The heap is the whole process's: one measurement at a time, and nothing beside it.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `cases` while no other test of this file runs.
pub(crate) fn alone(cases: impl FnOnce()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    cases();
}

/// What `case` gives, and how many bytes more than before it held at its peak.
pub(crate) fn peak<T>(case: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let given = case();
    (given, HEAP.peak_usage().saturating_sub(before))
}

#[test]
fn the_peak_is_seen_although_it_is_over() {
    alone(|| {
        let (length, peak) = peak(|| std::hint::black_box(vec![1_u8; 3 << 20]).len());
        assert_eq!(length, 3 << 20);
        // The test harness may free something of its own meanwhile.
        assert!((2 << 20..4 << 20).contains(&peak), "{peak}");
    });
}
