//! [`TcpSocket`], one file for each thing that a user does with it.

mod accept;
mod as_fd;
mod as_socket;
mod as_tcp_socket;
mod close;
mod connect;
mod convert;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "there is no session"))]
mod deciphering;
mod errors;
mod expectation;
mod finish;
mod handle;
mod input;
mod limits;
mod lines;
mod listen;
mod open;
mod options;
mod outcome;
mod read;
mod read_buffer;
mod sending;
mod serve;
mod shared;
mod source;
mod spare;
mod special;
mod split;
mod std_read;
mod std_write;
#[cfg(feature = "websocket")]
mod steps;
mod sticky;
#[cfg(feature = "tls")]
mod tls;
mod try_wait;
mod unix;
mod wait;
mod whole;
mod write;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::accept::Incoming;
pub use self::as_tcp_socket::AsTcpSocket;
use self::connect::Connecting;
pub use self::handle::SocketHandle;
use self::input::Input;
pub use self::listen::ListenOptions;
use self::outcome::Outcome;
pub use self::serve::Served;
pub(crate) use self::shared::Stop;
#[cfg(feature = "websocket")]
pub(crate) use self::spare::Ahead;
use self::special::Special;
pub use self::split::{TcpReader, TcpWriter, UnsplitError};
#[cfg(feature = "websocket")]
pub(crate) use self::steps::{Operation, Step};
use self::sticky::Directions;
use self::try_wait::Progress;
use crate::deadline::check_global;
use crate::error::{Error, Result};
use crate::opening::{Opening, SocketId};
use crate::raw_wait::{Chosen, RawWait};
use crate::registry::ShutdownRegistry;

/// A blocking socket that something else can end: a listener, a connection, or not open yet.
///
/// An operation blocks until its work is done, its [limit](TcpSocket::timeout) is over, or one of these ends it:
///
/// - [`close`](TcpSocket::close): the operation returns [`Error::Closed`]. Other threads and signal handlers close by a
///   [`SocketHandle`];
/// - [`abort`](TcpSocket::abort): it returns [`Error::Aborted`], and the socket stays open;
/// - the socket's [`ShutdownRegistry`]: it returns [`Error::Shutdown`].
///
/// A limit or an abort loses no byte: the caller has got what was read, or the next read gets it. Closing the socket
/// drops the bytes that it has read ahead.
///
/// An I/O error is sticky, as in U++, and so is whatever else makes `get_all`, `put_all` or `get_line` fail, unless this
/// program has ended it: every later operation *of that direction* returns the same error until
/// [`clear_error`](TcpSocket::clear_error), or until the socket is opened again. A failed write leaves what the peer has
/// answered to be read, and the other way round.
///
/// Dropping the socket closes it.
///
/// For options that have no method here, and to read options back, use `wakesock::socket2::SockRef::from(&socket)`: see
/// [`as_fd`](TcpSocket#method.as_fd).
///
/// # Examples
///
/// A server and its client:
///
/// ```
/// use std::thread;
/// use wakesock::{Error, TcpSocket};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// let port = listener.local_addr()?.port();
/// let server = thread::spawn(move || -> Result<(), Error> {
///     let mut connection = listener.accept_new()?;
///     while let Some(line) = connection.get_line()? {
///         connection.put_all(format!("you said {line}\n").as_bytes())?;
///     }
///     Ok(())
/// });
///
/// let mut client = TcpSocket::new();
/// client.connect("localhost", port)?;
/// client.put_all(b"hello\n")?;
/// assert_eq!(client.get_line()?.as_deref(), Some("you said hello"));
/// client.close();
/// server.join().unwrap()?;
/// # Ok::<(), Error>(())
/// ```
///
/// From the standard library's socket, and back:
///
/// ```
/// use std::net::TcpStream;
/// use wakesock::TcpSocket;
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let addr = server.local_addr().unwrap();
/// let socket = TcpSocket::from(TcpStream::connect(addr)?);
/// assert!(socket.is_open());
/// let stream = TcpStream::try_from(socket)?;
/// assert_eq!(stream.peer_addr()?, addr);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "TcpListener")]
#[doc(alias = "TcpStream")]
#[doc(alias = "UnixStream")]
#[doc(alias = "Socket")]
#[doc(alias = "net.Conn")]
#[doc(alias = "net.Listener")]
pub struct TcpSocket {
    opening: Arc<Opening>,
    /// The next opening, made early for a handle that refers to it.
    next: OnceLock<Arc<Opening>>,
    registry: ShutdownRegistry,
    raw_wait: Chosen,
    /// Takes the place of `raw_wait` at the next opening.
    next_raw_wait: Option<Arc<dyn RawWait>>,
    connecting: Option<Connecting>,
    input: Input,
    /// How long each operation may take.
    limit: Option<Duration>,
    special: Special,
    last: Outcome,
}

impl TcpSocket {
    /// Makes a socket that is not open yet, blocks without limit, belongs to the global registry and waits in
    /// [`MioWait`](crate::MioWait).
    ///
    /// ```
    /// let socket = wakesock::TcpSocket::new();
    /// assert!(!socket.is_open() && socket.is_blocking());
    /// ```
    pub fn new() -> TcpSocket {
        TcpSocket::with_registry(ShutdownRegistry::global())
    }

    /// Makes a socket as [`new`](TcpSocket::new) does, in `registry` instead of the global one.
    ///
    /// ```
    /// use wakesock::{Error, ShutdownRegistry, TcpSocket};
    ///
    /// let registry = ShutdownRegistry::new();
    /// let mut listener = TcpSocket::with_registry(&registry);
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// registry.shutdown();
    /// assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_registry(registry: &ShutdownRegistry) -> TcpSocket {
        TcpSocket::unopened(registry.clone(), Chosen::default())
    }

    fn unopened(registry: ShutdownRegistry, raw_wait: Chosen) -> TcpSocket {
        TcpSocket::of(Opening::new(), registry, raw_wait)
    }

    /// Makes a socket, or half of one, over `opening`.
    fn of(opening: Arc<Opening>, registry: ShutdownRegistry, raw_wait: Chosen) -> TcpSocket {
        TcpSocket {
            opening,
            next: OnceLock::new(),
            registry,
            raw_wait,
            next_raw_wait: None,
            connecting: None,
            input: Input::default(),
            limit: None,
            special: Special::default(),
            last: Outcome::default(),
        }
    }

    /// Chooses what operations block in, from the next opening on.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use wakesock::{TcpSocket, ThreadWait};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.set_raw_wait(Arc::new(ThreadWait::default()));
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn set_raw_wait(&mut self, raw_wait: Arc<dyn RawWait>) -> &mut Self {
        self.next_raw_wait = Some(raw_wait);
        self
    }

    /// The id of what is open now, else of what was open last or, if nothing ever was, of the next opening.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    /// assert_ne!(TcpSocket::new().id(), TcpSocket::new().id());
    /// ```
    pub fn id(&self) -> SocketId {
        self.opening.id()
    }

    /// Whether the socket is a connection or a listener that this program has not ended. What the peer does changes
    /// nothing.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.close();
    /// assert!(socket.is_open()); // The peer has gone, but this end is still there.
    /// socket.close();
    /// assert!(!socket.is_open());
    /// ```
    pub fn is_open(&self) -> bool {
        self.opening.is_open()
    }

    /// Whether there is nothing more to read: the peer has ended the stream, and all its bytes were taken. Also true,
    /// as in U++, of a socket that is not open, is aborted, or whose reading is in the error state.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"bye")?;
    /// peer.close();
    /// assert_eq!(socket.get_bytes(3)?, b"bye");
    /// assert!(!socket.is_eof()); // No read has looked further yet.
    /// assert_eq!(socket.get_byte()?, None);
    /// assert!(socket.is_eof());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_eof(&self) -> bool {
        self.input.is_at_end() || self.is_abort() || !self.is_open() || self.special.error(Directions::READ).is_some()
    }

    /// Whether the last operation ran out of time: U++'s name of [`timed_out`](TcpSocket::timed_out).
    ///
    /// An operation that takes `&self` ([`accept_new`](TcpSocket::accept_new)) doesn't set it: see the error that it
    /// returns.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hel")?;
    /// # socket.wait_read()?;
    /// socket.timeout(Duration::from_millis(5));
    /// assert_eq!(socket.get_bytes(5)?, b"hel");
    /// assert!(socket.is_timeout()); // and not the end of the stream
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_timeout(&self) -> bool {
        self.last.is_timeout()
    }

    /// Whether the last operation ran out of time: [`is_timeout`](TcpSocket::is_timeout), by the name that the standard library
    /// has for the end of a wait.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.timeout(Duration::from_millis(5));
    /// assert!(socket.get_byte().is_err() && socket.timed_out());
    /// ```
    #[doc(alias = "IsTimeout")]
    pub fn timed_out(&self) -> bool {
        self.is_timeout()
    }

    /// How many bytes the last operation of the `get` or `put` family has moved: after U++'s `GetDone`, and a count, not whether
    /// something is over. [`transferred`](TcpSocket::transferred) is the same.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// // More than the system takes while the peer doesn't read.
    /// let data = vec![0; 64 << 20];
    /// socket.timeout(Duration::from_millis(5));
    /// assert!(socket.put_all(&data).unwrap_err().is_timeout());
    /// let sent = socket.done();
    /// socket.close();
    /// assert_eq!(peer.get_bytes(data.len())?.len(), sent);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "GetDone")]
    pub fn done(&self) -> usize {
        self.last.done()
    }

    /// How many bytes the last operation of the `get` or `put` family has moved: [`done`](TcpSocket::done), by a name that reads as a
    /// count.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.put_all(b"hello")?;
    /// assert_eq!(socket.transferred(), 5);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "GetDone")]
    pub fn transferred(&self) -> usize {
        self.done()
    }

    /// The current opening: open, ended, or not open yet.
    pub(crate) fn opening(&self) -> &Arc<Opening> {
        &self.opening
    }

    /// Tells queues whether there is something to read of which the system doesn't know, after an operation that may have changed
    /// that: bytes in the buffer or, under TLS, an end or a failure.
    ///
    /// While there is, bytes can be taken without telling the queues again, except the last one.
    #[inline(always)]
    fn publish_unread(&mut self) {
        let unread = !self.input.buffer.is_empty() || self.special.has_end_inside();
        self.opening
            .set_unread(unread, || self.input.is_drained(), || self.special.has_end_inside());
        if unread && self.special.allows_fast_path() {
            self.input.buffer.allow_fast_path();
        }
    }

    /// Begins an operation: resets what the last one has left, and fails if none may begin.
    #[inline]
    fn begin(&mut self, directions: Directions) -> Result<()> {
        self.last = Outcome::default();
        if self.special.is_none() {
            self.opening.check_open()
        } else {
            self.begin_special(directions)
        }
    }

    #[cold]
    fn begin_special(&mut self, directions: Directions) -> Result<()> {
        if self.special.error(directions).is_some_and(Error::is_timeout) {
            self.last.set_timeout();
        }
        self.ready(directions)?;
        let in_time = check_global(self.special.run_ends());
        self.remember_failure(directions, in_time)
    }

    /// Begins an operation in the long way. If a first step was made, nothing was special.
    fn begin_after(&mut self, directions: Directions, first: Option<usize>, progress: &mut Progress) -> Result<()> {
        if first.is_none() && progress.is_new() {
            self.begin(directions)?;
            progress.deadline = self.deadline();
        } else {
            self.begin_nothing();
        }
        Ok(())
    }

    /// Begins and ends an operation on zero bytes.
    fn begin_nothing(&mut self) {
        self.last = Outcome::default();
    }

    /// Fails if no operation of these directions may begin: in the error state, or while the socket isn't open.
    #[inline]
    fn ready(&self, directions: Directions) -> Result<()> {
        match self.special.error(directions) {
            Some(error) => Err(error.clone()),
            None => self.opening.check_open(),
        }
    }
}

impl Default for TcpSocket {
    fn default() -> TcpSocket {
        TcpSocket::new()
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket")
            .field("opening", &self.opening)
            .field("limit", &self.limit)
            .field("unread", &self.input.buffer.len())
            .field("eof", &self.is_eof())
            .field("error", &self.error())
            .finish_non_exhaustive()
    }
}
