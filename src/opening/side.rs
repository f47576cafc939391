//! The two sides of a socket, each with a waiter that its operations block in.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use crate::raw_wait::Waiter;
use crate::sync::{AtomicUsize, Mutex};
use crate::wake::{Key, Wake};

/// The direction an operation blocks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Reading and accepting.
    Read,
    /// Writing and connecting.
    Write,
}

/// Where the operations of one side block.
#[derive(Default)]
pub(crate) struct Side {
    /// How many waits have returned. A thread that finds another count than before its attempt must try again before it
    /// waits: the wait in between may have taken the only report of the work that is there (reports are of changes).
    /// Written with the waiter locked.
    pub(super) waits: AtomicUsize,
    /// Locked by the thread that blocks in the waiter.
    pub(super) waiter: Mutex<Option<SideWaiter>>,
}

/// A waiter, and where its waker stands among those that a close wakes.
pub(crate) struct SideWaiter {
    pub(crate) waiter: Box<dyn Waiter>,
    pub(crate) waker: Key<Arc<dyn Wake>>,
}

impl Side {
    /// The count to hand to [`WaitTurn::someone_waited_since`], to be taken before an attempt that others may make, too.
    pub(crate) fn waits(&self) -> usize {
        self.waits.load(Acquire)
    }

    /// Takes the waiter out. For when nobody can be using it.
    pub(crate) fn vacate(&self) -> Option<SideWaiter> {
        self.waiter.lock().take()
    }
}
