//! A subscription whose socket is not open yet: a connection that is being made.
//!
//! Between two calls that go on with it, the queue watches each attempt, and reports the socket as writable when another
//! call would get on. When the connection stands, the subscription goes on as the connection's.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use mio::Registry;

use super::subscription::{Level, Subscription};
use crate::events::WaitEvents;
use crate::opening::{Due, Underway, Unreleased};
use crate::park::SCARCE_STEP;
use crate::sys::{self, Registration};

impl Subscription {
    /// Makes the system watch the sockets of these attempts, in place of those before. Fails if it can't watch all.
    ///
    /// To be called with the attempts locked: as long as they are published, their sockets are open.
    pub(super) fn watch_attempts(&self, attempts: Option<&dyn Underway>) -> io::Result<()> {
        let result = self.control().with_registry(|registry| {
            let mut watched = self.watched();
            for registration in watched.attempts.drain(..) {
                // It fails only if the socket isn't in the poll.
                let _ = registration.deregister(registry);
            }
            let mut result = Ok(());
            if let Some(attempts) = attempts.filter(|_| !watched.is_over) {
                attempts.each_socket(&mut |socket| {
                    let mut registration = Registration::new(socket);
                    match registration.watch(registry, self.slot().token(), WaitEvents::WRITE) {
                        Ok(()) => watched.attempts.push(registration),
                        Err(error) => result = Err(error),
                    }
                });
            }
            watched.misses_attempts = result.is_err();
            result
        });
        self.control().changed_watch();
        result.unwrap_or(Ok(()))
    }

    /// Makes the system watch the attempts of a new subscription. Fails if it can't watch all.
    ///
    /// It is to be a follower before: attempts may be let go of as soon as this returns, and are to be watched no longer.
    #[cold]
    pub(super) fn begin_with_attempts(&self) -> io::Result<()> {
        self.opening().with_attempts(|attempts| self.watch_attempts(attempts))
    }

    /// Makes the system watch the socket that the opening has now, if it has one that isn't watched yet.
    pub(super) fn watch_own(&self, unreleased: &mut Vec<Unreleased>) {
        let (result, last) = self.opening().with_socket(|socket| {
            let mut watched = self.watched();
            if watched.is_over || watched.registration.is_some() || !self.opening().has_socket() {
                return Ok(());
            }
            let mut registration = Registration::new(socket);
            let watch = |registry: &Registry| registration.watch(registry, self.slot().token(), watched.events);
            self.control().with_registry(watch).unwrap_or(Ok(()))?;
            watched.registration = Some(registration);
            drop(watched);
            self.control().changed_watch();
            Ok::<(), io::Error>(())
        });
        unreleased.extend(last);
        self.is_unwatched.store(matches!(result, Some(Err(_))), SeqCst);
    }

    /// Does what [`watch_own`](Subscription::watch_own) does, where the caller keeps the socket in use: so this is not the last
    /// to leave it.
    pub(super) fn watch_now(&self) {
        self.watch_own(&mut Vec::new());
    }

    /// Takes note of what the socket is ready for, now that it is open: what was reported before was taken for an answer.
    pub(super) fn note_opened(&self) {
        // Not the last to leave: the caller keeps the socket in use.
        let found = self.ask(&mut Vec::new()).unwrap_or_default();
        self.opening()
            .readiness()
            .report(found, found.contains(WaitEvents::EXCEPTION));
    }

    /// Takes note of an answer that was reported.
    #[cold]
    pub(super) fn note_answer(&self) {
        if sys::REPORTS_ONCE {
            // It isn't reported again. What can't be watched is looked at now and then.
            let _ = self.opening().with_attempts(|attempts| self.watch_attempts(attempts));
        }
    }

    /// Looks at a socket that is open, but that the system could not be made to watch when it was opened. True if there is
    /// nothing to report.
    #[cold]
    pub(super) fn is_unwatched_and_idle(&self, unreleased: &mut Vec<Unreleased>) -> bool {
        self.watch_own(unreleased);
        if !self.is_unwatched.load(SeqCst) {
            return false;
        }
        let found = self.ask(unreleased).unwrap_or_default();
        self.opening().readiness().report(found, true);
        !found.intersects(self.enabled())
    }

    /// What there is to report of a socket that isn't open.
    #[cold]
    pub(super) fn look_at_unopened(&self, unreleased: &mut Vec<Unreleased>) -> Level {
        if self.opening().is_closed() {
            return Level::Closed;
        }
        match self.due(unreleased) {
            None => Level::NotReady,
            Some(_) if self.opening().is_aborted() => Level::Closed,
            Some(_) if !self.enabled().contains(WaitEvents::WRITE) => Level::NotReady,
            Some(Due::Now) => Level::Ready(WaitEvents::WRITE),
            Some(Due::At(_)) => Level::NotYet,
            Some(Due::WithAnAnswer) => Level::NotReady,
        }
    }

    /// When a connection that is being made can go on. None if a call is going on with it, or none is being made.
    fn due(&self, unreleased: &mut Vec<Unreleased>) -> Option<Due> {
        let due = self
            .opening()
            .with_attempts(|attempts| attempts.map(|attempts| attempts.due_or_answered()))?;
        let misses = self.watched().misses_attempts || self.is_unwatched.load(SeqCst);
        if due != Due::Now && self.opening().has_socket() {
            // The last attempt that is left.
            let found = self.ask(unreleased);
            if found.is_none_or(|found| found.contains(WaitEvents::WRITE)) {
                return Some(Due::Now);
            }
        }
        Some(if misses {
            due.or_at(Instant::now() + SCARCE_STEP)
        } else {
            due
        })
    }

    /// When to look again at what is not to be reported yet.
    #[cold]
    pub(super) fn not_before(&self, unreleased: &mut Vec<Unreleased>) -> Instant {
        let now = Instant::now();
        if let Some(end) = self.opening().held_back_until() {
            return end;
        }
        if self.opening().is_open() {
            return now + SCARCE_STEP;
        }
        match self.due(unreleased) {
            Some(Due::At(at)) => at,
            _ => now,
        }
    }
}

#[cfg(all(test, not(wakesock_loom)))]
mod tests {
    use std::sync::Arc;

    use socket2::{Domain, Socket};

    use super::super::{SocketEventQueue, Wanted};
    use super::*;
    use crate::opening::Opening;
    use crate::sync::Mutex;
    use crate::sys::BorrowedSocket;

    /// An attempt. Notes how many followers would hear, each time when somebody looks at it, if it were let go of then.
    struct Attempt {
        socket: Socket,
        opening: Arc<Opening>,
        followers: Mutex<Vec<usize>>,
    }

    impl Underway for Attempt {
        fn each_socket(&self, visit: &mut dyn FnMut(BorrowedSocket<'_>)) {
            visit(sys::borrowed(&self.socket));
            let mut count = 0;
            self.opening.followers().for_each(|_| count += 1);
            self.followers.lock().push(count);
        }

        fn due(&self) -> Due {
            Due::WithAnAnswer
        }
    }

    #[test]
    fn a_subscription_hears_of_attempts_that_are_let_go_of_before_it_watches_any() {
        let opening = Opening::new();
        let attempt = Arc::new(Attempt {
            socket: sys::socket(Domain::IPV4).unwrap(),
            opening: Arc::clone(&opening),
            followers: Mutex::default(),
        });
        let published = opening.publish(attempt.clone());
        let queue = SocketEventQueue::new().unwrap();
        let put = queue.put(&opening, |_, _| Wanted {
            subscribed: WaitEvents::WRITE,
            disabled: WaitEvents::empty(),
            token: (),
        });
        put.unwrap();
        assert_eq!(attempt.followers.lock()[0], 1);
        let watched = || {
            let table = queue.table.lock();
            table.find(opening.id()).unwrap().watched().attempts.len()
        };
        assert_eq!(watched(), 1);
        drop(published);
        assert_eq!(watched(), 0);
    }
}
