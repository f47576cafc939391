//! What a socket shares with its handles, its registry and the threads inside its operations: the state word, the
//! descriptor's life, and the waiters.
//!
//! One [`Shared`] is one *opening* of a socket: it exists before the descriptor does (so that a `connect` can be ended
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
//! # Releasing
//!
//! Where the last to leave is an ordinary thread, it *retires* the opening: takes the wakers out of the list, drops the
//! waiters, closes the descriptor.
//!
//! Where it is [`Shared::end`] or [`Shared::abort`], it may be running in a signal handler, which may not free memory.
//! And a waiter, which may free only its owner, was promised that its descriptor stays open. So if there are waiters
//! (or if somebody borrowed the descriptor through `AsFd`) the connection or listener is let go of, but its number
//! stays taken: [`sys::replace`] puts something dead in its place. The number and the waiters go when the socket is
//! closed, opened again or dropped by its owner. Without waiters and borrowers there is nothing to keep, and `close(2)`
//! does it.
//!
//! On a platform without signal handlers ([`sys::ENDING_MAY_FREE`]) the waiters are dropped there and then, and only a
//! borrower keeps the number.
//!
//! # Orderings
//!
//! All accesses to the state word, but one that says why, are sequentially consistent, because two of them take part in
//! handshakes of the form "write mine, then read yours": a thread inserts its waker, then looks whether it was closed;
//! `end` sets `CLOSED`, then walks the wakers. The same with the registry: join, then look at its level; raise the
//! level, then walk the members.

use std::fmt;
use std::io;
use std::mem;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::broken::Broken;
use crate::deadline::{Abort, Deadline};
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::park::{AnyParker, Seen};
use crate::raw_wait::{RawWait, WaitSource};
use crate::readiness::{Known, Readiness};
use crate::registry::{EndedBy, Member, Membership, ShutdownLevel, ShutdownRegistry};
use crate::sync::{AtomicUsize, Condvar, Mutex, MutexGuard, back_off};
use crate::sys::{self, AtomicRawSocket, BorrowedSocket, NO_SOCKET, OwnedSocket, RawSocket};
use crate::turn::{Installed, Place, Side};
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
const WAITERS: usize = 1 << 5;
/// Somebody holds a `BorrowedFd`, which is good for as long as the `TcpSocket` is not changed or dropped.
const LENT: usize = 1 << 6;
/// The connection or listener is gone. Comes after `CLOSED`, once the count is zero.
const RELEASED: usize = 1 << 7;
/// One user.
const USER: usize = 1 << 8;

/// The name of one opening of a socket: never given twice in a process.
///
/// ```
/// use std::collections::HashMap;
/// use wakesock::TcpSocket;
///
/// let mut socket = TcpSocket::new();
/// socket.listen_on("127.0.0.1:0", &Default::default())?;
/// let names = HashMap::from([(socket.id(), "first")]);
/// assert_eq!(names.get(&socket.handle().id()), Some(&"first"));
/// // Opened again, it is another one.
/// socket.listen_on("127.0.0.1:0", &Default::default())?;
/// assert_eq!(names.get(&socket.id()), None);
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(NonZeroU64);

impl SocketId {
    fn next() -> SocketId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        SocketId(NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX))
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketId({})", self.0)
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What follows the changes of a socket: its subscription in a queue.
pub(crate) trait Follower: Send + Sync {
    /// The socket has changed, or was closed. Async-signal-safe, but for errno.
    ///
    /// Whatever calls this has another reference, so dropping this one frees nothing.
    fn changed(self: Arc<Self>);

    /// Stops watching the socket, which may be closed next. Not for signal handlers.
    fn unwatch(&self);
}

pub(crate) struct Shared {
    id: SocketId,
    state: AtomicUsize,
    socket: AtomicRawSocket,
    /// What `close` and `abort` wake.
    wakers: WakeList,
    /// Where the operations of each [`Side`] block.
    places: [Place; 2],
    /// The place in the registry that counts this opening; set just before `OPENED`, so that a thread or signal handler
    /// that ends it knows. Until then it belongs to the operation that opens.
    membership: OnceLock<Membership>,
    broken: Broken,
    readiness: Readiness,
    followers: List<Arc<dyn Follower>>,
    /// Sockets and halves of sockets that this is the opening of.
    owners: AtomicUsize,
    /// Taken while retiring; what `wait_released` blocks in.
    retiring: Mutex<()>,
    released: Condvar,
}

impl Shared {
    pub(crate) fn new() -> Arc<Shared> {
        Arc::new(Shared {
            id: SocketId::next(),
            state: AtomicUsize::new(0),
            socket: AtomicRawSocket::new(NO_SOCKET),
            wakers: WakeList::new(),
            places: Default::default(),
            membership: OnceLock::new(),
            broken: Broken::default(),
            readiness: Readiness::default(),
            followers: List::new(),
            owners: AtomicUsize::new(1),
            retiring: Mutex::new(()),
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

    pub(crate) fn followers(&self) -> &List<Arc<dyn Follower>> {
        &self.followers
    }

    /// Tells the followers that the socket has changed. Async-signal-safe, but for errno.
    pub(crate) fn tell_followers(&self) {
        self.followers.for_each(|follower| Arc::clone(follower).changed());
    }

    /// Whether operations may begin, for those that need nothing of the system.
    #[inline]
    pub(crate) fn may_begin(&self) -> bool {
        // No handshake hangs on this: what has ended the socket before this call is seen all the same.
        self.state.load(Ordering::Relaxed) & (OPENED | CLOSED | ABORTED) == OPENED
    }

    /// To be called inside, before a queue first watches the socket.
    pub(crate) fn becomes_watched(&self) {
        if sys::REPORTS_ONCE {
            self.state.fetch_or(WAITERS, SeqCst);
        }
    }

    /// Takes note of whether the socket has read ahead and, if `all_taken`, that the user has all that was there.
    #[inline]
    pub(crate) fn set_unread(&self, unread: bool, all_taken: bool) {
        let is_news = self.readiness.set_unread(unread);
        if all_taken {
            self.readiness.taken();
        }
        // The system doesn't know that something is left to read, so queues have to be told; and if there isn't any
        // more, but the system has something, that this is nobody's as yet.
        let is_nobodys = (is_news || all_taken) && self.readiness.load().is_readable();
        if is_news && unread || is_nobodys {
            self.tell_followers();
        }
    }

    /// Takes note that a client was taken, when this much was `known` of the listener. The next one is another event.
    pub(crate) fn accepted(&self, known: Known) {
        if known.is_readable() {
            self.readiness.taken();
            // It may be for another thread, which has gone to sleep over this one's.
            self.tell_followers();
        }
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
    pub(crate) fn broken(&self) -> &Broken {
        &self.broken
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
    pub(crate) fn enter(&self) -> Result<Inside<'_>> {
        self.enter_if(refusal_unless_open)
    }

    /// Enters whatever works on an open socket, aborted or not.
    pub(crate) fn enter_even_aborted(&self) -> Result<Inside<'_>> {
        self.enter_if(|state| refusal_unless_open(state & !ABORTED))
    }

    /// Enters whatever is to be done to an opening that is not closed.
    pub(crate) fn enter_even_unopened(&self) -> Result<Inside<'_>> {
        self.enter_if(|state| refusal(state & !ABORTED))
    }

    /// Enters the operation that is to open the socket.
    pub(crate) fn enter_opening(&self, listener: bool) -> Result<Inside<'_>> {
        let inside = self.enter_if(refusal)?;
        if listener {
            self.state.fetch_or(LISTENER, SeqCst);
        } else {
            self.state.fetch_and(!LISTENER, SeqCst);
        }
        Ok(inside)
    }

    fn enter_if(&self, allowed: impl Fn(usize) -> Result<()>) -> Result<Inside<'_>> {
        let mut state = self.state.load(SeqCst);
        loop {
            allowed(state)?;
            match self.state.compare_exchange_weak(state, state + USER, SeqCst, SeqCst) {
                Ok(_) => {
                    return Ok(Inside {
                        shared: self,
                        is_in: true,
                    });
                }
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
            self.leave_for_handlers();
        }
    }

    /// Makes operations fail with `Aborted`, and wakes those that block. Async-signal-safe, but for errno.
    pub(crate) fn abort(&self) {
        if let Some(state) = self.set_and_enter(ABORTED) {
            self.wake_users(state);
            self.leave_for_handlers();
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

    /// Closes the socket and returns when the connection or listener is gone. For ordinary threads that are not inside.
    pub(crate) fn close(&self) {
        if let Some(state) = self.set_and_enter(CLOSED) {
            self.ended(state, EndedBy::Owner);
            if self.leave() {
                self.retire(Linger::Kept);
            }
        }
        self.wait_released();
        self.retire(Linger::Kept);
    }

    /// Gives up the descriptor's number, if it is still taken: nobody can be borrowing it any more.
    ///
    /// For the only owner, after `close`.
    pub(crate) fn forget_socket(&self) {
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
        self.retire(Linger::Kept);
        socket
    }

    /// Lends the descriptor for as long as the owner doesn't close it by `&mut` or drop. None when there is none.
    pub(crate) fn lend(&self) -> Option<BorrowedSocket<'_>> {
        let _inside = self.enter_even_aborted().ok()?;
        self.state.fetch_or(LENT, SeqCst);
        let socket = self.socket.load(SeqCst);
        // SAFETY: the caller is inside here, so the descriptor is open, and LENT is set before it leaves, hence before
        // anybody releases it. With LENT set, releasing keeps the number taken until `forget_socket`, which the
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

    /// Leaves without freeing anything, where this may be a signal handler. Async-signal-safe, but for errno.
    fn leave_for_handlers(&self) {
        if !self.leave() {
            return;
        }
        let keepers = if sys::ENDING_MAY_FREE {
            self.drop_waiters();
            LENT
        } else {
            WAITERS | LENT
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
    fn retire(&self, linger: Linger) {
        let _retiring = self.retiring.lock();
        self.drop_waiters();
        if let Some(membership) = self.membership.get() {
            membership.leave();
        }
        let state = self.state.load(SeqCst);
        let socket = self.socket.load(SeqCst);
        if socket != NO_SOCKET {
            // SAFETY: nobody but the caller, who holds `retiring` and is past the last to leave, closes it.
            let borrowed = unsafe { sys::borrow(socket) };
            if state & RELEASED == 0 && linger == Linger::Waived {
                sys::dont_linger(borrowed);
            }
            if state & LENT == 0 {
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
    fn drop_waiters(&self) {
        if sys::REPORTS_ONCE {
            self.followers.for_each(|follower| follower.unwatch());
        }
        for installed in self.places.iter().filter_map(Place::vacate) {
            self.drop_waiter(installed);
        }
    }

    fn drop_waiter(&self, installed: Installed) {
        let Installed { waiter, waker } = installed;
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
    fn take_socket(&self) -> Option<OwnedSocket> {
        let socket = self.socket.swap(NO_SOCKET, SeqCst);
        // SAFETY: `install` put in a descriptor that it owned, and the swap hands it to one caller only. Callers are
        // past the last to leave, or (in `discard`) inside alone, so nobody uses it.
        (socket != NO_SOCKET).then(|| unsafe { sys::own(socket) })
    }

    /// Blocks until the connection or listener is gone, which it soon is: the socket is closed and all are woken.
    fn wait_released(&self) {
        let mut spins = 0;
        let mut retiring = self.retiring.lock();
        loop {
            let state = self.state.load(SeqCst);
            if state & RELEASED != 0 {
                return;
            }
            if state >= USER {
                // The last to leave notifies, unless it is a signal handler: that can't, so look again soon.
                self.released.wait_for(&mut retiring, Duration::from_millis(1));
            } else {
                // Somebody is about to release it, or is doing so in a signal handler on another thread.
                MutexGuard::unlocked(&mut retiring, || back_off(&mut spins));
            }
        }
    }
}

impl Member for Shared {
    fn raised(&self, level: ShutdownLevel) {
        match level {
            ShutdownLevel::Accepting if !self.is_listener() => self.wake(),
            _ => self.end(EndedBy::Registry),
        }
    }
}

impl Abort for Shared {
    fn abort(&self) {
        Shared::abort(self);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A `TcpSocket` has closed its opening before it lets go of it. What is left is an opening that failed.
        self.forget_socket();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(SeqCst);
        let name = match state & (OPENED | CLOSED) {
            0 => "not open",
            OPENED if state & LISTENER != 0 => "listening",
            OPENED => "open",
            _ => "closed",
        };
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("state", &name)
            .field("aborted", &(state & ABORTED != 0))
            .field("users", &(state / USER))
            .finish_non_exhaustive()
    }
}

/// Whether closing may wait for unsent data, where the user asked for that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linger {
    /// In `TcpSocket::close` and `drop`, which the limit was meant for.
    Kept,
    /// In an operation that was ended from elsewhere, and has a limit of its own.
    Waived,
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

/// Being inside an operation: as long as this lives, the descriptor is not closed.
pub(crate) struct Inside<'a> {
    shared: &'a Shared,
    /// False for an operation that was ended while it had stepped out.
    is_in: bool,
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

impl Inside<'_> {
    /// The system's socket, or what is none and makes every call on it fail, while there is none yet.
    pub(crate) fn socket(&self) -> BorrowedSocket<'_> {
        match self.shared.socket.load(SeqCst) {
            NO_SOCKET => sys::no_socket(),
            // SAFETY: it is closed by the last to leave only, or by `discard`, which asks for `&mut self`.
            socket => unsafe { sys::borrow(socket) },
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.shared.check()
    }

    pub(crate) fn id(&self) -> SocketId {
        self.shared.id
    }

    #[inline]
    fn leave(&mut self) {
        if mem::replace(&mut self.is_in, false) && self.shared.leave() {
            self.shared.retire(Linger::Waived);
        }
    }

    /// Calls the watch of `deadline` back, if it is due, with the operation left meanwhile: so the callback may close
    /// the socket, or wait for a lock that somebody else holds who closes it.
    pub(crate) fn call_watch(&mut self, deadline: &mut Deadline) -> Result<()> {
        if let Some(watch) = deadline.watch().filter(|watch| watch.is_due()) {
            self.leave();
            watch.call(self.shared);
            // What was entered was open or being opened, and if it isn't closed it still is.
            *self = self.shared.enter_if(refusal)?;
        }
        Ok(())
    }

    /// Joins the registry, so that it can end the opening from now on.
    pub(crate) fn join(&self, registry: &ShutdownRegistry, shared: &Arc<Shared>) -> Result<Membership> {
        debug_assert!(std::ptr::eq(self.shared, &**shared));
        let membership = registry.join(shared.clone());
        if registry.refuses(shared.is_listener()) {
            shared.end(EndedBy::Registry);
        }
        self.check().map(|()| membership)
    }

    /// Gives the opening its descriptor, in place of none.
    pub(crate) fn install(&mut self, socket: OwnedSocket) {
        // Something is there if an attempt to open was cut short by a panic in the user's code.
        drop(self.shared.take_socket());
        self.shared.socket.store(sys::into_raw(socket), SeqCst);
    }

    /// Takes back an attempt to open: closes its descriptor, so that another can be made.
    pub(crate) fn discard(&mut self) {
        self.shared.drop_waiters();
        self.shared.state.fetch_and(!WAITERS, SeqCst);
        drop(self.shared.take_socket());
    }

    /// From now on users have a connection or listener.
    pub(crate) fn opened(&self, membership: Membership) -> Result<()> {
        let listener = self.shared.is_listener();
        // An opening succeeds once only, so the cell is empty.
        let membership = self.shared.membership.get_or_init(|| membership);
        let registry = membership.registry();
        registry.socket_opened(listener);
        let opened = self
            .shared
            .state
            .fetch_update(SeqCst, SeqCst, |state| (state & CLOSED == 0).then_some(state | OPENED));
        opened.map(drop).map_err(|state| {
            registry.socket_not_opened(listener);
            membership.leave();
            closed_by(state)
        })
    }

    pub(crate) fn place(&self, side: Side) -> &Place {
        &self.shared.places[side as usize]
    }

    /// Makes a waiter and puts its waker where `close` and `abort` find it.
    pub(crate) fn make_waiter(&self, raw_wait: &dyn RawWait, events: WaitEvents) -> io::Result<Installed> {
        // Before there can be one: whoever closes and may not free it must not close the descriptor either.
        self.shared.state.fetch_or(WAITERS, SeqCst);
        let waiter = raw_wait.waiter(WaitSource::new(self.socket()), events)?;
        let waker = self.shared.wakers.insert(waiter.waker());
        Ok(Installed { waiter, waker })
    }

    /// Takes back what `make_waiter` has made.
    pub(crate) fn drop_waiter(&self, installed: Installed) {
        self.shared.drop_waiter(installed);
    }

    /// Blocks in `parker`, whatever wakes that, until `look` has seen something done. `close` and `abort` end it too.
    pub(crate) fn park<T>(
        &mut self,
        parker: &mut AnyParker,
        deadline: &mut Deadline,
        mut look: impl FnMut(&AnyParker) -> Seen<T>,
    ) -> Result<T> {
        let shared = self.shared;
        let _hung = shared.wakers.hang(parker.waker());
        loop {
            self.check()?;
            let moment = match look(parker) {
                Seen::Done(value) => return Ok(value),
                Seen::NotYet(moment) => moment,
            };
            self.call_watch(deadline)?;
            let left = deadline.left_until(moment)?;
            parker.park(left).map_err(|error| Error::io("wait", error))?;
        }
    }
}
