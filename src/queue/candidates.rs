//! The candidates for a queue's next report: what is ready, or was at the last look.
//!
//! They stand in a ring. A walk begins where the last one has stopped, so that a thread that takes a few events pays for
//! these and not for the rest, and every socket has its turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::assignment::{Round, Threads};
use super::event::SocketEvent;
use super::subscription::{Level, Subscription};
use crate::events::WaitEvents;
use crate::opening::Unreleased;
use crate::wake::Linked;

/// What may have something to report, each subscription once.
#[derive(Default)]
pub(super) struct Candidates(VecDeque<Candidate>);

/// One subscription that may have something to report.
pub(super) struct Candidate {
    pub(super) subscription: Arc<Subscription>,
    /// The round that each of [`EACH`] was assigned to.
    assigned: [Option<Assigned>; 3],
    /// The turn since which it isn't ready, or [`READY`]. It stays for the turn after that, which spares a socket that is
    /// served again and again from being struck out and added each time.
    idle_since: Turn,
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

/// The number of a turn of the thread that polls: a poll, with what is done before and after it.
pub(super) type Turn = u64;

/// No turn.
pub(super) const READY: Turn = 0;

/// What becomes of a candidate that was visited.
#[derive(Clone, Copy)]
pub(super) enum Visit {
    Keep,
    Strike,
    /// It stays where it is, and the walk ends. The next one begins with it.
    Stop,
}

impl Candidates {
    /// Makes `subscription` a candidate, unless it is one already.
    pub(super) fn add(&mut self, subscription: &Arc<Subscription>) {
        let link = subscription.link();
        // Only the thread that polls, which this is, takes marks away.
        if !link.is_marked() && link.mark() {
            self.add_marked(Arc::clone(subscription));
        }
    }

    /// Makes a subscription a candidate that was marked as one when its queue was notified.
    pub(super) fn add_marked(&mut self, subscription: Arc<Subscription>) {
        self.0.push_back(Candidate::new(subscription));
    }

    /// Visits one candidate after the other, each at most once.
    pub(super) fn walk(&mut self, mut visit: impl FnMut(&mut Candidate) -> Visit) {
        let mut visited = 0;
        while let Some(candidate) = self.0.get_mut(visited) {
            match visit(candidate) {
                Visit::Keep => visited += 1,
                // The last one, which is still to be visited, takes its place.
                Visit::Strike => drop(self.0.swap_remove_back(visited)),
                Visit::Stop => break,
            }
        }
        if visited < self.0.len() {
            self.0.rotate_left(visited);
        }
    }
}

impl Candidate {
    fn new(subscription: Arc<Subscription>) -> Candidate {
        Candidate {
            subscription,
            assigned: [None; 3],
            idle_since: READY,
        }
    }

    /// Which of its events other threads than that of `round` have got, and still deal with.
    #[inline]
    pub(super) fn with_others(&self, round: Option<Round>, threads: &Threads) -> WaitEvents {
        match threads.is_alone(round) {
            true => WaitEvents::empty(),
            false => self.with_others_of(round, threads),
        }
    }

    /// Which of its events other threads than that of `round` have got, in a queue where such threads have waited.
    #[inline(never)]
    fn with_others_of(&self, round: Option<Round>, threads: &Threads) -> WaitEvents {
        let mut theirs = WaitEvents::empty();
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
    pub(super) fn is_all_with(&self, theirs: WaitEvents) -> bool {
        !theirs.is_empty() && theirs.contains(self.subscription.enabled()) && !self.subscription.opening().is_closed()
    }

    /// The number of each event, for [`assign`](Candidate::assign).
    fn epochs(&self) -> [u32; 3] {
        EACH.map(|event| self.subscription.epoch(event))
    }

    /// Notes that the thread of `round` has got these events, which had these numbers.
    pub(super) fn assign(&mut self, events: WaitEvents, round: Option<Round>, epochs: [u32; 3]) {
        for ((event, epoch), assigned) in EACH.into_iter().zip(epochs).zip(&mut self.assigned) {
            if events.contains(event) {
                *assigned = Some(Assigned { round, epoch });
            }
        }
    }

    /// An event of the socket, which is ready for `events`.
    pub(super) fn event<T>(&self, token: T, events: WaitEvents) -> SocketEvent<T> {
        SocketEvent {
            token,
            slot: self.subscription.slot(),
            socket_id: self.subscription.opening().id(),
            events,
            closed: false,
        }
    }

    /// The event that says that the socket was closed.
    pub(super) fn closing<T>(&self, token: T) -> SocketEvent<T> {
        SocketEvent {
            closed: true,
            ..self.event(token, WaitEvents::empty())
        }
    }

    /// What the socket is ready for.
    pub(super) fn look(&mut self, unreleased: &mut Vec<Unreleased>) -> Level {
        let was_told = self.assigned.iter().any(Option::is_some);
        let level = self.subscription.look(was_told, unreleased);
        if !matches!(level, Level::NotReady) {
            self.idle_since = READY;
        }
        level
    }

    /// What the socket is ready for, and the number that each event has, for [`assign`](Candidate::assign).
    pub(super) fn look_and_number(&mut self, unreleased: &mut Vec<Unreleased>) -> (Level, [u32; 3]) {
        loop {
            // Before the look: a later change is another event, which another thread may have.
            let epochs = self.epochs();
            let level = self.look(unreleased);
            // What was over during the look may be what it has shown. Assigned by its old number, it would go to a second
            // thread, too. Each turn of this loop is another thread's progress.
            if !matches!(level, Level::Ready(_)) || self.epochs() == epochs {
                return (level, epochs);
            }
        }
    }

    /// Whether it stays a candidate, though it isn't ready: for one turn more, or because that has just changed.
    pub(super) fn idle(&mut self, now: Turn, unreleased: &mut Vec<Unreleased>) -> Visit {
        // What is reported next is another event.
        self.assigned = [None; 3];
        if self.idle_since == READY {
            self.idle_since = now;
        } else if self.idle_since != now && self.unmark(unreleased) {
            return Visit::Strike;
        }
        Visit::Keep
    }

    /// It is not to be reported yet: makes `next_look` no later than the moment when it may be.
    #[cold]
    pub(super) fn look_again(&self, next_look: &mut Option<Instant>, unreleased: &mut Vec<Unreleased>) -> Visit {
        let at = self.subscription.not_before(unreleased);
        *next_look = Some(next_look.map_or(at, |next| next.min(at)));
        Visit::Keep
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

    use mio::Poll;

    use super::super::slot::Slot;
    use super::super::subscription::Control;
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
        let mut candidates = Candidates::default();
        candidates.add(&subscription);
        (candidates.0.pop_front().unwrap(), control)
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
