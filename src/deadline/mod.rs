//! Limits: how much of an operation's time is left.

mod moment;
mod when_wait;

use std::time::{Duration, Instant};

pub(crate) use self::moment::AtomicMoment;
pub use self::when_wait::Waiting;
pub(crate) use self::when_wait::{Abort, Callback, WhenWait};
use crate::error::{Error, Result};

/// When one operation's time is up.
///
/// An operation may block for its limit in all, never for less, on the monotonic clock. The clock is first read when
/// the operation first has to wait: with no limit, or with no need to wait, it is not read at all.
pub(crate) struct Deadline {
    limit: Option<Duration>,
    /// When the limit began: at the first wait. None before that, and without a limit.
    begun: Option<Instant>,
    /// What had ended waits of its direction before its own first wait; [`NOT_NOTED`](Ends::NOT_NOTED) before that.
    ends_before: Ends,
    /// What few operations have. Boxed, since all carry its place.
    more: Option<Box<More>>,
}

/// How often the waits of one direction of a socket were ended from elsewhere: that ends what was waiting, whatever follows.
///
/// The lower half counts aborts, the upper one deadlines that had passed when they were set. In one word, since each wait
/// looks at it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends(pub(crate) u64);

impl Ends {
    /// No count is this.
    const NOT_NOTED: Ends = Ends(0);
    pub(crate) const NONE: Ends = Ends(Ends::EXPIRATION);
    pub(crate) const ABORT: u64 = 1;
    pub(crate) const EXPIRATION: u64 = 1 << 32;

    /// As many expirations as these, and as many aborts as those of `earlier`.
    pub(crate) fn with_aborts_of(self, earlier: Ends) -> Ends {
        Ends(self.0 & !u64::from(u32::MAX) | earlier.0 & u64::from(u32::MAX))
    }

    #[cold]
    fn followed_by(self, now: Ends) -> Error {
        if self.0 as u32 == now.0 as u32 {
            Error::Timeout
        } else {
            Error::Aborted
        }
    }
}

struct More {
    /// When the time of a whole run of operations is up.
    global: Option<Instant>,
    when_wait: Option<WhenWait>,
}

impl Deadline {
    #[inline]
    pub(crate) fn after(limit: Option<Duration>) -> Deadline {
        Deadline {
            limit,
            begun: None,
            ends_before: Ends::NOT_NOTED,
            more: None,
        }
    }

    /// Makes the deadline of an operation with this `limit`, which doesn't go beyond `global`, and with this callback.
    pub(crate) fn new(limit: Option<Duration>, global: Option<Instant>, when_wait: Option<WhenWait>) -> Deadline {
        Deadline {
            more: Some(Box::new(More { global, when_wait })),
            ..Deadline::after(limit)
        }
    }

    /// Whether it is a mere limit.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.more.is_none()
    }

    fn global(&self) -> Option<Instant> {
        self.more.as_ref().and_then(|more| more.global)
    }

    /// The callback of `when_wait`.
    pub(crate) fn callback(&mut self) -> Option<&mut WhenWait> {
        self.more.as_mut().and_then(|more| more.when_wait.as_mut())
    }

    /// When the callback is due.
    fn next_call(&mut self) -> Option<Instant> {
        self.callback().and_then(|callback| callback.next())
    }

    /// Whether `when_wait` is to be called before the next wait. `Err(Timeout)` or `Err(GlobalTimeout)` when the time is
    /// up.
    #[inline]
    pub(crate) fn callback_is_due(&mut self) -> Result<bool> {
        if self.more.is_none() {
            return Ok(false);
        }
        let is_due = self.callback().is_some_and(|callback| callback.is_due());
        if is_due {
            self.left_to_end()?;
        }
        Ok(is_due)
    }

    /// Tells `when_wait`, if there is one, that the operation has moved `count` more bytes.
    #[inline]
    pub(crate) fn add_done(&mut self, count: usize) {
        if self.more.is_some()
            && let Some(callback) = self.callback()
        {
            callback.add_done(count);
        }
    }

    /// How long the next wait may take, `None` without limit. `Err(Timeout)` or `Err(GlobalTimeout)`, whichever came
    /// first, when the time is up.
    #[inline]
    pub(crate) fn left(&mut self) -> Result<Option<Duration>> {
        match &self.more {
            None => self.left_of_limit(),
            Some(_) => self.left_until(None),
        }
    }

    /// How long the next wait may take, as [`left`](Deadline::left), if the thread has to look again at `at`.
    #[inline(never)]
    pub(crate) fn left_until(&mut self, at: Option<Instant>) -> Result<Option<Duration>> {
        let left = self.left_to_end()?;
        let Some(next) = at.into_iter().chain(self.next_call()).min() else {
            return Ok(left);
        };
        let step = until(next);
        Ok(Some(left.map_or(step, |left| left.min(step))))
    }

    fn left_to_end(&mut self) -> Result<Option<Duration>> {
        let Some(global) = self.global() else {
            return self.left_of_limit();
        };
        let of_all = until(global);
        if of_all.is_zero() && !self.ends_before(global) {
            return Err(Error::GlobalTimeout);
        }
        let own = self.left_of_limit()?;
        if of_all.is_zero() {
            return Err(Error::Timeout);
        }
        Ok(Some(own.map_or(of_all, |own| own.min(of_all))))
    }

    /// How long the next wait may take within the operation's own limit. Begins it, if it hasn't begun.
    #[inline]
    fn left_of_limit(&mut self) -> Result<Option<Duration>> {
        let Some(limit) = self.limit else {
            return Ok(None);
        };
        let left = match self.begun {
            Some(begun) => limit.saturating_sub(begun.elapsed()),
            None => {
                if !limit.is_zero() {
                    self.begun = Some(Instant::now());
                }
                limit
            }
        };
        if left.is_zero() {
            return Err(Error::Timeout);
        }
        Ok(Some(left))
    }

    /// Whether the operation's own limit, if it has begun, ends before `at`.
    fn ends_before(&self, at: Instant) -> bool {
        self.own_end().is_some_and(|end| end < at)
    }

    /// When the time is up, `None` if that never comes. A limit of zero doesn't count, since what it ends may go on.
    pub(crate) fn end(&self) -> Option<Instant> {
        let own = self.own_end().filter(|_| !self.is_zero());
        own.into_iter().chain(self.global()).min()
    }

    /// When the operation's own limit ends. None if it hasn't begun, or ends later than the clock goes.
    fn own_end(&self) -> Option<Instant> {
        self.begun?.checked_add(self.limit?)
    }

    /// Notes, before the operation waits, how often waits like it have been ended.
    #[inline]
    pub(crate) fn note_ends(&mut self, now: Ends) {
        if self.ends_before == Ends::NOT_NOTED {
            self.ends_before = now;
        }
    }

    /// How often waits like those of this operation had been ended, as was noted.
    pub(crate) fn noted_ends(&self) -> Ends {
        self.ends_before
    }

    /// Whether a wait of this operation was ended meanwhile.
    #[inline]
    pub(crate) fn was_ended(&self, now: Ends) -> bool {
        self.ends_before != now && self.ends_before != Ends::NOT_NOTED
    }

    /// Fails if a wait of this operation was ended meanwhile.
    #[inline]
    pub(crate) fn check_ends(&self, now: Ends) -> Result<()> {
        if self.was_ended(now) {
            return Err(self.ends_before.followed_by(now));
        }
        Ok(())
    }

    /// Whether the operation may not wait at all.
    #[inline]
    pub(crate) fn is_zero(&self) -> bool {
        self.limit == Some(Duration::ZERO)
    }

    /// Ends the operation's own limit when `limit` has passed from now, if it doesn't end before.
    #[cfg(feature = "websocket")]
    pub(crate) fn shorten(&mut self, limit: Duration) {
        if self.is_zero() {
            return;
        }
        self.begin();
        let own = self.limit.zip(self.begun);
        if own.is_none_or(|(own, begun)| limit < own.saturating_sub(begun.elapsed())) {
            self.limit = Some(limit);
            self.begun = Some(Instant::now());
        }
    }

    /// Fails if the time is up, for operations that go on without waiting. A limit of zero doesn't end those.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.is_zero() {
            return self.check_global();
        }
        self.left_to_end().map(drop)
    }

    /// Fails if the time of the whole run of operations is up.
    #[inline]
    pub(crate) fn check_global(&self) -> Result<()> {
        match &self.more {
            None => Ok(()),
            Some(more) => check_global(more.global),
        }
    }

    /// The moment until which the next wait may last, `None` if that never comes. Begins the limit, if it hasn't begun.
    pub(crate) fn instant(&mut self) -> Option<Instant> {
        self.begin();
        let next = self.next_call();
        self.own_end().into_iter().chain(next).chain(self.global()).min()
    }

    /// Begins the limit, if it hasn't begun. Returns all of it.
    #[inline]
    pub(crate) fn begin(&mut self) -> Option<Duration> {
        if self.limit.is_some() && self.begun.is_none() {
            self.begun = Some(Instant::now());
        }
        self.limit
    }
}

/// Fails if `global`, the limit of a run of operations, has passed.
pub(crate) fn check_global(global: Option<Instant>) -> Result<()> {
    match global {
        Some(global) if Instant::now() >= global => Err(Error::GlobalTimeout),
        _ => Ok(()),
    }
}

/// The moment that comes `limit` from now; `None` if that is further away than the clock goes.
pub(crate) fn moment_after(limit: Duration) -> Option<Instant> {
    Instant::now().checked_add(limit)
}

/// How long it is until `at`, zero if that has passed.
pub(crate) fn until(at: Instant) -> Duration {
    at.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_gets_the_whole_limit() {
        let limit = Duration::from_secs(3);
        let mut deadline = Deadline::after(Some(limit));
        assert_eq!(deadline.left().unwrap(), Some(limit));
        let second = deadline.left().unwrap().unwrap();
        assert!(second <= limit, "{second:?}");
    }

    #[test]
    fn no_limit_zero_and_the_longest_are_what_they_say() {
        assert_eq!(Deadline::after(None).left().unwrap(), None);
        assert_eq!(Deadline::after(None).instant(), None);
        assert!(matches!(
            Deadline::after(Some(Duration::ZERO)).left(),
            Err(Error::Timeout)
        ));
        let mut longest = Deadline::after(Some(Duration::MAX));
        assert_eq!(longest.left().unwrap(), Some(Duration::MAX));
        assert!(longest.left().unwrap() > Some(Duration::MAX / 2));
        assert_eq!(longest.instant(), None);
    }

    #[test]
    fn it_ends_when_the_limit_has_passed_and_not_before() {
        let limit = Duration::from_millis(2);
        let begin = Instant::now();
        let mut deadline = Deadline::after(Some(limit));
        while deadline.left().is_ok() {}
        assert!(begin.elapsed() >= limit);
        assert!(deadline.left().is_err());
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_limit_gets_shorter_and_never_longer() {
        let left = |own: Option<u64>, shorter: u64| {
            let mut deadline = Deadline::after(own.map(Duration::from_secs));
            deadline.shorten(Duration::from_secs(shorter));
            deadline
                .left()
                .ok()
                .flatten()
                .map(|left| left.as_secs_f64().ceil() as u64)
        };
        assert_eq!(left(None, 3), Some(3));
        assert_eq!(left(Some(60), 3), Some(3));
        assert_eq!(left(Some(3), 60), Some(3));
        assert_eq!(left(Some(60), 0), None);
        assert_eq!(left(Some(0), 60), None);
    }

    #[test]
    fn it_says_when_it_ends() {
        let end = |own: Option<Duration>, global: Option<Duration>| {
            let begin = Instant::now();
            let mut deadline = Deadline::new(own, global.and_then(moment_after), None);
            deadline.begin();
            deadline.end().map(|end| (end - begin).as_secs())
        };
        let [short, long] = [3, 60].map(|secs| Some(Duration::from_secs(secs)));
        assert_eq!(end(None, None), None);
        assert_eq!(end(Some(Duration::MAX), None), None);
        assert_eq!(end(short, None), Some(3));
        assert_eq!(end(short, long), Some(3));
        assert_eq!(end(long, short), Some(3));
        assert_eq!(end(Some(Duration::ZERO), None), None);
        assert_eq!(end(Some(Duration::ZERO), long), Some(60));
    }

    #[test]
    fn the_nearer_of_two_limits_ends_it_and_is_named() {
        let (short, long) = (Duration::from_millis(2), Duration::from_secs(60));
        let ending = |own: Option<Duration>, global: Duration| {
            let mut deadline = Deadline::new(own, moment_after(global), None);
            loop {
                match deadline.left() {
                    Ok(left) => assert!(left.unwrap() <= short),
                    Err(error) => return error,
                }
            }
        };
        assert!(matches!(ending(Some(short), long), Error::Timeout));
        assert!(matches!(ending(Some(long), short), Error::GlobalTimeout));
        assert!(matches!(ending(None, short), Error::GlobalTimeout));
        assert!(matches!(ending(Some(Duration::MAX), short), Error::GlobalTimeout));
        assert!(matches!(ending(Some(Duration::ZERO), long), Error::Timeout));
        assert!(matches!(ending(Some(long), Duration::ZERO), Error::GlobalTimeout));
        assert!(matches!(
            ending(Some(Duration::ZERO), Duration::ZERO),
            Error::GlobalTimeout
        ));
        assert!(
            Deadline::new(None, moment_after(Duration::MAX), None)
                .left()
                .unwrap()
                .is_none()
        );
    }
}
