//! The registry, through which everything can be ended at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::park::AnyParker;
use crate::queue::Center;
use crate::shared::{EndedBy, Shared};
use crate::sync::{AtomicU8, AtomicUsize, back_off, const_fn};
use crate::sys;
use crate::wake::{Hung, Key, List, Wake, WakeList};

/// Knows the sockets and queues that were opened in it, and can end them all: from any thread, or from a signal
/// handler.
///
/// Sockets made by [`TcpSocket::new`](crate::TcpSocket::new) belong to the [global](ShutdownRegistry::global) one. A
/// server that is to end by itself, among others in the same process, makes its own and opens its listener with
/// [`TcpSocket::with_registry`](crate::TcpSocket::with_registry); accepted connections belong to their listener's.
///
/// A clone is another name of the same registry.
///
/// # Examples
///
/// A server that stops accepting, gives running requests five seconds, and goes:
///
/// ```
/// use std::time::Duration;
/// use wakesock::{Error, ShutdownRegistry, TcpSocket};
///
/// let registry = ShutdownRegistry::new();
/// let mut listener = TcpSocket::with_registry(&registry);
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// let addr = listener.local_addr()?;
///
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             for client in listener.incoming() {
///                 let Ok(mut client) = client else { continue };
///                 while let Ok(true) = client.wait_request() {
///                     let Ok(Some(line)) = client.get_line() else { break };
///                     let _ = client.put_all(format!("{line}\n").as_bytes());
///                 }
///             }
///         });
///     }
///     let mut client = TcpSocket::new();
///     client.connect("127.0.0.1", addr.port())?;
///     client.put_all(b"hello\n")?;
///     assert_eq!(client.get_line()?.as_deref(), Some("hello"));
///     client.close();
///     // Elsewhere: a signal (`on_signal`), or whoever has a clone.
///     let drained = registry.drain(Duration::from_secs(5));
///     assert_eq!(drained.forced, 0);
///     Ok::<(), Error>(())
/// })?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct ShutdownRegistry(Reference);

#[derive(Clone)]
enum Reference {
    /// No allocation and no initialisation: a signal handler may be the first to ask for it.
    Global,
    Own(Arc<Inner>),
}

static GLOBAL: ShutdownRegistry = ShutdownRegistry(Reference::Global);
#[cfg(not(all(test, wakesock_loom)))]
static GLOBAL_INNER: Inner = Inner::new();
#[cfg(all(test, wakesock_loom))]
static GLOBAL_INNER: std::sync::LazyLock<Inner> = std::sync::LazyLock::new(Inner::new);

/// What the registry's list holds.
pub(crate) enum Member {
    /// An opening of a socket.
    Socket(Arc<Shared>),
    Queue(Arc<Center>),
}

struct Inner {
    level: AtomicU8,
    /// Signals that `on_signal` has seen.
    signals: AtomicUsize,
    members: List<Member>,
    /// Those who wait for the registry itself.
    onlookers: WakeList,
    listeners: AtomicUsize,
    connections: AtomicUsize,
    /// Since the registry is stopping: connections that the program closed itself, and those that the registry ended.
    finished: AtomicUsize,
    forced: AtomicUsize,
}

impl Inner {
    const_fn! {
        fn new() -> Inner {
            Inner {
                level: AtomicU8::new(RUNNING),
                signals: AtomicUsize::new(0),
                members: List::new(),
                onlookers: List::new(),
                listeners: AtomicUsize::new(0),
                connections: AtomicUsize::new(0),
                finished: AtomicUsize::new(0),
                forced: AtomicUsize::new(0),
            }
        }
    }
}

const RUNNING: u8 = 0;

/// How much a registry ends.
///
/// ```
/// use wakesock::{ShutdownLevel, ShutdownRegistry};
///
/// let registry = ShutdownRegistry::new();
/// # #[cfg(feature = "signal")]
/// # {
/// // Ctrl-C lets running requests end, `kill` doesn't wait for them.
/// registry.on_signal(libc::SIGINT, ShutdownLevel::Accepting)?;
/// registry.on_signal(libc::SIGTERM, ShutdownLevel::All)?;
/// # // SAFETY: there is a handler for it.
/// # unsafe { libc::raise(libc::SIGTERM) };
/// # assert!(registry.is_shutdown());
/// # }
/// assert!(ShutdownLevel::Accepting < ShutdownLevel::All);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ShutdownLevel {
    /// Listeners end, connections go on: [`ShutdownRegistry::stop_accepting`].
    Accepting = 1,
    /// Everything ends: [`ShutdownRegistry::shutdown`].
    All = 2,
}

/// What became of the connections that were open when the registry began to stop, and of those opened since:
/// [`ShutdownRegistry::drain`].
///
/// ```
/// use std::time::Duration;
/// use wakesock::{Drained, ShutdownRegistry, TcpSocket};
///
/// let registry = ShutdownRegistry::new();
/// let mut listener = TcpSocket::with_registry(&registry);
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// # let connect = || std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let _clients = (connect(), connect());
/// let quick = listener.accept_new()?;
/// let slow = listener.accept_new()?;
/// registry.stop_accepting();
/// quick.close();
/// let grace = Duration::from_millis(10);
/// let Drained { finished, forced, elapsed } = registry.drain(grace);
/// assert_eq!((finished, forced), (1, 1));
/// assert!(elapsed >= grace);
/// assert!(!slow.is_open());
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Those that the program closed itself.
    pub finished: usize,
    /// Those that were still open at the end of the grace, or when somebody called `shutdown` meanwhile.
    pub forced: usize,
    /// How long the draining took.
    pub elapsed: Duration,
}

impl ShutdownRegistry {
    /// The registry of the process. Async-signal-safe.
    ///
    /// ```
    /// assert!(!wakesock::ShutdownRegistry::global().is_stopping());
    /// ```
    pub fn global() -> &'static ShutdownRegistry {
        &GLOBAL
    }

    /// A registry of its own.
    ///
    /// ```
    /// use wakesock::{ShutdownRegistry, TcpSocket};
    ///
    /// let registry = ShutdownRegistry::new();
    /// let mut listener = TcpSocket::with_registry(&registry);
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// registry.shutdown();
    /// assert!(!listener.is_open());
    /// assert!(!ShutdownRegistry::global().is_shutdown());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn new() -> ShutdownRegistry {
        ShutdownRegistry(Reference::Own(Arc::new(Inner::new())))
    }

    fn inner(&self) -> &Inner {
        match &self.0 {
            Reference::Global => &GLOBAL_INNER,
            Reference::Own(inner) => inner,
        }
    }

    /// Ends every listener; connections go on. Async-signal-safe.
    ///
    /// Blocked and later accepts return [`Error::Shutdown`](crate::Error::Shutdown), new clients are refused, and
    /// [`TcpSocket::wait_request`](crate::TcpSocket::wait_request) returns `false`, so that a connection ends as soon
    /// as it has no request to serve. Doesn't wait for any of that: [`drain`](ShutdownRegistry::drain) does.
    ///
    /// ```
    /// use wakesock::{Error, ShutdownRegistry, TcpSocket};
    ///
    /// let registry = ShutdownRegistry::new();
    /// let mut listener = TcpSocket::with_registry(&registry);
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// registry.stop_accepting();
    /// assert!(matches!(listener.accept_new(), Err(Error::Shutdown)));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn stop_accepting(&self) {
        sys::keep_errno(|| self.raise(ShutdownLevel::Accepting));
    }

    /// Ends every socket. Async-signal-safe.
    ///
    /// Blocked and later operations return [`Error::Shutdown`](crate::Error::Shutdown), and what is opened from now on
    /// fails with it, until [`reset`](ShutdownRegistry::reset). Doesn't wait for the threads that were blocked.
    ///
    /// ```
    /// use std::thread;
    /// use wakesock::{Error, ShutdownRegistry, TcpSocket};
    ///
    /// let registry = ShutdownRegistry::new();
    /// let mut listener = TcpSocket::with_registry(&registry);
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// let blocked = thread::spawn(move || listener.accept_new().map(drop));
    /// registry.shutdown();
    /// assert!(matches!(blocked.join().unwrap(), Err(Error::Shutdown)));
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn shutdown(&self) {
        sys::keep_errno(|| self.raise(ShutdownLevel::All));
    }

    /// Async-signal-safe, but for errno: atomics, walks of lock-free lists, and what `Shared` does for handlers.
    fn raise(&self, level: ShutdownLevel) {
        let inner = self.inner();
        inner.level.fetch_max(level as u8, SeqCst);
        inner.members.for_each(|member| match (member, level) {
            (Member::Socket(socket), ShutdownLevel::Accepting) if !socket.is_listener() => socket.wake(),
            (Member::Socket(socket), _) => socket.end(EndedBy::Registry),
            (Member::Queue(queue), ShutdownLevel::Accepting) => queue.wake(),
            (Member::Queue(queue), ShutdownLevel::All) => queue.end(EndedBy::Registry),
        });
        inner.onlookers.wake_all();
    }

    /// Whether `stop_accepting` or `shutdown` was called. Async-signal-safe.
    ///
    /// ```
    /// let registry = wakesock::ShutdownRegistry::new();
    /// registry.stop_accepting();
    /// assert!(registry.is_stopping() && !registry.is_shutdown());
    /// ```
    pub fn is_stopping(&self) -> bool {
        self.inner().level.load(SeqCst) != RUNNING
    }

    /// Whether `shutdown` was called. Async-signal-safe.
    ///
    /// ```
    /// let registry = wakesock::ShutdownRegistry::new();
    /// registry.shutdown();
    /// assert!(registry.is_shutdown() && registry.is_stopping());
    /// ```
    pub fn is_shutdown(&self) -> bool {
        self.inner().level.load(SeqCst) >= ShutdownLevel::All as u8
    }

    /// Blocks until `stop_accepting` or `shutdown` is called, or for as long as `timeout` allows; whether one was.
    ///
    /// `None` waits for ever. Not for signal handlers.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::ShutdownRegistry;
    ///
    /// let registry = ShutdownRegistry::new();
    /// assert!(!registry.wait_stop(Duration::from_millis(1)));
    /// let other = registry.clone();
    /// let thread = std::thread::spawn(move || other.stop_accepting());
    /// assert!(registry.wait_stop(None));
    /// # thread.join().unwrap();
    /// ```
    pub fn wait_stop(&self, timeout: impl Into<Option<Duration>>) -> bool {
        self.wait_until(Deadline::after(timeout.into()), || self.is_stopping())
    }

    /// Stops accepting, gives the open connections `grace` to end by themselves, and shuts down what is left.
    ///
    /// Blocks until all are closed or the grace is over or somebody calls [`shutdown`](ShutdownRegistry::shutdown), by
    /// whatever a second signal does, say. A connection between two requests, in
    /// [`wait_request`](crate::TcpSocket::wait_request), ends at once; so it takes as long as the longest running
    /// request, not as long as the grace. It doesn't wait for the threads: join them afterwards. Not for signal
    /// handlers.
    ///
    /// The counts are of what was open when the registry began to stop, be it here or, by a signal, before.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::ShutdownRegistry;
    ///
    /// let drained = ShutdownRegistry::new().drain(Duration::from_secs(5));
    /// assert_eq!((drained.finished, drained.forced), (0, 0));
    /// ```
    pub fn drain(&self, grace: Duration) -> Drained {
        let begin = Instant::now();
        let inner = self.inner();
        log::debug!(target: "wakesock", "drain: {} connections open", inner.connections.load(SeqCst));
        self.stop_accepting();
        self.wait_until(Deadline::after(Some(grace)), || {
            inner.connections.load(SeqCst) == 0 || self.is_shutdown()
        });
        self.shutdown();
        // Whoever has closed a connection at the same time counts it the moment after.
        let mut spins = 0;
        while self.is_shutdown() && inner.connections.load(SeqCst) != 0 {
            back_off(&mut spins);
        }
        let drained = Drained {
            finished: inner.finished.load(SeqCst),
            forced: inner.forced.load(SeqCst),
            elapsed: begin.elapsed(),
        };
        log::debug!(target: "wakesock", "drained: {drained:?}");
        drained
    }

    /// Blocks until `done`, which becomes true together with a wake of the onlookers.
    fn wait_until(&self, mut deadline: Deadline, done: impl Fn() -> bool) -> bool {
        if done() {
            return true;
        }
        let mut parker = AnyParker::new();
        let _hung = self.hang(parker.waker());
        loop {
            if done() {
                return true;
            }
            match deadline.left() {
                // A poll that can't be waited in is no reason to look again without end.
                Ok(left) if parker.park(left).is_err() => parker = AnyParker::none(),
                Ok(_) => {}
                Err(_) => return done(),
            }
        }
    }

    /// How many sockets are open now, listeners included. Async-signal-safe.
    ///
    /// ```
    /// use wakesock::{ShutdownRegistry, TcpSocket};
    ///
    /// let registry = ShutdownRegistry::new();
    /// let mut listener = TcpSocket::with_registry(&registry);
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// assert_eq!(registry.len(), 1);
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[allow(
        clippy::len_without_is_empty,
        reason = "it is a count of what goes on elsewhere, not a container's length"
    )]
    pub fn len(&self) -> usize {
        let inner = self.inner();
        inner.listeners.load(SeqCst) + inner.connections.load(SeqCst)
    }

    /// Makes the registry ready for new sockets again. Those that were ended stay ended.
    ///
    /// To be called when those who wait for the end have seen it: `wait_stop` and `wait_request` look at what is in
    /// force.
    ///
    /// ```
    /// use wakesock::{Error, ShutdownRegistry, TcpSocket};
    ///
    /// let registry = ShutdownRegistry::new();
    /// registry.shutdown();
    /// let mut listener = TcpSocket::with_registry(&registry);
    /// let refused = listener.listen_on("127.0.0.1:0", &Default::default());
    /// assert!(matches!(refused, Err(Error::Shutdown)));
    /// registry.reset();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reset(&self) {
        let inner = self.inner();
        inner.level.store(RUNNING, SeqCst);
        inner.signals.store(0, SeqCst);
        inner.finished.store(0, SeqCst);
        inner.forced.store(0, SeqCst);
    }

    /// Lets a signal end the registry: the first such signal raises it to `level`, the next one to
    /// [`All`](ShutdownLevel::All).
    ///
    /// All signals that a registry is given to count together, so that a `SIGTERM` after a `SIGINT` is the second.
    /// Handlers that others installed for the signal still run; what the signal did by default (ending the process,
    /// mostly) no longer happens, for the rest of the process's life.
    ///
    /// # Windows
    ///
    /// Where a signal is a console control event, and the handler a thread of its own: `SIGINT` (2) is Ctrl-C,
    /// `SIGBREAK` (21) is Ctrl-Break, and `SIGTERM` (15) is the closing of the console's window and the system's shutting
    /// down. After these last two the system ends the process within a few seconds, done or not: a grace has to be
    /// shorter. Handlers that others have installed since run before this one, if they pass the event on; those from before
    /// don't run any more.
    ///
    /// # Errors
    ///
    /// What sigaction(2) says; `EINVAL` for signals that can't be handled (`SIGKILL`, `SIGSTOP`) or only at one's peril
    /// (`SIGSEGV`, `SIGILL`, `SIGFPE`). On Windows, `InvalidInput` for others than those three.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use wakesock::{ShutdownLevel, ShutdownRegistry};
    ///
    /// let registry = ShutdownRegistry::global();
    /// registry.on_signal(libc::SIGTERM, ShutdownLevel::Accepting)?;
    /// registry.wait_stop(None);
    /// registry.drain(Duration::from_secs(5)); // a second SIGTERM cuts this short
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "signal")]
    pub fn on_signal(&self, signal: i32, level: ShutdownLevel) -> std::io::Result<()> {
        let registry = self.clone();
        sys::on_signal(signal, move || {
            let earlier = registry.inner().signals.fetch_add(1, SeqCst);
            registry.raise(if earlier == 0 { level } else { ShutdownLevel::All });
        })
    }

    /// Has `waker` woken when `stop_accepting` or `shutdown` is called, for as long as the result lives.
    pub(crate) fn hang(&self, waker: Option<Arc<dyn Wake>>) -> Hung<'_> {
        self.inner().onlookers.hang(waker)
    }

    /// Puts an opening, or a queue, where `raise` finds it. To be followed by a look at
    /// [`refuses`](ShutdownRegistry::refuses).
    pub(crate) fn join(&self, member: Member) -> Key<Member> {
        self.inner().members.insert(member)
    }

    pub(crate) fn leave(&self, key: Key<Member>) {
        drop(self.inner().members.remove(key));
    }

    /// Whether such a socket can't be opened any more.
    pub(crate) fn refuses(&self, listener: bool) -> bool {
        self.is_shutdown() || listener && self.is_stopping()
    }

    fn open_now(&self, listener: bool) -> &AtomicUsize {
        let inner = self.inner();
        if listener { &inner.listeners } else { &inner.connections }
    }

    pub(crate) fn socket_opened(&self, listener: bool) {
        self.open_now(listener).fetch_add(1, SeqCst);
    }

    /// Takes `socket_opened` back.
    pub(crate) fn socket_not_opened(&self, listener: bool) {
        self.open_now(listener).fetch_sub(1, SeqCst);
        self.wake_drain();
    }

    /// Async-signal-safe, but for errno.
    pub(crate) fn socket_ended(&self, listener: bool, by: EndedBy) {
        let inner = self.inner();
        if !listener && self.is_stopping() {
            match by {
                EndedBy::Owner => inner.finished.fetch_add(1, SeqCst),
                EndedBy::Registry => inner.forced.fetch_add(1, SeqCst),
            };
        }
        self.open_now(listener).fetch_sub(1, SeqCst);
        self.wake_drain();
    }

    fn wake_drain(&self) {
        if self.is_stopping() && self.inner().connections.load(SeqCst) == 0 {
            self.inner().onlookers.wake_all();
        }
    }
}

impl Default for ShutdownRegistry {
    fn default() -> ShutdownRegistry {
        ShutdownRegistry::new()
    }
}

impl PartialEq for ShutdownRegistry {
    /// Whether both name the same registry.
    fn eq(&self, other: &ShutdownRegistry) -> bool {
        std::ptr::eq(self.inner(), other.inner())
    }
}

impl Eq for ShutdownRegistry {}

impl fmt::Debug for ShutdownRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        f.debug_struct("ShutdownRegistry")
            .field("global", &matches!(self.0, Reference::Global))
            .field("stopping", &self.is_stopping())
            .field("shutdown", &self.is_shutdown())
            .field("listeners", &inner.listeners.load(SeqCst))
            .field("connections", &inner.connections.load(SeqCst))
            .finish()
    }
}
