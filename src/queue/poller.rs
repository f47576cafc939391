//! What belongs to the thread that polls in a queue: the poll, and the candidates for its report.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use super::assignment::{Round, Threads};
use super::event::SocketEvent;
use super::slot::{Slot, WAKER};
use super::subscribe::take_out;
use super::subscription::Control;
use super::subscription::{Level, Subscription};
use super::table::Table;
use crate::events::WaitEvents;
use crate::opening::Unreleased;
use crate::wake::Linked;

/// How many reports the system gives at once. The rest comes with the next wait.
const REPORTS: usize = 1024;

/// The poll of a queue, and the candidates for its next report.
pub(super) struct Poller {
    poll: Poll,
    reports: Events,
    /// What is ready, or was at the last look.
    candidates: Vec<Candidate>,
    threads: Threads,
    /// Subscriptions with a report that the system doesn't repeat before they are armed again.
    disarmed: Vec<Arc<Subscription>>,
    /// Sockets that were closed while this looked at them. To be dropped without a lock.
    unreleased: Vec<Unreleased>,
    /// Something has changed since events were given: there may be events in the table.
    has_changed: bool,
}

struct Candidate {
    subscription: Arc<Subscription>,
    /// The round that each of [`EACH`] was assigned to.
    assigned: [Option<Assigned>; 3],
    /// Its socket was closed, which is not reported yet.
    closed: bool,
    /// It wasn't ready at the last look. It stays for one wait more, which spares a socket that is served again and again from
    /// being struck out and added each time.
    idle: bool,
}

/// An event that a thread has got.
#[derive(Clone, Copy)]
struct Assigned {
    /// None for a thread that has no rounds: see [`Threads::begin_round`].
    round: Option<Round>,
    /// [`Subscription::epoch`] at that moment.
    epoch: u32,
}

const EACH: [WaitEvents; 3] = [WaitEvents::READ, WaitEvents::WRITE, WaitEvents::EXCEPTION];

impl Poller {
    pub(super) fn new(poll: Poll) -> Poller {
        Poller {
            poll,
            reports: Events::with_capacity(REPORTS),
            candidates: Vec::new(),
            threads: Threads::default(),
            disarmed: Vec::new(),
            unreleased: Vec::new(),
            has_changed: false,
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
                control.note_reports(&self.reports);
                Ok(())
            }
        }
    }

    /// Makes the system watch again for what was drained. What is still ready becomes a candidate again, because its
    /// report may have gone to another queue only.
    pub(super) fn rearm(&mut self) {
        let candidates = &mut self.candidates;
        self.disarmed.retain(|subscription| {
            let lasts = subscription.rearm();
            if lasts {
                Candidate::add(candidates, subscription);
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
                Candidate::add(&mut self.candidates, &entry.subscription);
            }
        }
        self.reports.clear();
        !were_all
    }

    /// Makes candidates of what the queue was notified of.
    pub(super) fn add_pending(&mut self, control: &Control) {
        if control.take_changed() {
            self.has_changed = true;
            self.candidates.extend(control.take_pending().map(Candidate::new));
        }
    }

    /// Strikes out candidates that aren't ready any more. False if there is none left that is.
    pub(super) fn may_have_events(&mut self, round: Option<Round>) -> bool {
        let mut may_be = self.has_changed;
        let Poller {
            candidates,
            threads,
            unreleased,
            ..
        } = self;
        candidates.retain_mut(|candidate| {
            // Other threads' events stay theirs, whatever a look would show.
            if may_be || candidate.is_all_with(candidate.with_others(round, threads)) {
                return true;
            }
            match candidate.look(unreleased) {
                Level::NotReady => candidate.stays_idle(unreleased),
                _ => {
                    may_be = true;
                    true
                }
            }
        });
        may_be
    }

    /// Strikes out candidates that aren't ready any more. True if one is ready that `round` may have.
    pub(super) fn has_events<T>(&mut self, table: &mut Table<T>, round: Option<Round>) -> bool {
        let Poller {
            candidates,
            threads,
            unreleased,
            ..
        } = self;
        let mut found = !table.undelivered.is_empty();
        candidates.retain_mut(|candidate| {
            if found {
                return true;
            }
            if table.get(candidate.subscription.slot()).is_none() {
                return false;
            }
            let theirs = candidate.with_others(round, threads);
            if candidate.is_all_with(theirs) || !table.has_its_token(candidate.subscription.slot()) {
                return true;
            }
            match candidate.look(unreleased) {
                Level::NotReady => return candidate.stays_idle(unreleased),
                Level::Ready(events) => found = events.intersects(candidate.subscription.enabled() - theirs),
                Level::Closed => found = true,
            }
            true
        });
        found
    }

    /// Gives `round` the events that there are, with their tokens, which the caller has to [restore](Table::restore).
    /// Ends the subscriptions whose sockets were closed.
    pub(super) fn give<T>(&mut self, table: &mut Table<T>, round: Option<Round>, events: &mut Vec<SocketEvent<T>>) {
        let Poller {
            candidates,
            threads,
            unreleased,
            ..
        } = self;
        self.has_changed = false;
        let mut some_closed = false;
        candidates.retain_mut(|candidate| {
            let slot = candidate.subscription.slot();
            if table.get(slot).is_none() {
                return false;
            }
            let theirs = candidate.with_others(round, threads);
            if candidate.is_all_with(theirs) || !table.has_its_token(slot) {
                return true;
            }
            // Before the look: a later change is another event, which another thread may have.
            let epochs = EACH.map(|event| candidate.subscription.epoch(event));
            match candidate.look(unreleased) {
                // The next wait looks again.
                Level::NotReady => true,
                Level::Ready(found) => {
                    let found = found - theirs;
                    if !found.intersects(candidate.subscription.enabled()) {
                        return true;
                    }
                    let Some(token) = table.get_mut(slot).and_then(|entry| entry.token.take()) else {
                        return true;
                    };
                    events.push(SocketEvent {
                        token,
                        slot,
                        socket_id: candidate.subscription.opening().id(),
                        events: found,
                        closed: false,
                    });
                    candidate.assign(found, round, epochs);
                    true
                }
                Level::Closed => {
                    candidate.closed = true;
                    some_closed = true;
                    true
                }
            }
        });
        if some_closed {
            self.give_closed(table, events);
        }
        events.append(&mut table.undelivered);
    }

    fn give_closed<T>(&mut self, table: &mut Table<T>, events: &mut Vec<SocketEvent<T>>) {
        for Candidate { subscription, .. } in self.candidates.extract_if(.., |candidate| candidate.closed) {
            let slot = subscription.slot();
            let Some((unreleased, token)) = take_out(table, slot) else {
                continue;
            };
            self.unreleased.extend(unreleased);
            if let Some(token) = token {
                events.push(SocketEvent {
                    token,
                    slot,
                    socket_id: subscription.opening().id(),
                    events: WaitEvents::empty(),
                    closed: true,
                });
            }
        }
    }
}

impl Candidate {
    fn new(subscription: Arc<Subscription>) -> Candidate {
        Candidate {
            subscription,
            assigned: [None; 3],
            closed: false,
            idle: false,
        }
    }

    /// Makes `subscription` one of the `candidates`, unless it is one already.
    fn add(candidates: &mut Vec<Candidate>, subscription: &Arc<Subscription>) {
        let link = subscription.link();
        // Only the thread that polls, which this is, takes marks away.
        if !link.is_marked() && link.mark() {
            candidates.push(Candidate::new(Arc::clone(subscription)));
        }
    }

    /// Which of its events other threads than that of `round` have got, and still deal with.
    fn with_others(&self, round: Option<Round>, threads: &Threads) -> WaitEvents {
        let mut theirs = WaitEvents::empty();
        if threads.is_alone(round) {
            return theirs;
        }
        for (event, assigned) in EACH.into_iter().zip(self.assigned) {
            let Some(Assigned { round: Some(to), epoch }) = assigned else {
                continue;
            };
            if epoch == self.subscription.epoch(event) && threads.is_with_another(to, round) {
                theirs |= event;
            }
        }
        theirs
    }

    /// Whether there is nothing to report, since other threads have got all of it: `theirs`.
    fn is_all_with(&self, theirs: WaitEvents) -> bool {
        !theirs.is_empty() && theirs.contains(self.subscription.enabled()) && !self.subscription.opening().is_closed()
    }

    fn assign(&mut self, events: WaitEvents, round: Option<Round>, epochs: [u32; 3]) {
        for ((event, epoch), assigned) in EACH.into_iter().zip(epochs).zip(&mut self.assigned) {
            if events.contains(event) {
                *assigned = Some(Assigned { round, epoch });
            }
        }
    }

    /// What the socket is ready for.
    fn look(&mut self, unreleased: &mut Vec<Unreleased>) -> Level {
        let was_told = self.assigned.iter().any(Option::is_some);
        let level = self.subscription.look(was_told, unreleased);
        self.idle &= matches!(level, Level::NotReady);
        level
    }

    /// Whether it stays a candidate, though it isn't ready: for one wait more, or because that has just changed. If not, the
    /// caller has to strike it out.
    fn stays_idle(&mut self, unreleased: &mut Vec<Unreleased>) -> bool {
        // What is reported next is another event.
        self.assigned = [None; 3];
        !mem::replace(&mut self.idle, true) || !self.unmark(unreleased)
    }

    /// Makes this no candidate any more, unless it has become ready.
    fn unmark(&self, unreleased: &mut Vec<Unreleased>) -> bool {
        let link = self.subscription.link();
        link.unmark();
        // A change between the look and the unmarking was not put into the inbox.
        matches!(self.subscription.look(true, unreleased), Level::NotReady) || !link.mark()
    }
}

/// Models: see `models/`. They cover what becomes of a candidate that is struck out at the very moment when its socket
/// changes.
#[cfg(all(test, wakesock_loom))]
mod models {
    use std::sync::LazyLock;

    use super::*;
    use crate::models::{ALL, check, handler, opened};
    use crate::registry::{EndedBy, ShutdownRegistry};

    /// A candidate that is not ready any more, and its queue.
    fn candidate() -> (Candidate, Arc<Control>) {
        static POLL: LazyLock<Poll> = LazyLock::new(|| Poll::new().unwrap());
        let control = Arc::new(Control::new(POLL.registry().try_clone().unwrap()).unwrap());
        let (opening, _) = opened(&ShutdownRegistry::new());
        opening.becomes_followed();
        let slot = Slot {
            index: 0,
            generation: 0,
        };
        let subscription = Subscription::new(&control, &opening, slot);
        let mut candidates = Vec::new();
        Candidate::add(&mut candidates, &subscription);
        (candidates.pop().unwrap(), control)
    }

    /// {unmark, notify, look}: a handler ends the socket while a look finds it not ready. Either the look sees that, or the
    /// queue is notified.
    // broken: dropped src/wake/inbox.rs self.marked.store(false, SeqCst)
    #[test]
    fn what_ends_beside_a_look_is_seen_or_notified() {
        check(ALL, || {
            let (mut candidate, control) = candidate();
            let opening = Arc::clone(candidate.subscription.opening());
            let key = opening.followers().insert(candidate.subscription.clone());
            let ended = Arc::clone(&opening);
            let handler = handler(move || ended.end(EndedBy::Owner));
            let mut unreleased = Vec::new();
            let is_seen =
                matches!(candidate.look(&mut unreleased), Level::Closed) || !candidate.unmark(&mut unreleased);
            handler.join().unwrap();
            let is_notified = control.take_changed() && control.take_pending().count() > 0;
            assert!(is_seen || is_notified, "its closing is never told");
            drop(unreleased);
            opening.close();
            drop(opening.followers().remove(key));
        });
    }
}
