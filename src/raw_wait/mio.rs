//! The default raw wait.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Token;

use super::{RawWait, WaitSource, Waiter};
use crate::events::WaitEvents;
use crate::park::Parker;
use crate::sys::Registration;
use crate::wake::Wake;

/// Waits in a `mio::Poll` of the socket's own: the default, and the fastest.
///
/// Each direction of a socket keeps a poll and a waker from its first wait on: two descriptors (`epoll` and `eventfd`
/// on Linux), or four on systems where mio has nothing but poll(2). A direction that has never waited costs nothing.
///
/// ```
/// use std::sync::Arc;
/// use wakesock::{MioWait, TcpSocket};
///
/// let mut socket = TcpSocket::new();
/// socket.set_raw_wait(Arc::new(MioWait::default()));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MioWait {
    _private: (),
}

impl MioWait {
    /// What [`default`](MioWait::default) gives.
    pub(super) const DEFAULT: MioWait = MioWait { _private: () };
}

impl RawWait for MioWait {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let parker = Parker::new()?;
        let mut registration = Registration::new(socket.socket());
        registration.watch(parker.registry(), SOCKET, events)?;
        Ok(Box::new(MioWaiter { parker, registration }))
    }
}

struct MioWaiter {
    parker: Parker,
    registration: Registration,
}

const SOCKET: Token = Token(0);

impl Waiter for MioWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.registration.watch(self.parker.registry(), SOCKET, events)?;
        let reported = self.parker.park_for_events(timeout)?;
        if !reported.is_empty() {
            self.registration.note_report(WaitEvents::ALL);
        }
        Ok(reported)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.parker.waker()
    }
}
