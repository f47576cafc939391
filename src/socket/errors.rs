//! The error state: which errors are sticky, what an operation returns that was stopped half-way, and where its bytes
//! go.

use super::TcpSocket;
use crate::error::{Error, Result};

impl TcpSocket {
    /// Whether the socket is in the error state.
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
    /// assert!(socket.put(b"hello").is_err());
    /// ```
    pub fn is_error(&self) -> bool {
        self.error().is_some()
    }

    /// The error that put the socket into the error state.
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
    pub fn error(&self) -> Option<&Error> {
        self.special.error()
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
    pub fn error_desc(&self) -> String {
        self.error().map(Error::to_string).unwrap_or_default()
    }

    /// Leaves the error state. Operations go on where they stopped.
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
        self.special.set_error(None);
    }

    /// Remembers why an operation stopped: an error that is sticky, and whether time ran out.
    pub(super) fn remember(&mut self, error: &Error) {
        match error {
            Error::Timeout => self.last.set_timeout(),
            Error::GlobalTimeout => {
                self.last.set_timeout();
                self.set_sticky(error);
            }
            Error::Io { .. } | Error::Resolve { .. } | Error::Connect { .. } => self.set_sticky(error),
            _ => {}
        }
    }

    /// Remembers the failure of an operation, if it has failed.
    pub(super) fn remember_failure<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.remember(error);
        }
        result
    }

    /// Puts the socket into the error state.
    pub(super) fn set_sticky(&mut self, error: &Error) {
        self.special.set_error(Some(error.clone()));
        self.input.buffer.forbid_fast_path();
    }

    /// Finishes an operation that may move fewer bytes than asked: it has moved `done` when `stop` stopped it.
    pub(super) fn finish_partial(&mut self, done: usize, stop: Option<Error>) -> Result<usize> {
        self.last.set_done(done);
        match stop {
            None => Ok(done),
            Some(error) => {
                self.remember(&error);
                if done > 0 { Ok(done) } else { Err(error) }
            }
        }
    }

    /// Fails an operation that gives all or nothing: any failure of it is sticky.
    pub(super) fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.remember(&error);
        self.set_sticky(&error);
        Err(error)
    }

    /// Fails a read that gives all or nothing, after `stop` or the end of the stream. The next read gets what `came`.
    #[cold]
    pub(super) fn fail_and_put_back<T>(&mut self, came: &[u8], stop: Option<Error>) -> Result<T> {
        self.input.buffer.put_back(came);
        self.fail_and_leave(stop.unwrap_or(Error::UnexpectedEof))
    }

    /// Fails a read that gives all or nothing. What has come stays in the buffer.
    pub(super) fn fail_and_leave<T>(&mut self, error: Error) -> Result<T> {
        // Queues don't report the incomplete part until more data has come. Else a server of lines would be woken for
        // the same half line again and again.
        let is_a_part = error.is_timeout();
        let is_readable = !self.input.buffer.is_empty() && !is_a_part;
        self.opening.set_unread(is_readable, || false);
        self.fail(error)
    }
}
