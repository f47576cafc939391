//! Things that have changed, collected for a thread that looks at them later.
//!
//! # The problem
//!
//! A queue has to learn *which* of its ten thousand sockets was closed, and may have to learn it from a signal handler:
//! so without a lock, and without memory for the message.
//!
//! # How
//!
//! The message is a reference to the thing itself, which contains the link for the list: a stack whose nodes are the
//! things. To put a thing in is to push it. To take is to take the whole stack, so no node is ever popped alone and the
//! pitfalls of that don't arise. A thing that is in already (or that was taken, and is still watched) is not put in
//! again: its mark says so. The stack owns a reference to each thing in it. Putting in adds one to a count and takes
//! nothing away, so nothing is freed where that is not allowed.
//!
//! # Orderings
//!
//! A thread that changes a thing first makes the change visible, then looks at the mark. A thread that takes the mark
//! away ([`Link::unmark`]) then looks at the thing once more. One of the two sees the other: both are sequentially
//! consistent.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};

use crate::sync::{AtomicBool, AtomicPtr};

/// What can be put in an inbox.
pub(crate) trait Linked: Sized + Send + Sync {
    fn link(&self) -> &Link<Self>;
}

/// A thing's place in an inbox. A thing belongs to one inbox, always the same.
pub(crate) struct Link<T> {
    /// The thing is in, or was taken and is still watched.
    marked: AtomicBool,
    /// Written by the thread that has set `marked`, before the thing can be seen in the stack.
    next: AtomicPtr<T>,
}

impl<T> Link<T> {
    pub(crate) fn new() -> Link<T> {
        Link {
            marked: AtomicBool::new(false),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Marks the thing as watched. False if it was marked before.
    pub(crate) fn mark(&self) -> bool {
        !self.marked.swap(true, SeqCst)
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(SeqCst)
    }

    /// Lets the thing be put in again. The caller then has to look at it once more.
    pub(crate) fn unmark(&self) {
        self.marked.store(false, SeqCst);
    }
}

/// A stack of things that have changed: see the module's description.
pub(crate) struct Inbox<T: Linked> {
    head: AtomicPtr<T>,
}

impl<T: Linked> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        Inbox {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Puts `thing` in, unless it is marked. Async-signal-safe.
    pub(crate) fn put(&self, thing: &Arc<T>) {
        let link = thing.link();
        if !link.mark() {
            return;
        }
        let pointer = Arc::into_raw(Arc::clone(thing)).cast_mut();
        let mut head = self.head.load(SeqCst);
        loop {
            link.next.store(head, Relaxed);
            match self.head.compare_exchange_weak(head, pointer, SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.head.load(SeqCst).is_null()
    }

    /// Takes all things that are in, the newest first. They stay marked.
    pub(crate) fn take(&self) -> impl Iterator<Item = Arc<T>> + use<T> {
        Taken {
            next: self.head.swap(ptr::null_mut(), SeqCst),
        }
    }
}

/// A stack that was taken.
struct Taken<T: Linked> {
    next: *mut T,
}

impl<T: Linked> Iterator for Taken<T> {
    type Item = Arc<T>;

    fn next(&mut self) -> Option<Arc<T>> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: `put` made the pointer from a reference that the stack owned from then on. The swap in `take` has
        // given the stack to this iterator alone, which steps past each node as it takes it.
        let thing = unsafe { Arc::from_raw(self.next.cast_const()) };
        // A thing that is marked is not put in, so its link does not change before `unmark`.
        self.next = thing.link().next.load(Relaxed);
        Some(thing)
    }
}

impl<T: Linked> Drop for Taken<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<T: Linked> Drop for Inbox<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    struct Thing {
        number: usize,
        link: Link<Thing>,
    }

    impl Linked for Thing {
        fn link(&self) -> &Link<Thing> {
            &self.link
        }
    }

    fn things(count: usize) -> Vec<Arc<Thing>> {
        let link = Link::new;
        (0..count)
            .map(|number| Arc::new(Thing { number, link: link() }))
            .collect()
    }

    #[test]
    fn what_is_put_in_is_taken_once() {
        let inbox = Inbox::new();
        let things = things(3);
        for thing in [&things[0], &things[1], &things[0]] {
            inbox.put(thing);
        }
        let mut taken: Vec<usize> = inbox.take().map(|thing| thing.number).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1]);
        inbox.put(&things[0]);
        assert!(inbox.is_empty(), "it is still marked");
        things[0].link.unmark();
        inbox.put(&things[0]);
        assert_eq!(inbox.take().count(), 1);
    }

    #[test]
    fn references_are_given_back() {
        let things = things(2);
        let inbox = Inbox::new();
        things.iter().for_each(|thing| inbox.put(thing));
        assert_eq!(Arc::strong_count(&things[0]), 2);
        drop(inbox.take());
        assert_eq!(Arc::strong_count(&things[0]), 1);
        things[1].link.unmark();
        inbox.put(&things[1]);
        drop(inbox);
        assert_eq!(Arc::strong_count(&things[1]), 1);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        const NEWS: usize = 20_000;
        let inbox = Inbox::new();
        let things = things(4);
        let counts: Vec<std::sync::atomic::AtomicUsize> = (0..4).map(|_| Default::default()).collect();
        let seen = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for turn in 0..NEWS {
                        counts[turn % 4].fetch_add(1, SeqCst);
                        inbox.put(&things[turn % 4]);
                    }
                });
            }
            let mut seen = [0; 4];
            while seen.iter().sum::<usize>() < 2 * NEWS {
                for thing in inbox.take() {
                    thing.link.unmark();
                    seen[thing.number] = counts[thing.number].load(SeqCst);
                }
                thread::yield_now();
            }
            seen
        });
        assert_eq!(seen.iter().sum::<usize>(), 2 * NEWS);
    }
}
