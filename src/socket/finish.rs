//! Ending a connection so that the peer gets all that was sent to it.

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::deciphering::{Flushing, SystemWire, discard};
use super::limits::Limits;
use super::source::Source;
use super::spare::CHUNK;
use super::try_wait::{Attempt, READING, TryWait, WRITING};
use super::{Directions, Outcome, TcpSocket};
use crate::error::Result;
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse};
use crate::sys;
use crate::tls::Session;

/// More than the system keeps for a connection, tcp(7), `tcp_rmem`: so much may be there already, for a limit of zero.
const MOST_AT_ONCE: usize = 16 << 20;

impl TcpSocket {
    /// Ends the stream, reads away what the peer still sends until it ends its own, and closes the socket. Under TLS, what is
    /// [unsent](TcpSocket::unsent) and close_notify go first, and the peer's end is its close_notify or the end of TCP's stream;
    /// where TLS has failed, its alert goes, and the peer gets that. Where a `put_all` has failed, no close_notify goes: an answer
    /// that has broken off must not look complete.
    ///
    /// For the last answer on a connection, and for whoever refuses the rest of a request: if a socket is closed while
    /// something that has come is unread, or comes afterwards, the system resets the connection, and the peer loses what it
    /// has not received yet (RFC 1122, section 4.2.2.13). The socket is closed whatever is returned.
    ///
    /// Blocks for at most `limit`, in place of [`timeout`](TcpSocket::timeout) and [`linger`](TcpSocket::linger), and ends as all
    /// operations do: by [`close`](TcpSocket::close), [`abort`](TcpSocket::abort), the registry, and the
    /// [`global_timeout`](TcpSocket::global_timeout). It works in the error state, too.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`](crate::Error::Timeout) if the peer hasn't ended its side within the limit, and
    /// [`Error::Io`](crate::Error::Io) if it has reset the connection: then it may not have received all.
    /// [`Error::Closed`](crate::Error::Closed) if the socket isn't open. A listener has no stream to end: `Io` of the kind
    /// `NotConnected`, and it stays open.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// # let client = std::thread::spawn(move || {
    /// #     peer.put_all(b"store 5000000\n")?;
    /// #     peer.put_all(&vec![b'x'; 5_000_000])?;
    /// #     peer.get_line()
    /// # });
    /// // The five megabytes that follow are of no interest, but the peer is to learn why.
    /// assert_eq!(socket.get_line()?.as_deref(), Some("store 5000000"));
    /// socket.put_all(b"error: too large\n")?;
    /// socket.finish(Duration::from_secs(5))?;
    /// # assert_eq!(client.join().unwrap()?.as_deref(), Some("error: too large"));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        self.last = Outcome::default();
        if self.opening.is_listener() && self.is_open() {
            let error = io::ErrorKind::NotConnected.into();
            return Err(self.opening.io_error("finish", "with", error));
        }
        let result = self.read_away(limit);
        let result = self.remember_failure(Directions::all(), result);
        if let Ok(in_use) = self.opening.enter_even_aborted() {
            // What is unsent still goes out, but the limit was for all of the waiting.
            sys::dont_linger(in_use.socket());
        }
        self.close();
        result
    }

    /// Ends the sending half, and reads until the end of the stream.
    fn read_away(&mut self, limit: Duration) -> Result<()> {
        let mut in_use = self.opening.enter()?;
        // It fails if the peer is gone, which the read tells better, and if this half was ended before.
        match self.special.session() {
            Some(session) => {
                let has_broken_off = self.special.error(Directions::WRITE).is_some();
                drop(session.end_sending(&mut SystemWire::for_writing(Source::of(&in_use)), has_broken_off));
            }
            None => drop(SockRef::from(&in_use.socket()).shutdown(Shutdown::Write)),
        }
        let mut deadline = self.deadline_within(Limits {
            each: Some(limit),
            ..self.limits()
        });
        // The limit is for all of it, so it begins here and not at the first wait.
        deadline.begin();
        let mut receiving = Discarding {
            // What comes after a failure is none of TLS.
            session: self.special.session().filter(|session| !session.has_failed()),
            scrap: [0; CHUNK],
        };
        let try_wait = TryWait::new("finish", READING, &self.raw_wait);
        let mut at_once = 0;
        loop {
            match try_wait.run(&mut in_use, &mut deadline, &mut receiving)? {
                0 => break,
                count => at_once += count,
            }
            // A peer that always has something to read must not keep it up.
            if !limit.is_zero() || at_once > MOST_AT_ONCE {
                let left = deadline.left()?;
                in_use.opening().side(Direction::Read).left_to_deadline(left)?;
            }
            in_use.check()?;
        }
        match receiving.session {
            // The peer may have ended its stream long ago.
            Some(session) if session.unsent() > 0 => {
                let try_wait = TryWait::new("finish", WRITING, &self.raw_wait);
                try_wait.run(&mut in_use, &mut deadline, &mut Flushing(session))
            }
            _ => Ok(()),
        }
    }
}

/// Reads away what has come.
struct Discarding<'a> {
    session: Option<&'a Session>,
    scrap: [u8; CHUNK],
}

impl Attempt for Discarding<'_> {
    type Value = usize;

    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<usize> {
        match self.session {
            Some(session) => discard(session, Source::of(in_use)),
            None => sys::receive(in_use.socket(), &mut self.scrap),
        }
    }

    fn waits_for(&self, usual: WaitEvents) -> WaitEvents {
        match self.session {
            Some(session) => session.reading_waits_for(),
            None => usual,
        }
    }

    fn tries_again_at(&self) -> Option<Instant> {
        self.session.and_then(Session::handshake_ends)
    }
}
