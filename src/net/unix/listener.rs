//! [`UnixListener`].

use std::fmt;
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use super::{Incoming, UnixStream};
use crate::net::convert::conversions;
use crate::net::methods::methods;
use crate::net::shared::Shared;
use crate::registry::ShutdownRegistry;
use crate::sys;

/// A listener with the methods of [`std::os::unix::net::UnixListener`], which something else can end.
///
/// Dropping it, and its clones, closes it, and leaves its file, as in the standard library.
///
/// ```
/// use std::io::Write;
/// use std::thread;
/// use wakesock::net::unix::{UnixListener, UnixStream};
///
/// # let path = std::env::temp_dir().join(format!("wakesock-listener-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let handle = listener.handle();
/// let server = thread::spawn(move || {
///     for client in listener.incoming() {
///         client?.write_all(b"hello")?;
///     }
///     Ok::<(), std::io::Error>(()) // comes here, once it is closed
/// });
///
/// assert_eq!(std::io::read_to_string(UnixStream::connect(&path)?)?, "hello");
/// handle.close();
/// server.join().unwrap()?;
/// std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    pub(in crate::net) shared: Shared,
}

methods!(UnixListener, "listener");
conversions!(UnixListener: std::os::unix::net::UnixListener, listener true, unix true);

impl UnixListener {
    /// Listens on `path`, in the global registry. Doesn't block.
    ///
    /// ```
    /// use wakesock::net::unix::UnixListener;
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-bind-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let taken = UnixListener::bind(&path).unwrap_err();
    /// assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::bind_in(ShutdownRegistry::global(), path)
    }

    /// Listens as [`bind`](UnixListener::bind) does, in `registry`. The connections will be in it, too.
    ///
    /// ```
    /// use wakesock::ShutdownRegistry;
    /// use wakesock::net::unix::UnixListener;
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-bind-in-{}", std::process::id()));
    /// let registry = ShutdownRegistry::new();
    /// let listener = UnixListener::bind_in(&registry, &path)?;
    /// registry.shutdown();
    /// assert!(listener.incoming().next().is_none());
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_in<P: AsRef<Path>>(registry: &ShutdownRegistry, path: P) -> io::Result<UnixListener> {
        let bind = || std::os::unix::net::UnixListener::bind(path);
        Shared::own(registry, true, bind).map(UnixListener::of)
    }

    /// Listens on an address, which on Linux may be one without a file, in the global registry. Doesn't block.
    ///
    /// ```
    /// use std::os::unix::net::SocketAddr;
    /// use wakesock::net::unix::UnixListener;
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-bind-addr-{}", std::process::id()));
    /// let listener = UnixListener::bind_addr(&SocketAddr::from_pathname(&path)?)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixListener> {
        let bind = || std::os::unix::net::UnixListener::bind_addr(addr);
        Shared::own(ShutdownRegistry::global(), true, bind).map(UnixListener::of)
    }

    /// Waits for a client. Blocks, and is ended, as [`TcpListener::accept`](crate::net::TcpListener::accept).
    ///
    /// ```
    /// use wakesock::net::unix::{UnixListener, UnixStream};
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-accept-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let _client = UnixStream::connect(&path)?;
    /// let (_connection, addr) = listener.accept()?;
    /// assert!(addr.is_unnamed());
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let shared = self.shared.accept()?;
        let stream = UnixStream::of(shared);
        let addr = match stream.peer_addr() {
            // Some systems don't tell the address of a peer that is gone already.
            Err(error) if error.raw_os_error().is_some() => SocketAddr::from_pathname("")?,
            addr => addr?,
        };
        Ok((stream, addr))
    }

    /// The address that it listens on. Doesn't block.
    ///
    /// ```
    /// use wakesock::net::unix::UnixListener;
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-local-addr-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared
            .with_options("local_addr", |socket| sys::unix_local_addr(sys::borrowed(socket)))
    }

    /// Accepts client after client, until the listener is ended: see [`Incoming`].
    ///
    /// ```
    /// use wakesock::net::unix::{UnixListener, UnixStream};
    ///
    /// # let path = std::env::temp_dir().join(format!("wakesock-incoming-of-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// let _client = UnixStream::connect(&path)?;
    /// for connection in listener.incoming() {
    ///     assert!(connection?.peer_addr()?.is_unnamed());
    ///     listener.handle().close();
    /// }
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming::new(self)
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("UnixListener");
        text.field(sys::NUMBER, &self.shared.socket().raw_socket());
        if let Ok(addr) = self.local_addr() {
            text.field("local", &addr);
        }
        text.finish()
    }
}
