//! How long operations may take, and what is called while they wait.

use std::time::{Duration, Instant};

use super::TcpSocket;
use crate::deadline::{Callback, Deadline, Waiting, WhenWait, check_global, moment_after};
use crate::error::Result;

/// What the operations of a socket may take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Each of them.
    pub(super) each: Option<Duration>,
    /// The moment when the time for a run of them is up.
    pub(super) all: Option<Instant>,
}

impl Limits {
    pub(super) fn check_global(self) -> Result<()> {
        check_global(self.all)
    }
}

/// How often `when_wait` calls back, as in U++.
pub(super) const WAIT_STEP: Duration = Duration::from_millis(10);

impl TcpSocket {
    /// How long one operation may block in all, from when it first has to wait: `None` for ever, zero not at all.
    ///
    /// It is never shorter, to the resolution of the monotonic clock, and longer only by what the system takes to wake
    /// a thread. An operation whose time is up hands over what it has, or returns
    /// [`Error::Timeout`](crate::Error::Timeout); it can be repeated.
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
    pub fn timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.limits.each = limit.into();
        self
    }

    /// What [`timeout`](TcpSocket::timeout) was set to.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// assert_eq!(socket.get_timeout(), None);
    /// socket.timeout(Duration::from_secs(5));
    /// assert_eq!(socket.get_timeout(), Some(Duration::from_secs(5)));
    /// ```
    pub fn get_timeout(&self) -> Option<Duration> {
        self.limits.each
    }

    /// Lifts the limit: `timeout(None)`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// socket.timeout(Duration::from_secs(5)).blocking();
    /// assert_eq!(socket.get_timeout(), None);
    /// ```
    pub fn blocking(&mut self) -> &mut Self {
        self.timeout(None)
    }

    /// Whether there is no limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut socket = wakesock::TcpSocket::new();
    /// assert!(socket.is_blocking());
    /// assert!(!socket.timeout(Duration::ZERO).is_blocking());
    /// ```
    pub fn is_blocking(&self) -> bool {
        self.limits.each.is_none()
    }

    /// Limits a run of operations: from now on until [`no_global_timeout`](TcpSocket::no_global_timeout), they may take
    /// this long together, with whatever lies between them.
    ///
    /// When that is over, the operation under way and each that begins fails with
    /// [`Error::GlobalTimeout`](crate::Error::GlobalTimeout), even if it would not have to wait, and the socket is in
    /// the error state. What had come is still there when the limit is lifted and the error
    /// [cleared](TcpSocket::clear_error). Each operation's own [`timeout`](TcpSocket::timeout) goes on to hold:
    /// whichever of the two is over first ends it and gives the error its name. `None` is no limit.
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
    pub fn global_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.limits.all = limit.into().and_then(moment_after);
        self.input.buffer.forbid_fast_path();
        self
    }

    /// Lifts the [`global_timeout`](TcpSocket::global_timeout), but not the error it has led to:
    /// [`clear_error`](TcpSocket::clear_error) does that.
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

    /// Calls back about every [`wait_step`](TcpSocket::wait_step) while an operation of this socket waits.
    ///
    /// The steps of an operation are counted from its beginning: one that is over within a step never calls back.
    ///
    /// In the thread that waits, and with the operation left meanwhile: the callback may close the socket (by a
    /// handle), [abort](Waiting::abort) the operation, or wait for a lock that another thread holds while it closes the
    /// socket. The limits hold all the same, and whatever ends the wait ends it at once, not at the next step. For
    /// `accept`, it is the listener's callback that runs.
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
        self.when_wait = Some(Callback::new(callback));
        self
    }

    /// Calls back no more.
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
        self.when_wait = None;
        self
    }

    /// How often [`when_wait`](TcpSocket::when_wait) calls back: every 10 ms unless set otherwise, at most every
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
        self.wait_step = step;
        self
    }

    /// What [`wait_step`](TcpSocket::wait_step) was set to.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// assert_eq!(wakesock::TcpSocket::new().get_wait_step(), Duration::from_millis(10));
    /// ```
    pub fn get_wait_step(&self) -> Duration {
        self.wait_step
    }

    #[inline]
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline_within(self.limits)
    }

    /// The deadline of an operation that waits for this socket with limits that may be another's.
    #[inline]
    pub(super) fn deadline_within(&self, limits: Limits) -> Deadline {
        let when_wait = self
            .when_wait
            .as_ref()
            .map(|callback| Box::new(WhenWait::begin(callback.clone(), self.wait_step)));
        Deadline::new(limits.each, limits.all, when_wait)
    }
}
