//! [`TcpListener`].

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::addr;
use super::convert::conversions;
use super::methods::methods;
use super::shared::Shared;
use super::{Incoming, TcpStream};
use crate::registry::ShutdownRegistry;
use crate::socket::TcpSocket;

/// A listener with the methods of [`std::net::TcpListener`], which something else can end.
///
/// Dropping it, and its clones, closes it.
///
/// ```
/// use std::io::Write;
/// use std::thread;
/// use wakesock::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let handle = listener.handle();
/// let server = thread::spawn(move || {
///     for client in listener.incoming() {
///         client?.write_all(b"hello")?;
///     }
///     Ok::<(), std::io::Error>(()) // comes here, once it is closed
/// });
///
/// assert_eq!(std::io::read_to_string(TcpStream::connect(addr)?)?, "hello");
/// handle.close();
/// server.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    pub(super) shared: Shared,
}

methods!(TcpListener, "listener");
conversions!(TcpListener: std::net::TcpListener, listener true, unix false);

impl TcpListener {
    /// Listens on the first of the addresses of `addr` that the system grants, in the global registry.
    ///
    /// Blocks only to look a name up, which nothing ends.
    ///
    /// # Errors
    ///
    /// The system's; `InvalidInput` if there is no address; [`Shutdown`](crate::Error::Shutdown) inside, if the registry takes no
    /// more.
    ///
    /// ```
    /// use wakesock::net::TcpListener;
    ///
    /// let listener = TcpListener::bind(("127.0.0.1", 0))?;
    /// let taken = TcpListener::bind(listener.local_addr()?).unwrap_err();
    /// assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        TcpListener::bind_in(ShutdownRegistry::global(), addr)
    }

    /// Listens as [`bind`](TcpListener::bind) does, in `registry`. The connections will be in it, too.
    ///
    /// ```
    /// use wakesock::ShutdownRegistry;
    /// use wakesock::net::TcpListener;
    ///
    /// let registry = ShutdownRegistry::new();
    /// let listener = TcpListener::bind_in(&registry, "127.0.0.1:0")?;
    /// registry.shutdown();
    /// assert!(listener.incoming().next().is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_in<A: ToSocketAddrs>(registry: &ShutdownRegistry, addr: A) -> io::Result<TcpListener> {
        let mut socket = TcpSocket::with_registry(registry);
        addr::listen(&mut socket, addr)?;
        Ok(TcpListener::of(Shared::new(socket)))
    }

    /// The address that it listens on. Doesn't block.
    ///
    /// ```
    /// let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0); // the one that the system chose
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.local_addr()
    }

    /// Waits for a client. Any number of threads may wait at once, and each client goes to one of them.
    ///
    /// Blocks until there is one, or something ends the listener: a [handle](TcpListener::handle), also a clone's, or the registry.
    /// After [`stop_accepting`](ShutdownRegistry::stop_accepting) the clients that were waiting then still come. A client that is gone
    /// before it is accepted is passed over.
    ///
    /// # Errors
    ///
    /// The system's, for example that no descriptor is left: the next call tries again. `WouldBlock` in non-blocking mode. Once the
    /// listener was ended, one that says inside by what: see the [module's page](crate::net#errors).
    ///
    /// ```
    /// use wakesock::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (_connection, addr) = listener.accept()?;
    /// assert_eq!(addr, client.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let shared = self.shared.accept()?;
        let addr = shared.accepted_from()?;
        Ok((TcpStream::of(shared), addr))
    }

    /// Accepts client after client, until the listener is ended: see [`Incoming`].
    ///
    /// ```
    /// use wakesock::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// for connection in listener.incoming() {
    ///     assert_eq!(connection?.peer_addr()?, client.local_addr()?);
    ///     listener.handle().close();
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming::new(self)
    }

    /// Sets the time to live of what the connections send: `IP_TTL`, ip(7).
    ///
    /// ```
    /// let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_ttl(32)?;
    /// assert_eq!(listener.ttl()?, 32);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.shared.with_options("set_ttl", |socket| socket.set_ttl_v4(ttl))
    }

    /// The time to live of what the connections send: `IP_TTL`, ip(7).
    ///
    /// ```
    /// let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(listener.ttl()? > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.shared.with_options("ttl", |socket| socket.ttl_v4())
    }

    /// Sets `IPV6_V6ONLY`, ipv6(7), which systems refuse for a socket that is bound already.
    ///
    /// ```
    /// # #![allow(deprecated)]
    /// let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(listener.set_only_v6(true).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[deprecated(note = "it has to be set before a socket is bound: `ListenOptions::only_v6`")]
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        self.shared
            .with_options("set_only_v6", |socket| socket.set_only_v6(only_v6))
    }

    /// Whether only clients by IPv6 are let in: `IPV6_V6ONLY`, ipv6(7).
    ///
    /// ```
    /// # #![allow(deprecated)]
    /// let listener = wakesock::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(listener.only_v6().is_err()); // it is of IPv4
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[deprecated(note = "it has to be set before a socket is bound: `ListenOptions::only_v6`")]
    pub fn only_v6(&self) -> io::Result<bool> {
        self.shared.with_options("only_v6", |socket| socket.only_v6())
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("TcpListener");
        if let Ok(addr) = self.local_addr() {
            text.field("addr", &addr);
        }
        text.field(crate::sys::NUMBER, &self.shared.socket().raw_socket())
            .finish()
    }
}
