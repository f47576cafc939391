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
    /// The address of this end: getsockname(2). Doesn't block.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] or [`Error::Shutdown`] of a socket that isn't open; `Unsupported` of a Unix-domain one. Never
    /// sticky.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// assert_ne!(listener.local_addr()?.port(), 0); // the one that the system chose
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.addr("local_addr", |socket| socket.local_addr())
    }

    /// The address of the other end: getpeername(2). Doesn't block.
    ///
    /// # Errors
    ///
    /// Those of [`local_addr`](TcpSocket::local_addr), and `NotConnected` when the connection is no more.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let mut client = TcpSocket::new();
    /// client.connect_to(&[listener.local_addr()?])?;
    /// assert_eq!(client.peer_addr()?, listener.local_addr()?);
    /// assert_eq!(listener.accept_new()?.peer_addr()?, client.local_addr()?);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
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

    /// Sends small pieces at once instead of gathering them: `TCP_NODELAY`, tcp(7). Fails on a Unix-domain socket.
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
    /// It is [`close`](TcpSocket::close) and drop that wait. Closing by a handle or by the registry never does: it
    /// treats any other limit than zero as none.
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
    ///
    /// ```
    /// use socket2::SockRef;
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.linger(Duration::from_millis(1500))?;
    /// assert_eq!(SockRef::from(&socket).linger().unwrap(), Some(Duration::from_secs(2)));
    /// socket.no_linger()?;
    /// assert_eq!(SockRef::from(&socket).linger().unwrap(), None);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn no_linger(&self) -> Result<()> {
        self.linger(None)
    }

    pub(super) fn with<T>(&self, name: &'static str, work: impl Fn(&SockRef<'_>) -> io::Result<T>) -> Result<T> {
        let inside = self.shared.enter_even_aborted()?;
        work(&SockRef::from(&inside)).map_err(|error| Error::io(name, error))
    }
}

impl AsFd for TcpSocket {
    /// The descriptor, for what this crate doesn't offer.
    ///
    /// `SockRef::from(&socket)` of the crate [socket2](https://docs.rs/socket2) has every socket option there is, those
    /// of `std::net` among them: the time to live, keep-alive, the sizes of the buffers, and whether
    /// [`no_delay`](TcpSocket::no_delay) is set.
    ///
    /// It is in non-blocking mode and has to stay so. Where the socket isn't open, the descriptor is one that every
    /// call refuses with `EBADF`. It is not to be closed; while it is borrowed, closing the socket lets go of the
    /// connection but keeps the number, so that it can't come to mean another file.
    ///
    /// ```
    /// use socket2::{SockRef, TcpKeepalive};
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.no_delay()?;
    /// let options = SockRef::from(&socket);
    /// assert!(options.tcp_nodelay()?);
    ///
    /// options.set_ttl_v4(32)?;
    /// assert_eq!(options.ttl_v4()?, 32);
    ///
    /// // A peer that is silent for a minute is asked whether it is still there, every ten seconds from then on.
    /// let keepalive = TcpKeepalive::new()
    ///     .with_time(Duration::from_secs(60))
    ///     .with_interval(Duration::from_secs(10));
    /// options.set_tcp_keepalive(&keepalive)?;
    /// assert!(options.keepalive()?);
    ///
    /// options.set_recv_buffer_size(64 * 1024)?;
    /// options.set_send_buffer_size(64 * 1024)?;
    /// assert!(options.send_buffer_size()? >= 64 * 1024); // Linux doubles what it is told, socket(7).
    /// # Ok::<(), std::io::Error>(())
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
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// assert!(socket.as_raw_fd() >= 0);
    /// socket.close();
    /// assert_eq!(socket.as_raw_fd(), -1);
    /// ```
    fn as_raw_fd(&self) -> RawFd {
        self.shared.raw_descriptor()
    }
}
