//! Being inside an operation, and what a thread may do there.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::release::Linger;
use super::side::{Direction, SideWaiter};
use super::state::{NUMBER_NEEDED_BY_WAITERS, closed_by, unless_ended};
use super::{Opening, SocketId};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::park::{AnyParker, Step};
use crate::raw_wait::{RawWait, WaitSource};
use crate::registry::{EndedBy, Membership, ShutdownRegistry};
use crate::sys::{self, BorrowedSocket, OwnedSocket};
use crate::wake::{Key, Wake};

/// An opening that a thread has entered: as long as this lives, the descriptor is not closed.
///
/// Dropping it leaves. The last to leave a closed opening releases it, which runs code of the program's: so this is not
/// to be dropped under a lock. See [`Opening::with_socket`].
pub(crate) struct InUse<'a> {
    opening: &'a Opening,
    /// False for an operation that was ended while it had stepped out.
    active: bool,
}

impl Drop for InUse<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

/// A closed opening that its last user has left, and that is still to be released: which dropping this does.
///
/// For callers that hold a lock: they drop it after that.
#[must_use]
#[derive(Debug)]
pub(crate) struct Unreleased(Arc<Opening>);

impl Drop for Unreleased {
    fn drop(&mut self) {
        self.0.release(Linger::Waived);
    }
}

impl Opening {
    /// Runs `work` with the descriptor, aborted or not, if there is one yet. For callers that hold a lock: they may have
    /// something to drop after that. None if the opening is closed.
    pub(crate) fn with_socket<T>(
        self: &Arc<Opening>,
        work: impl FnOnce(BorrowedSocket<'_>) -> T,
    ) -> (Option<T>, Option<Unreleased>) {
        let Ok(mut in_use) = self.enter_even_unopened() else {
            return (None, None);
        };
        let value = work(in_use.socket());
        in_use.active = false;
        let unreleased = self.state.leave().then(|| Unreleased(Arc::clone(self)));
        (Some(value), unreleased)
    }
}

impl<'a> InUse<'a> {
    /// For a thread that was counted in.
    #[inline]
    pub(super) fn new(opening: &'a Opening) -> InUse<'a> {
        InUse { opening, active: true }
    }

    /// The system's socket. Before there is one, every call on it fails.
    #[inline]
    pub(crate) fn socket(&self) -> BorrowedSocket<'_> {
        let socket = self.opening.socket.load(SeqCst);
        // SAFETY: it is closed by the last to leave only, or by `install` and `undo_open`, which ask for `&mut self`. Or it
        // is `NO_SOCKET`.
        unsafe { sys::borrow(socket) }
    }

    /// The system's socket, if there is one.
    pub(crate) fn socket_if_any(&self) -> Option<BorrowedSocket<'_>> {
        self.opening.has_socket().then(|| self.socket())
    }

    /// What was entered.
    #[inline]
    pub(crate) fn opening(&self) -> &'a Opening {
        self.opening
    }

    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.opening.check()
    }

    /// Fails if an operation in `direction` may not go on, or one of its waits was ended.
    #[inline]
    pub(crate) fn check_after_wait(&self, direction: Direction, deadline: &Deadline) -> Result<()> {
        self.check()?;
        deadline.check_ends(self.opening.side(direction).ends())
    }

    pub(crate) fn id(&self) -> SocketId {
        self.opening.id
    }

    #[inline]
    fn leave(&mut self) {
        if mem::replace(&mut self.active, false) && self.opening.state.leave() {
            self.opening.release(Linger::Waived);
        }
    }

    // Opening.

    /// Joins the registry, so that it can end the opening from now on.
    pub(crate) fn join(&self, registry: &ShutdownRegistry, opening: &Arc<Opening>) -> Result<Membership> {
        debug_assert!(std::ptr::eq(self.opening, &**opening));
        let membership = registry.join(opening.clone());
        if registry.refuses(opening.is_listener()) {
            opening.end(EndedBy::Registry);
        }
        self.check().map(|()| membership)
    }

    /// Gives the opening its descriptor, in place of none.
    pub(crate) fn install(&mut self, socket: OwnedSocket) {
        self.opening.put_socket(socket);
    }

    /// Ends the listener that the registry lets accept no more.
    pub(crate) fn end_accepting(&self) {
        self.opening.end(EndedBy::Registry);
    }

    /// Takes back an attempt to open: closes its descriptor, so that another can be made.
    pub(crate) fn undo_open(&mut self) {
        self.opening.followers().for_each(|follower| follower.unwatch());
        self.opening.drop_waiters();
        self.opening.state.clear(NUMBER_NEEDED_BY_WAITERS);
        drop(self.opening.take_socket());
    }

    /// From now on the program has a connection or listener. Leaves, unless that fails.
    pub(crate) fn opened(&mut self, membership: Membership) -> Result<()> {
        let listener = self.opening.is_listener();
        // An opening succeeds once only, so the cell is empty.
        let membership = self.opening.membership.get_or_init(|| membership);
        let registry = membership.registry();
        registry.socket_opened(listener);
        match self.opening.state.open_and_leave() {
            Ok(()) => {
                self.active = false;
                self.opening.watch_opened();
                Ok(())
            }
            Err(state) => {
                registry.socket_not_opened(listener);
                membership.leave();
                Err(closed_by(state))
            }
        }
    }

    // Waiting.

    /// Makes a waiter and puts its waker where `close` and `abort` find it.
    pub(super) fn make_waiter(&self, raw_wait: &dyn RawWait, events: WaitEvents) -> io::Result<SideWaiter> {
        sys::prepare_replacing();
        // Before there can be one: a signal handler that ends the socket must not close its descriptor then.
        self.opening.state.set(NUMBER_NEEDED_BY_WAITERS);
        let waiter = raw_wait.waiter(WaitSource::new(self.socket()), events)?;
        let waker = self.opening.wakers.insert(waiter.waker());
        Ok(SideWaiter { waiter, waker })
    }

    /// Takes a waiter's waker out of the list again.
    pub(super) fn remove_waker(&self, waker: Key<Arc<dyn Wake>>) -> Arc<dyn Wake> {
        self.opening.wakers.remove(waker)
    }

    /// Calls `when_wait` back, if that is due, with the operation left meanwhile: so the callback may close the socket,
    /// or wait for a lock that is held by a thread that closes it.
    pub(crate) fn call_when_wait(&mut self, deadline: &mut Deadline) -> Result<()> {
        if let Some(callback) = deadline.callback().filter(|callback| callback.is_due()) {
            self.leave();
            callback.call(self.opening);
            // What was entered was open or being opened, and if it isn't closed it still is.
            *self = self.opening.enter_if(unless_ended)?;
        }
        Ok(())
    }

    /// Blocks in `parker`, whatever wakes that, until `look` says that something is done. `close` and `abort` end it,
    /// too.
    pub(crate) fn park<T>(
        &mut self,
        parker: &mut AnyParker,
        deadline: &mut Deadline,
        mut look: impl FnMut(&AnyParker) -> Step<T>,
    ) -> Result<T> {
        let opening = self.opening;
        let direction = match opening.is_listener() {
            true => Direction::Read,
            false => Direction::Write,
        };
        deadline.note_ends(opening.side(direction).ends());
        let _registered = opening.wakers.register(parker.waker());
        loop {
            self.check_after_wait(direction, deadline)?;
            let at = match look(parker) {
                Step::Done(value) => return Ok(value),
                Step::WaitUntil(at) => at,
            };
            self.call_when_wait(deadline)?;
            let left = deadline.left_until(at)?;
            // A listener parks for a pause only, which is not an accept.
            let left = match opening.is_listener() {
                true => left,
                false => opening.side(direction).left_to_deadline(left)?,
            };
            parker.park(left).map_err(|error| Error::io("wait", error))?;
        }
    }
}
