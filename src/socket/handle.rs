//! The handle by which others end a socket.

use std::fmt;
use std::sync::Arc;

use crate::shared::{EndedBy, Shared, SocketId};
use crate::sys;

/// Ends a socket from another thread or from a signal handler.
///
/// A handle speaks of what was open when it was taken, or of the next opening if nothing was: once the
/// [`TcpSocket`](crate::TcpSocket) is closed and opened again, old handles do nothing. It keeps no descriptor alive.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use wakesock::{Error, TcpSocket};
///
/// let mut listener = TcpSocket::new();
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// let handle = listener.handle();
/// let blocked = thread::spawn(move || listener.accept_new().map(drop));
/// handle.close();
/// assert!(matches!(blocked.join().unwrap(), Err(Error::Closed)));
/// assert!(!handle.is_open());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct SocketHandle {
    shared: Arc<Shared>,
}

impl SocketHandle {
    pub(super) fn new(shared: &Arc<Shared>) -> SocketHandle {
        SocketHandle {
            shared: Arc::clone(shared),
        }
    }

    /// The id of the opening that this handle speaks of. Async-signal-safe.
    pub fn id(&self) -> SocketId {
        self.shared.id()
    }

    /// Whether that is open. Async-signal-safe.
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// Closes it. Blocked operations return [`Error::Closed`](crate::Error::Closed) at once, later ones too.
    ///
    /// Async-signal-safe: it takes no lock, allocates nothing, waits for nobody and keeps errno; that it waits for
    /// nobody means that a [`linger`](crate::TcpSocket::linger) limit is not waited for either. The connection or
    /// listener is gone when the last thread has left its operation, which is at once if there was none.
    ///
    /// It may be called any number of times, from any number of threads and handlers. Where the next opening is meant,
    /// that one fails with `Closed`.
    pub fn close(&self) {
        sys::keep_errno(|| self.shared.end(EndedBy::Owner));
    }

    /// Makes operations return [`Error::Aborted`](crate::Error::Aborted); see
    /// [`TcpSocket::abort`](crate::TcpSocket::abort). Async-signal-safe.
    pub fn abort(&self) {
        sys::keep_errno(|| self.shared.abort());
    }
}

impl fmt::Debug for SocketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketHandle")
            .field("id", &self.id())
            .field("open", &self.is_open())
            .finish()
    }
}
