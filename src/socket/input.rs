//! What a socket has of what comes: the buffer, what it expects of the system, and the reads, `recv(2)`, into the buffer or the
//! caller's memory.
//!
//! Under TLS it is the session that receives, and what it has deciphered that is read: see [`deciphering`](super::deciphering).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::time::Instant;

use super::expectation::Expectation;
use super::read_buffer::ReadBuffer;
use super::source::Source;
#[cfg(feature = "websocket")]
use super::spare::Ahead;
use super::spare::CHUNK;
use super::try_wait::Attempt;
use crate::events::WaitEvents;
use crate::opening::{InUse, Snapshot};
use crate::sys;
use crate::tls::Session;

/// What was read and not taken yet, and what is known of what comes next.
#[derive(Default)]
pub(super) struct Input {
    pub(super) buffer: ReadBuffer,
    pub(super) expected: Expectation,
    pub(super) eof: bool,
    /// What deciphers what is received.
    pub(super) session: Option<Session>,
}

impl Input {
    /// The input of a new socket of a kind of which a short read says nothing.
    pub(super) fn doubtful() -> Input {
        Input {
            expected: Expectation::doubtful(),
            ..Input::default()
        }
    }

    /// The input of a connection that the listener with this input has accepted.
    pub(super) fn for_accepted(&self) -> Input {
        Input {
            expected: self.expected.for_accepted(),
            ..Input::default()
        }
    }

    /// An operation on this input.
    #[inline]
    pub(super) fn reading<R: ReadOnce>(&mut self, read: R) -> Reading<'_, R> {
        Reading { input: self, read }
    }

    /// Whether there is nothing to read, neither in the buffer nor, as far as is known, in the system.
    pub(super) fn is_drained(&self) -> bool {
        self.expected.is_drained() && self.buffer.is_empty()
    }

    /// Whether the system has nothing to read, as far as is known.
    #[inline]
    pub(super) fn has_drained_system(&self) -> bool {
        self.expected.is_drained()
    }

    /// Whether there is nothing to read but what is in the buffer, as far as is known.
    #[inline]
    pub(super) fn has_drained_all(&self) -> bool {
        self.has_drained_system() && self.session_may_wait_first()
    }

    /// Whether the peer has ended the stream. Bytes before its end may still be unread.
    pub(super) fn is_eof(&self) -> bool {
        self.eof
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.eof && self.buffer.is_empty()
    }

    /// Whether an operation should wait before its first `recv(2)`, where the system is drained: see
    /// [`Expectation::should_wait_first`].
    #[inline]
    pub(super) fn should_wait_first(&mut self, known: Snapshot) -> bool {
        self.expected.should_wait_first(known) && self.session_may_wait_first()
    }

    /// Whether TLS, if there is any, has nothing that would come before what is waited for.
    #[inline(always)]
    fn session_may_wait_first(&self) -> bool {
        #[inline(never)]
        fn ask(session: &Session) -> bool {
            session.may_wait_first()
        }
        self.session.as_ref().is_none_or(ask)
    }

    /// What an operation waits for that usually waits for `usual`.
    #[inline]
    fn waits_for(&self, usual: WaitEvents) -> WaitEvents {
        match &self.session {
            None => usual,
            Some(session) => usual | session.reading_waits_for(),
        }
    }

    /// Whether the session has changed since an operation has asked what it [waits for](Input::waits_for): `events`.
    #[inline]
    fn has_changed(&self, usual: WaitEvents, events: WaitEvents) -> bool {
        match &self.session {
            None => false,
            Some(session) => session.has_something() || usual | session.reading_waits_for() != events,
        }
    }

    /// When an operation should look again at the latest.
    #[inline]
    fn tries_again_at(&self) -> Option<Instant> {
        self.session.as_ref().and_then(Session::handshake_ends)
    }

    /// Notes what a wait has reported, which won't be reported again.
    #[inline]
    pub(super) fn note_report(&mut self, reported: WaitEvents) {
        self.expected.note_report(reported);
    }

    /// Reads once from the system, and adds that to the buffer, in which there are to be `target` bytes in the end; zero, if
    /// that is not known. Zero means the end of the stream.
    #[inline(always)]
    pub(super) fn fill(&mut self, target: usize, source: Source<'_>) -> io::Result<usize> {
        if self.session.is_some() {
            return self.decipher_ahead(target, source);
        }
        let known = source.opening.readiness().load();
        let spare = self.buffer.spare(target)?;
        let asked = spare.len();
        match sys::receive(source.socket, spare) {
            Ok(count) if count > 0 => {
                self.buffer.add(count);
                self.note_data(count, asked, known, source);
                Ok(count)
            }
            nothing => {
                self.buffer.shrink();
                self.note_no_data(nothing, known, source)
            }
        }
    }

    /// Reads once from the system, and adds that to the buffer. Zero means the end of the stream.
    #[cfg(feature = "websocket")]
    pub(super) fn read_ahead(&mut self, ahead: Ahead, source: Source<'_>) -> io::Result<usize> {
        if ahead == Ahead::Much {
            self.buffer.grow();
        }
        self.fill(0, source)
    }

    /// Reads once from the system: what fits into `buf`, which is not empty, and the rest into the buffer, which is. Zero
    /// means the end of the stream.
    #[inline(always)]
    fn receive(&mut self, buf: &mut [u8], source: Source<'_>) -> io::Result<usize> {
        if self.session.is_some() {
            let (most, mut filled) = (buf.len(), 0);
            let mut put = |bytes: &[u8]| {
                buf[filled..][..bytes.len()].copy_from_slice(bytes);
                filled += bytes.len();
            };
            return self.decipher(most, &mut put, 0, source);
        }
        let known = source.opening.readiness().load();
        if buf.len() >= CHUNK {
            return match sys::receive(source.socket, buf) {
                Ok(count) if count > 0 => {
                    self.note_data(count, buf.len(), known, source);
                    Ok(count)
                }
                nothing => self.note_no_data(nothing, known, source),
            };
        }
        let mut room = [MaybeUninit::uninit(); CHUNK];
        match sys::receive_into_room(source.socket, &mut room) {
            Ok(bytes) if !bytes.is_empty() => {
                let taken = bytes.len().min(buf.len());
                buf[..taken].copy_from_slice(&bytes[..taken]);
                if taken < bytes.len() {
                    self.buffer.put_back(&bytes[taken..]);
                }
                self.note_data(bytes.len(), CHUNK, known, source);
                Ok(taken)
            }
            nothing => self.note_no_data(nothing.map(<[u8]>::len), known, source),
        }
    }

    /// Reads once from the system, while there is nothing in the buffer: appends at most `most` bytes to `bytes`, within its
    /// capacity. Zero means the end of the stream.
    #[cfg(feature = "websocket")]
    pub(super) fn append_to(&mut self, bytes: &mut Vec<u8>, most: usize, source: Source<'_>) -> io::Result<usize> {
        if self.session.is_some() {
            return self.decipher(most, &mut |read| bytes.extend_from_slice(read), 0, source);
        }
        let known = source.opening.readiness().load();
        match sys::receive_behind(source.socket, bytes, most) {
            Ok(count) if count > 0 => {
                self.note_data(count, most, known, source);
                Ok(count)
            }
            nothing => self.note_no_data(nothing, known, source),
        }
    }

    /// Reads once from the system, into `slices`, while there is nothing in the buffer. Zero means the end of the stream.
    pub(super) fn scatter(&mut self, slices: &mut [IoSliceMut<'_>], source: Source<'_>) -> io::Result<usize> {
        if self.session.is_some() {
            self.decipher_ahead(0, source)?;
            return Ok(slices.iter_mut().map(|slice| self.buffer.take(slice)).sum());
        }
        let known = source.opening.readiness().load();
        let asked = slices
            .iter()
            .fold(0_usize, |all, slice| all.saturating_add(slice.len()));
        match sys::receive_vectored(source.socket, slices) {
            Ok(count) if count > 0 => {
                self.note_data(count, asked, known, source);
                Ok(count)
            }
            nothing => self.note_no_data(nothing, known, source),
        }
    }

    #[inline]
    fn note_data(&mut self, count: usize, asked: usize, known: Snapshot, source: Source<'_>) {
        source.note_data(&mut self.expected, count, asked, known);
    }

    /// Notes that a read has returned no data. Returns what that really is.
    #[inline]
    fn note_no_data(&mut self, result: io::Result<usize>, known: Snapshot, source: Source<'_>) -> io::Result<usize> {
        let result = source.note_no_data(&mut self.expected, result, known);
        self.eof |= result.is_ok();
        result
    }
}

/// What an attempt of an operation on an input does.
pub(super) trait ReadOnce {
    type Value;

    /// Reads, or looks at what there is.
    fn read_once(&mut self, input: &mut Input, source: Source<'_>) -> io::Result<Self::Value>;
}

impl<T, F: FnMut(&mut Input, Source<'_>) -> io::Result<T>> ReadOnce for F {
    type Value = T;

    #[inline(always)]
    fn read_once(&mut self, input: &mut Input, source: Source<'_>) -> io::Result<T> {
        self(input, source)
    }
}

/// Reads into the caller's memory, and what doesn't fit there into the buffer. No closure: the compiler wouldn't put that into
/// the short way.
pub(super) struct Receiving<'a>(pub(super) &'a mut [u8]);

impl ReadOnce for Receiving<'_> {
    type Value = usize;

    #[inline(always)]
    fn read_once(&mut self, input: &mut Input, source: Source<'_>) -> io::Result<usize> {
        input.receive(self.0, source)
    }
}

/// Reads more into the buffer, in which there are to be so many bytes in the end; zero, if that is not known.
pub(super) struct Filling(pub(super) usize);

impl ReadOnce for Filling {
    type Value = usize;

    #[inline(always)]
    fn read_once(&mut self, input: &mut Input, source: Source<'_>) -> io::Result<usize> {
        input.fill(self.0, source)
    }
}

/// An operation on an input.
pub(super) struct Reading<'a, R> {
    input: &'a mut Input,
    read: R,
}

impl<R: ReadOnce> Attempt for Reading<'_, R> {
    type Value = R::Value;

    #[inline(always)]
    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<R::Value> {
        self.read.read_once(self.input, Source::of(in_use))
    }

    #[inline]
    fn waits_for(&self, usual: WaitEvents) -> WaitEvents {
        self.input.waits_for(usual)
    }

    #[inline]
    fn would_wait_in_vain(&self, usual: WaitEvents, events: WaitEvents) -> bool {
        self.input.has_changed(usual, events)
    }

    #[inline]
    fn tries_again_at(&self) -> Option<Instant> {
        self.input.tries_again_at()
    }

    #[inline]
    fn note_report(&mut self, reported: WaitEvents) {
        self.input.note_report(reported);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use socket2::Socket;

    use super::*;
    use crate::opening::Opening;

    fn connected() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = Socket::from(listener.accept().unwrap().0);
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    fn source<'a>(near: &'a Socket, opening: &'a Opening) -> Source<'a> {
        Source {
            socket: sys::borrowed(near),
            opening,
        }
    }

    /// Waits until `count` bytes have come, which the system may deliver a moment after they were sent.
    fn await_bytes(near: &Socket, count: usize) {
        let mut buf = [MaybeUninit::uninit(); CHUNK];
        while near.peek(&mut buf).unwrap_or(0) < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_a_short_read_without_an_exception_drains() {
        let (near, mut far) = connected();
        let opening = Opening::new();
        let source = source(&near, &opening);
        let mut input = Input::default();
        let mut send = |text: &[u8]| {
            far.write_all(text).unwrap();
            await_bytes(&near, text.len());
        };

        send(b"abc");
        input.note_report(WaitEvents::READ);
        assert_eq!(input.fill(0, source).unwrap(), 3);
        assert_eq!(input.expected.is_drained(), sys::SHORT_READ_EMPTIES);
        input.note_report(WaitEvents::READ);
        assert!(!input.expected.is_drained(), "what was reported is there");

        send(&[0; CHUNK]);
        assert_eq!(input.receive(&mut [0; CHUNK], source).unwrap(), CHUNK);
        assert!(!input.expected.is_drained(), "a full read says nothing");

        send(b"ghi");
        input.note_report(WaitEvents::READ | WaitEvents::EXCEPTION);
        assert_eq!(input.fill(0, source).unwrap(), 3);
        assert!(!input.expected.is_drained());
        assert!(input.fill(0, source).is_err());
        assert!(input.expected.is_drained(), "nothing there is sure to be nothing there");
    }

    /// How many of `operations` ask the system before they wait, if a peer that is `prompt` has answered before they
    /// begin, and another one after that.
    fn asking(input: &mut Input, prompt: bool, operations: usize) -> usize {
        let (near, far) = connected();
        let opening = Opening::new();
        let source = source(&near, &opening);
        let answer = || {
            (&far).write_all(b"abc").unwrap();
            await_bytes(&near, 3);
        };
        let mut asking = 0;
        for _ in 0..operations {
            if prompt {
                answer();
            }
            let asks = !(input.has_drained_system() && input.should_wait_first(opening.readiness().load()));
            asking += usize::from(asks);
            if !(asks && input.fill(0, source).is_ok()) {
                if !prompt {
                    answer();
                }
                input.note_report(WaitEvents::READ);
                assert_eq!(input.fill(0, source).unwrap(), 3);
            }
            input.buffer.consume(3);
        }
        asking
    }

    #[test]
    fn who_answers_late_is_asked_early_less_and_less_often_and_who_answers_early_each_time() {
        if !sys::SHORT_READ_EMPTIES {
            return;
        }
        let mut input = Input::default();
        let late = asking(&mut input, false, 1000);
        assert!((5..=15).contains(&late), "{late}");
        let early = asking(&mut input, true, 1000);
        assert!(
            (700..1000).contains(&early),
            "it has to be asked once to be found out: {early}"
        );
        assert_eq!(asking(&mut input, true, 1000), 1000);
        let late = asking(&mut input, false, 1000);
        assert!((5..=15).contains(&late), "{late}");
    }

    #[test]
    fn what_the_caller_takes_at_once_needs_no_buffer() {
        let (near, mut far) = connected();
        let opening = Opening::new();
        let source = source(&near, &opening);
        let mut input = Input::default();
        far.write_all(b"abc").unwrap();
        await_bytes(&near, 3);
        let mut buf = [0; 3];
        assert_eq!(input.receive(&mut buf, source).unwrap(), 3);
        assert_eq!((&buf, input.buffer.room()), (b"abc", 0));
        far.write_all(b"defg").unwrap();
        await_bytes(&near, 4);
        assert_eq!(input.receive(&mut buf, source).unwrap(), 3);
        assert_eq!((&buf, input.buffer.unread()), (b"def", &b"g"[..]));
    }

    #[test]
    fn a_short_read_of_a_doubtful_socket_says_nothing() {
        let (near, mut far) = connected();
        far.write_all(b"abc").unwrap();
        await_bytes(&near, 3);
        // What the bytes come through makes no difference.
        let mut input = Input::doubtful().for_accepted();
        let opening = Opening::new();
        let source = source(&near, &opening);
        assert_eq!(input.fill(0, source).unwrap(), 3);
        assert!(!input.expected.is_drained());
    }
}
