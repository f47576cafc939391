//! Writing: `put` and its family.

use std::io::{self, IoSlice};
use std::net::Shutdown;

use socket2::SockRef;

use super::deciphering::{Flushing, SystemWire, after_handshake};
use super::sending::Sending;
use super::source::Source;
use super::try_wait::{Failed, Progress, TryWait, WRITING, try_at_once};
use super::{Directions, Outcome, TcpSocket};
use crate::error::{Error, Result};
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse};
use crate::sys;
use crate::tls::{Session, Written};

impl TcpSocket {
    /// Sends `data`; returns less than its length only when time ran out, an error came up, or the socket was ended.
    ///
    /// Sent means handed over to the system. Results have the same meaning as those of [`get`](TcpSocket::get), and
    /// [`done`](TcpSocket::done) is exactly how many bytes were sent. (Under TLS, how many were taken: see
    /// [`unsent`](TcpSocket::unsent).) It never raises SIGPIPE: a peer that is gone is an error.
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
        match self.send_at_once(data) {
            Ok(count) if count == data.len() => {
                self.last = Outcome::moved(count);
                Ok(count)
            }
            first => self.put_the_rest(data, first),
        }
    }

    #[inline(never)]
    fn put_the_rest(&mut self, data: &[u8], first: First) -> Result<usize> {
        let (done, stop) = self.send_the_rest("put", data, first)?;
        self.finish_partial(Directions::WRITE, done, stop)
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
        match self.send_at_once(data) {
            Ok(count) if count == data.len() => {
                self.last = Outcome::moved(count);
                Ok(())
            }
            first => self.put_all_the_rest(data, first),
        }
    }

    #[inline(never)]
    fn put_all_the_rest(&mut self, data: &[u8], first: First) -> Result<()> {
        let (done, stop) = self.send_the_rest("put_all", data, first)?;
        self.last.set_done(done);
        match stop {
            None => Ok(()),
            Some(error) => self.fail(Directions::WRITE, error),
        }
    }

    /// Sends what was taken from the program and is not with the system yet.
    ///
    /// Only under TLS is there ever such, after a `put` that was cut short: see [`unsent`](TcpSocket::unsent). Else this
    /// returns at once. Blocks for at most [`timeout`](TcpSocket::timeout), then returns [`Error::Timeout`], which isn't
    /// sticky.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.put_all(b"hello")?;
    /// socket.flush()?;
    /// assert_eq!(socket.unsent(), 0);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn flush(&mut self) -> Result<()> {
        match self.special.session() {
            None => Ok(()),
            Some(_) => self.flush_session(),
        }
    }

    #[inline(never)]
    fn flush_session(&mut self) -> Result<()> {
        if self.unsent() == 0 {
            return Ok(());
        }
        self.begin(Directions::WRITE)?;
        let mut progress = Progress::new(self.deadline());
        let result = self
            .opening
            .enter()
            .and_then(|mut in_use| match self.special.session() {
                None => Ok(()),
                Some(session) => self.flush_within("flush", session, &mut in_use, &mut progress),
            });
        self.remember_failure(Directions::WRITE, result)
    }

    /// How many bytes were taken from the program and are not with the system yet.
    ///
    /// On a plain connection none. Under TLS, what was enciphered can't be taken back: where a `put` is cut short by its limit,
    /// it counts what was taken, and this is how much of that has still to be sent, as it goes over the wire. The next operation
    /// of either direction sends it, and so does [`flush`](TcpSocket::flush). Doesn't block.
    ///
    /// ```
    /// assert_eq!(wakesock::TcpSocket::new().unsent(), 0);
    /// ```
    pub fn unsent(&self) -> usize {
        self.special.session().map_or(0, Session::unsent)
    }

    /// What a queue should watch for, beside what the program itself waits for: [`WRITE`](WaitEvents::WRITE) while something
    /// is [unsent](TcpSocket::unsent). It may change with every operation, so subscribe again after each, also after one that has
    /// timed out.
    ///
    /// ```
    /// use wakesock::{SocketEventQueue, WaitEvents};
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let queue = SocketEventQueue::new()?;
    /// queue.subscribe(&socket, WaitEvents::READ | socket.wants(), "client")?;
    /// # peer.put_all(b"!")?;
    /// assert!(queue.wait(None)?[0].is_triggered_read());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wants(&self) -> WaitEvents {
        if self.unsent() > 0 {
            WaitEvents::WRITE
        } else {
            WaitEvents::empty()
        }
    }

    /// Ends the sending half: the peer sees the end of the stream once it has read all. Reading goes on. Doesn't block.
    ///
    /// Under TLS that is close_notify, and then the end of TCP's stream. What is [unsent](TcpSocket::unsent) goes before them,
    /// with the next operation if need be.
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
    #[doc(alias = "CloseWrite")]
    pub fn shutdown(&self) -> Result<()> {
        self.ready(Directions::WRITE)?;
        let in_use = self.opening.enter()?;
        let ended = if let Some(session) = self.special.session() {
            let ended = session.end_sending(&mut SystemWire::for_writing(Source::of(&in_use)), false);
            self.leave_unsent(session);
            ended
        } else {
            SockRef::from(&in_use.socket()).shutdown(Shutdown::Write)
        };
        ended.map_err(|error| self.opening.io_error("shutdown", "of", error))
    }

    /// Goes on with a write of `data` of which the short way has come to `first`. Returns how much was sent and, if something
    /// stopped it, the error; fails if no operation may begin.
    pub(super) fn send_the_rest(
        &mut self,
        name: &'static str,
        data: &[u8],
        first: First,
    ) -> Result<(usize, Option<Error>)> {
        if data.is_empty() {
            self.begin_nothing();
            return Ok((0, None));
        }
        let mut progress = self.progress();
        let first = self.encipher_at_once(&[IoSlice::new(data)], first, &mut progress);
        self.begin_after(Directions::WRITE, first, &mut progress)?;
        match first {
            Some(count) if count == data.len() && progress.is_new() => Ok((count, None)),
            first => Ok(self.send(name, data, first, &mut progress)),
        }
    }

    /// Enciphers and sends something in the short way, if nothing but TLS is special: else `first` is what there is. Why not all
    /// was sent is noted in `progress`.
    pub(super) fn encipher_at_once(
        &self,
        slices: &[IoSlice<'_>],
        first: First,
        progress: &mut Progress,
    ) -> Option<usize> {
        let session = match self.special.only_session() {
            // While its halves are apart, what one does may concern the other.
            Some(session) if self.opening.has_one_owner() => session,
            _ => return progress.note(first),
        };
        let mut enciphering = after_handshake(session, |wire| session.write(wire, slices));
        let Written { taken, sent } = progress.note(try_at_once(&self.opening, Direction::Write, &mut enciphering))?;
        if let Err(error) = sent {
            progress.note_failed(error, &self.opening, Direction::Write);
        }
        Some(taken)
    }

    /// Sends something in the short way: by one `send(2)`, if nothing is special.
    #[inline(always)]
    pub(super) fn send_at_once(&self, data: &[u8]) -> First {
        if !self.special.is_none() || data.is_empty() {
            return Err(None);
        }
        try_at_once(&self.opening, Direction::Write, &mut Sending(data))
    }

    /// Sends `data`, of which `first` bytes are sent already. Returns how much was sent and, if something stopped it, the
    /// error.
    pub(super) fn send(
        &self,
        name: &'static str,
        data: &[u8],
        first: Option<usize>,
        progress: &mut Progress,
    ) -> (usize, Option<Error>) {
        let mut done = first.unwrap_or(0);
        let mut in_use = match self.opening.enter() {
            Ok(in_use) => in_use,
            Err(error) => return (done, Some(error)),
        };
        if let Some(session) = self.special.session() {
            return session.while_putting(|| self.send_enciphered(name, session, data, done, &mut in_use, progress));
        }
        let try_wait = TryWait::new(name, WRITING, &self.raw_wait);
        while done < data.len() {
            if sys::SHORT_WRITE_FILLS && done > 0 {
                progress.would_block(&self.opening, Direction::Write);
            }
            let mut sending = Sending(&data[done..]);
            let sent = in_use
                .check()
                .and_then(|()| try_wait.go_on(&mut in_use, progress, &mut sending));
            match sent {
                Ok(count) => {
                    done += count;
                    progress.deadline.add_done(count);
                }
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }

    /// Sends `data` under TLS, and waits until the system has all of it. Returns how much was taken and, if something stopped
    /// it, the error.
    #[inline(never)]
    fn send_enciphered(
        &self,
        name: &'static str,
        session: &Session,
        data: &[u8],
        mut done: usize,
        in_use: &mut InUse<'_>,
        progress: &mut Progress,
    ) -> (usize, Option<Error>) {
        let mut stop = None;
        let mut is_sent = progress.is_new();
        while done < data.len() && stop.is_none() {
            let slices = [IoSlice::new(&data[done..])];
            let taken = in_use
                .check()
                .and_then(|()| self.encipher_within(name, session, &slices, in_use, progress));
            match taken {
                Ok(written) => {
                    done += written.taken;
                    progress.deadline.add_done(written.taken);
                    is_sent = written.sent.is_ok();
                    self.note_unsent(written.sent, progress);
                }
                Err(error) => stop = Some(error),
            }
        }
        if stop.is_none() && !is_sent {
            stop = self.flush_within(name, session, in_use, progress).err();
        }
        (done, stop)
    }

    /// Takes something of `slices` under TLS, if nothing was taken `first`, and waits until the system has it.
    pub(super) fn write_enciphered(
        &self,
        name: &'static str,
        session: &Session,
        slices: &[IoSlice<'_>],
        first: Option<usize>,
        progress: &mut Progress,
    ) -> Result<(usize, Option<Error>)> {
        let mut in_use = match (self.opening.enter(), first) {
            (Ok(in_use), _) => in_use,
            (Err(error), None) => return Err(error),
            (Err(error), Some(taken)) => return Ok((taken, (!progress.is_new()).then_some(error))),
        };
        let (taken, is_sent) = match first {
            Some(taken) => (taken, progress.is_new()),
            None => {
                let Written { taken, sent } = self.encipher_within(name, session, slices, &mut in_use, progress)?;
                let is_sent = sent.is_ok();
                self.note_unsent(sent, progress);
                (taken, is_sent)
            }
        };
        if is_sent {
            return Ok((taken, None));
        }
        let stop = self.flush_within(name, session, &mut in_use, progress).err();
        Ok((taken, stop))
    }

    /// Notes why an attempt to send was in vain just now. While halves are apart, the other may have made room since.
    fn note_unsent(&self, sent: io::Result<()>, progress: &mut Progress) {
        if let Err(error) = sent
            && (self.opening.has_one_owner() || error.kind() != io::ErrorKind::WouldBlock)
        {
            progress.note_failed(error, &self.opening, Direction::Write);
        }
    }

    /// Waits until something of `slices` is taken. How much that was.
    fn encipher_within(
        &self,
        name: &'static str,
        session: &Session,
        slices: &[IoSlice<'_>],
        in_use: &mut InUse<'_>,
        progress: &mut Progress,
    ) -> Result<Written> {
        let try_wait = TryWait::new(name, WRITING, &self.raw_wait);
        let mut enciphering = after_handshake(session, |wire| session.write(wire, slices));
        let taken = try_wait.go_on(in_use, progress, &mut enciphering);
        if taken.is_err() {
            self.leave_unsent(session);
        }
        taken
    }

    /// Waits until the system has all that was taken.
    fn flush_within(
        &self,
        name: &'static str,
        session: &Session,
        in_use: &mut InUse<'_>,
        progress: &mut Progress,
    ) -> Result<()> {
        let try_wait = TryWait::new(name, WRITING, &self.raw_wait);
        let result = try_wait.go_on(in_use, progress, &mut Flushing(session));
        self.leave_unsent(session);
        result
    }

    /// Sends what goes at once of what was taken and is unsent: for reads that find the end without a look at the session.
    #[cold]
    pub(super) fn try_to_send(&self) {
        if let Some(session) = self.special.session()
            && let Ok(in_use) = self.opening.enter()
        {
            // Whether it does is for those to tell that write.
            let _ = session.flush(&mut SystemWire::for_writing(Source::of(&in_use)));
        }
    }

    /// Lets the other half know of what is unsent, if there is something: it waits for room to send it, too.
    fn leave_unsent(&self, session: &Session) {
        if !self.opening.has_one_owner() && session.unsent() > 0 {
            self.opening.wake();
        }
    }
}

/// What a first attempt to send has come to: how many bytes, or why none.
pub(super) type First = Result<usize, Option<Failed>>;
