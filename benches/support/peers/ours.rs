//! This crate, in the ways that it can be used.

use std::io::Read;
use std::marker::PhantomData;
use std::net::TcpStream;
use std::sync::Arc;

use wakesock::{TcpSocket, ThreadWait};

use super::Peer;
use crate::support::LIMIT;

/// This crate, used in some way.
pub struct Ours<W> {
    socket: TcpSocket,
    _way: PhantomData<W>,
}

/// How sockets are made.
pub trait Way {
    const NAME: &str;

    fn socket(stream: TcpStream) -> TcpSocket;
}

/// As they come, with a limit.
pub struct Limited;
/// As they come.
pub struct Unlimited;
/// With the raw wait that needs no descriptor for a socket, and a limit.
pub struct OnThread;

pub type Wakesock = Ours<Limited>;
pub type WakesockForever = Ours<Unlimited>;
pub type WakesockThreadWait = Ours<OnThread>;

impl Way for Limited {
    const NAME: &str = "wakesock";

    fn socket(stream: TcpStream) -> TcpSocket {
        let mut socket = TcpSocket::from(stream);
        socket.timeout(LIMIT);
        socket
    }
}

impl Way for Unlimited {
    const NAME: &str = "wakesock, no limit";

    fn socket(stream: TcpStream) -> TcpSocket {
        TcpSocket::from(stream)
    }
}

impl Way for OnThread {
    const NAME: &str = "wakesock, ThreadWait";

    fn socket(stream: TcpStream) -> TcpSocket {
        let mut socket = TcpSocket::new();
        socket.set_raw_wait(Arc::new(ThreadWait::default()));
        socket.attach(stream).unwrap();
        socket.timeout(LIMIT);
        socket
    }
}

impl<W: Way> Peer for Ours<W> {
    const NAME: &str = W::NAME;

    fn of(stream: TcpStream) -> Ours<W> {
        Ours {
            socket: W::socket(stream),
            _way: PhantomData,
        }
    }

    fn send(&mut self, data: &[u8]) {
        self.socket.put_all(data).unwrap();
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        self.socket.read(buf).unwrap()
    }

    fn fill(&mut self, buf: &mut [u8]) {
        self.socket.get_all(buf).unwrap();
    }
}
