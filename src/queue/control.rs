//! What a queue shares with its sockets, its handles and its registry: how it is woken and ended.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};

use mio::{Events, Registry};

use super::alarms::Alarms;
use super::slot::WAKER;
use crate::error::{Error, Result};
use crate::registry::{EndedBy, Member, ShutdownLevel};
use crate::sync::{AtomicBool, AtomicU8};
use crate::sys::{self, Waker};
use crate::wake::{Inbox, Linked, Revocable};

/// What wakes and ends a queue, shared with its sockets, its handles and its registry.
pub(super) struct Control<S: Linked> {
    /// They go with the queue, however long handles keep this.
    descriptors: Revocable<Descriptors>,
    /// Subscriptions with a change that the system doesn't report.
    inbox: Inbox<S>,
    alarms: Alarms<S>,
    /// The thread that polls has to look again at its candidates, and into the inbox.
    changed: AtomicBool,
    /// A thread is blocked in the poll, or about to be. Only then is there a thread to wake.
    polling: AtomicBool,
    /// One wait has to return, with or without events.
    woken: AtomicBool,
    ended: AtomicU8,
    /// The error that has made waiting impossible.
    failure: OnceLock<Error>,
}

struct Descriptors {
    /// Tells the system what to watch, even while a thread is in the poll.
    registry: Registry,
    waker: Waker,
}

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const SHUT_DOWN: u8 = 2;
const FAILED: u8 = 3;

impl<S: Linked> Control<S> {
    /// Makes the control of a queue that waits in the poll of `registry`.
    pub(super) fn new(registry: Registry) -> io::Result<Control<S>> {
        Ok(Control {
            descriptors: Revocable::new(Descriptors {
                waker: Waker::new(&registry, WAKER)?,
                registry,
            }),
            inbox: Inbox::new(),
            alarms: Alarms::new(),
            changed: AtomicBool::new(false),
            polling: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            ended: AtomicU8::new(OPEN),
            failure: OnceLock::new(),
        })
    }

    /// Tells the system something, by `tell`. None if the queue is gone.
    pub(super) fn with_registry<R>(&self, tell: impl FnOnce(&Registry) -> R) -> Option<R> {
        self.descriptors.with(|descriptors| tell(&descriptors.registry))
    }

    /// Lets go of what the system has given the queue. For the queue, when it is dropped.
    pub(super) fn close_descriptors(&self) {
        drop(self.descriptors.take());
    }

    /// Fails, and says why, if the queue has ended.
    pub(super) fn check(&self) -> Result<()> {
        match self.ended.load(SeqCst) {
            OPEN => Ok(()),
            SHUT_DOWN => Err(Error::Shutdown),
            FAILED => Err(self.failure.get().cloned().unwrap_or(Error::Closed)),
            _ => Err(Error::Closed),
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.ended.load(SeqCst) == SHUT_DOWN
    }

    /// Ends the queue. Async-signal-safe, but for errno.
    pub(crate) fn end(&self, by: EndedBy) {
        let how = match by {
            EndedBy::Owner => CLOSED,
            EndedBy::Registry => SHUT_DOWN,
        };
        self.end_as(how);
        self.wake_poll();
    }

    /// Ends the queue, which can't wait any more. Returns the error that it fails with from now on.
    pub(super) fn fail(&self, error: Error) -> Error {
        let failure = self.failure.get_or_init(|| error);
        self.end_as(FAILED);
        failure.clone()
    }

    /// Ends the queue. The first reason stays.
    fn end_as(&self, how: u8) {
        let _ = self.ended.compare_exchange(OPEN, how, SeqCst, SeqCst);
    }

    /// Makes one wait return. Async-signal-safe, but for errno.
    pub(crate) fn wake(&self) {
        self.woken.store(true, SeqCst);
        self.wake_poll();
    }

    /// Makes the next wait look at `subscription`. Async-signal-safe, but for errno.
    pub(super) fn notify(&self, subscription: &Arc<S>) {
        self.inbox.put(subscription);
        self.look_again();
    }

    /// Makes the next wait look at all its candidates again. Async-signal-safe, but for errno.
    pub(super) fn look_again(&self) {
        self.changed.store(true, SeqCst);
        self.wake_poll();
    }

    /// Whether the candidates have to be looked at again. Resets that.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.load(SeqCst) && self.changed.swap(false, SeqCst)
    }

    /// Wakes the thread in the poll, if there is one. Async-signal-safe, but for errno.
    ///
    /// The caller publishes its change first and then reads `polling`. A thread that polls sets `polling` first and
    /// then looks for changes. So one of the two sees the other.
    fn wake_poll(&self) {
        if self.polling.load(SeqCst) {
            self.descriptors.with(|descriptors| descriptors.waker.wake());
        }
    }

    /// Notes what a poll has reported of the waker. To be called after each poll.
    #[inline]
    pub(super) fn note_reports(&self, reports: &Events) {
        if sys::REPORTS_ONCE {
            self.descriptors
                .with(|descriptors| descriptors.waker.note_reports(reports, WAKER));
        }
    }

    /// Wakes the thread in the poll after a change of what the system watches. Else it might return late: above
    /// poll(2), mio begins its limit anew.
    pub(super) fn changed_watch(&self) {
        if sys::REPORTS_ONCE {
            self.look_again();
        }
    }

    /// Runs `poll`, and passes whether it may block.
    pub(super) fn while_polling<T>(&self, poll: impl FnOnce(bool) -> T) -> T {
        self.polling.store(true, SeqCst);
        let has_changed = self.changed.load(SeqCst) || self.woken.load(SeqCst) || self.ended.load(SeqCst) != OPEN;
        let result = poll(!has_changed);
        self.polling.store(false, SeqCst);
        result
    }

    /// Takes the subscriptions that [`notify`](Control::notify) was called for since the last time.
    pub(super) fn take_pending(&self) -> impl Iterator<Item = Arc<S>> + use<S> {
        self.inbox.take()
    }

    pub(super) fn alarms(&self) -> &Alarms<S> {
        &self.alarms
    }

    /// Whether a wake is due. Resets that.
    pub(super) fn take_wake(&self) -> bool {
        self.woken.load(SeqCst) && self.woken.swap(false, SeqCst)
    }
}

impl<S: Linked> Member for Control<S> {
    fn raised(&self, level: ShutdownLevel) {
        match level {
            ShutdownLevel::Accepting => self.wake(),
            ShutdownLevel::All => self.end(EndedBy::Registry),
        }
    }
}

impl<S: Linked> fmt::Debug for Control<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("ended", &self.check())
            .finish_non_exhaustive()
    }
}

/// Models: see `models/`. They cover the handshake between the thread that polls and the threads that notify it, not what
/// a queue does when notified.
#[cfg(all(test, wakesock_loom))]
mod models {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use mio::Poll;

    use super::*;
    use crate::models::{ALL, check, handler, join};
    use crate::sync::AtomicUsize;
    use crate::wake::Link;

    /// What could be in the inbox.
    struct Thing(Link<Thing>);

    impl Linked for Thing {
        fn link(&self) -> &Link<Thing> {
            &self.0
        }
    }

    /// The control of a queue, and its poll.
    fn control() -> (Arc<Control<Thing>>, Poll) {
        let poll = Poll::new().unwrap();
        let control = Control::new(poll.registry().try_clone().unwrap()).unwrap();
        (Arc::new(control), poll)
    }

    /// Polls until `seen`, as a queue does.
    fn poll_until(control: &Control<Thing>, mut poll: Poll, mut seen: impl FnMut() -> bool) {
        let mut reports = Events::with_capacity(1);
        while !seen() {
            let polled = control.while_polling(|may_block| {
                let limit = (!may_block).then_some(Duration::ZERO);
                sys::wait_in(&mut poll, &mut reports, limit)
            });
            polled.unwrap();
        }
    }

    // broken: relaxed src/queue/control.rs self.polling.store(true, SeqCst)
    // broken: relaxed src/queue/control.rs self.changed.store(true, SeqCst)
    #[test]
    fn no_news_are_lost_beside_a_poll() {
        check(ALL, || {
            let (control, poll) = control();
            let told = Arc::new(AtomicUsize::new(0));
            let (handle, tell) = (Arc::clone(&control), Arc::clone(&told));
            let handler = handler(move || {
                tell.store(1, Relaxed);
                handle.look_again();
            });
            poll_until(&control, poll, || control.take_changed());
            assert_eq!(told.load(Relaxed), 1, "what the news are of is not seen");
            handler.join().unwrap();
        });
    }

    // broken: relaxed src/queue/control.rs self.woken.store(true, SeqCst)
    #[test]
    fn no_wake_is_lost_beside_a_poll_and_news() {
        check(4, || {
            let (control, poll) = control();
            let (handle, other) = (Arc::clone(&control), Arc::clone(&control));
            let handlers = [handler(move || handle.look_again()), handler(move || other.wake())];
            let (mut had_news, mut was_woken) = (false, false);
            poll_until(&control, poll, || {
                had_news |= control.take_changed();
                was_woken |= control.take_wake();
                had_news && was_woken
            });
            join(handlers);
        });
    }

    // broken: relaxed src/queue/control.rs self.ended.compare_exchange(OPEN, how, SeqCst, SeqCst)
    #[test]
    fn no_end_is_lost_beside_a_poll_and_a_wake() {
        check(4, || {
            let (control, poll) = control();
            let (handle, other) = (Arc::clone(&control), Arc::clone(&control));
            let handlers = [
                handler(move || handle.wake()),
                handler(move || other.end(EndedBy::Registry)),
            ];
            let mut was_woken = false;
            poll_until(&control, poll, || {
                was_woken |= control.take_wake();
                control.check().is_err()
            });
            join(handlers);
            assert!(was_woken || control.take_wake());
        });
    }
}
