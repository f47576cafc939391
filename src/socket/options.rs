//! Addresses and options.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockAddr, SockRef};

use super::TcpSocket;
use crate::error::{Error, Result};
use crate::sys::{self, BorrowedSocket, RawSocket};

impl TcpSocket {
    /// The address of this end: getsockname(2). Doesn't block. It goes with the connection or listener: who needs it when
    /// that has ended asks before.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) or [`Error::Shutdown`](crate::Error::Shutdown) of a socket that isn't open; `Unsupported` of a Unix-domain one. Never
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
    /// It is told after the peer has reset the connection, and after the socket was closed, until it is opened again: so
    /// that whoever writes down the end can say whose it was.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) or [`Error::Shutdown`](crate::Error::Shutdown) of a socket that was never connected; `NotConnected` of a listener;
    /// `Unsupported` of a Unix-domain one. Never sticky.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let mut client = TcpSocket::new();
    /// client.connect_to(&[listener.local_addr()?])?;
    /// assert_eq!(client.peer_addr()?, listener.local_addr()?);
    /// let connection = listener.accept_new()?;
    /// connection.close();
    /// assert_eq!(connection.peer_addr()?, client.local_addr()?);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "RemoteAddr")]
    #[doc(alias = "GetPeerAddr")]
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let told = self.addr("peer_addr", |socket| socket.peer_addr());
        told.or_else(|error| self.opening.peer().ok_or(error))
    }

    fn addr(&self, name: &'static str, get: impl Fn(&SockRef<'_>) -> io::Result<SockAddr>) -> Result<SocketAddr> {
        if self.opening.hands_out_last() {
            // It doesn't listen there any more.
            return Err(Error::Shutdown);
        }
        self.with(name, |socket| {
            get(socket)?
                .as_socket()
                .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "not an IP address"))
        })
    }

    /// Sends small pieces at once instead of gathering them: `TCP_NODELAY`, tcp(7). Fails on a Unix-domain socket. It sets, and
    /// is U++'s name of [`set_nodelay(true)`](TcpSocket::set_nodelay); [`nodelay`](TcpSocket::nodelay) asks.
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

    /// Sends small pieces at once (`true`, as [`no_delay`](TcpSocket::no_delay)) or gathers them (`false`, as at first):
    /// `TCP_NODELAY`, tcp(7). Fails on a Unix-domain socket.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.set_nodelay(true)?;
    /// assert!(socket.nodelay()?);
    /// socket.set_nodelay(false)?;
    /// assert!(!socket.nodelay()?);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "NoDelay")]
    #[doc(alias = "SetNoDelay")]
    #[doc(alias = "TCP_NODELAY")]
    pub fn set_nodelay(&self, nodelay: bool) -> Result<()> {
        self.with("set_nodelay", |socket| socket.set_tcp_nodelay(nodelay))
    }

    /// Whether small pieces are sent at once, as [`set_nodelay`](TcpSocket::set_nodelay) or [`no_delay`](TcpSocket::no_delay) has
    /// set it. Fails on a Unix-domain socket.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// assert!(!socket.nodelay()?);
    /// socket.no_delay()?;
    /// assert!(socket.nodelay()?);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "TCP_NODELAY")]
    pub fn nodelay(&self) -> Result<bool> {
        self.with("nodelay", |socket| socket.tcp_nodelay())
    }

    /// Lets closing wait until unsent data is delivered, for `limit` at most: `SO_LINGER`, socket(7).
    ///
    /// The limit is rounded up to whole seconds. With zero, closing throws unsent data away and resets the connection.
    /// `None` is [`no_linger`](TcpSocket::no_linger): closing returns at once and the system goes on sending.
    ///
    /// Only [`close`](TcpSocket::close) and drop wait. A handle and the registry never do: they treat any limit other
    /// than zero as none.
    ///
    /// It sets, and is U++'s name of [`set_linger`](TcpSocket::set_linger).
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
        self.linger_for("linger", limit.into().map(linger_seconds))
    }

    /// Lets closing wait until unsent data is delivered: [`linger`](TcpSocket::linger), where others have the setter.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::socket2::SockRef;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.set_linger(Duration::from_secs(2))?;
    /// assert_eq!(SockRef::from(&socket).linger().unwrap(), Some(Duration::from_secs(2)));
    /// socket.set_linger(None)?;
    /// assert_eq!(SockRef::from(&socket).linger().unwrap(), None);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "SetLinger")]
    #[doc(alias = "SO_LINGER")]
    pub fn set_linger(&self, limit: impl Into<Option<Duration>>) -> Result<()> {
        self.linger_for("set_linger", limit.into().map(linger_seconds))
    }

    /// Lets closing return at once, while the system goes on sending what is unsent: the default.
    ///
    /// ```
    /// use wakesock::socket2::SockRef;
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
        self.linger_for("no_linger", None)
    }

    fn linger_for(&self, name: &'static str, limit: Option<Duration>) -> Result<()> {
        self.with(name, |socket| socket.set_linger(limit))
    }

    pub(crate) fn with<T>(&self, name: &'static str, work: impl Fn(&SockRef<'_>) -> io::Result<T>) -> Result<T> {
        let in_use = self.opening.enter_even_aborted()?;
        work(&SockRef::from(&in_use.socket())).map_err(|error| self.opening.io_error(name, "of", error))
    }

    /// Lends the system's socket, for what this crate doesn't offer.
    pub(crate) fn lend(&self) -> BorrowedSocket<'_> {
        match self.opening.lend() {
            Some(socket) => socket,
            None => sys::no_socket(),
        }
    }

    /// The number of the system's socket. Once the socket is closed, the system may use it again.
    pub(crate) fn raw_socket(&self) -> RawSocket {
        self.opening.raw_socket()
    }
}

/// Rounds up to whole seconds, which `SO_LINGER` counts, as in U++: zero would mean a reset.
fn linger_seconds(limit: Duration) -> Duration {
    let seconds = limit.as_secs().saturating_add(u64::from(limit.subsec_nanos() > 0));
    Duration::from_secs(seconds.min(sys::MOST_LINGER))
}
