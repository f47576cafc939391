//! Closing and aborting.

use std::thread;

use super::deciphering::SystemWire;
use super::source::Source;
use super::special::Special;
use super::{SocketHandle, TcpSocket};
use crate::opening::Opening;
use crate::tls::Session;

impl TcpSocket {
    /// Closes the socket. Blocked operations return [`Error::Closed`](crate::Error::Closed) at once.
    ///
    /// When it returns, a listener's port can be listened on again and new clients are refused; a connection's peer has
    /// been told. That holds even if other threads were blocked in an operation. Unsent data is still delivered; with
    /// [`linger`](TcpSocket::linger), this call waits for that. A socket that isn't open stays as it is.
    ///
    /// Unless something is unread: if anything has come that was not read, or comes afterwards, the system resets the
    /// connection, and the peer loses what it has not received yet, with `linger` or without (RFC 1122, section 4.2.2.13).
    /// [`finish`](TcpSocket::finish) closes so that the last answer arrives.
    ///
    /// Under TLS, what is [unsent](TcpSocket::unsent) and close_notify go before the end, as far as they go at once: this never
    /// waits for a peer that doesn't read. No close_notify while the socket is in the error state, the thread panics, or the
    /// other half is in the middle of a `put`: an answer that has broken off must not look complete. What has come is dropped first, so that it makes no reset. But a server sends tickets
    /// right after the handshake (RFC 8446, section 4.6.1): a client that has little to say, and reads no answer, closes by
    /// `finish`, or they may come afterwards.
    ///
    /// It takes longer if others have descriptors of the same socket (see [`attach`](TcpSocket::attach)): until they are
    /// closed, too. A child process has one between fork(2) and exec(3), so while another thread is in
    /// [`Command::spawn`](std::process::Command::spawn).
    ///
    /// Blocks until the threads that were in an operation have left it, which they do at once. Not for signal handlers:
    /// use [`SocketHandle::close`].
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let addr = listener.local_addr()?;
    /// thread::scope(|scope| {
    ///     let blocked = scope.spawn(|| listener.accept_new());
    ///     listener.close();
    ///     assert!(matches!(blocked.join().unwrap(), Err(Error::Closed)));
    /// });
    /// TcpSocket::new().listen_on(addr, &Default::default())?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "cancel")]
    pub fn close(&self) {
        if let Some(connecting) = &self.connecting {
            connecting.give_up(&self.opening);
        }
        self.say_goodbye();
        if self.opening.is_spent() || self.opening.is_open() || self.connecting.is_some() {
            self.opening.close();
            self.opening.end_is_told();
        }
    }

    /// Lets a session under TLS say what there is to say, as far as that goes at once. Not if something has failed: then the
    /// peer is not to take for the end what isn't.
    #[inline]
    fn say_goodbye(&self) {
        if let Some(session) = self.special.session() {
            self.say_goodbye_in(session);
        }
    }

    #[inline(never)]
    fn say_goodbye_in(&self, session: &Session) {
        if let Ok(in_use) = self.opening.enter_even_aborted() {
            session.say_goodbye(&mut SystemWire::for_writing(Source::of(&in_use)), self.has_broken_off());
        }
    }

    /// Whether what was sent may not be all of what was to be.
    fn has_broken_off(&self) -> bool {
        self.is_error() || thread::panicking()
    }

    /// Makes blocked and later operations return [`Error::Aborted`](crate::Error::Aborted), until
    /// [`clear_abort`](TcpSocket::clear_abort).
    ///
    /// The socket stays open. If it isn't open yet, this ends the next opening. If it was closed, there is nothing to
    /// abort until it is opened again. Async-signal-safe.
    ///
    /// ```
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// listener.abort();
    /// assert!(matches!(listener.accept_new(), Err(Error::Aborted)));
    /// listener.clear_abort();
    /// assert!(listener.is_open());
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "cancel")]
    pub fn abort(&self) {
        self.opening.abort();
    }

    /// Whether `abort` is in force: U++'s name of [`is_aborted`](TcpSocket::is_aborted).
    ///
    /// ```
    /// let socket = wakesock::TcpSocket::new();
    /// socket.abort();
    /// assert!(socket.is_abort());
    /// socket.clear_abort();
    /// assert!(!socket.is_abort());
    /// ```
    pub fn is_abort(&self) -> bool {
        self.opening.is_aborted()
    }

    /// Whether [`abort`](TcpSocket::abort) is in force: [`is_abort`](TcpSocket::is_abort), as Rust would call it.
    ///
    /// ```
    /// let socket = wakesock::TcpSocket::new();
    /// socket.abort();
    /// assert!(socket.is_aborted());
    /// ```
    #[doc(alias = "IsAbort")]
    pub fn is_aborted(&self) -> bool {
        self.is_abort()
    }

    /// Lets operations go on after [`abort`](TcpSocket::abort).
    ///
    /// What was blocked when `abort` was called ends all the same. There is no error to clear: an abort is a state, never
    /// sticky.
    ///
    /// ```
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"still here")?;
    /// socket.abort();
    /// assert!(matches!(socket.get_bytes(10), Err(Error::Aborted)));
    /// socket.clear_abort();
    /// assert_eq!(socket.get_bytes(10)?, b"still here");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn clear_abort(&self) {
        self.opening.clear_abort();
    }

    /// Gives a handle by which other threads and signal handlers end this socket.
    ///
    /// The handle refers to the connection or listener that is open now or, if none is, to the next one. This call may
    /// allocate, so a signal handler uses a handle that was taken before.
    ///
    /// ```
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let mut socket = TcpSocket::new();
    /// // Nothing is open yet, so this refers to what is opened next.
    /// let handle = socket.handle();
    /// socket.listen_on("127.0.0.1:0", &Default::default())?;
    /// assert_eq!(handle.id(), socket.id());
    /// handle.close();
    /// assert!(matches!(socket.accept_new(), Err(Error::Closed)));
    /// // What is opened now is another one.
    /// socket.listen_on("127.0.0.1:0", &Default::default())?;
    /// handle.close();
    /// assert!(socket.is_open());
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "try_clone")]
    pub fn handle(&self) -> SocketHandle {
        let is_over = self.opening.is_spent() || self.connecting.is_some() && self.opening.is_closed();
        SocketHandle::new(if is_over {
            self.next.get_or_init(Opening::new)
        } else {
            &self.opening
        })
    }

    /// Closes the socket and makes it as [`new`](TcpSocket::new) again: without errors, limits, `when_wait` and its
    /// step, an `abort`, and bytes that were read and not taken.
    ///
    /// It keeps its registry and its raw wait. Blocks as [`close`](TcpSocket::close) does.
    ///
    /// ```
    /// let mut socket = wakesock::TcpSocket::new();
    /// assert!(socket.connect("no-such-host.invalid", 80).is_err());
    /// assert!(socket.is_error());
    /// socket.clear();
    /// assert!(!socket.is_error());
    /// ```
    pub fn clear(&mut self) {
        self.prepare_opening();
        if self.opening.is_closed() {
            self.renew();
        }
        self.clear_abort();
        self.limit = None;
        self.special = Special::default();
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        if self.opening.disown() {
            self.say_goodbye();
            self.opening.end_lending();
            // Even if it isn't open: an opening that failed may still belong to the registry.
            self.opening.close();
            self.opening.close_number();
        } else if let Some(session) = self.special.session()
            && self.has_broken_off()
        {
            session.cut_off();
        }
    }
}
