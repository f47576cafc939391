//! The standard library's `Write`. As with [`std_read`](super::std_read), each call is one operation, whose limit is not
//! sticky.

use std::fmt;
use std::io::{self, IoSlice, Write};

use super::sending::{Sending, SendingSlices};
use super::try_wait::{Attempt, TryWait, WRITING, try_at_once};
use super::write::First;
use super::{Directions, Outcome, TcpSocket, TcpWriter};
use crate::error::Result;
use crate::opening::Direction;
use crate::sys;

impl TcpSocket {
    /// Sends something, after a first attempt that was in vain.
    #[inline(never)]
    fn write_the_rest<A>(
        &mut self,
        name: &'static str,
        first: First,
        slices: &[IoSlice<'_>],
        sending: &mut A,
    ) -> Result<usize>
    where
        A: Attempt<Value = usize>,
    {
        let mut progress = self.progress();
        let first = self.encipher_at_once(slices, first, &mut progress);
        self.begin_after(Directions::WRITE, first, &mut progress)?;
        if let Some(session) = self.special.session() {
            let result = session.while_putting(|| self.write_enciphered(name, session, slices, first, &mut progress));
            let (taken, stop) = self.remember_failure(Directions::WRITE, result)?;
            return self.finish_partial(Directions::WRITE, taken, stop);
        }
        let result = self.opening.enter().and_then(|mut in_use| {
            TryWait::new(name, WRITING, &self.raw_wait).go_on(&mut in_use, &mut progress, sending)
        });
        let count = self.remember_failure(Directions::WRITE, result)?;
        self.last = Outcome::moved(count);
        Ok(count)
    }

    fn write_slices(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        // Those that are empty must not be all that one call takes.
        let Some(first) = slices.iter().position(|slice| !slice.is_empty()) else {
            self.begin_nothing();
            return Ok(0);
        };
        let slices = &slices[first..];
        let mut sending = SendingSlices(&slices[..slices.len().min(sys::MOST_SLICES)]);
        let first = if self.special.is_none() {
            try_at_once(&self.opening, Direction::Write, &mut sending)
        } else {
            Err(None)
        };
        match first {
            Ok(count) => {
                self.last = Outcome::moved(count);
                Ok(count)
            }
            first => self.write_the_rest("write_vectored", first, slices, &mut sending),
        }
    }

    #[inline(never)]
    fn write_all_the_rest(&mut self, data: &[u8], first: First) -> Result<()> {
        let (done, stop) = self.send_the_rest("write_all", data, first)?;
        self.last.set_done(done);
        self.remember_failure(Directions::WRITE, stop.map_or(Ok(()), Err))
    }

    fn std_write<T>(&self, result: Result<T>) -> io::Result<T> {
        result.map_err(|error| self.std_error(Directions::WRITE, error))
    }
}

/// Each call blocks for at most [`timeout`](TcpSocket::timeout) in all. An error is an [`io::Error`] as that of
/// [`Read`](#impl-Read-for-TcpSocket). No limit puts the socket into the error state.
impl Write for TcpSocket {
    /// Returns as soon as something was sent, unlike [`put`](TcpSocket::put).
    ///
    /// ```
    /// use std::io::Write;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let data = b"hello";
    /// let sent = socket.write(data)?;
    /// assert_eq!(peer.get_all_bytes(sent)?, data[..sent]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.send_at_once(data) {
            Ok(count) => {
                self.last = Outcome::moved(count);
                Ok(count)
            }
            _ if data.is_empty() => {
                self.begin_nothing();
                Ok(0)
            }
            first => {
                let result = self.write_the_rest("write", first, &[IoSlice::new(data)], &mut Sending(data));
                self.std_write(result)
            }
        }
    }

    /// Sends something of all slices, one behind the other, by one system call: what fits of them, up to 1,024 slices (16 on
    /// illumos and Solaris).
    ///
    /// ```
    /// use std::io::{IoSlice, Write};
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let (header, body) = (b"length: 5\n", b"hello");
    /// let mut left = &mut [IoSlice::new(header), IoSlice::new(body)][..];
    /// while !left.is_empty() {
    ///     let sent = socket.write_vectored(left)?;
    ///     IoSlice::advance_slices(&mut left, sent);
    /// }
    /// assert_eq!(peer.get_all_bytes(15)?, b"length: 5\nhello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.write_slices(slices);
        self.std_write(result)
    }

    /// Sends all of `data`, as [`put_all`](TcpSocket::put_all), but a limit is not sticky. Whatever ends it,
    /// [`done`](TcpSocket::done) says exactly how much was sent.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// // More than the system takes while the peer doesn't read.
    /// let data = vec![b'x'; 64 << 20];
    /// socket.timeout(Duration::from_millis(5));
    /// socket.write_all(&data).unwrap_err();
    /// let sent = socket.done();
    /// # let reader = std::thread::spawn(move || peer.get_bytes(64 << 20));
    /// socket.blocking();
    /// socket.write_all(&data[sent..])?;
    /// # assert_eq!(reader.join().unwrap()?.len(), data.len());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let result = match self.send_at_once(data) {
            Ok(count) if count == data.len() => {
                self.last = Outcome::moved(count);
                return Ok(());
            }
            first => self.write_all_the_rest(data, first),
        };
        self.std_write(result)
    }

    /// Formats, and sends all of it by one [`write_all`](Write::write_all): small pieces don't go out one by one.
    ///
    /// ```
    /// use std::io::Write;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// writeln!(socket, "{} bottles of {}", 99, "beer")?;
    /// assert_eq!(socket.done(), 19);
    /// assert_eq!(peer.get_line()?.as_deref(), Some("99 bottles of beer"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(text) = args.as_str() {
            return self.write_all(text.as_bytes());
        }
        let mut text = String::new();
        match fmt::write(&mut text, args) {
            Ok(()) => self.write_all(text.as_bytes()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// [`TcpSocket::flush`].
    fn flush(&mut self) -> io::Result<()> {
        let result = TcpSocket::flush(self);
        self.std_write(result)
    }
}

/// As `impl Write for TcpSocket`.
impl Write for TcpWriter {
    /// Returns as soon as something was sent, unlike [`put`](TcpWriter::put).
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.half_mut().write(data)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.half_mut().write_vectored(slices)
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.half_mut().write_all(data)
    }

    fn write_fmt(&mut self, args: fmt::Arguments<'_>) -> io::Result<()> {
        self.half_mut().write_fmt(args)
    }

    /// [`TcpWriter::flush`].
    fn flush(&mut self) -> io::Result<()> {
        Write::flush(self.half_mut())
    }
}
