//! A socket by its number.

use std::os::windows::io::{AsSocket, FromRawSocket, IntoRawSocket};
#[cfg(target_pointer_width = "32")]
use std::sync::atomic::AtomicU32;
#[cfg(target_pointer_width = "64")]
use std::sync::atomic::AtomicU64;

pub(crate) use std::os::windows::io::{BorrowedSocket, OwnedSocket, RawSocket};

#[cfg(target_pointer_width = "32")]
pub(crate) type AtomicRawSocket = AtomicU32;
#[cfg(target_pointer_width = "64")]
pub(crate) type AtomicRawSocket = AtomicU64;

/// What programs know as the number of no socket.
pub(crate) const INVALID_SOCKET: RawSocket = RawSocket::MAX;

/// What the standard library calls the number where it shows a socket.
pub(crate) const NUMBER: &str = "socket";

/// Stands for no number. Handles of user mode have their highest bit clear and are multiples of four, far below this one, so
/// it never comes to mean something that other code closes, and every call on it fails with `WSAENOTSOCK`.
pub(crate) const NO_SOCKET: RawSocket = (RawSocket::MAX >> 1) & !3;

pub(crate) fn borrowed(socket: &socket2::Socket) -> BorrowedSocket<'_> {
    socket.as_socket()
}

pub(crate) fn into_raw(socket: OwnedSocket) -> RawSocket {
    socket.into_raw_socket()
}

/// Takes over the socket with this number.
///
/// # Safety
///
/// The number must be of a socket that is open, and that no other code closes.
pub(crate) unsafe fn own(socket: RawSocket) -> OwnedSocket {
    // SAFETY: as the caller says.
    unsafe { OwnedSocket::from_raw_socket(socket) }
}

/// Borrows the socket with this number.
///
/// # Safety
///
/// The number must be of a socket that stays open for as long as the result is in use, or [`NO_SOCKET`].
pub(crate) unsafe fn borrow<'a>(socket: RawSocket) -> BorrowedSocket<'a> {
    // SAFETY: as the caller says.
    unsafe { BorrowedSocket::borrow_raw(socket) }
}

/// A socket for what has none: every call refuses it.
pub(crate) fn no_socket() -> BorrowedSocket<'static> {
    // SAFETY: it is `NO_SOCKET`.
    unsafe { borrow(NO_SOCKET) }
}
