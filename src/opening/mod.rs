//! One *opening* of a socket: what it shares with its handles, its registry, its queues and the threads inside its
//! operations.
//!
//! An [`Opening`] exists before the descriptor does, so that a `connect` can be ended before it has one. It gets a
//! descriptor at most once that the program sees, and is never opened again after it was closed: a `TcpSocket` that is
//! opened again has another one.
//!
//! | file | what |
//! |---|---|
//! | `state` | the state word: entering, leaving, closing |
//! | `in_use` | what a thread that has entered may do |
//! | `release` | what the last to leave does; the signal handler's way of it |
//! | `side`, `turn` | the waiters of the two directions, and taking turns at them |
//! | `last_clients` | clients that were waiting when the registry stopped accepting |
//! | `readiness`, `follower`, `alarm`, `hold_back`, `underway` | what queues are told |
//! | `first_error` | what broke the connection |
//! | `told` | which threads know that it has ended |
//! | `peer` | whom the connection is with, and how errors say so |

mod alarm;
mod first_error;
mod follower;
mod hold_back;
mod id;
mod in_use;
mod last_clients;
mod peer;
mod readiness;
mod release;
mod side;
mod state;
mod told;
mod turn;
mod underway;

use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::alarm::Alarm;
pub(crate) use self::alarm::MAY_HAVE_ALARMS;
pub(crate) use self::first_error::FirstError;
pub(crate) use self::follower::Follower;
use self::hold_back::HoldBack;
pub(crate) use self::hold_back::longer_pause;
pub use self::id::SocketId;
pub(crate) use self::in_use::{InUse, Unreleased};
use self::last_clients::LastClients;
use self::peer::Peer;
pub(crate) use self::readiness::{Readiness, Snapshot};
use self::release::Linger;
pub(crate) use self::side::Direction;
use self::side::Side;
use self::state::{
    ABORTED, BY_REGISTRY, CLOSED, ENDS_WITH_ACCEPTING, HANDS_OUT_LAST, LENT, LISTENER, MADE_ELSEWHERE,
    NUMBER_NEEDED_BY_BORROWER, OPENED, State, USER, if_open, unless_ended,
};
use self::told::Told;
pub(crate) use self::turn::WaitTurn;
pub(crate) use self::underway::{Due, Published, Underway};
use crate::deadline::Abort;
use crate::error::Result;
use crate::events::WaitEvents;
use crate::registry::{EndedBy, Member, Membership, ShutdownLevel};
use crate::sync::{AtomicUsize, Condvar, Mutex};
use crate::sys::{self, AtomicRawSocket, BorrowedSocket, INVALID_SOCKET, NO_SOCKET, RawSocket};
use crate::wake::{List, WakeList};

/// See the module's description.
pub(crate) struct Opening {
    id: SocketId,
    state: State,
    socket: AtomicRawSocket,
    /// What `close` and `abort` wake.
    wakers: WakeList,
    /// Where the operations of each [`Direction`] block.
    sides: [Side; 2],
    /// In the registry that counts this opening. Set just before `OPENED`, so that whatever ends it knows the registry.
    /// Until then it belongs to the operation that opens.
    membership: OnceLock<Membership>,
    peer: Peer,
    first_error: FirstError,
    readiness: Readiness,
    followers: List<Arc<dyn Follower>>,
    last_clients: LastClients,
    alarm: Alarm,
    hold_back: HoldBack,
    underway: underway::Place,
    told: Told,
    /// Sockets and halves of sockets that this is the opening of.
    owners: AtomicUsize,
    /// What `wait_released` blocks in.
    releasing: Mutex<()>,
    released: Condvar,
}

impl Opening {
    pub(crate) fn new() -> Arc<Opening> {
        Arc::new(Opening {
            id: SocketId::next(),
            state: State::new(),
            socket: AtomicRawSocket::new(NO_SOCKET),
            wakers: WakeList::new(),
            sides: Default::default(),
            membership: OnceLock::new(),
            peer: Peer::default(),
            first_error: FirstError::default(),
            readiness: Readiness::default(),
            followers: List::new(),
            last_clients: LastClients::default(),
            alarm: Alarm::default(),
            hold_back: HoldBack::default(),
            underway: Default::default(),
            told: Told::default(),
            owners: AtomicUsize::new(1),
            releasing: Mutex::new(()),
            released: Condvar::new(),
        })
    }

    pub(crate) fn id(&self) -> SocketId {
        self.id
    }

    /// What is known to have broken the connection.
    pub(crate) fn first_error(&self) -> &FirstError {
        &self.first_error
    }

    // Owners.

    /// A socket is split: one more owner.
    pub(crate) fn add_owner(&self) {
        self.owners.fetch_add(1, SeqCst);
    }

    /// Whether it is not split: then no other thread does what its owner does.
    pub(crate) fn has_one_owner(&self) -> bool {
        self.owners.load(SeqCst) == 1
    }

    /// One owner less. True for the last one: it has the opening to itself.
    pub(crate) fn disown(&self) -> bool {
        // The only one can't be joined by another: only an owner adds one.
        self.has_one_owner() || self.owners.fetch_sub(1, SeqCst) == 1
    }

    // State.

    /// Whether operations may begin, for those that need nothing of the system.
    #[inline]
    pub(crate) fn may_begin(&self) -> bool {
        self.state.may_begin()
    }

    /// Whether operations may go on. If not, [`check`](Opening::check) says why.
    #[inline]
    pub(crate) fn may_go_on(&self) -> bool {
        self.state.may_go_on()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.load() & (OPENED | CLOSED) == OPENED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.has(CLOSED)
    }

    /// It was open once and is closed now: what comes next is another opening.
    pub(crate) fn is_spent(&self) -> bool {
        self.state.has(OPENED | CLOSED)
    }

    pub(crate) fn is_listener(&self) -> bool {
        self.state.has(LISTENER)
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.state.has(ABORTED)
    }

    pub(crate) fn clear_abort(&self) {
        self.state.clear(ABORTED);
    }

    /// Why operations may not go on, if they may not.
    pub(crate) fn check(&self) -> Result<()> {
        unless_ended(self.state.load()).map(drop)
    }

    /// Why operations may not begin, if they may not.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if_open(self.state.load()).map(drop)
    }

    // Entering.

    /// Enters an operation on an open socket.
    #[inline]
    pub(crate) fn enter(&self) -> Result<InUse<'_>> {
        self.enter_if(if_open)
    }

    /// Enters an operation on an open socket. None if none may begin.
    #[inline(always)]
    pub(crate) fn enter_at_once(&self) -> Option<InUse<'_>> {
        self.state.enter_if_open().then(|| InUse::new(self))
    }

    /// Enters whatever works on an open socket, aborted or not.
    pub(crate) fn enter_even_aborted(&self) -> Result<InUse<'_>> {
        self.enter_if(|state| if_open(state & !ABORTED).map(|_| state))
    }

    /// Enters whatever is to be done to an opening that is not closed.
    pub(crate) fn enter_even_unopened(&self) -> Result<InUse<'_>> {
        self.enter_if(|state| unless_ended(state & !ABORTED).map(|_| state))
    }

    /// Enters the operation that is to open the socket.
    pub(crate) fn enter_opening(&self, listener: bool) -> Result<InUse<'_>> {
        let kind = if listener { LISTENER } else { 0 };
        self.enter_if(|state| Ok(unless_ended(state)? & !LISTENER | kind))
    }

    #[inline]
    fn enter_if(&self, next: impl Fn(usize) -> Result<usize>) -> Result<InUse<'_>> {
        self.state.enter(next)?;
        Ok(InUse::new(self))
    }

    /// Where the operations of one direction block.
    #[inline]
    pub(crate) fn side(&self, direction: Direction) -> &Side {
        &self.sides[direction as usize]
    }

    // Ending.

    /// Ends the opening from elsewhere: wakes all that block in it and sees to the release of the descriptor, now if no
    /// thread is inside. Async-signal-safe, but for errno.
    pub(crate) fn end(&self, by: EndedBy) {
        let flags = match by {
            EndedBy::Owner => CLOSED,
            EndedBy::Registry => CLOSED | BY_REGISTRY,
        };
        if let Some(state) = self.state.set_and_enter(flags) {
            self.ended(state, by);
            self.leave_in_handler();
        }
    }

    /// Makes operations fail with `Aborted`, and wakes those that block. Async-signal-safe.
    pub(crate) fn abort(&self) {
        sys::keep_errno(|| {
            if let Some(state) = self.state.set_and_enter(ABORTED) {
                // What waits ends, even if the flag is gone when it looks.
                self.sides.iter().for_each(Side::count_abort);
                self.wake_users(state);
                if state & OPENED == 0 {
                    // A connection that is being made has failed with it.
                    self.tell_followers();
                }
                self.leave_in_handler();
            }
        });
    }

    /// Sets when the waits of one direction end, those under way included. Async-signal-safe.
    pub(crate) fn set_deadline(&self, direction: Direction, at: Option<Instant>) {
        sys::keep_errno(|| {
            self.side(direction).set_deadline(at);
            self.wake();
        });
    }

    /// Wakes what blocks, so that it looks around. Async-signal-safe, but for errno.
    pub(crate) fn wake(&self) {
        self.wake_users(self.state.load());
    }

    /// Whether it has ended, and the calling thread has not been [told](Opening::end_is_told). Not for signal handlers.
    pub(crate) fn has_untold_end(&self) -> bool {
        self.is_closed() && !self.told.knows()
    }

    /// Notes that the calling thread knows of the end, if it has ended. Not for signal handlers.
    pub(crate) fn end_is_told(&self) {
        if self.is_closed() {
            self.told.tell();
        }
    }

    /// Closes the socket and returns when the connection or listener is gone. For ordinary threads that are not inside.
    pub(crate) fn close(&self) {
        let state = self.state.set_and_enter(CLOSED);
        if let Some(state) = state {
            self.ended(state, EndedBy::Owner);
        }
        self.leave_registry();
        if state.is_some() && self.state.leave() {
            self.release(Linger::Kept);
        } else {
            self.wait_released();
            self.free_the_rest();
            self.turn_last_clients_away();
        }
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

    /// Wakes the threads that were inside in a state that was `state`. One that enters later sees for itself what has
    /// changed.
    fn wake_users(&self, state: usize) {
        if state >= USER {
            self.wakers.wake_all();
        }
    }

    /// Leaves, where this may be a signal handler. Async-signal-safe, but for errno.
    fn leave_in_handler(&self) {
        if !self.state.leave() {
            return;
        }
        if sys::HANDLERS_INTERRUPT {
            self.release_in_handler();
        } else {
            self.release_silently(Linger::Waived);
        }
    }

    fn leave_registry(&self) {
        if let Some(membership) = self.membership.get() {
            membership.leave();
        }
    }

    /// Ends a listener that the registry lets accept no more: at once or, if clients are waiting, when the last of them was
    /// handed out. Async-signal-safe, but for errno.
    fn stop_accepting(&self) {
        let Some(state) = self.state.set_and_enter(HANDS_OUT_LAST) else {
            return;
        };
        if state & HANDS_OUT_LAST == 0 {
            if state & OPENED != 0 && self.may_have_client() {
                self.wake_users(state);
                // Followers report the listener until it has ended: another thread or process may take the client meanwhile.
                self.readiness.set_unread(true);
                self.tell_followers();
            } else {
                self.end(EndedBy::Registry);
            }
        }
        self.leave_in_handler();
    }

    fn raw_number(&self) -> RawSocket {
        self.socket.load(SeqCst)
    }

    /// Whether a client is waiting, as far as the system tells. For a thread that has entered. Async-signal-safe, but for
    /// errno.
    fn may_have_client(&self) -> bool {
        // SAFETY: this thread has entered, so the descriptor is open.
        let socket = unsafe { sys::borrow(self.raw_number()) };
        let found = sys::poll(socket, WaitEvents::READ, Some(Duration::ZERO));
        !found.is_ok_and(|events| events.is_empty())
    }

    /// Whether only the clients are handed out that were waiting when the registry stopped accepting.
    #[inline]
    pub(crate) fn hands_out_last(&self) -> bool {
        self.state.has(HANDS_OUT_LAST)
    }

    /// Runs `wait`, which is to be woken when the registry stops accepting.
    pub(crate) fn while_ending_with_accepting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.state.set(ENDS_WITH_ACCEPTING);
        let result = wait();
        self.state.clear(ENDS_WITH_ACCEPTING);
        result
    }

    // The descriptor, for what the crate doesn't offer.

    /// Lends the descriptor for as long as the owner doesn't close it by `&mut` or drop. None when there is none.
    pub(crate) fn lend(&self) -> Option<BorrowedSocket<'_>> {
        let _in_use = self.enter_even_aborted().ok()?;
        sys::prepare_replacing();
        self.state.set(NUMBER_NEEDED_BY_BORROWER | LENT);
        let socket = self.socket.load(SeqCst);
        // SAFETY: this thread has entered, so the descriptor is open, and the flag is set before it leaves, hence before
        // the last to leave releases the descriptor. With the flag set, releasing keeps the number taken until
        // `close_number`, which the owner calls only when it has the socket to itself, so after the borrow of `self`
        // that `'_` stands for.
        Some(unsafe { sys::borrow(socket) })
    }

    /// Keeps the descriptor's number taken for as long as the owner doesn't close it by `&mut` or drop, as if it were lent.
    pub(crate) fn keep_number(&self) {
        sys::prepare_replacing();
        self.state.set(NUMBER_NEEDED_BY_BORROWER);
    }

    /// Ends what [`lend`](Opening::lend) or [`keep_number`](Opening::keep_number) has begun. For the only owner, by `&mut` or while it is dropped: then no borrow is
    /// left.
    pub(crate) fn end_lending(&self) {
        if self.state.has(NUMBER_NEEDED_BY_BORROWER) {
            self.state.clear(NUMBER_NEEDED_BY_BORROWER);
        }
    }

    /// Notes that the socket was made elsewhere.
    pub(crate) fn set_made_elsewhere(&self) {
        self.state.set(MADE_ELSEWHERE);
    }

    /// Notes that the program's code has had the socket before it was opened.
    pub(crate) fn set_lent(&self) {
        self.state.set(LENT);
    }

    fn is_made_elsewhere(&self) -> bool {
        self.state.has(MADE_ELSEWHERE)
    }

    /// Whether others may have descriptors of the socket, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.state.load() & (MADE_ELSEWHERE | LENT) != 0
    }

    /// Whether there is a descriptor.
    pub(crate) fn has_socket(&self) -> bool {
        self.socket.load(SeqCst) != NO_SOCKET
    }

    /// The descriptor's number, which may be closed at any time; [`INVALID_SOCKET`] if there is none.
    pub(crate) fn raw_socket(&self) -> RawSocket {
        match self.enter_even_aborted() {
            Ok(_) => self.socket.load(SeqCst),
            Err(_) => INVALID_SOCKET,
        }
    }
}

impl Member for Opening {
    fn raised(&self, level: ShutdownLevel) {
        match level {
            ShutdownLevel::Accepting if self.is_listener() => self.stop_accepting(),
            ShutdownLevel::Accepting => {
                // Other operations go on.
                if self.state.has(ENDS_WITH_ACCEPTING) {
                    self.wake();
                }
            }
            ShutdownLevel::All => self.end(EndedBy::Registry),
        }
    }

    fn let_go(&self) {
        self.turn_last_clients_away();
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
        let state = self.state.load();
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
