//! One socket in one queue: what is wanted of it, what the system watches it for, and what it is ready for now.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::event::Event;

use super::control;
use super::slot::Slot;
use crate::events::WaitEvents;
use crate::opening::{Follower, Opening, Snapshot, Underway, Unreleased};
use crate::park::events_of;
use crate::sync::{AtomicBool, AtomicU32, Mutex, MutexGuard};
use crate::sys::{self, BorrowedSocket, Registration};
use crate::wake::{Link, Linked};

/// What a queue shares with its sockets, its handles and its registry.
pub(super) type Control = control::Control<Subscription>;

pub(crate) struct Subscription {
    control: Arc<Control>,
    opening: Arc<Opening>,
    slot: Slot,
    /// The subscribed events, disabled or not, and those that are disabled, shifted up.
    wanted: AtomicU32,
    watched: Mutex<Watched>,
    /// The system could not be made to watch the socket when it was opened.
    pub(super) is_unwatched: AtomicBool,
    /// How often it was subscribed again.
    resubscribed: AtomicU32,
    link: Link<Subscription>,
}

/// What the system watches.
#[derive(Default)]
pub(super) struct Watched {
    /// The socket's registration, while it is in the queue's poll.
    pub(super) registration: Option<Registration>,
    /// All events that were ever wanted: to disable some, and to enable them again, makes no system call.
    pub(super) events: WaitEvents,
    /// Those of the attempts of a connection that is being made.
    pub(super) attempts: Vec<Registration>,
    /// Not all attempts could be watched.
    pub(super) misses_attempts: bool,
    /// The socket's alarm, as the queue knows it.
    alarm: Option<Instant>,
    /// The subscription has ended: nothing is to be watched any more.
    pub(super) is_over: bool,
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
    /// Not to be reported before [`Subscription::not_before`].
    NotYet,
}

const DISABLED: u32 = 8;

impl Subscription {
    pub(super) fn new(control: &Arc<Control>, opening: &Arc<Opening>, slot: Slot) -> Arc<Subscription> {
        Arc::new(Subscription {
            control: Arc::clone(control),
            opening: Arc::clone(opening),
            slot,
            wanted: AtomicU32::new(0),
            watched: Mutex::new(Watched::default()),
            is_unwatched: AtomicBool::new(false),
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

    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    pub(super) fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock()
    }

    // What is wanted.

    /// The subscribed events, disabled or not.
    pub(crate) fn subscribed(&self) -> WaitEvents {
        WaitEvents::from_bits_truncate(self.wanted.load(SeqCst))
    }

    pub(super) fn disabled(&self) -> WaitEvents {
        WaitEvents::from_bits_truncate(self.wanted.load(SeqCst) >> DISABLED)
    }

    /// The events to report.
    pub(super) fn enabled(&self) -> WaitEvents {
        let wanted = self.wanted.load(SeqCst);
        WaitEvents::from_bits_truncate(wanted & !(wanted >> DISABLED))
    }

    /// Changes what is wanted, and makes the system watch `socket`, the subscription's own if it has one yet, for what it
    /// doesn't watch yet.
    ///
    /// To be called with the socket in use, and with the table locked, so that no other thread changes it.
    pub(super) fn want(
        &self,
        subscribed: WaitEvents,
        disabled: WaitEvents,
        socket: Option<BorrowedSocket<'_>>,
    ) -> io::Result<()> {
        let mut watched = self.watched.lock();
        let to_watch = watched.events | subscribed;
        if self.opening.hands_out_last() {
            // It is ready until it ends, and the system may have nothing to watch any more.
            self.opening.readiness().report(WaitEvents::READ, false);
        } else if to_watch != watched.events {
            if let Some(socket) = socket {
                let is_new = watched.registration.is_none();
                let registration = watched.registration.get_or_insert_with(|| Registration::new(socket));
                let result = self
                    .control
                    .with_registry(|registry| registration.watch(registry, self.slot.token(), to_watch))
                    .unwrap_or(Ok(()));
                if is_new && result.is_err() {
                    // What isn't in the poll must not look as if it were: the socket is put in when it is opened.
                    watched.registration = None;
                }
                result?;
                self.control.changed_watch();
            }
            watched.events = to_watch;
        }
        drop(watched);
        self.set_wanted(subscribed, disabled);
        Ok(())
    }

    /// Stops reporting `events` until they are wanted again. To be called with the table locked.
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

    /// A number that changes when a reported `event` is over: when the socket was drained, or is subscribed again.
    pub(super) fn epoch(&self, event: WaitEvents) -> u32 {
        let resubscribed = self.resubscribed.load(SeqCst);
        self.opening.readiness().drains(event).wrapping_add(resubscribed)
    }

    // What the system watches.

    /// Records which directions mio has disarmed with `event`, where it [`sys::REPORTS_ONCE`]. True if all were armed
    /// before: then the caller must call [`rearm`](Subscription::rearm) before the next poll.
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

    /// Makes the system watch again for reported events that are over. True if this has to be called again before the next
    /// poll: some are not over, or it has failed.
    ///
    /// For the thread that polls.
    pub(super) fn rearm(&self) -> bool {
        let mut watched = self.watched.lock();
        let events = watched.events;
        let Some(registration) = &mut watched.registration else {
            return false;
        };
        let lasting = (events - registration.watched()) & self.opening.readiness().load().reported();
        let watch = |registry: &Registry| registration.watch(registry, self.slot.token(), events - lasting);
        let fails = self.control.with_registry(watch).is_some_and(|result| result.is_err());
        fails || !lasting.is_empty()
    }

    /// Ends the subscription: nothing is reported or watched any more. To be called with the table locked.
    pub(super) fn end(&self) -> Option<Unreleased> {
        self.disable(WaitEvents::ALL);
        let mut watched = self.watched.lock();
        watched.is_over = true;
        let has_attempts = !watched.attempts.is_empty();
        let alarm = watched.alarm.take();
        drop(watched);
        if let Some(at) = alarm {
            self.control.alarms().remove(self.opening.id(), at);
        }
        if has_attempts {
            // To watch none can't fail.
            let _ = self.opening.with_attempts(|_| self.watch_attempts(None));
        }
        self.unwatch_if_open()
    }

    /// Takes the socket out of the poll, unless closing it has done that.
    fn unwatch_if_open(&self) -> Option<Unreleased> {
        let (done, unreleased) = self.opening.with_socket(|_| self.deregister());
        if done.is_none() && sys::REPORTS_ONCE {
            self.deregister();
        }
        unreleased
    }

    fn deregister(&self) {
        // Locked meanwhile: two threads may do it at once, each about to close the socket or let it be closed.
        let mut watched = self.watched.lock();
        if let Some(registration) = watched.registration.take() {
            // It fails only if the socket isn't in the poll.
            let _ = self.control.with_registry(|registry| registration.deregister(registry));
            self.control.changed_watch();
        }
    }

    // What it is ready for.

    /// Records a report of the system.
    pub(super) fn report(&self, event: &Event, unreleased: &mut Vec<Unreleased>) {
        if !self.opening.is_open() {
            // An answer to an attempt to connect: a look asks for it.
            return self.note_answer();
        }
        let mut events = events_of(event) & (WaitEvents::READ | WaitEvents::WRITE);
        // poll(2), `POLLHUP`: both directions have ended. The end of one is something to read, and no exception.
        if event.is_read_closed() && event.is_write_closed() {
            events = WaitEvents::ALL;
        }
        // kqueue(2) reports each direction by itself, so only the system knows whether both have ended.
        let may_be_both = event.is_write_closed() && !event.is_read_closed();
        let exceptional = event.is_priority() || event.is_error() || may_be_both;
        if exceptional {
            // Such a report says too much: urgent data, for instance, is also reported as something to read.
            events = self.ask(unreleased).unwrap_or(WaitEvents::ALL);
        }
        let uncertain = exceptional || event.is_read_closed() || event.is_write_closed();
        self.opening.readiness().report(events, uncertain);
    }

    /// What the socket is ready for now.
    ///
    /// `again` if that was reported before. An unverified event is passed on once; before it is passed on again,
    /// poll(2) must confirm it. So must exceptions, which come and go without a report.
    pub(super) fn look(&self, again: bool, unreleased: &mut Vec<Unreleased>) -> Level {
        if !self.opening.is_open() {
            return self.look_at_unopened(unreleased);
        }
        let enabled = self.enabled();
        if enabled.is_empty() {
            return Level::NotReady;
        }
        if self.opening.is_held_back() || self.is_unwatched.load(SeqCst) && self.is_unwatched_and_idle(unreleased) {
            return Level::NotYet;
        }
        let known = self.opening.readiness().load();
        let found = self.now(known, enabled, again, unreleased);
        if (found & enabled).is_empty() {
            return Level::NotReady;
        }
        // As in epoll(7), an exception is reported without being subscribed, but it doesn't end a wait by itself.
        Level::Ready(found & (enabled | WaitEvents::EXCEPTION))
    }

    fn now(&self, known: Snapshot, enabled: WaitEvents, again: bool, unreleased: &mut Vec<Unreleased>) -> WaitEvents {
        let found = known.events();
        let is_doubtful = !known.is_verified() && found.intersects(enabled);
        let may_be_over = (again || sys::REPORTS_LATE) && is_doubtful;
        if known.is_stale(enabled | found & WaitEvents::EXCEPTION)
            || may_be_over
            || again && found.contains(WaitEvents::EXCEPTION)
        {
            if let Some(found) = self.ask(unreleased) {
                self.opening.confirm(known, found);
            }
            return self.opening.readiness().load().events();
        }
        found
    }

    /// Asks the system what the socket is ready for. None if it can't be asked.
    pub(super) fn ask(&self, unreleased: &mut Vec<Unreleased>) -> Option<WaitEvents> {
        let (found, last) = self
            .opening
            .with_socket(|socket| sys::poll(socket, WaitEvents::ALL, Some(Duration::ZERO)));
        unreleased.extend(last);
        found?.ok()
    }

    /// Makes the queue's next wait look at this, if there is something to report. To be called, without a lock, after
    /// it was subscribed again: the socket may have been ready, or closed, for long.
    pub(super) fn notify_if_ready(self: &Arc<Subscription>) {
        if self.link.is_marked() || !matches!(self.look(true, &mut Vec::new()), Level::NotReady) {
            self.control.notify(self);
        }
    }
}

impl Follower for Subscription {
    /// Makes the queue's next wait look at this, and wakes one that is blocked.
    fn changed(self: Arc<Self>) {
        self.control.notify(&self);
    }

    fn unwatch(&self) {
        self.deregister();
    }

    fn attempts_changed(&self, attempts: Option<&dyn Underway>) {
        // What can't be watched is looked at now and then.
        let _ = self.watch_attempts(attempts);
        if attempts.is_some() {
            self.watch_now();
        }
    }

    fn alarm_changed(self: Arc<Self>, at: Option<Instant>) {
        let mut watched = self.watched.lock();
        if watched.is_over {
            return;
        }
        let before = mem::replace(&mut watched.alarm, at);
        let is_first = self.control.alarms().change(self.opening.id(), before, at, &self);
        drop(watched);
        if is_first {
            self.control.look_again();
        }
    }

    fn opened(&self) {
        self.watch_now();
        self.note_opened();
    }
}
