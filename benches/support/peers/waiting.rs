//! A non-blocking socket and a way to wait for it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use super::{Peer, Readiness};

/// A non-blocking socket that waits before it reads, and before it writes what didn't go at once.
pub struct Waiting<R> {
    stream: TcpStream,
    readiness: R,
    /// The last read took all there was.
    drained: bool,
}

impl<R: Readiness> Peer for Waiting<R> {
    const NAME: &str = R::NAME;

    fn of(stream: TcpStream) -> Waiting<R> {
        stream.set_nonblocking(true).unwrap();
        Waiting {
            readiness: R::new(stream.as_fd()),
            stream,
            drained: true,
        }
    }

    fn send(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            match self.stream.write(data) {
                Ok(count) => data = &data[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readiness.writable(self.stream.as_fd()),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        loop {
            if R::FIRST || self.drained {
                self.readiness.readable(self.stream.as_fd());
                self.drained = false;
            }
            match self.stream.read(buf) {
                Ok(count) => {
                    self.drained = 0 < count && count < buf.len();
                    return count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.drained = true,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// For what is above a stream that blocks.
impl<R: Readiness> Read for Waiting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.receive(buf))
    }
}

impl<R: Readiness> Write for Waiting<R> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match self.stream.write_vectored(slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readiness.writable(self.stream.as_fd()),
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
