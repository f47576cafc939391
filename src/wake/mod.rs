//! How a signal handler reaches threads and queues: the lists that `close` and `shutdown` walk, and the inboxes that
//! they put things in.
//!
//! A handler may have interrupted a thread anywhere, inside the allocator or inside these very structures. So a walk
//! and a put take no lock, allocate nothing, free nothing and don't wait.

mod inbox;
mod list;
mod revocable;

use std::sync::Arc;

pub(crate) use self::inbox::{Inbox, Link, Linked};
pub(crate) use self::list::{Key, KeyCell, List};
pub(crate) use self::revocable::Revocable;

/// Ends a wait from another thread or from a signal handler.
///
/// # Examples
///
/// A waker that writes into a pipe, which the waiter polls beside the socket. Both ends of the pipe belong to the
/// waker, so that it is never written to without a reader, which could raise SIGPIPE. The waiter is in the crate's
/// example [`raw_wait`](https://docs.rs/crate/wakesock/latest/source/examples/raw_wait.rs).
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use wakesock::Wake;
///
/// /// Two connected sockets, used as a pipe: a byte in it is a wake.
/// struct Pipe {
///     wakes: UnixStream,
///     woken: UnixStream,
/// }
///
/// impl Wake for Pipe {
///     fn wake(&self) {
///         // One system call. Where there is no room for another byte, those that are there wake.
///         let _ = (&self.wakes).write(&[1]);
///     }
/// }
///
/// let (wakes, woken) = UnixStream::pair()?;
/// wakes.set_nonblocking(true)?;
/// let pipe = Pipe { wakes, woken };
/// pipe.wake();
/// assert_eq!((&pipe.woken).read(&mut [0; 64])?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Wake: Send + Sync {
    /// Makes the current wait return or, if there is none, the next one.
    ///
    /// Must be async-signal-safe: it may be called from a handler that has interrupted any code at all, so it must take
    /// no lock and allocate nothing. It may leave errno changed, and must not panic.
    fn wake(&self);
}

/// The wakers that a socket, or a registry, wakes when it ends.
pub(crate) type WakeList = List<Arc<dyn Wake>>;

impl WakeList {
    /// Puts `waker` in, if there is one, for as long as the result lives.
    pub(crate) fn register(&self, waker: Option<Arc<dyn Wake>>) -> Registered<'_> {
        Registered {
            list: self,
            key: waker.map(|waker| self.insert(waker)),
        }
    }

    /// Wakes all. Async-signal-safe, but for errno.
    pub(crate) fn wake_all(&self) {
        self.for_each(|waker| waker.wake());
    }
}

/// A waker in its list: see [`WakeList::register`].
pub(crate) struct Registered<'a> {
    list: &'a WakeList,
    key: Option<Key<Arc<dyn Wake>>>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            drop(self.list.remove(key));
        }
    }
}
