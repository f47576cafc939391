//! [`ShutdownRegistry`]: everything in it can be ended at once.
//!
//! The registry knows neither sockets nor queues, only [`Member`]s: `raise` walks their list and calls each.

mod drain;
mod membership;
#[cfg(feature = "signal")]
mod signals;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use self::drain::Counts;
pub use self::drain::Drained;
pub(crate) use self::membership::{EndedBy, Member, Membership};
#[cfg(feature = "signal")]
use self::signals::Signals;
use crate::deadline::Deadline;
use crate::park::AnyParker;
use crate::sync::{AtomicU8, const_fn};
use crate::sys;
use crate::wake::{List, Registered, Wake, WakeList};

/// Knows the sockets and queues that were opened in it, and can end them all: from any thread, or from a signal
/// handler.
///
/// Sockets made by [`TcpSocket::new`](crate::TcpSocket::new) belong to the [global](ShutdownRegistry::global) one. A
/// server that has to end alone, while the rest of the process goes on, makes a registry of its own, and its listener
/// with [`TcpSocket::with_registry`](crate::TcpSocket::with_registry); accepted connections belong to the registry of
/// their listener.
///
/// A clone refers to the same registry.
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
///                 while let Ok(Some(line)) = client.get_line() {
///                     let answered = client.put_all(format!("{line}\n").as_bytes());
///                     if answered.is_err() || !client.wait_request().unwrap_or(false) {
///                         break;
///                     }
///                 }
///             }
///         });
///     }
///     let mut client = TcpSocket::new();
///     client.connect("127.0.0.1", addr.port())?;
///     client.put_all(b"hello\n")?;
///     assert_eq!(client.get_line()?.as_deref(), Some("hello"));
///     client.close();
///     // Elsewhere: a signal (`on_signal`), or a thread that has a clone.
///     let drained = registry.drain(Duration::from_secs(5));
///     assert_eq!(drained.forced, 0);
///     Ok::<(), Error>(())
/// })?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "CancellationToken")]
#[doc(alias = "context.Context")]
#[doc(alias = "ShutdownThreads")]
pub struct ShutdownRegistry(Reference);

#[derive(Clone)]
enum Reference {
    /// No allocation and no initialisation: a signal handler may be the first to use it.
    Global,
    Own(Arc<Inner>),
}

static GLOBAL: ShutdownRegistry = ShutdownRegistry(Reference::Global);
#[cfg(not(all(test, wakesock_loom)))]
static GLOBAL_INNER: Inner = Inner::new();
#[cfg(all(test, wakesock_loom))]
static GLOBAL_INNER: std::sync::LazyLock<Inner> = std::sync::LazyLock::new(Inner::new);

struct Inner {
    level: AtomicU8,
    #[cfg(feature = "signal")]
    signals: Signals,
    members: List<Arc<dyn Member>>,
    /// Wakers of threads that wait for the registry to stop, or for its connections to end.
    waiting: WakeList,
    counts: Counts,
}

impl Inner {
    const_fn! {
        fn new() -> Inner {
            Inner {
                level: AtomicU8::new(RUNNING),
                #[cfg(feature = "signal")]
                signals: Signals::new(),
                members: List::new(),
                waiting: List::new(),
                counts: Counts::new(),
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
    /// Listeners end when they have handed out the clients that are waiting, connections go on:
    /// [`ShutdownRegistry::stop_accepting`].
    Accepting = 1,
    /// Everything ends: [`ShutdownRegistry::shutdown`].
    All = 2,
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

    /// Makes a registry of its own, apart from the global one.
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

    /// Ends every listener, and every wait for a next request; connections go on. Async-signal-safe.
    ///
    /// No request is lost that had come. Clients that are waiting for a listener are still handed out by accepts; then these
    /// return [`Error::Shutdown`](crate::Error::Shutdown), and the port is free. A listener without waiting clients ends at
    /// once. Later clients are refused: at the latest from the next accept on, which takes all that are waiting (on Windows,
    /// when the last was handed out).
    ///
    /// [`TcpSocket::wait_request`](crate::TcpSocket::wait_request) returns `false`, unless something of a request is there
    /// already: so a connection ends as soon as it has no request to serve. A queue's wait returns once, so that its program
    /// can ask its idle connections. Doesn't wait for any of that: [`drain`](ShutdownRegistry::drain) does.
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

    /// Ends every socket and queue. Async-signal-safe.
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
    #[doc(alias = "ShutdownThreads")]
    #[doc(alias = "cancel")]
    pub fn shutdown(&self) {
        sys::keep_errno(|| self.raise(ShutdownLevel::All));
    }

    /// Raises the level and calls all members. Async-signal-safe, but for errno.
    fn raise(&self, level: ShutdownLevel) {
        let inner = self.inner();
        inner.level.fetch_max(level as u8, SeqCst);
        inner.members.for_each(|member| member.raised(level));
        inner.waiting.wake_all();
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
    #[doc(alias = "IsShutdownThreads")]
    pub fn is_shutdown(&self) -> bool {
        self.inner().level.load(SeqCst) >= ShutdownLevel::All as u8
    }

    /// Blocks until `stop_accepting` or `shutdown` is called, or `timeout` is over. True if one was called.
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

    /// Blocks until `done` is true. What makes it true also wakes the threads that wait for the registry.
    fn wait_until(&self, mut deadline: Deadline, done: impl Fn() -> bool) -> bool {
        if done() {
            return true;
        }
        let mut parker = AnyParker::new();
        let _registered = self.wake_when_stopping(parker.waker());
        loop {
            if done() {
                return true;
            }
            match deadline.left() {
                // A poll that fails must not make this loop spin.
                Ok(left) if parker.park(left).is_err() => parker = AnyParker::none(),
                Ok(_) => {}
                Err(_) => return done(),
            }
        }
    }

    /// Makes the registry ready for new sockets again. Sockets that were ended stay ended.
    ///
    /// Call it when the threads that wait for the end have seen it: `wait_stop` and `wait_request` look at the current
    /// level only.
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
        #[cfg(feature = "signal")]
        inner.signals.reset();
        inner.counts.reset();
    }

    /// Wakes `waker` when `stop_accepting` or `shutdown` is called, as long as the result lives.
    pub(crate) fn wake_when_stopping(&self, waker: Option<Arc<dyn Wake>>) -> Registered<'_> {
        self.inner().waiting.register(waker)
    }
}

impl Default for ShutdownRegistry {
    fn default() -> ShutdownRegistry {
        ShutdownRegistry::new()
    }
}

impl PartialEq for ShutdownRegistry {
    /// Whether both refer to the same registry.
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
            .field("listeners", &inner.counts.listeners())
            .field("connections", &inner.counts.connections())
            .finish()
    }
}
