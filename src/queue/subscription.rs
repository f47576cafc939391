//! One socket in one queue.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use mio::event::Event;
use parking_lot::Mutex;

use super::center::Center;
use super::table::Place;
use crate::raw_wait::{WaitEvents, events_of};
use crate::readiness::Known;
use crate::shared::Shared;
use crate::sys::{self, BorrowedSocket, PollSource};
use crate::wake::{Link, Linked};

pub(crate) struct Subscription {
    center: Arc<Center>,
    shared: Arc<Shared>,
    place: Place,
    /// What is reported of it, disabled or not, and shifted up what is disabled.
    wanted: AtomicU32,
    watched: Mutex<Watched>,
    /// How often it was subscribed again.
    renewals: AtomicU32,
    link: Link<Subscription>,
}

/// What the system watches.
struct Watched {
    source: PollSource,
    /// All that was ever wanted.
    events: WaitEvents,
}

impl Linked for Subscription {
    fn link(&self) -> &Link<Subscription> {
        &self.link
    }
}

/// What a look at a subscription shows.
pub(super) enum Level {
    /// Its socket was closed by this program.
    Closed,
    Ready(WaitEvents),
    NotReady,
}

const DISABLED: u32 = 8;

impl Subscription {
    pub(super) fn new(
        center: &Arc<Center>,
        shared: &Arc<Shared>,
        place: Place,
        socket: BorrowedSocket<'_>,
    ) -> Arc<Subscription> {
        Arc::new(Subscription {
            center: Arc::clone(center),
            shared: Arc::clone(shared),
            place,
            wanted: AtomicU32::new(0),
            watched: Mutex::new(Watched {
                source: PollSource::new(socket),
                events: WaitEvents::empty(),
            }),
            renewals: AtomicU32::new(0),
            link: Link::new(),
        })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn is_in(&self, center: &Arc<Center>) -> bool {
        Arc::ptr_eq(&self.center, center)
    }

    /// What is subscribed to, disabled or not.
    pub(crate) fn subscribed(&self) -> WaitEvents {
        WaitEvents::from_bits_truncate(self.wanted.load(SeqCst))
    }

    pub(super) fn disabled(&self) -> WaitEvents {
        WaitEvents::from_bits_truncate(self.wanted.load(SeqCst) >> DISABLED)
    }

    /// What is to be reported.
    pub(super) fn enabled(&self) -> WaitEvents {
        let wanted = self.wanted.load(SeqCst);
        WaitEvents::from_bits_truncate(wanted & !(wanted >> DISABLED))
    }

    /// Changes what is wanted, and has the system watch the socket for what it doesn't yet.
    ///
    /// To be called with the table locked, as nobody else changes it, and inside the socket.
    pub(super) fn want(&self, subscribed: WaitEvents, disabled: WaitEvents) -> io::Result<()> {
        let mut watched = self.watched.lock();
        let to_watch = watched.events | subscribed;
        let (registry, token) = (self.center.registry(), self.place.token());
        if watched.events.is_empty() {
            watched.source.register(registry, token, to_watch)?;
        } else if sys::interest(to_watch) != sys::interest(watched.events) {
            watched.source.reregister(registry, token, to_watch)?;
        }
        watched.events = to_watch;
        self.set_wanted(subscribed, disabled);
        Ok(())
    }

    /// Has the system watch for what it isn't known to report, where it stops at a report.
    ///
    /// So everything that is watched is, at any time, either being watched or noted as reported. What is noted is not
    /// watched for: it would be reported again and again.
    pub(crate) fn watch_again(&self) {
        let mut watched = self.watched.lock();
        // With the lock, so that of two findings at the same time the later one sees both.
        let missing = watched.events - self.shared.readiness().load().reported() - WaitEvents::EXCEPTION;
        if !missing.is_empty() {
            // It fails only on what isn't watched, since it was removed meanwhile.
            let (registry, token) = (self.center.registry(), self.place.token());
            let _ = watched.source.watch_again(registry, token, missing);
        }
    }

    /// Where this is another number, what was reported of `event` is over: the socket was drained, or is wanted anew.
    pub(super) fn era(&self, event: WaitEvents) -> u32 {
        let renewals = self.renewals.load(SeqCst);
        self.shared.readiness().drains(event).wrapping_add(renewals)
    }

    pub(super) fn renew(&self) {
        self.renewals.fetch_add(1, SeqCst);
    }

    /// Reports nothing of this until it is wanted again. To be called with the table locked.
    pub(super) fn disable(&self, events: WaitEvents) {
        self.set_wanted(self.subscribed(), self.disabled() | events);
    }

    fn set_wanted(&self, subscribed: WaitEvents, disabled: WaitEvents) {
        let disabled = (disabled & subscribed).bits() << DISABLED;
        self.wanted.store(subscribed.bits() | disabled, SeqCst);
    }

    /// Takes that back. To be called with the socket open.
    pub(crate) fn unwatch(&self) {
        // It fails only on what isn't watched.
        let _ = self.watched.lock().source.deregister(self.center.registry());
    }

    /// Takes note of a report of the system's.
    pub(super) fn report(&self, event: &Event) {
        let mut events = events_of(event) & (WaitEvents::READ | WaitEvents::WRITE);
        // poll(2), `POLLHUP`: both directions. The end of one is something to read, and no exception.
        if event.is_read_closed() && event.is_write_closed() {
            events = WaitEvents::ALL;
        }
        // kqueue(2) reports each direction for itself, so that only the system knows whether it is both that have ended.
        let may_be_both = event.is_write_closed() && !event.is_read_closed();
        let exceptional = event.is_priority() || event.is_error() || may_be_both;
        if exceptional {
            // What comes with these says too much: urgent data, say, is called something to read.
            events = self.ask().unwrap_or(WaitEvents::ALL);
        }
        let uncertain = exceptional || event.is_read_closed() || event.is_write_closed();
        self.shared.readiness().report(events, uncertain);
    }

    /// What it is ready for.
    ///
    /// `again` if that was told before: what was reported late is told once, and exceptions come and go without a
    /// report.
    pub(super) fn look(&self, again: bool) -> Level {
        if self.shared.is_closed() {
            return Level::Closed;
        }
        let known = self.shared.readiness().load();
        let enabled = self.enabled();
        let found = self.now(known, enabled, again);
        if (found & enabled).is_empty() {
            return Level::NotReady;
        }
        // As in epoll(7), an exception needs no subscription; but it doesn't end a wait without one.
        Level::Ready(found & (enabled | WaitEvents::EXCEPTION))
    }

    fn now(&self, known: Known, enabled: WaitEvents, again: bool) -> WaitEvents {
        let found = known.events();
        let is_doubtful = !known.is_verified() && found.intersects(enabled);
        if known.is_touched() || again && (is_doubtful || found.contains(WaitEvents::EXCEPTION)) {
            let readiness = self.shared.readiness();
            if let Some(found) = self.ask() {
                readiness.asked(known, found);
                self.shared.watch_again();
            }
            return readiness.load().events();
        }
        found
    }

    /// What the system says that the socket is ready for. None if it can't be asked.
    fn ask(&self) -> Option<WaitEvents> {
        let inside = self.shared.enter_even_aborted().ok()?;
        sys::poll(inside.socket(), WaitEvents::ALL, Some(Duration::ZERO)).ok()
    }

    /// [`tell`](Subscription::tell)s, if there is something to tell. For when it is wanted anew, and so may be ready,
    /// or its socket closed, for long.
    pub(super) fn tell_if_ready(self: &Arc<Subscription>) {
        if self.link.is_listed() || !matches!(self.look(true), Level::NotReady) {
            self.tell();
        }
    }

    /// Lets the queue's next wait look at it, and wakes one that is blocked. Async-signal-safe, but for errno.
    pub(crate) fn tell(self: &Arc<Subscription>) {
        self.center.tell(self);
    }
}
