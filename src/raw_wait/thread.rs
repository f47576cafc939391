//! A raw wait whose polls belong to threads.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mio::Token;

use super::{RawWait, WaitSource, Waiter};
use crate::events::WaitEvents;
use crate::park::Parker;
use crate::sync::AtomicBool;
use crate::sys::PollSource;
use crate::wake::{Registered, Wake, WakeList};

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
            alarm: Arc::new(Alarm::new()),
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

impl Alarm {
    fn new() -> Alarm {
        Alarm {
            rung: AtomicBool::new(false),
            parkers: WakeList::new(),
        }
    }

    /// Has the alarm wake `waker` for as long as the result lives. None if it has rung already.
    fn listen(&self, waker: Arc<dyn Wake>) -> Option<Registered<'_>> {
        let registered = self.parkers.register(Some(waker));
        (!self.rung.swap(false, SeqCst)).then_some(registered)
    }
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
            let Some(listening) = alarm.listen(parker.waker()) else {
                return Ok(WaitEvents::empty());
            };
            source.register(parker.registry(), SOCKET, events)?;
            let reported = parker.park_for_events(timeout);
            let taken_out = source.deregister(parker.registry());
            drop(listening);
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

/// Models: see `models/`.
#[cfg(all(test, wakesock_loom))]
mod models {
    use super::*;
    use crate::models::{ALL, check, handler};
    use crate::sync::model::Wakeup;

    struct Parked(Wakeup);

    impl Wake for Parked {
        fn wake(&self) {
            self.0.wake();
        }
    }

    /// A thread begins to wait while a handler wakes it. loom calls it a deadlock if the wake is lost.
    // broken: dropped src/raw_wait/thread.rs self.rung.store(true, SeqCst)
    // broken: relaxed src/wake/list.rs self.head.store(node.as_ptr(), SeqCst)
    #[test]
    fn no_wake_is_lost_as_a_wait_begins() {
        check(ALL, || {
            let alarm = Arc::new(Alarm::new());
            let rings = Arc::clone(&alarm);
            let handler = handler(move || rings.wake());
            let parked = Arc::new(Parked(Wakeup::new()));
            if let Some(listening) = alarm.listen(parked.clone()) {
                parked.0.wait();
                drop(listening);
            }
            handler.join().unwrap();
        });
    }
}
