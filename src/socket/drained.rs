//! What a read is expected to find, after what the reads before it have found.
//!
//! mio reports changes. So an operation may wait without a `recv(2)` before only if the system is known to have nothing;
//! and a read that is known to have emptied the socket saves the `recv(2)` that would say so.

use std::io;
use std::mem;

use socket2::Domain;

use crate::events::WaitEvents;
use crate::opening::Snapshot;
use crate::sys;

#[derive(Default)]
pub(super) struct Drained {
    /// Reads of this kind of socket may stop short of what is there. Those of Unix-domain sockets do: behind a message
    /// that carries descriptors, and before one of another sender, unix(7).
    short_reads_prove_nothing: bool,
    /// The last read took everything the system had, so the next would block.
    is_drained: bool,
    /// A wait has reported more than data, so a short read proves nothing: urgent data may have cut it short, or the end
    /// of the stream may follow. Until a read has found nothing.
    is_uncertain: bool,
    probe: Probe,
}

/// How often an operation asks the system before it waits, though the last read left nothing.
///
/// Every n-th does. n doubles, up to 255, each time that finds nothing, and drops to zero when it finds data: a prompt
/// peer then costs no `epoll_wait(2)`.
#[derive(Default)]
struct Probe {
    /// Operations in a row that have waited without asking.
    skipped: u8,
    /// How many are to.
    budget: u8,
    /// The operation that begins asks.
    is_asking: bool,
}

impl Drained {
    /// What is known of a new socket of this kind.
    pub(super) fn of(domain: Option<Domain>) -> Drained {
        Drained {
            short_reads_prove_nothing: domain == Some(Domain::UNIX),
            ..Drained::default()
        }
    }

    /// What is known of a connection that this listener has accepted.
    pub(super) fn for_accepted(&self) -> Drained {
        Drained {
            short_reads_prove_nothing: self.short_reads_prove_nothing,
            ..Drained::default()
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Whether an operation had better wait before it asks the system. May ask all the same: see [`Probe`].
    pub(super) fn should_wait_first(&mut self, known: Snapshot) -> bool {
        if !self.is_drained || known.is_readable() {
            return false;
        }
        let probe = &mut self.probe;
        probe.is_asking = probe.skipped >= probe.budget;
        probe.skipped = if probe.is_asking { 0 } else { probe.skipped + 1 };
        !probe.is_asking
    }

    /// Takes note of what a wait has reported. It won't be reported again.
    pub(super) fn note_report(&mut self, reported: WaitEvents) {
        self.is_drained &= reported.is_empty();
        self.is_uncertain |= reported.contains(WaitEvents::EXCEPTION);
    }

    /// Takes note of the `result` of a read that asked for so many bytes, before which this much was `known`.
    ///
    /// `has_nothing` says whether the system has nothing more. It is asked where a short read proves nothing, and a queue
    /// has to know: what comes next is another event.
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
