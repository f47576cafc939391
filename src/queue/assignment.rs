//! Which thread an event is assigned to, where several wait in one queue.
//!
//! What is not dealt with is reported again. With several threads, that would be to another one while the first is at
//! it. So an event stays with the thread that it was given to until that thread waits again, or ends, or until the
//! socket was drained, with nothing that it has read ahead left: what comes then is another event. Each client of a
//! listener is one, so that the next goes to a thread that has time.
//!
//! Each wait of a thread is a *turn*, with a number that no other turn in the queue has. An assignment holds for as long
//! as the thread's turn is still the one that it was given in.

use std::cell::RefCell;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};

use super::control::Control;
use crate::sync::AtomicU64;

/// A thread's turn in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Which of the [`Waiters`].
    waiter: usize,
    number: u64,
}

/// One thread, as one queue sees it.
#[derive(Debug)]
struct Waiter {
    /// The number of its turn, or [`NO_TURN`] when its events are for any thread.
    turn: AtomicU64,
}

const NO_TURN: u64 = 0;

/// The threads that have waited in a queue.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: Vec<Arc<Waiter>>,
    last_turn: u64,
}

/// The queues that a thread has waited in, and what it is there.
#[derive(Default)]
struct Queues(RefCell<Vec<(Weak<Control>, Arc<Waiter>)>>);

thread_local! {
    static QUEUES: Queues = Queues::default();
}

impl Drop for Queues {
    /// The thread ends: others may have its events.
    fn drop(&mut self) {
        for (control, waiter) in self.0.get_mut().drain(..) {
            waiter.turn.store(NO_TURN, SeqCst);
            if let Some(control) = control.upgrade() {
                control.look_again();
            }
        }
    }
}

/// Ends the calling thread's turn: it waits again, behind the thread that polls, which may have its events.
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
    /// Begins another turn of the calling thread. None if it is ending and can't be told from others any more.
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

    /// Takes a thread in, at the place of one that has ended if there is such a one.
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

    /// Whether `assigned` is a turn of another thread than `to`'s, and not over.
    pub(super) fn is_with_another(&self, assigned: Turn, to: Option<Turn>) -> bool {
        to.is_none_or(|to| to.waiter != assigned.waiter)
            && self.all[assigned.waiter].turn.load(SeqCst) == assigned.number
    }
}
