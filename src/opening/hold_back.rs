//! Holding a listener back, in the queues that it is in, after an accept that has failed.
//!
//! Where descriptors or memory have run out, a client can't be accepted and stays where it is. So the listener stays ready,
//! and a loop that waits and accepts would spin. Hence queues report such a listener again only after a pause, which is
//! longer after each failure.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::sync::{AtomicBool, Mutex};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait for better times after a failure: at first or, after a pause of this length, once more.
pub(crate) fn longer_pause(former: Option<Duration>) -> Duration {
    former.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE))
}

/// Whether a listener is held back.
#[derive(Default)]
pub(super) struct HoldBack {
    /// Accepts have failed since the last one that worked. Read without the lock.
    has_failed: AtomicBool,
    /// Boxed, since few openings are listeners in need.
    pause: Mutex<Option<Box<Pause>>>,
}

struct Pause {
    length: Duration,
    end: Instant,
}

impl HoldBack {
    /// An accept has failed, at this moment. In a pause, that makes it no longer.
    pub(super) fn begin(&self, now: Instant) {
        let mut pause = self.pause.lock();
        if pause.as_ref().is_some_and(|pause| now < pause.end) {
            return;
        }
        let length = longer_pause(pause.as_ref().map(|pause| pause.length));
        let end = now + length;
        *pause = Some(Box::new(Pause { length, end }));
        self.has_failed.store(true, SeqCst);
    }

    /// The listener works: the next pause is a short one. True if it was held back.
    pub(super) fn end(&self) -> bool {
        if !self.has_begun() {
            return false;
        }
        let mut pause = self.pause.lock();
        self.has_failed.store(false, SeqCst);
        pause.take().is_some()
    }

    /// Whether accepts have failed since the last one that worked. Else it is not held back.
    #[inline]
    pub(super) fn has_begun(&self) -> bool {
        self.has_failed.load(SeqCst)
    }

    /// Until when the listener is held back, if it still is `now`.
    pub(super) fn until_after(&self, now: Instant) -> Option<Instant> {
        let pause = self.pause.lock();
        pause.as_ref().map(|pause| pause.end).filter(|end| now < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let hold_back = HoldBack::default();
        let mut now = Instant::now();
        let mut lengths = Vec::new();
        for _ in 0..10 {
            hold_back.begin(now);
            let end = hold_back.until_after(now).unwrap();
            lengths.push((end - now).as_millis());
            assert_eq!(hold_back.until_after(end), None);
            now = end;
        }
        assert_eq!(lengths, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn a_failure_in_a_pause_makes_it_no_longer() {
        let hold_back = HoldBack::default();
        let now = Instant::now();
        hold_back.begin(now);
        let end = hold_back.until_after(now);
        for micros in [0, 1, 4_999] {
            let later = now + Duration::from_micros(micros);
            hold_back.begin(later);
            assert_eq!(hold_back.until_after(later), end);
        }
    }

    #[test]
    fn what_works_is_not_held_back_and_the_next_pause_is_short() {
        let hold_back = HoldBack::default();
        assert!(!hold_back.has_begun() && !hold_back.end());
        let now = Instant::now();
        hold_back.begin(now);
        hold_back.begin(now + FIRST_PAUSE);
        assert!(hold_back.end());
        assert!(hold_back.until_after(now).is_none() && !hold_back.end());
        hold_back.begin(now);
        assert_eq!(hold_back.until_after(now), Some(now + FIRST_PAUSE));
    }
}
