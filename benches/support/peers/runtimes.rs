//! What schedules tasks or coroutines of its own.

#![allow(unsafe_code, reason = "a descriptor that is handed over")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{FromRawFd, IntoRawFd};

use async_io::{Async, Timer};
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};

use super::{Peer, Running};
use crate::support::LIMIT;

/// `async-io` with its `block_on`, which drives the reactor from the thread that waits.
pub struct AsyncIo(Async<TcpStream>);

impl Peer for AsyncIo {
    const NAME: &str = "async-io, block_on";

    fn of(stream: TcpStream) -> AsyncIo {
        AsyncIo(Async::new(stream).unwrap())
    }

    fn send(&mut self, data: &[u8]) {
        async_io::block_on(self.0.write_all(data)).unwrap();
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        let limit = async {
            Timer::after(LIMIT).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        async_io::block_on(self.0.read(buf).or(limit)).unwrap()
    }
}

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
