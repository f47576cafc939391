//! The one place that does arithmetic on time.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::watch::Watch;

/// When one operation's time is up.
///
/// An operation may block for its limit in all, never for less, on the monotonic clock. The clock is first read when
/// the operation first has to wait: with no limit, or with no need to wait, it is not read at all.
pub(crate) struct Deadline {
    limit: Option<Duration>,
    end: End,
    /// What interrupts its waits, to be called.
    watch: Option<Watch>,
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
            watch: None,
        }
    }

    pub(crate) fn watched(self, watch: Option<Watch>) -> Deadline {
        Deadline { watch, ..self }
    }

    /// Whether the watch is to be called before the next wait. `Err(Timeout)` when the time is up.
    pub(crate) fn is_due(&mut self) -> Result<bool> {
        let is_due = self.watch.as_ref().is_some_and(Watch::is_due);
        if is_due {
            self.left_to_end()?;
        }
        Ok(is_due)
    }

    pub(crate) fn watch(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut()
    }

    /// Tells the watch, if there is one, that the operation has moved so many bytes more.
    pub(crate) fn add_done(&mut self, count: usize) {
        if let Some(watch) = &mut self.watch {
            watch.add_done(count);
        }
    }

    /// How long the next wait may take, `None` for as long as it likes. `Err(Timeout)` when the time is up.
    pub(crate) fn left(&mut self) -> Result<Option<Duration>> {
        let left = self.left_to_end()?;
        let Some(next) = self.watch.as_ref().and_then(Watch::next) else {
            return Ok(left);
        };
        let step = next.saturating_duration_since(Instant::now());
        Ok(Some(left.map_or(step, |left| left.min(step))))
    }

    fn left_to_end(&mut self) -> Result<Option<Duration>> {
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
        !self.is_zero() && self.end().is_some_and(|end| Instant::now() >= end)
    }

    /// The moment until which the next wait may last, `None` if that never comes.
    pub(crate) fn instant(&mut self) -> Option<Instant> {
        let next = self.watch.as_ref().and_then(Watch::next);
        self.end().into_iter().chain(next).min()
    }

    /// The moment when the time is up, `None` if it never comes. Begins the limit, if nothing has.
    pub(crate) fn end(&mut self) -> Option<Instant> {
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
