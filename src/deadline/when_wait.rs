//! `when_wait`: the user's callback while an operation waits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An operation that the callback of `when_wait` can end.
pub(crate) trait Abort: Sync {
    /// Ends the operation. Async-signal-safe.
    fn abort(&self);
}

/// The user's callback.
#[derive(Clone)]
pub(crate) struct Callback(Arc<dyn Fn(&Waiting<'_>) + Send + Sync>);

impl Callback {
    pub(crate) fn new(callback: impl Fn(&Waiting<'_>) + Send + Sync + 'static) -> Callback {
        Callback(Arc::new(callback))
    }
}

/// An operation that is waiting, as the callback of [`TcpSocket::when_wait`](crate::TcpSocket::when_wait) sees it.
///
/// ```
/// use std::time::Duration;
/// use wakesock::Error;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
/// # let mut peer = wakesock::TcpSocket::from(peer);
/// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
/// let patience = Duration::from_millis(20);
/// socket.when_wait(move |waiting| {
///     eprintln!("{} bytes in {:?}", waiting.done(), waiting.elapsed());
///     if waiting.done() == 0 && waiting.elapsed() > patience {
///         waiting.abort();
///     }
/// });
/// assert!(matches!(socket.get_bytes(100), Err(Error::Aborted)));
/// # Ok::<(), Error>(())
/// ```
pub struct Waiting<'a> {
    operation: &'a dyn Abort,
    done: usize,
    elapsed: Duration,
}

impl Waiting<'_> {
    /// How many bytes this operation, not the connection, has moved so far: after U++'s `GetDone`.
    /// [`transferred`](Waiting::transferred) is the same.
    ///
    /// Of a WebSocket it is how much of a message's payload has come or gone, compressed where messages are.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"four")?;
    /// socket.when_wait(|waiting| {
    ///     if waiting.done() == 4 {
    ///         waiting.abort();
    ///     }
    /// });
    /// assert_eq!(socket.get_bytes(100)?, b"four");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn done(&self) -> usize {
        self.done
    }

    /// How many bytes this operation has moved so far: [`done`](Waiting::done), by a name that reads as a count.
    ///
    /// ```
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// peer.put_all(b"four")?;
    /// socket.when_wait(|waiting| {
    ///     if waiting.transferred() == 4 {
    ///         waiting.abort();
    ///     }
    /// });
    /// assert_eq!(socket.get_bytes(100)?, b"four");
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn transferred(&self) -> usize {
        self.done()
    }

    /// How long ago the operation began.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// listener.when_wait(|waiting| {
    ///     if waiting.elapsed() > Duration::from_millis(20) {
    ///         waiting.abort();
    ///     }
    /// });
    /// assert!(matches!(listener.accept_new(), Err(Error::Aborted)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Ends the operation: [`TcpSocket::abort`](crate::TcpSocket::abort) of the socket that it waits for. An `accept`
    /// waits for the listener.
    ///
    /// ```
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// listener.when_wait(|waiting| waiting.abort());
    /// assert!(matches!(listener.accept_new(), Err(Error::Aborted)));
    /// assert!(listener.is_open());
    /// // It stays in force, as every abort does.
    /// listener.clear_when_wait().clear_abort();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn abort(&self) {
        self.operation.abort();
    }
}

impl fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("done", &self.done)
            .field("elapsed", &self.elapsed)
            .finish_non_exhaustive()
    }
}

/// One operation's callback, and when it is due.
pub(crate) struct WhenWait {
    callback: Callback,
    step: Duration,
    begun: Instant,
    /// When the next call is due; `None` if that is further away than the clock goes.
    next: Option<Instant>,
    done: usize,
}

/// Less would leave no time for the operation itself.
const SHORTEST_STEP: Duration = Duration::from_millis(1);

impl WhenWait {
    pub(crate) fn begin(callback: Callback, step: Duration) -> WhenWait {
        let step = step.max(SHORTEST_STEP);
        let begun = Instant::now();
        WhenWait {
            callback,
            step,
            begun,
            next: begun.checked_add(step),
            done: 0,
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn is_due(&self) -> bool {
        self.next.is_some_and(|next| Instant::now() >= next)
    }

    pub(crate) fn add_done(&mut self, count: usize) {
        self.done += count;
    }

    /// Calls back, and makes the next call due a step later.
    pub(crate) fn call(&mut self, operation: &dyn Abort) {
        (self.callback.0)(&Waiting {
            operation,
            done: self.done,
            elapsed: self.begun.elapsed(),
        });
        // From the end of the call, so that a slow one leaves time for the operation itself.
        self.next = Instant::now().checked_add(self.step);
    }
}
