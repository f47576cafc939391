//! The state word of an opening: whether it may be used, and how many use it. (Go's `internal/poll` has its `fdMutex` for
//! this.)
//!
//! The low bits are flags, the rest counts *users*: threads inside an operation, and `close` and `abort` while they
//! run. Entering and leaving, and setting [`CLOSED`], are read-modify-writes of this one word, hence:
//!
//! - No thread enters once `CLOSED` is set. From then on the count only falls.
//! - So there is exactly one moment at which `CLOSED` is set and the count is zero, and exactly one thread that brings
//!   it about: the *last to leave*. It releases the descriptor.
//! - A thread that has entered may use the descriptor without asking again.
//!
//! # Orderings
//!
//! All accesses, but one that says why, are sequentially consistent, because two of them take part in handshakes of the
//! form "write mine, then read yours": a thread inserts its waker, then looks whether it was closed; `end` sets
//! `CLOSED`, then walks the wakers. The same with the registry: join, then look at its level; raise the level, then walk
//! the members.

use std::sync::atomic::{Ordering, Ordering::SeqCst};

use crate::error::{Error, Result};
use crate::sync::AtomicUsize;

/// Closed, for good. No thread enters any more.
pub(super) const CLOSED: usize = 1;
/// `abort` is in force.
pub(super) const ABORTED: usize = 1 << 1;
/// The program has a connection or a listener. Stays set after `CLOSED`.
pub(super) const OPENED: usize = 1 << 2;
/// The flags that say whether operations may begin: the lowest byte, so that one comparison tells.
const BEGINNING: usize = 0xff;
/// The registry has closed it.
pub(super) const BY_REGISTRY: usize = 1 << 8;
/// It is, or is to become, a listener.
pub(super) const LISTENER: usize = 1 << 9;
/// A waiter exists or, where mio reports once, a queue follows the socket. Both must be removed before the descriptor is
/// closed. A signal handler can't do that, so it calls [`replace`](crate::sys::replace) instead of close(2).
pub(super) const NUMBER_NEEDED_BY_WAITERS: usize = 1 << 10;
/// The program holds a `BorrowedFd`, which is good for as long as the `TcpSocket` is not changed or dropped.
pub(super) const NUMBER_NEEDED_BY_BORROWER: usize = 1 << 11;
/// The connection or listener is gone. Comes after `CLOSED`, once the count is zero.
pub(super) const RELEASED: usize = 1 << 12;
/// One thread is freeing the waiters and the number, or has done so.
pub(super) const FREEING: usize = 1 << 13;
/// The waiters are gone and, unless the program borrows it, the number.
pub(super) const FREED: usize = 1 << 14;
/// A thread waits for `RELEASED` or `FREED`, or did: it has to be notified.
pub(super) const AWAITED: usize = 1 << 15;
/// A thread waits that is to be woken when the registry stops accepting.
pub(super) const ENDS_WITH_ACCEPTING: usize = 1 << 16;
/// It was made elsewhere: others may have descriptors of it, too, and what they change is changed here.
pub(super) const MADE_ELSEWHERE: usize = 1 << 17;
/// The program has borrowed it: others may have descriptors of it since.
pub(super) const LENT: usize = 1 << 18;
/// The registry has stopped accepting while clients were waiting for this listener: they are still handed out.
pub(super) const HANDS_OUT_LAST: usize = 1 << 19;
/// One user.
pub(super) const USER: usize = 1 << 20;

/// See the module's description.
pub(super) struct State(AtomicUsize);

impl State {
    pub(super) fn new() -> State {
        State(AtomicUsize::new(0))
    }

    #[inline]
    pub(super) fn load(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Whether all of `flags` are set.
    pub(super) fn has(&self, flags: usize) -> bool {
        self.load() & flags == flags
    }

    /// Whether operations may begin, for those that need nothing of the system.
    #[inline]
    pub(super) fn may_begin(&self) -> bool {
        // No handshake hangs on this: what has ended the socket before this call is seen all the same.
        self.0.load(Ordering::Relaxed) & BEGINNING == OPENED
    }

    /// Whether operations may go on.
    #[inline]
    pub(super) fn may_go_on(&self) -> bool {
        self.load() & (CLOSED | ABORTED) == 0
    }

    /// Sets `flags`. Gives the state before.
    #[cfg_attr(all(test, wakesock_loom), track_caller)]
    pub(super) fn set(&self, flags: usize) -> usize {
        self.0.fetch_or(flags, SeqCst)
    }

    pub(super) fn clear(&self, flags: usize) {
        self.0.fetch_and(!flags, SeqCst);
    }

    /// Enters if `next` allows it, which gives the flags from then on.
    #[inline]
    pub(super) fn enter(&self, next: impl Fn(usize) -> Result<usize>) -> Result<()> {
        let mut state = self.0.load(SeqCst);
        loop {
            let entered = next(state)? + USER;
            match self.0.compare_exchange_weak(state, entered, SeqCst, SeqCst) {
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    /// Enters an operation on an open socket. False if none may begin.
    #[inline(always)]
    pub(super) fn enter_if_open(&self) -> bool {
        let mut state = self.0.load(SeqCst);
        while state & BEGINNING == OPENED {
            match self.0.compare_exchange_weak(state, state + USER, SeqCst, SeqCst) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Leaves. True means that the caller was the last to leave something closed, and has to release it.
    #[inline]
    #[must_use]
    pub(super) fn leave(&self) -> bool {
        let before = self.0.fetch_sub(USER, SeqCst);
        before & CLOSED != 0 && before / USER == 1
    }

    /// Sets `flags` and enters, in one step, unless it is closed already. Gives the state before. Async-signal-safe.
    pub(super) fn set_and_enter(&self, flags: usize) -> Option<usize> {
        self.update(|state| (state & CLOSED == 0).then_some((state | flags) + USER))
            .ok()
    }

    /// Sets `OPENED` and leaves, in one step, unless it is closed already: then gives the state.
    pub(super) fn open_and_leave(&self) -> Result<(), usize> {
        self.update(|state| (state & CLOSED == 0).then_some((state | OPENED) - USER))
            .map(drop)
    }

    /// Sets `CLOSED` if it is open and no thread has entered. Gives the state before or, if that isn't so, the state.
    pub(super) fn close_unused(&self) -> Result<usize, usize> {
        self.update(|state| (state & (CLOSED | OPENED) == OPENED && state < USER).then_some(state | CLOSED))
    }

    fn update(&self, next: impl FnMut(usize) -> Option<usize>) -> Result<usize, usize> {
        self.0.fetch_update(SeqCst, SeqCst, next)
    }
}

/// What operations on something closed return.
pub(super) fn closed_by(state: usize) -> Error {
    if state & BY_REGISTRY != 0 {
        Error::Shutdown
    } else {
        Error::Closed
    }
}

/// Why operations may not go on, if they may not. Else the state.
#[inline]
pub(super) fn unless_ended(state: usize) -> Result<usize> {
    if state & (CLOSED | ABORTED) == 0 {
        Ok(state)
    } else {
        Err(why_refused(state))
    }
}

/// Why operations may not begin, if they may not. Else the state.
#[inline]
pub(super) fn if_open(state: usize) -> Result<usize> {
    if state & BEGINNING == OPENED {
        Ok(state)
    } else {
        Err(why_refused(state))
    }
}

/// Why a state is refused that is closed, aborted or, where that is asked for, not open.
#[cold]
fn why_refused(state: usize) -> Error {
    if state & CLOSED == 0 && state & ABORTED != 0 {
        Error::Aborted
    } else {
        closed_by(state)
    }
}
