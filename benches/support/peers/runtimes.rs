//! What schedules tasks of its own.

use std::io;
use std::net::TcpStream;

use async_io::{Async, Timer};
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};

use super::Peer;
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
