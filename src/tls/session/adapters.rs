//! The wire as rustls wants it: something to read from, and something to write to.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use super::boundary::Boundary;
use crate::sys;
use crate::tls::wire::Wire;

/// What rustls adds to its memory for records, where that is full.
const GROWTH: usize = 4096;

/// Receives into rustls' memory, once.
///
/// That memory grows as a record comes, by [`GROWTH`] for each call, and is small when none is on its way. So what comes then goes
/// into the room first: a record takes one system call, and the records behind it no copy.
pub(super) struct Receiver<'a, 'r> {
    pub(super) wire: &'a mut dyn Wire,
    pub(super) boundary: &'a mut Boundary,
    /// Until it has received.
    pub(super) room: Option<&'r mut [MaybeUninit<u8>]>,
    /// What is left in the room.
    pub(super) rest: &'r [u8],
}

impl io::Read for Receiver<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(room) = self.room.take() else {
            return Ok(0);
        };
        if buf.len() > GROWTH {
            let count = self.wire.receive_into(buf)?;
            self.boundary.pass(&buf[..count]);
            return Ok(count);
        }
        let received = self.wire.receive(room)?;
        self.boundary.pass(received);
        let (first, rest) = received.split_at(received.len().min(buf.len()));
        buf[..first.len()].copy_from_slice(first);
        self.rest = rest;
        Ok(first.len())
    }
}

/// Counts what there is to send, and takes none of it.
#[derive(Default)]
pub(super) struct Counter(pub(super) usize);

impl io::Write for Counter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0 += slices.iter().map(|slice| slice.len()).sum::<usize>();
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends, by one system call for each of rustls' writes.
pub(super) struct Sender<'a> {
    pub(super) wire: &'a mut dyn Wire,
    /// Less went than was to go, because there was no room for more.
    pub(super) is_full: bool,
}

impl io::Write for Sender<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = &slices[..slices.len().min(sys::MOST_SLICES)];
        let sent = self.wire.send(slices)?;
        self.is_full = sys::SHORT_WRITE_FILLS && sent < slices.iter().map(|slice| slice.len()).sum();
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
