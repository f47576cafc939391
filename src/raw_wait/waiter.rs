//! [`Waiter`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::events::WaitEvents;
use crate::wake::Wake;

/// What one direction of one socket blocks in.
///
/// It is dropped when its socket is closed, by the thread that closes it or by the last to leave an operation; dropping
/// it must not close or otherwise wait for that socket.
///
/// # Examples
///
/// One that waits in `poll(2)`, and is woken through the `Pipe` of the example at [`Wake`]:
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::os::fd::{AsFd, AsRawFd, RawFd};
/// use std::os::unix::net::UnixStream;
/// use std::sync::Arc;
/// use std::time::Duration;
/// use wakesock::{Error, RawWait, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};
/// # /// Two connected sockets, used as a pipe: a byte in it is a wake.
/// # struct Pipe {
/// #     wakes: UnixStream,
/// #     woken: UnixStream,
/// # }
/// #
/// # impl Wake for Pipe {
/// #     fn wake(&self) {
/// #         // One system call. Where there is no room for another byte, those that are there wake.
/// #         let _ = (&self.wakes).write(&[1]);
/// #     }
/// # }
///
/// struct PollWaiter {
///     socket: RawFd,
///     pipe: Arc<Pipe>,
/// }
///
/// impl Waiter for PollWaiter {
///     fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
///         let flags = [
///             (WaitEvents::READ, libc::POLLIN),
///             (WaitEvents::WRITE, libc::POLLOUT),
///             (WaitEvents::EXCEPTION, libc::POLLPRI),
///         ];
///         let wanted = flags.iter().filter(|(event, _)| events.contains(*event));
///         let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
///         let mut entries = [
///             entry(self.socket, wanted.fold(0, |all, (_, flag)| all | flag)),
///             entry(self.pipe.woken.as_raw_fd(), libc::POLLIN),
///         ];
///         // Rounded up: a wait that ended a little early would be called again and again.
///         let millis = timeout.map_or(-1, |limit| {
///             i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
///         });
///         // SAFETY: these are two valid entries.
///         if unsafe { libc::poll(entries.as_mut_ptr(), 2, millis) } < 0 {
///             return Err(io::Error::last_os_error());
///         }
///         while (&self.pipe.woken).read(&mut [0; 64]).is_ok() {}
///         let found = entries[0].revents;
///         if found & (libc::POLLERR | libc::POLLHUP) != 0 {
///             return Ok(WaitEvents::ALL);
///         }
///         let found = flags.iter().filter(|(_, flag)| found & flag != 0);
///         Ok(found.map(|(event, _)| *event).collect())
///     }
///
///     fn waker(&self) -> Arc<dyn Wake> {
///         self.pipe.clone()
///     }
/// }
///
/// #[derive(Debug)]
/// struct PollWait;
///
/// impl RawWait for PollWait {
///     fn waiter(&self, socket: WaitSource<'_>, _: WaitEvents) -> io::Result<Box<dyn Waiter>> {
///         let (wakes, woken) = UnixStream::pair()?;
///         wakes.set_nonblocking(true)?;
///         woken.set_nonblocking(true)?;
///         Ok(Box::new(PollWaiter {
///             socket: socket.as_fd().as_raw_fd(),
///             pipe: Arc::new(Pipe { wakes, woken }),
///         }))
///     }
/// }
///
/// let mut listener = TcpSocket::new();
/// listener.set_raw_wait(Arc::new(PollWait));
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// listener.timeout(Duration::from_millis(5));
/// assert!(matches!(listener.accept_new(), Err(Error::Timeout)));
/// let handle = listener.blocking().handle();
/// let blocked = std::thread::spawn(move || listener.accept_new().map(drop));
/// handle.close();
/// assert!(matches!(blocked.join().unwrap(), Err(Error::Closed)));
/// # Ok::<(), Error>(())
/// ```
pub trait Waiter: Send {
    /// Blocks until the socket may be ready for one of `events`, the waker was woken, or `timeout` has passed.
    ///
    /// Returns what the socket may be ready for. It may return early and with nothing. It must never sleep through
    /// readiness or a wake that came before or during the call; of readiness it is enough to report each change, as
    /// an edge-triggered `epoll(7)` does, since callers have found the socket not ready before they wait.
    ///
    /// A waiter that reports changes only has to add [`EXCEPTION`](WaitEvents::EXCEPTION) to a report of `READ` when
    /// there may be more to learn than data: urgent data, the end of the stream, an error. Without it a short read is
    /// taken as a sign that there is nothing more to read.
    ///
    /// The kind [`Interrupted`](io::ErrorKind::Interrupted) counts as an early return. Where descriptors or memory have
    /// run out, the socket is looked at now and then until another wait works. Any other error fails the operation.
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents>;

    /// What ends a wait, present or next, from elsewhere. Asked for once, right after the waiter was made.
    fn waker(&self) -> Arc<dyn Wake>;
}
