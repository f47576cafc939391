//! Reading: `get` and its family.

use std::time::Duration;

use super::input::{Filling, Input, Receiving};
use super::read_buffer::STEP;
use super::try_wait::{Attempt, Progress, READING, TryWait, run_at_once};
use super::{Directions, Outcome, TcpSocket};
use crate::error::{Error, Result};
use crate::opening::Direction;

impl TcpSocket {
    /// Fills `buf`; returns less only when time ran out, the stream ended, an error came up, or the socket was ended.
    ///
    /// To take what there is without waiting for more, use [`Read::read`](std::io::Read::read).
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
        let mut progress = self.progress();
        match self.get_at_once(buf, &mut progress) {
            Some(count) if count == buf.len() => {
                progress.finish();
                self.last = Outcome::moved(count);
                Ok(count)
            }
            first => self.get_the_rest(buf, first, &mut progress),
        }
    }

    #[inline(never)]
    fn get_the_rest(&mut self, buf: &mut [u8], first: Option<usize>, progress: &mut Progress) -> Result<usize> {
        if buf.is_empty() {
            self.begin_nothing();
            return Ok(0);
        }
        self.begin_after(Directions::READ, first, progress)?;
        let (done, stop) = self.fill_up("get", buf, first, progress);
        self.finish_partial(Directions::READ, done, stop)
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
    #[doc(alias = "Get")]
    pub fn get_bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        if len == 0 {
            self.begin_nothing();
            return Ok(Vec::new());
        }
        self.begin(Directions::READ)?;
        let (bytes, stop) = self.fill_vec("get_bytes", len);
        self.finish_partial(Directions::READ, bytes.len(), stop).map(|_| bytes)
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
    #[doc(alias = "Get")]
    pub fn get_byte(&mut self) -> Result<Option<u8>> {
        // Most bytes are in the buffer, with others behind them: to take one concerns no queue.
        if self.opening.may_begin()
            && let Some(byte) = self.input.buffer.next_fast()
        {
            self.last = Outcome::moved(1);
            return Ok(Some(byte));
        }
        self.next_byte()
    }

    fn next_byte(&mut self) -> Result<Option<u8>> {
        self.have_input("get_byte")?;
        let mut byte = [0];
        let count = self.input.buffer.take(&mut byte);
        self.last = Outcome::moved(count);
        self.publish_unread();
        Ok((count > 0).then_some(byte[0]))
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
        Ok(self.next_unread("peek")?.first().copied())
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
        Ok(self.next_unread("term")?.first().copied())
    }

    /// Reads something into `buf` in the short way: from the buffer, or by one `recv(2)`.
    #[inline(always)]
    pub(super) fn get_at_once(&mut self, buf: &mut [u8], progress: &mut Progress) -> Option<usize> {
        if !self.input.buffer.is_empty() {
            let may_take = buf.len() <= self.input.buffer.fast_len() && self.opening.may_begin();
            return may_take.then(|| self.input.buffer.take(buf));
        }
        if !self.may_read_at_once() || buf.is_empty() {
            return None;
        }
        let waits_first = self.should_wait_first();
        let mut receiving = self.input.reading(Receiving(buf));
        let count = run_at_once(&self.opening, READING, waits_first, progress, &mut receiving)?;
        self.publish_unread();
        Some(count)
    }

    /// Reads more into the buffer in the short way.
    #[inline]
    fn fill_at_once(&mut self, target: usize, progress: &mut Progress) -> Option<usize> {
        if !self.may_read_at_once() {
            return None;
        }
        let waits_first = self.should_wait_first();
        let mut filling = self.input.reading(Filling(target));
        run_at_once(&self.opening, READING, waits_first, progress, &mut filling)
    }

    /// Whether nothing is special about a read from the system.
    #[inline]
    fn may_read_at_once(&self) -> bool {
        (self.special.is_none() || self.may_decipher_at_once()) && !self.input.is_eof()
    }

    /// Whether nothing but TLS is special about a read. While its halves are apart, what one does may concern the other.
    #[inline(never)]
    fn may_decipher_at_once(&self) -> bool {
        self.special.only_session().is_some() && self.opening.has_one_owner()
    }

    /// Reads until `buf` is full or the stream ends, after a `first` step. Returns how many bytes that were and, if
    /// something else stopped it, the error.
    #[inline]
    pub(super) fn fill_up(
        &mut self,
        name: &'static str,
        buf: &mut [u8],
        first: Option<usize>,
        progress: &mut Progress,
    ) -> (usize, Option<Error>) {
        let mut done = first.unwrap_or(0);
        progress.has_read |= done > 0;
        while done < buf.len() {
            if let Err(error) = self.may_read_on(progress) {
                return (done, Some(error));
            }
            match self.some_into(name, &mut buf[done..], progress) {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    progress.deadline.add_done(count);
                }
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }

    fn fill_vec(&mut self, name: &'static str, len: usize) -> (Vec<u8>, Option<Error>) {
        let mut progress = Progress::new(self.deadline());
        let mut bytes = Vec::new();
        let (_, stop) = self.append(name, &mut bytes, len, *STEP.start(), &mut progress);
        (bytes, stop)
    }

    /// Reads `len` bytes behind those in `bytes`, fewer if the stream ends. Memory is made for `first_step` bytes at first.
    /// Returns how many bytes that were and, if something else stopped it, the error.
    pub(super) fn append(
        &mut self,
        name: &'static str,
        bytes: &mut Vec<u8>,
        len: usize,
        first_step: usize,
        progress: &mut Progress,
    ) -> (usize, Option<Error>) {
        let begin = bytes.len();
        loop {
            let done = bytes.len() - begin;
            let step = (len - done).min(done.clamp(first_step, *STEP.end()));
            if let Err(error) = bytes.try_reserve(step) {
                return (done, Some(self.opening.io_error(name, "from", error.into())));
            }
            bytes.resize(begin + done + step, 0);
            let (count, stop) = self.fill_up(name, &mut bytes[begin + done..], None, progress);
            bytes.truncate(begin + done + count);
            if count < step || done + count == len {
                return (done + count, stop);
            }
        }
    }

    /// Reads something into `buf`, which is not empty. Zero means the end of the stream.
    #[inline]
    pub(super) fn some_into(&mut self, name: &'static str, buf: &mut [u8], progress: &mut Progress) -> Result<usize> {
        let count = if !self.input.buffer.is_empty() {
            self.input.buffer.take(buf)
        } else if self.input.is_eof() {
            self.try_to_send();
            return Ok(0);
        } else {
            self.receive(name, buf, progress)?
        };
        self.publish_unread();
        Ok(count)
    }

    #[inline(never)]
    fn receive(&mut self, name: &'static str, buf: &mut [u8], progress: &mut Progress) -> Result<usize> {
        self.read_by(name, progress, |input| input.reading(Receiving(buf)))
    }

    /// Begins an operation, and blocks until there is something in the buffer or the stream has ended.
    fn have_input(&mut self, name: &'static str) -> Result<()> {
        self.begin(Directions::READ)?;
        let result = self.more_if_empty(name, &mut Progress::new(self.deadline()));
        self.remember_failure(Directions::READ, result)
    }

    /// Blocks until there is something in the buffer or the stream has ended.
    pub(super) fn more_if_empty(&mut self, name: &'static str, progress: &mut Progress) -> Result<()> {
        if self.input.buffer.is_empty() {
            self.more_input(name, 0, progress)?;
        }
        Ok(())
    }

    /// Returns what is in the buffer, once there is something or the stream has ended.
    pub(super) fn next_unread(&mut self, name: &'static str) -> Result<&[u8]> {
        self.have_input(name)?;
        self.publish_unread();
        Ok(self.input.buffer.unread())
    }

    /// Whether a read for which the buffer has too little should wait before its first `recv(2)`, and may.
    #[inline]
    pub(super) fn should_wait_first(&mut self) -> bool {
        self.input.has_drained_system()
            && self.limit != Some(Duration::ZERO)
            && self.input.should_wait_first(self.opening.readiness().load())
    }

    /// Whether an operation should wait before its first attempt. Not with a deadline, which may have passed: then no attempt
    /// would follow the wait.
    #[inline]
    pub(super) fn should_wait_before_trying(&mut self) -> bool {
        self.should_wait_first() && !self.opening.side(Direction::Read).has_deadline()
    }

    /// Fails if a read that may not wait has taken all there is, of a socket in a queue. That reports what comes next, be it
    /// the end of the stream, so there is no need to ask for it.
    #[inline]
    pub(super) fn may_read_on(&self, progress: &mut Progress) -> Result<()> {
        let known = self.opening.readiness().load();
        let is_told = known.is_followed() && !known.is_readable();
        if is_told && progress.has_read && progress.deadline.is_zero() && self.input.has_drained_all() {
            return progress.deadline.left().map(drop);
        }
        Ok(())
    }

    /// Reads more into the buffer, in which there are to be `target` bytes in the end; zero, if that is not known. False means
    /// the end of the stream.
    #[inline(never)]
    pub(super) fn more_input(&mut self, name: &'static str, target: usize, progress: &mut Progress) -> Result<bool> {
        if self.input.is_eof() {
            self.try_to_send();
            return Ok(false);
        }
        // A second wait has to know what is left of the limit.
        if progress.is_new()
            && !progress.has_read
            && let Some(count) = self.fill_at_once(target, progress)
        {
            progress.has_read = true;
            return Ok(count > 0);
        }
        let count = self.read_by(name, progress, |input| input.reading(Filling(target)))?;
        Ok(count > 0)
    }

    /// Reads, and waits while that would block: first, where there is hardly anything to read yet.
    pub(super) fn read_by<'a, A: Attempt>(
        &'a mut self,
        name: &'static str,
        progress: &mut Progress,
        attempt: impl FnOnce(&'a mut Input) -> A,
    ) -> Result<A::Value> {
        if progress.is_new() && self.should_wait_before_trying() {
            progress.would_block(&self.opening, Direction::Read);
        }
        let mut in_use = self.opening.enter()?;
        let mut attempt = attempt(&mut self.input);
        let read = TryWait::new(name, READING, &self.raw_wait).go_on(&mut in_use, progress, &mut attempt);
        progress.has_read = true;
        read
    }
}
