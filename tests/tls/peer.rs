//! A peer that is rustls alone: what it says is in the test's hands before it goes over the connection.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use wakesock::rustls::pki_types::ServerName;
use wakesock::rustls::{self, AlertDescription, ClientConfig, ClientConnection, Connection, ServerConfig};
use wakesock::{Error, TcpSocket};

use crate::support::certificates::NAME;
use crate::support::{PATIENCE, eventually, std_pair, stream_pair};

pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) stream: Socket,
    /// What it has failed with.
    pub(crate) failed: Option<rustls::Error>,
    /// What came after that, as it came.
    pub(crate) afterwards: Vec<u8>,
}

impl Peer {
    pub(crate) fn client(config: &Arc<ClientConfig>, stream: Socket) -> Peer {
        let name = ServerName::try_from(NAME).unwrap();
        Peer::new(ClientConnection::new(Arc::clone(config), name).unwrap().into(), stream)
    }

    pub(crate) fn server(config: &Arc<ServerConfig>, stream: Socket) -> Peer {
        let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
        Peer::new(connection.into(), stream)
    }

    fn new(connection: Connection, stream: Socket) -> Peer {
        stream.set_nonblocking(true).unwrap();
        Peer {
            connection,
            stream,
            failed: None,
            afterwards: Vec::new(),
        }
    }

    /// Takes what has come. Whether that was something.
    pub(crate) fn take(&mut self) -> bool {
        let mut bytes = vec![0; 64 << 10];
        let mut some = false;
        while let Ok(count) = self.stream.read(&mut bytes)
            && count > 0
        {
            some = true;
            let mut rest = &bytes[..count];
            while !rest.is_empty() {
                if self.failed.is_some() {
                    self.afterwards.extend_from_slice(rest);
                    break;
                }
                self.connection.read_tls(&mut rest).unwrap();
                self.failed = self.connection.process_new_packets().err();
            }
        }
        some
    }

    /// What it has to say.
    pub(crate) fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut said).unwrap();
        }
        said
    }

    /// Sends these bytes, as far as somebody is there to get them.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return,
            }
        }
    }

    pub(crate) fn end(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The alert that it gets, which has to come.
    #[track_caller]
    pub(crate) fn alert(&mut self) -> AlertDescription {
        let failed = eventually(
            || "the peer gets an alert".to_owned(),
            || {
                self.take();
                self.failed.clone().ok_or_else(String::new)
            },
        );
        match failed {
            rustls::Error::AlertReceived(alert) => alert,
            other => panic!("{other:?}"),
        }
    }
}

/// A socket, and the stream of its peer, between which nothing is ever under way: what was sent is there.
pub(crate) fn at_once() -> (TcpSocket, Socket) {
    let (own, peer) = stream_pair().unwrap();
    let mut socket = TcpSocket::from(own);
    socket.timeout(Duration::ZERO);
    (socket, peer.into())
}

/// A socket, and the stream of its peer, over TCP: so errors name whom they are with.
pub(crate) fn over_tcp() -> (TcpSocket, Socket) {
    let (own, peer) = std_pair();
    let mut socket = TcpSocket::from(own);
    socket.timeout(PATIENCE);
    (socket, peer.into())
}

/// Goes on with a handshake that `socket` has begun with a limit of zero, [`at_once`]. `pass` may change what the peer says;
/// if it returns false, that is the last. When both have no more to say to that, the stream ends.
pub(crate) fn shake(
    socket: &mut TcpSocket,
    peer: &mut Peer,
    mut pass: impl FnMut(&mut Vec<u8>) -> bool,
) -> Result<(), Error> {
    let mut goes_on = true;
    loop {
        match socket.wait_tls() {
            Err(Error::Timeout) => {}
            result => return result,
        }
        let came = peer.take();
        let mut said = peer.said();
        if goes_on && !said.is_empty() {
            goes_on = pass(&mut said);
            peer.send(&said);
        } else if !came {
            // That's all there will be.
            peer.end();
            socket.timeout(PATIENCE);
            return socket.wait_tls();
        }
    }
}

/// Whom an error of TLS is of, and why.
#[track_caller]
pub(crate) fn tls_error<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, rustls::Error) {
    match result {
        Err(Error::Tls { operation, source }) => (operation.into_owned(), (*source).clone()),
        other => panic!("{other:?}"),
    }
}
