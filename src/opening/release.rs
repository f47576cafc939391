//! Letting go of the descriptor, once, and of what waits for it: what the last to leave a closed opening does.
//!
//! An ordinary thread *releases* it: drops the waiters, takes the socket out of the queues' polls where that is needed, and
//! closes the descriptor (or puts something dead in its place, if the program has borrowed it).
//!
//! A signal handler, in `end` or `abort`, may not free memory. And a waiter was promised that its descriptor stays open while
//! it exists. So if there are waiters, or if the program has borrowed the descriptor through `AsFd`,
//! [`release_in_handler`](Opening::release_in_handler) lets go of the connection or listener and keeps its number taken:
//! [`sys::replace`] puts something dead in its place (if not even that can be made, the connection or listener stays until
//! then, too). The number and the waiters go when the owner closes the socket,
//! opens it again or drops it. Without waiters and borrowers there is nothing to keep, and close(2) does it.
//!
//! Releasing runs code of the program's: `drop` of its waiters, and its logger. So it is done without a lock.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::Opening;
use super::side::{Side, SideWaiter};
use super::state::{
    AWAITED, CLOSED, FREED, FREEING, LISTENER, MADE_ELSEWHERE, NUMBER_NEEDED_BY_BORROWER, NUMBER_NEEDED_BY_WAITERS,
    OPENED, RELEASED, closed_by,
};
use crate::registry::EndedBy;
use crate::sync::back_off;
use crate::sys::{self, NO_SOCKET, OwnedSocket};

/// Whether closing may wait for unsent data, where the user asked for that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Linger {
    /// In `TcpSocket::close` and `drop`, which the limit was meant for.
    Kept,
    /// In an operation that was ended from elsewhere, and has a limit of its own.
    Waived,
}

impl Opening {
    /// Lets go of the connection or listener, frees what waits for it, and logs that. For the last to leave, on an ordinary
    /// thread.
    pub(super) fn release(&self, linger: Linger) {
        self.release_silently(linger);
        self.turn_last_clients_away();
        self.log_closed();
    }

    /// Lets go of the connection or listener, and frees what waits for it. For the last to leave, where nothing interrupts
    /// it but a lock of the program's may be held: the logger might want that.
    pub(super) fn release_silently(&self, linger: Linger) {
        let _releasing = Releasing {
            opening: self,
            linger: Some(linger),
        };
        if self.is_shared() {
            // What others have duplicates of stays in a poll when it is closed: epoll(7), question 6.
            self.followers.for_each(|follower| follower.unwatch());
        }
        self.drop_waiters();
    }

    /// Lets go of the connection or listener, and frees nothing. For the last to leave, where that may be a signal
    /// handler. Async-signal-safe, but for errno.
    pub(super) fn release_in_handler(&self) {
        let state = self.state.load();
        let socket = self.socket.load(SeqCst);
        if socket != NO_SOCKET {
            // SAFETY: the descriptor is open until the last to leave, which is the caller, closes it.
            let borrowed = unsafe { sys::borrow(socket) };
            sys::dont_linger(borrowed);
            if state & (NUMBER_NEEDED_BY_WAITERS | NUMBER_NEEDED_BY_BORROWER) == 0 {
                drop(self.take_socket());
            } else {
                sys::replace(borrowed, state & MADE_ELSEWHERE != 0);
            }
        }
        let state = self.state.set(RELEASED);
        self.count_release(state);
    }

    /// Frees what a signal handler that has released the opening had to leave: the waiters, and the descriptor's number
    /// unless the program borrows it. Returns when that is done. For threads that find the opening released.
    pub(super) fn free_the_rest(&self) {
        if self.state.has(FREED) {
            return;
        }
        // One thread does: another would close the number while a waiter is being dropped.
        if self.state.set(FREEING) & FREEING == 0 {
            let _releasing = Releasing {
                opening: self,
                linger: None,
            };
            self.drop_waiters();
        } else {
            self.wait_until(FREED);
        }
    }

    /// Blocks until the connection or listener is gone, which it soon is: the socket is closed and all are woken.
    pub(super) fn wait_released(&self) {
        self.wait_until(RELEASED);
    }

    fn wait_until(&self, flag: usize) {
        if self.state.has(flag) {
            return;
        }
        self.state.set(AWAITED);
        let mut releasing = self.releasing.lock();
        while !self.state.has(flag) {
            // The thread that releases notifies. A signal handler can't, so look again soon.
            self.released.wait_for(&mut releasing, Duration::from_millis(1));
        }
    }

    fn set_released(&self) {
        // A thread that waits sets its flag before it looks for these.
        let state = self.state.set(RELEASED | FREEING | FREED);
        self.count_release(state);
        if state & AWAITED != 0 {
            let _releasing = self.releasing.lock();
            self.released.notify_all();
        }
    }

    /// Tells the registry that a listener is gone, if it wasn't in this `state`. Async-signal-safe, but for errno.
    fn count_release(&self, state: usize) {
        if state & (OPENED | LISTENER | RELEASED) == OPENED | LISTENER
            && let Some(membership) = self.membership.get()
        {
            membership.registry().listener_released();
        }
    }

    fn log_closed(&self) {
        let state = self.state.load();
        if state & OPENED != 0 {
            log::debug!(target: "wakesock", "{}: {}", self.id, closed_by(state));
        }
    }

    /// Closes the opening without closing the descriptor, and hands this over.
    ///
    /// For the only owner, when no operation can be under way.
    pub(crate) fn take(&self) -> Option<OwnedSocket> {
        // It stays open, so the queues have to let go of it: before they are told, and forget the subscription. Used
        // meanwhile, so that none of them is the last to leave, and releases it, within the walk.
        let in_use = self.enter_even_aborted().ok()?;
        self.followers.for_each(|follower| follower.unwatch());
        drop(in_use);
        let mut spins = 0;
        let state = loop {
            match self.state.close_unused() {
                Ok(state) => break state,
                Err(state) if state & (CLOSED | OPENED) != OPENED => return None,
                // Another thread aborts it through a handle at this very moment.
                Err(_) => back_off(&mut spins),
            }
        };
        self.ended(state, EndedBy::Owner);
        self.leave_registry();
        let releasing = Releasing {
            opening: self,
            linger: Some(Linger::Waived),
        };
        self.drop_waiters();
        let socket = self.take_socket();
        drop(releasing);
        self.log_closed();
        socket
    }

    /// Closes the opening, and hands over what has its number then: something dead, if that was kept.
    ///
    /// For the only owner, when no operation can be under way.
    pub(crate) fn take_number(&self) -> Option<OwnedSocket> {
        self.close();
        self.take_socket()
    }

    /// Closes the descriptor, if it is still there. What still borrows the number may not use it any more.
    ///
    /// For the last to leave, for the thread that frees what a signal handler had to leave, for the only owner after `close`,
    /// and for `drop`.
    pub(crate) fn close_number(&self) {
        if self.socket.load(SeqCst) != NO_SOCKET
            && let Some(socket) = self.take_socket()
        {
            sys::close(socket);
        }
    }

    /// Takes the descriptor out, to be closed by the caller. Async-signal-safe.
    pub(super) fn take_socket(&self) -> Option<OwnedSocket> {
        let socket = self.socket.swap(NO_SOCKET, SeqCst);
        // SAFETY: `put_socket` put in a descriptor that it owned, and the swap hands it to one caller only. Callers are
        // past the last to leave, or (in `undo_open`) alone inside, so no thread uses it.
        (socket != NO_SOCKET).then(|| unsafe { sys::own(socket) })
    }

    /// Puts a descriptor in. For the operation that opens, which is alone inside.
    pub(super) fn put_socket(&self, socket: OwnedSocket) {
        let former = self.socket.swap(sys::into_raw(socket), SeqCst);
        // Something is there if an attempt to open was cut short by a panic in the user's code.
        if former != NO_SOCKET {
            // SAFETY: this function had put it in, the swap hands it to this caller only, and no thread uses it.
            drop(unsafe { sys::own(former) });
        }
    }

    /// Takes the socket out of whatever waits for it, so that it can be closed.
    pub(super) fn drop_waiters(&self) {
        if sys::REPORTS_ONCE {
            self.followers.for_each(|follower| follower.unwatch());
        }
        if !self.state.has(NUMBER_NEEDED_BY_WAITERS) {
            return;
        }
        // Both are taken before either is dropped: one that panics leaves none behind, on a number that is closed next.
        let waiters = self.sides.each_ref().map(Side::take_waiter);
        for SideWaiter { waiter, waker } in waiters.into_iter().flatten() {
            drop(self.wakers.remove(waker));
            drop(waiter);
        }
    }
}

/// The rest of releasing, after the waiters: done also where one of them, which is the program's, panics.
struct Releasing<'a> {
    opening: &'a Opening,
    /// None where a signal handler has let go of the connection or listener already.
    linger: Option<Linger>,
}

impl Drop for Releasing<'_> {
    fn drop(&mut self) {
        let opening = self.opening;
        let is_borrowed = opening.state.has(NUMBER_NEEDED_BY_BORROWER);
        let socket = opening.socket.load(SeqCst);
        if let Some(linger) = self.linger
            && socket != NO_SOCKET
        {
            // SAFETY: whatever makes this with a `linger` is the last to leave, or has the opening to itself. The descriptor
            // is open until that closes it, below.
            let borrowed = unsafe { sys::borrow(socket) };
            if linger == Linger::Waived {
                sys::dont_linger(borrowed);
            }
            if is_borrowed {
                sys::replace(borrowed, opening.is_made_elsewhere());
            }
        }
        if !is_borrowed {
            opening.close_number();
        }
        opening.set_released();
    }
}
