//! The connection that is read from, and what a read of it shows to those that wait for it.

use std::io;
use std::time::Duration;

use super::expectation::Expectation;
use crate::events::WaitEvents;
use crate::opening::{InUse, Opening, Snapshot};
use crate::sys::{self, BorrowedSocket};

/// The connection that is read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) socket: BorrowedSocket<'a>,
    pub(super) opening: &'a Opening,
}

impl<'a> Source<'a> {
    #[inline]
    pub(super) fn of(in_use: &'a InUse<'_>) -> Source<'a> {
        Source {
            socket: in_use.socket(),
            opening: in_use.opening(),
        }
    }

    /// Whether the system says that a read would block.
    fn has_nothing(self) -> bool {
        let found = sys::poll(self.socket, WaitEvents::READ, Some(Duration::ZERO));
        found.is_ok_and(|found| found.is_empty())
    }

    /// Notes that a read of `asked` bytes has returned `count`. `known` was loaded before the read. The caller says next
    /// whether the program has taken them: [`Opening::set_unread`].
    #[inline]
    pub(super) fn note_data(self, expected: &mut Expectation, count: usize, asked: usize, known: Snapshot) {
        expected.note_data(count, asked, known, || self.has_nothing());
        if known.is_followed() {
            self.tell(expected, known, true);
        }
    }

    /// Notes that a read has returned no data. Returns what that really is.
    #[inline(never)]
    pub(super) fn note_no_data(
        self,
        expected: &mut Expectation,
        mut result: io::Result<usize>,
        known: Snapshot,
    ) -> io::Result<usize> {
        let first_error = self.opening.first_error();
        match &result {
            Ok(_) => result = first_error.end_of_stream().map(|()| 0),
            Err(error) => first_error.remember(error),
        }
        expected.note_no_data(&result);
        if known.is_followed() {
            self.tell(expected, known, result.is_ok());
        }
        result
    }

    /// Tells queues what a read has shown that `found` something. `known` was loaded before the read.
    #[inline(never)]
    fn tell(self, expected: &Expectation, known: Snapshot, found: bool) {
        if !expected.is_drained() {
            self.opening.readiness().note_moved(known, WaitEvents::READ);
        } else if found {
            self.opening.note_buffered_all(known);
        } else {
            self.opening.note_nothing_found(known, WaitEvents::READ);
        }
    }
}
