//! Errors as the standard library gives them.

use std::io;
use std::time::Duration;

use crate::error::Error;
use crate::socket::Stop;
use crate::sys;

/// The system's error that is in one of this crate. What the system has no error for, as that this program has ended the socket,
/// keeps this crate's, inside.
pub(super) fn bare(error: Error) -> io::Error {
    let source = match &error {
        Error::Io { source, .. } | Error::Resolve { source, .. } => Some(source),
        Error::Connect { attempts } if !error.is_timeout() => attempts.last().map(|(_, source)| source),
        _ => None,
    };
    match (source.and_then(|source| source.raw_os_error()), &error) {
        (Some(code), _) => io::Error::from_raw_os_error(code),
        (None, Error::Io { source, .. }) => io::Error::new(source.kind(), source.to_string()),
        (None, _) => error.into(),
    }
}

/// The error of an operation that was stopped, and had `limit`.
pub(super) fn stopped(stop: Stop, limit: Option<Duration>) -> io::Error {
    match stop {
        Stop::Limit => sys::limit_error(limit != Some(Duration::ZERO)),
        Stop::Error(error) => bare(error),
    }
}
