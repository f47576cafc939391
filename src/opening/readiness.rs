//! What is known of a socket's readiness, for the queues that it is in.
//!
//! A queue learns of changes only: "data has come". Whether the data is still there at the next wait is known to the
//! socket, whose operations find out. So queues write down here what was reported, for all of them together, and operations
//! write down what they have found. For a socket in no queue nothing is written down: its operations see that (version 0)
//! and write nothing either.
//!
//! - A report sets its events, and increments the *version*.
//! - An operation that finds nothing (it would block, or got less than it asked for) clears the event, and increments the
//!   version. In that order nothing is missed: what comes after that is another change, and reported.
//! - An operation that has moved something can't know whether more could be moved: it marks its direction as *stale*. So
//!   does one that finds another version than before it tried: the report, or what another operation has found, may be
//!   newer. Then only the system knows. A look that wants to know asks it, and writes the answer down unless the version has
//!   changed meanwhile.
//! - Where mio reports an event once and not again before it is asked to ([`sys::REPORTS_ONCE`]), clearing an event also
//!   tells the queues, which ask.
//! - A report can arrive after the data it announces was read. So one that isn't verified is passed on once; before it is
//!   passed on again, poll(2) must confirm it.

use std::sync::atomic::Ordering::SeqCst;

use crate::events::WaitEvents;
use crate::sync::{AtomicU32, AtomicUsize};
use crate::sys;

// The lowest three bits are those of `WaitEvents`.
const EVENTS: usize = WaitEvents::ALL.bits() as usize;
/// More than data was reported: urgent data, the end of the stream, an error. A short read then proves nothing.
const UNCERTAIN: usize = 1 << 3;
/// Something was read since the report: only the system knows whether there is more.
const STALE_READ: usize = 1 << 4;
/// Something was written since the report: only the system knows whether there is room for more.
const STALE_WRITE: usize = 1 << 5;
const STALE: usize = STALE_READ | STALE_WRITE;
/// The socket has read ahead.
const UNREAD: usize = 1 << 6;
/// The system was asked after the last report.
const VERIFIED: usize = 1 << 7;
/// An alarm has come: there is something to read, whatever the system says.
const RINGS: usize = 1 << 8;
/// Nobody wants to read: what there is, as the end of the stream, is no event.
const UNWANTED: usize = 1 << 9;
const VERSION: usize = 1 << 10;

/// The flag for what an operation in the direction of `event` makes stale. An exception comes and goes with what is to be
/// read.
fn stale(event: WaitEvents) -> usize {
    if event == WaitEvents::WRITE {
        STALE_WRITE
    } else {
        STALE_READ
    }
}

/// Increments the version, and skips 0, which means "no queue has ever followed this socket". The version wraps after 2^22
/// changes on 32-bit targets.
fn next_version(word: usize) -> usize {
    match word.wrapping_add(VERSION) {
        next if next < VERSION => next + VERSION,
        next => next,
    }
}

/// See the module's description.
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
        let may_be_read = self.is_readable() || self.0 & UNREAD != 0;
        events.set(
            WaitEvents::READ,
            may_be_read && self.0 & UNWANTED == 0 || self.0 & RINGS != 0,
        );
        events
    }

    /// Whether no queue has ever followed the socket, of which it is known whether it has read ahead.
    #[inline]
    pub(crate) fn is_unfollowed_with(self, unread: bool) -> bool {
        self.0 == if unread { UNREAD } else { 0 }
    }

    /// Whether the system was reported to have something to read, and no operation has found that untrue.
    pub(crate) fn is_readable(self) -> bool {
        self.reported().contains(WaitEvents::READ)
    }

    /// What the system was reported to be ready for, where no operation has found that untrue.
    pub(crate) fn reported(self) -> WaitEvents {
        WaitEvents::from_bits_truncate((self.0 & EVENTS) as u32)
    }

    /// Whether more than data was reported, so that a short read proves nothing.
    #[inline]
    pub(crate) fn is_uncertain(self) -> bool {
        self.0 & UNCERTAIN != 0
    }

    /// Whether only the system knows what some of `events` are about.
    pub(crate) fn is_stale(self, events: WaitEvents) -> bool {
        let read = events.intersects(WaitEvents::READ | WaitEvents::EXCEPTION) && self.0 & STALE_READ != 0;
        read || events.contains(WaitEvents::WRITE) && self.0 & STALE_WRITE != 0
    }

    /// Whether the system, and not just a late report, has said so.
    pub(crate) fn is_verified(self) -> bool {
        self.0 & VERIFIED != 0
    }

    /// Whether a queue has ever followed the socket.
    #[inline]
    pub(crate) fn is_followed(self) -> bool {
        self.version() != 0
    }

    #[inline]
    fn version(self) -> usize {
        self.0 / VERSION
    }
}

impl Readiness {
    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.word.load(SeqCst))
    }

    /// How often the event was drained. If the number has changed, earlier reports of the event are over, and a thread that
    /// was given one has dealt with it. An exception counts with what is to be read.
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
    /// True if queues have to be told. So, too, if a report came meanwhile: that report is a new event, and a thread may have
    /// mistaken it for the one that is over.
    #[must_use]
    pub(crate) fn note_nothing_found(&self, known: Snapshot, event: WaitEvents) -> bool {
        if known.0 & event.bits() as usize != 0 {
            self.drains_of(event).fetch_add(1, SeqCst);
        }
        self.note_buffered_all(known, event) || self.load().0 & event.bits() as usize != 0
    }

    /// Takes note that an operation has moved all that there was of an event into the socket's buffer: the system has
    /// nothing, and the program hasn't taken it yet. True if queues have to be told.
    #[must_use]
    pub(crate) fn note_buffered_all(&self, known: Snapshot, event: WaitEvents) -> bool {
        if !known.is_followed() {
            return false;
        }
        let before = self.change(|word| {
            let is_newest = Snapshot(word).version() == known.version();
            let found = if !is_newest {
                word | stale(event)
            } else if event == WaitEvents::WRITE {
                word & !(event.bits() as usize)
            } else {
                // Nothing is left of what made it uncertain. What comes next is reported.
                word & !(event.bits() as usize | UNCERTAIN)
            };
            next_version(found)
        });
        let is_over = before.version() == known.version() && before.0 & event.bits() as usize != 0;
        sys::REPORTS_ONCE && is_over
    }

    /// Takes note that the program has taken the last of what there was to read.
    pub(crate) fn note_user_took_all(&self) {
        if self.load().is_followed() {
            self.drains_of(WaitEvents::READ).fetch_add(1, SeqCst);
        }
    }

    /// Takes note that a call has gone on with a connection that is being made. What lets the next one go on is another event.
    pub(crate) fn note_went_on(&self) {
        if self.load().is_followed() {
            self.drains_of(WaitEvents::WRITE).fetch_add(1, SeqCst);
        }
    }

    /// Takes note that an operation has moved something of an event.
    pub(crate) fn note_moved(&self, known: Snapshot, event: WaitEvents) {
        if known.is_followed() {
            self.change(|word| next_version(word | stale(event)));
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

    /// Takes note of whether the socket has read ahead. True if that has changed.
    pub(crate) fn set_unread(&self, unread: bool) -> bool {
        if (self.load().0 & UNREAD != 0) == unread {
            return false;
        }
        self.change(|word| if unread { word | UNREAD } else { word & !UNREAD });
        true
    }

    /// Takes note of whether an alarm has come.
    pub(crate) fn set_rings(&self, rings: bool) {
        self.change(|word| if rings { word | RINGS } else { word & !RINGS });
    }

    /// Takes note of whether nobody wants to read: then only an alarm is something to read. True if that has changed.
    #[cfg(feature = "websocket")]
    pub(crate) fn set_unwanted(&self, unwanted: bool) -> bool {
        if (self.load().0 & UNWANTED != 0) == unwanted {
            return false;
        }
        self.change(|word| if unwanted { word | UNWANTED } else { word & !UNWANTED });
        true
    }

    /// Changes the word. Gives what was known before.
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
            "the queue that was told of it has to be told again"
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
        assert!(readiness.load().is_stale(WaitEvents::WRITE));
        let known = readiness.load();
        readiness.note_moved(known, WaitEvents::WRITE);
        let _ = readiness.confirm(known, WaitEvents::ALL);
        assert!(
            readiness.load().is_stale(WaitEvents::WRITE),
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
    fn what_was_moved_has_to_be_asked_for() {
        let readiness = Readiness::default();
        readiness.note_moved(readiness.load(), READ);
        assert!(!readiness.load().is_stale(READ), "nothing was reported");
        readiness.report(READ, true);
        readiness.note_moved(readiness.load(), READ);
        assert!(readiness.load().is_stale(READ) && readiness.load().is_uncertain());
        let _ = readiness.confirm(readiness.load(), WaitEvents::WRITE);
        assert_eq!(readiness.load().events(), WaitEvents::WRITE);
        assert!(!readiness.load().is_stale(WaitEvents::ALL));
    }

    #[test]
    fn what_was_moved_one_way_leaves_the_other_as_it_was() {
        let readiness = Readiness::default();
        readiness.report(READ, false);
        readiness.note_moved(readiness.load(), WaitEvents::WRITE);
        assert!(!readiness.load().is_stale(READ) && !readiness.load().is_stale(WaitEvents::EXCEPTION));
        assert!(readiness.load().is_stale(READ | WaitEvents::WRITE));
        readiness.note_moved(readiness.load(), READ);
        assert!(readiness.load().is_stale(WaitEvents::EXCEPTION));
    }

    #[test]
    fn what_made_a_read_uncertain_is_over_with_the_read_that_finds_nothing() {
        let readiness = Readiness::default();
        readiness.report(READ, true);
        let _ = readiness.note_nothing_found(readiness.load(), WaitEvents::WRITE);
        assert!(readiness.load().is_uncertain(), "that was of a write");
        let known = readiness.load();
        readiness.report(READ, true);
        let _ = readiness.note_nothing_found(known, READ);
        assert!(readiness.load().is_uncertain(), "the report is newer");
        let _ = readiness.note_nothing_found(readiness.load(), READ);
        assert!(!readiness.load().is_uncertain());
    }

    #[test]
    fn a_version_that_wraps_is_a_version() {
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
