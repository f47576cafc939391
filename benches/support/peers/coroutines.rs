//! What schedules coroutines of its own.

#![allow(unsafe_code, reason = "a descriptor that is handed over")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{FromRawFd, IntoRawFd};

use super::{Peer, Running};
use crate::support::LIMIT;

/// `may`: coroutines, each end one of them. What it switches between is not threads.
pub struct May(may::net::TcpStream);

impl Peer for May {
    const NAME: &str = "may, coroutines";

    fn of(stream: TcpStream) -> May {
        // SAFETY: the descriptor is handed over.
        let stream = unsafe { may::net::TcpStream::from_raw_fd(stream.into_raw_fd()) };
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        May(stream)
    }

    fn send(&mut self, data: &[u8]) {
        self.0.write_all(data).unwrap();
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        self.0.read(buf).unwrap()
    }

    fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        let coroutine = may::go!(work);
        Box::new(|| coroutine.join().unwrap())
    }
}
