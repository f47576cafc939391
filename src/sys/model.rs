//! The part of the system that the models (`models/`) look at: real descriptors, with a record of how they are used,
//! and the waking of a poll, without the poll.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use loom::cell::UnsafeCell;
use mio::{Registry, Token};

use super::{BorrowedSocket, OwnedSocket, RawSocket, unix};
use crate::sync::model::Wakeup;

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

/// Makes the stand-in for a poll return.
#[derive(Debug)]
pub(crate) struct Waker(Wakeup);

impl Waker {
    pub(crate) fn new(_registry: &Registry, _token: Token) -> io::Result<Waker> {
        Ok(Waker(Wakeup::new()))
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    pub(in crate::sys) fn reset(&self) {}

    /// Stands in for the poll.
    pub(crate) fn wait(&self) {
        self.0.wait();
    }
}
