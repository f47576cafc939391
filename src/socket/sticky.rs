//! The errors of the error state: one for each direction, since what has broken one may leave the other as it was.

use crate::error::Error;
use crate::events::WaitEvents;

bitflags::bitflags! {
    /// The directions that an operation is of: reading and accepting, writing, or both, as opening is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Directions: u8 {
        const READ = 1;
        const WRITE = 1 << 1;
    }
}

impl Directions {
    /// Those of a wait for `events`. An exception comes with what is to be read.
    pub(super) fn of_wait(events: WaitEvents) -> Directions {
        let mut directions = Directions::empty();
        directions.set(Directions::WRITE, events.contains(WaitEvents::WRITE));
        directions.set(Directions::READ, events != WaitEvents::WRITE);
        directions
    }
}

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub(super) struct Sticky {
    reading: Option<Error>,
    writing: Option<Error>,
    /// If there are two, that of writing came first.
    is_writing_first: bool,
}

impl Sticky {
    pub(super) fn is_none(&self) -> bool {
        self.reading.is_none() && self.writing.is_none()
    }

    /// The error that stops an operation of these directions. Of two, the one that came first.
    pub(super) fn of(&self, directions: Directions) -> Option<&Error> {
        let reading = self.reading.as_ref().filter(|_| directions.contains(Directions::READ));
        let writing = self.writing.as_ref().filter(|_| directions.contains(Directions::WRITE));
        if self.is_writing_first {
            writing.or(reading)
        } else {
            reading.or(writing)
        }
    }

    pub(super) fn set(&mut self, directions: Directions, error: &Error) {
        if directions.contains(Directions::READ) {
            self.reading = Some(error.clone());
        }
        if directions.contains(Directions::WRITE) {
            self.is_writing_first = self.reading.is_none();
            self.writing = Some(error.clone());
        }
    }

    /// Forgets what is of other directions.
    pub(super) fn keep(&mut self, directions: Directions) {
        if !directions.contains(Directions::READ) {
            self.reading = None;
        }
        if !directions.contains(Directions::WRITE) {
            self.writing = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(sticky: &Sticky, directions: Directions) -> Option<usize> {
        match sticky.of(directions) {
            Some(Error::LineTooLong { limit }) => Some(*limit),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_direction_has_its_own_and_both_have_the_first() {
        for [first, second] in [
            [Directions::READ, Directions::WRITE],
            [Directions::WRITE, Directions::READ],
        ] {
            let mut sticky = Sticky::default();
            assert!(sticky.is_none());
            sticky.set(first, &Error::LineTooLong { limit: 1 });
            let seen = [first, second, Directions::all()].map(|directions| limit(&sticky, directions));
            assert_eq!(seen, [Some(1), None, Some(1)], "{first:?}");
            sticky.set(second, &Error::LineTooLong { limit: 2 });
            let seen = [first, second, Directions::all()].map(|directions| limit(&sticky, directions));
            assert_eq!(seen, [Some(1), Some(2), Some(1)], "{first:?}");
            sticky.keep(second);
            let seen = [first, second, Directions::all()].map(|directions| limit(&sticky, directions));
            assert_eq!(seen, [None, Some(2), Some(2)], "{first:?}");
            sticky.keep(first);
            assert!(sticky.is_none());
        }
    }

    #[test]
    fn a_wait_is_of_the_directions_that_it_waits_for() {
        for (events, directions) in [
            (WaitEvents::READ, Directions::READ),
            (WaitEvents::WRITE, Directions::WRITE),
            (WaitEvents::READ | WaitEvents::WRITE, Directions::all()),
            (WaitEvents::EXCEPTION, Directions::READ),
            (WaitEvents::EXCEPTION | WaitEvents::WRITE, Directions::all()),
            (WaitEvents::empty(), Directions::READ),
        ] {
            assert_eq!(Directions::of_wait(events), directions, "{events:?}");
        }
    }
}
