//! What was read from the system and not yet taken by the user, and what is known of what the system still has.

use std::io::{self, Read};
use std::mem;
use std::time::Duration;

use socket2::{Domain, SockRef};

use crate::events::WaitEvents;
use crate::opening::{Known, Shared};
use crate::sys::{self, BorrowedSocket};

/// How much is asked of the system at once. Reads of at least as much go past the buffer.
pub(super) const CHUNK: usize = 8 * 1024;

/// A buffer that grew beyond this is given back when it is empty.
const KEPT: usize = 64 * 1024;

/// What is read from: a connection, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) socket: BorrowedSocket<'a>,
    pub(super) shared: &'a Shared,
}

impl Source<'_> {
    /// One `recv(2)`.
    #[inline]
    fn receive(self, buf: &mut [u8]) -> io::Result<usize> {
        let count = (&*SockRef::from(&self.socket))
            .read(buf)
            .inspect_err(|error| self.shared.broken().remember(error))?;
        if count == 0 {
            self.shared.broken().end_of_stream()?;
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
    /// Reads may stop short of what is there: those of Unix-domain sockets do, behind a message that carries
    /// descriptors or before one of another sender, unix(7).
    stops_short: bool,
    /// What there is stands in `start..end`; made at the first read that needs it.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// What is before this can be taken without anything else to see to. It is never the last of what there is.
    at_hand: usize,
    eof: bool,
    /// The last read took everything the system had, so the next would block.
    drained: bool,
    /// How many operations in a row have waited without asking the system first, and how many are to.
    unasked: u8,
    to_wait: u8,
    /// The operation that begins asks first, though the last read left nothing.
    asks: bool,
    /// A wait has reported more than data, so a short read says nothing: urgent data may have cut it short, or the end
    /// of the stream may follow. Until a read has found nothing.
    uncertain: bool,
}

impl Input {
    /// What is read from a socket of this kind.
    pub(super) fn of(domain: Option<Domain>) -> Input {
        Input {
            stops_short: domain == Some(Domain::UNIX),
            ..Input::default()
        }
    }

    /// What is read from a connection that the listener, whose this is, has accepted.
    pub(super) fn for_accepted(&self) -> Input {
        Input {
            stops_short: self.stops_short,
            ..Input::default()
        }
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// There is nothing to read, neither here nor, as far as is known, in the system.
    pub(super) fn is_drained(&self) -> bool {
        self.drained && self.is_empty()
    }

    /// The peer has ended the stream. Bytes before that may still be unread.
    pub(super) fn is_eof(&self) -> bool {
        self.eof
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.eof && self.is_empty()
    }

    /// Whether an operation had better wait before it asks the system, which had nothing after the last read.
    ///
    /// Something may have come since. So now and then one asks all the same: in vain, less and less often, where
    /// answers take their time; and where that found something, so does the next, and saves the wait.
    pub(super) fn expects_nothing(&mut self, known: Known) -> bool {
        if !self.drained || known.is_readable() {
            return false;
        }
        self.asks = self.unasked >= self.to_wait;
        self.unasked = if self.asks { 0 } else { self.unasked + 1 };
        !self.asks
    }

    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            self.at_hand = 0;
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Lets all but the last of what there is be taken without ceremony.
    #[inline]
    pub(super) fn lay_out(&mut self) {
        self.at_hand = self.end.saturating_sub(1);
    }

    /// Takes that back: there is something to see to.
    #[inline]
    pub(super) fn put_away(&mut self) {
        self.at_hand = 0;
    }

    /// How much can be taken without ceremony.
    #[inline]
    pub(super) fn at_hand(&self) -> usize {
        self.at_hand.saturating_sub(self.start)
    }

    /// The next byte, of those at hand.
    #[inline]
    pub(super) fn next_at_hand(&mut self) -> Option<u8> {
        if self.start >= self.at_hand {
            return None;
        }
        let byte = self.bytes.get(self.start).copied();
        self.start += 1;
        byte
    }

    /// Moves what there is, as far as it fits, into `buf`.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let count = self.len().min(buf.len());
        buf[..count].copy_from_slice(&self.unread()[..count]);
        self.consume(count);
        count
    }

    /// Puts bytes back in front of what there is.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut joined = Vec::with_capacity(bytes.len() + self.len());
        joined.extend_from_slice(bytes);
        joined.extend_from_slice(self.unread());
        self.start = 0;
        self.end = joined.len();
        self.at_hand = 0;
        self.bytes = joined;
    }

    /// Reads from the system, once, behind what there is. Zero means the end of the stream.
    pub(super) fn fill(&mut self, source: Source<'_>) -> io::Result<usize> {
        self.make_room();
        let known = source.shared.readiness().load();
        let count = source.receive(&mut self.bytes[self.end..]);
        let asked = self.bytes.len() - self.end;
        self.learn(&count, asked, known, source);
        if self.drained && count.is_ok() {
            if source.shared.readiness().emptied(known, WaitEvents::READ) {
                source.shared.tell_followers();
            }
        } else {
            self.tell(known, source.shared);
        }
        if let Ok(count) = count {
            self.end += count;
        }
        count
    }

    /// Reads from the system, once, into the caller's memory. Zero means the end of the stream.
    pub(super) fn receive_into(&mut self, buf: &mut [u8], source: Source<'_>) -> io::Result<usize> {
        let known = source.shared.readiness().load();
        let count = source.receive(buf);
        self.learn(&count, buf.len(), known, source);
        self.tell(known, source.shared);
        count
    }

    /// Takes note of what a wait has reported. It won't be reported again.
    pub(super) fn heed(&mut self, reported: WaitEvents) {
        self.drained &= reported.is_empty();
        self.uncertain |= reported.contains(WaitEvents::EXCEPTION);
    }

    /// Learns from a read, before which this much was `known`.
    #[inline]
    fn learn(&mut self, result: &io::Result<usize>, asked: usize, known: Known, source: Source<'_>) {
        if mem::take(&mut self.asks) {
            let in_vain = result.is_err();
            self.to_wait = if in_vain {
                self.to_wait.saturating_mul(2).max(1)
            } else {
                0
            };
        }
        self.drained = match result {
            Ok(0) => {
                self.eof = true;
                false
            }
            Ok(count) => {
                let tells = sys::SHORT_READ_EMPTIES && !self.stops_short && !self.uncertain && !known.is_uncertain();
                // Where it doesn't, a queue has to know all the same: what comes next is another event.
                *count < asked && (tells || known.is_watched() && source.has_nothing())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.uncertain = false;
                true
            }
            Err(_) => false,
        };
    }

    /// Writes down for the queues what a read, before which this much was `known`, has shown.
    fn tell(&self, known: Known, shared: &Shared) {
        if !self.drained {
            shared.readiness().touched(known);
        } else if shared.readiness().drained(known, WaitEvents::READ) {
            shared.tell_followers();
        }
    }

    /// Sees to it that there is room for a decent read at the end.
    fn make_room(&mut self) {
        if self.bytes.len() - self.end >= CHUNK {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.at_hand = 0;
        }
        if self.bytes.len() - self.end < CHUNK / 2 {
            self.bytes.resize((self.end * 2).max(CHUNK), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use socket2::Socket;

    use super::*;

    #[test]
    fn what_is_put_back_comes_first() {
        let mut input = Input::default();
        input.put_back(b"def");
        input.put_back(b"abc");
        let mut buf = [0; 4];
        assert_eq!(input.take(&mut buf), 4);
        assert_eq!(&buf, b"abcd");
        assert_eq!(input.unread(), b"ef");
        input.consume(10);
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_at_hand_is_of_what_there_is_and_not_the_last() {
        let at_hand = |text: &[u8], taken| {
            let mut input = Input::default();
            input.put_back(text);
            assert_eq!(input.at_hand(), 0, "there may be something to see to");
            input.lay_out();
            input.consume(taken);
            input
        };
        let mut input = at_hand(b"abc", 0);
        assert_eq!((input.next_at_hand(), input.at_hand()), (Some(b'a'), 1));
        assert_eq!((input.next_at_hand(), input.next_at_hand()), (Some(b'b'), None));
        assert_eq!(input.unread(), b"c");
        input.lay_out();
        input.put_back(b"abcd");
        assert_eq!(input.at_hand(), 0);

        assert_eq!(at_hand(b"abc", 3).at_hand(), 0, "all is taken");

        let mut input = at_hand(&[1; 100], 90);
        input.make_room();
        assert_eq!((input.len(), input.at_hand()), (10, 0), "it stands elsewhere now");
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let mut input = Input::default();
        input.put_back(&vec![1; KEPT + 1]);
        input.consume(KEPT);
        assert!(!input.bytes.is_empty());
        input.consume(1);
        assert_eq!(input.bytes.capacity(), 0);
    }

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
        let shared = Shared::new();
        let source = Source {
            socket: sys::borrowed(&near),
            shared: &shared,
        };
        let mut input = Input::default();
        let mut send = |text: &[u8]| {
            far.write_all(text).unwrap();
            await_bytes(&near, text.len());
        };

        send(b"abc");
        input.heed(WaitEvents::READ);
        assert_eq!(input.fill(source).unwrap(), 3);
        assert_eq!(input.drained, sys::SHORT_READ_EMPTIES);
        input.heed(WaitEvents::READ);
        assert!(!input.drained, "what was reported is there");

        send(b"def");
        assert_eq!(input.receive_into(&mut [0; 3], source).unwrap(), 3);
        assert!(!input.drained, "a full read says nothing");

        send(b"ghi");
        input.heed(WaitEvents::READ | WaitEvents::EXCEPTION);
        assert_eq!(input.fill(source).unwrap(), 3);
        assert!(!input.drained);
        assert!(input.fill(source).is_err());
        assert!(input.drained, "nothing there is sure to be nothing there");
    }

    /// How many of `operations` ask the system before they wait, if a peer that is `prompt` has answered before they
    /// begin, and another one after that.
    fn asking(input: &mut Input, prompt: bool, operations: usize) -> usize {
        let (near, far) = connected();
        let shared = Shared::new();
        let source = Source {
            socket: sys::borrowed(&near),
            shared: &shared,
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
            let asks = !input.expects_nothing(shared.readiness().load());
            asking += usize::from(asks);
            if !(asks && input.fill(source).is_ok()) {
                if !prompt {
                    answer();
                }
                input.heed(WaitEvents::READ);
                assert_eq!(input.fill(source).unwrap(), 3);
            }
            input.consume(3);
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
        let shared = Shared::new();
        let source = Source {
            socket: sys::borrowed(&near),
            shared: &shared,
        };
        assert_eq!(input.fill(source).unwrap(), 3);
        assert!(!input.drained);
    }
}
