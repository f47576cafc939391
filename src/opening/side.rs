//! The two sides of a socket, each with a waiter that its operations block in.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::{Duration, Instant};

use crate::deadline::{AtomicMoment, Ends};
use crate::error::{Error, Result};
use crate::raw_wait::Waiter;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex};
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
pub(crate) struct Side {
    /// How many waits have returned. Written with the waiter locked.
    waits: AtomicUsize,
    /// There is a waiter, or was.
    is_used: AtomicBool,
    /// No operation waits beyond this: set by handles.
    deadline: AtomicMoment,
    /// See [`Ends`].
    ends: AtomicU64,
    /// Locked by the thread that blocks in the waiter.
    pub(super) waiter: Mutex<Option<SideWaiter>>,
}

/// A waiter, and where its waker stands among those that `close` and `abort` wake.
pub(crate) struct SideWaiter {
    pub(super) waiter: Box<dyn Waiter>,
    pub(super) waker: Key<Arc<dyn Wake>>,
}

impl Default for Side {
    fn default() -> Side {
        Side {
            waits: AtomicUsize::default(),
            is_used: AtomicBool::default(),
            deadline: AtomicMoment::none(),
            ends: AtomicU64::new(Ends::NONE.0),
            waiter: Mutex::default(),
        }
    }
}

impl Side {
    // The deadline.

    /// Sets when waits end. Those that are under way have to be woken. Async-signal-safe.
    pub(super) fn set_deadline(&self, at: Option<Instant>) {
        self.deadline.store(at);
        if at.is_some_and(|at| at <= Instant::now()) {
            self.ends.fetch_add(Ends::EXPIRATION, SeqCst);
        }
    }

    /// Counts an abort. Async-signal-safe.
    pub(super) fn count_abort(&self) {
        self.ends.fetch_add(Ends::ABORT, SeqCst);
    }

    /// When waits end.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.load()
    }

    #[inline]
    pub(crate) fn has_deadline(&self) -> bool {
        self.deadline.is_some()
    }

    /// How often waits were ended from elsewhere.
    #[inline]
    pub(crate) fn ends(&self) -> Ends {
        Ends(self.ends.load(SeqCst))
    }

    /// How long the next wait may take that may take `left` as far as the operation goes. `Err(Timeout)` if the deadline has
    /// passed.
    #[inline]
    pub(crate) fn left_to_deadline(&self, left: Option<Duration>) -> Result<Option<Duration>> {
        match self.deadline() {
            None => Ok(left),
            Some(at) => until(at, left).map(Some),
        }
    }

    // The waiter.

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

#[cold]
fn until(at: Instant, left: Option<Duration>) -> Result<Duration> {
    let step = at.saturating_duration_since(Instant::now());
    if step.is_zero() {
        return Err(Error::Timeout);
    }
    Ok(left.map_or(step, |left| left.min(step)))
}
