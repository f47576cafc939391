//! Whether the next read would find nothing, as far as the reads before it show.
//!
//! mio reports changes only, so an operation must try `recv(2)` before it waits, unless the system is known to have
//! nothing. A read that is known to have emptied the socket saves that `recv(2)`.

use std::io;
use std::mem;

use socket2::Domain;

use crate::events::WaitEvents;
use crate::opening::Snapshot;
use crate::sys;

#[derive(Default)]
pub(super) struct Expectation {
    /// A read of this kind of socket may return less than there is. That of a Unix-domain socket does: it stops behind
    /// a message that carries descriptors, and before one of another sender, unix(7).
    short_reads_prove_nothing: bool,
    /// The last read took everything the system had: the next one would block.
    is_drained: bool,
    /// A wait has reported an exception. Until a read has found nothing, a short read proves nothing: urgent data may
    /// have cut it short, or the end of the stream may follow.
    is_uncertain: bool,
    probe: Probe,
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

impl Expectation {
    /// What is known of a new socket of this kind.
    pub(super) fn of(domain: Option<Domain>) -> Expectation {
        Expectation {
            short_reads_prove_nothing: domain == Some(Domain::UNIX),
            ..Expectation::default()
        }
    }

    /// What is known of a connection that this listener has accepted.
    pub(super) fn for_accepted(&self) -> Expectation {
        Expectation {
            short_reads_prove_nothing: self.short_reads_prove_nothing,
            ..Expectation::default()
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Whether an operation should wait before its first `recv(2)`. Now and then it should not, even if the socket is
    /// drained: see [`Probe`].
    pub(super) fn should_wait_first(&mut self, known: Snapshot) -> bool {
        if !self.is_drained || known.is_readable() {
            return false;
        }
        let probe = &mut self.probe;
        probe.is_asking = probe.skipped >= probe.budget;
        probe.skipped = if probe.is_asking { 0 } else { probe.skipped + 1 };
        !probe.is_asking
    }

    /// Notes what a wait has reported, which won't be reported again.
    pub(super) fn note_report(&mut self, reported: WaitEvents) {
        self.is_drained &= reported.is_empty();
        self.is_uncertain |= reported.contains(WaitEvents::EXCEPTION);
    }

    /// Notes the `result` of a read that `asked` for a number of bytes. `known` was loaded before the read.
    ///
    /// `has_nothing` asks whether the system has nothing more. It is called where a short read proves nothing and a
    /// queue has to know: to a queue, what comes after that is another event.
    #[inline]
    pub(super) fn note_read(
        &mut self,
        result: &io::Result<usize>,
        asked: usize,
        known: Snapshot,
        has_nothing: impl FnOnce() -> bool,
    ) {
        if mem::take(&mut self.probe.is_asking) {
            self.probe.note(result.is_ok());
        }
        self.is_drained = match result {
            Ok(0) => false,
            Ok(count) => {
                let proves = sys::SHORT_READ_EMPTIES
                    && !self.short_reads_prove_nothing
                    && !self.is_uncertain
                    && !known.is_uncertain();
                *count < asked && (proves || known.is_followed() && has_nothing())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_uncertain = false;
                true
            }
            Err(_) => false,
        };
    }
}

impl Probe {
    fn note(&mut self, found_data: bool) {
        self.budget = if found_data {
            0
        } else {
            self.budget.saturating_mul(2).max(1)
        };
    }
}
