//! [`SocketId`].

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of one opening of a socket: never given twice in a process.
///
/// ```
/// use std::collections::HashMap;
/// use wakesock::TcpSocket;
///
/// let mut socket = TcpSocket::new();
/// socket.listen_on("127.0.0.1:0", &Default::default())?;
/// let names = HashMap::from([(socket.id(), "first")]);
/// assert_eq!(names.get(&socket.handle().id()), Some(&"first"));
/// // Opened again, it is another one.
/// socket.listen_on("127.0.0.1:0", &Default::default())?;
/// assert_eq!(names.get(&socket.id()), None);
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(NonZeroU64);

impl SocketId {
    pub(super) fn next() -> SocketId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        SocketId(NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX))
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketId({})", self.0)
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
