//! The one place that does arithmetic on time.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// When one operation's time is up.
///
/// An operation may block for its limit in all, never for less, on the monotonic clock. The clock is first read when
/// the operation first has to wait: with no limit, or with no need to wait, it is not read at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    limit: Option<Duration>,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// Nothing has waited yet.
    Open,
    At(Instant),
    /// So far away that the clock has no name for it.
    Never,
}

impl Deadline {
    pub(crate) fn after(limit: Option<Duration>) -> Deadline {
        Deadline {
            limit,
            end: match limit {
                None => End::Never,
                Some(_) => End::Open,
            },
        }
    }

    /// How long the next wait may take, `None` for as long as it likes. `Err(Timeout)` when the time is up.
    pub(crate) fn left(&mut self) -> Result<Option<Duration>> {
        let left = match (self.end, self.limit) {
            (End::At(end), _) => end.saturating_duration_since(Instant::now()),
            (End::Open, Some(limit)) => {
                if !limit.is_zero() {
                    self.start(limit);
                }
                limit
            }
            (End::Never, _) | (_, None) => return Ok(None),
        };
        if left.is_zero() {
            return Err(Error::Timeout);
        }
        Ok(Some(left))
    }

    /// Whether it allows no waiting at all.
    pub(crate) fn is_zero(&self) -> bool {
        self.limit.is_some_and(|limit| limit.is_zero())
    }

    /// Whether the time is up, for operations that go on without waiting. A limit of zero doesn't end those.
    pub(crate) fn has_passed(&mut self) -> bool {
        !self.is_zero() && self.instant().is_some_and(|end| Instant::now() >= end)
    }

    /// The moment itself, `None` if it never comes.
    pub(crate) fn instant(&mut self) -> Option<Instant> {
        if let (End::Open, Some(limit)) = (self.end, self.limit) {
            self.start(limit);
        }
        match self.end {
            End::At(end) => Some(end),
            End::Open | End::Never => None,
        }
    }

    fn start(&mut self, limit: Duration) {
        self.end = match Instant::now().checked_add(limit) {
            Some(end) => End::At(end),
            None => End::Never,
        };
    }
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
        assert_eq!(longest.left().unwrap(), None);
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
}
