//! [`Waiter`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::events::WaitEvents;
use crate::wake::Wake;

/// What the operations of one direction of a socket block in.
///
/// It is dropped when its socket is closed, by the thread that closes the socket or by the last to leave an operation.
/// Dropping it must not close that socket, or wait for it in another way.
///
/// # Examples
///
/// A waiter that logs each wait, and leaves the waiting to that of [`MioWait`](super::MioWait):
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
/// use wakesock::{MioWait, RawWait, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};
///
/// struct LoggingWaiter(Box<dyn Waiter>);
///
/// impl Waiter for LoggingWaiter {
///     fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
///         let begin = Instant::now();
///         let found = self.0.wait(events, timeout);
///         eprintln!("waited for {events:?}: {found:?} after {:?}", begin.elapsed());
///         found
///     }
///
///     fn waker(&self) -> Arc<dyn Wake> {
///         self.0.waker()
///     }
/// }
///
/// #[derive(Debug)]
/// struct LoggingWait;
///
/// impl RawWait for LoggingWait {
///     fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
///         Ok(Box::new(LoggingWaiter(MioWait::default().waiter(socket, events)?)))
///     }
/// }
///
/// let mut listener = TcpSocket::new();
/// listener.set_raw_wait(Arc::new(LoggingWait));
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// listener.timeout(Duration::from_millis(5));
/// assert!(listener.accept_new().unwrap_err().is_timeout());
/// # Ok::<(), wakesock::Error>(())
/// ```
///
/// The crate's example [`raw_wait`](https://docs.rs/crate/wakesock/latest/source/examples/raw_wait.rs) waits by itself,
/// in poll(2), and is woken through a pipe.
pub trait Waiter: Send {
    /// Blocks until the socket may be ready for one of `events`, the waker was woken, or `timeout` has passed.
    ///
    /// Returns what the socket may be ready for. It may return early and with nothing. It must never sleep through
    /// readiness or a wake that came before or during the call. It is enough to report each change of readiness once,
    /// as an edge-triggered `epoll(7)` does, since callers have found the socket not ready before they wait.
    ///
    /// A waiter that reports only changes has to add [`EXCEPTION`](WaitEvents::EXCEPTION) to `READ` when there may be
    /// more than data: urgent data, the end of the stream, an error. Without it, a short read is taken to mean that
    /// there is nothing more to read.
    ///
    /// An error of the kind [`Interrupted`](io::ErrorKind::Interrupted) counts as an early return. If descriptors or
    /// memory have run out, the operation looks at the socket now and then until another wait works. Any other error
    /// fails the operation.
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents>;

    /// Returns what ends the current wait, or the next one, from elsewhere. Called once, right after the waiter was
    /// made.
    fn waker(&self) -> Arc<dyn Wake>;
}
