//! Reads of a connection: `recv(2)`, into the buffer or into the caller's memory, and notes of what it has shown.

use std::io::{self, Read};
use std::time::Duration;

use socket2::{Domain, SockRef};

use super::expectation::Expectation;
use super::read_buffer::ReadBuffer;
use crate::events::WaitEvents;
use crate::opening::{Opening, Snapshot};
use crate::sys::{self, BorrowedSocket};

/// The connection that is read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) socket: BorrowedSocket<'a>,
    pub(super) opening: &'a Opening,
}

impl Source<'_> {
    /// Calls `recv(2)` once.
    #[inline]
    fn receive(self, buf: &mut [u8]) -> io::Result<usize> {
        let count = (&*SockRef::from(&self.socket))
            .read(buf)
            .inspect_err(|error| self.opening.first_error().remember(error))?;
        if count == 0 {
            self.opening.first_error().end_of_stream()?;
        }
        Ok(count)
    }

    /// Whether the system says that a read would block.
    fn has_nothing(self) -> bool {
        let found = sys::poll(self.socket, WaitEvents::READ, Some(Duration::ZERO));
        found.is_ok_and(|found| found.is_empty())
    }
}

#[derive(Default)]
pub(super) struct Input {
    pub(super) buffer: ReadBuffer,
    expected: Expectation,
    eof: bool,
}

impl Input {
    /// The input of a new socket of this kind.
    pub(super) fn of(domain: Option<Domain>) -> Input {
        Input {
            expected: Expectation::of(domain),
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

    /// Whether there is nothing to read, neither in the buffer nor, as far as is known, in the system.
    pub(super) fn is_drained(&self) -> bool {
        self.expected.is_drained() && self.buffer.is_empty()
    }

    /// Whether the peer has ended the stream. Bytes before its end may still be unread.
    pub(super) fn is_eof(&self) -> bool {
        self.eof
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.eof && self.buffer.is_empty()
    }

    /// Whether an operation should wait before its first `recv(2)`: see [`Expectation::should_wait_first`].
    pub(super) fn should_wait_first(&mut self, known: Snapshot) -> bool {
        self.expected.should_wait_first(known)
    }

    /// Notes what a wait has reported, which won't be reported again.
    pub(super) fn note_report(&mut self, reported: WaitEvents) {
        self.expected.note_report(reported);
    }

    /// Reads once from the system, and adds that to the buffer. Zero means the end of the stream.
    pub(super) fn fill(&mut self, source: Source<'_>) -> io::Result<usize> {
        let known = source.opening.readiness().load();
        let spare = self.buffer.spare();
        let (asked, count) = (spare.len(), source.receive(spare));
        self.note_read(&count, asked, known, source);
        if self.expected.is_drained() && count.is_ok() {
            source.opening.note_buffered_all(known);
        } else {
            self.tell(known, source.opening);
        }
        if let Ok(count) = count {
            self.buffer.add(count);
        }
        count
    }

    /// Reads once from the system, into the caller's memory. Zero means the end of the stream.
    pub(super) fn receive_into(&mut self, buf: &mut [u8], source: Source<'_>) -> io::Result<usize> {
        let known = source.opening.readiness().load();
        let count = source.receive(buf);
        self.note_read(&count, buf.len(), known, source);
        self.tell(known, source.opening);
        count
    }

    #[inline]
    fn note_read(&mut self, result: &io::Result<usize>, asked: usize, known: Snapshot, source: Source<'_>) {
        self.eof |= matches!(result, Ok(0));
        self.expected.note_read(result, asked, known, || source.has_nothing());
    }

    /// Tells queues what a read has shown. `known` was loaded before the read.
    fn tell(&self, known: Snapshot, opening: &Opening) {
        if self.expected.is_drained() {
            opening.note_nothing_found(known, WaitEvents::READ);
        } else {
            opening.readiness().note_moved(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use socket2::Socket;

    use super::*;

    fn connected() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = Socket::from(listener.accept().unwrap().0);
        near.set_nonblocking(true).unwrap();
        (near, far)
    }

    /// Waits until `count` bytes have come, which the system may deliver a moment after they were sent.
    fn await_bytes(near: &Socket, count: usize) {
        let mut buf = [std::mem::MaybeUninit::uninit(); 64];
        while near.peek(&mut buf).unwrap_or(0) < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_a_short_read_without_an_exception_drains() {
        let (near, mut far) = connected();
        let opening = Opening::new();
        let source = Source {
            socket: sys::borrowed(&near),
            opening: &opening,
        };
        let mut input = Input::default();
        let mut send = |text: &[u8]| {
            far.write_all(text).unwrap();
            await_bytes(&near, text.len());
        };

        send(b"abc");
        input.note_report(WaitEvents::READ);
        assert_eq!(input.fill(source).unwrap(), 3);
        assert_eq!(input.expected.is_drained(), sys::SHORT_READ_EMPTIES);
        input.note_report(WaitEvents::READ);
        assert!(!input.expected.is_drained(), "what was reported is there");

        send(b"def");
        assert_eq!(input.receive_into(&mut [0; 3], source).unwrap(), 3);
        assert!(!input.expected.is_drained(), "a full read says nothing");

        send(b"ghi");
        input.note_report(WaitEvents::READ | WaitEvents::EXCEPTION);
        assert_eq!(input.fill(source).unwrap(), 3);
        assert!(!input.expected.is_drained());
        assert!(input.fill(source).is_err());
        assert!(input.expected.is_drained(), "nothing there is sure to be nothing there");
    }

    /// How many of `operations` ask the system before they wait, if a peer that is `prompt` has answered before they
    /// begin, and another one after that.
    fn asking(input: &mut Input, prompt: bool, operations: usize) -> usize {
        let (near, far) = connected();
        let opening = Opening::new();
        let source = Source {
            socket: sys::borrowed(&near),
            opening: &opening,
        };
        let answer = || {
            (&far).write_all(b"abc").unwrap();
            await_bytes(&near, 3);
        };
        let mut asking = 0;
        for _ in 0..operations {
            if prompt {
                answer();
            }
            let asks = !input.should_wait_first(opening.readiness().load());
            asking += usize::from(asks);
            if !(asks && input.fill(source).is_ok()) {
                if !prompt {
                    answer();
                }
                input.note_report(WaitEvents::READ);
                assert_eq!(input.fill(source).unwrap(), 3);
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
    fn a_short_read_of_a_unix_domain_socket_says_nothing() {
        let (near, mut far) = connected();
        far.write_all(b"abc").unwrap();
        await_bytes(&near, 3);
        // What the bytes come through makes no difference.
        let mut input = Input::of(Some(Domain::UNIX)).for_accepted();
        let opening = Opening::new();
        let source = Source {
            socket: sys::borrowed(&near),
            opening: &opening,
        };
        assert_eq!(input.fill(source).unwrap(), 3);
        assert!(!input.expected.is_drained());
    }
}
