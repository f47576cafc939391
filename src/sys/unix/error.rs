//! What the system's errors mean.

use std::ffi::CStr;
use std::io;

/// Whether an error of `accept` is of a connection that broke before it was accepted, so that the next one may work:
/// accept(2), "Error handling".
pub(crate) fn is_aborted_connection(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    #[cfg(target_os = "linux")]
    if code == libc::ENONET {
        return true;
    }
    matches!(
        code,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    )
}

/// Whether `connect` has only begun: connect(2), `EINPROGRESS`. Never `EAGAIN`, which on a Unix-domain socket means
/// that the queue is full.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// Whether the system had no descriptor or memory left for a call.
pub(crate) fn is_scarcity(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC)
    )
}

/// The error of a call whose limit is over, or that may not wait: socket(7), `SO_RCVTIMEO`.
pub(crate) fn limit_error(_may_wait: bool) -> io::Error {
    io::Error::from_raw_os_error(libc::EAGAIN)
}

/// The kind of an error.
pub(crate) fn kind(error: &io::Error) -> io::ErrorKind {
    error.kind()
}

/// Gives the error of a failed look-up the kind that it means: getaddrinfo(3).
///
/// The standard library keeps the text of the resolver's number, gai_strerror(3), and not the number.
pub(crate) fn look_up_error(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    let told = error.to_string();
    let kind = |(number, kind)| {
        // SAFETY: a plain call.
        let text = unsafe { libc::gai_strerror(number) };
        // SAFETY: it is a C string that stays, whatever the number.
        let text = unsafe { CStr::from_ptr(text) };
        told.ends_with(&*text.to_string_lossy()).then_some(kind)
    };
    let meanings = [
        (libc::EAI_NONAME, io::ErrorKind::NotFound),
        #[cfg(not(any(target_os = "freebsd", target_os = "dragonfly")))]
        (libc::EAI_NODATA, io::ErrorKind::NotFound),
        (libc::EAI_AGAIN, io::ErrorKind::ResourceBusy),
        (libc::EAI_MEMORY, io::ErrorKind::OutOfMemory),
    ];
    match meanings.into_iter().find_map(kind) {
        Some(kind) => io::Error::new(kind, error),
        None => error,
    }
}

/// Runs `work` and restores errno: for all that may run in a signal handler.
pub(crate) fn keep_errno<T>(work: impl FnOnce() -> T) -> T {
    let before = errno::errno();
    let result = work();
    errno::set_errno(before);
    result
}

/// Numbers of errors, for tests.
#[cfg(test)]
pub(crate) mod code {
    pub(crate) use libc::{
        ECONNREFUSED as CONNECTION_REFUSED, ECONNRESET as CONNECTION_RESET, EPIPE as BROKEN_PIPE,
        ETIMEDOUT as TIMED_OUT,
    };
}
