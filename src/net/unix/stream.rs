//! [`UnixStream`].

use std::fmt;
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use crate::net::convert::conversions;
use crate::net::errors::bare;
use crate::net::methods::{methods, stream};
use crate::net::shared::Shared;
use crate::registry::ShutdownRegistry;
use crate::socket::TcpSocket;
use crate::sys;

/// A connection with the methods of [`std::os::unix::net::UnixStream`], which something else can end.
///
/// [`Read`](io::Read) and [`Write`](io::Write) are there for `&UnixStream`, too: any number of threads may share one. Dropping it,
/// and its clones, closes it.
///
/// ```
/// use std::io::{Read, Write};
/// use wakesock::net::unix::UnixStream;
///
/// let (mut left, mut right) = UnixStream::pair()?;
/// left.write_all(b"hello")?;
/// let mut hello = [0; 5];
/// right.read_exact(&mut hello)?;
/// assert_eq!(&hello, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream {
    pub(in crate::net) shared: Shared,
}

methods!(UnixStream, "stream");
stream!(UnixStream);
conversions!(UnixStream: std::os::unix::net::UnixStream, listener false, unix true);

impl UnixStream {
    /// Connects to the listener on `path`, in the global registry. Blocks while the listener's queue is full; the registry ends
    /// that.
    ///
    /// ```
    /// use wakesock::net::unix::UnixStream;
    ///
    /// let error = UnixStream::connect("/no/such/file").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_in(ShutdownRegistry::global(), path)
    }

    /// Connects as [`connect`](UnixStream::connect) does, in `registry`.
    ///
    /// ```
    /// use wakesock::net::unix::UnixStream;
    /// use wakesock::{Error, ShutdownRegistry};
    ///
    /// let registry = ShutdownRegistry::new();
    /// registry.shutdown();
    /// let error = UnixStream::connect_in(&registry, "/some/file").unwrap_err();
    /// assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(Error::Shutdown)));
    /// ```
    pub fn connect_in<P: AsRef<Path>>(registry: &ShutdownRegistry, path: P) -> io::Result<UnixStream> {
        connect_in(registry, &SocketAddr::from_pathname(path)?)
    }

    /// Connects to the listener on an address, which on Linux may be one without a file, as [`connect`](UnixStream::connect) does.
    ///
    /// ```
    /// use wakesock::net::unix::{UnixListener, UnixStream};
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-connect-addr-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let stream = UnixStream::connect_addr(&listener.local_addr()?)?;
    /// assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_addr(addr: &SocketAddr) -> io::Result<UnixStream> {
        connect_in(ShutdownRegistry::global(), addr)
    }

    /// Makes two that are connected with each other, in the global registry. Doesn't block.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use wakesock::net::unix::UnixStream;
    ///
    /// let (mut left, right) = UnixStream::pair()?;
    /// left.write_all(b"hello")?;
    /// drop(left);
    /// assert_eq!(std::io::read_to_string(right)?, "hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (left, right) = std::os::unix::net::UnixStream::pair()?;
        let own = |stream| Shared::own(ShutdownRegistry::global(), false, || Ok(stream)).map(UnixStream::of);
        Ok((own(left)?, own(right)?))
    }

    /// The address of this end. Doesn't block.
    ///
    /// ```
    /// let (left, _right) = wakesock::net::unix::UnixStream::pair()?;
    /// assert!(left.local_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared
            .with_options("local_addr", |socket| sys::unix_local_addr(sys::borrowed(socket)))
    }

    /// The address of the other end. Doesn't block.
    ///
    /// ```
    /// let (left, _right) = wakesock::net::unix::UnixStream::pair()?;
    /// assert!(left.peer_addr()?.is_unnamed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.shared
            .with_options("peer_addr", |socket| sys::unix_peer_addr(sys::borrowed(socket)))
    }
}

fn connect_in(registry: &ShutdownRegistry, addr: &SocketAddr) -> io::Result<UnixStream> {
    let mut socket = TcpSocket::with_registry(registry);
    // The text is for the log only.
    let connected = socket.connect_unix(format_args!("{addr:?}"), sys::from_unix_addr(addr));
    connected.map_err(bare)?;
    Ok(UnixStream::of(Shared::new(socket)))
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("UnixStream");
        text.field(sys::NUMBER, &self.shared.socket().raw_socket());
        if let Ok(addr) = self.local_addr() {
            text.field("local", &addr);
        }
        if let Ok(addr) = self.peer_addr() {
            text.field("peer", &addr);
        }
        text.finish()
    }
}
