//! A place to block that can be woken from a signal handler.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry, Token};

use crate::events::WaitEvents;
use crate::sys::{self, BorrowedSocket, PollSource, Waker};
use crate::wake::Wake;

const WAKER: Token = Token(usize::MAX);
/// Everything else, where it doesn't matter what of it is ready.
const WATCHED: Token = Token(0);

/// A `mio::Poll` with its waker: two descriptors, or four above poll(2).
pub(crate) struct Parker {
    poll: Poll,
    events: Events,
    waker: Arc<PollWaker>,
}

impl Parker {
    pub(crate) fn new() -> io::Result<Parker> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok(Parker {
            poll,
            // One socket and the waker.
            events: Events::with_capacity(2),
            waker: Arc::new(PollWaker(waker)),
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    /// Blocks until woken, until something registered is ready, or until `timeout` has passed; may return early.
    /// Gives what was reported of others than the waker.
    pub(crate) fn park(&mut self, timeout: Option<Duration>) -> io::Result<impl Iterator<Item = &Event>> {
        let until = timeout.filter(|_| sys::POLL_RETURNS_EARLY);
        let until = until.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            match self.poll.poll(&mut self.events, left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
                result => result?,
            }
            left = until.map(|moment| moment.saturating_duration_since(Instant::now()));
            // What would return to its caller now might take a socket out of the poll: that ends the next wait early.
            if !self.events.is_empty() || left.is_none_or(|left| left.is_zero()) {
                break;
            }
        }
        if sys::REPORTS_ONCE && self.events.iter().any(|event| event.token() == WAKER) {
            self.waker.0.reset();
        }
        Ok(self.events.iter().filter(|event| event.token() != WAKER))
    }

    /// The same, and gives what the one socket that is registered was reported to be ready for.
    pub(crate) fn park_for_events(&mut self, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        let reported = self.park(timeout)?.map(events_of);
        Ok(reported.fold(WaitEvents::empty(), WaitEvents::union))
    }
}

/// What a report says.
pub(crate) fn events_of(event: &Event) -> WaitEvents {
    let mut events = WaitEvents::empty();
    events.set(WaitEvents::READ, event.is_readable());
    events.set(WaitEvents::WRITE, event.is_writable());
    let exceptional = event.is_priority() || event.is_error() || event.is_read_closed() || event.is_write_closed();
    events.set(WaitEvents::EXCEPTION, exceptional);
    events
}

impl fmt::Debug for Parker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parker").finish_non_exhaustive()
    }
}

struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        self.0.wake();
    }
}

/// A [`Parker`] if there can be one, or else short sleeps.
#[derive(Debug)]
pub(crate) struct AnyParker(Option<Parker>);

impl AnyParker {
    /// What stands in for a wake where descriptors or memory have run out: a look now and then.
    pub(crate) const STEP: Duration = Duration::from_millis(10);

    pub(crate) fn new() -> AnyParker {
        AnyParker(Parker::new().ok())
    }

    /// One that can't be woken and looks around often.
    pub(crate) fn none() -> AnyParker {
        AnyParker(None)
    }

    pub(crate) fn waker(&self) -> Option<Arc<dyn Wake>> {
        self.0.as_ref().map(Parker::waker)
    }

    /// Ends a wait, too, when `socket` becomes writable, or is. To be called before each wait.
    ///
    /// Leaves nothing in `watched` if it can't be; then it has to be looked at now and then.
    pub(crate) fn watch(&self, socket: BorrowedSocket<'_>, watched: &mut Option<PollSource>) {
        let Some(parker) = &self.0 else {
            return;
        };
        let registry = parker.registry();
        match watched {
            None => {
                let mut source = PollSource::new(socket);
                let result = source.register(registry, WATCHED, WaitEvents::WRITE);
                *watched = result.is_ok().then_some(source);
            }
            Some(source) if sys::REPORTS_ONCE => {
                // It fails only on what isn't there.
                let _ = source.reregister(registry, WATCHED, WaitEvents::WRITE);
            }
            Some(_) => {}
        }
    }

    /// Takes [`watch`](AnyParker::watch) back. To be called with the socket open.
    pub(crate) fn unwatch(&self, mut source: PollSource) {
        if let Some(parker) = &self.0 {
            let _ = source.deregister(parker.registry());
        }
    }

    pub(crate) fn park(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match &mut self.0 {
            Some(parker) => {
                // Whoever waits looks for himself.
                let _ = parker.park(timeout)?;
            }
            None => thread::sleep(timeout.unwrap_or(Self::STEP).min(Self::STEP)),
        }
        Ok(())
    }
}

/// What a look at something that is waited for has shown.
pub(crate) enum Seen<T> {
    Done(T),
    /// Look again after the next wake, or at this moment.
    NotYet(Option<Instant>),
}
