//! [`Wire`]: what is below a session.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

/// The connection below a session. No call blocks.
pub(crate) trait Wire {
    /// Takes what has come, as much as `room` has room for. Zero means the end of the stream.
    fn receive<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]>;

    /// Sends what fits of `slices`, one behind the other.
    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends the sending half.
    fn end_sending(&mut self);
}

/// Takes deciphered bytes, all of them or none.
pub(crate) type Take<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;
