//! A moment that a signal handler can set.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::sync::AtomicU64;

/// What moments are counted from.
static BASE: OnceLock<Instant> = OnceLock::new();

/// A moment, or none.
///
/// Nanoseconds since [`BASE`], plus one; zero for none. That is enough for some five hundred years.
#[derive(Debug)]
pub(crate) struct AtomicMoment(AtomicU64);

impl AtomicMoment {
    pub(crate) fn none() -> AtomicMoment {
        AtomicMoment(AtomicU64::new(0))
    }

    /// Makes [`store`](AtomicMoment::store) async-signal-safe from now on.
    pub(crate) fn prepare() {
        BASE.get_or_init(Instant::now);
    }

    /// Async-signal-safe after [`prepare`](AtomicMoment::prepare). What is earlier than that is as good as that.
    pub(crate) fn store(&self, at: Option<Instant>) {
        let encoded = at.map_or(0, |at| {
            let since = BASE
                .get()
                .map_or(Duration::ZERO, |base| at.saturating_duration_since(*base));
            u64::try_from(since.as_nanos()).map_or(u64::MAX, |nanos| nanos.saturating_add(1))
        });
        self.0.store(encoded, SeqCst);
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.load(SeqCst) != 0
    }

    #[inline]
    pub(crate) fn load(&self) -> Option<Instant> {
        match self.0.load(SeqCst) {
            0 => None,
            encoded => BASE.get()?.checked_add(Duration::from_nanos(encoded - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_stored() {
        AtomicMoment::prepare();
        let moment = AtomicMoment::none();
        assert_eq!(moment.load(), None);
        let now = Instant::now();
        for at in [now, now + Duration::from_nanos(1), now + Duration::from_secs(1 << 32)] {
            moment.store(Some(at));
            assert_eq!(moment.load(), Some(at));
        }
        moment.store(None);
        assert_eq!(moment.load(), None);
    }

    #[test]
    fn what_is_long_ago_is_in_the_past_and_what_is_too_far_is_never() {
        AtomicMoment::prepare();
        let moment = AtomicMoment::none();
        if let Some(before) = Instant::now().checked_sub(Duration::from_secs(3600)) {
            moment.store(Some(before));
            assert!(moment.load().unwrap() <= Instant::now());
        }
        let far = Duration::from_secs(1 << 40);
        if let Some(far) = Instant::now().checked_add(far) {
            moment.store(Some(far));
            let ends = moment.load();
            assert!(
                ends.is_none_or(|at| at > Instant::now() + Duration::from_secs(1 << 33)),
                "{ends:?}"
            );
        }
    }
}
