//! Whom a connection is with: told when it has ended, too, and in its errors.

use std::io::{BufRead, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use wakesock::{Error, Result, ShutdownRegistry, TcpSocket};

use crate::support::every::inner;
use crate::support::{NO_RESETS, PATIENCE, assert_tells, begin, is_wine, listener_in, pair, reset, server};

/// A connection of ours in `registry`, the peer, and the peer's address.
type Connected = (TcpSocket, TcpStream, SocketAddr);

type Connect = fn(&ShutdownRegistry) -> Connected;

const CONNECTED: [(&str, Connect); 5] = [
    ("accepted", |registry| {
        let (listener, addr) = listener_in(registry);
        let peer = TcpStream::connect(addr).unwrap();
        let socket = listener.accept_new().unwrap();
        let addr = peer.local_addr().unwrap();
        (socket, peer, addr)
    }),
    ("accepted into", |registry| {
        let (listener, addr) = listener_in(registry);
        let peer = TcpStream::connect(addr).unwrap();
        let mut socket = TcpSocket::new();
        socket.accept(&listener).unwrap();
        let addr = peer.local_addr().unwrap();
        (socket, peer, addr)
    }),
    ("connected", |registry| {
        let (server, addr) = server();
        let mut socket = TcpSocket::with_registry(registry);
        socket.connect_to(&[addr]).unwrap();
        (socket, server.accept().unwrap().0, addr)
    }),
    ("connected later", |registry| {
        let (server, addr) = server();
        let mut socket = TcpSocket::with_registry(registry);
        socket.timeout(Duration::ZERO).connect_to(&[addr]).unwrap();
        socket.timeout(PATIENCE).wait_connect().unwrap();
        (socket, server.accept().unwrap().0, addr)
    }),
    ("attached", |registry| {
        let (server, addr) = server();
        let mut socket = TcpSocket::with_registry(registry);
        socket.attach(TcpStream::connect(addr).unwrap()).unwrap();
        (socket, server.accept().unwrap().0, addr)
    }),
];

#[test]
fn whom_it_was_with_is_told_after_the_end_until_it_is_opened_again() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for (name, connect) in CONNECTED {
        for end in [
            "reset",
            "reset, close",
            "close",
            "handle",
            "shutdown",
            "eof, drop of a half",
        ] {
            let what = format!("{name}, {end}");
            let registry = ShutdownRegistry::new();
            let (mut socket, peer, addr) = connect(&registry);
            assert_eq!(socket.peer_addr().unwrap(), addr, "{what}");
            match end {
                "reset" | "reset, close" => {
                    reset(peer);
                    let error = socket.get_byte().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}");
                    if end != "reset" {
                        socket.close();
                    }
                }
                "close" => socket.close(),
                "handle" => socket.handle().close(),
                "shutdown" => registry.shutdown(),
                _ => {
                    drop(peer);
                    let (mut reader, writer) = socket.split();
                    assert_eq!(reader.get_byte().unwrap(), None);
                    assert_eq!(writer.peer_addr().unwrap(), addr, "{what}");
                    drop(writer);
                    reader.close();
                    assert_eq!(reader.peer_addr().unwrap(), addr, "{what}");
                    continue;
                }
            }
            assert_eq!(socket.peer_addr().unwrap(), addr, "{what}");
            registry.reset();
            let (_other, other_addr) = server();
            socket.timeout(None).connect_to(&[other_addr]).unwrap();
            assert_eq!(socket.peer_addr().unwrap(), other_addr, "{what}");
            // What can't be opened is with nobody.
            socket.connect_to(&[]).unwrap_err();
            assert!(matches!(socket.peer_addr(), Err(Error::Closed)), "{what}");
        }
    }
}

#[test]
fn an_address_is_that_of_the_system() {
    let _test = begin();
    for (bound, to) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("0.0.0.0:0", "0.0.0.0"),
        ("[::1]:0", "::1"),
        ("[::]:0", "::"),
        ("[::]:0", "::ffff:127.0.0.1"),
    ] {
        let Ok(server) = TcpListener::bind(bound) else {
            assert!(bound.starts_with('['), "{bound}");
            continue;
        };
        let addr = SocketAddr::new(to.parse().unwrap(), server.local_addr().unwrap().port());
        let mut socket = TcpSocket::new();
        if let Err(error) = socket.connect_to(&[addr]) {
            assert_ne!(to, "127.0.0.1", "{error}");
            continue;
        }
        let told = socket2::SockRef::from(&socket).peer_addr().unwrap().as_socket();
        assert_eq!(Some(socket.peer_addr().unwrap()), told);
        socket.close();
        assert_eq!(Some(socket.peer_addr().unwrap()), told, "{addr}");
        // And the other end.
        let mut listener = TcpSocket::new();
        listener.attach(server).unwrap();
        let accepted = listener.accept_new().unwrap();
        let told = socket2::SockRef::from(&accepted).peer_addr().unwrap().as_socket();
        accepted.close();
        assert_eq!(accepted.peer_addr().ok(), told, "{addr}");
    }
}

#[test]
fn who_has_no_peer_tells_of_none() {
    let _test = begin();
    let (mut listener, _) = listener_in(ShutdownRegistry::global());
    assert_eq!(listener.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    listener.close();
    assert!(matches!(listener.peer_addr(), Err(Error::Closed)));
    assert!(matches!(TcpSocket::new().peer_addr(), Err(Error::Closed)));
    let (socket, _peer) = pair();
    socket.close();
    let mut socket = socket;
    socket.clear();
    assert!(matches!(socket.peer_addr(), Err(Error::Closed)));
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    assert!(listener.peer_addr().is_err());
}

type Operation = fn(&mut TcpSocket) -> Result<()>;

/// What reads, by the name that its errors have.
const READING: [(&str, Operation); 18] = [
    ("get", |socket| socket.get(&mut [0; 3]).map(drop)),
    ("get_bytes", |socket| socket.get_bytes(3).map(drop)),
    ("get_byte", |socket| socket.get_byte().map(drop)),
    ("peek", |socket| socket.peek().map(drop)),
    ("term", |socket| socket.term().map(drop)),
    ("get_all", |socket| socket.get_all(&mut [0; 3])),
    ("get_all_bytes", |socket| socket.get_all_bytes(3).map(drop)),
    ("get_line", |socket| socket.get_line().map(drop)),
    ("get_line_bytes", |socket| socket.get_line_bytes(9).map(drop)),
    ("get_line_into", |socket| {
        socket.get_line_into(&mut Vec::new(), 9).map(drop)
    }),
    ("peek_all", |socket| socket.peek_all(3).map(drop)),
    ("read", |socket| socket.read(&mut [0; 3]).map(drop).map_err(inner)),
    ("read_exact", |socket| socket.read_exact(&mut [0; 3]).map_err(inner)),
    ("read_vectored", |socket| {
        let mut buf = [0; 9_000];
        socket
            .read_vectored(&mut [IoSliceMut::new(&mut buf)])
            .map(drop)
            .map_err(inner)
    }),
    ("read_until", |socket| {
        socket.read_until(b'x', &mut Vec::new()).map(drop).map_err(inner)
    }),
    ("read_to_end", |socket| {
        socket.read_to_end(&mut Vec::new()).map(drop).map_err(inner)
    }),
    ("fill_buf", |socket| socket.fill_buf().map(drop).map_err(inner)),
    ("wait_request", |socket| socket.wait_request().map(drop)),
];

/// What writes.
const WRITING: [(&str, Operation); 5] = [
    ("put", |socket| socket.put(b"abc").map(drop)),
    ("put_all", |socket| socket.put_all(b"abc")),
    ("write", |socket| socket.write(b"abc").map(drop).map_err(inner)),
    ("write_all", |socket| socket.write_all(b"abc").map_err(inner)),
    ("write_vectored", |socket| {
        socket.write_vectored(&[IoSlice::new(b"abc")]).map(drop).map_err(inner)
    }),
];

#[test]
fn an_error_names_the_operation_that_was_called_and_its_peer() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for (name, read) in READING {
        for waits in [false, true] {
            let (mut socket, peer) = pair();
            let addr = peer.local_addr().unwrap();
            let result = if waits {
                let blocked = crate::support::block(move || (read(&mut socket), socket)).until_blocked();
                reset(peer);
                blocked.result().0
            } else {
                reset(peer);
                read(&mut socket)
            };
            let before = format!("{name} from {addr}: ");
            assert_tells(&result.unwrap_err().to_string(), &before, "connection reset by peer");
        }
    }
    for (name, write) in WRITING {
        let (mut socket, peer) = pair();
        let addr = peer.local_addr().unwrap();
        socket.shutdown().unwrap();
        let error = write(&mut socket).unwrap_err();
        assert_tells(&error.to_string(), &format!("{name} to {addr}: "), "broken pipe");
    }
}

#[test]
fn a_read_and_a_write_that_meet_one_reset_each_say_what_they_are() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for split in [false, true] {
        let (mut socket, peer) = pair();
        let addr = peer.local_addr().unwrap();
        reset(peer);
        let put = format!("put to {addr}: ");
        let get = format!("get from {addr}: ");
        let (written, read) = if split {
            let (mut reader, mut writer) = socket.split();
            // The writer is told of it by the system, and the reader by what that was.
            (writer.put(b"abc").unwrap_err(), reader.get(&mut [0]).unwrap_err())
        } else {
            (socket.put(b"abc").unwrap_err(), socket.get(&mut [0]).unwrap_err())
        };
        assert_tells(&written.to_string(), &put, "connection reset by peer");
        assert_tells(&read.to_string(), &get, "connection reset by peer");
    }
}
