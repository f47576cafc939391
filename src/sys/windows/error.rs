//! What the system's errors mean: "Windows Sockets Error Codes", and the pages of the functions.

use std::io;

use windows_sys::Win32::Foundation::{
    ERROR_COMMITMENT_LIMIT, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_ENOUGH_QUOTA,
    ERROR_TOO_MANY_OPEN_FILES,
};
use windows_sys::Win32::Networking::WinSock::{
    WSAECONNABORTED, WSAECONNRESET, WSAEMFILE, WSAENETRESET, WSAENOBUFS, WSAESHUTDOWN, WSAETIMEDOUT, WSAEWOULDBLOCK,
    WSAHOST_NOT_FOUND, WSANO_DATA, WSATRY_AGAIN,
};

/// Whether an error of `accept` is of a connection that broke before it was accepted, so that the next one may work.
pub(crate) fn is_aborted_connection(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(WSAECONNRESET | WSAECONNABORTED))
}

/// Whether `connect` has only begun.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WSAEWOULDBLOCK)
}

/// Whether the system had no handle or memory left for a call.
pub(crate) fn is_scarcity(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        // mio reports some errors in words of its own, which keep only the kind.
        return error.kind() == io::ErrorKind::OutOfMemory;
    };
    matches!(code, WSAEMFILE | WSAENOBUFS)
        || matches!(
            code.cast_unsigned(),
            ERROR_TOO_MANY_OPEN_FILES
                | ERROR_NOT_ENOUGH_MEMORY
                | ERROR_NOT_ENOUGH_QUOTA
                | ERROR_NO_SYSTEM_RESOURCES
                | ERROR_COMMITMENT_LIMIT
        )
}

/// The error of a call whose limit is over, or that may not wait.
pub(crate) fn limit_error(may_wait: bool) -> io::Error {
    io::Error::from_raw_os_error(if may_wait { WSAETIMEDOUT } else { WSAEWOULDBLOCK })
}

/// The kind of an error. Where the standard library has none for it, that of the same error on Unix.
pub(crate) fn kind(error: &io::Error) -> io::ErrorKind {
    match error.raw_os_error() {
        // A `send` after `shutdown`.
        Some(WSAESHUTDOWN) => io::ErrorKind::BrokenPipe,
        // A reset that a write meets, and a connection that keep-alive has found dead.
        Some(WSAECONNABORTED | WSAENETRESET) => io::ErrorKind::ConnectionReset,
        // A look-up: the page of `getaddrinfo`.
        Some(WSAHOST_NOT_FOUND | WSANO_DATA) => io::ErrorKind::NotFound,
        Some(WSATRY_AGAIN) => io::ErrorKind::ResourceBusy,
        _ => error.kind(),
    }
}

/// The error of a failed look-up: its number says what it means, and [`kind`] knows that.
pub(crate) fn look_up_error(error: io::Error) -> io::Error {
    error
}

/// Runs `work`. On Windows, nothing interrupts code that has yet to look at an error's number.
pub(crate) fn keep_errno<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Numbers of errors, for tests.
#[cfg(test)]
pub(crate) mod code {
    use windows_sys::Win32::Foundation::ERROR_NO_DATA;
    pub(crate) use windows_sys::Win32::Networking::WinSock::{
        WSAECONNREFUSED as CONNECTION_REFUSED, WSAECONNRESET as CONNECTION_RESET, WSAETIMEDOUT as TIMED_OUT,
    };

    pub(crate) const BROKEN_PIPE: i32 = ERROR_NO_DATA.cast_signed();
}
