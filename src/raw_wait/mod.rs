//! The plug for what operations block in.

mod as_fd;
mod as_socket;
mod chosen;
mod mio;
mod source;
mod thread;
mod waiter;

use std::fmt;
use std::io;

pub(crate) use self::chosen::Chosen;
pub use self::mio::MioWait;
pub use self::source::WaitSource;
pub use self::thread::ThreadWait;
pub use self::waiter::Waiter;
use crate::events::WaitEvents;

/// Makes what the operations of a socket block in.
///
/// The default is [`MioWait`]; [`TcpSocket::set_raw_wait`](crate::TcpSocket::set_raw_wait) puts another in its place.
/// Accepted sockets take over the raw wait of their listener. A connect that looks a name up, or tries several
/// addresses, doesn't wait for a single socket, and so not in a raw wait.
///
/// | | [`MioWait`], the default | [`ThreadWait`] |
/// |---|---|---|
/// | the poll belongs to | each direction of each socket that has waited | each thread that has waited |
/// | descriptors, on Linux | 2 for each direction, so up to 4 for a socket beside its own | 2 for each thread |
/// | memory | about 150 bytes for each direction | about 130 bytes for each direction, and some for each thread |
/// | system calls for a wait | 1 | 3: it registers the socket and takes it out again |
/// | for | nearly every program; it is the fastest | many more sockets than threads, and few descriptors |
///
/// Both end a wait at once when the socket is ended. Both also work when descriptors have run out, but a little late:
/// such a wait looks at the socket every 10 ms.
///
/// # For implementors
///
/// A socket asks for a waiter when a direction first has to wait, so a socket that never blocks never has one. It asks
/// for two at most: one for reading and accepting, one for writing and connecting. It keeps a waiter until the socket
/// is closed or a wait fails (then it asks for another), and uses it from one thread at a time.
///
/// Return an error of the kind "out of descriptors" (`EMFILE`, `ENFILE`) or "out of memory" as it is: the socket then
/// does without a waiter for a while and asks again. Any other error fails the operation.
///
/// A whole raw wait, over poll(2) and a pipe, is the crate's example
/// [`raw_wait`](https://docs.rs/crate/wakesock/latest/source/examples/raw_wait.rs).
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
    /// `events` is what that wait is for. Later waits are mostly for the same.
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>>;
}
