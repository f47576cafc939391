//! The default raw wait.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Token;

use super::{RawWait, WaitSource, Waiter};
use crate::events::WaitEvents;
use crate::park::Parker;
use crate::sys::{self, PollSource};
use crate::wake::Wake;

/// Waits in a `mio::Poll` of the socket's own: the default, and the fastest.
///
/// A direction of a socket that has waited once keeps its poll and the waker: two descriptors (`epoll` and `eventfd` on
/// Linux), or four on systems where mio has nothing but poll(2). One that never waited costs nothing.
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
    /// What the poll is to report. Where it [`sys::REPORTS_ONCE`], nothing after it has.
    registered: Option<WaitEvents>,
}

const SOCKET: Token = Token(0);

impl MioWaiter {
    /// Tells the poll what to watch, if that has changed. Whatever is ready at that moment is reported afresh.
    fn register(&mut self, events: WaitEvents) -> io::Result<()> {
        if self.registered == Some(events) {
            return Ok(());
        }
        let registry = self.parker.registry();
        if self.registered.is_none() {
            self.source.register(registry, SOCKET, events)?;
        } else {
            self.source.reregister(registry, SOCKET, events)?;
        }
        self.registered = Some(events);
        Ok(())
    }
}

impl Waiter for MioWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.register(events)?;
        let reported = self.parker.park_for_events(timeout)?;
        if sys::REPORTS_ONCE && !reported.is_empty() {
            self.registered = Some(WaitEvents::empty());
        }
        Ok(reported)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.parker.waker()
    }
}
