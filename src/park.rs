//! A place to block that can be woken from a signal handler.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry, Token};

use crate::events::WaitEvents;
use crate::sys::{self, BorrowedSocket, Registration, Waker};
use crate::wake::Wake;

const WAKER: Token = Token(usize::MAX);
/// The token of any socket, where it doesn't matter which one is ready.
const SOCKET: Token = Token(0);

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
    /// Returns the reports, except those of the waker.
    pub(crate) fn park(&mut self, timeout: Option<Duration>) -> io::Result<impl Iterator<Item = &Event>> {
        let until = timeout.filter(|_| sys::POLL_RETURNS_EARLY);
        let until = until.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            match sys::wait_in(&mut self.poll, &mut self.events, left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
                result => result?,
            }
            left = until.map(|at| at.saturating_duration_since(Instant::now()));
            // On Windows a deregistration completes as an empty event. Returning here would make the caller deregister
            // again and so end the next wait, too.
            if !self.events.is_empty() || left.is_none_or(|left| left.is_zero()) {
                break;
            }
        }
        self.waker.0.note_reports(&self.events, WAKER);
        Ok(self.events.iter().filter(|event| event.token() != WAKER))
    }

    /// Blocks as [`park`](Parker::park) does, and returns what the one registered socket was reported to be ready for.
    #[inline]
    pub(crate) fn park_for_events(&mut self, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        let reported = self.park(timeout)?.map(events_of);
        Ok(reported.fold(WaitEvents::empty(), WaitEvents::union))
    }
}

/// Converts a report of mio to events.
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

/// How long a wait lasts that has nothing to block in, because descriptors or memory have run out.
pub(crate) const SCARCE_STEP: Duration = Duration::from_millis(10);

/// A [`Parker`] if there can be one, or else short sleeps.
#[derive(Debug)]
pub(crate) struct AnyParker(Option<Parker>);

impl AnyParker {
    pub(crate) fn new() -> AnyParker {
        AnyParker(Parker::new().ok())
    }

    /// Makes a parker that can't be woken and returns often.
    pub(crate) fn none() -> AnyParker {
        AnyParker(None)
    }

    pub(crate) fn waker(&self) -> Option<Arc<dyn Wake>> {
        self.0.as_ref().map(Parker::waker)
    }

    /// Makes the next wait end, too, when `socket` is or becomes writable. To be called before each wait.
    ///
    /// If that can't be done, `registration` is None afterwards, and the socket has to be looked at now and then.
    pub(crate) fn wake_when_writable(&self, socket: BorrowedSocket<'_>, registration: &mut Option<Registration>) {
        let Some(parker) = &self.0 else {
            return;
        };
        let made = registration.get_or_insert_with(|| Registration::new(socket));
        // So that it is watched for again, whatever the last wait has reported.
        made.note_report(WaitEvents::ALL);
        if made.watch(parker.registry(), SOCKET, WaitEvents::WRITE).is_err() {
            *registration = None;
        }
    }

    /// Undoes [`wake_when_writable`](AnyParker::wake_when_writable). To be called with the socket open.
    pub(crate) fn forget(&self, registration: Registration) {
        if let Some(parker) = &self.0 {
            // It fails only if the socket isn't in the poll.
            let _ = registration.deregister(parker.registry());
        }
    }

    pub(crate) fn park(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match &mut self.0 {
            Some(parker) => {
                // The caller looks at what it waits for, whatever was reported.
                let _ = parker.park(timeout)?;
            }
            None => thread::sleep(timeout.unwrap_or(SCARCE_STEP).min(SCARCE_STEP)),
        }
        Ok(())
    }
}

/// What a look has shown of something that a thread waits for.
pub(crate) enum Step<T> {
    Done(T),
    /// Not yet: look again after the next wake, or at this moment.
    WaitUntil(Option<Instant>),
}
