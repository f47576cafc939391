//! Being inside an operation.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::release::Linger;
use super::side::{Direction, Side, SideWaiter};
use super::{CLOSED, NUMBER_NEEDED_BY_WAITERS, OPENED, Opening, SocketId, closed_by, refusal};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::park::{AnyParker, Seen};
use crate::raw_wait::{RawWait, WaitSource};
use crate::registry::{EndedBy, Membership, ShutdownRegistry};
use crate::sys::{self, BorrowedSocket, NO_SOCKET, OwnedSocket};

/// Being inside an operation: as long as this lives, the descriptor is not closed.
pub(crate) struct InUse<'a> {
    opening: &'a Opening,
    /// False for an operation that was ended while it had stepped out.
    active: bool,
}

impl<'a> InUse<'a> {
    /// For a thread that was counted in.
    #[inline]
    pub(super) fn new(opening: &'a Opening) -> InUse<'a> {
        InUse { opening, active: true }
    }
}

impl Drop for InUse<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

impl InUse<'_> {
    /// The system's socket, or what is none and makes every call on it fail, while there is none yet.
    pub(crate) fn socket(&self) -> BorrowedSocket<'_> {
        match self.opening.socket.load(SeqCst) {
            NO_SOCKET => sys::no_socket(),
            // SAFETY: it is closed by the last to leave only, or by `undo_open`, which asks for `&mut self`.
            socket => unsafe { sys::borrow(socket) },
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.opening.check()
    }

    pub(crate) fn id(&self) -> SocketId {
        self.opening.id
    }

    #[inline]
    fn leave(&mut self) {
        if mem::replace(&mut self.active, false) && self.opening.leave() {
            self.opening.release(Linger::Waived);
        }
    }

    /// Calls the watch of `deadline` back, if it is due, with the operation left meanwhile: so the callback may close
    /// the socket, or wait for a lock that somebody else holds who closes it.
    pub(crate) fn call_watch(&mut self, deadline: &mut Deadline) -> Result<()> {
        if let Some(watch) = deadline.watch().filter(|watch| watch.is_due()) {
            self.leave();
            watch.call(self.opening);
            // What was entered was open or being opened, and if it isn't closed it still is.
            *self = self.opening.enter_if(refusal)?;
        }
        Ok(())
    }

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
        // Something is there if an attempt to open was cut short by a panic in the user's code.
        drop(self.opening.take_socket());
        self.opening.socket.store(sys::into_raw(socket), SeqCst);
    }

    /// Takes back an attempt to open: closes its descriptor, so that another can be made.
    pub(crate) fn undo_open(&mut self) {
        self.opening.drop_waiters();
        self.opening.state.fetch_and(!NUMBER_NEEDED_BY_WAITERS, SeqCst);
        drop(self.opening.take_socket());
    }

    /// From now on users have a connection or listener.
    pub(crate) fn opened(&self, membership: Membership) -> Result<()> {
        let listener = self.opening.is_listener();
        // An opening succeeds once only, so the cell is empty.
        let membership = self.opening.membership.get_or_init(|| membership);
        let registry = membership.registry();
        registry.socket_opened(listener);
        let opened = self
            .opening
            .state
            .fetch_update(SeqCst, SeqCst, |state| (state & CLOSED == 0).then_some(state | OPENED));
        opened.map(drop).map_err(|state| {
            registry.socket_not_opened(listener);
            membership.leave();
            closed_by(state)
        })
    }

    pub(crate) fn side(&self, direction: Direction) -> &Side {
        &self.opening.sides[direction as usize]
    }

    /// Makes a waiter and puts its waker where `close` and `abort` find it.
    pub(crate) fn make_waiter(&self, raw_wait: &dyn RawWait, events: WaitEvents) -> io::Result<SideWaiter> {
        // Before there can be one: whoever closes and may not free it must not close the descriptor either.
        self.opening.state.fetch_or(NUMBER_NEEDED_BY_WAITERS, SeqCst);
        let waiter = raw_wait.waiter(WaitSource::new(self.socket()), events)?;
        let waker = self.opening.wakers.insert(waiter.waker());
        Ok(SideWaiter { waiter, waker })
    }

    /// Takes back what `make_waiter` has made.
    pub(crate) fn drop_waiter(&self, installed: SideWaiter) {
        self.opening.drop_waiter(installed);
    }

    /// Blocks in `parker`, whatever wakes that, until `look` has seen something done. `close` and `abort` end it too.
    pub(crate) fn park<T>(
        &mut self,
        parker: &mut AnyParker,
        deadline: &mut Deadline,
        mut look: impl FnMut(&AnyParker) -> Seen<T>,
    ) -> Result<T> {
        let opening = self.opening;
        let _hung = opening.wakers.hang(parker.waker());
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
