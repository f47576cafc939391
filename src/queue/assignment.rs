//! Which thread an event is assigned to, where several wait in one queue.
//!
//! An event that was not dealt with is reported again. With several threads, a second one would get it while the first
//! is still dealing with it. So an event stays with the thread that got it, until that thread waits again or ends, or
//! until the socket was drained and its buffer is empty: what comes then is another event. Each client of a listener is
//! an event of its own, so that the next one goes to a thread that waits.
//!
//! Each wait of a thread is a *turn*, with a number that no other turn in the queue has. An assignment holds as long as
//! the thread is still in the turn in which it got the event.

use std::cell::RefCell;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};

use super::subscription::Control;
use crate::sync::AtomicU64;

/// A thread's turn in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The thread's index in [`Waiters`].
    waiter: usize,
    number: u64,
}

/// One thread, as one queue sees it.
#[derive(Debug)]
struct Waiter {
    /// The number of its turn, or [`NO_TURN`] when any thread may have its events.
    turn: AtomicU64,
}

const NO_TURN: u64 = 0;

/// The threads that have waited in a queue.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: Vec<Arc<Waiter>>,
    last_turn: u64,
}

/// The queues that a thread has waited in, each with the thread's entry there.
#[derive(Default)]
struct Queues(RefCell<Vec<(Weak<Control>, Arc<Waiter>)>>);

thread_local! {
    static QUEUES: Queues = Queues::default();
}

impl Drop for Queues {
    /// Lets other threads have the events of this one, which ends.
    fn drop(&mut self) {
        for (control, waiter) in self.0.get_mut().drain(..) {
            waiter.turn.store(NO_TURN, SeqCst);
            if let Some(control) = control.upgrade() {
                control.look_again();
            }
        }
    }
}

/// Ends the calling thread's turn, because it waits again, behind the thread that polls. That one may have its events.
pub(super) fn end_turn(control: &Arc<Control>) {
    let had_one = QUEUES.try_with(|queues| {
        let queues = queues.0.borrow();
        let waiter = find(&queues, control);
        waiter.is_some_and(|waiter| waiter.turn.swap(NO_TURN, SeqCst) != NO_TURN)
    });
    if had_one.unwrap_or(false) {
        control.look_again();
    }
}

fn find<'a>(queues: &'a [(Weak<Control>, Arc<Waiter>)], control: &Arc<Control>) -> Option<&'a Arc<Waiter>> {
    let mut queues = queues.iter();
    let found = queues.find(|(queue, _)| queue.as_ptr() == Arc::as_ptr(control));
    found.map(|(_, waiter)| waiter)
}

impl Waiters {
    /// Begins another turn of the calling thread. None if the thread is ending, so that its entry is gone.
    pub(super) fn begin_turn(&mut self, control: &Arc<Control>) -> Option<Turn> {
        let waiter = QUEUES.try_with(|queues| {
            let mut queues = queues.0.borrow_mut();
            match find(&queues, control) {
                Some(waiter) => self.all.iter().position(|known| Arc::ptr_eq(known, waiter)),
                None => {
                    let waiter = Arc::new(Waiter {
                        turn: AtomicU64::new(NO_TURN),
                    });
                    queues.retain(|(queue, _)| queue.strong_count() > 0);
                    queues.push((Arc::downgrade(control), Arc::clone(&waiter)));
                    Some(self.add(waiter))
                }
            }
        });
        let waiter = waiter.ok().flatten()?;
        self.last_turn += 1;
        self.all[waiter].turn.store(self.last_turn, SeqCst);
        Some(Turn {
            waiter,
            number: self.last_turn,
        })
    }

    /// Adds a thread, in the place of one that has ended if there is one.
    fn add(&mut self, waiter: Arc<Waiter>) -> usize {
        match self.all.iter().position(|known| Arc::strong_count(known) == 1) {
            Some(ended) => {
                self.all[ended] = waiter;
                ended
            }
            None => {
                self.all.push(waiter);
                self.all.len() - 1
            }
        }
    }

    /// Whether no other thread than that of `turn` has ever waited.
    pub(super) fn is_alone(&self, turn: Option<Turn>) -> bool {
        turn.is_some() && self.all.len() == 1
    }

    /// Whether `assigned` is a turn of another thread than that of `to`, and is not over.
    pub(super) fn is_with_another(&self, assigned: Turn, to: Option<Turn>) -> bool {
        to.is_none_or(|to| to.waiter != assigned.waiter)
            && self.all[assigned.waiter].turn.load(SeqCst) == assigned.number
    }
}
