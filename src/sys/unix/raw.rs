//! A socket by its number.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::sync::AtomicI32;

pub(crate) type OwnedSocket = OwnedFd;
pub(crate) type BorrowedSocket<'a> = BorrowedFd<'a>;
pub(crate) type RawSocket = RawFd;
pub(crate) type AtomicRawSocket = AtomicI32;

/// Stands for no number.
pub(crate) const NO_SOCKET: RawSocket = -1;

pub(crate) fn borrowed(socket: &socket2::Socket) -> BorrowedSocket<'_> {
    socket.as_fd()
}

pub(crate) fn into_raw(socket: OwnedSocket) -> RawSocket {
    socket.into_raw_fd()
}

/// Takes over the socket with this number.
///
/// # Safety
///
/// The number must be of a socket that is open, and that no other code closes.
pub(crate) unsafe fn own(socket: RawSocket) -> OwnedSocket {
    // SAFETY: as the caller says.
    unsafe { OwnedFd::from_raw_fd(socket) }
}

/// Borrows the socket with this number.
///
/// # Safety
///
/// The number must be of a socket that stays open for as long as the result is in use.
pub(crate) unsafe fn borrow<'a>(socket: RawSocket) -> BorrowedSocket<'a> {
    // SAFETY: as the caller says.
    unsafe { BorrowedFd::borrow_raw(socket) }
}

/// A descriptor for a socket that has none: never open, so that every call on it fails with `EBADF`.
pub(crate) fn no_socket() -> BorrowedSocket<'static> {
    // SAFETY: no system gives out so high a number (Linux: `fs.nr_open` has to stay below it), so it never comes to
    // mean a file that other code closes.
    unsafe { BorrowedFd::borrow_raw(RawFd::MAX) }
}
