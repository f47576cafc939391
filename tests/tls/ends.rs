//! Connections under TLS, of which both ends are this crate's.

use std::thread;

use wakesock::TcpSocket;

use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::{PATIENCE, std_pair, stream_pair};

/// Both ends of a connection that is still a plain one: the client's, and the server's.
pub(crate) fn plain_pair() -> (TcpSocket, TcpSocket) {
    let (server, client) = std_pair();
    let (mut client, mut server) = (TcpSocket::from(client), TcpSocket::from(server));
    for socket in [&mut client, &mut server] {
        socket.timeout(PATIENCE).no_delay().unwrap();
    }
    (client, server)
}

/// Both ends of a connection without a port, whose buffers, once full, stay full until the other end reads.
fn plain_unix_pair() -> (TcpSocket, TcpSocket) {
    let (server, client) = stream_pair().unwrap();
    let (mut client, mut server) = (TcpSocket::from(client), TcpSocket::from(server));
    for socket in [&mut client, &mut server] {
        socket.timeout(PATIENCE);
    }
    (client, server)
}

/// Makes the handshake between the client and the server.
pub(crate) fn shaken((mut client, mut server): (TcpSocket, TcpSocket)) -> (TcpSocket, TcpSocket) {
    thread::scope(|scope| {
        scope.spawn(|| server.start_tls_server(&server_config()).unwrap());
        client.start_tls(NAME, &client_config()).unwrap();
    });
    (client, server)
}

/// Both ends of a connection whose handshake is over: the client's, and the server's.
pub(crate) fn pair() -> (TcpSocket, TcpSocket) {
    shaken(plain_pair())
}

/// The same of a connection whose buffers, once full, stay full until the other end reads.
pub(crate) fn unix_pair() -> (TcpSocket, TcpSocket) {
    shaken(plain_unix_pair())
}
