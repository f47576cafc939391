//! Which thread has closed a socket: that one knows of the end, the others may have to be told.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The thread that was the last to close a socket by its owner's call. None: a handle or the registry has closed it.
#[derive(Default)]
pub(super) struct Closer(AtomicUsize);

impl Closer {
    /// Notes that it is this thread.
    pub(super) fn set_this_thread(&self) {
        self.0.store(this_thread(), Relaxed);
    }

    pub(super) fn is_this_thread(&self) -> bool {
        self.0.load(Relaxed) == this_thread()
    }
}

/// A number that no other thread has, nor gets later. Never zero.
fn this_thread() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(LAST.fetch_add(1, Relaxed) + 1);
        }
        number.get()
    })
}
