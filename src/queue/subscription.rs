//! One socket in one queue.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use mio::event::Event;
use parking_lot::Mutex;

use super::control::Control;
use super::table::Slot;
use crate::events::WaitEvents;
use crate::opening::{Follower, Opening, Snapshot};
use crate::park::events_of;
use crate::sys::{self, BorrowedSocket, PollSource};
use crate::wake::{Link, Linked};

pub(crate) struct Subscription {
    control: Arc<Control>,
    opening: Arc<Opening>,
    place: Slot,
    /// What is reported of it, disabled or not, and shifted up what is disabled.
    wanted: AtomicU32,
    watched: Mutex<Watched>,
    /// How often it was subscribed again.
    renewals: AtomicU32,
    link: Link<Subscription>,
}

/// What the system watches.
struct Watched {
    /// The socket, while it is in the queue's poll.
    source: Option<PollSource>,
    /// All that was ever wanted.
    events: WaitEvents,
    /// What of that it has reported, and reports no more before it is armed again: where it [`sys::REPORTS_ONCE`].
    reported: WaitEvents,
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
    pub(super) fn new(control: &Arc<Control>, opening: &Arc<Opening>, place: Slot) -> Arc<Subscription> {
        Arc::new(Subscription {
            control: Arc::clone(control),
            opening: Arc::clone(opening),
            place,
            wanted: AtomicU32::new(0),
            watched: Mutex::new(Watched {
                source: None,
                events: WaitEvents::empty(),
                reported: WaitEvents::empty(),
            }),
            renewals: AtomicU32::new(0),
            link: Link::new(),
        })
    }

    pub(super) fn opening(&self) -> &Arc<Opening> {
        &self.opening
    }

    pub(super) fn place(&self) -> Slot {
        self.place
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

    /// Changes what is wanted, and has the system watch `socket`, which is its, for what it doesn't yet.
    ///
    /// To be called with the table locked, as nobody else changes it, and inside the socket.
    pub(super) fn want(
        &self,
        subscribed: WaitEvents,
        disabled: WaitEvents,
        socket: BorrowedSocket<'_>,
    ) -> io::Result<()> {
        let mut watched = self.watched.lock();
        let to_watch = watched.events | subscribed;
        if to_watch != watched.events {
            let (registry, token) = (self.control.registry(), self.place.token());
            match &mut watched.source {
                Some(source) => source.reregister(registry, token, to_watch)?,
                source => {
                    let mut new = PollSource::new(socket);
                    new.register(registry, token, to_watch)?;
                    *source = Some(new);
                }
            }
            watched.events = to_watch;
            self.control.changed_watch();
        }
        drop(watched);
        self.set_wanted(subscribed, disabled);
        Ok(())
    }

    /// Where this is another number, what was reported of `event` is over: the socket was drained, or is wanted anew.
    pub(super) fn era(&self, event: WaitEvents) -> u32 {
        let renewals = self.renewals.load(SeqCst);
        self.opening.readiness().drains(event).wrapping_add(renewals)
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

    /// Takes note of what the system reports no more. True if it has reported all there was until now.
    ///
    /// For the thread that polls, where the system [`sys::REPORTS_ONCE`].
    pub(super) fn disarm(&self, event: &Event) -> bool {
        let mut watched = self.watched.lock();
        let was_armed = watched.reported.is_empty();
        watched.reported |= if event.is_error() || event.is_write_closed() {
            // mio may have taken the socket out.
            WaitEvents::ALL
        } else {
            events_of(event)
        };
        was_armed
    }

    /// Has the system report again what it has reported and what is over. Whether it has reported something that isn't.
    ///
    /// For the thread that polls.
    pub(super) fn arm(&self) -> bool {
        let mut watched = self.watched.lock();
        let Watched {
            source: Some(source),
            events,
            reported,
        } = &mut *watched
        else {
            return false;
        };
        let lasting = *reported & self.opening.readiness().load().reported();
        if *reported != lasting {
            // It fails only on what isn't there.
            let _ = source.reregister(self.control.registry(), self.place.token(), *events - lasting);
            *reported = lasting;
        }
        !lasting.is_empty()
    }

    /// Takes note of a report of the system's.
    pub(super) fn report(&self, event: &Event) {
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
            events = self.ask().unwrap_or(WaitEvents::ALL);
        }
        let uncertain = exceptional || event.is_read_closed() || event.is_write_closed();
        self.opening.readiness().report(events, uncertain);
    }

    /// What it is ready for.
    ///
    /// `again` if that was told before: what was reported late is told once, and exceptions come and go without a
    /// report.
    pub(super) fn look(&self, again: bool) -> Level {
        if self.opening.is_closed() {
            return Level::Closed;
        }
        let known = self.opening.readiness().load();
        let enabled = self.enabled();
        let found = self.now(known, enabled, again);
        if (found & enabled).is_empty() {
            return Level::NotReady;
        }
        // As in epoll(7), an exception needs no subscription; but it doesn't end a wait without one.
        Level::Ready(found & (enabled | WaitEvents::EXCEPTION))
    }

    fn now(&self, known: Snapshot, enabled: WaitEvents, again: bool) -> WaitEvents {
        let found = known.events();
        let is_doubtful = !known.is_verified() && found.intersects(enabled);
        let may_be_over = (again || sys::REPORTS_LATE) && is_doubtful;
        if known.is_stale() || may_be_over || again && found.contains(WaitEvents::EXCEPTION) {
            let readiness = self.opening.readiness();
            if let Some(found) = self.ask()
                && readiness.confirm(known, found)
            {
                self.opening.tell_followers();
            }
            return readiness.load().events();
        }
        found
    }

    /// What the system says that the socket is ready for. None if it can't be asked.
    fn ask(&self) -> Option<WaitEvents> {
        let in_use = self.opening.enter_even_aborted().ok()?;
        sys::poll(in_use.socket(), WaitEvents::ALL, Some(Duration::ZERO)).ok()
    }

    /// Lets the queue's next wait look at it, if there is something to report. For when it is wanted anew, and so may be ready,
    /// or its socket closed, for long.
    pub(super) fn tell_if_ready(self: &Arc<Subscription>) {
        if self.link.is_listed() || !matches!(self.look(true), Level::NotReady) {
            self.control.notify(self);
        }
    }
}

impl Follower for Subscription {
    /// Lets the queue's next wait look at it, and wakes one that is blocked.
    fn changed(self: Arc<Self>) {
        self.control.notify(&self);
    }

    /// Takes the socket out of the poll, unless closing it has done that.
    fn unwatch(&self) {
        let in_use = self.opening.enter_even_aborted();
        if in_use.is_err() && !sys::REPORTS_ONCE {
            return;
        }
        // Locked meanwhile: two may do it at once, each about to close the socket or let it be closed.
        let mut watched = self.watched.lock();
        if let Some(mut source) = watched.source.take() {
            // It fails only on what isn't watched.
            let _ = source.deregister(self.control.registry());
            self.control.changed_watch();
        }
    }
}
