//! [`SocketHandle`], which ends a socket from elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::deadline::AtomicMoment;
use crate::opening::{Direction, Opening, SocketId};
use crate::registry::EndedBy;
use crate::sys;

/// Ends a socket from another thread or from a signal handler.
///
/// A handle refers to what was open when it was taken or, if nothing was, to the next opening. Once the
/// [`TcpSocket`](crate::TcpSocket) is closed and opened again, old handles do nothing. A handle keeps no descriptor
/// open. What connects again and again is ended by a [`ShutdownRegistry`](crate::ShutdownRegistry) of its own.
///
/// How to end what is blocked, and what follows:
///
/// | | the blocked operation returns | later operations | the peer |
/// |---|---|---|---|
/// | [`close`](SocketHandle::close) | [`Closed`](crate::Error::Closed) | the same | sees the end of the stream |
/// | [`abort`](SocketHandle::abort) | [`Aborted`](crate::Error::Aborted) | the same, in both directions, until [`clear_abort`](crate::TcpSocket::clear_abort) | notices nothing |
/// | [`read_deadline`](SocketHandle::read_deadline), [`write_deadline`](SocketHandle::write_deadline) in the past | [`Timeout`](crate::Error::Timeout) | in that direction: take what is there, else the same, until it is lifted | notices nothing |
/// | [`ShutdownRegistry::shutdown`](crate::ShutdownRegistry::shutdown) | [`Shutdown`](crate::Error::Shutdown) | the same | sees the end of the stream |
///
/// A `get` or `put` that has moved something returns how much, and the next one says why it was ended.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use wakesock::{Error, TcpSocket};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// let handle = listener.handle();
/// let blocked = thread::spawn(move || listener.accept_new().map(drop));
/// handle.close();
/// assert!(matches!(blocked.join().unwrap(), Err(Error::Closed)));
/// assert!(!handle.is_open());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "CancellationToken")]
pub struct SocketHandle {
    opening: Arc<Opening>,
}

impl SocketHandle {
    pub(super) fn new(opening: &Arc<Opening>) -> SocketHandle {
        AtomicMoment::prepare();
        SocketHandle {
            opening: Arc::clone(opening),
        }
    }

    /// The id of the opening that this handle refers to. Async-signal-safe.
    ///
    /// ```
    /// let socket = wakesock::TcpSocket::new();
    /// assert_eq!(socket.handle().id(), socket.id());
    /// ```
    pub fn id(&self) -> SocketId {
        self.opening.id()
    }

    /// Whether the opening that this handle refers to is open. Async-signal-safe.
    ///
    /// ```
    /// let mut listener = wakesock::TcpSocket::new();
    /// let handle = listener.handle();
    /// assert!(!handle.is_open());
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// assert!(handle.is_open());
    /// drop(listener);
    /// assert!(!handle.is_open());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_open(&self) -> bool {
        self.opening.is_open()
    }

    /// Closes the socket. Blocked operations return [`Error::Closed`](crate::Error::Closed) at once, and so do later
    /// ones.
    ///
    /// Async-signal-safe: it takes no lock, allocates nothing, doesn't wait and keeps errno. It doesn't wait for a
    /// [`linger`](crate::TcpSocket::linger) limit either. The connection or listener is gone when the last thread has
    /// left its operation; at once, if no thread was in one.
    ///
    /// It may be called any number of times, from any number of threads and handlers. If the handle refers to the next
    /// opening, that one fails with `Closed`.
    ///
    /// # Examples
    ///
    /// From another thread, while a read is blocked:
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let handle = socket.handle();
    /// let blocked = thread::spawn(move || socket.get_byte());
    /// handle.close();
    /// assert!(matches!(blocked.join().unwrap(), Err(Error::Closed)));
    /// assert_eq!(peer.get_byte()?, None); // The peer sees the end of the stream.
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// From a signal handler:
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use wakesock::{Error, SocketHandle, TcpSocket};
    ///
    /// static SERVER: OnceLock<SocketHandle> = OnceLock::new();
    ///
    /// extern "C" fn on_signal(_signal: libc::c_int) {
    ///     if let Some(server) = SERVER.get() {
    ///         server.close();
    ///     }
    /// }
    ///
    /// let mut server = TcpSocket::new();
    /// server.listen_on("127.0.0.1:0", &Default::default())?;
    /// SERVER.get_or_init(|| server.handle());
    /// let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    /// // SAFETY: the handler does only what is async-signal-safe.
    /// unsafe { libc::signal(libc::SIGTERM, handler) };
    /// # // SAFETY: there is a handler for it.
    /// # unsafe { libc::raise(libc::SIGTERM) };
    /// // After `kill -TERM`:
    /// assert!(matches!(server.accept_new(), Err(Error::Closed)));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "cancel")]
    pub fn close(&self) {
        sys::keep_errno(|| self.opening.end(EndedBy::Owner));
    }

    /// Makes operations return [`Error::Aborted`](crate::Error::Aborted), of both directions; see
    /// [`TcpSocket::abort`](crate::TcpSocket::abort). Async-signal-safe.
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hel")?;
    /// let handle = socket.handle();
    /// let blocked = thread::spawn(move || (socket.get_line(), socket));
    /// handle.abort();
    /// let (result, mut socket) = blocked.join().unwrap();
    /// assert!(matches!(result, Err(Error::Aborted)));
    /// // The socket is still open, and nothing is lost.
    /// socket.clear_abort();
    /// peer.put_all(b"lo\n")?;
    /// assert_eq!(socket.get_line()?.as_deref(), Some("hello"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn abort(&self) {
        self.opening.abort();
    }

    /// Sets when operations that read or accept stop waiting, those that are blocked included; `None` lifts that.
    /// Async-signal-safe.
    ///
    /// It holds for the connection or listener that this handle refers to, from now on, beside the limits of the operations
    /// themselves, until it is set anew. What it ends returns [`Error::Timeout`](crate::Error::Timeout), as at a
    /// [`timeout`](crate::TcpSocket::timeout): what has come is handed over or stays, and nothing is sticky that isn't then. A
    /// moment in the past ends what is blocked, also if it is lifted at once, and lets later operations take only what is
    /// there. (An operation that begins to block after it was lifted blocks: to end a thread that may not be there yet, leave
    /// it in force.) [`wait`](crate::TcpSocket::wait) counts as reading, unless it waits for
    /// [`WRITE`](crate::WaitEvents::WRITE) alone.
    ///
    /// Unlike [`abort`](SocketHandle::abort), it leaves the writer alone.
    ///
    /// ```
    /// use std::thread;
    /// use std::time::{Duration, Instant};
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let (mut reader, mut writer) = socket.split();
    /// let handle = reader.handle();
    /// let blocked = thread::spawn(move || (reader.get_byte(), reader));
    /// handle.read_deadline(Instant::now());
    /// let (result, mut reader) = blocked.join().unwrap();
    /// assert!(matches!(result, Err(Error::Timeout)));
    /// // Nothing else has ended.
    /// writer.put_all(b"question")?;
    /// # peer.put_all(b"a")?;
    /// handle.read_deadline(Instant::now() + Duration::from_secs(5));
    /// assert_eq!(reader.get_byte()?, Some(b'a'));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "SetReadDeadline")]
    #[doc(alias = "set_read_timeout")]
    pub fn read_deadline(&self, at: impl Into<Option<Instant>>) {
        self.opening.set_deadline(Direction::Read, at.into());
    }

    /// Sets when operations that write or connect stop waiting, those that are blocked included; `None` lifts that.
    /// Async-signal-safe.
    ///
    /// Otherwise as [`read_deadline`](SocketHandle::read_deadline).
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Instant;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// let handle = socket.handle();
    /// // More than the system takes while the peer doesn't read.
    /// let blocked = thread::spawn(move || (socket.put_all(&vec![0; 64 << 20]), socket));
    /// handle.write_deadline(Instant::now());
    /// let (result, socket) = blocked.join().unwrap();
    /// assert!(result.unwrap_err().is_timeout());
    /// assert!(socket.done() < 64 << 20);
    /// # drop(peer);
    /// ```
    #[doc(alias = "SetWriteDeadline")]
    #[doc(alias = "set_write_timeout")]
    pub fn write_deadline(&self, at: impl Into<Option<Instant>>) {
        self.opening.set_deadline(Direction::Write, at.into());
    }
}

impl fmt::Debug for SocketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketHandle")
            .field("id", &self.id())
            .field("open", &self.is_open())
            .finish()
    }
}
