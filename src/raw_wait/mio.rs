//! The default raw wait.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Token;

use super::{Parker, RawWait, WaitEvents, WaitSource, Waiter, Wake};
use crate::sys::PollSource;

/// Waits in a `mio::Poll` of the socket's own: the default, and the fastest.
///
/// A direction of a socket that has waited once keeps its poll and the waker: two descriptors (`epoll` and `eventfd` on
/// Linux). One that never waited costs nothing.
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

impl RawWait for MioWait {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        let mut waiter = MioWaiter {
            parker: Parker::new()?,
            source: PollSource::new(socket.socket()),
            registered: None,
        };
        waiter.register(events)?;
        Ok(Box::new(waiter))
    }
}

struct MioWaiter {
    parker: Parker,
    source: PollSource,
    registered: Option<WaitEvents>,
}

const SOCKET: Token = Token(0);

impl MioWaiter {
    /// Tells the poll what to watch, if that has changed. Whatever is ready at that moment is reported afresh.
    fn register(&mut self, events: WaitEvents) -> io::Result<()> {
        let registry = self.parker.registry();
        match self.registered {
            None => self.source.register(registry, SOCKET, events)?,
            Some(before) if before == events => return self.source.watch_again(registry, SOCKET, events),
            Some(_) => self.source.reregister(registry, SOCKET, events)?,
        }
        self.registered = Some(events);
        Ok(())
    }
}

impl Waiter for MioWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.register(events)?;
        self.parker.park_for_events(timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.parker.waker()
    }
}
