//! The standard library's sockets: the floor, which nothing can interrupt.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Peer;
use crate::support::LIMIT;

/// `std::net` with `SO_RCVTIMEO`, whose limit costs no system call: one for each of what is sent and received.
pub struct Std(TcpStream);

impl Peer for Std {
    const NAME: &str = "std::net, read timeout";

    fn of(stream: TcpStream) -> Std {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Std(stream)
    }

    fn send(&mut self, data: &[u8]) {
        self.0.write_all(data).unwrap();
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        self.0.read(buf).unwrap()
    }
}

/// `std::net` as it is.
pub struct StdForever(TcpStream);

impl Peer for StdForever {
    const NAME: &str = "std::net, no limit";

    fn of(stream: TcpStream) -> StdForever {
        StdForever(stream)
    }

    fn send(&mut self, data: &[u8]) {
        self.0.write_all(data).unwrap();
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        self.0.read(buf).unwrap()
    }
}
