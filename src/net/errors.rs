//! What the standard library would have said.

use std::io;
use std::time::Duration;

use crate::error::Error;
use crate::socket::Stop;
use crate::sys;

/// The error inside of one of this crate, bare. What this program has ended keeps its own, and so does what the standard library
/// has none for.
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

/// The error of an operation that had `limit`.
pub(super) fn stopped(stop: Stop, limit: Option<Duration>) -> io::Error {
    match stop {
        Stop::Limit => sys::limit_error(limit != Some(Duration::ZERO)),
        Stop::Error(error) => bare(error),
    }
}
