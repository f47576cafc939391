//! A socket by its number.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::sync::AtomicI32;

pub(crate) type OwnedSocket = OwnedFd;
pub(crate) type BorrowedSocket<'a> = BorrowedFd<'a>;
pub(crate) type RawSocket = RawFd;
pub(crate) type AtomicRawSocket = AtomicI32;

/// What programs know as the number of no socket.
pub(crate) const INVALID_SOCKET: RawSocket = -1;

/// What the standard library calls the number where it shows a socket.
pub(crate) const NUMBER: &str = "fd";

/// Stands for no number. No system gives out so high a one (Linux: `fs.nr_open` has to stay below it), so it never comes to
/// mean a file that other code closes, and every call on it fails with `EBADF`.
pub(crate) const NO_SOCKET: RawSocket = RawSocket::MAX;

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
/// The number must be of a socket that stays open for as long as the result is in use, or [`NO_SOCKET`].
#[inline]
pub(crate) unsafe fn borrow<'a>(socket: RawSocket) -> BorrowedSocket<'a> {
    // SAFETY: as the caller says.
    unsafe { BorrowedFd::borrow_raw(socket) }
}

/// A socket for what has none: every call refuses it.
pub(crate) fn no_socket() -> BorrowedSocket<'static> {
    // SAFETY: it is `NO_SOCKET`.
    unsafe { borrow(NO_SOCKET) }
}
