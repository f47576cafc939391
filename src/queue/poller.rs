//! What a thread that waits in a queue has for itself: the poll, and what it is to report.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::assignment::{ThreadNumber, Threads};
use super::control::Control;
use super::event::SocketEvent;
use super::subscription::{Level, Subscription};
use super::table::{Slot, Table};
use crate::events::WaitEvents;
use crate::opening::Follower;
use crate::sys;
use crate::wake::Linked;

pub(super) const WAKER: Token = Token(usize::MAX);

/// How many reports the system gives at once. The rest comes with the next wait.
const REPORTS: usize = 1024;

pub(super) struct Poller {
    poll: Poll,
    reports: Events,
    /// Whatever is ready, or was when somebody looked.
    listed: Vec<Listed>,
    threads: Threads,
    /// Of which the system has reported something that it doesn't report again by itself.
    disarmed: Vec<Arc<Subscription>>,
}

struct Listed {
    subscription: Arc<Subscription>,
    /// To whom each of [`EACH`] was given.
    given: [Option<Given>; 3],
    /// Its socket was closed, which is still to be told.
    closed: bool,
}

/// An event that somebody was given.
#[derive(Clone, Copy)]
struct Given {
    to: Option<ThreadNumber>,
    /// [`Subscription::era`] at that moment.
    era: u32,
}

const EACH: [WaitEvents; 3] = [WaitEvents::READ, WaitEvents::WRITE, WaitEvents::EXCEPTION];

impl Poller {
    pub(super) fn new(poll: Poll) -> Poller {
        Poller {
            poll,
            reports: Events::with_capacity(REPORTS),
            listed: Vec::new(),
            threads: Threads::default(),
            disarmed: Vec::new(),
        }
    }

    pub(super) fn enter(&mut self, control: &Arc<Control>) -> Option<ThreadNumber> {
        self.threads.enter(control)
    }

    /// Blocks until something is reported.
    pub(super) fn poll(&mut self, control: &Control, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.reports, timeout) {
            Err(error) => {
                self.reports.clear();
                if error.kind() == io::ErrorKind::Interrupted {
                    return Ok(());
                }
                Err(error)
            }
            Ok(()) => {
                if sys::REPORTS_ONCE && self.reports.iter().any(|event| event.token() == WAKER) {
                    control.poll_was_woken();
                }
                Ok(())
            }
        }
    }

    /// Has the system report anew what is over, and lists what isn't: of that, another queue may have been told.
    pub(super) fn arm(&mut self) {
        self.disarmed.retain(|subscription| {
            let lasts = subscription.arm();
            if lasts && subscription.link().list() {
                self.listed.push(Listed::new(Arc::clone(subscription)));
            }
            lasts
        });
    }

    /// Lists what was reported. Whether there may be more reports.
    pub(super) fn list_reported<T>(&mut self, table: &Table<T>) -> bool {
        let were_all = self.reports.iter().count() < REPORTS;
        for event in self.reports.iter().filter(|event| event.token() != WAKER) {
            // One that was removed meanwhile has nothing to say any more.
            if let Some(entry) = table.get(Slot::of(event.token())) {
                if sys::REPORTS_ONCE && entry.subscription.disarm(event) {
                    self.disarmed.push(Arc::clone(&entry.subscription));
                }
                entry.subscription.report(event);
                if entry.subscription.link().list() {
                    self.listed.push(Listed::new(Arc::clone(&entry.subscription)));
                }
            }
        }
        self.reports.clear();
        !were_all
    }

    /// Lists what was told, and lets go of events whose threads wait again.
    pub(super) fn list_pending(&mut self, control: &Control) {
        if !control.take_changed() {
            return;
        }
        self.listed.extend(control.take_pending().map(Listed::new));
        let returned = control.take_returned();
        if returned.is_empty() {
            return;
        }
        for given in self
            .listed
            .iter_mut()
            .flat_map(|listed| listed.given.iter_mut().flatten())
        {
            given.to = given.to.filter(|thread| !returned.contains(thread));
        }
    }

    /// Strikes out what isn't ready any more. Whether something is that can be given to thread `to`.
    pub(super) fn has_events<T>(&mut self, table: &Table<T>, to: Option<ThreadNumber>) -> bool {
        let threads = &self.threads;
        let mut found = false;
        self.listed.retain_mut(|listed| {
            if found {
                return true;
            }
            if table.get(listed.subscription.place()).is_none() {
                return false;
            }
            let theirs = listed.with_others(to, threads);
            if listed.is_all_with(theirs) {
                return true;
            }
            let level = listed.look();
            found = match level {
                Level::NotReady => false,
                Level::Ready(events) => events.intersects(listed.subscription.enabled() - theirs),
                Level::Closed => true,
            };
            !matches!(level, Level::NotReady)
        });
        found
    }

    /// Gives what there is to thread `to`. Subscriptions whose sockets were closed are gone afterwards.
    pub(super) fn give<T: Clone>(
        &mut self,
        table: &mut Table<T>,
        to: Option<ThreadNumber>,
        events: &mut Vec<SocketEvent<T>>,
    ) {
        let threads = &self.threads;
        let mut some_closed = false;
        self.listed.retain_mut(|listed| {
            let place = listed.subscription.place();
            let Some(entry) = table.get(place) else {
                return false;
            };
            let theirs = listed.with_others(to, threads);
            if listed.is_all_with(theirs) {
                return true;
            }
            // Before the look: what changes then may be for another.
            let eras = EACH.map(|event| listed.subscription.era(event));
            match listed.look() {
                Level::NotReady => false,
                Level::Ready(found) => {
                    let found = found - theirs;
                    if !found.intersects(listed.subscription.enabled()) {
                        return true;
                    }
                    events.push(SocketEvent {
                        token: entry.token.clone(),
                        place,
                        socket_id: listed.subscription.opening().id(),
                        events: found,
                        closed: false,
                    });
                    listed.give(found, to, eras);
                    true
                }
                Level::Closed => {
                    listed.closed = true;
                    some_closed = true;
                    true
                }
            }
        });
        // Last, since cloning a token may panic, and this is told once.
        if some_closed {
            self.give_closed(table, events);
        }
    }

    fn give_closed<T>(&mut self, table: &mut Table<T>, events: &mut Vec<SocketEvent<T>>) {
        let closed = self.listed.extract_if(.., |listed| listed.closed);
        for Listed { subscription, .. } in closed {
            let (opening, place) = (subscription.opening(), subscription.place());
            if let Some(entry) = table.take(place) {
                subscription.unwatch();
                drop(opening.followers().remove(entry.key));
                events.push(SocketEvent {
                    token: entry.token,
                    place,
                    socket_id: opening.id(),
                    events: WaitEvents::empty(),
                    closed: true,
                });
            }
        }
    }
}

impl Listed {
    fn new(subscription: Arc<Subscription>) -> Listed {
        Listed {
            subscription,
            given: [None; 3],
            closed: false,
        }
    }

    /// What other threads than `to` were given of this, and are still at.
    fn with_others(&self, to: Option<ThreadNumber>, threads: &Threads) -> WaitEvents {
        let mut theirs = WaitEvents::empty();
        for (event, given) in EACH.into_iter().zip(self.given) {
            let Some(Given { to: Some(owner), era }) = given else {
                continue;
            };
            if to != Some(owner) && era == self.subscription.era(event) && threads.lives(owner) {
                theirs |= event;
            }
        }
        theirs
    }

    /// Whether there can be nothing to tell, since others were given what `theirs` is.
    fn is_all_with(&self, theirs: WaitEvents) -> bool {
        !theirs.is_empty() && theirs.contains(self.subscription.enabled()) && !self.subscription.opening().is_closed()
    }

    fn give(&mut self, events: WaitEvents, to: Option<ThreadNumber>, eras: [u32; 3]) {
        for ((event, era), given) in EACH.into_iter().zip(eras).zip(&mut self.given) {
            if events.contains(event) {
                *given = Some(Given { to, era });
            }
        }
    }

    /// What it is ready for. If that is nothing, it is not listed any more, to be struck out by the caller.
    fn look(&self) -> Level {
        let link = self.subscription.link();
        loop {
            match self.subscription.look(self.given.iter().any(Option::is_some)) {
                Level::NotReady => link.unlist(),
                level => return level,
            }
            // News that came between the look and the unlisting was not put in the inbox.
            if matches!(self.subscription.look(true), Level::NotReady) || !link.list() {
                return Level::NotReady;
            }
        }
    }
}
