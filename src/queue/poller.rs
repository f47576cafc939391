//! What belongs to the thread that polls in a queue: the poll, and the candidates for its report.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::assignment::{Round, Threads};
use super::candidates::{Candidate, Candidates, READY, Turn, Visit};
use super::event::SocketEvent;
use super::slot::{Slot, WAKER};
use super::subscribe::take_out;
use super::subscription::{Control, Level, Subscription};
use super::table::Table;
use crate::opening::Unreleased;
use crate::sys;

/// How many reports the system gives at once. The rest comes with the next wait.
const REPORTS: usize = 1024;

/// The poll of a queue, and the candidates for its next report.
pub(super) struct Poller {
    poll: Poll,
    reports: Events,
    candidates: Candidates,
    threads: Threads,
    turn: Turn,
    /// Subscriptions with a report that the system doesn't repeat before they are armed again.
    disarmed: Vec<Arc<Subscription>>,
    /// Sockets that were closed while this looked at them. To be dropped without a lock.
    unreleased: Vec<Unreleased>,
    /// Something has changed since events were given: there may be events in the table.
    has_changed: bool,
    /// When there is the next alarm, or the first of the candidates that are not to be reported yet may be.
    next_look: Option<Instant>,
}

impl Poller {
    pub(super) fn new(poll: Poll) -> Poller {
        Poller {
            poll,
            reports: Events::with_capacity(REPORTS),
            candidates: Candidates::default(),
            threads: Threads::default(),
            turn: READY,
            disarmed: Vec::new(),
            unreleased: Vec::new(),
            has_changed: false,
            next_look: None,
        }
    }

    /// Begins another round of the calling thread.
    pub(super) fn begin_round(&mut self, control: &Arc<Control>) -> Option<Round> {
        self.threads.begin_round(control)
    }

    /// Whether a closed socket has to be released before this blocks.
    pub(super) fn has_unreleased(&self) -> bool {
        !self.unreleased.is_empty()
    }

    /// Takes the closed sockets, to be dropped without a lock.
    pub(super) fn take_unreleased(&mut self) -> Vec<Unreleased> {
        mem::take(&mut self.unreleased)
    }

    /// How long the next poll may take, of what is `left`: until there is an alarm, or a candidate may be reported that was not to
    /// be when [`has_events`](Poller::has_events) or [`may_have_events`](Poller::may_have_events) has looked.
    #[inline]
    pub(super) fn limit(&self, left: Option<Duration>) -> Option<Duration> {
        match self.next_look {
            None => left,
            Some(at) => Some(limit_until(at, left)),
        }
    }

    /// Blocks until something is reported.
    pub(super) fn poll(&mut self, control: &Control, timeout: Option<Duration>) -> io::Result<()> {
        match sys::wait_in(&mut self.poll, &mut self.reports, timeout) {
            Err(error) => {
                self.reports.clear();
                if error.kind() == io::ErrorKind::Interrupted {
                    return Ok(());
                }
                Err(error)
            }
            Ok(()) => {
                control.note_reports(&self.reports);
                Ok(())
            }
        }
    }

    /// Makes the system watch again for what was drained. What is still ready becomes a candidate again, because its
    /// report may have gone to another queue only.
    #[inline]
    pub(super) fn rearm(&mut self) {
        if !sys::REPORTS_ONCE {
            return;
        }
        let candidates = &mut self.candidates;
        self.disarmed.retain(|subscription| {
            let lasts = subscription.rearm();
            if lasts {
                candidates.add(subscription);
            }
            lasts
        });
    }

    /// Makes candidates of what was reported. True if there may be more reports.
    pub(super) fn add_reported<T>(&mut self, table: &Table<T>) -> bool {
        let were_all = self.reports.iter().count() < REPORTS;
        for event in self.reports.iter().filter(|event| event.token() != WAKER) {
            // A subscription that was removed meanwhile has nothing to report.
            if let Some(entry) = table.get(Slot::of(event.token())) {
                if entry.subscription.disarm(event) {
                    self.disarmed.push(Arc::clone(&entry.subscription));
                }
                entry.subscription.report(event, &mut self.unreleased);
                self.candidates.add(&entry.subscription);
            }
        }
        self.reports.clear();
        !were_all
    }

    /// Makes candidates of what the queue was notified of.
    pub(super) fn add_pending(&mut self, control: &Control) {
        if control.take_changed() {
            self.has_changed = true;
            control.take_pending().for_each(|news| self.candidates.add_marked(news));
        }
    }

    /// Begins a turn: makes candidates of those whose alarm has come; looks for a candidate that is ready, without the table, and
    /// strikes out what isn't any more. False if there is none.
    pub(super) fn may_have_events(&mut self, control: &Control, round: Option<Round>) -> bool {
        let Poller {
            candidates,
            threads,
            turn,
            unreleased,
            next_look,
            ..
        } = self;
        let mut may_be = self.has_changed;
        *turn += 1;
        *next_look = control.alarms().take_due(|subscription| {
            subscription.opening().ring();
            candidates.add(&subscription);
        });
        if !may_be {
            candidates.walk(|candidate| {
                // Other threads' events stay theirs, whatever a look would show.
                if candidate.is_all_with(candidate.with_others(round, threads)) {
                    return Visit::Keep;
                }
                match candidate.look(unreleased) {
                    Level::NotReady => candidate.idle(*turn, unreleased),
                    Level::NotYet => candidate.look_again(next_look, unreleased),
                    _ => {
                        may_be = true;
                        Visit::Stop
                    }
                }
            });
        }
        may_be
    }

    /// Looks for a candidate that is ready and that `round` may have, and strikes out what isn't ready any more.
    pub(super) fn has_events<T>(&mut self, table: &mut Table<T>, round: Option<Round>) -> bool {
        let Poller {
            candidates,
            threads,
            turn,
            unreleased,
            next_look,
            ..
        } = self;
        let mut found = !table.undelivered.is_empty();
        if !found {
            candidates.walk(|candidate| {
                let slot = candidate.subscription.slot();
                if table.get(slot).is_none() {
                    return Visit::Strike;
                }
                let theirs = candidate.with_others(round, threads);
                if candidate.is_all_with(theirs) || !table.has_its_token(slot) {
                    return Visit::Keep;
                }
                match candidate.look(unreleased) {
                    Level::NotReady => return candidate.idle(*turn, unreleased),
                    Level::NotYet => return candidate.look_again(next_look, unreleased),
                    Level::Ready(events) => found = events.intersects(candidate.subscription.enabled() - theirs),
                    Level::Closed => found = true,
                }
                if found { Visit::Stop } else { Visit::Keep }
            });
        }
        found
    }

    /// Gives `round` the events that there are, `most` of them at most, with their tokens, which the caller has to
    /// [restore](Table::restore). Ends the subscriptions whose sockets were closed.
    pub(super) fn give<T>(
        &mut self,
        table: &mut Table<T>,
        round: Option<Round>,
        most: usize,
        events: &mut Vec<SocketEvent<T>>,
    ) {
        let Poller {
            candidates,
            threads,
            turn,
            unreleased,
            ..
        } = self;
        self.has_changed = false;
        if !table.undelivered.is_empty() {
            let count = table.undelivered.len().min(most);
            events.extend(table.undelivered.drain(..count));
            self.has_changed = !table.undelivered.is_empty();
        }
        candidates.walk(|candidate| {
            if events.len() >= most {
                return Visit::Stop;
            }
            let slot = candidate.subscription.slot();
            if table.get(slot).is_none() {
                return Visit::Strike;
            }
            let theirs = candidate.with_others(round, threads);
            if candidate.is_all_with(theirs) || !table.has_its_token(slot) {
                return Visit::Keep;
            }
            let (level, epochs) = candidate.look_and_number(unreleased);
            match level {
                Level::NotReady => return candidate.idle(*turn, unreleased),
                Level::NotYet => {}
                Level::Ready(found) => {
                    let found = found - theirs;
                    if found.intersects(candidate.subscription.enabled())
                        && let Some(token) = table.get_mut(slot).and_then(|entry| entry.token.take())
                    {
                        events.push(candidate.event(token, found));
                        candidate.assign(found, round, epochs);
                    }
                }
                Level::Closed => {
                    give_closed(table, candidate, unreleased, events);
                    return Visit::Strike;
                }
            }
            Visit::Keep
        });
    }
}

#[cold]
fn limit_until(at: Instant, left: Option<Duration>) -> Duration {
    let step = at.saturating_duration_since(Instant::now());
    left.map_or(step, |left| left.min(step))
}

#[inline(never)]
fn give_closed<T>(
    table: &mut Table<T>,
    candidate: &Candidate,
    unreleased: &mut Vec<Unreleased>,
    events: &mut Vec<SocketEvent<T>>,
) {
    if let Some((last, token)) = take_out(table, candidate.subscription.slot()) {
        unreleased.extend(last);
        events.extend(token.map(|token| candidate.closing(token)));
    }
}
