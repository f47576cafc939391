//! A connection that is being made, between two calls that go on with it: what the queues that its socket is in watch then.
//!
//! A call that runs out of time *publishes* the attempts that it leaves. Queues watch their sockets, and report the socket
//! as writable when another call would get on: the name is looked up, an attempt has an answer, the next one is due, or time
//! is up. A call that goes on *withdraws* the attempts first, and so does whatever drops them. So their sockets are open as
//! long as they are published, and no queue watches them longer.
//!
//! The last attempt that is left is no longer among them: its socket is the opening's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{NUMBER_NEEDED_BY_WAITERS, OPENED};
use super::{InUse, Opening};
use crate::events::WaitEvents;
use crate::sync::Mutex;
use crate::sys::{self, BorrowedSocket};

/// What a connection that is being made waits for.
pub(crate) trait Underway: Send + Sync {
    /// Calls `visit` with the socket of each attempt.
    fn each_socket(&self, visit: &mut dyn FnMut(BorrowedSocket<'_>));

    /// When to go on, whatever the sockets do.
    fn due(&self) -> Due;
}

/// When a connection that is being made can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    /// At this moment, or with an answer.
    At(Instant),
    WithAnAnswer,
}

impl Due {
    pub(crate) fn at(at: Instant) -> Due {
        if at <= Instant::now() { Due::Now } else { Due::At(at) }
    }

    /// At this moment, unless it can go on before.
    pub(crate) fn or_at(self, at: Instant) -> Due {
        match self {
            Due::Now => Due::Now,
            Due::At(due) if due <= at => self,
            Due::At(_) | Due::WithAnAnswer => Due::at(at),
        }
    }
}

/// The place for what is published.
#[derive(Default)]
pub(super) struct Place(Mutex<Option<Arc<dyn Underway>>>);

/// Keeps attempts published until it is dropped.
pub(crate) struct Published(Arc<Opening>);

impl Drop for Published {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

impl dyn Underway + '_ {
    /// When to go on. Asks the system for answers, too.
    pub(crate) fn due_or_answered(&self) -> Due {
        let mut has_answer = false;
        self.each_socket(&mut |socket| {
            let wanted = WaitEvents::WRITE | WaitEvents::EXCEPTION;
            // Where the system can't say, the call that goes on finds out.
            has_answer |= sys::poll(socket, wanted, Some(Duration::ZERO)).map_or(true, |found| !found.is_empty());
        });
        if has_answer { Due::Now } else { self.due() }
    }
}

impl Opening {
    /// Lets followers watch the attempts to connect that no call waits for.
    pub(crate) fn publish(self: &Arc<Opening>, underway: Arc<dyn Underway>) -> Published {
        // So that none of the followers is the last to leave, and releases the opening, within the walk.
        let in_use = self.enter_even_unopened();
        self.followers_need_number();
        let mut place = self.underway.0.lock();
        let attempts = &**place.insert(underway);
        self.followers
            .for_each(|follower| follower.attempts_changed(Some(attempts)));
        drop(place);
        drop(in_use);
        self.readiness.note_went_on();
        self.tell_followers();
        Published(Arc::clone(self))
    }

    /// Makes followers let go of the attempts, whose sockets may be closed then.
    pub(crate) fn withdraw(&self) {
        let mut place = self.underway.0.lock();
        let withdrawn = place.take();
        if withdrawn.is_some() {
            self.followers.for_each(|follower| follower.attempts_changed(None));
        }
        drop(place);
        drop(withdrawn);
    }

    /// Runs `work` with the attempts that are published, if any are. They stay so meanwhile.
    pub(crate) fn with_attempts<T>(&self, work: impl FnOnce(Option<&dyn Underway>) -> T) -> T {
        work(self.underway.0.lock().as_deref())
    }

    /// Enters whatever works on a connection that is being made, while no call is going on with it.
    #[cold]
    pub(crate) fn enter_underway(&self) -> Option<InUse<'_>> {
        let in_use = self.enter_even_unopened().ok()?;
        self.is_underway().then_some(in_use)
    }

    /// Whether it is a connection that is being made, and no call is going on with it.
    pub(crate) fn is_underway(&self) -> bool {
        self.with_attempts(|attempts| attempts.is_some())
    }

    /// Makes followers that have followed this before it was open watch the socket that it has now.
    pub(crate) fn watch_opened(&self) {
        if !self.readiness.load().is_followed() {
            return;
        }
        // So that none of the followers is the last to leave, and releases the opening, within the walk.
        let in_use = self.enter_even_unopened();
        self.followers_need_number();
        debug_assert!(in_use.is_err() || self.state.has(OPENED));
        self.followers.for_each(|follower| follower.opened());
        drop(in_use);
        self.tell_followers();
    }

    fn followers_need_number(&self) {
        if sys::REPORTS_ONCE && self.readiness.load().is_followed() {
            self.state.set(NUMBER_NEEDED_BY_WAITERS);
        }
    }
}
