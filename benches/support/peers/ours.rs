//! This crate, in the ways that it can be used.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;

use wakesock::{RawWait, TcpSocket, ThreadWait};

use super::Peer;
use crate::support::LIMIT;

/// This crate.
pub struct Wakesock(pub TcpSocket);

impl Peer for Wakesock {
    const NAME: &str = "wakesock";

    fn of(stream: TcpStream) -> Wakesock {
        let mut socket = TcpSocket::from(stream);
        socket.timeout(LIMIT);
        Wakesock(socket)
    }

    fn send(&mut self, data: &[u8]) {
        self.0.put_all(data).unwrap();
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        self.0.read(buf).unwrap()
    }

    fn fill(&mut self, buf: &mut [u8]) {
        self.0.get_all(buf).unwrap();
    }
}

/// This crate without a limit.
pub struct WakesockForever(Wakesock);

impl Peer for WakesockForever {
    const NAME: &str = "wakesock, no limit";

    fn of(stream: TcpStream) -> WakesockForever {
        WakesockForever(Wakesock(TcpSocket::from(stream)))
    }

    fn send(&mut self, data: &[u8]) {
        self.0.send(data);
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        self.0.receive(buf)
    }

    fn fill(&mut self, buf: &mut [u8]) {
        self.0.fill(buf);
    }
}

/// This crate with the raw wait that needs no descriptor for a socket.
pub struct WakesockThreadWait(Wakesock);

impl Peer for WakesockThreadWait {
    const NAME: &str = "wakesock, ThreadWait";

    fn of(stream: TcpStream) -> WakesockThreadWait {
        let mut socket = TcpSocket::new();
        let raw_wait: Arc<dyn RawWait> = Arc::new(ThreadWait::default());
        socket.set_raw_wait(raw_wait);
        socket.attach(stream).unwrap();
        socket.timeout(LIMIT);
        WakesockThreadWait(Wakesock(socket))
    }

    fn send(&mut self, data: &[u8]) {
        self.0.send(data);
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        self.0.receive(buf)
    }

    fn fill(&mut self, buf: &mut [u8]) {
        self.0.fill(buf);
    }
}
