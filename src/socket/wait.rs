//! Waiting without reading or writing.

use std::io;
use std::time::{Duration, Instant};

use super::deciphering::handshake;
use super::input::Input;
use super::source::Source;
use super::try_wait::{Attempt, Progress, READING, TryWait, Wait};
use super::{Directions, TcpSocket};
use crate::error::Result;
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse};
use crate::sys;
use crate::tls::{Session, UNFINISHED};

impl TcpSocket {
    /// Blocks until the socket is ready for some of `events`, and says for which.
    ///
    /// It says what `select(2)` would say now: an event that was reported and not dealt with is reported again. Bytes
    /// that the socket has read ahead count as readable. A listener is readable when a client is waiting. With no
    /// events, it blocks until the limit is over or the socket is ended.
    ///
    /// Under TLS, what is to be read is plaintext, or the end, or a failure. A wait for it goes on with the handshake, and sends
    /// what is [unsent](TcpSocket::unsent).
    ///
    /// A wait for what is to be read and for room to write is stopped by the [error](TcpSocket::is_error) of either
    /// direction, and its own error is of both.
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout), then returns [`Error::Timeout`](crate::Error::Timeout).
    ///
    /// ```
    /// use wakesock::WaitEvents;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let both = WaitEvents::READ | WaitEvents::WRITE;
    /// assert_eq!(socket.wait(both)?, WaitEvents::WRITE);
    /// peer.put_all(b"!")?;
    /// socket.wait(WaitEvents::READ)?;
    /// assert_eq!(socket.wait(both)?, both);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "poll")]
    #[doc(alias = "select")]
    pub fn wait(&mut self, events: WaitEvents) -> Result<WaitEvents> {
        let directions = Directions::of_wait(events);
        self.begin(directions)?;
        let result = self.wait_for(events);
        self.remember_failure(directions, result)
    }

    /// Blocks until there is something to read or accept, or the stream has ended: [`wait`](TcpSocket::wait) for
    /// [`READ`](WaitEvents::READ).
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout), then returns [`Error::Timeout`](crate::Error::Timeout).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// listener.timeout(Duration::from_millis(5));
    /// assert!(listener.wait_read().unwrap_err().is_timeout());
    /// let client = std::net::TcpStream::connect(listener.local_addr()?).unwrap();
    /// listener.blocking().wait_read()?;
    /// listener.timeout(Duration::ZERO).accept_new()?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait_read(&mut self) -> Result<()> {
        self.wait(WaitEvents::READ).map(drop)
    }

    /// Blocks until something can be sent: [`wait`](TcpSocket::wait) for [`WRITE`](WaitEvents::WRITE).
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout), then returns [`Error::Timeout`](crate::Error::Timeout).
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// // Sends what the system takes at once.
    /// socket.timeout(Duration::ZERO);
    /// while socket.put(&[0; 65_536]).is_ok() {}
    /// # let reader = std::thread::spawn(move || peer.get_bytes(1 << 30).map(drop));
    /// // Blocks until the peer has made room.
    /// socket.blocking().wait_write()?;
    /// assert_eq!(socket.timeout(Duration::ZERO).put(b"!")?, 1);
    /// # socket.close();
    /// # reader.join().unwrap()?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wait_write(&mut self) -> Result<()> {
        self.wait(WaitEvents::WRITE).map(drop)
    }

    fn wait_for(&mut self, events: WaitEvents) -> Result<WaitEvents> {
        let mut progress = Progress::new(self.deadline());
        let direction = match events {
            WaitEvents::WRITE => Direction::Write,
            _ => Direction::Read,
        };
        let mut in_use = self.opening.enter()?;
        let mut looking = Looking {
            input: &mut self.input,
            // Exceptions are the system's, whatever becomes of the session.
            session: self
                .special
                .session()
                .filter(|_| events.intersects(WaitEvents::READ | WaitEvents::WRITE)),
            events,
            known: 0,
        };
        let wait = Wait { direction, events };
        let result = TryWait::new("wait", wait, &self.raw_wait).go_on(&mut in_use, &mut progress, &mut looking);
        drop(in_use);
        // What there is to read is for who reads to tell: that may be the other half.
        if direction == Direction::Read && self.special.session().is_some() {
            self.publish_unread();
        }
        result
    }

    /// Waits, in a server, for the next request: true when the peer has sent something, false when no request will
    /// follow, because the peer has ended the stream or this program is stopping.
    ///
    /// Once the program is stopping, this is true only if something of a request is there already, in the socket or in the
    /// system. So [`ShutdownRegistry::stop_accepting`](crate::ShutdownRegistry::stop_accepting) ends an idle connection at
    /// once, one in the middle of a request when its thread comes back here, and no request is lost that had come. (Before
    /// the first request of a connection, a server that wants to serve whoever has connected reads, and doesn't call this.)
    ///
    /// Blocks for at most [`timeout`](TcpSocket::timeout), then returns [`Error::Timeout`](crate::Error::Timeout).
    ///
    /// ```
    /// use wakesock::{Error, TcpSocket};
    ///
    /// fn serve(mut connection: TcpSocket) -> Result<(), Error> {
    ///     while let Some(line) = connection.get_line()? {
    ///         connection.put_all(format!("{line}\n").as_bytes())?;
    ///         if !connection.wait_request()? {
    ///             break;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn wait_request(&mut self) -> Result<bool> {
        self.begin(Directions::READ)?;
        let result = self.request_came();
        self.publish_unread();
        self.remember_failure(Directions::READ, result)
    }

    fn request_came(&mut self) -> Result<bool> {
        let mut progress = Progress::new(self.deadline());
        if self.input.buffer.is_empty() && self.should_wait_before_trying() {
            progress.would_block(&self.opening, Direction::Read);
        }
        let registry = &self.registry;
        let mut in_use = self.opening.enter()?;
        let mut looking = self.input.reading(|input: &mut Input, source: Source<'_>| {
            if !input.buffer.is_empty() {
                return Ok(true);
            }
            if input.is_eof() {
                return Ok(false);
            }
            match input.fill(0, source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && registry.is_stopping() => {
                    Ok(input.has_part_of_record())
                }
                came => Ok(came? > 0),
            }
        });
        let try_wait = TryWait::new("wait_request", READING, &self.raw_wait).until_stopping(registry);
        try_wait.go_on(&mut in_use, &mut progress, &mut looking)
    }
}

/// Looks what of some events there is.
pub(super) struct Looking<'a> {
    pub(super) input: &'a mut Input,
    pub(super) session: Option<&'a Session>,
    pub(super) events: WaitEvents,
    /// How many of the bytes that were read ahead are no news.
    pub(super) known: usize,
}

impl Attempt for Looking<'_> {
    type Value = WaitEvents;

    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<WaitEvents> {
        let source = Source::of(in_use);
        let wants_read = self.events.contains(WaitEvents::READ);
        if wants_read && source.opening.hands_out_last() {
            return Ok(WaitEvents::READ);
        }
        let mut asked = self.events;
        let mut found = WaitEvents::empty();
        if let Some(session) = self.session {
            let looks_for_more = wants_read && self.input.buffer.len() <= self.known;
            match look_at_session(session, self.input, looks_for_more, source) {
                Ok(ready) => found |= ready & self.events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => asked &= WaitEvents::EXCEPTION,
                Err(error) => return Err(error),
            }
            asked -= WaitEvents::READ;
        }
        // A wait reports once what may be ready. This says what is ready now.
        found |= sys::poll(source.socket, asked, Some(Duration::ZERO))?;
        if self.input.buffer.len() > self.known {
            found |= WaitEvents::READ & self.events;
        }
        if found.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(found)
    }

    fn waits_for(&self, usual: WaitEvents) -> WaitEvents {
        match self.session {
            Some(session) if session.is_handshaking() => session.reading_waits_for() | usual & WaitEvents::EXCEPTION,
            Some(session) if usual.contains(WaitEvents::READ) => usual | session.reading_waits_for(),
            _ => usual,
        }
    }

    fn would_wait_in_vain(&self, usual: WaitEvents, events: WaitEvents) -> bool {
        let wants_read = usual.contains(WaitEvents::READ);
        self.session.is_some_and(|session| {
            self.waits_for(usual) != events || session.has_failed() || wants_read && session.has_something()
        })
    }

    fn tries_again_at(&self) -> Option<Instant> {
        self.session.and_then(Session::handshake_ends)
    }

    fn note_report(&mut self, reported: WaitEvents) {
        self.input.note_report(reported);
    }
}

/// What a session is ready for, beside what the system says. `WouldBlock` while the handshake is under way.
#[cold]
fn look_at_session(
    session: &Session,
    input: &mut Input,
    looks_for_more: bool,
    source: Source<'_>,
) -> io::Result<WaitEvents> {
    let readable = WaitEvents::READ;
    match handshake(session, source) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | UNFINISHED) => return Err(error),
        // What has failed makes every operation fail, and none wait.
        Err(_) => return Ok(readable | WaitEvents::WRITE),
        Ok(()) if session.has_failed() => return Ok(readable | WaitEvents::WRITE),
        Ok(()) => {}
    }
    if !looks_for_more {
        return Ok(WaitEvents::empty());
    }
    match input.decipher_ahead(0, source) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(WaitEvents::empty()),
        Err(error) if error.kind() == UNFINISHED => Err(error),
        _ => Ok(readable),
    }
}
