//! What broke a connection.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// The first error that said so, by the system's number. The system tells it once, to whoever asks first, and calls what
/// a reader finds after it the end of the stream.
///
/// Relaxed: the number stands for itself. Whoever reads after another thread's write has failed learns of it in time if
/// he learns of the failure, from that thread; without that, no order was promised.
#[derive(Debug, Default)]
pub(crate) struct Broken(AtomicI32);

impl Broken {
    /// Takes note of an error that reading or writing has met.
    pub(crate) fn remember(&self, error: &io::Error) {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut,
        };
        // Not a broken pipe: that is one for writing only, and what the peer sent before is whole.
        if let ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut =
            error.kind()
            && let Some(code) = error.raw_os_error()
        {
            // Only the first counts.
            let _ = self.0.compare_exchange(0, code, Relaxed, Relaxed);
        }
    }

    /// What the end of the stream that a read has found really is.
    pub(crate) fn end_of_stream(&self) -> io::Result<()> {
        match self.0.load(Relaxed) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_that_breaks_a_connection_is_its_end() {
        let broken = Broken::default();
        broken.remember(&io::Error::from_raw_os_error(libc::EPIPE));
        assert!(broken.end_of_stream().is_ok());
        broken.remember(&io::Error::from_raw_os_error(libc::ECONNRESET));
        broken.remember(&io::Error::from_raw_os_error(libc::ETIMEDOUT));
        let end = broken.end_of_stream().unwrap_err();
        assert_eq!(end.raw_os_error(), Some(libc::ECONNRESET));
    }
}
