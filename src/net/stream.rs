//! [`TcpStream`].

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::addr;
use super::convert::conversions;
use super::methods::{methods, stream};
use super::shared::{Shared, zero_limit};
use crate::registry::ShutdownRegistry;
use crate::socket::TcpSocket;

/// A connection with the methods of [`std::net::TcpStream`], which something else can end.
///
/// [`Read`](io::Read) and [`Write`](io::Write) are there for `&TcpStream`, too: any number of threads may share one. Dropping it,
/// and its clones, closes it.
///
/// ```
/// use std::io::{Read, Write};
/// use std::thread;
/// use wakesock::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut stream = TcpStream::connect(listener.local_addr()?)?;
/// let (mut peer, _) = listener.accept()?;
///
/// stream.write_all(b"hello")?;
/// let mut hello = [0; 5];
/// peer.read_exact(&mut hello)?;
/// assert_eq!(&hello, b"hello");
///
/// // Another thread ends a read.
/// let handle = stream.handle();
/// let blocked = thread::spawn(move || stream.read(&mut [0; 64]));
/// handle.close();
/// assert!(blocked.join().unwrap().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    pub(super) shared: Shared,
}

methods!(TcpStream, "stream");
stream!(TcpStream);
conversions!(TcpStream: std::net::TcpStream, listener false, unix false);

impl TcpStream {
    /// Connects to one of the addresses of `addr`, in the global registry, which ends it.
    ///
    /// Several addresses are raced as [`TcpSocket::connect`] says. Blocks until there is a connection, or all have failed.
    ///
    /// # Errors
    ///
    /// That of the last address; `InvalidInput` if there is none; [`Shutdown`](crate::Error::Shutdown) inside, if the registry is
    /// shut down.
    ///
    /// ```
    /// use wakesock::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("localhost:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        TcpStream::connect_in(ShutdownRegistry::global(), addr)
    }

    /// Connects as [`connect`](TcpStream::connect) does, in `registry`, which ends it, the look-up of a name included.
    ///
    /// ```
    /// use wakesock::net::{TcpListener, TcpStream};
    /// use wakesock::{Error, ShutdownRegistry};
    ///
    /// let registry = ShutdownRegistry::new();
    /// registry.shutdown();
    /// let error = TcpStream::connect_in(&registry, "localhost:80").unwrap_err();
    /// assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(Error::Shutdown)));
    /// ```
    pub fn connect_in<A: ToSocketAddrs>(registry: &ShutdownRegistry, addr: A) -> io::Result<TcpStream> {
        let mut socket = TcpSocket::with_registry(registry);
        addr::connect(&mut socket, addr)?;
        Ok(TcpStream::of(Shared::new(socket)))
    }

    /// Connects to `addr`, for `timeout` at most, in the global registry, which ends it.
    ///
    /// # Errors
    ///
    /// `TimedOut` when the time is up, `InvalidInput` for a limit of zero, else those of [`connect`](TcpStream::connect).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(zero_limit());
        }
        let mut socket = TcpSocket::new();
        addr::connect(socket.timeout(timeout), addr)?;
        socket.blocking();
        Ok(TcpStream::of(Shared::new(socket)))
    }

    /// The address of the other end. Doesn't block. It is told after this program has ended the connection, too.
    ///
    /// ```
    /// use wakesock::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// stream.handle().close();
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.shared.peer_addr()
    }

    /// The address of this end. Doesn't block.
    ///
    /// ```
    /// use wakesock::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// assert!(stream.local_addr()?.ip().is_loopback());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.local_addr()
    }

    /// Copies what has come, which stays to be read. Blocks until something has, as a read does, and is ended as one.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// # let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let mut stream = wakesock::net::TcpStream::connect(listener.local_addr()?)?;
    /// # let (mut peer, _) = listener.accept()?;
    /// peer.write_all(b"hello")?;
    /// let mut buf = [0; 1];
    /// stream.peek(&mut buf)?;
    /// assert_eq!(&buf, b"h");
    /// stream.read_exact(&mut buf)?;
    /// assert_eq!(&buf, b"h");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.shared.peek(buf)
    }

    /// Sends small pieces at once instead of gathering them, or no longer: `TCP_NODELAY`, tcp(7).
    ///
    /// ```
    /// # let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = wakesock::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_nodelay(true)?;
    /// assert!(stream.nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.shared
            .with_options("set_nodelay", |socket| socket.set_tcp_nodelay(nodelay))
    }

    /// Whether small pieces are sent at once: `TCP_NODELAY`, tcp(7).
    ///
    /// ```
    /// # let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = wakesock::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert!(!stream.nodelay()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        self.shared.with_options("nodelay", |socket| socket.tcp_nodelay())
    }

    /// Sets the time to live of what is sent: `IP_TTL`, ip(7).
    ///
    /// ```
    /// # let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = wakesock::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_ttl(32)?;
    /// assert_eq!(stream.ttl()?, 32);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.shared.with_options("set_ttl", |socket| socket.set_ttl_v4(ttl))
    }

    /// The time to live of what is sent: `IP_TTL`, ip(7).
    ///
    /// ```
    /// # let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = wakesock::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert!(stream.ttl()? > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.shared.with_options("ttl", |socket| socket.ttl_v4())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("TcpStream");
        if let Ok(addr) = self.local_addr() {
            text.field("addr", &addr);
        }
        if let Ok(peer) = self.peer_addr() {
            text.field("peer", &peer);
        }
        text.field(crate::sys::NUMBER, &self.shared.socket().raw_socket())
            .finish()
    }
}
