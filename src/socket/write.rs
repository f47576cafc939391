//! Writing: `put` and its family, `Write`.

use std::io::{self, Write};
use std::net::Shutdown;

use socket2::SockRef;

use super::TcpSocket;
use super::try_wait::TryWait;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse, Opening};
use crate::sys;

impl TcpSocket {
    /// Sends `data`; returns less than its length only when time ran out, an error came up, or the socket was ended.
    ///
    /// Sent means handed over to the system. Results have the same meaning as those of [`get`](TcpSocket::get), and
    /// [`done`](TcpSocket::done) is exactly how many bytes were sent. It never raises SIGPIPE: a peer that is gone is
    /// an error.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout).
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// assert_eq!(socket.put(b"hello")?, 5);
    /// assert_eq!(peer.get_all_bytes(5)?, b"hello");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn put(&mut self, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            self.begin_nothing();
            return Ok(0);
        }
        self.begin()?;
        let (done, stop) = self.send(data, "put");
        self.finish_partial(done, stop)
    }

    /// Sends all of `data`, or fails.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout) in all. A failure puts the socket into the error state;
    /// [`done`](TcpSocket::done) is then exactly how many bytes were sent.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it takes too long, [`Error::Io`] if the peer is gone.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.put_all(b"hello")?;
    /// assert_eq!(peer.get_all_bytes(5)?, b"hello");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn put_all(&mut self, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            self.begin_nothing();
            return Ok(());
        }
        self.begin()?;
        let (done, stop) = self.send(data, "put_all");
        self.done = done;
        match stop {
            None => Ok(()),
            Some(error) => self.fail(error),
        }
    }

    /// Ends the sending half: the peer sees the end of the stream once it has read all. Reading goes on. Doesn't block.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the kind `NotConnected` if the connection is gone. Not sticky.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.put_all(b"bye")?;
    /// socket.shutdown()?;
    /// assert_eq!(peer.get_bytes(100)?, b"bye");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn shutdown(&self) -> Result<()> {
        self.ready()?;
        let in_use = self.opening.enter()?;
        SockRef::from(&in_use.socket())
            .shutdown(Shutdown::Write)
            .map_err(|error| Error::io("shutdown", error))
    }

    /// Sends `data`. Returns how much was sent and, if something stopped it, the error.
    fn send(&mut self, data: &[u8], name: &'static str) -> (usize, Option<Error>) {
        let mut in_use = match self.opening.enter() {
            Ok(in_use) => in_use,
            Err(error) => return (0, Some(error)),
        };
        let try_wait = TryWait::new(name, Direction::Write, WaitEvents::WRITE, &self.raw_wait);
        let mut deadline = self.deadline();
        let mut done = 0;
        while done < data.len() {
            match send_some(&self.opening, &mut in_use, &try_wait, &data[done..], &mut deadline) {
                Ok(count) => {
                    done += count;
                    deadline.add_done(count);
                    try_wait.skip_first_try(sys::SHORT_WRITE_FILLS);
                }
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }
}

/// Sends something, waiting while nothing can be sent.
fn send_some(
    opening: &Opening,
    in_use: &mut InUse<'_>,
    try_wait: &TryWait<'_>,
    data: &[u8],
    deadline: &mut Deadline,
) -> Result<usize> {
    try_wait.run(in_use, deadline, |socket, _| {
        let known = opening.readiness().load();
        let send = || sys::send(socket, data);
        let sent = if opening.has_one_owner() {
            send().inspect_err(|error| opening.first_error().remember(error))
        } else {
            opening.first_error().record_while(send)
        };
        opening.note_attempt(known, WaitEvents::WRITE, &sent);
        sent
    })
}

impl Write for TcpSocket {
    /// Returns as soon as something was sent, unlike [`put`](TcpSocket::put).
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout). An error is an [`io::Error`] of the same
    /// [`kind`](Error::kind), with the [`Error`] inside.
    ///
    /// ```
    /// use std::io::Write;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// writeln!(socket, "{} bottles", 99)?;
    /// assert_eq!(peer.get_line()?.as_deref(), Some("99 bottles"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        self.begin()?;
        let mut in_use = self.opening.enter()?;
        let try_wait = TryWait::new("write", Direction::Write, WaitEvents::WRITE, &self.raw_wait);
        let mut deadline = self.deadline();
        let result = send_some(&self.opening, &mut in_use, &try_wait, data, &mut deadline);
        drop(in_use);
        self.done = self.remember_failure(result)?;
        Ok(self.done)
    }

    /// Does nothing: what was written is with the system.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
