//! How much the threads of a test allocate: an allocator that counts, and may refuse, for each thread for itself.
//!
//! For test binaries that ask for it by `#[path]`, since it is the one of the whole process.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(unsafe_code, reason = "an allocator is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// What this thread has allocated and not freed (or less, if it has freed what others have allocated), and the most that
    /// was.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
    /// The most bytes that this thread gets at once.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn is_refused(size: usize) -> bool {
    LARGEST.try_with(|largest| size > largest.get()).unwrap_or(false)
}

fn count(more: isize) {
    // A thread that ends frees what it has, too.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now + more;
        held.set((now, most.max(now)));
    });
}

// SAFETY: the system's allocator does all that isn't refused.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return ptr::null_mut();
        }
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return ptr::null_mut();
        }
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused(size) {
            return ptr::null_mut();
        }
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Runs `run`, and gives how many bytes this thread had then at most beyond those that it has now.
pub fn most_allocated<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let result = run();
    let (_, most) = HELD.get();
    (result, (most - before) as usize)
}

/// Runs `run`, in which this thread gets no memory of more than `largest` bytes at once.
pub fn with_no_larger<T>(largest: usize, run: impl FnOnce() -> T) -> T {
    LARGEST.set(largest);
    let result = run();
    LARGEST.set(usize::MAX);
    result
}
