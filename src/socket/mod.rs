//! [`TcpSocket`], one file for each thing that a user does with it.

mod accept;
mod as_fd;
mod as_socket;
mod connect;
mod convert;
mod handle;
mod input;
mod limits;
mod lines;
mod open;
mod operation;
mod options;
mod read;
mod split;
mod unix;
mod wait;
mod write;

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

pub use self::accept::Incoming;
use self::connect::Connecting;
pub use self::handle::SocketHandle;
use self::input::Input;
use self::limits::{Limits, WAIT_STEP};
pub use self::open::ListenOptions;
pub use self::split::{TcpReader, TcpWriter, UnsplitError};
use crate::deadline::Callback;
use crate::error::{Error, Result};
use crate::opening::{Shared, SocketId};
use crate::raw_wait::{MioWait, RawWait};
use crate::registry::ShutdownRegistry;

/// A blocking socket that something else can end: a listener, a connection, or not open yet.
///
/// Its operations block until their work is done, their [limit](TcpSocket::timeout) is over, or somebody ends them:
///
/// - [`close`](TcpSocket::close), mostly through a [`SocketHandle`], which works from other threads and from signal
///   handlers: they return [`Error::Closed`];
/// - [`abort`](TcpSocket::abort): they return [`Error::Aborted`], and the socket stays open;
/// - the socket's [`ShutdownRegistry`]: they return [`Error::Shutdown`].
///
/// A limit or an abort loses no byte: what had been read is in the caller's hands, or in the socket for the next read.
/// What a socket that is closed had read ahead is gone with it.
///
/// An I/O error is sticky, as in U++, and so is any failure of `get_all`, `put_all` and `get_line`: it is reported
/// again by each operation until [`clear_error`](TcpSocket::clear_error), or until the socket is opened again.
///
/// Dropping it closes it.
///
/// Socket options that have no method here, and those of `std::net` that are only to be read back, are had through
/// `socket2::SockRef::from(&socket)`: see [`as_fd`](TcpSocket#method.as_fd).
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
pub struct TcpSocket {
    shared: Arc<Shared>,
    /// What the next opening will be, if a handle has asked for that already.
    next: OnceLock<Arc<Shared>>,
    registry: ShutdownRegistry,
    raw_wait: Arc<dyn RawWait>,
    /// Takes the place of `raw_wait` at the next opening.
    next_raw_wait: Option<Arc<dyn RawWait>>,
    connecting: Option<Connecting>,
    input: Input,
    limits: Limits,
    when_wait: Option<Callback>,
    wait_step: Duration,
    timed_out: bool,
    done: usize,
    error: Option<Error>,
}

impl TcpSocket {
    /// A socket that is not open yet, blocks without limit, belongs to the global registry and waits in [`MioWait`].
    ///
    /// ```
    /// let socket = wakesock::TcpSocket::new();
    /// assert!(!socket.is_open() && socket.is_blocking());
    /// ```
    pub fn new() -> TcpSocket {
        TcpSocket::with_registry(ShutdownRegistry::global())
    }

    /// The same, in a registry of one's own.
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
        static DEFAULT: LazyLock<Arc<dyn RawWait>> = LazyLock::new(|| Arc::new(MioWait::default()));
        TcpSocket::unopened(registry.clone(), DEFAULT.clone())
    }

    fn unopened(registry: ShutdownRegistry, raw_wait: Arc<dyn RawWait>) -> TcpSocket {
        TcpSocket::of(Shared::new(), registry, raw_wait)
    }

    /// A socket, or half of one, whose opening is `shared`.
    fn of(shared: Arc<Shared>, registry: ShutdownRegistry, raw_wait: Arc<dyn RawWait>) -> TcpSocket {
        TcpSocket {
            shared,
            next: OnceLock::new(),
            registry,
            raw_wait,
            next_raw_wait: None,
            connecting: None,
            input: Input::default(),
            limits: Limits::default(),
            when_wait: None,
            wait_step: WAIT_STEP,
            timed_out: false,
            done: 0,
            error: None,
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

    // Ending.

    /// Closes the socket. Blocked operations return [`Error::Closed`] at once.
    ///
    /// When it returns, the port can be listened on again and new clients are refused, or the peer has been told: even
    /// if other threads were blocked in [`accept_new`](TcpSocket::accept_new) at that moment. Unsent data is still
    /// delivered; with [`linger`](TcpSocket::linger), this waits for that. A socket that isn't open stays as it is.
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
    pub fn close(&self) {
        if let Some(connecting) = &self.connecting {
            connecting.give_up();
        }
        if self.shared.is_spent() || self.shared.is_open() || self.connecting.is_some() {
            self.shared.close();
        }
    }

    /// Makes blocked and later operations return [`Error::Aborted`], until [`clear_abort`](TcpSocket::clear_abort).
    ///
    /// The socket stays open. On one that isn't open yet, it ends the next opening; one that was closed has nothing to
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
    pub fn abort(&self) {
        crate::sys::keep_errno(|| self.shared.abort());
    }

    /// Whether `abort` is in force.
    ///
    /// ```
    /// let socket = wakesock::TcpSocket::new();
    /// socket.abort();
    /// assert!(socket.is_abort());
    /// socket.clear_abort();
    /// assert!(!socket.is_abort());
    /// ```
    pub fn is_abort(&self) -> bool {
        self.shared.is_aborted()
    }

    /// Lets operations go on after `abort`. Where it has ended a `get_all`, a `put_all` or a line, their failure is
    /// sticky: [`clear_error`](TcpSocket::clear_error), too.
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
        self.shared.clear_abort();
    }

    /// What other threads and signal handlers end this socket with.
    ///
    /// A handle speaks of the connection or listener that is open now or, if none is, of the next to be opened. A
    /// signal handler uses one that was taken before: this may allocate.
    ///
    /// ```
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let mut socket = TcpSocket::new();
    /// // Nothing is open yet, so this speaks of what comes next.
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
    pub fn handle(&self) -> SocketHandle {
        let is_over = self.shared.is_spent() || self.connecting.is_some() && self.shared.is_closed();
        SocketHandle::new(if is_over {
            self.next.get_or_init(Shared::new)
        } else {
            &self.shared
        })
    }

    /// Closes the socket, forgets errors, limits, `when_wait` and its step, an `abort`, and what was read and not
    /// taken: back to [`new`](TcpSocket::new).
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
        if self.shared.is_closed() {
            self.renew();
        }
        self.clear_abort();
        self.limits = Limits::default();
        self.when_wait = None;
        self.wait_step = WAIT_STEP;
    }

    // State.

    /// The name of what is open, or was last open, or if nothing ever was, of what will be.
    ///
    /// ```
    /// use wakesock::TcpSocket;
    /// assert_ne!(TcpSocket::new().id(), TcpSocket::new().id());
    /// ```
    pub fn id(&self) -> SocketId {
        self.shared.id()
    }

    /// Whether there is a connection or a listener, as far as this program is concerned: what the peer does is no
    /// matter.
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
        self.shared.is_open()
    }

    /// Whether there is nothing more to read: the peer has ended the stream and all of it was taken. Still true of a
    /// socket that is not open, aborted or in the error state, as in U++.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"bye")?;
    /// peer.close();
    /// assert_eq!(socket.get_bytes(3)?, b"bye");
    /// assert!(!socket.is_eof()); // Nobody has looked further yet.
    /// assert_eq!(socket.get_byte()?, None);
    /// assert!(socket.is_eof());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn is_eof(&self) -> bool {
        self.input.is_at_end() || self.is_abort() || !self.is_open() || self.is_error()
    }

    /// Whether the last operation ran out of time.
    ///
    /// For operations that take `&self` ([`accept_new`](TcpSocket::accept_new)), their error tells.
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
        self.timed_out
    }

    /// How many bytes the last `get` or `put`, or a related call, has moved.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// // More than the system takes while nobody reads.
    /// let data = vec![0; 64 << 20];
    /// socket.timeout(Duration::from_millis(5));
    /// assert!(socket.put_all(&data).unwrap_err().is_timeout());
    /// let sent = socket.done();
    /// socket.close();
    /// assert_eq!(peer.get_bytes(data.len())?.len(), sent);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn done(&self) -> usize {
        self.done
    }

    /// Whether the socket is in the error state.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.close();
    /// // Something was to come, so that this is an error, and a sticky one.
    /// assert!(socket.get_all_bytes(4).is_err());
    /// assert!(socket.is_error());
    /// assert!(socket.put(b"hello").is_err());
    /// ```
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// The error that put the socket into the error state.
    ///
    /// ```
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.close();
    /// let _ = socket.get_all_bytes(4);
    /// assert!(matches!(socket.error(), Some(Error::UnexpectedEof)));
    /// ```
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// The text of [`error`](TcpSocket::error), empty if there is none.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// assert_eq!(socket.error_desc(), "");
    /// peer.close();
    /// let _ = socket.get_all_bytes(4);
    /// assert_eq!(socket.error_desc(), "stream ended too early");
    /// ```
    pub fn error_desc(&self) -> String {
        self.error.as_ref().map(Error::to_string).unwrap_or_default()
    }

    /// Leaves the error state: operations go on where they stood.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"hel")?;
    /// socket.timeout(Duration::from_millis(5));
    /// assert!(socket.get_line().unwrap_err().is_timeout());
    /// peer.put_all(b"lo\n")?;
    /// assert!(socket.get_line().unwrap_err().is_timeout()); // still
    /// socket.clear_error();
    /// # socket.blocking();
    /// assert_eq!(socket.get_line()?.as_deref(), Some("hello"));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn clear_error(&mut self) {
        self.error = None;
    }

    // For the other files.

    /// What is open, or was, or will be.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes note of whether there is something in the buffer, after an operation that may have changed that.
    ///
    /// From then on the queues know of it, so that what follows can be taken without telling them, until the last.
    fn publish_unread(&mut self) {
        self.shared.set_unread(!self.input.is_empty(), self.input.is_drained());
        if self.error.is_none() && self.limits.all.is_none() {
            self.input.lay_out();
        }
    }

    /// What every operation begins with.
    #[inline]
    fn begin(&mut self) -> Result<()> {
        self.timed_out = self.error.as_ref().is_some_and(Error::is_timeout);
        self.done = 0;
        self.ready()?;
        if self.limits.all.is_some() {
            let in_time = self.limits.check_global();
            self.noted(in_time)?;
        }
        Ok(())
    }

    /// All there is to an operation that has nothing to do.
    fn begin_nothing(&mut self) {
        self.timed_out = false;
        self.done = 0;
    }

    /// Whether operations may begin.
    #[inline]
    fn ready(&self) -> Result<()> {
        match &self.error {
            Some(error) => Err(repeated(error)),
            None => self.shared.check_open(),
        }
    }

    /// Keeps in mind how an operation stopped: what is sticky, and whether it was for time.
    fn note(&mut self, error: &Error) {
        match error {
            Error::Timeout => self.timed_out = true,
            Error::GlobalTimeout => {
                self.timed_out = true;
                self.stick(error);
            }
            Error::Io { .. } | Error::Resolve { .. } | Error::Connect { .. } => self.stick(error),
            _ => {}
        }
    }

    /// Puts the socket into the error state.
    fn stick(&mut self, error: &Error) {
        self.error = Some(error.clone());
        self.input.put_away();
    }

    /// The same, where any failure is sticky.
    fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.note(&error);
        self.stick(&error);
        Err(error)
    }

    /// The same, where what has come is left in the buffer.
    fn fail_and_leave<T>(&mut self, error: Error) -> Result<T> {
        // For a queue, a part is nothing to read until more has come: else a server that asks for whole lines, and
        // waits in between, would be told of half a line again and again.
        let is_a_part = error.is_timeout();
        self.shared.set_unread(!self.input.is_empty() && !is_a_part, false);
        self.fail(error)
    }

    /// Notes how an operation ended that gives all or nothing of something.
    fn noted<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    /// The result of an operation that has moved `done` bytes when `stop` stopped it.
    fn moved(&mut self, done: usize, stop: Option<Error>) -> Result<usize> {
        self.done = done;
        match stop {
            None => Ok(done),
            Some(error) => {
                self.note(&error);
                if done > 0 { Ok(done) } else { Err(error) }
            }
        }
    }
}

/// A sticky error, reported again.
#[cold]
fn repeated(error: &Error) -> Error {
    error.clone()
}

impl Default for TcpSocket {
    fn default() -> TcpSocket {
        TcpSocket::new()
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        if self.shared.disown() {
            // Whatever has become of it: an opening that failed may still belong to the registry.
            self.shared.close();
            self.shared.forget_socket();
        }
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpSocket")
            .field("shared", &self.shared)
            .field("limits", &self.limits)
            .field("unread", &self.input.len())
            .field("eof", &self.is_eof())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
