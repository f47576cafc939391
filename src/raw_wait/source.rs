//! [`WaitSource`].

use crate::sys::BorrowedSocket;

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
