//! [`QueueHandle`].

use std::fmt;
use std::sync::Arc;

use super::subscription::Control;
use crate::registry::EndedBy;
use crate::sys;

/// Wakes or closes a [`SocketEventQueue`](crate::SocketEventQueue) from another thread or from a signal handler.
///
/// It keeps no queue alive, and no descriptor of one that is gone: so it may stay in a `static`. A clone refers to the same
/// queue.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use wakesock::{Error, SocketEventQueue, SocketId};
///
/// let queue = SocketEventQueue::<SocketId>::new()?;
/// let handle = queue.handle();
/// let waiting = thread::spawn(move || queue.wait(None));
/// handle.close();
/// assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct QueueHandle {
    control: Arc<Control>,
}

impl QueueHandle {
    pub(super) fn new(control: &Arc<Control>) -> QueueHandle {
        QueueHandle {
            control: Arc::clone(control),
        }
    }

    /// Makes one wait return: the one that is going on or, if none is, the next. Async-signal-safe.
    ///
    /// That wait returns the events that there are, mostly none. Several wakes before it returns count as one.
    ///
    /// ```
    /// # use wakesock::{SocketEventQueue, SocketId};
    /// let queue = SocketEventQueue::<SocketId>::new()?;
    /// queue.handle().wake();
    /// assert!(queue.wait(None)?.is_empty());
    /// # Ok::<(), wakesock::Error>(())
    /// ```
    pub fn wake(&self) {
        sys::keep_errno(|| self.control.wake());
    }

    /// Closes the queue: blocked and later waits return [`Error::Closed`](crate::Error::Closed). Async-signal-safe.
    ///
    /// The sockets stay as they are. It may be called any number of times.
    ///
    /// ```
    /// # use wakesock::{Error, SocketEventQueue, SocketId};
    /// let queue = SocketEventQueue::<SocketId>::new()?;
    /// queue.handle().close();
    /// assert!(matches!(queue.wait(None), Err(Error::Closed)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn close(&self) {
        sys::keep_errno(|| self.control.end(EndedBy::Owner));
    }
}

impl fmt::Debug for QueueHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueHandle").field(&self.control).finish()
    }
}
