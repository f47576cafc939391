//! Reads and writes of a socket under TLS, between the session and the system.

use std::borrow::BorrowMut;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::time::Instant;

use socket2::SockRef;

use super::expectation::Expectation;
use super::input::Input;
use super::sending::send_by;
use super::source::Source;
use super::try_wait::Attempt;
use crate::events::WaitEvents;
use crate::opening::{InUse, Opening};
use crate::sys::{self, BorrowedSocket};
use crate::tls::{Session, UNFINISHED, Wire};

impl Input {
    /// Reads what there is into the buffer, in which there are to be `target` bytes in the end. Returns how much that is. Zero
    /// means the end of the stream.
    pub(super) fn decipher_ahead(&mut self, target: usize, source: Source<'_>) -> io::Result<usize> {
        self.decipher(0, &mut |_| {}, target, source)
    }

    /// Reads what there is: gives `put` at most `most` bytes of it, from the beginning, and puts the rest into the buffer, in
    /// which there are to be `target` bytes in the end. Returns how much `put` was given or, if it may have nothing, what is new
    /// in the buffer. Zero means the end of the stream.
    #[inline(never)]
    pub(super) fn decipher(
        &mut self,
        most: usize,
        put: &mut dyn FnMut(&[u8]),
        target: usize,
        source: Source<'_>,
    ) -> io::Result<usize> {
        let Some(session) = &self.session else {
            return Ok(0);
        };
        let mut given = 0;
        let mut wire = SystemWire {
            source,
            expected: &mut self.expected,
        };
        let buffer = &mut self.buffer;
        let read = following(session, source.opening, || {
            session.read(&mut wire, &mut |bytes| {
                let direct = bytes.len().min(most - given);
                if direct < bytes.len() {
                    buffer.append(&bytes[direct..], target)?;
                }
                put(&bytes[..direct]);
                given += direct;
                Ok(())
            })
        });
        match &read {
            Ok(0) => self.eof = true,
            Ok(_) => {}
            Err(_) => {
                let has_more = || session.has_something();
                let unread = has_more();
                self.buffer.shrink();
                // The failure can be had again. What another half had announced was taken. Of what is in the buffer its owner
                // tells: that may be a part that nobody is to hear of.
                if unread || self.buffer.is_empty() {
                    source.opening.set_unread(unread, || self.is_drained(), has_more);
                }
            }
        }
        read.map(|count| if most == 0 { count } else { given })
    }

    /// Whether the session has a part of something for whoever reads.
    pub(super) fn has_part_of_record(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_in_record)
    }
}

/// Runs a step of the session, and tells the other half what has changed for it: while the handshake is under way, either
/// receives for both, and what it leaves unsent both have to wait for. Queues see to the limit of the handshake no longer once
/// that is over.
fn following<T>(session: &Session, opening: &Opening, step: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let is_shared = session.is_handshaking() && !opening.has_one_owner();
    let waited_for = is_shared.then(|| session.reading_waits_for());
    let ends = session.handshake_ends();
    let result = step();
    if let Some(at) = ends
        && !session.is_handshaking()
    {
        opening.end_alarm(at);
    }
    if let Some(waited_for) = waited_for {
        let is_under_way = result
            .as_ref()
            .is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | UNFINISHED));
        if !session.is_handshaking() || !is_under_way || session.reading_waits_for() != waited_for {
            opening.wake();
        }
    }
    result
}

/// Goes on with the handshake, if it isn't over.
pub(super) fn handshake(session: &Session, source: Source<'_>) -> io::Result<()> {
    if !session.is_handshaking() {
        return Ok(());
    }
    let result = following(session, source.opening, || {
        session.handshake(&mut SystemWire::for_writing(source))
    });
    if session.has_something() {
        // It came behind the handshake, or is a failure.
        source.opening.announce_unread();
    }
    result
}

/// The system, and what is expected of it.
pub(super) struct SystemWire<'a, E> {
    source: Source<'a>,
    expected: E,
}

impl<'a> SystemWire<'a, Expectation> {
    /// For an operation that writes, which knows nothing of what there is to read. It receives only while the handshake is
    /// under way, and when the connection is closed.
    pub(super) fn for_writing(source: Source<'a>) -> SystemWire<'a, Expectation> {
        SystemWire {
            source,
            expected: Expectation::doubtful(),
        }
    }
}

impl<E: BorrowMut<Expectation>> Wire for SystemWire<'_, E> {
    fn receive<'r>(&mut self, room: &'r mut [MaybeUninit<u8>]) -> io::Result<&'r [u8]> {
        let asked = room.len();
        self.noting(
            asked,
            |socket| sys::receive_into_room(socket, room),
            |bytes| bytes.len(),
        )
    }

    fn receive_into(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.noting(buf.len(), |socket| sys::receive(socket, buf), |count| *count)
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Source { socket, opening } = self.source;
        send_by(opening, socket, |socket| sys::send_vectored(socket, slices))
    }

    fn end_sending(&mut self) -> io::Result<()> {
        SockRef::from(&self.source.socket).shutdown(Shutdown::Write)
    }
}

impl<'a, E: BorrowMut<Expectation>> SystemWire<'a, E> {
    /// Receives, and notes what asking for so much has shown.
    fn noting<T: Default>(
        &mut self,
        asked: usize,
        receive: impl FnOnce(BorrowedSocket<'a>) -> io::Result<T>,
        count: impl FnOnce(&T) -> usize,
    ) -> io::Result<T> {
        let Source { socket, opening } = self.source;
        let expected = self.expected.borrow_mut();
        let known = opening.readiness().load();
        let received = receive(socket).map(|data| (count(&data), data));
        match received {
            Ok((count, data)) if count > 0 => {
                self.source.note_data(expected, count, asked, known);
                Ok(data)
            }
            nothing => {
                self.source.note_no_data(expected, nothing.map(|_| 0), known)?;
                Ok(T::default())
            }
        }
    }
}

/// An operation that writes, once the handshake is over: until then it goes on with that.
pub(super) struct AfterHandshake<'a, F> {
    session: &'a Session,
    write: F,
}

/// An operation that does this once the handshake of `session` is over.
pub(super) fn after_handshake<T, F>(session: &Session, write: F) -> AfterHandshake<'_, F>
where
    F: FnMut(&mut dyn Wire) -> io::Result<T>,
{
    AfterHandshake { session, write }
}

impl<T, F: FnMut(&mut dyn Wire) -> io::Result<T>> Attempt for AfterHandshake<'_, F> {
    type Value = T;

    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<T> {
        let source = Source::of(in_use);
        handshake(self.session, source)?;
        (self.write)(&mut SystemWire::for_writing(source))
    }

    fn waits_for(&self, _usual: WaitEvents) -> WaitEvents {
        self.session.writing_waits_for()
    }

    fn would_wait_in_vain(&self, _usual: WaitEvents, events: WaitEvents) -> bool {
        self.session.writing_waits_for() != events || self.session.has_failed()
    }

    fn tries_again_at(&self) -> Option<Instant> {
        self.session.last_flight_ends()
    }
}

/// Sends what was taken and is unsent.
pub(super) struct Flushing<'a>(pub(super) &'a Session);

impl Attempt for Flushing<'_> {
    type Value = ();

    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<()> {
        self.0.flush(&mut SystemWire::for_writing(Source::of(in_use)))
    }

    fn tries_again_at(&self) -> Option<Instant> {
        self.0.last_flight_ends()
    }
}

/// Reads what there is, and drops it. Returns how much that was; zero means the end, with close_notify or without.
pub(super) fn discard(session: &Session, source: Source<'_>) -> io::Result<usize> {
    let read = session.read(&mut SystemWire::for_writing(source), &mut |_| Ok(()));
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}
