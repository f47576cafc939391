//! What is known of a socket's readiness, for the queues that it is in.
//!
//! A queue learns of changes only: "something has come". Whether it is still there when somebody asks again is known to
//! the socket, whose operations find out. So the queues write down here what was reported, for all of them together,
//! and the operations what they have found. A socket that is in no queue has nothing written down, and its operations
//! only look at that.
//!
//! - A report sets what it speaks of, and changes the *tick*.
//! - An operation that finds nothing (would block, or got less than it asked for) takes it back, and changes the tick.
//!   In that order nothing is missed: what comes after the finding is another change, and reported.
//! - An operation that has moved something, and doesn't know whether more could be moved, leaves a mark. So does one
//!   that finds another tick than before it tried: the report, or what another operation has found, may be newer.
//!   Whoever wants to know has to ask the system, and writes the answer down unless the tick has changed meanwhile.
//! - Where mio reports an event once and not again before it is asked to ([`sys::REPORTS_ONCE`]), whoever takes back
//!   what was reported tells the queues, which ask.
//! - A report may be written down late, when an operation has already taken what it speaks of. It is believed once.
//!   What is to be reported again is asked for first, if it never was.

use std::sync::atomic::Ordering::SeqCst;

use crate::events::WaitEvents;
use crate::sync::{AtomicU32, AtomicUsize};
use crate::sys;

// The lowest three bits are those of `WaitEvents`.
const EVENTS: usize = WaitEvents::ALL.bits() as usize;
/// More than data was reported: urgent data, the end of the stream, an error. A short read then tells nothing.
const UNCERTAIN: usize = 1 << 3;
/// Something was moved, and nobody knows whether more could be.
const STALE: usize = 1 << 4;
/// The socket has read ahead.
const UNREAD: usize = 1 << 5;
/// The system was asked after the last report.
const VERIFIED: usize = 1 << 6;
const VERSION: usize = 1 << 7;

/// The same with the next tick. It never is the one of a socket that no queue was interested in: a word of 32 bits has
/// room for no more than 33 million.
fn next_version(word: usize) -> usize {
    match word.wrapping_add(VERSION) {
        next if next < VERSION => next + VERSION,
        next => next,
    }
}

#[derive(Debug, Default)]
pub(crate) struct Readiness {
    word: AtomicUsize,
    /// How often all that was there to read was taken, and all room to write.
    drains: [AtomicU32; 2],
}

/// What was known at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(usize);

impl Snapshot {
    /// What the socket is ready for.
    pub(crate) fn events(self) -> WaitEvents {
        let mut events = self.reported();
        events.set(WaitEvents::READ, self.is_readable() || self.0 & UNREAD != 0);
        events
    }

    /// Whether the system was said to have something to read, which nobody has found untrue.
    pub(crate) fn is_readable(self) -> bool {
        self.reported().contains(WaitEvents::READ)
    }

    /// What the system was said to be ready for, which nobody has found untrue.
    pub(crate) fn reported(self) -> WaitEvents {
        WaitEvents::from_bits_truncate((self.0 & EVENTS) as u32)
    }

    pub(crate) fn is_uncertain(self) -> bool {
        self.0 & UNCERTAIN != 0
    }

    /// Whether only the system knows.
    pub(crate) fn is_stale(self) -> bool {
        self.0 & STALE != 0
    }

    /// Whether the system, and not just a late report, has said so.
    pub(crate) fn is_verified(self) -> bool {
        self.0 & VERIFIED != 0
    }

    /// Whether a queue was ever interested.
    pub(crate) fn is_followed(self) -> bool {
        self.version() != 0
    }

    fn version(self) -> usize {
        self.0 / VERSION
    }
}

impl Readiness {
    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.word.load(SeqCst))
    }

    /// How often all that was there of one event was taken: where this is another number, what was reported before is
    /// over.
    pub(crate) fn drains(&self, event: WaitEvents) -> u32 {
        self.drains_of(event).load(SeqCst)
    }

    fn drains_of(&self, event: WaitEvents) -> &AtomicU32 {
        &self.drains[usize::from(event == WaitEvents::WRITE)]
    }

    /// Takes note of what a queue was told.
    pub(crate) fn report(&self, events: WaitEvents, uncertain: bool) {
        let bits = events.bits() as usize | if uncertain { UNCERTAIN } else { 0 };
        self.change(|word| next_version(word & !VERIFIED | bits));
    }

    /// Takes note that an operation, which began when this much was `known`, has found nothing.
    ///
    /// True if queues have to be told. So if there was a report meanwhile: it is another event, and whoever looked at
    /// it before this was noted took it for the one that is over.
    #[must_use]
    pub(crate) fn note_nothing_found(&self, known: Snapshot, event: WaitEvents) -> bool {
        if known.0 & event.bits() as usize != 0 {
            self.drains_of(event).fetch_add(1, SeqCst);
        }
        self.note_buffered_all(known, event) || self.load().0 & event.bits() as usize != 0
    }

    /// The same, where what the system had is with the socket now, and not with the user yet.
    #[must_use]
    pub(crate) fn note_buffered_all(&self, known: Snapshot, event: WaitEvents) -> bool {
        if !known.is_followed() {
            return false;
        }
        let before = self.change(|word| {
            let is_newest = Snapshot(word).version() == known.version();
            let found = if is_newest {
                word & !(event.bits() as usize)
            } else {
                word | STALE
            };
            next_version(found)
        });
        let is_over = before.version() == known.version() && before.0 & event.bits() as usize != 0;
        sys::REPORTS_ONCE && is_over
    }

    /// Takes note that the user has taken the last of that.
    pub(crate) fn note_user_took_all(&self) {
        if self.load().is_followed() {
            self.drains_of(WaitEvents::READ).fetch_add(1, SeqCst);
        }
    }

    /// Takes note that an operation has moved something.
    pub(crate) fn note_moved(&self, known: Snapshot) {
        if known.is_followed() {
            self.change(|word| next_version(word | STALE));
        }
    }

    /// Takes note of what the system has said after this much was `known`. True if queues have to be told.
    #[must_use]
    pub(crate) fn confirm(&self, known: Snapshot, found: WaitEvents) -> bool {
        for event in [WaitEvents::READ, WaitEvents::WRITE] {
            if known.0 & event.bits() as usize != 0 && !found.contains(event) {
                self.drains_of(event).fetch_add(1, SeqCst);
            }
        }
        let mut word = self.word.load(SeqCst);
        while Snapshot(word).version() == known.version() {
            let answer = word & !(EVENTS | STALE) | VERIFIED | found.bits() as usize;
            match self.word.compare_exchange_weak(word, answer, SeqCst, SeqCst) {
                Ok(_) => {
                    let is_over = word & EVENTS & !(found.bits() as usize) != 0;
                    return sys::REPORTS_ONCE && is_over;
                }
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes note of whether the socket has read ahead. True if that is news.
    pub(crate) fn set_unread(&self, unread: bool) -> bool {
        if (self.load().0 & UNREAD != 0) == unread {
            return false;
        }
        self.change(|word| if unread { word | UNREAD } else { word & !UNREAD });
        true
    }

    /// Gives what was known before.
    fn change(&self, change: impl Fn(usize) -> usize) -> Snapshot {
        let mut word = self.word.load(SeqCst);
        while let Err(now) = self.word.compare_exchange_weak(word, change(word), SeqCst, SeqCst) {
            word = now;
        }
        Snapshot(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: WaitEvents = WaitEvents::READ;

    #[test]
    fn what_was_reported_holds_until_it_is_found_untrue() {
        let readiness = Readiness::default();
        assert!(readiness.load().events().is_empty());
        readiness.report(READ | WaitEvents::WRITE, false);
        assert_eq!(readiness.load().events(), READ | WaitEvents::WRITE);
        assert_eq!(readiness.note_nothing_found(readiness.load(), READ), sys::REPORTS_ONCE);
        assert_eq!(readiness.load().events(), WaitEvents::WRITE);
    }

    #[test]
    fn a_report_is_newer_than_what_was_found_before_it() {
        let readiness = Readiness::default();
        readiness.report(READ, false);
        let known = readiness.load();
        readiness.report(READ, false);
        assert!(
            readiness.note_nothing_found(known, READ),
            "whoever was told of it has to be told again"
        );
        let _ = readiness.confirm(known, WaitEvents::empty());
        assert_eq!(readiness.load().events(), READ);
    }

    #[test]
    fn of_two_findings_at_the_same_time_neither_is_lost() {
        let readiness = Readiness::default();
        readiness.report(READ | WaitEvents::WRITE, false);
        let known = readiness.load();
        let _ = readiness.note_nothing_found(known, READ);
        let _ = readiness.confirm(known, WaitEvents::ALL);
        assert_eq!(readiness.load().events(), WaitEvents::WRITE);
        let _ = readiness.note_nothing_found(known, WaitEvents::WRITE);
        assert!(readiness.load().is_stale());
        let known = readiness.load();
        readiness.note_moved(known);
        let _ = readiness.confirm(known, WaitEvents::ALL);
        assert!(
            readiness.load().is_stale(),
            "what was moved meanwhile is not in the answer"
        );
    }

    #[test]
    fn only_an_answer_is_verified() {
        let readiness = Readiness::default();
        readiness.report(READ, false);
        assert!(!readiness.load().is_verified());
        let _ = readiness.confirm(readiness.load(), READ);
        assert!(readiness.load().is_verified());
        readiness.report(READ, false);
        assert!(!readiness.load().is_verified());
    }

    #[test]
    fn what_was_touched_has_to_be_asked_for() {
        let readiness = Readiness::default();
        readiness.note_moved(readiness.load());
        assert!(!readiness.load().is_stale(), "nobody has reported anything");
        readiness.report(READ, true);
        readiness.note_moved(readiness.load());
        assert!(readiness.load().is_stale() && readiness.load().is_uncertain());
        let _ = readiness.confirm(readiness.load(), WaitEvents::WRITE);
        assert_eq!(readiness.load().events(), WaitEvents::WRITE);
        assert!(!readiness.load().is_stale());
    }

    #[test]
    fn ticks_that_begin_anew_are_ticks() {
        let readiness = Readiness::default();
        readiness.word.store(usize::MAX / VERSION * VERSION, SeqCst);
        readiness.report(READ, false);
        assert!(readiness.load().is_followed());
        let _ = readiness.note_nothing_found(readiness.load(), READ);
        assert!(readiness.load().events().is_empty());
    }

    #[test]
    fn bytes_read_ahead_are_readable() {
        let readiness = Readiness::default();
        assert!(readiness.set_unread(true) && !readiness.set_unread(true));
        assert_eq!(readiness.load().events(), READ);
        let _ = readiness.note_nothing_found(readiness.load(), READ);
        assert_eq!(readiness.load().events(), READ);
        assert!(readiness.set_unread(false));
        assert!(readiness.load().events().is_empty());
    }
}
