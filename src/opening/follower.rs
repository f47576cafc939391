//! What follows a socket's changes, and what operations tell it.
//!
//! The queues that a socket is in follow it. They learn of its readiness from the system and write that down
//! ([`readiness`](super::readiness)); here the operations say what they have found, and the followers are told where that
//! concerns them.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::state::NUMBER_NEEDED_BY_WAITERS;
use super::{Opening, Readiness, Snapshot, Underway};
use crate::events::WaitEvents;
use crate::sys;
use crate::wake::List;

/// What follows the changes of a socket: its subscription in a queue.
pub(crate) trait Follower: Send + Sync {
    /// The socket has changed, or was closed. Async-signal-safe, but for errno.
    ///
    /// Whatever calls this has another reference, so dropping this one frees nothing.
    fn changed(self: Arc<Self>);

    /// Takes the socket, which is open, or in the poll for ever, out of the follower's poll. Not for signal handlers.
    fn unwatch(&self);

    /// The socket is a connection that is being made, and these are its attempts now, if there are any. Called with them
    /// locked, and with the socket in use if there are any. Not for signal handlers.
    fn attempts_changed(&self, attempts: Option<&dyn Underway>);

    /// The socket is to be reported as readable from `at` on, whatever the system says, in place of what was said before. Called
    /// with the alarm locked. Not for signal handlers.
    fn alarm_changed(self: Arc<Self>, at: Option<Instant>);

    /// The socket is open now. Called with it in use. Not for signal handlers.
    fn opened(&self);
}

impl Opening {
    pub(crate) fn followers(&self) -> &List<Arc<dyn Follower>> {
        &self.followers
    }

    /// Tells the followers that the socket has changed. Async-signal-safe, but for errno.
    pub(crate) fn tell_followers(&self) {
        self.followers.for_each(|follower| Arc::clone(follower).changed());
    }

    /// To be called inside, before a queue first follows the socket.
    pub(crate) fn becomes_followed(&self) {
        if sys::REPORTS_ONCE {
            self.state.set(NUMBER_NEEDED_BY_WAITERS);
        }
        // From now on the operations say what they find.
        self.readiness.report(WaitEvents::empty(), false);
    }

    /// What the followers know of its readiness.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Takes note of the `result` of an attempt that moves something, before which this much was `known`.
    #[inline]
    pub(crate) fn note_attempt<T>(&self, known: Snapshot, event: WaitEvents, result: &io::Result<T>) {
        match result {
            Ok(_) => self.readiness.note_moved(known, event),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.note_nothing_found(known, event),
            Err(_) => {}
        }
    }

    /// Takes note of the `result` of an attempt to write, before which this much was `known`.
    pub(crate) fn note_sent(&self, known: Snapshot, result: &io::Result<usize>) {
        if let Err(error) = result {
            self.first_error.remember(error);
        }
        self.note_attempt(known, WaitEvents::WRITE, result);
    }

    /// Takes note that nothing was found, before which this much was `known`.
    #[inline]
    pub(crate) fn note_nothing_found(&self, known: Snapshot, event: WaitEvents) {
        if self.readiness.note_nothing_found(known, event) {
            self.tell_followers();
        }
    }

    /// Takes note that all that the system had to read is in the socket's buffer now.
    #[inline]
    pub(crate) fn note_buffered_all(&self, known: Snapshot) {
        if self.readiness.note_buffered_all(known, WaitEvents::READ) {
            self.tell_followers();
        }
    }

    /// Takes note of what the system has said that the socket is ready for, after this much was `known`.
    pub(crate) fn confirm(&self, known: Snapshot, found: WaitEvents) {
        if self.readiness.confirm(known, found) {
            self.tell_followers();
        }
    }

    /// Takes note of whether the socket has read ahead and, if `all_taken`, that the program has all that was there.
    ///
    /// Followers must hear of two things that the system won't report: bytes are in the socket's buffer now; or that is
    /// empty again while the system still has something, which any waiting thread may take.
    ///
    /// `has_more` says whether another thread has left something to read, which it [announces](Opening::announce_unread).
    #[inline]
    pub(crate) fn set_unread(&self, unread: bool, all_taken: impl FnOnce() -> bool, has_more: impl Fn() -> bool) {
        if !self.readiness.load().is_unfollowed_with(unread) {
            self.tell_unread(unread, all_taken(), &has_more);
        }
    }

    /// Takes note that there is something to read of which the system doesn't know, for whichever thread reads.
    pub(crate) fn announce_unread(&self) {
        self.set_unread(true, || false, || false);
    }

    #[inline(never)]
    fn tell_unread(&self, unread: bool, all_taken: bool, has_more: &dyn Fn() -> bool) {
        let has_changed = self.readiness.set_unread(unread);
        // What was announced just before is not to be taken back. What comes after this look is announced after it.
        let unread = unread || has_changed && has_more() && self.readiness.set_unread(true);
        if all_taken {
            self.readiness.note_user_took_all();
        }
        let is_for_any = (has_changed || all_taken) && self.readiness.load().is_readable();
        if has_changed && unread || is_for_any {
            self.tell_followers();
        }
    }

    /// Takes note of whether nobody wants to read, so that what there is, as the end of the stream, is no event.
    #[cfg(feature = "websocket")]
    pub(crate) fn set_unwanted(&self, unwanted: bool) {
        if self.readiness.set_unwanted(unwanted) && !unwanted {
            self.tell_followers();
        }
    }

    /// Takes note that a client was taken, when this much was `known` of the listener. The next one is another event.
    pub(crate) fn note_accepted(&self, known: Snapshot) {
        if known.is_readable() {
            self.readiness.note_user_took_all();
            // It may be for another thread, which has gone to sleep over this one's.
            self.tell_followers();
        }
    }

    /// Takes note of what an attempt to accept has come to: followers hold back a listener that can't. See
    /// [`hold_back`](super::hold_back).
    pub(crate) fn note_whether_accepts<T>(&self, result: &io::Result<T>) {
        match result.as_ref().map_err(io::Error::kind) {
            // Another client would have been accepted.
            Ok(_) | Err(io::ErrorKind::WouldBlock) => {
                if self.hold_back.end() {
                    self.tell_followers();
                }
            }
            Err(io::ErrorKind::Interrupted) => {}
            Err(_) => self.hold_back.begin(Instant::now()),
        }
    }

    /// Whether followers hold the listener back.
    #[inline]
    pub(crate) fn is_held_back(&self) -> bool {
        self.hold_back.has_begun() && self.held_back_until().is_some()
    }

    /// Until when followers hold the listener back, if they do.
    #[cold]
    pub(crate) fn held_back_until(&self) -> Option<Instant> {
        self.hold_back.until_after(Instant::now())
    }
}

#[cfg(all(test, not(wakesock_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_another_thread_announces_is_not_taken_back_before_it_is_read() {
        let opening = Opening::new();
        opening.becomes_followed();
        opening.announce_unread();
        // By a thread that has looked before that.
        opening.set_unread(false, || false, || true);
        assert_eq!(opening.readiness().load().events(), WaitEvents::READ);
        opening.set_unread(false, || false, || false);
        assert!(opening.readiness().load().events().is_empty());
    }
}
