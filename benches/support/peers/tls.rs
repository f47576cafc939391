//! TLS by rustls, driven in three ways: each has both ends of a connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::{ClientConnection, ServerConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use wakesock::TcpSocket;

use super::{Contestant, Epoll, Peer, Round, Waiting, one};
use crate::support::LIMIT;
use crate::support::tls::{CONFIGS, NAME, name};

/// All that there are, to take turns at it. Those that they are measured by come first.
pub fn contestants(round: impl Round) -> Vec<Contestant<'static>> {
    vec![
        one::<StdTls>(round),
        one::<WakesockTls>(round),
        one::<EpollTls>(round),
        one::<TokioTls>(round),
    ]
}

/// Which of the ends begins the handshake: as any rule would do, the one with the smaller port.
pub fn is_client(stream: &TcpStream) -> bool {
    stream.local_addr().unwrap().port() < stream.peer_addr().unwrap().port()
}

/// rustls' own connection of a client, in which nothing has happened.
pub fn client() -> ClientConnection {
    ClientConnection::new(CONFIGS.client.clone(), name()).unwrap()
}

/// The same of a server.
pub fn server() -> ServerConnection {
    ServerConnection::new(CONFIGS.server.clone()).unwrap()
}

/// An end of a connection under TLS, that makes its handshake.
pub trait Secured: Peer {
    fn shaken(stream: TcpStream, is_client: bool) -> Self;
}

/// rustls' stream over one that blocks.
pub enum Rustls<T: Stream> {
    Client(StreamOwned<ClientConnection, T>),
    Server(StreamOwned<ServerConnection, T>),
}

/// Over a socket of the standard library, which nothing can interrupt.
pub type StdTls = Rustls<TcpStream>;
/// Over one that could be interrupted, by the fewest system calls that there are for that.
pub type EpollTls = Rustls<Waiting<Epoll>>;

/// What blocks below.
pub trait Stream: Read + Write + Sized {
    const NAME: &str;

    fn of(stream: TcpStream) -> Self;
}

impl Stream for TcpStream {
    const NAME: &str = "rustls::StreamOwned over std::net";

    fn of(stream: TcpStream) -> TcpStream {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

impl Stream for Waiting<Epoll> {
    const NAME: &str = "rustls::StreamOwned over epoll_wait";

    fn of(stream: TcpStream) -> Waiting<Epoll> {
        Peer::of(stream)
    }
}

impl<T: Stream> Secured for Rustls<T> {
    fn shaken(stream: TcpStream, is_client: bool) -> Rustls<T> {
        let mut stream = T::of(stream);
        match is_client {
            true => {
                let mut connection = client();
                connection.complete_io(&mut stream).unwrap();
                Rustls::Client(StreamOwned::new(connection, stream))
            }
            false => {
                let mut connection = server();
                connection.complete_io(&mut stream).unwrap();
                Rustls::Server(StreamOwned::new(connection, stream))
            }
        }
    }
}

impl<T: Stream> Peer for Rustls<T> {
    const NAME: &str = T::NAME;

    fn of(stream: TcpStream) -> Rustls<T> {
        let is_client = is_client(&stream);
        Rustls::shaken(stream, is_client)
    }

    fn send(&mut self, data: &[u8]) {
        match self {
            Rustls::Client(stream) => stream.write_all(data).unwrap(),
            Rustls::Server(stream) => stream.write_all(data).unwrap(),
        }
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        match self {
            Rustls::Client(stream) => stream.read(buf).unwrap(),
            Rustls::Server(stream) => stream.read(buf).unwrap(),
        }
    }
}

/// This crate.
pub struct WakesockTls(TcpSocket);

impl Secured for WakesockTls {
    fn shaken(stream: TcpStream, is_client: bool) -> WakesockTls {
        let mut socket = TcpSocket::from(stream);
        socket.timeout(LIMIT);
        match is_client {
            true => socket.start_tls(NAME, &CONFIGS.client).unwrap(),
            false => socket.start_tls_server(&CONFIGS.server).unwrap(),
        }
        WakesockTls(socket)
    }
}

impl Peer for WakesockTls {
    const NAME: &str = "wakesock, TLS";

    fn of(stream: TcpStream) -> WakesockTls {
        let is_client = is_client(&stream);
        WakesockTls::shaken(stream, is_client)
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

/// `tokio-rustls` on a runtime of the thread that uses it.
pub struct TokioTls {
    stream: TlsStream<tokio::net::TcpStream>,
    runtime: Runtime,
}

impl Secured for TokioTls {
    fn shaken(stream: TcpStream, is_client: bool) -> TokioTls {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            match is_client {
                true => TlsConnector::from(CONFIGS.client.clone())
                    .connect(name(), stream)
                    .await
                    .unwrap()
                    .into(),
                false => TlsAcceptor::from(CONFIGS.server.clone())
                    .accept(stream)
                    .await
                    .unwrap()
                    .into(),
            }
        });
        TokioTls { stream, runtime }
    }
}

impl Peer for TokioTls {
    const NAME: &str = "tokio-rustls, block_on";

    fn of(stream: TcpStream) -> TokioTls {
        let is_client = is_client(&stream);
        TokioTls::shaken(stream, is_client)
    }

    fn send(&mut self, data: &[u8]) {
        let TokioTls { stream, runtime } = self;
        let sent = runtime.block_on(async {
            stream.write_all(data).await?;
            stream.flush().await
        });
        sent.unwrap();
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        let TokioTls { stream, runtime } = self;
        let read = runtime.block_on(async { timeout(LIMIT, stream.read(buf)).await });
        read.unwrap().unwrap()
    }
}
