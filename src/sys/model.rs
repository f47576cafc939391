//! The part of the system that the models (`models/`) look at: real descriptors, with a record of how they are used,
//! and real polls, in which loom's threads block.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicUsize;
use loom::thread::{self, Thread};
use mio::{Events, Poll, Registry, Token};

use super::{BorrowedSocket, OwnedSocket, RawSocket, unix};

/// loom compares accesses to it by "happens before", so that it finds a use beside a closing even if the use came
/// first.
#[derive(Debug)]
struct Descriptor {
    /// Read by each use of the connection or listener, written by letting go of it.
    connection: UnsafeCell<Connection>,
    /// Read by each use of the number, written by closing it.
    number: UnsafeCell<()>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Connection {
    Open,
    Gone,
}

// SAFETY: loom makes sure that no thread writes to a cell beside another access.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

static OPEN: LazyLock<Mutex<HashMap<RawSocket, Arc<Descriptor>>>> = LazyLock::new(Mutex::default);

fn open() -> MutexGuard<'static, HashMap<RawSocket, Arc<Descriptor>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptor(socket: RawSocket) -> Arc<Descriptor> {
    let found = open().get(&socket).cloned();
    found.expect("a descriptor is used or closed that is closed already")
}

/// Asserts that the socket's connection is still there.
pub(crate) fn use_socket(socket: BorrowedSocket<'_>) {
    use_number(socket);
    // SAFETY: loom makes sure that no thread changes it meanwhile.
    let connection = descriptor(socket.as_raw_fd())
        .connection
        .with(|connection| unsafe { *connection });
    assert_eq!(connection, Connection::Open);
}

/// Asserts that the number still belongs to the socket, with a connection or without.
pub(crate) fn use_number(socket: BorrowedSocket<'_>) {
    descriptor(socket.as_raw_fd()).number.with(|_| ());
}

fn let_go(socket: RawSocket) -> Connection {
    descriptor(socket).connection.with_mut(|connection| {
        // SAFETY: as above, and that no thread reads it.
        unsafe { connection.replace(Connection::Gone) }
    })
}

pub(crate) fn is_closed(socket: RawSocket) -> bool {
    !open().contains_key(&socket)
}

pub(crate) fn into_raw(socket: OwnedSocket) -> RawSocket {
    let number = unix::into_raw(socket);
    let new = Descriptor {
        connection: UnsafeCell::new(Connection::Open),
        number: UnsafeCell::new(()),
    };
    open().insert(number, Arc::new(new));
    number
}

/// Takes over the socket with this number, and records that.
///
/// # Safety
///
/// The conditions of the platform's `own` hold.
pub(crate) unsafe fn own(socket: RawSocket) -> OwnedSocket {
    let_go(socket);
    descriptor(socket).number.with_mut(|_| ());
    open().remove(&socket);
    // SAFETY: as the caller says.
    unsafe { unix::own(socket) }
}

/// Borrows the socket with this number.
///
/// # Safety
///
/// The conditions of the platform's `borrow` hold.
pub(crate) unsafe fn borrow<'a>(socket: RawSocket) -> BorrowedSocket<'a> {
    // SAFETY: as the caller says.
    let borrowed = unsafe { unix::borrow(socket) };
    use_number(borrowed);
    borrowed
}

pub(crate) fn replace(socket: BorrowedSocket<'_>, made_elsewhere: bool) {
    use_number(socket);
    assert_eq!(let_go(socket.as_raw_fd()), Connection::Open, "replaced again");
    unix::replace(socket, made_elsewhere);
}

loom::lazy_static! {
    /// Changed by each wake and each look into a poll. loom knows nothing of what the system does: by this it lets either come
    /// before the other. It orders no memory.
    static ref SYSTEM: AtomicUsize = AtomicUsize::new(0);
}

fn step_of_system() {
    SYSTEM.fetch_add(1, Relaxed);
}

/// Threads that are blocked in polls.
static SLEEPERS: Mutex<Vec<Thread>> = Mutex::new(Vec::new());

fn sleepers() -> MutexGuard<'static, Vec<Thread>> {
    SLEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a poll return, one that blocks in [`wait_in`], too.
#[derive(Debug)]
pub(crate) struct Waker(unix::Waker);

impl Waker {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        unix::Waker::new(registry, token).map(Waker)
    }

    pub(crate) fn wake(&self) {
        step_of_system();
        self.0.wake();
        // Each looks into its poll, whichever was woken.
        sleepers().drain(..).for_each(|sleeper| sleeper.unpark());
    }

    pub(in crate::sys) fn reset(&self) {
        self.0.reset();
    }
}

/// Blocks in `poll` until something is reported. A limit that isn't zero is never over.
pub(crate) fn wait_in(poll: &mut Poll, reports: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    loop {
        step_of_system();
        unix::wait_in(poll, reports, Some(Duration::ZERO))?;
        if timeout == Some(Duration::ZERO) || !reports.is_empty() {
            return Ok(());
        }
        // Nothing of loom's comes between the poll and this, so no thread does.
        sleepers().push(thread::current());
        thread::park();
    }
}
