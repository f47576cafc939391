//! Which thread an event was given to, where several wait in one queue.
//!
//! What is not dealt with is reported again. With several threads, that would be to another one while the first is at
//! it. So an event stays with the thread that it was given to until that thread waits again, or ends, or until the
//! socket was drained, with nothing that it has read ahead left: what comes then is another event. Each client of a
//! listener is one, so that the next goes to who has time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::control::Control;

/// The name of a thread: never given twice in a process.
pub(super) type ThreadNumber = u64;

/// Ends with its thread.
struct Life {
    number: ThreadNumber,
    /// The queues that the thread has waited in.
    queues: Mutex<Vec<Weak<Control>>>,
}

thread_local! {
    static LIFE: Arc<Life> = {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Arc::new(Life {
            number: LAST.fetch_add(1, Relaxed) + 1,
            queues: Mutex::new(Vec::new()),
        })
    };
}

impl Drop for Life {
    fn drop(&mut self) {
        // Whoever waits there may now be given what this thread had.
        self.queues
            .get_mut()
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|control| control.look_again());
    }
}

/// The calling thread. None if it is ending and can't be told from others any more.
pub(super) fn this_thread() -> Option<ThreadNumber> {
    LIFE.try_with(|life| life.number).ok()
}

/// The threads that have waited in a queue.
#[derive(Default)]
pub(super) struct Threads(Vec<(ThreadNumber, Weak<Life>)>);

impl Threads {
    /// The calling thread, which is about to wait. None if it is ending and can't be told from others any more.
    pub(super) fn enter(&mut self, control: &Arc<Control>) -> Option<ThreadNumber> {
        LIFE.try_with(|life| {
            if !self.0.iter().any(|(number, _)| *number == life.number) {
                self.0.retain(|(_, life)| life.strong_count() > 0);
                self.0.push((life.number, Arc::downgrade(life)));
                let mut queues = life.queues.lock();
                queues.retain(|control| control.strong_count() > 0);
                queues.push(Arc::downgrade(control));
            }
            life.number
        })
        .ok()
    }

    /// Whether the thread has not ended.
    pub(super) fn lives(&self, thread: ThreadNumber) -> bool {
        let mut threads = self.0.iter();
        threads.any(|(number, life)| *number == thread && life.strong_count() > 0)
    }
}
