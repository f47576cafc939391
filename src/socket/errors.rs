//! The error state: which errors are sticky, what an operation returns that was stopped half-way, and where its bytes
//! go.

use super::{Directions, TcpSocket};
use crate::error::{Error, Result};

impl TcpSocket {
    /// Whether the socket is in the error state, in either direction.
    ///
    /// Operations of that direction return the error again, without touching the network. The other direction goes on:
    /// what the peer has answered before it hung up can be read after a write has failed. An error of opening concerns
    /// both.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.close();
    /// // Something was to come, so that this is an error, and a sticky one.
    /// assert!(socket.get_all_bytes(4).is_err());
    /// assert!(socket.is_error());
    /// assert!(socket.get(&mut [0; 4]).is_err());
    /// assert_eq!(socket.put(b"hello")?, 5);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_error(&self) -> bool {
        self.error().is_some()
    }

    /// The error that put the socket into the error state. If both directions have failed, the error that came first.
    ///
    /// ```
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.close();
    /// let _ = socket.get_all_bytes(4);
    /// assert!(matches!(socket.error(), Some(Error::UnexpectedEof)));
    /// ```
    #[doc(alias = "GetError")]
    pub fn error(&self) -> Option<&Error> {
        self.special.error(Directions::all())
    }

    /// The text of [`error`](TcpSocket::error), empty if there is none.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// assert_eq!(socket.error_desc(), "");
    /// peer.close();
    /// let _ = socket.get_all_bytes(4);
    /// assert_eq!(socket.error_desc(), "stream ended too early");
    /// ```
    #[doc(alias = "GetErrorDesc")]
    pub fn error_desc(&self) -> String {
        self.error().map(Error::to_string).unwrap_or_default()
    }

    /// Leaves the error state, in both directions. Operations go on where they stopped.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hel")?;
    /// socket.timeout(Duration::from_millis(5));
    /// assert!(socket.get_line().unwrap_err().is_timeout());
    /// peer.put_all(b"lo\n")?;
    /// assert!(socket.get_line().unwrap_err().is_timeout()); // still
    /// socket.clear_error();
    /// # socket.blocking();
    /// assert_eq!(socket.get_line()?.as_deref(), Some("hello"));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn clear_error(&mut self) {
        self.special.keep_errors(Directions::empty());
    }

    /// Remembers why an operation of these directions stopped: an error that is sticky, and whether time ran out.
    pub(super) fn remember(&mut self, directions: Directions, error: &Error) {
        if error.is_timeout() {
            self.last.set_timeout();
        }
        if error.is_sticky() {
            self.set_sticky(directions, error);
        }
    }

    /// Remembers the failure of an operation, if it has failed.
    pub(super) fn remember_failure<T>(&mut self, directions: Directions, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.remember(directions, error);
        }
        result
    }

    /// Puts the socket into the error state, in these directions.
    pub(super) fn set_sticky(&mut self, directions: Directions, error: &Error) {
        self.special.set_error(directions, error);
        if directions.contains(Directions::READ) {
            self.input.buffer.forbid_fast_path();
        }
    }

    /// Finishes an operation that may move fewer bytes than asked: it has moved `done` when `stop` stopped it.
    pub(super) fn finish_partial(&mut self, directions: Directions, done: usize, stop: Option<Error>) -> Result<usize> {
        self.last.set_done(done);
        match stop {
            None => Ok(done),
            Some(error) => {
                self.remember(directions, &error);
                if done > 0 { Ok(done) } else { Err(error) }
            }
        }
    }

    /// Fails an operation that gives all or nothing. Whatever has made it fail is sticky, but that this program has ended
    /// it: that is a state of the socket, and not an error.
    pub(super) fn fail<T>(&mut self, directions: Directions, error: Error) -> Result<T> {
        self.remember(directions, &error);
        if !(error.is_closed() || matches!(error, Error::Aborted)) {
            self.set_sticky(directions, &error);
        }
        Err(error)
    }

    /// Fails a read that gives all or nothing. What has come stays in the buffer.
    #[cold]
    pub(super) fn fail_and_leave<T>(&mut self, error: Error) -> Result<T> {
        self.publish_part(&error);
        self.fail(Directions::READ, error)
    }

    /// Fails a read that gives all or nothing, and whose limit isn't sticky. What has come stays in the buffer.
    #[cold]
    pub(super) fn leave<T>(&mut self, error: Error) -> Result<T> {
        self.publish_part(&error);
        self.remember(Directions::READ, &error);
        Err(error)
    }

    /// Tells queues what a read that gives all or nothing has left in the buffer.
    pub(super) fn publish_part(&mut self, error: &Error) {
        // Queues don't report the incomplete part until more data has come. Else a server of lines would be woken for
        // the same half line again and again.
        let is_a_part = error.is_timeout();
        let is_readable = !self.input.buffer.is_empty() && !is_a_part || self.special.has_end_inside();
        self.opening
            .set_unread(is_readable, || false, || self.special.has_end_inside());
        if is_a_part {
            // Who takes some of it leaves a rest that queues have to be told of, which the fast path doesn't do.
            self.input.buffer.forbid_fast_path();
        }
    }
}
