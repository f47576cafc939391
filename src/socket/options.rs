//! Addresses and options.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use socket2::{SockAddr, SockRef};

use super::TcpSocket;
use super::open::linger_seconds;
use crate::error::{Error, Result};
use crate::sys;

impl TcpSocket {
    /// The address of this end: getsockname(2).
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.addr("local_addr", |socket| socket.local_addr())
    }

    /// The address of the other end: getpeername(2). Fails when the connection is no more.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.addr("peer_addr", |socket| socket.peer_addr())
    }

    fn addr(&self, name: &'static str, get: impl Fn(&SockRef<'_>) -> io::Result<SockAddr>) -> Result<SocketAddr> {
        self.with(name, |socket| {
            get(socket)?
                .as_socket()
                .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "not an IP address"))
        })
    }

    /// Sends small pieces at once instead of gathering them: `TCP_NODELAY`, tcp(7).
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.no_delay()?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn no_delay(&self) -> Result<()> {
        self.with("no_delay", |socket| socket.set_tcp_nodelay(true))
    }

    /// Lets closing wait until unsent data is delivered, for `limit` at most: `SO_LINGER`, socket(7).
    ///
    /// Whole seconds, rounded up. With zero, closing throws unsent data away and resets the connection. `None` is
    /// [`no_linger`](TcpSocket::no_linger): closing returns at once and the system goes on sending.
    ///
    /// It is [`close`](TcpSocket::close) and drop that wait. Closing by a handle or by the registry never does: it treats
    /// any other limit than zero as none.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.linger(Duration::ZERO)?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn linger(&self, limit: impl Into<Option<Duration>>) -> Result<()> {
        let limit = limit.into().map(linger_seconds);
        self.with("linger", |socket| socket.set_linger(limit))
    }

    /// Closing returns at once and the system goes on sending what is unsent: the default.
    pub fn no_linger(&self) -> Result<()> {
        self.linger(None)
    }

    pub(super) fn with<T>(&self, name: &'static str, work: impl Fn(&SockRef<'_>) -> io::Result<T>) -> Result<T> {
        let inside = self.shared.enter_even_aborted()?;
        work(&SockRef::from(&inside)).map_err(|error| Error::io(name, error))
    }
}

impl AsFd for TcpSocket {
    /// The descriptor, for what this crate doesn't offer: `socket2::SockRef::from(&socket)` has every option there is.
    ///
    /// It is in non-blocking mode and has to stay so. Where the socket isn't open, the descriptor is one that every call
    /// refuses with `EBADF`. It is not to be closed; while it is borrowed, closing the socket lets go of the connection
    /// but keeps the number, so that it can't come to mean another file.
    ///
    /// ```
    /// use socket2::SockRef;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// SockRef::from(&socket).set_keepalive(true).unwrap();
    /// ```
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.shared.lend() {
            Some(fd) => fd,
            None => sys::no_descriptor(),
        }
    }
}

impl AsRawFd for TcpSocket {
    /// The descriptor's number, -1 if the socket isn't open.
    ///
    /// Nothing keeps the number from being closed and used again when the socket is; [`as_fd`](TcpSocket::as_fd) does.
    fn as_raw_fd(&self) -> RawFd {
        self.shared.raw_descriptor()
    }
}
