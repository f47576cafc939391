//! What a socket shares with its handles, its registry and the threads inside its operations: the state word, the
//! descriptor's life, and the waiters.
//!
//! One [`Opening`] is one *opening* of a socket: it exists before the descriptor does (so that a `connect` can be ended
//! before it has one), gets a descriptor at most once that users see, and is never opened again after it was closed.
//!
//! # The state word
//!
//! The low bits are flags, the rest counts *users*: threads inside an operation, and `close` and `abort` while they
//! run. Entering and leaving, and setting [`CLOSED`], are read-modify-writes of this one word, hence:
//!
//! - Nobody enters once `CLOSED` is set. From then on the count only falls.
//! - So there is exactly one moment at which `CLOSED` is set and the count is zero, and exactly one thread that brings
//!   it about: the *last to leave*. It releases the descriptor.
//! - Whoever is inside may use the descriptor without asking again.
//!
//! # Orderings
//!
//! All accesses to the state word, but one that says why, are sequentially consistent, because two of them take part in
//! handshakes of the form "write mine, then read yours": a thread inserts its waker, then looks whether it was closed;
//! `end` sets `CLOSED`, then walks the wakers. The same with the registry: join, then look at its level; raise the
//! level, then walk the members.

mod first_error;
mod follower;
mod id;
mod in_use;
mod readiness;
mod release;
mod side;
mod turn;

use std::fmt;
use std::sync::atomic::{Ordering, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

pub(crate) use self::first_error::FirstError;
pub(crate) use self::follower::Follower;
pub use self::id::SocketId;
pub(crate) use self::in_use::InUse;
pub(crate) use self::readiness::{Readiness, Snapshot};
pub(crate) use self::side::Direction;
use self::side::Side;
pub(crate) use self::turn::WaitTurn;
use crate::deadline::Abort;
use crate::error::{Error, Result};
use crate::registry::{EndedBy, Member, Membership, ShutdownLevel};
use crate::sync::{AtomicUsize, Condvar, Mutex};
use crate::sys::{self, AtomicRawSocket, BorrowedSocket, NO_SOCKET, RawSocket};
use crate::wake::{List, WakeList};

/// Closed, for good. Nobody enters any more.
const CLOSED: usize = 1;
/// It was the registry that closed it.
const BY_REGISTRY: usize = 1 << 1;
/// `abort` is in force.
const ABORTED: usize = 1 << 2;
/// Users have a connection or a listener. Stays set after `CLOSED`.
const OPENED: usize = 1 << 3;
/// It is, or is to become, a listener.
const LISTENER: usize = 1 << 4;
/// There may be waiters, or polls of queues that have to be told before, so whoever may not free the ones and tell the
/// others may not close the descriptor either.
const NUMBER_NEEDED_BY_WAITERS: usize = 1 << 5;
/// Somebody holds a `BorrowedFd`, which is good for as long as the `TcpSocket` is not changed or dropped.
const NUMBER_NEEDED_BY_BORROWER: usize = 1 << 6;
/// The connection or listener is gone. Comes after `CLOSED`, once the count is zero.
const RELEASED: usize = 1 << 7;
/// One user.
const USER: usize = 1 << 8;

pub(crate) struct Opening {
    id: SocketId,
    state: AtomicUsize,
    socket: AtomicRawSocket,
    /// What `close` and `abort` wake.
    wakers: WakeList,
    /// Where the operations of each [`Direction`] block.
    sides: [Side; 2],
    /// The place in the registry that counts this opening; set just before `OPENED`, so that a thread or signal handler
    /// that ends it knows. Until then it belongs to the operation that opens.
    membership: OnceLock<Membership>,
    first_error: FirstError,
    readiness: Readiness,
    followers: List<Arc<dyn Follower>>,
    /// Sockets and halves of sockets that this is the opening of.
    owners: AtomicUsize,
    /// Taken while retiring; what `wait_released` blocks in.
    releasing: Mutex<()>,
    released: Condvar,
}

impl Opening {
    pub(crate) fn new() -> Arc<Opening> {
        Arc::new(Opening {
            id: SocketId::next(),
            state: AtomicUsize::new(0),
            socket: AtomicRawSocket::new(NO_SOCKET),
            wakers: WakeList::new(),
            sides: Default::default(),
            membership: OnceLock::new(),
            first_error: FirstError::default(),
            readiness: Readiness::default(),
            followers: List::new(),
            owners: AtomicUsize::new(1),
            releasing: Mutex::new(()),
            released: Condvar::new(),
        })
    }

    pub(crate) fn id(&self) -> SocketId {
        self.id
    }

    /// What the queues know of its readiness.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Whether operations may begin, for those that need nothing of the system.
    #[inline]
    pub(crate) fn may_begin(&self) -> bool {
        // No handshake hangs on this: what has ended the socket before this call is seen all the same.
        self.state.load(Ordering::Relaxed) & (OPENED | CLOSED | ABORTED) == OPENED
    }

    /// A socket is split: one more owner.
    pub(crate) fn add_owner(&self) {
        self.owners.fetch_add(1, SeqCst);
    }

    /// Whether it is not split: what the owner does, nobody does beside him.
    pub(crate) fn has_one_owner(&self) -> bool {
        self.owners.load(SeqCst) == 1
    }

    /// One owner less. True for the last one: it has the opening to itself.
    pub(crate) fn disown(&self) -> bool {
        self.owners.fetch_sub(1, SeqCst) == 1
    }

    /// What is known to have broken the connection.
    pub(crate) fn first_error(&self) -> &FirstError {
        &self.first_error
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.load(SeqCst) & (OPENED | CLOSED) == OPENED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(SeqCst) & CLOSED != 0
    }

    /// It was open once and is closed now: what comes next is another opening.
    pub(crate) fn is_spent(&self) -> bool {
        self.state.load(SeqCst) & (OPENED | CLOSED) == OPENED | CLOSED
    }

    pub(crate) fn is_listener(&self) -> bool {
        self.state.load(SeqCst) & LISTENER != 0
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.state.load(SeqCst) & ABORTED != 0
    }

    pub(crate) fn clear_abort(&self) {
        self.state.fetch_and(!ABORTED, SeqCst);
    }

    /// Why operations may not go on, if they may not.
    pub(crate) fn check(&self) -> Result<()> {
        refusal(self.state.load(SeqCst))
    }

    /// Why operations may not begin, if they may not.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        refusal_unless_open(self.state.load(SeqCst))
    }

    /// Enters an operation on an open socket.
    #[inline]
    pub(crate) fn enter(&self) -> Result<InUse<'_>> {
        self.enter_if(refusal_unless_open)
    }

    /// Enters whatever works on an open socket, aborted or not.
    pub(crate) fn enter_even_aborted(&self) -> Result<InUse<'_>> {
        self.enter_if(|state| refusal_unless_open(state & !ABORTED))
    }

    /// Enters whatever is to be done to an opening that is not closed.
    pub(crate) fn enter_even_unopened(&self) -> Result<InUse<'_>> {
        self.enter_if(|state| refusal(state & !ABORTED))
    }

    /// Enters the operation that is to open the socket.
    pub(crate) fn enter_opening(&self, listener: bool) -> Result<InUse<'_>> {
        let in_use = self.enter_if(refusal)?;
        if listener {
            self.state.fetch_or(LISTENER, SeqCst);
        } else {
            self.state.fetch_and(!LISTENER, SeqCst);
        }
        Ok(in_use)
    }

    fn enter_if(&self, allowed: impl Fn(usize) -> Result<()>) -> Result<InUse<'_>> {
        let mut state = self.state.load(SeqCst);
        loop {
            allowed(state)?;
            match self.state.compare_exchange_weak(state, state + USER, SeqCst, SeqCst) {
                Ok(_) => return Ok(InUse::new(self)),
                Err(now) => state = now,
            }
        }
    }

    /// Ends the opening: wakes all that block in it and sees to the release of the descriptor, now if nobody is inside.
    ///
    /// Async-signal-safe, but for errno.
    pub(crate) fn end(&self, by: EndedBy) {
        let flags = match by {
            EndedBy::Owner => CLOSED,
            EndedBy::Registry => CLOSED | BY_REGISTRY,
        };
        if let Some(state) = self.set_and_enter(flags) {
            self.ended(state, by);
            self.release_in_handler();
        }
    }

    /// Makes operations fail with `Aborted`, and wakes those that block. Async-signal-safe, but for errno.
    pub(crate) fn abort(&self) {
        if let Some(state) = self.set_and_enter(ABORTED) {
            self.wake_users(state);
            self.release_in_handler();
        }
    }

    /// Wakes what blocks, so that it looks around. Async-signal-safe, but for errno.
    pub(crate) fn wake(&self) {
        self.wake_users(self.state.load(SeqCst));
    }

    /// Sets `flags` and enters, in one step, unless it is closed already. Gives the state before.
    fn set_and_enter(&self, flags: usize) -> Option<usize> {
        self.state
            .fetch_update(SeqCst, SeqCst, |state| {
                (state & CLOSED == 0).then_some((state | flags) + USER)
            })
            .ok()
    }

    /// What follows the setting of `CLOSED` in a state that was `state`. Async-signal-safe, but for errno.
    fn ended(&self, state: usize, by: EndedBy) {
        if state & OPENED != 0
            && let Some(membership) = self.membership.get()
        {
            membership.registry().socket_ended(state & LISTENER != 0, by);
        }
        self.wake_users(state);
        self.tell_followers();
    }

    /// Wakes those who were inside in a state that was `state`. Who enters later sees for himself what has changed.
    fn wake_users(&self, state: usize) {
        if state >= USER {
            self.wakers.wake_all();
        }
    }

    /// Lends the descriptor for as long as the owner doesn't close it by `&mut` or drop. None when there is none.
    pub(crate) fn lend(&self) -> Option<BorrowedSocket<'_>> {
        let _inside = self.enter_even_aborted().ok()?;
        self.state.fetch_or(NUMBER_NEEDED_BY_BORROWER, SeqCst);
        let socket = self.socket.load(SeqCst);
        // SAFETY: the caller is inside here, so the descriptor is open, and NUMBER_NEEDED_BY_BORROWER is set before it leaves, hence before
        // anybody releases it. With NUMBER_NEEDED_BY_BORROWER set, releasing keeps the number taken until `close_number`, which the
        // owner calls only when it has the socket to itself, so after the borrow of `self` that `'_` stands for.
        Some(unsafe { sys::borrow(socket) })
    }

    /// The descriptor's number, which may be closed at any time; [`NO_SOCKET`] if there is none.
    pub(crate) fn raw_socket(&self) -> RawSocket {
        match self.enter_even_aborted() {
            Ok(_) => self.socket.load(SeqCst),
            Err(_) => NO_SOCKET,
        }
    }

    /// Leaves; true means that the caller was the last of a closed socket and has to release it.
    #[inline]
    fn leave(&self) -> bool {
        let before = self.state.fetch_sub(USER, SeqCst);
        before & CLOSED != 0 && before / USER == 1
    }
}

impl Member for Opening {
    fn raised(&self, level: ShutdownLevel) {
        match level {
            ShutdownLevel::Accepting if !self.is_listener() => self.wake(),
            _ => self.end(EndedBy::Registry),
        }
    }
}

impl Abort for Opening {
    fn abort(&self) {
        Opening::abort(self);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // A `TcpSocket` has closed its opening before it lets go of it. What is left is an opening that failed.
        self.close_number();
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(SeqCst);
        let name = match state & (OPENED | CLOSED) {
            0 => "not open",
            OPENED if state & LISTENER != 0 => "listening",
            OPENED => "open",
            _ => "closed",
        };
        f.debug_struct("Opening")
            .field("id", &self.id)
            .field("state", &name)
            .field("aborted", &(state & ABORTED != 0))
            .field("users", &(state / USER))
            .finish_non_exhaustive()
    }
}

/// What operations on something closed return.
fn closed_by(state: usize) -> Error {
    if state & BY_REGISTRY != 0 {
        Error::Shutdown
    } else {
        Error::Closed
    }
}

#[inline]
fn refusal(state: usize) -> Result<()> {
    if state & (CLOSED | ABORTED) == 0 {
        Ok(())
    } else {
        Err(why_refused(state))
    }
}

#[inline]
fn refusal_unless_open(state: usize) -> Result<()> {
    if state & (CLOSED | ABORTED | OPENED) == OPENED {
        Ok(())
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
