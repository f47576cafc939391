//! A raw wait that counts: how often sockets have waited, and been woken.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use wakesock::{MioWait, RawWait, WaitEvents, WaitSource, Waiter, Wake};

use crate::figures::Count;

/// The default one, counted.
#[derive(Debug, Default)]
pub struct CountingWait(MioWait);

impl RawWait for CountingWait {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(CountingWaiter(self.0.waiter(socket, events)?)))
    }
}

struct CountingWaiter(Box<dyn Waiter>);

impl Waiter for CountingWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        Count::Waits.add(1);
        self.0.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(CountingWake(self.0.waker()))
    }
}

struct CountingWake(Arc<dyn Wake>);

impl Wake for CountingWake {
    fn wake(&self) {
        Count::Wakes.add(1);
        self.0.wake();
    }
}
