//! Listeners and connections, and what becomes of them.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use wakesock::{ListenOptions, RawWait, ShutdownRegistry, TcpSocket};

use super::{PATIENCE, Stream, stream_pair};

/// A listener of the standard library's, and its address.
pub fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    (server, addr)
}

/// A listener on a free port of the loopback, and its address.
pub fn listener() -> (TcpSocket, SocketAddr) {
    listener_in(ShutdownRegistry::global())
}

pub fn listener_in(registry: &ShutdownRegistry) -> (TcpSocket, SocketAddr) {
    let mut listener = TcpSocket::with_registry(registry);
    listener.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A connection over TCP: both ends are the standard library's.
pub fn std_pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = server();
    let peer = TcpStream::connect(addr).unwrap();
    peer.set_nodelay(true).unwrap();
    (listener.accept().unwrap().0, peer)
}

/// A connection over TCP: this crate's end, and the standard library's.
pub fn pair() -> (TcpSocket, TcpStream) {
    let (own, peer) = std_pair();
    (TcpSocket::from(own), peer)
}

/// A connection over TCP, of which `socket`, not open so far, becomes this crate's end.
pub fn pair_of(mut socket: TcpSocket) -> (TcpSocket, TcpStream) {
    let (own, peer) = std_pair();
    socket.attach(own).unwrap();
    (socket, peer)
}

/// A connection without a port, where the system has those: this crate's end, and the standard library's.
///
/// On Linux its buffers, once full, stay full until the peer reads.
pub fn unix_pair() -> (TcpSocket, Stream) {
    unix_pair_in(ShutdownRegistry::global())
}

pub fn unix_pair_in(registry: &ShutdownRegistry) -> (TcpSocket, Stream) {
    let (own, peer) = stream_pair().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut socket = TcpSocket::with_registry(registry);
    socket.attach(own).unwrap();
    (socket, peer)
}

/// A socket that isn't open, in `registry`, that will wait in `raw_wait`.
pub fn unopened_in(registry: &ShutdownRegistry, raw_wait: &Arc<dyn RawWait>) -> TcpSocket {
    let mut socket = TcpSocket::with_registry(registry);
    socket.set_raw_wait(Arc::clone(raw_wait));
    socket
}

/// Checks that the peer has nothing more to read, and knows it.
#[track_caller]
pub fn assert_sees_end(peer: &mut impl Read) {
    let seen = peer.read(&mut [0; 1]);
    assert!(matches!(seen, Ok(0)), "the peer sees {seen:?} instead of the end");
}

/// Closes a connection with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Sends one byte out of band.
pub fn send_urgent(stream: &TcpStream, byte: u8) {
    let sent = socket2::SockRef::from(stream).send_out_of_band(&[byte]).unwrap();
    assert_eq!(sent, 1);
}

/// Whether a client is refused.
pub fn is_refused(addr: SocketAddr) -> bool {
    matches!(TcpStream::connect(addr), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

/// An address that refuses clients, for as long as this lives: nobody else can be given it.
pub struct Refusing(socket2::Socket);

impl Refusing {
    pub fn new() -> Refusing {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&any.into()).unwrap();
        Refusing(socket)
    }

    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}
