//! Models: what closes, wakes and waits, run in all orders that its threads may come in and with all values that its
//! loads may give, by [loom](https://docs.rs/loom).
//!
//! `RUSTFLAGS="--cfg wakesock_loom" cargo test --all-features --lib --release models` runs them; `.ci/models` also sees each of them
//! fail when one ordering that it hangs on is weakened. They run the very files that everybody runs. What those get from
//! `crate::sync` is loom's then, and what they get from `crate::sys` is told of: see there.
//!
//! Here a signal handler is a thread: to a handler, the thread that it has interrupted is one that has stopped. It may come
//! at any point, and a model fails where it takes a lock, waits for another thread or drops a waiter.
//!
//! What no model covers:
//!
//! - More threads, sockets or rounds than it has, and more preemptions than it says: see `check`.
//! - Time: limits are never over.
//! - The system: what its polls report, and that the waking of one is not lost. `tests/` has that.
//! - What orders memory in the standard library's `Arc` and `OnceLock` and in parking_lot: they are taken as right.
//! - All orders of one thread's load and another's write of a variable that the other has loaded before, if not all that is
//!   written there is sequentially consistent: see `crate::sync::model`.
//! - That `compare_exchange_weak` may fail for no reason, and loads of what was stored more than seven stores ago.

mod alarm;
mod descriptor;
mod inbox;
mod list;
mod litmus;
mod readiness;
mod registry;
#[cfg(feature = "tls-ring")]
mod tls;
mod wait;
#[cfg(feature = "websocket")]
mod websocket;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::{array, io};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::thread::{self, JoinHandle};

use crate::deadline::Deadline;
use crate::error::Error;
use crate::events::WaitEvents;
use crate::opening::{Direction, InUse, Opening, WaitTurn};
use crate::raw_wait::{RawWait, WaitSource, Waiter};
use crate::registry::{EndedBy, ShutdownRegistry};
use crate::sync::model::{Wakeup, as_handler, assert_no_handler, assert_no_lock, print_accesses};
use crate::sync::{AtomicUsize, yield_now};
use crate::sys::RawSocket;
use crate::sys::model::{is_closed, use_number, use_socket};
use crate::wake::{Inbox, Link, Linked, List, Wake};

/// In all orders.
pub(crate) const ALL: Option<usize> = None;

/// Runs `model` in all orders or, since there are too many with three threads, in those where a thread that could have
/// gone on has to stop for another no more than so many times.
pub(crate) fn check(preemptions: impl Into<Option<usize>>, model: impl Fn() + Send + Sync + 'static) {
    // The descriptors of two at once would get in each other's way: they are real ones.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions.into();
    builder.max_branches = 10_000;
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        model();
    });
    println!("{} executions", executions.load(Relaxed));
    print_accesses();
}

/// A thread that is a signal handler.
pub(crate) fn handler<T: 'static>(work: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    thread::spawn(|| as_handler(work))
}

pub(crate) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Memory that no thread may read while another thread writes it, or gives it back.
#[derive(Debug)]
struct Probe(UnsafeCell<()>);

// SAFETY: there is nothing in it.
unsafe impl Send for Probe {}
// SAFETY: as above.
unsafe impl Sync for Probe {}

impl Probe {
    fn new() -> Probe {
        Probe(UnsafeCell::new(()))
    }

    fn read(&self) {
        self.0.with(|_| ());
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

fn descriptor() -> OwnedFd {
    static SOCKET: LazyLock<UnixDatagram> = LazyLock::new(|| UnixDatagram::unbound().unwrap());
    SOCKET.try_clone().unwrap().into()
}

/// Opens a connection, as `connect` does.
fn open(opening: &Arc<Opening>, registry: &ShutdownRegistry) -> Result<(), Error> {
    let mut in_use = opening.enter_opening(false)?;
    let membership = in_use.join(registry, opening)?;
    in_use.install(descriptor());
    in_use.opened(membership)
}

/// An open connection and the number of its descriptor.
pub(crate) fn opened(registry: &ShutdownRegistry) -> (Arc<Opening>, RawSocket) {
    let opening = Opening::new();
    open(&opening, registry).unwrap();
    let number = opening.raw_socket();
    (opening, number)
}

/// Uses the descriptor at the beginning and at the end of an operation.
fn use_inside(opening: &Opening) {
    if let Ok(in_use) = opening.enter() {
        use_socket(in_use.socket());
        yield_now();
        use_socket(in_use.socket());
    }
}

/// Blocks in nothing of the system's.
#[derive(Debug)]
struct ModelWait;

struct ModelWaiter {
    socket: RawSocket,
    waker: Arc<ModelWaker>,
}

#[derive(Debug)]
struct ModelWaker(Wakeup);

impl RawWait for ModelWait {
    fn waiter(&self, source: WaitSource<'_>, _events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(ModelWaiter::new(source)))
    }
}

impl ModelWaiter {
    fn new(source: WaitSource<'_>) -> ModelWaiter {
        use_socket(source.socket());
        ModelWaiter {
            socket: source.as_fd().as_raw_fd(),
            waker: Arc::new(ModelWaker(Wakeup::new())),
        }
    }
}

impl Waiter for ModelWaiter {
    fn wait(&mut self, _events: WaitEvents, _timeout: Option<Duration>) -> io::Result<WaitEvents> {
        self.waker.0.wait();
        Ok(WaitEvents::empty())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }
}

impl Drop for ModelWaiter {
    /// It was promised that its descriptor is open.
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_no_handler();
            assert_no_lock();
            assert!(!is_closed(self.socket), "a waiter has outlived its descriptor");
        }
    }
}

impl Wake for ModelWaker {
    fn wake(&self) {
        self.0.wake();
    }
}

/// Reads from a connection whose peer is silent, until something ends that.
fn block(in_use: &InUse<'_>) -> Error {
    let mut deadline = Deadline::after(None);
    deadline.note_ends(in_use.opening().side(Direction::Read).ends());
    block_within(in_use, &mut deadline)
}

fn block_within(in_use: &InUse<'_>, deadline: &mut Deadline) -> Error {
    loop {
        use_socket(in_use.socket());
        let mut turn = match WaitTurn::take(in_use, Direction::Read, deadline) {
            Ok(turn) => turn.unwrap(),
            Err(error) => return error,
        };
        if let Err(error) = turn.wait(&ModelWait, WaitEvents::READ, deadline, None, || false) {
            return error;
        }
    }
}
