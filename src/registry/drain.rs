//! Counting open sockets, and draining: ending them gracefully within a time limit.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::{EndedBy, ShutdownRegistry};
use crate::deadline::Deadline;
use crate::sync::{AtomicUsize, back_off, const_fn};

/// How often a drain looks at the end, for about a second, whether threads have left the listeners. Only where they don't exist it
/// takes so long: a child of fork(2) has none of its parent's.
const MOST_STEPS: u32 = 1000;

/// How many sockets are open, and what became of those that were open when the registry began to stop.
pub(super) struct Counts {
    listeners: AtomicUsize,
    /// Listeners that a thread may still be accepting from, open or ended.
    unreleased: AtomicUsize,
    connections: AtomicUsize,
    /// Connections that the program has closed itself since the registry began to stop.
    finished: AtomicUsize,
    /// Connections that the registry has ended.
    forced: AtomicUsize,
}

impl Counts {
    const_fn! {
        pub(super) fn new() -> Counts {
            Counts {
                listeners: AtomicUsize::new(0),
                unreleased: AtomicUsize::new(0),
                connections: AtomicUsize::new(0),
                finished: AtomicUsize::new(0),
                forced: AtomicUsize::new(0),
            }
        }
    }

    pub(super) fn listeners(&self) -> usize {
        self.listeners.load(SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Whether no connection is open, and none is about to be.
    fn is_drained(&self) -> bool {
        // In this order: who accepts counts the connection before it leaves the listener.
        self.unreleased.load(SeqCst) == 0 && self.connections() == 0
    }

    /// Forgets what has become of connections. What is open still counts.
    pub(super) fn reset(&self) {
        self.finished.store(0, SeqCst);
        self.forced.store(0, SeqCst);
    }

    fn open(&self, listener: bool) -> &AtomicUsize {
        if listener { &self.listeners } else { &self.connections }
    }
}

/// What became of the connections that were open when the registry began to stop, and of those opened since: the result
/// of [`ShutdownRegistry::drain`].
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
    /// Connections that the program closed itself.
    pub finished: usize,
    /// Connections that were still open at the end of the grace, or when `shutdown` was called meanwhile, and clients that
    /// had been taken from the system by then and were not handed out.
    pub forced: usize,
    /// How long the draining took.
    pub elapsed: Duration,
}

impl ShutdownRegistry {
    /// Stops accepting, gives the open connections `grace` to end by themselves, and shuts down what is left.
    ///
    /// Blocks until all clients that were waiting are accepted and all connections closed, the grace is over, or
    /// [`shutdown`](ShutdownRegistry::shutdown) is called, for instance by a second signal. A connection between two requests,
    /// in [`wait_request`](crate::TcpSocket::wait_request), ends at once, so a drain takes as long as the longest running
    /// request, not as long as the grace: if threads go on accepting until they are told [`Error::Shutdown`], and close what
    /// they have served. It doesn't wait for threads: join them afterwards. Not for signal handlers.
    ///
    /// All connections of the registry count: outgoing ones, too, and those that are idle in a queue. What isn't part of
    /// serving clients belongs to another registry, and a queue's program closes its idle connections when its wait returns
    /// and [`is_stopping`](ShutdownRegistry::is_stopping) is true.
    ///
    /// [`Error::Shutdown`]: crate::Error::Shutdown
    ///
    /// The counts begin when the registry begins to stop: in this call, or before it by a signal.
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
        log::debug!(target: "wakesock", "drain: {} connections open", inner.counts.connections());
        self.stop_accepting();
        self.wait_until(Deadline::after(Some(grace)), || {
            inner.counts.is_drained() || self.is_shutdown()
        });
        self.shutdown();
        inner.members.for_each(|member| member.let_go());
        // A thread that has closed a connection at the same time counts it a moment later, and so does one that was about to
        // hand out a client.
        let mut steps = 0;
        while self.is_shutdown() && !inner.counts.is_drained() {
            if steps >= MOST_STEPS && inner.counts.connections() == 0 {
                break;
            }
            back_off(&mut steps);
        }
        let drained = Drained {
            finished: inner.counts.finished.load(SeqCst),
            forced: inner.counts.forced.load(SeqCst),
            elapsed: begin.elapsed(),
        };
        log::debug!(target: "wakesock", "drained: {drained:?}");
        drained
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
        let counts = &self.inner().counts;
        counts.listeners() + counts.connections()
    }

    /// Counts a socket that was opened.
    pub(crate) fn socket_opened(&self, listener: bool) {
        let counts = &self.inner().counts;
        counts.open(listener).fetch_add(1, SeqCst);
        if listener {
            counts.unreleased.fetch_add(1, SeqCst);
        }
    }

    /// Takes `socket_opened` back.
    pub(crate) fn socket_not_opened(&self, listener: bool) {
        self.inner().counts.open(listener).fetch_sub(1, SeqCst);
        if listener {
            self.listener_released();
        }
        self.wake_drain();
    }

    /// Counts a listener that no thread accepts from any more. Async-signal-safe, but for errno.
    pub(crate) fn listener_released(&self) {
        self.inner().counts.unreleased.fetch_sub(1, SeqCst);
        self.wake_drain();
    }

    /// Counts a socket that was ended. Async-signal-safe, but for errno.
    pub(crate) fn socket_ended(&self, listener: bool, by: EndedBy) {
        let counts = &self.inner().counts;
        if !listener && self.is_stopping() {
            match by {
                EndedBy::Owner => counts.finished.fetch_add(1, SeqCst),
                EndedBy::Registry => counts.forced.fetch_add(1, SeqCst),
            };
        }
        self.inner().counts.open(listener).fetch_sub(1, SeqCst);
        self.wake_drain();
    }

    /// Counts clients that were taken from the system since the registry has stopped accepting, and that nobody has got.
    pub(crate) fn clients_turned_away(&self, count: usize) {
        if self.is_stopping() {
            self.inner().counts.forced.fetch_add(count, SeqCst);
        }
    }

    /// Wakes a drain when the last connection has ended. Async-signal-safe, but for errno.
    fn wake_drain(&self) {
        if self.is_stopping() && self.inner().counts.is_drained() {
            self.inner().waiting.wake_all();
        }
    }
}
