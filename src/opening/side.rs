//! The two sides of a socket, each with a waiter that its operations block in.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::raw_wait::Waiter;
use crate::sync::{AtomicBool, AtomicUsize, Mutex};
use crate::wake::{Key, Wake};

/// The direction an operation blocks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Reading and accepting.
    Read,
    /// Writing and connecting.
    Write,
}

/// Where the operations of one direction block.
#[derive(Default)]
pub(crate) struct Side {
    /// How many waits have returned. Written with the waiter locked.
    waits: AtomicUsize,
    /// There is a waiter, or was.
    is_used: AtomicBool,
    /// Locked by the thread that blocks in the waiter.
    pub(super) waiter: Mutex<Option<SideWaiter>>,
}

/// A waiter, and where its waker stands among those that `close` and `abort` wake.
pub(crate) struct SideWaiter {
    pub(super) waiter: Box<dyn Waiter>,
    pub(super) waker: Key<Arc<dyn Wake>>,
}

impl Side {
    /// How many waits have returned: to be read before an attempt that other threads may make, too.
    ///
    /// A thread that finds another number afterwards must try again before it waits. The wait in between may have taken
    /// the only report of the work that is there, since reports are of changes.
    #[inline]
    pub(crate) fn waits(&self) -> usize {
        self.waits.load(Acquire)
    }

    /// A wait has returned. For the thread that has locked the waiter.
    #[inline]
    pub(super) fn count_wait(&self) {
        self.waits.store(self.waits().wrapping_add(1), Release);
    }

    /// Notes that a waiter is about to be made.
    pub(super) fn use_waiter(&self) {
        self.is_used.store(true, Relaxed);
    }

    /// Takes the waiter out. For when no thread can be using it.
    pub(super) fn take_waiter(&self) -> Option<SideWaiter> {
        // What such a thread has done was before it left, and so before this.
        self.is_used.load(Relaxed).then(|| self.waiter.lock().take()).flatten()
    }
}
