//! The plug for what operations block in.

mod as_fd;
mod as_socket;
mod mio;
mod thread;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use self::mio::MioWait;
pub use self::thread::ThreadWait;
use crate::events::WaitEvents;
use crate::sys::BorrowedSocket;
use crate::wake::Wake;

/// Makes what the operations of a socket block in.
///
/// The default is [`MioWait`]; [`TcpSocket::set_raw_wait`](crate::TcpSocket::set_raw_wait) puts another in its place.
/// Accepted sockets take over that of their listener. What a connection is waited for while several addresses are
/// tried, or a name is looked up, is not a socket, and not waited for in these.
///
/// | | [`MioWait`], the default | [`ThreadWait`] |
/// |---|---|---|
/// | the poll belongs to | each direction of each socket that has waited | each thread that has waited |
/// | descriptors, on Linux | 2 for each direction, so up to 4 for a socket beside its own | 2 for each thread |
/// | memory | about 150 bytes for each direction | about 130 bytes for each direction, and some for each thread |
/// | system calls for a wait | 1 | 3: it registers the socket and takes it out again |
/// | for | nearly everybody; it is the fastest | many more sockets than threads, and few descriptors |
///
/// Both end a wait at once when the socket is ended, and both work, if a little late, when descriptors have run out:
/// such a wait looks around every 10 ms.
///
/// # For implementors
///
/// A socket asks for a waiter when a direction first has to wait, so a socket that never blocks never has one. It asks
/// for two at most: one in which reading and accepting block, one in which writing and connecting do. It keeps them
/// until it is closed or their wait fails (then it asks for another), and uses a waiter from one thread at a time.
///
/// Return an error of the kind "out of descriptors" (`EMFILE`, `ENFILE`) or "out of memory" as it is: the socket then
/// does without a waiter for a while and asks again. Any other error fails the operation.
///
/// # Examples
///
/// A raw wait that counts the waiters it makes:
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::time::Duration;
/// use wakesock::{MioWait, RawWait, TcpSocket, WaitEvents, WaitSource, Waiter};
///
/// #[derive(Debug, Default)]
/// struct Counting {
///     inner: MioWait,
///     made: AtomicUsize,
/// }
///
/// impl RawWait for Counting {
///     fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
///         self.made.fetch_add(1, Ordering::Relaxed);
///         self.inner.waiter(socket, events)
///     }
/// }
///
/// let counting = Arc::new(Counting::default());
/// let mut listener = TcpSocket::new();
/// listener.set_raw_wait(counting.clone());
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// listener.timeout(Duration::from_millis(1));
/// assert!(listener.accept_new().unwrap_err().is_timeout());
/// assert!(listener.accept_new().unwrap_err().is_timeout());
/// assert_eq!(counting.made.load(Ordering::Relaxed), 1);
/// # Ok::<(), wakesock::Error>(())
/// ```
pub trait RawWait: Send + Sync + fmt::Debug {
    /// Makes what one direction of one socket blocks in. Called at that direction's first wait, not before.
    ///
    /// `events` is what that wait is for: mostly what all later ones will be for, too.
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>>;
}

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

/// The socket that a waiter is for: its descriptor, which stays open for as long as the waiter exists.
///
/// It is in non-blocking mode. A waiter may keep its number (`as_raw_fd`) and use it until it is dropped.
///
/// ```
/// use std::io;
/// use std::os::fd::{AsFd, AsRawFd};
/// use std::sync::Arc;
/// use std::time::Duration;
/// use wakesock::{MioWait, RawWait, TcpSocket, WaitEvents, WaitSource, Waiter};
///
/// /// Tells which sockets have to wait.
/// #[derive(Debug)]
/// struct Telling;
///
/// impl RawWait for Telling {
///     fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
///         eprintln!("descriptor {} waits for {events:?}", socket.as_fd().as_raw_fd());
///         MioWait::default().waiter(socket, events)
///     }
/// }
///
/// let mut listener = TcpSocket::new();
/// listener.set_raw_wait(Arc::new(Telling));
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// listener.timeout(Duration::from_millis(5));
/// assert!(listener.accept_new().unwrap_err().is_timeout());
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WaitSource<'a> {
    socket: BorrowedSocket<'a>,
}

impl<'a> WaitSource<'a> {
    pub(crate) fn new(socket: BorrowedSocket<'a>) -> WaitSource<'a> {
        WaitSource { socket }
    }

    pub(crate) fn socket(&self) -> BorrowedSocket<'a> {
        self.socket
    }
}
