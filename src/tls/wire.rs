//! [`Wire`]: what is below a session.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

/// The connection below a session. No call blocks.
pub(crate) trait Wire {
    /// Takes what has come, as much as `room` has room for. Nothing means the end of the stream.
    fn receive<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]>;

    /// Takes what has come, as much as `buf` has room for, and returns how much that was. Zero means the end of the stream.
    fn receive_into(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Sends what fits of `slices`, which are at most as many as one system call takes, one behind the other.
    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends the sending half. It fails if the peer is gone.
    fn end_sending(&mut self) -> io::Result<()>;
}

/// What has become of bytes that were to be sent.
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "there is no session"))]
pub(crate) struct Written {
    /// How many were taken.
    pub(crate) taken: usize,
    /// Whether all that was ever taken is with the system, else why not.
    pub(crate) sent: io::Result<()>,
}

/// Whether an attempt to send that has failed with `error` may be made again.
pub(crate) fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The kind of error of an attempt that has found nothing for the program so far, though the system may have more: a peer
/// must not keep it busy for ever.
pub(crate) const UNFINISHED: io::ErrorKind = io::ErrorKind::ResourceBusy;

/// Takes deciphered bytes, all of them or none.
pub(crate) type Take<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;
