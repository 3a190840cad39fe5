//! Reusable buffers for decoded images. A new buffer costs a page fault for every 4 KiB of an
//! image.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The initial capacity of a buffer, in bytes. A buffer that is full doubles its capacity.
const INITIAL_BYTES: usize = 64 * 1024;

/// A pool of buffers. Used buffers belong to images; returned ones wait for the next image.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Idle>,
    idle_limit: usize,
    held: AtomicUsize,
    peak: AtomicUsize,
}

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    /// Creates a pool that keeps at most `idle_bytes` bytes of unused buffers, and frees the rest.
    pub fn new(idle_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            idle_limit: idle_bytes,
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    /// Returns the bytes of all existing buffers, used or unused.
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns the maximum that [`held_bytes`](Self::held_bytes) has reached.
    pub fn peak_bytes(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Returns an empty buffer, with the capacity of an earlier one if there is one.
    pub(super) fn take(self: &Arc<Self>) -> PooledBuffer {
        let mut idle = self.idle();
        let bytes = idle.buffers.pop().unwrap_or_default();
        idle.bytes -= bytes.capacity();
        PooledBuffer {
            bytes,
            pool: Arc::clone(self),
        }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        let mut idle = self.idle();
        if capacity == 0 || idle.bytes + capacity > self.idle_limit {
            self.held.fetch_sub(capacity, Ordering::Relaxed);
            return;
        }
        bytes.clear();
        idle.bytes += capacity;
        idle.buffers.push(bytes);
    }

    fn grew(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(held, Ordering::Relaxed);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Every change leaves the list consistent, so a poisoned lock can be used.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of one image. When it is dropped, its memory returns to the pool.
///
/// It owns its bytes and can be sent to other threads, so `bytes::Bytes::from_owner(buffer)` uploads
/// it without a copy.
pub struct PooledBuffer {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl PooledBuffer {
    /// Returns the bytes to append to. Call [`make_room`](Self::make_room) first.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Grows the capacity so that `more` bytes fit. The capacity doubles, but exceeds `limit` only
    /// if the bytes need it.
    #[inline]
    pub(super) fn make_room(&mut self, more: usize, limit: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            self.grow(more, limit);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize, limit: usize) {
        let before = self.bytes.capacity();
        let doubled = (2 * before).max(INITIAL_BYTES).min(limit);
        let wanted = doubled.max(self.bytes.len() + more);
        self.bytes.reserve_exact(wanted - self.bytes.len());
        self.pool.grew(self.bytes.capacity() - before);
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.give_back(mem::take(&mut self.bytes));
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PooledBuffer({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &Arc<Pool>, size: usize) -> PooledBuffer {
        let mut buffer = pool.take();
        buffer.make_room(size, usize::MAX);
        buffer.bytes_mut().resize(size, 7);
        buffer
    }

    #[test]
    fn a_dropped_buffer_is_reused() {
        let pool = Pool::new(150_000);
        let address = filled(&pool, 100_000).as_ref().as_ptr();
        for size in [50_000, 100_000, 1] {
            let next = filled(&pool, size);
            assert_eq!(
                (next.as_ref().as_ptr(), next.as_ref().len()),
                (address, size)
            );
        }
        assert_eq!((pool.held_bytes(), pool.peak_bytes()), (100_000, 100_000));
    }

    #[test]
    fn buffers_beyond_the_idle_limit_are_freed() {
        let pool = Pool::new(150_000);
        let (one, two) = (filled(&pool, 100_000), filled(&pool, 100_000));
        assert_eq!(pool.held_bytes(), 200_000);
        drop((one, two));
        assert_eq!((pool.held_bytes(), pool.peak_bytes()), (100_000, 200_000));
    }

    #[test]
    fn growth_doubles_but_stays_below_the_limit() {
        let pool = Pool::new(0);
        let mut buffer = filled(&pool, 100_000);
        buffer.make_room(1, 150_000);
        assert_eq!(pool.held_bytes(), 150_000);
    }

    #[test]
    fn a_buffer_may_be_owned_by_another_thread() {
        fn owner<T: AsRef<[u8]> + Send + 'static>(_: &T) {}
        owner(&filled(&Pool::new(0), 1));
    }
}
