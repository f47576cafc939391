//! Whether the next read would find nothing, as far as the reads before it show.
//!
//! mio reports changes only, so an operation must try `recv(2)` before it waits, unless the system is known to have
//! nothing. A read that is known to have emptied the socket saves that `recv(2)`.

use std::io;
use std::mem;

use crate::events::WaitEvents;
use crate::opening::Snapshot;
use crate::sys;

pub(super) struct Expectation {
    /// The last read took everything the system had: the next one would block.
    is_drained: bool,
    doubts: Doubts,
    probe: Probe,
}

bitflags::bitflags! {
    /// Why it takes more than a short read to know that the system has nothing more.
    #[derive(Clone, Copy, Default)]
    struct Doubts: u8 {
        /// A read of this kind of socket may return less than there is: [`sys::short_read_empties`] says of which it is known
        /// not to.
        const KIND = 1;
        /// A wait has reported an exception. Until a read has found nothing, a short read proves nothing: urgent data may
        /// have cut it short, or the end of the stream may follow.
        const EXCEPTION = 1 << 1;
    }
}

/// How often an operation tries `recv(2)` before it waits, though the last read left nothing.
///
/// Every n-th operation does. n doubles, up to 255, each time that finds nothing, and drops to zero when it finds data:
/// a prompt peer then costs no `epoll_wait(2)`.
#[derive(Default)]
struct Probe {
    /// Operations in a row that have waited without asking.
    skipped: u8,
    /// How many operations in a row are to wait without asking.
    budget: u8,
    /// The current operation asks.
    is_asking: bool,
}

impl Default for Expectation {
    fn default() -> Expectation {
        let mut doubts = Doubts::empty();
        doubts.set(Doubts::KIND, !sys::SHORT_READ_EMPTIES);
        Expectation {
            is_drained: false,
            doubts,
            probe: Probe::default(),
        }
    }
}

impl Expectation {
    /// What is known of a new socket of a kind of which a short read says nothing.
    pub(super) fn doubtful() -> Expectation {
        Expectation {
            doubts: Doubts::KIND,
            ..Expectation::default()
        }
    }

    /// What is known of a connection that this listener has accepted.
    pub(super) fn for_accepted(&self) -> Expectation {
        Expectation {
            doubts: self.doubts & Doubts::KIND,
            ..Expectation::default()
        }
    }

    #[inline]
    pub(super) fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Whether an operation on a [drained](Expectation::is_drained) socket should wait before its first `recv(2)`. Now and
    /// then it should not: see [`Probe`].
    #[inline]
    pub(super) fn should_wait_first(&mut self, known: Snapshot) -> bool {
        !known.is_readable() && !self.probe.asks()
    }

    /// Notes what a wait has reported, which won't be reported again.
    #[inline]
    pub(super) fn note_report(&mut self, reported: WaitEvents) {
        self.is_drained &= reported.is_empty();
        if reported.contains(WaitEvents::EXCEPTION) {
            self.doubts |= Doubts::EXCEPTION;
        }
    }

    /// Notes that a read of `asked` bytes has returned `count`, which is not zero. `known` was loaded before the read.
    ///
    /// `has_nothing` asks whether the system has nothing more. It is called where a short read proves nothing and a
    /// queue has to know: to a queue, what comes after that is another event.
    #[inline(always)]
    pub(super) fn note_data(
        &mut self,
        count: usize,
        asked: usize,
        known: Snapshot,
        has_nothing: impl FnOnce() -> bool,
    ) {
        self.is_drained = count < asked;
        self.probe.note_data();
        if !self.doubts.is_empty() || known.is_uncertain() {
            self.doubt(known, has_nothing);
        }
    }

    #[inline(never)]
    fn doubt(&mut self, known: Snapshot, has_nothing: impl FnOnce() -> bool) {
        self.is_drained = self.is_drained && known.is_followed() && has_nothing();
    }

    /// Notes that a read has returned no data: the end of the stream, or an error.
    #[cold]
    pub(super) fn note_no_data(&mut self, result: &io::Result<usize>) {
        self.probe.note_no_data();
        let nothing = result
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.is_drained = nothing;
        if nothing {
            self.doubts -= Doubts::EXCEPTION;
        }
    }
}

impl Probe {
    /// Whether this operation asks.
    #[inline]
    fn asks(&mut self) -> bool {
        self.is_asking = self.skipped >= self.budget;
        self.skipped = if self.is_asking { 0 } else { self.skipped + 1 };
        self.is_asking
    }

    #[inline]
    fn note_data(&mut self) {
        if self.is_asking {
            self.is_asking = false;
            self.budget = 0;
        }
    }

    fn note_no_data(&mut self) {
        if mem::take(&mut self.is_asking) {
            self.budget = self.budget.saturating_mul(2).max(1);
        }
    }
}
