//! What broke a connection.

use std::io;

use crate::sync::Mutex;
use crate::sys;

/// The first error that has broken the connection, by the system's number.
///
/// The system reports the error once, to the operation that asks first. A later read then looks like the end of the stream.
/// So a reader that finds the end has to know whether a writer in another thread was told an error just before. Where there
/// may be two threads, a writer asks under the lock, and a reader that finds the end takes the lock to look. Neither waits
/// for long: no attempt blocks.
#[derive(Debug, Default)]
pub(crate) struct FirstError(Mutex<Option<i32>>);

impl FirstError {
    /// Makes an attempt to write, while others may be reading, and takes note of an error that it meets.
    pub(crate) fn record_while<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut code = self.0.lock();
        attempt().inspect_err(|error| remember(&mut code, error))
    }

    /// Takes note of an error that reading has met, or writing while no other thread can be reading.
    pub(crate) fn remember(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock {
            remember(&mut self.0.lock(), error);
        }
    }

    /// Takes the error, if there is one, to be told once.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().take().map(io::Error::from_raw_os_error)
    }

    /// What the end of the stream that a read has found really is.
    pub(crate) fn end_of_stream(&self) -> io::Result<()> {
        match *self.0.lock() {
            None => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

fn remember(code: &mut Option<i32>, error: &io::Error) {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut,
    };
    // Not a broken pipe: that is one for writing only, and what the peer sent before is whole.
    if let ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut =
        sys::kind(error)
    {
        // Only the first counts.
        *code = code.or(error.raw_os_error());
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::sys::code;

    #[test]
    fn the_first_error_that_breaks_a_connection_is_its_end() {
        let first_error = FirstError::default();
        first_error.remember(&io::Error::from_raw_os_error(code::BROKEN_PIPE));
        assert!(first_error.end_of_stream().is_ok());
        first_error.remember(&io::Error::from_raw_os_error(code::CONNECTION_RESET));
        first_error.remember(&io::Error::from_raw_os_error(code::TIMED_OUT));
        let end = first_error.end_of_stream().unwrap_err();
        assert_eq!(end.raw_os_error(), Some(code::CONNECTION_RESET));
    }

    #[test]
    fn an_end_that_is_found_while_a_writer_is_being_told_why_is_no_end_of_file() {
        let first_error = FirstError::default();
        assert_eq!(first_error.record_while(|| Ok(3)).unwrap(), 3);
        assert!(first_error.end_of_stream().is_ok());
        thread::scope(|scope| {
            let mut reader = None;
            let told = first_error.record_while(|| {
                reader = Some(scope.spawn(|| first_error.end_of_stream()));
                // Time enough for the reader to return too early.
                thread::sleep(Duration::from_millis(20));
                Err::<(), _>(io::Error::from_raw_os_error(code::CONNECTION_RESET))
            });
            assert!(told.is_err());
            let found = reader.unwrap().join().unwrap();
            assert_eq!(found.unwrap_err().raw_os_error(), Some(code::CONNECTION_RESET));
        });
    }
}
