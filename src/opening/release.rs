//! Letting go of the descriptor, once, and of what waits for it.
//!
//! Where the last to leave is an ordinary thread, it *retires* the opening: takes the wakers out of the list, drops the
//! waiters, closes the descriptor.
//!
//! Where it is [`Opening::end`] or [`Opening::abort`], it may be running in a signal handler, which may not free memory.
//! And a waiter, which may free only its owner, was promised that its descriptor stays open. So if there are waiters
//! (or if somebody borrowed the descriptor through `AsFd`) the connection or listener is let go of, but its number
//! stays taken: [`sys::replace`] puts something dead in its place. The number and the waiters go when the socket is
//! closed, opened again or dropped by its owner. Without waiters and borrowers there is nothing to keep, and `close(2)`
//! does it.
//!
//! On a platform without signal handlers ([`sys::ENDING_MAY_FREE`]) the waiters are dropped there and then, and only a
//! borrower keeps the number.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::side::{Side, SideWaiter};
use super::{CLOSED, NUMBER_NEEDED_BY_BORROWER, NUMBER_NEEDED_BY_WAITERS, OPENED, Opening, RELEASED, USER, closed_by};
use crate::registry::EndedBy;
use crate::sync::{MutexGuard, back_off};
use crate::sys::{self, NO_SOCKET, OwnedSocket};

impl Opening {
    /// Closes the socket and returns when the connection or listener is gone. For ordinary threads that are not inside.
    pub(crate) fn close(&self) {
        if let Some(state) = self.set_and_enter(CLOSED) {
            self.ended(state, EndedBy::Owner);
            if self.leave() {
                self.release(Linger::Kept);
            }
        }
        self.wait_released();
        self.release(Linger::Kept);
    }

    /// Gives up the descriptor's number, if it is still taken: nobody can be borrowing it any more.
    ///
    /// For the only owner, after `close`.
    pub(crate) fn close_number(&self) {
        self.close_socket();
    }

    /// Closes the opening without closing the descriptor, and hands this over.
    ///
    /// For the only owner, when no operation can be under way.
    pub(crate) fn take(&self) -> Option<OwnedSocket> {
        // It stays open, so the queues have to let go of it: before they are told, and forget the subscription.
        self.followers.for_each(|follower| follower.unwatch());
        let mut spins = 0;
        let mut state = self.state.load(SeqCst);
        loop {
            if state & CLOSED != 0 || state & OPENED == 0 {
                return None;
            }
            if state >= USER {
                // Somebody aborts it through a handle at this very moment.
                back_off(&mut spins);
                state = self.state.load(SeqCst);
                continue;
            }
            match self.state.compare_exchange(state, state | CLOSED, SeqCst, SeqCst) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        self.ended(state, EndedBy::Owner);
        self.drop_waiters();
        let socket = self.take_socket();
        self.release(Linger::Kept);
        socket
    }

    /// Leaves without freeing anything, where this may be a signal handler. Async-signal-safe, but for errno.
    pub(super) fn release_in_handler(&self) {
        if !self.leave() {
            return;
        }
        let keepers = if sys::ENDING_MAY_FREE {
            self.drop_waiters();
            NUMBER_NEEDED_BY_BORROWER
        } else {
            NUMBER_NEEDED_BY_WAITERS | NUMBER_NEEDED_BY_BORROWER
        };
        let state = self.state.load(SeqCst);
        let socket = self.socket.load(SeqCst);
        if socket != NO_SOCKET {
            // SAFETY: the descriptor is open until the last to leave, which is the caller, closes it.
            let borrowed = unsafe { sys::borrow(socket) };
            sys::dont_linger(borrowed);
            if state & keepers == 0 {
                drop(self.take_socket());
            } else {
                sys::replace(borrowed);
            }
        }
        self.state.fetch_or(RELEASED, SeqCst);
    }

    /// Frees what a closed opening that nobody is inside of still holds. Not for signal handlers.
    ///
    /// To be called by the last to leave, or once `RELEASED` is set; may be repeated.
    pub(super) fn release(&self, linger: Linger) {
        let _retiring = self.releasing.lock();
        self.drop_waiters();
        if let Some(membership) = self.membership.get() {
            membership.leave();
        }
        let state = self.state.load(SeqCst);
        let socket = self.socket.load(SeqCst);
        if socket != NO_SOCKET {
            // SAFETY: nobody but the caller, who holds `releasing` and is past the last to leave, closes it.
            let borrowed = unsafe { sys::borrow(socket) };
            if state & RELEASED == 0 && linger == Linger::Waived {
                sys::dont_linger(borrowed);
            }
            if state & NUMBER_NEEDED_BY_BORROWER == 0 {
                self.close_socket();
            } else if state & RELEASED == 0 {
                sys::replace(borrowed);
            }
        }
        if state & RELEASED == 0 {
            self.state.fetch_or(RELEASED, SeqCst);
            if state & OPENED != 0 {
                log::debug!(target: "wakesock", "{}: {}", self.id, closed_by(state));
            }
        }
        self.released.notify_all();
    }

    /// Takes the socket out of whatever waits for it, so that it can be closed.
    pub(super) fn drop_waiters(&self) {
        if sys::REPORTS_ONCE {
            self.followers.for_each(|follower| follower.unwatch());
        }
        for installed in self.sides.iter().filter_map(Side::vacate) {
            self.drop_waiter(installed);
        }
    }

    pub(super) fn drop_waiter(&self, installed: SideWaiter) {
        let SideWaiter { waiter, waker } = installed;
        drop(self.wakers.remove(waker));
        drop(waiter);
    }

    /// Closes the descriptor, if it is still there.
    fn close_socket(&self) {
        if let Some(socket) = self.take_socket() {
            sys::close(socket);
        }
    }

    /// Takes the descriptor out; whoever gets it closes it. Async-signal-safe.
    pub(super) fn take_socket(&self) -> Option<OwnedSocket> {
        let socket = self.socket.swap(NO_SOCKET, SeqCst);
        // SAFETY: `install` put in a descriptor that it owned, and the swap hands it to one caller only. Callers are
        // past the last to leave, or (in `undo_open`) inside alone, so nobody uses it.
        (socket != NO_SOCKET).then(|| unsafe { sys::own(socket) })
    }

    /// Blocks until the connection or listener is gone, which it soon is: the socket is closed and all are woken.
    fn wait_released(&self) {
        let mut spins = 0;
        let mut releasing = self.releasing.lock();
        loop {
            let state = self.state.load(SeqCst);
            if state & RELEASED != 0 {
                return;
            }
            if state >= USER {
                // The last to leave notifies, unless it is a signal handler: that can't, so look again soon.
                self.released.wait_for(&mut releasing, Duration::from_millis(1));
            } else {
                // Somebody is about to release it, or is doing so in a signal handler on another thread.
                MutexGuard::unlocked(&mut releasing, || back_off(&mut spins));
            }
        }
    }
}

/// Whether closing may wait for unsent data, where the user asked for that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Linger {
    /// In `TcpSocket::close` and `drop`, which the limit was meant for.
    Kept,
    /// In an operation that was ended from elsewhere, and has a limit of its own.
    Waived,
}
