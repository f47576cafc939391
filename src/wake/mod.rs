//! What may be done in a signal handler to reach those who have to know: the lists that `close` and `shutdown` walk,
//! and the inboxes that they put things in.
//!
//! A handler may have interrupted a thread anywhere, inside the allocator or inside these very structures: so nothing
//! of it takes a lock, allocates, frees or waits.

mod inbox;
mod list;

use std::sync::Arc;

pub(crate) use self::inbox::{Inbox, Link, Linked};
pub(crate) use self::list::{Key, List};
use crate::raw_wait::Wake;
use crate::sync::{spin_loop, yield_now};

/// What a socket, or a registry, wakes when it ends.
pub(crate) type WakeList = List<Arc<dyn Wake>>;

impl WakeList {
    /// Puts `waker` in, if there is one, for as long as the result lives.
    pub(crate) fn hang(&self, waker: Option<Arc<dyn Wake>>) -> Hung<'_> {
        Hung {
            list: self,
            key: waker.map(|waker| self.insert(waker)),
        }
    }

    /// Wakes all. Async-signal-safe.
    pub(crate) fn wake_all(&self) {
        self.for_each(|waker| waker.wake());
    }
}

/// A waker in its list: see [`WakeList::hang`].
pub(crate) struct Hung<'a> {
    list: &'a WakeList,
    key: Option<Key<Arc<dyn Wake>>>,
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            drop(self.list.remove(key));
        }
    }
}

/// One step of waiting for something that another thread is about to do.
///
/// Not for signal handlers: they wait for nobody.
pub(crate) fn back_off(spins: &mut u32) {
    if *spins < 32 {
        *spins += 1;
        spin_loop();
    } else {
        yield_now();
    }
}
