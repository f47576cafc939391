//! The standard library's `Read` and `BufRead`.
//!
//! Their methods are operations like others: each has one limit for the whole call, and where that ends it, what has come is
//! left to the next read. No limit is sticky here.

use std::io::{self, BufRead, IoSliceMut, Read};

use super::input::Input;
use super::source::Source;
use super::spare::CHUNK;
use super::try_wait::Progress;
use super::{Directions, Outcome, TcpReader, TcpSocket};
use crate::error::{Error, Result};
use crate::sys;

impl TcpSocket {
    #[inline(never)]
    fn read_something(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut progress = self.progress();
        let count = match self.get_at_once(buf, &mut progress) {
            Some(count) => {
                progress.finish();
                count
            }
            None => self.read_the_rest(buf, &mut progress)?,
        };
        self.last = Outcome::moved(count);
        Ok(count)
    }

    #[inline(never)]
    fn read_the_rest(&mut self, buf: &mut [u8], progress: &mut Progress) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.begin_after(Directions::READ, None, progress)?;
        let result = self.some_into("read", buf, progress);
        self.remember_failure(Directions::READ, result)
    }

    fn read_into_slices(&mut self, slices: &mut [IoSliceMut<'_>]) -> Result<usize> {
        // Those that are empty must not be all that one call takes.
        let Some(first) = slices.iter().position(|slice| !slice.is_empty()) else {
            self.begin_nothing();
            return Ok(0);
        };
        let slices = &mut slices[first..];
        let count = slices.len().min(sys::MOST_SLICES);
        let slices = &mut slices[..count];
        let room = slices
            .iter()
            .fold(0_usize, |all, slice| all.saturating_add(slice.len()));
        self.begin(Directions::READ)?;
        let mut progress = Progress::new(self.deadline());
        let is_long = self.input.buffer.is_empty() && room >= CHUNK && !self.input.is_eof();
        let result = if is_long {
            self.read_by("read_vectored", &mut progress, |input| {
                input.reading(|input: &mut Input, source: Source<'_>| input.scatter(slices, source))
            })
        } else {
            self.more_if_empty("read_vectored", &mut progress)
                .map(|()| slices.iter_mut().map(|slice| self.input.buffer.take(slice)).sum())
        };
        self.publish_unread();
        let count = self.remember_failure(Directions::READ, result)?;
        self.last = Outcome::moved(count);
        Ok(count)
    }

    /// Begins an operation, and reads until `delimiter` has come. Returns how many bytes there are with it, or without it if
    /// the stream ends.
    fn gather_until(&mut self, name: &'static str, delimiter: u8) -> Result<usize> {
        self.begin(Directions::READ)?;
        let mut progress = self.gathering();
        loop {
            if let Some(at) = self.input.buffer.find(delimiter) {
                return Ok(at + 1);
            }
            self.input.buffer.note_absent(delimiter);
            match self.gather_more(name, 0, &mut progress) {
                Ok(true) => {}
                Ok(false) => return Ok(self.input.buffer.len()),
                Err(error) => return self.leave(error),
            }
        }
    }

    /// Begins an operation, and reads until the stream ends. Returns how many bytes there are.
    fn gather_to_end(&mut self, name: &'static str) -> Result<usize> {
        self.begin(Directions::READ)?;
        let mut progress = self.gathering();
        loop {
            match self.gather_more(name, 0, &mut progress) {
                Ok(true) => {}
                Ok(false) => return Ok(self.input.buffer.len()),
                Err(error) => return self.leave(error),
            }
        }
    }

    /// Takes `count` bytes out of the buffer, and ends an operation.
    fn take_gathered(&mut self, count: usize) {
        self.input.buffer.consume(count);
        self.publish_unread();
        self.last = Outcome::moved(count);
    }

    /// Moves `count` bytes out of the buffer behind those in `text`, if they are UTF-8. Else they stay.
    fn take_text(&mut self, name: &'static str, text: &mut String, count: usize) -> Result<usize> {
        let Ok(gathered) = str::from_utf8(&self.input.buffer.unread()[..count]) else {
            return self.leave(Error::InvalidUtf8);
        };
        if let Err(error) = text.try_reserve(count) {
            return self.leave(self.opening.io_error(name, "from", error.into()));
        }
        text.push_str(gathered);
        self.take_gathered(count);
        Ok(count)
    }

    fn take_until(&mut self, delimiter: u8, bytes: &mut Vec<u8>) -> Result<usize> {
        let count = self.gather_until("read_until", delimiter)?;
        if let Err(error) = bytes.try_reserve(count) {
            return self.leave(self.opening.io_error("read_until", "from", error.into()));
        }
        bytes.extend_from_slice(&self.input.buffer.unread()[..count]);
        self.take_gathered(count);
        Ok(count)
    }

    fn take_text_line(&mut self, text: &mut String) -> Result<usize> {
        let count = self.gather_until("read_line", b'\n')?;
        let taken = self.take_text("read_line", text, count);
        if let Err(Error::InvalidUtf8) = taken {
            self.take_gathered(count);
        }
        taken
    }

    /// Reads to `delimiter`, and drops what it reads. Returns how many bytes that were.
    fn skip(&mut self, delimiter: u8) -> Result<usize> {
        self.begin(Directions::READ)?;
        let mut progress = Progress::new(self.deadline());
        let mut skipped = 0;
        loop {
            let found = self.input.buffer.find(delimiter);
            let count = found.map_or(self.input.buffer.len(), |at| at + 1);
            self.take_gathered(count);
            skipped += count;
            self.last = Outcome::moved(skipped);
            if found.is_some() {
                return Ok(skipped);
            }
            let more = self.gather_more("skip_until", 0, &mut progress);
            match self.remember_failure(Directions::READ, more) {
                Ok(true) => {}
                Ok(false) => return Ok(skipped),
                Err(error) => return Err(error),
            }
        }
    }

    fn read_on_to_end(&mut self, bytes: &mut Vec<u8>) -> Result<usize> {
        self.begin(Directions::READ)?;
        let mut progress = Progress::new(self.deadline());
        let (done, stop) = self.append("read_to_end", bytes, usize::MAX, CHUNK, &mut progress);
        self.last.set_done(done);
        match stop {
            None => Ok(done),
            Some(error) => self.remember_failure(Directions::READ, Err(error)),
        }
    }

    /// The standard library's error for one of an operation of these directions.
    ///
    /// A limit of zero is what the standard library's programs know as non-blocking mode. One that was sticky is no limit
    /// that was reached just now: to try again would be in vain.
    #[cold]
    pub(super) fn std_error(&self, directions: Directions, error: Error) -> io::Error {
        let is_zero = matches!(error, Error::Timeout) && self.limit.is_some_and(|limit| limit.is_zero());
        if is_zero && self.special.error(directions).is_none() {
            io::Error::new(io::ErrorKind::WouldBlock, error)
        } else {
            error.into()
        }
    }

    fn std_read<T>(&self, result: Result<T>) -> io::Result<T> {
        result.map_err(|error| self.std_error(Directions::READ, error))
    }
}

/// An error is an [`io::Error`] of the same [`kind`](Error::kind), with the [`Error`] inside; but where a
/// [`timeout`](TcpSocket::timeout) of zero is over, its kind is `WouldBlock`, as of a non-blocking socket.
///
/// Each call blocks for at most [`timeout`](TcpSocket::timeout) in all, however many reads it takes. At that limit nothing is
/// lost: the next read starts with the first byte that the call was to return. No limit puts the socket into the error state.
impl Read for TcpSocket {
    /// Returns as soon as there is something, unlike [`get`](TcpSocket::get).
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
        // As `std::io::Bytes` reads: byte by byte.
        if self.input.buffer.fast_len() > buf.len() && self.opening.may_begin() {
            let count = self.input.buffer.take(buf);
            self.last = Outcome::moved(count);
            return Ok(count);
        }
        let result = self.read_something(buf);
        self.std_read(result)
    }

    /// Reads into all slices, one after the other, by one system call if nothing was read ahead. Returns as soon as there is
    /// something.
    ///
    /// ```
    /// use std::io::{IoSliceMut, Read};
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"headbody")?;
    /// # socket.peek_all(8)?;
    /// let (mut head, mut body) = ([0; 4], [0; 1000]);
    /// let count = socket.read_vectored(&mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)])?;
    /// assert_eq!((count, &head, &body[..4]), (8, b"head", &b"body"[..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let result = self.read_into_slices(slices);
        self.std_read(result)
    }

    /// Fills `buf`, or takes nothing: as [`get_all`](TcpSocket::get_all), but a limit and the end of the stream are not sticky.
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let mut number = [0; 4];
    /// peer.put_all(&[0, 0])?;
    /// socket.timeout(Duration::from_millis(5));
    /// assert_eq!(socket.read_exact(&mut number).unwrap_err().kind(), ErrorKind::TimedOut);
    /// peer.put_all(&[1, 2])?;
    /// # socket.blocking();
    /// socket.read_exact(&mut number)?;
    /// assert_eq!(u32::from_be_bytes(number), 258);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let result = self.get_whole("read_exact", buf, TcpSocket::leave);
        self.std_read(result)
    }

    /// Appends what comes until the stream ends. If something else ends the call, what has come is in `buf`, and
    /// [`done`](TcpSocket::done) says how much that is.
    ///
    /// ```
    /// use std::io::Read;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"all there is")?;
    /// peer.close();
    /// let mut bytes = Vec::new();
    /// assert_eq!(socket.read_to_end(&mut bytes)?, 12);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let result = self.read_on_to_end(buf);
        self.std_read(result)
    }

    /// Appends what comes until the stream ends, if that is UTF-8. Else, and if something else ends the call, `buf` is as it
    /// was, and the socket has what has come.
    ///
    /// ```
    /// use std::io::Read;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all("größer".as_bytes())?;
    /// peer.close();
    /// assert_eq!(std::io::read_to_string(&mut socket)?, "größer");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        let result = self
            .gather_to_end("read_to_string")
            .and_then(|count| self.take_text("read_to_string", buf, count));
        self.std_read(result)
    }
}

/// What is said at [`Read`] holds here, too. So [`lines`](BufRead::lines) and [`split`](BufRead::split) lose nothing when a
/// limit ends them in the middle of a line: the next item is the whole line.
///
/// ```
/// use std::io::{BufRead, ErrorKind};
/// use std::time::Duration;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let mut peer = wakesock::TcpSocket::from(peer);
/// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
/// socket.timeout(Duration::from_millis(50));
/// peer.put_all(b"half")?;
/// let mut lines = socket.lines();
/// assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
/// peer.put_all(b" a line\n")?;
/// # let line = loop {
/// #     match lines.next().unwrap() {
/// #         Err(error) if error.kind() == ErrorKind::TimedOut => {}
/// #         line => break line,
/// #     }
/// # };
/// # let mut lines = std::iter::once(line);
/// assert_eq!(lines.next().unwrap()?, "half a line");
/// # Ok::<(), std::io::Error>(())
/// ```
impl BufRead for TcpSocket {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.input.buffer.fast_len() > 0 && self.opening.may_begin() {
            self.begin_nothing();
            return Ok(self.input.buffer.unread());
        }
        if let Err(error) = self.next_unread("fill_buf").map(drop) {
            return Err(self.std_error(Directions::READ, error));
        }
        Ok(self.input.buffer.unread())
    }

    #[inline]
    fn consume(&mut self, amount: usize) {
        self.input.buffer.consume(amount);
        self.publish_unread();
    }

    /// Appends what comes up to `delimiter` and with it or, if the stream ends first, to its end.
    ///
    /// Until it is complete it is in the socket. There is no bound to its length: where the peer is not to be trusted,
    /// [`get_line_bytes`](TcpSocket::get_line_bytes) has one.
    fn read_until(&mut self, delimiter: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        let result = self.take_until(delimiter, buf);
        self.std_read(result)
    }

    /// Appends a line with its end or, if the stream ends first, what there is of it.
    ///
    /// Until it is complete it is in the socket. There is no bound to its length: where the peer is not to be trusted,
    /// [`get_line`](TcpSocket::get_line) has one. A line that is not UTF-8 is dropped, and is an error: so
    /// [`lines`](BufRead::lines) goes on with the next one.
    fn read_line(&mut self, buf: &mut String) -> io::Result<usize> {
        let result = self.take_text_line(buf);
        self.std_read(result)
    }

    /// Drops what comes up to `delimiter` and with it. What was dropped when a limit ends the call stays so: the next call
    /// goes on.
    fn skip_until(&mut self, delimiter: u8) -> io::Result<usize> {
        let result = self.skip(delimiter);
        self.std_read(result)
    }
}

/// As `impl Read for TcpSocket`.
impl Read for TcpReader {
    /// Returns as soon as there is something, unlike [`get`](TcpReader::get).
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.half_mut().read(buf)
    }

    fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.half_mut().read_vectored(slices)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.half_mut().read_exact(buf)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.half_mut().read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.half_mut().read_to_string(buf)
    }
}

/// As `impl BufRead for TcpSocket`.
impl BufRead for TcpReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.half_mut().fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.half_mut().consume(amount);
    }

    fn read_until(&mut self, delimiter: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.half_mut().read_until(delimiter, buf)
    }

    fn read_line(&mut self, buf: &mut String) -> io::Result<usize> {
        self.half_mut().read_line(buf)
    }

    fn skip_until(&mut self, delimiter: u8) -> io::Result<usize> {
        self.half_mut().skip_until(delimiter)
    }
}
