//! Sends of a connection, and what they show to those that wait for it.

use std::io::{self, IoSlice};

use super::try_wait::Attempt;
use crate::opening::{InUse, Opening};
use crate::sys::{self, BorrowedSocket};

/// Sends something.
pub(super) struct Sending<'a>(pub(super) &'a [u8]);

impl Attempt for Sending<'_> {
    type Value = usize;

    #[inline(always)]
    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<usize> {
        send_by(in_use.opening(), in_use.socket(), |socket| sys::send(socket, self.0))
    }
}

/// Sends something of slices, one behind the other.
pub(super) struct SendingSlices<'a>(pub(super) &'a [IoSlice<'a>]);

impl Attempt for SendingSlices<'_> {
    type Value = usize;

    #[inline(always)]
    fn attempt(&mut self, in_use: &InUse<'_>) -> io::Result<usize> {
        send_by(in_use.opening(), in_use.socket(), |socket| {
            sys::send_vectored(socket, self.0)
        })
    }
}

/// Sends by `send`, and notes what that has come to.
#[inline(always)]
pub(super) fn send_by(
    opening: &Opening,
    socket: BorrowedSocket<'_>,
    send: impl Fn(BorrowedSocket<'_>) -> io::Result<usize>,
) -> io::Result<usize> {
    let known = opening.readiness().load();
    let sent = if opening.has_one_owner() {
        send(socket)
    } else {
        send_beside_a_reader(opening, socket, send)
    };
    if known.is_followed() || sent.is_err() {
        opening.note_sent(known, &sent);
    }
    sent
}

#[inline(never)]
fn send_beside_a_reader(
    opening: &Opening,
    socket: BorrowedSocket<'_>,
    send: impl Fn(BorrowedSocket<'_>) -> io::Result<usize>,
) -> io::Result<usize> {
    opening.first_error().record_while(|| send(socket))
}
