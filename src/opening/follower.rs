//! Who follows a socket's changes, and what operations tell them.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::{NUMBER_NEEDED_BY_WAITERS, Opening, Snapshot};
use crate::sys;
use crate::wake::List;

/// What follows the changes of a socket: its subscription in a queue.
pub(crate) trait Follower: Send + Sync {
    /// The socket has changed, or was closed. Async-signal-safe, but for errno.
    ///
    /// Whatever calls this has another reference, so dropping this one frees nothing.
    fn changed(self: Arc<Self>);

    /// Stops watching the socket, which may be closed next. Not for signal handlers.
    fn unwatch(&self);
}

impl Opening {
    pub(crate) fn followers(&self) -> &List<Arc<dyn Follower>> {
        &self.followers
    }

    /// Tells the followers that the socket has changed. Async-signal-safe, but for errno.
    pub(crate) fn tell_followers(&self) {
        self.followers.for_each(|follower| Arc::clone(follower).changed());
    }

    /// To be called inside, before a queue first watches the socket.
    pub(crate) fn becomes_followed(&self) {
        if sys::REPORTS_ONCE {
            self.state.fetch_or(NUMBER_NEEDED_BY_WAITERS, SeqCst);
        }
    }

    /// Takes note of whether the socket has read ahead and, if `all_taken`, that the user has all that was there.
    #[inline]
    pub(crate) fn set_unread(&self, unread: bool, all_taken: bool) {
        let is_news = self.readiness.set_unread(unread);
        if all_taken {
            self.readiness.note_user_took_all();
        }
        // The system doesn't know that something is left to read, so queues have to be told; and if there isn't any
        // more, but the system has something, that this is nobody's as yet.
        let is_nobodys = (is_news || all_taken) && self.readiness.load().is_readable();
        if is_news && unread || is_nobodys {
            self.tell_followers();
        }
    }

    /// Takes note that a client was taken, when this much was `known` of the listener. The next one is another event.
    pub(crate) fn accepted(&self, known: Snapshot) {
        if known.is_readable() {
            self.readiness.note_user_took_all();
            // It may be for another thread, which has gone to sleep over this one's.
            self.tell_followers();
        }
    }
}
