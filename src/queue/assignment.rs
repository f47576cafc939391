//! Which thread an event is assigned to, where several wait in one queue.
//!
//! An event that was not dealt with is reported again. With several threads, a second one would get it while the first
//! is still dealing with it. So an event stays with the thread that got it, until that thread waits again or ends, or
//! until the socket was drained and its buffer is empty: what comes then is another event. Each client of a listener is
//! an event of its own, so that the next one goes to a thread that waits.
//!
//! A *round* of a thread is a wait and what the thread does after it, until it waits again. It has a number that no other
//! round in the queue has. An assignment holds as long as the thread is still in the round in which it got the event.

use std::cell::RefCell;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Weak};

use super::subscription::Control;
use crate::sync::AtomicU64;

/// One thread's round in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// The thread's index in [`Threads`].
    thread: usize,
    number: u64,
}

/// One thread, as one queue sees it.
#[derive(Debug)]
struct Thread {
    /// The number of its round, or [`NO_ROUND`] when any thread may have its events.
    round: AtomicU64,
}

const NO_ROUND: u64 = 0;

/// The threads that have waited in a queue.
#[derive(Debug, Default)]
pub(super) struct Threads {
    all: Vec<Arc<Thread>>,
    last_round: u64,
}

/// The queues that a thread has waited in.
#[derive(Default)]
struct Queues(RefCell<Vec<Place>>);

/// A thread's place in a queue.
struct Place {
    queue: Weak<Control>,
    thread: Arc<Thread>,
    /// Of the thread, in [`Threads`].
    index: usize,
}

thread_local! {
    static QUEUES: Queues = Queues::default();
}

impl Drop for Queues {
    /// Lets other threads have the events of this one, which ends.
    fn drop(&mut self) {
        for place in self.0.get_mut().drain(..) {
            place.thread.round.store(NO_ROUND, SeqCst);
            if let Some(control) = place.queue.upgrade() {
                control.look_again();
            }
        }
    }
}

/// Ends the calling thread's round: other threads may have its events.
pub(super) fn end_round(control: &Arc<Control>) {
    let had_one = QUEUES.try_with(|queues| {
        let queues = queues.0.borrow();
        let place = find(&queues, control);
        place.is_some_and(|place| place.thread.round.swap(NO_ROUND, SeqCst) != NO_ROUND)
    });
    if had_one.unwrap_or(false) {
        control.look_again();
    }
}

fn find<'a>(queues: &'a [Place], control: &Arc<Control>) -> Option<&'a Place> {
    let mut queues = queues.iter();
    queues.find(|place| place.queue.as_ptr() == Arc::as_ptr(control))
}

impl Threads {
    /// Begins another round of the calling thread. None if the thread is ending, so that its entry is gone.
    pub(super) fn begin_round(&mut self, control: &Arc<Control>) -> Option<Round> {
        let thread = QUEUES.try_with(|queues| {
            let mut queues = queues.0.borrow_mut();
            match find(&queues, control) {
                Some(place) => place.index,
                None => self.add_place(&mut queues, control),
            }
        });
        let thread = thread.ok()?;
        self.last_round += 1;
        // Other threads read it under the lock that this one holds.
        self.all[thread].round.store(self.last_round, Relaxed);
        Some(Round {
            thread,
            number: self.last_round,
        })
    }

    #[cold]
    fn add_place(&mut self, queues: &mut Vec<Place>, control: &Arc<Control>) -> usize {
        let thread = Arc::new(Thread {
            round: AtomicU64::new(NO_ROUND),
        });
        queues.retain(|place| place.queue.strong_count() > 0);
        let index = self.add(Arc::clone(&thread));
        let queue = Arc::downgrade(control);
        queues.push(Place { queue, thread, index });
        index
    }

    /// Adds a thread, in the place of one that has ended if there is one.
    fn add(&mut self, thread: Arc<Thread>) -> usize {
        match self.all.iter().position(|known| Arc::strong_count(known) == 1) {
            Some(ended) => {
                self.all[ended] = thread;
                ended
            }
            None => {
                self.all.push(thread);
                self.all.len() - 1
            }
        }
    }

    /// Whether no other thread than that of `round` has ever waited.
    pub(super) fn is_alone(&self, round: Option<Round>) -> bool {
        round.is_some() && self.all.len() == 1
    }

    /// Whether `assigned` is a round of another thread than that of `to`, and is not over.
    pub(super) fn is_with_another(&self, assigned: Round, to: Option<Round>) -> bool {
        to.is_none_or(|to| to.thread != assigned.thread)
            && self.all[assigned.thread].round.load(SeqCst) == assigned.number
    }
}
