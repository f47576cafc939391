//! Taking turns at a socket's waiters.
//!
//! A socket has two at most: one for the operations that read or accept, one for those that write or connect. A waiter
//! is used by one thread at a time. Threads that share a side, as in an accept loop, queue for it, each with its own
//! limit: one blocks in the waiter, the others behind it. When the first leaves, with its client or for whatever
//! reason, one of the others takes its place. So work that arrives wakes one thread, and a close, which wakes the
//! first, reaches all of them, one after the other.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::InUse;
use super::side::{Direction, Side, SideWaiter};
use crate::deadline::{Deadline, Ends};
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::park::SCARCE_STEP;
use crate::raw_wait::{RawWait, Waiter};
use crate::sync::MutexGuard;
use crate::sys;
use crate::wake::Wake;

/// The right to block in one side's waiter.
///
/// To be given back before leaving the operation, as the borrow sees to: the last to leave takes the waiters out.
pub(crate) struct WaitTurn<'a> {
    in_use: &'a InUse<'a>,
    direction: Direction,
    side: &'a Side,
    waiter: Held<'a>,
    /// A waiter whose wait has failed, and its waker. They are the program's, so they are dropped after the lock, in the
    /// order of these fields.
    failed: Option<(Arc<dyn Wake>, Box<dyn Waiter>)>,
}

impl<'a> WaitTurn<'a> {
    /// Queues for the right. None if `when_wait` is to be called before it was had.
    pub(crate) fn take(
        in_use: &'a InUse<'_>,
        direction: Direction,
        deadline: &mut Deadline,
    ) -> Result<Option<WaitTurn<'a>>> {
        let side = in_use.opening().side(direction);
        let end = |deadline: &mut Deadline| deadline.instant().into_iter().chain(side.deadline()).min();
        let waiter = side.waiter.try_lock().or_else(|| match end(deadline) {
            None => Some(side.waiter.lock()),
            Some(at) => side.waiter.try_lock_until(at),
        });
        match waiter {
            Some(waiter) => Ok(Some(WaitTurn {
                in_use,
                direction,
                side,
                waiter: Held {
                    guard: Some(waiter),
                    side,
                    ends_before: deadline.noted_ends(),
                },
                failed: None,
            })),
            None => {
                let left = deadline.left()?;
                side.left_to_deadline(left).map(|_| None)
            }
        }
    }

    /// Whether a wait has returned since this was the number of [`waits`](Side::waits), so that one must try again before
    /// waiting.
    pub(crate) fn someone_waited_since(&self, waits: usize) -> bool {
        self.side.waits() != waits
    }

    /// Whether a wait of this turn has failed. Then the turn has to end, which frees the waiter.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Blocks until the descriptor may be ready, or something has ended or woken the wait, or the limit is over.
    ///
    /// May return early, and does so at `at_latest`. Returns at once if `pointless()`: that is asked after the waker is in the
    /// list, so a later change wakes the wait. `Err(Timeout)` only if the limit was over before; else the caller tries again and comes back.
    pub(crate) fn wait(
        &mut self,
        raw_wait: &dyn RawWait,
        events: WaitEvents,
        deadline: &mut Deadline,
        at_latest: Option<Instant>,
        pointless: impl Fn() -> bool,
    ) -> Result<WaitEvents> {
        let left = match at_latest {
            None => deadline.left()?,
            Some(at) => deadline.left_until(Some(at))?,
        };
        let opening = self.in_use.opening();
        // What a listener still hands out is not for the system to report: its descriptor may be a dead one by now.
        let is_for_last = || events.contains(WaitEvents::READ) && opening.hands_out_last();
        let side_waiter = match &mut *self.waiter {
            Some(made) => made,
            none => {
                self.side.use_waiter();
                match self.in_use.make_waiter(raw_wait, events) {
                    Ok(made) => none.insert(made),
                    Err(_) if is_for_last() => return Ok(WaitEvents::empty()),
                    Err(error) => return self.wait_somehow(error, events, left),
                }
            }
        };
        // With the waker in the list: what ends the socket from here on finds it, and what came before is seen here.
        self.in_use.check_after_wait(self.direction, deadline)?;
        let left = self.side.left_to_deadline(left)?;
        if pointless() || is_for_last() {
            return Ok(WaitEvents::empty());
        }
        let reported = side_waiter.waiter.wait(events, left);
        self.side.count_wait();
        if is_for_last() {
            return Ok(reported.unwrap_or_default());
        }
        reported.or_else(|error| self.wait_failed(error, events, left))
    }

    /// Goes on after a wait that has said `error`. The next wait has another waiter: one that has failed may not be fit for
    /// another wait, as mio's poll isn't on Windows.
    pub(crate) fn wait_failed(
        &mut self,
        error: io::Error,
        events: WaitEvents,
        left: Option<Duration>,
    ) -> Result<WaitEvents> {
        if error.kind() != io::ErrorKind::Interrupted
            && let Some(SideWaiter { waiter, waker }) = self.waiter.take()
        {
            let waker = self.in_use.remove_waker(waker);
            self.failed = Some((waker, waiter));
        }
        self.wait_somehow(error, events, left)
    }

    /// What is done when the waiter can't be made or can't wait, and says `error`.
    #[cold]
    fn wait_somehow(&self, error: io::Error, events: WaitEvents, left: Option<Duration>) -> Result<WaitEvents> {
        let reported = match error {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(WaitEvents::empty()),
            // Better a wait that looks around now and then than none. The next one tries to do better.
            error if sys::is_scarcity(&error) => {
                let step = left.unwrap_or(SCARCE_STEP).min(SCARCE_STEP);
                sys::poll(self.in_use.socket(), events, Some(step))
            }
            error => Err(error),
        };
        reported.map_err(|error| Error::io("wait", error))
    }
}

/// A side's waiter, locked.
///
/// If waits were ended meanwhile, it goes to the thread that has queued longest, which they were to end, too: or this thread
/// might come back and block in front of it.
struct Held<'a> {
    /// There until the drop.
    guard: Option<MutexGuard<'a, Option<SideWaiter>>>,
    side: &'a Side,
    ends_before: Ends,
}

impl Deref for Held<'_> {
    type Target = Option<SideWaiter>;

    fn deref(&self) -> &Option<SideWaiter> {
        match &self.guard {
            Some(guard) => guard,
            None => &None,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Option<SideWaiter> {
        match &mut self.guard {
            Some(guard) => guard,
            None => unreachable!("it is locked until the drop"),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take()
            && self.side.ends() != self.ends_before
        {
            MutexGuard::unlock_fair(guard);
        }
    }
}

/// A waiter that no other thread has.
pub(crate) struct OwnTurn<'a> {
    side: &'a Side,
    waiter: MutexGuard<'a, Option<SideWaiter>>,
}

impl Side {
    /// Takes the waiter, if there is one and no other thread has it.
    #[inline(always)]
    pub(crate) fn try_waiter(&self) -> Option<OwnTurn<'_>> {
        let waiter = self.waiter.try_lock()?;
        waiter.is_some().then_some(OwnTurn { side: self, waiter })
    }
}

impl OwnTurn<'_> {
    /// Blocks until the descriptor may be ready, or something has ended or woken the wait, or `left` is over. May return
    /// early.
    #[inline(always)]
    pub(crate) fn wait(&mut self, events: WaitEvents, left: Option<Duration>) -> io::Result<WaitEvents> {
        let Some(SideWaiter { waiter, .. }) = &mut *self.waiter else {
            return Ok(WaitEvents::empty());
        };
        let reported = waiter.wait(events, left);
        self.side.count_wait();
        reported
    }
}
