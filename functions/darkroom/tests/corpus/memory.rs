//! The peak memory of a case.

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The heap is shared by the whole process, so only one case is measured at a time, while nothing
/// else runs.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `cases` while no other test of this file runs.
pub(crate) fn alone(cases: impl FnOnce()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    cases();
}

/// Returns the result of `case`, and the number of bytes that it held at its peak in addition to
/// those held before.
pub(crate) fn peak<T>(case: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let given = case();
    (given, HEAP.peak_usage().saturating_sub(before))
}

#[test]
fn the_peak_is_measured_after_it_has_passed() {
    alone(|| {
        let (length, peak) = peak(|| std::hint::black_box(vec![1_u8; 3 << 20]).len());
        assert_eq!(length, 3 << 20);
        // The test harness may free some of its memory meanwhile.
        assert!((2 << 20..4 << 20).contains(&peak), "{peak}");
    });
}
