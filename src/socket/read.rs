//! Reading: `get` and its family, `Read`, `BufRead`.

use std::io::{self, BufRead, Read};
use std::ops::RangeInclusive;

use super::TcpSocket;
use super::input::{Input, Source};
use super::read_buffer::CHUNK;
use super::try_wait::TryWait;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Direction, Opening};

/// By how much the memory for a long read grows at once, at least and at most. So a length that no peer sends is never
/// allocated, and a step doesn't hold up the end of a limit.
const STEP: RangeInclusive<usize> = 256 * 1024..=4 * 1024 * 1024;

impl TcpSocket {
    /// Fills `buf`; returns less only when time ran out, the stream ended, an error came up, or the socket was ended.
    ///
    /// To take what there is without waiting for more, use [`Read::read`].
    ///
    /// | what happened | returns | and then |
    /// |---|---|---|
    /// | all of it | `Ok(len)` | |
    /// | some, then time ran out | `Ok(n)` | [`is_timeout`](TcpSocket::is_timeout) |
    /// | nothing, time ran out | `Err(Timeout)` | `is_timeout()`; the next call goes on |
    /// | some, then the end of the stream | `Ok(n)` | the next call returns `Ok(0)` |
    /// | the end of the stream | `Ok(0)` | [`is_eof`](TcpSocket::is_eof); again `Ok(0)` |
    /// | some, then an I/O error | `Ok(n)` | [`is_error`](TcpSocket::is_error); the next call returns `Err(Io)` |
    /// | some, then closed, aborted or shut down | `Ok(n)` | the next call returns `Err(Closed)` and so on |
    /// | nothing, then one of those | `Err(…)` | |
    /// | `buf` is empty | `Ok(0)` at once | |
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout).
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hello, world")?;
    /// let mut buf = [0; 5];
    /// assert_eq!(socket.get(&mut buf)?, 5);
    /// assert_eq!(&buf, b"hello");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn get(&mut self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() {
            self.begin_nothing();
            return Ok(0);
        }
        if self.take_at_once(buf) {
            return Ok(buf.len());
        }
        self.begin()?;
        let (done, stop) = self.fill_up(buf, &mut self.deadline());
        self.finish_partial(done, stop)
    }

    /// Reads `len` bytes into a new vector, fewer where [`get`](TcpSocket::get) returns less. Memory is allocated for
    /// the bytes that come, not for `len`.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hello")?;
    /// peer.close();
    /// assert_eq!(socket.get_bytes(100)?, b"hello");
    /// assert_eq!(socket.get_bytes(100)?, b"");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn get_bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        if len == 0 {
            self.begin_nothing();
            return Ok(Vec::new());
        }
        self.begin()?;
        let (bytes, stop) = self.fill_vec(len);
        self.finish_partial(bytes.len(), stop).map(|_| bytes)
    }

    /// Reads the next byte; `None` at the end of the stream.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout), then returns [`Error::Timeout`].
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"a")?;
    /// peer.close();
    /// assert_eq!(socket.get_byte()?, Some(b'a'));
    /// assert_eq!(socket.get_byte()?, None);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[inline]
    pub fn get_byte(&mut self) -> Result<Option<u8>> {
        // Most bytes are in the buffer, with others behind them: to take one concerns no queue.
        if self.opening.may_begin()
            && let Some(byte) = self.input.buffer.next_fast()
        {
            self.timed_out = false;
            self.done = 1;
            return Ok(Some(byte));
        }
        self.next_byte()
    }

    fn next_byte(&mut self) -> Result<Option<u8>> {
        self.have_input()?;
        let mut byte = [0];
        self.done = self.input.buffer.take(&mut byte);
        self.publish_unread();
        Ok((self.done > 0).then_some(byte[0]))
    }

    /// Returns the next byte without taking it; `None` at the end of the stream.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout), then returns [`Error::Timeout`].
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"a")?;
    /// assert_eq!(socket.peek()?, Some(b'a'));
    /// assert_eq!(socket.get_byte()?, Some(b'a'));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.unread()?.first().copied())
    }

    /// The bytes that the socket has read ahead, as [`BufReader::buffer`](std::io::BufReader::buffer). Doesn't block,
    /// and asks the system for nothing.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// assert_eq!(socket.buffer(), b"");
    /// peer.put_all(b"hello")?;
    /// socket.peek()?;
    /// assert_eq!(socket.buffer(), b"hello");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn buffer(&self) -> &[u8] {
        self.input.buffer.unread()
    }

    /// [`peek`](TcpSocket::peek), by the name that U++'s parsers use.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"123 apples")?;
    /// let mut number = 0;
    /// while let Some(digit @ b'0'..=b'9') = socket.term()? {
    ///     number = 10 * number + u32::from(digit - b'0');
    ///     socket.get_byte()?;
    /// }
    /// assert_eq!(number, 123);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn term(&mut self) -> Result<Option<u8>> {
        self.peek()
    }

    /// Fills `buf`, or fails and takes nothing.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout) in all.
    ///
    /// Any failure puts the socket into the error state. What has come stays in the socket: after
    /// [`clear_error`](TcpSocket::clear_error) the next read starts with its first byte. The content of `buf` is then
    /// unspecified.
    ///
    /// # Errors
    ///
    /// [`Error::UnexpectedEof`] if the stream ends first, [`Error::Timeout`] if it takes too long.
    ///
    /// ```
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"1234")?;
    /// peer.close();
    /// let mut buf = [0; 8];
    /// assert!(matches!(socket.get_all(&mut buf), Err(Error::UnexpectedEof)));
    /// socket.clear_error();
    /// socket.get_all(&mut buf[..4])?;
    /// assert_eq!(&buf[..4], b"1234");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_all(&mut self, buf: &mut [u8]) -> Result<()> {
        if buf.is_empty() {
            self.begin_nothing();
            return Ok(());
        }
        if self.take_at_once(buf) {
            return Ok(());
        }
        self.begin()?;
        let (done, stop) = self.fill_up(buf, &mut self.deadline());
        if done < buf.len() {
            return self.fail_and_put_back(&buf[..done], stop);
        }
        self.done = done;
        Ok(())
    }

    /// Reads `len` bytes into a new vector, or fails and takes nothing, as [`get_all`](TcpSocket::get_all).
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hello")?;
    /// assert_eq!(socket.get_all_bytes(4)?, b"hell");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn get_all_bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        if len == 0 {
            self.begin_nothing();
            return Ok(Vec::new());
        }
        self.begin()?;
        let (bytes, stop) = self.fill_vec(len);
        if bytes.len() < len {
            return self.fail_and_put_back(&bytes, stop);
        }
        self.done = len;
        Ok(bytes)
    }

    /// Fills `buf` from what was read ahead, if the fast path may.
    #[inline]
    fn take_at_once(&mut self, buf: &mut [u8]) -> bool {
        let at_once = self.input.buffer.fast_len() >= buf.len() && self.opening.may_begin();
        if at_once {
            self.timed_out = false;
            self.done = self.input.buffer.take(buf);
        }
        at_once
    }

    /// Reads until `buf` is full or the stream ends. Returns how many bytes that were and, if something else stopped
    /// it, the error.
    fn fill_up(&mut self, buf: &mut [u8], deadline: &mut Deadline) -> (usize, Option<Error>) {
        let mut done = 0;
        while done < buf.len() {
            match self.some_into(&mut buf[done..], deadline) {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    deadline.add_done(count);
                }
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }

    fn fill_vec(&mut self, len: usize) -> (Vec<u8>, Option<Error>) {
        let mut deadline = self.deadline();
        let mut bytes = Vec::new();
        loop {
            let done = bytes.len();
            bytes.resize(len.min(done + done.clamp(*STEP.start(), *STEP.end())), 0);
            let asked = bytes.len() - done;
            let (count, stop) = self.fill_up(&mut bytes[done..], &mut deadline);
            bytes.truncate(done + count);
            if count < asked || bytes.len() == len {
                return (bytes, stop);
            }
        }
    }

    /// Reads something into `buf`, which is not empty. Zero means the end of the stream.
    fn some_into(&mut self, buf: &mut [u8], deadline: &mut Deadline) -> Result<usize> {
        if self.input.buffer.is_empty() && buf.len() >= CHUNK && !self.input.is_eof() {
            let waits_first = self.should_wait_first(deadline);
            let try_wait = TryWait::new("get", Direction::Read, WaitEvents::READ, &self.raw_wait);
            try_wait.skip_first_try(waits_first);
            return read_by(&self.opening, &mut self.input, try_wait, deadline, |input, source| {
                input.receive_into(buf, source)
            });
        }
        if self.input.buffer.is_empty() {
            self.more_input("get", deadline)?;
        }
        let count = self.input.buffer.take(buf);
        self.publish_unread();
        Ok(count)
    }

    /// Begins an operation, and blocks until there is something in the buffer or the stream has ended.
    fn have_input(&mut self) -> Result<()> {
        self.begin()?;
        if self.input.buffer.is_empty() {
            let result = self.more_input("get", &mut self.deadline());
            self.remember_failure(result)?;
        }
        Ok(())
    }

    /// Returns what is in the buffer, once there is something or the stream has ended.
    fn unread(&mut self) -> Result<&[u8]> {
        self.have_input()?;
        self.publish_unread();
        Ok(self.input.buffer.unread())
    }

    /// Whether a read should wait before its first `recv(2)`, and has time to.
    pub(super) fn should_wait_first(&mut self, deadline: &Deadline) -> bool {
        !deadline.is_zero() && self.input.should_wait_first(self.opening.readiness().load())
    }

    /// Reads more into the buffer. False means the end of the stream.
    pub(super) fn more_input(&mut self, name: &'static str, deadline: &mut Deadline) -> Result<bool> {
        if self.input.is_eof() {
            return Ok(false);
        }
        let waits_first = self.should_wait_first(deadline);
        let try_wait = TryWait::new(name, Direction::Read, WaitEvents::READ, &self.raw_wait);
        try_wait.skip_first_try(waits_first);
        let count = read_by(&self.opening, &mut self.input, try_wait, deadline, Input::fill)?;
        Ok(count > 0)
    }
}

/// Runs `attempt` on the input, and waits while it would block.
pub(super) fn read_by<T>(
    opening: &Opening,
    input: &mut Input,
    try_wait: TryWait<'_>,
    deadline: &mut Deadline,
    mut attempt: impl FnMut(&mut Input, Source<'_>) -> io::Result<T>,
) -> Result<T> {
    let mut in_use = opening.enter()?;
    let result = try_wait.run(&mut in_use, deadline, |socket, reported| {
        input.note_report(reported);
        attempt(input, Source { socket, opening })
    });
    input.note_report(try_wait.pending_report());
    result
}

impl Read for TcpSocket {
    /// Returns as soon as there is something, unlike [`get`](TcpSocket::get).
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout). An error is an [`io::Error`] of the same
    /// [`kind`](Error::kind), with the [`Error`] inside.
    ///
    /// ```
    /// use std::io::Read;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hello")?;
    /// let mut buf = [0; 100];
    /// let count = socket.read(&mut buf)?;
    /// assert!((1..=5).contains(&count));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.take_at_once(buf) {
            return Ok(buf.len());
        }
        self.begin()?;
        let result = self.some_into(buf, &mut self.deadline());
        self.done = self.remember_failure(result)?;
        Ok(self.done)
    }
}

impl BufRead for TcpSocket {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.input.buffer.fast_len() > 0 && self.opening.may_begin() {
            self.begin_nothing();
            return Ok(self.input.buffer.unread());
        }
        Ok(self.unread()?)
    }

    #[inline]
    fn consume(&mut self, amount: usize) {
        self.input.buffer.consume(amount);
        self.publish_unread();
    }
}
