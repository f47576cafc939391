//! How long operations may take, and what is called while they wait.

use std::time::{Duration, Instant};

use super::{Progress, TcpSocket};
use crate::deadline::{Callback, Deadline, Waiting, moment_after};

/// The time limits of a socket's operations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// The limit of each operation.
    pub(super) each: Option<Duration>,
    /// When the time for a run of operations is up.
    pub(super) all: Option<Instant>,
}

impl TcpSocket {
    /// Limits how long each operation may block in all, from its first wait on: `None` for ever, zero not at all.
    ///
    /// The limit is never shorter than it says, to the resolution of the monotonic clock, and longer only by the time
    /// that the system takes to wake a thread. An operation whose time is up returns what it has, or
    /// [`Error::Timeout`](crate::Error::Timeout), and can be repeated. Through [`Read`](std::io::Read),
    /// [`Write`](std::io::Write) and [`BufRead`](std::io::BufRead), that is an error of the kind `TimedOut`; with a limit of
    /// zero, `WouldBlock`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// listener.timeout(Duration::from_millis(5));
    /// assert!(listener.accept_new().unwrap_err().is_timeout());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    #[doc(alias = "set_read_timeout")]
    #[doc(alias = "set_write_timeout")]
    #[doc(alias = "set_nonblocking")]
    #[doc(alias = "SetDeadline")]
    pub fn timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.limit = limit.into();
        self
    }

    /// The limit that [`timeout`](TcpSocket::timeout) has set: U++'s name of [`current_timeout`](TcpSocket::current_timeout).
    ///
    /// It reads nothing from the socket.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// assert_eq!(socket.get_timeout(), None);
    /// socket.timeout(Duration::from_secs(5));
    /// assert_eq!(socket.get_timeout(), Some(Duration::from_secs(5)));
    /// ```
    #[doc(alias = "read_timeout")]
    #[doc(alias = "write_timeout")]
    pub fn get_timeout(&self) -> Option<Duration> {
        self.limit
    }

    /// The limit that [`timeout`](TcpSocket::timeout) has set: [`get_timeout`](TcpSocket::get_timeout), without a `get` that reads
    /// nothing.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// socket.timeout(Duration::from_secs(5));
    /// assert_eq!(socket.current_timeout(), Some(Duration::from_secs(5)));
    /// ```
    #[doc(alias = "GetTimeout")]
    #[doc(alias = "read_timeout")]
    #[doc(alias = "write_timeout")]
    pub fn current_timeout(&self) -> Option<Duration> {
        self.get_timeout()
    }

    /// Lifts the limit of each operation: `timeout(None)`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// socket.timeout(Duration::from_secs(5)).blocking();
    /// assert_eq!(socket.get_timeout(), None);
    /// ```
    #[doc(alias = "set_nonblocking")]
    pub fn blocking(&mut self) -> &mut Self {
        self.timeout(None)
    }

    /// Whether operations block without limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// assert!(socket.is_blocking());
    /// assert!(!socket.timeout(Duration::ZERO).is_blocking());
    /// ```
    pub fn is_blocking(&self) -> bool {
        self.limit.is_none()
    }

    /// Limits a run of operations: all of them from now on, until [`no_global_timeout`](TcpSocket::no_global_timeout),
    /// may take this long together, including the time between them. Set before [`connect`](TcpSocket::connect), it holds for
    /// the look-up, the connection, a handshake of TLS, and what follows.
    ///
    /// When the time is up, the operation under way and each later one fails with
    /// [`Error::GlobalTimeout`](crate::Error::GlobalTimeout), even if it would not have to wait, and the socket is in
    /// the error state. Bytes that have come are still there when the limit is lifted and the error
    /// [cleared](TcpSocket::clear_error). The [`timeout`](TcpSocket::timeout) of each operation holds, too: the limit
    /// that runs out first ends the operation, with its own error. `None` means no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// // All of a login has to be over in time, however often the peer says something.
    /// socket.global_timeout(Duration::from_millis(50));
    /// # peer.put_all(b"hello\n")?;
    /// assert_eq!(socket.get_line()?.as_deref(), Some("hello"));
    /// assert!(matches!(socket.get_line(), Err(Error::GlobalTimeout)));
    /// socket.no_global_timeout().clear_error();
    /// # peer.put_all(b"still here\n")?;
    /// assert_eq!(socket.get_line()?.as_deref(), Some("still here"));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "deadline")]
    pub fn global_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.special.set_run_ends(limit.into().and_then(moment_after));
        self.input.buffer.forbid_fast_path();
        self.publish_again();
        self
    }

    /// Lifts the [`global_timeout`](TcpSocket::global_timeout). Its error, if it has run out, stays until
    /// [`clear_error`](TcpSocket::clear_error).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::Error;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// # let mut peer = wakesock::TcpSocket::from(peer);
    /// # let mut socket = wakesock::TcpSocket::from(listener.accept().unwrap().0);
    /// socket.global_timeout(Duration::ZERO);
    /// assert!(matches!(socket.put(b"hello"), Err(Error::GlobalTimeout)));
    /// socket.no_global_timeout();
    /// assert!(matches!(socket.put(b"hello"), Err(Error::GlobalTimeout))); // sticky
    /// socket.clear_error();
    /// assert_eq!(socket.put(b"hello")?, 5);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn no_global_timeout(&mut self) -> &mut Self {
        self.global_timeout(None)
    }

    /// Calls `callback` about every [`wait_step`](TcpSocket::wait_step) while an operation of this socket waits.
    ///
    /// Steps are counted from the beginning of an operation: one that is over within a step never calls back.
    ///
    /// The callback runs in the thread that waits, outside the operation: it may close the socket (by a handle),
    /// [abort](Waiting::abort) the operation, or wait for a lock that another thread holds while it closes the socket.
    /// Limits hold all the same, and what ends the wait ends it at once, not at the next step. In `accept`, the
    /// listener's callback runs.
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
    pub fn when_wait(&mut self, callback: impl Fn(&Waiting<'_>) + Send + Sync + 'static) -> &mut Self {
        self.special.set_when_wait(Some(Callback::new(callback)));
        self
    }

    /// Removes the callback of [`when_wait`](TcpSocket::when_wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::TcpSocket;
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// listener.when_wait(|waiting| waiting.abort()).clear_when_wait();
    /// listener.timeout(Duration::from_millis(20));
    /// assert!(listener.accept_new().unwrap_err().is_timeout());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn clear_when_wait(&mut self) -> &mut Self {
        self.special.set_when_wait(None);
        self
    }

    /// Sets how often [`when_wait`](TcpSocket::when_wait) calls back: every 10 ms by default, at most every
    /// millisecond.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakesock::{Error, TcpSocket};
    ///
    /// let mut listener = TcpSocket::new();
    /// listener.listen_on("127.0.0.1:0", &Default::default())?;
    /// listener.wait_step(Duration::from_millis(50)).when_wait(|waiting| {
    ///     assert!(waiting.elapsed() >= Duration::from_millis(50));
    ///     waiting.abort();
    /// });
    /// assert!(matches!(listener.accept_new(), Err(Error::Aborted)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait_step(&mut self, step: Duration) -> &mut Self {
        self.special.set_wait_step(step);
        self
    }

    /// How often [`when_wait`](TcpSocket::when_wait) calls back, as [`wait_step`](TcpSocket::wait_step) has set it: U++'s name of
    /// [`current_wait_step`](TcpSocket::current_wait_step).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// assert_eq!(wakesock::TcpSocket::new().get_wait_step(), Duration::from_millis(10));
    /// ```
    pub fn get_wait_step(&self) -> Duration {
        self.special.wait_step()
    }

    /// How often [`when_wait`](TcpSocket::when_wait) calls back: [`get_wait_step`](TcpSocket::get_wait_step), without a `get` that
    /// reads nothing.
    ///
    /// ```
    /// assert_eq!(wakesock::TcpSocket::new().current_wait_step(), std::time::Duration::from_millis(10));
    /// ```
    #[doc(alias = "GetWaitStep")]
    pub fn current_wait_step(&self) -> Duration {
        self.get_wait_step()
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            each: self.limit,
            all: self.special.run_ends(),
        }
    }

    #[inline]
    pub(super) fn deadline(&self) -> Deadline {
        if self.special.is_none() {
            return Deadline::after(self.limit);
        }
        self.deadline_within(self.limits())
    }

    /// The beginning of an operation that may take the short way. [`begin`](TcpSocket::begin) adds what is special.
    #[inline]
    pub(super) fn progress(&self) -> Progress {
        Progress::new(Deadline::after(self.limit))
    }

    /// The deadline of an operation that waits for this socket within `limits`, which may be those of another socket.
    pub(super) fn deadline_within(&self, limits: Limits) -> Deadline {
        match (limits.all, self.special.begin_steps()) {
            (None, None) => Deadline::after(limits.each),
            (all, when_wait) => Deadline::new(limits.each, all, when_wait),
        }
    }
}
