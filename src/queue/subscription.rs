//! One socket in one queue: what is wanted of it, what the system watches it for, and what it is ready for now.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mio::event::Event;

use super::control::Control;
use super::slot::Slot;
use crate::events::WaitEvents;
use crate::opening::{Follower, Opening, Snapshot, Unreleased};
use crate::park::events_of;
use crate::sync::{AtomicU32, Mutex};
use crate::sys::{self, BorrowedSocket, Registration};
use crate::wake::{Link, Linked};

pub(crate) struct Subscription {
    control: Arc<Control>,
    opening: Arc<Opening>,
    slot: Slot,
    /// What is reported of it, disabled or not, and shifted up what is disabled.
    wanted: AtomicU32,
    watched: Mutex<Watched>,
    /// How often it was subscribed again.
    resubscribed: AtomicU32,
    link: Link<Subscription>,
}

/// What the system watches.
struct Watched {
    /// The socket, while it is in the queue's poll.
    registration: Option<Registration>,
    /// All that was ever wanted: to want less makes no system call, and nor does to want it again.
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
    pub(super) fn new(control: &Arc<Control>, opening: &Arc<Opening>, slot: Slot) -> Arc<Subscription> {
        Arc::new(Subscription {
            control: Arc::clone(control),
            opening: Arc::clone(opening),
            slot,
            wanted: AtomicU32::new(0),
            watched: Mutex::new(Watched {
                registration: None,
                events: WaitEvents::empty(),
            }),
            resubscribed: AtomicU32::new(0),
            link: Link::new(),
        })
    }

    pub(super) fn opening(&self) -> &Arc<Opening> {
        &self.opening
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    // What is wanted.

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

    /// Changes what is wanted, and has the system watch `socket`, which is its, for what it doesn't yet.
    ///
    /// To be called with the table locked, as no other thread changes it then, and inside the socket.
    pub(super) fn want(
        &self,
        subscribed: WaitEvents,
        disabled: WaitEvents,
        socket: BorrowedSocket<'_>,
    ) -> io::Result<()> {
        let mut watched = self.watched.lock();
        let to_watch = watched.events | subscribed;
        if to_watch != watched.events {
            let registration = watched.registration.get_or_insert_with(|| Registration::new(socket));
            registration.watch(self.control.registry(), self.slot.token(), to_watch)?;
            watched.events = to_watch;
            self.control.changed_watch();
        }
        drop(watched);
        self.set_wanted(subscribed, disabled);
        Ok(())
    }

    /// Reports nothing of this until it is wanted again. To be called with the table locked.
    pub(super) fn disable(&self, events: WaitEvents) {
        self.set_wanted(self.subscribed(), self.disabled() | events);
    }

    fn set_wanted(&self, subscribed: WaitEvents, disabled: WaitEvents) {
        let disabled = (disabled & subscribed).bits() << DISABLED;
        self.wanted.store(subscribed.bits() | disabled, SeqCst);
    }

    pub(super) fn note_resubscribed(&self) {
        self.resubscribed.fetch_add(1, SeqCst);
    }

    /// Where this is another number, what was reported of `event` is over: the socket was drained, or is wanted anew.
    pub(super) fn epoch(&self, event: WaitEvents) -> u32 {
        let resubscribed = self.resubscribed.load(SeqCst);
        self.opening.readiness().drains(event).wrapping_add(resubscribed)
    }

    // What the system watches.

    /// Takes note that the system has reported `event` and, where it [`sys::REPORTS_ONCE`], watches for it no more. True if it
    /// had watched for all until now: then [`rearm`](Subscription::rearm) has to be called before the next poll.
    ///
    /// For the thread that polls.
    pub(super) fn disarm(&self, event: &Event) -> bool {
        if !sys::REPORTS_ONCE {
            return false;
        }
        let mut watched = self.watched.lock();
        let events = watched.events;
        let Some(registration) = &mut watched.registration else {
            return false;
        };
        let was_armed = registration.watched() == events;
        registration.note_report(if event.is_error() || event.is_write_closed() {
            // mio may have taken the socket out.
            WaitEvents::ALL
        } else {
            events_of(event)
        });
        was_armed && registration.watched() != events
    }

    /// Has the system watch again for what it has reported and what is over. Whether it has reported something that isn't.
    ///
    /// For the thread that polls.
    pub(super) fn rearm(&self) -> bool {
        let mut watched = self.watched.lock();
        let events = watched.events;
        let Some(registration) = &mut watched.registration else {
            return false;
        };
        let lasting = (events - registration.watched()) & self.opening.readiness().load().reported();
        // It fails only on what isn't there.
        let _ = registration.watch(self.control.registry(), self.slot.token(), events - lasting);
        !lasting.is_empty()
    }

    /// Takes the socket out of the poll, unless closing it has done that.
    pub(super) fn unwatch_locked(&self) -> Option<Unreleased> {
        let unwatch = || {
            // Locked meanwhile: two may do it at once, each about to close the socket or let it be closed.
            let mut watched = self.watched.lock();
            if let Some(registration) = watched.registration.take() {
                // It fails only on what isn't watched.
                let _ = registration.deregister(self.control.registry());
                self.control.changed_watch();
            }
        };
        let (done, unreleased) = self.opening.with_socket(|_| unwatch());
        if done.is_none() && sys::REPORTS_ONCE {
            unwatch();
        }
        unreleased
    }

    // What it is ready for.

    /// Takes note of a report of the system's.
    pub(super) fn report(&self, event: &Event, unreleased: &mut Vec<Unreleased>) {
        let mut events = events_of(event) & (WaitEvents::READ | WaitEvents::WRITE);
        // poll(2), `POLLHUP`: both directions. The end of one is something to read, and no exception.
        if event.is_read_closed() && event.is_write_closed() {
            events = WaitEvents::ALL;
        }
        // kqueue(2) reports each direction for itself, so that only the system knows whether both have ended.
        let may_be_both = event.is_write_closed() && !event.is_read_closed();
        let exceptional = event.is_priority() || event.is_error() || may_be_both;
        if exceptional {
            // What comes with these says too much: urgent data, say, is called something to read.
            events = self.ask(unreleased).unwrap_or(WaitEvents::ALL);
        }
        let uncertain = exceptional || event.is_read_closed() || event.is_write_closed();
        self.opening.readiness().report(events, uncertain);
    }

    /// What it is ready for.
    ///
    /// `again` if that was told before: what was reported late is told once, and exceptions come and go without a
    /// report.
    pub(super) fn look(&self, again: bool, unreleased: &mut Vec<Unreleased>) -> Level {
        if self.opening.is_closed() {
            return Level::Closed;
        }
        let known = self.opening.readiness().load();
        let enabled = self.enabled();
        let found = self.now(known, enabled, again, unreleased);
        if (found & enabled).is_empty() {
            return Level::NotReady;
        }
        // As in epoll(7), an exception needs no subscription; but it doesn't end a wait without one.
        Level::Ready(found & (enabled | WaitEvents::EXCEPTION))
    }

    fn now(&self, known: Snapshot, enabled: WaitEvents, again: bool, unreleased: &mut Vec<Unreleased>) -> WaitEvents {
        let found = known.events();
        let is_doubtful = !known.is_verified() && found.intersects(enabled);
        let may_be_over = (again || sys::REPORTS_LATE) && is_doubtful;
        if known.is_stale() || may_be_over || again && found.contains(WaitEvents::EXCEPTION) {
            if let Some(found) = self.ask(unreleased) {
                self.opening.confirm(known, found);
            }
            return self.opening.readiness().load().events();
        }
        found
    }

    /// What the system says that the socket is ready for. None if it can't be asked.
    fn ask(&self, unreleased: &mut Vec<Unreleased>) -> Option<WaitEvents> {
        let (found, last) = self
            .opening
            .with_socket(|socket| sys::poll(socket, WaitEvents::ALL, Some(Duration::ZERO)));
        unreleased.extend(last);
        found?.ok()
    }

    /// Lets the queue's next wait look at it, if there is something to report. For when it is wanted anew, and so may be
    /// ready, or its socket closed, for long. To be called without a lock.
    pub(super) fn notify_if_ready(self: &Arc<Subscription>) {
        if self.link.is_marked() || !matches!(self.look(true, &mut Vec::new()), Level::NotReady) {
            self.control.notify(self);
        }
    }
}

impl Follower for Subscription {
    /// Lets the queue's next wait look at it, and wakes one that is blocked.
    fn changed(self: Arc<Self>) {
        self.control.notify(&self);
    }

    fn unwatch(&self) {
        drop(self.unwatch_locked());
    }
}
