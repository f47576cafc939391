//! A raw wait whose polls belong to threads.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use mio::Token;

use super::{RawWait, WaitSource, Waiter};
use crate::events::WaitEvents;
use crate::park::Parker;
use crate::sys::PollSource;
use crate::wake::{Wake, WakeList};

/// Waits in a `mio::Poll` that belongs to the waiting thread: two descriptors for each thread that has ever waited,
/// none for a socket.
///
/// For programs with few threads and many sockets that wait one at a time. Each wait registers its socket and takes it
/// out again, two system calls that [`MioWait`](super::MioWait) does without; see the comparison at [`RawWait`].
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use wakesock::{ThreadWait, TcpSocket};
///
/// let thread_wait = Arc::new(ThreadWait::default());
/// let mut listener = TcpSocket::new();
/// listener.set_raw_wait(thread_wait);
/// listener.listen_on("127.0.0.1:0", &Default::default())?;
/// listener.timeout(Duration::from_millis(5));
/// assert!(listener.accept_new().unwrap_err().is_timeout());
/// # Ok::<(), wakesock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadWait {
    _private: (),
}

impl RawWait for ThreadWait {
    fn waiter(&self, socket: WaitSource<'_>, _events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(ThreadWaiter {
            source: PollSource::new(socket.socket()),
            alarm: Arc::new(Alarm {
                rung: AtomicBool::new(false),
                parkers: WakeList::new(),
            }),
        }))
    }
}

struct ThreadWaiter {
    source: PollSource,
    alarm: Arc<Alarm>,
}

/// Wakes the thread that waits or, if none does, lets the next wait return at once.
struct Alarm {
    rung: AtomicBool,
    /// The waker of the thread that waits, while one does.
    parkers: WakeList,
}

impl Wake for Alarm {
    fn wake(&self) {
        // A thread that begins to wait puts its waker in and then looks here: one of the two sees the other.
        self.rung.store(true, SeqCst);
        self.parkers.wake_all();
    }
}

const SOCKET: Token = Token(0);

impl Waiter for ThreadWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        let ThreadWaiter { source, alarm } = self;
        with_parker(|parker| {
            let registered = alarm.parkers.register(Some(parker.waker()));
            if alarm.rung.swap(false, SeqCst) {
                return Ok(WaitEvents::empty());
            }
            source.register(parker.registry(), SOCKET, events)?;
            let reported = parker.park_for_events(timeout);
            let taken_out = source.deregister(parker.registry());
            drop(registered);
            // A wake until now was for this wait.
            alarm.rung.store(false, SeqCst);
            taken_out.and(reported)
        })
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.alarm.clone()
    }
}

/// Lends the thread's parker, which is made at the thread's first wait.
fn with_parker<T>(work: impl FnOnce(&mut Parker) -> io::Result<T>) -> io::Result<T> {
    thread_local! {
        static PARKER: Cell<Option<Parker>> = const { Cell::new(None) };
    }
    // Also None if the thread is ending and has no local storage any more.
    let kept = PARKER.try_with(Cell::take).ok().flatten();
    let mut parker = kept.map_or_else(Parker::new, Ok)?;
    let result = work(&mut parker);
    // A parker that has failed may not be fit for another wait. If it isn't kept, or can't be, the next wait makes
    // another.
    if result
        .as_ref()
        .err()
        .is_none_or(|error| error.kind() == io::ErrorKind::Interrupted)
    {
        let _ = PARKER.try_with(|place| place.set(Some(parker)));
    }
    result
}
