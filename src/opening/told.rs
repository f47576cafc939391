//! The threads that know that a socket has ended: those that a wait has told, and those that have closed it themselves.

use std::cell::Cell;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::sync::Mutex;

/// Empty, as long as the socket is open.
#[derive(Default)]
pub(super) struct Told(Mutex<Option<Box<Knowing>>>);

struct Knowing {
    thread: usize,
    others: Option<Box<Knowing>>,
}

impl Told {
    /// Whether this thread knows.
    pub(super) fn knows(&self) -> bool {
        let newest = self.0.lock();
        let mut all = iter::successors(newest.as_deref(), |knowing| knowing.others.as_deref());
        all.any(|knowing| knowing.thread == this_thread())
    }

    /// Tells this thread.
    pub(super) fn tell(&self) {
        if !self.knows() {
            let mut newest = self.0.lock();
            let (thread, others) = (this_thread(), newest.take());
            *newest = Some(Box::new(Knowing { thread, others }));
        }
    }
}

/// A number that no other thread ever has. Unlike the standard library's, it can be asked for while a thread ends.
fn this_thread() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(LAST.fetch_add(1, Relaxed) + 1);
        }
        number.get()
    })
}
