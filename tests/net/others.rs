//! Other people's programs over these types, ended in the middle: here tungstenite, which takes any `Read + Write`. Those
//! that name `std::net` are in `tests/others`, with that line changed.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use tungstenite::{HandshakeError, Message, WebSocket};
use wakesock::net::{TcpListener, TcpStream};
use wakesock::{Error, ShutdownRegistry};

use crate::program::pair;
use crate::support::{PATIENCE, begin, block};

fn ended_by(error: &tungstenite::Error) -> Option<&Error> {
    match error {
        tungstenite::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Sends back what comes, until that ends.
fn echo(stream: TcpStream) -> tungstenite::Error {
    let mut socket = match tungstenite::accept(stream) {
        Ok(socket) => socket,
        Err(HandshakeError::Failure(error)) => return error,
        Err(HandshakeError::Interrupted(_)) => unreachable!("it blocks"),
    };
    loop {
        match socket.read().and_then(|message| socket.send(message)) {
            Ok(()) => {}
            Err(error) => return error,
        }
    }
}

fn client(registry: &ShutdownRegistry, listener: &TcpListener) -> WebSocket<TcpStream> {
    let addr = listener.local_addr().unwrap();
    let stream = TcpStream::connect_in(registry, addr).unwrap();
    let (client, _) = tungstenite::client(format!("ws://{addr}/"), stream).unwrap();
    client
}

#[test]
fn a_web_socket_server_is_ended_in_its_handshakes_and_between_messages() {
    let _test = begin();
    let (registry, of_clients) = (ShutdownRegistry::new(), ShutdownRegistry::new());
    let listener = TcpListener::bind_in(&registry, "127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    let server = thread::spawn(move || {
        let clients: Vec<_> = accepting
            .incoming()
            .map(|client| thread::spawn(move || echo(client.unwrap())))
            .collect();
        let ends: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        ends
    });
    let mut talking = client(&of_clients, &listener);
    for text in ["one", "two"] {
        talking.send(Message::text(text)).unwrap();
        assert_eq!(talking.read().unwrap(), Message::text(text));
    }
    // One is in the middle of its handshake.
    let mut halting = TcpStream::connect_in(&of_clients, listener.local_addr().unwrap()).unwrap();
    halting.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let third = client(&of_clients, &listener);
    registry.shutdown();
    let ends = server.join().unwrap();
    assert_eq!(ends.len(), 3);
    for end in ends {
        assert!(matches!(ended_by(&end), Some(Error::Shutdown)), "{end:?}");
    }
    // The clients see that it is over.
    assert!(talking.read().is_err());
    // What it had sent may not have been read so far: then its end is a reset.
    match halting.read(&mut [0; 8]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    drop(third);
}

#[test]
fn a_web_socket_client_is_ended_while_it_reads() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let listener = TcpListener::bind_in(&registry, "127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    let server = thread::spawn(move || echo(accepting.accept().unwrap().0));
    let mut client = client(&registry, &listener);
    let handle = client.get_ref().handle();
    let blocked = block(move || client.read().unwrap_err()).until_blocked();
    handle.close();
    let error = blocked.result();
    assert!(matches!(ended_by(&error), Some(Error::Closed)), "{error:?}");
    assert!(ended_by(&server.join().unwrap()).is_none(), "that is the peer's doing");
}

#[test]
fn a_handshake_goes_on_where_a_mode_or_a_limit_has_stopped_it() {
    let _test = begin();
    for nonblocking in [true, false] {
        let (near, mut far) = pair();
        match nonblocking {
            true => near.set_nonblocking(true).unwrap(),
            false => near.set_read_timeout(Some(Duration::from_millis(1))).unwrap(),
        }
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut result = tungstenite::accept(near);
        for part in request.chunks(30) {
            let Err(HandshakeError::Interrupted(interrupted)) = result else {
                panic!("{result:?}");
            };
            far.write_all(part).unwrap();
            result = interrupted.handshake();
        }
        if let Err(HandshakeError::Interrupted(interrupted)) = result {
            // The last bytes may take a moment.
            interrupted.get_ref().get_ref().set_nonblocking(false).unwrap();
            interrupted
                .get_ref()
                .get_ref()
                .set_read_timeout(Some(PATIENCE))
                .unwrap();
            result = interrupted.handshake();
        }
        let mut accepted = result.unwrap();
        let mut answer = [0; 12];
        far.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        far.write_all(b"\x81\x82\0\0").unwrap();
        accepted.get_ref().set_nonblocking(true).unwrap();
        match accepted.read() {
            Err(tungstenite::Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            other => panic!("{other:?}"),
        }
        far.write_all(b"\0\0hi").unwrap();
        accepted.get_ref().set_nonblocking(false).unwrap();
        accepted.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(accepted.read().unwrap(), Message::text("hi"));
    }
}
