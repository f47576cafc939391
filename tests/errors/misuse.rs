//! What a caller, a peer or the system can do wrong: each a named error, nothing lost, no panic.

#[cfg(target_os = "linux")]
use std::fs::OpenOptions;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt;
#[cfg(target_os = "linux")]
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use wakesock::{Error, ListenOptions, Result, TcpSocket, WaitEvents};

use crate::support::{
    NO_RESETS, PATIENCE, Refusing, assert_tells, begin, block, code, is_wine, listener, pair, reset, server, timed,
};

type Operation = fn(&mut TcpSocket) -> Result<()>;

/// Every operation that needs an open socket.
const OPERATIONS: [(&str, Operation); 20] = [
    ("get", |socket| socket.get(&mut [0; 3]).map(drop)),
    ("get_bytes", |socket| socket.get_bytes(3).map(drop)),
    ("get_byte", |socket| socket.get_byte().map(drop)),
    ("peek", |socket| socket.peek().map(drop)),
    ("term", |socket| socket.term().map(drop)),
    ("get_all", |socket| socket.get_all(&mut [0; 3])),
    ("get_all_bytes", |socket| socket.get_all_bytes(3).map(drop)),
    ("get_line", |socket| socket.get_line().map(drop)),
    ("get_line_bytes", |socket| socket.get_line_bytes(3).map(drop)),
    ("get_line_into", |socket| {
        socket.get_line_into(&mut Vec::new(), 3).map(drop)
    }),
    ("read", |socket| ours(socket.read(&mut [0; 3]))),
    ("fill_buf", |socket| ours(socket.fill_buf().map(<[u8]>::len))),
    ("put", |socket| socket.put(b"abc").map(drop)),
    ("put_all", |socket| socket.put_all(b"abc")),
    ("write", |socket| ours(socket.write(b"abc"))),
    ("shutdown", |socket| socket.shutdown()),
    ("wait", |socket| socket.wait(WaitEvents::ALL).map(drop)),
    ("wait_read", |socket| socket.wait_read()),
    ("wait_write", |socket| socket.wait_write()),
    ("wait_request", |socket| socket.wait_request().map(drop)),
];

/// The crate's error inside one of the standard library's.
fn ours(result: io::Result<usize>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(*error.into_inner().unwrap().downcast::<Error>().unwrap()),
    }
}

fn listen_on(addr: impl std::net::ToSocketAddrs) -> (Result<()>, TcpSocket) {
    let mut socket = TcpSocket::new();
    (socket.listen_on(addr, &ListenOptions::default()), socket)
}

// Addresses.

#[test]
fn a_port_in_use_is_named() {
    let _test = begin();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = holder.local_addr().unwrap();
    let (result, mut socket) = listen_on(addr);
    let error = result.unwrap_err();
    let expected = error.to_string();
    assert_tells(&expected, &format!("listen on {addr}: "), "address already in use");
    assert_eq!((error.kind(), error.code()), (ErrorKind::AddrInUse, code::EADDRINUSE));
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(socket.is_error() && !socket.is_open(), "{socket:?}");
    assert_eq!(socket.error_desc(), expected);
    let again = socket.accept_new().unwrap_err();
    assert_eq!(again.to_string(), expected, "it is sticky");
    let holder_of_all = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = holder_of_all.local_addr().unwrap().port();
    let error = socket.listen(port, 5).unwrap_err();
    let before = format!("listen on 0.0.0.0:{port}: ");
    assert_tells(&error.to_string(), &before, "address already in use");
    drop(holder);
    socket.listen_on(addr, &ListenOptions::default()).unwrap();
    assert!(socket.is_open() && !socket.is_error(), "{socket:?}");
    assert_eq!(socket.error_desc(), "");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let _test = begin();
    let (result, _) = listen_on("192.0.2.1:0");
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "{error:?}");
    assert!(error.to_string().starts_with("listen on 192.0.2.1:0: "), "{error}");
}

#[test]
fn what_is_no_address_is_an_error() {
    let _test = begin();
    for bad in ["", "no port", "127.0.0.1:99999", "127.0.0.1", "[::1:80"] {
        let (result, socket) = listen_on(bad);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{bad:?}: {error:?}");
        assert!(error.to_string().starts_with("listen"), "{bad:?}: {error}");
        assert!(socket.is_error() && !socket.is_open(), "{bad:?}: {socket:?}");
    }
    let (result, _) = listen_on(&[] as &[SocketAddr]);
    assert!(matches!(result, Err(Error::Io { .. })), "no address: {result:?}");
}

#[test]
fn what_is_no_host_is_named() {
    let _test = begin();
    for bad in [
        "no-such-host.invalid",
        "a\0b",
        "256.256.256.256",
        "[::1]:80",
        "127.0.0.1:80",
        "two words",
        "two\nlines",
    ] {
        let mut socket = TcpSocket::new();
        let error = socket.timeout(PATIENCE).connect(bad, 80).unwrap_err();
        assert!(
            matches!(&error, Error::Resolve { host, .. } if host == bad),
            "{bad:?}: {error:?}"
        );
        let shown = bad.replace(['\0', '\n'], "\u{fffd}");
        assert!(
            error.to_string().starts_with(&format!("resolve {shown}: ")),
            "{bad:?}: {error}"
        );
        assert!(socket.is_error() && !socket.is_open(), "{bad:?}: {socket:?}");
        let again = socket.get_byte().unwrap_err();
        assert_eq!(again.to_string(), error.to_string(), "{bad:?}: it is sticky");
    }
}

#[test]
fn an_address_that_nobody_can_connect_to_is_named() {
    let _test = begin();
    let refusing = Refusing::new();
    for addr in [
        refusing.addr(),
        "127.0.0.1:0".parse().unwrap(),
        "255.255.255.255:1".parse().unwrap(),
    ] {
        let mut socket = TcpSocket::new();
        let error = socket.timeout(PATIENCE).connect_to(&[addr]).unwrap_err();
        assert!(
            matches!(&error, Error::Connect { attempts } if attempts.len() == 1),
            "{error:?}"
        );
        assert!(
            error.to_string().starts_with(&format!("connect to {addr}: ")),
            "{error}"
        );
        assert!(!socket.is_open() && socket.is_error(), "{socket:?}");
    }
}

// Peers.

#[test]
fn a_reset_in_the_middle_of_a_line_is_named_and_loses_nothing() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    let (mut socket, mut peer) = pair();
    peer.write_all(b"whole\nhalf a li").unwrap();
    let blocked = block(move || {
        let line = socket.get_line();
        (line, socket.get_line(), socket)
    });
    let blocked = blocked.until_blocked();
    reset(peer);
    let (line, result, mut socket) = blocked.result();
    assert_eq!(line.unwrap().unwrap(), "whole");
    let error = result.unwrap_err();
    let before = format!("get_line from {}: ", socket.peer_addr().unwrap());
    assert_tells(&error.to_string(), &before, "connection reset by peer");
    assert_eq!(error.code(), code::ECONNRESET);
    socket.clear_error();
    assert_eq!(socket.get_all_bytes(9).unwrap(), b"half a li");
}

#[test]
fn a_peer_without_a_newline_is_named_and_loses_nothing() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(&[b'x'; 100]).unwrap();
    drop(peer);
    let error = socket.get_line_bytes(99).unwrap_err();
    assert_eq!(error.to_string(), "line is longer than 99 bytes");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    socket.clear_error();
    let error = socket.get_line_bytes(100).unwrap_err();
    assert!(matches!(error, Error::UnexpectedEof), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    socket.clear_error();
    assert_eq!(socket.get_bytes(1_000).unwrap(), [b'x'; 100]);
}

/// The most bytes that `get_line` takes for a line.
const LONGEST: usize = 65_536;

#[test]
fn the_longest_line_of_get_line_is_a_line_and_a_longer_one_is_named() {
    let _test = begin();
    // The last of these ends in a character of two bytes: it is bytes that count.
    for (length, last) in [
        (LONGEST - 1, "x"),
        (LONGEST, "x"),
        (LONGEST, "\u{e9}"),
        (LONGEST + 1, "x"),
        (LONGEST + 1, "\u{e9}"),
    ] {
        for end in ["\n", "\r\n"] {
            let line = "x".repeat(length - last.len()) + last;
            let (mut socket, mut peer) = pair();
            let sent = [&line, end, "next\n"].concat();
            let writer = block(move || peer.write_all(sent.as_bytes()).map(|()| peer));
            let result = socket.get_line();
            if length <= LONGEST {
                assert!(
                    result.as_ref().is_ok_and(|came| came.as_ref() == Some(&line)),
                    "{length}, {end:?}"
                );
            } else {
                let error = result.unwrap_err();
                assert_eq!(error.to_string(), "line is longer than 65536 bytes", "{end:?}");
                socket.clear_error();
                assert!(
                    socket.get_line_bytes(length).unwrap().unwrap() == line.as_bytes(),
                    "{end:?}"
                );
            }
            assert_eq!(socket.get_line().unwrap().as_deref(), Some("next"), "{length}, {end:?}");
            writer.result().unwrap();
        }
    }
}

#[test]
fn the_longest_line_without_its_end_is_no_line() {
    let _test = begin();
    for (length, end) in [(LONGEST, ""), (LONGEST, "\r"), (LONGEST + 1, ""), (LONGEST, "\r\r")] {
        let (mut socket, mut peer) = pair();
        let sent = "x".repeat(length) + end;
        let bytes = sent.clone();
        // With the end of the stream behind it.
        let writer = block(move || peer.write_all(bytes.as_bytes()));
        let result = socket.get_line();
        let too_long = length > LONGEST || end.len() > 1;
        let named = match &result {
            Err(Error::LineTooLong { limit }) => too_long && *limit == LONGEST,
            Err(Error::UnexpectedEof) => !too_long,
            _ => false,
        };
        assert!(named, "{length}, {end:?}: {:?}", result.map(drop));
        socket.clear_error();
        assert!(
            socket.get_bytes(usize::MAX).unwrap() == sent.as_bytes(),
            "{length}, {end:?}"
        );
        writer.result().unwrap();
    }
}

#[test]
fn a_line_that_is_too_long_and_not_utf_8_is_too_long() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let mut line = vec![0xff; LONGEST + 1];
    let sent = [&line[..], b"\n", &line[1..], b"\n"].concat();
    let writer = block(move || peer.write_all(&sent).map(|()| peer));
    let error = socket.get_line().unwrap_err();
    assert!(matches!(error, Error::LineTooLong { limit: LONGEST }), "{error:?}");
    socket.clear_error();
    assert!(socket.get_line_bytes(LONGEST + 1).unwrap().as_ref() == Some(&line));
    let error = socket.get_line().unwrap_err();
    assert_eq!(error.to_string(), "line is not valid UTF-8");
    socket.clear_error();
    line.pop();
    assert!(socket.get_line_bytes(LONGEST).unwrap() == Some(line));
    writer.result().unwrap();
}

#[test]
fn a_nul_in_a_line_is_a_character_like_others() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let lines = ["\0", "a\0b", "\0\0\0", "", "\0\r\0", "\u{e9}\0"];
    for end in ["\n", "\r\n"] {
        peer.write_all((lines.join(end) + end).as_bytes()).unwrap();
        for line in lines {
            assert_eq!(socket.get_line().unwrap().as_deref(), Some(line), "{end:?}");
        }
    }
}

#[test]
fn errors_stay_until_they_are_cleared() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let error = socket.get_all(&mut [0; 10]).unwrap_err();
    assert!(matches!(error, Error::UnexpectedEof), "{error:?}");
    let of_writing = ["put", "put_all", "write", "shutdown", "wait_write"];
    for (name, operation) in OPERATIONS.into_iter().filter(|(name, _)| !of_writing.contains(name)) {
        let again = operation(&mut socket);
        assert!(matches!(again, Err(Error::UnexpectedEof)), "{name}: {again:?}");
        assert!(socket.is_error(), "{name}");
        assert!(
            matches!(socket.error(), Some(Error::UnexpectedEof)),
            "{name}: {:?}",
            socket.error()
        );
    }
    assert!(socket.is_open());
    socket.clear_error();
    assert!(!socket.is_error() && socket.error().is_none() && socket.error_desc().is_empty());
    assert_eq!(socket.get_all_bytes(3).unwrap(), b"abc");
    socket.global_timeout(Duration::ZERO);
    assert!(matches!(socket.put(b"not sent"), Err(Error::GlobalTimeout)));
    socket.no_global_timeout();
    for (name, operation) in OPERATIONS {
        let again = operation(&mut socket);
        if of_writing.contains(&name) || name == "wait" {
            assert!(matches!(again, Err(Error::GlobalTimeout)), "{name}: {again:?}");
        } else {
            assert!(!matches!(again, Err(Error::GlobalTimeout)), "{name}: {again:?}");
        }
    }
    socket.clear_error();
    socket.put_all(b"nothing was sent before").unwrap();
    socket.close();
    let mut came = String::new();
    peer.read_to_string(&mut came).unwrap();
    assert_eq!(came, "nothing was sent before");
}

#[test]
fn what_is_not_sticky_is_not() {
    let _test = begin();
    for (name, operation) in OPERATIONS {
        let (mut socket, peer) = pair();
        socket.timeout(Duration::ZERO);
        let result = operation(&mut socket);
        let writes = matches!(name, "put" | "put_all" | "write" | "shutdown" | "wait" | "wait_write");
        match result {
            Ok(()) if writes => {}
            Err(Error::Timeout) if !writes => {
                let all_or_nothing = name.starts_with("get_all") || name.starts_with("get_line");
                assert_eq!(socket.is_error(), all_or_nothing, "{name}");
                assert!(socket.is_timeout(), "{name}");
            }
            _ => panic!("{name}: {result:?}"),
        }
        socket.clear_error();
        socket.abort();
        let result = operation(&mut socket);
        assert!(matches!(result, Err(Error::Aborted)), "{name}: {result:?}");
        socket.clear_abort();
        assert!(socket.is_open(), "{name}");
        drop(peer);
    }
}

// Sockets that are not open.

#[test]
fn a_socket_that_is_not_open_says_so() {
    let _test = begin();
    let closed = || {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"read ahead\n").unwrap();
        socket.peek().unwrap();
        socket.close();
        socket
    };
    for (what, make) in [
        ("never open", &TcpSocket::new as &dyn Fn() -> TcpSocket),
        ("closed", &closed),
    ] {
        for (name, operation) in OPERATIONS {
            let mut socket = make();
            for _ in 0..2 {
                let result = operation(&mut socket);
                assert!(matches!(result, Err(Error::Closed)), "{name}, {what}: {result:?}");
            }
            assert!(!socket.is_open() && socket.is_eof(), "{name}, {what}: {socket:?}");
        }
        let socket = make();
        let others = [
            ("accept_new", socket.accept_new().map(drop)),
            ("accept", TcpSocket::new().accept(&socket)),
            ("wait_connect", make().wait_connect()),
            ("local_addr", socket.local_addr().map(drop)),
            ("no_delay", socket.no_delay()),
            ("linger", socket.linger(Duration::from_secs(1))),
            ("no_linger", socket.no_linger()),
            ("conversion", TcpStream::try_from(make()).map(drop)),
        ];
        for (name, result) in others {
            assert!(matches!(result, Err(Error::Closed)), "{name}, {what}: {result:?}");
        }
        // Who it was is still known.
        let peer = socket.peer_addr();
        assert_eq!(peer.is_ok(), what == "closed", "{what}: {peer:?}");
        assert_eq!(socket.incoming().count(), 0, "{what}");
        socket.close();
        socket.handle().abort();
        drop(socket);
    }
}

#[test]
fn a_closed_socket_can_be_opened_again() {
    let _test = begin();
    let (listener, addr) = listener();
    let mut socket = TcpSocket::new();
    for turn in 0..50 {
        socket.connect_to(&[addr]).unwrap();
        let mut peer = listener.accept_new().unwrap();
        peer.put_all(b"abc\n").unwrap();
        assert_eq!(
            socket.peek().unwrap(),
            Some(b'a'),
            "turn {turn}: not what an earlier connection sent"
        );
        assert_eq!(socket.get_line().unwrap().unwrap(), "abc");
        peer.put_all(b"left behind").unwrap();
        assert_eq!(socket.peek().unwrap(), Some(b'l'));
        socket.close();
        socket.close();
        let result = socket.get_byte();
        assert!(matches!(result, Err(Error::Closed)), "turn {turn}: {result:?}");
        assert!(!socket.is_error(), "turn {turn}: {socket:?}");
    }
}

#[test]
fn clear_makes_it_as_new() {
    let _test = begin();
    let (listener, addr) = listener();
    let mut socket = TcpSocket::new();
    for state in [
        "open",
        "error",
        "aborted",
        "closed",
        "not open",
        "not open, aborted",
        "not open, error",
    ] {
        if !state.starts_with("not open") {
            socket.connect_to(&[addr]).unwrap();
            let mut peer = listener.accept_new().unwrap();
            peer.put_all(b"abc").unwrap();
            assert_eq!(socket.peek().unwrap(), Some(b'a'), "{state}");
        }
        socket.timeout(Duration::from_millis(1));
        match state {
            "error" => assert!(socket.get_all(&mut [0; 10]).is_err()),
            "not open, error" => assert!(socket.connect_to(&[]).is_err()),
            "aborted" | "not open, aborted" => socket.abort(),
            "closed" => socket.close(),
            _ => {}
        }
        socket.clear();
        assert!(
            !socket.is_open() && !socket.is_error() && !socket.is_timeout(),
            "{state}: {socket:?}"
        );
        assert!(!socket.is_abort(), "{state}: {socket:?}");
        assert!(socket.is_blocking(), "{state}");
        assert_eq!((socket.done(), socket.error_desc()), (0, String::new()), "{state}");
        let result = socket.get_byte();
        assert!(matches!(result, Err(Error::Closed)), "{state}: {result:?}");
        socket.connect_to(&[addr]).unwrap();
        let mut peer = listener.accept_new().unwrap();
        peer.put_all(b"xyz").unwrap();
        assert_eq!(socket.get_all_bytes(3).unwrap(), b"xyz", "{state}");
        socket.clear();
    }
}

// Operations that don't fit the socket.

#[test]
fn a_listener_is_no_stream_and_a_stream_no_listener() {
    let _test = begin();
    for (name, operation) in OPERATIONS {
        let (mut listener, _) = listener();
        listener.timeout(Duration::from_millis(1));
        let result = operation(&mut listener);
        match name {
            "wait" | "wait_read" | "wait_write" => {
                assert!(matches!(result, Err(Error::Timeout)), "{name}: {result:?}")
            }
            // Linux ends what a listener might send without a word.
            "shutdown" => {}
            _ => assert!(
                matches!(&result, Err(error) if !error.is_closed()),
                "{name}: {result:?}"
            ),
        }
        assert!(listener.is_open(), "{name}");
    }
    let (socket, _peer) = pair();
    let error = socket.accept_new().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    let before = format!("accept from {}: ", socket.peer_addr().unwrap());
    assert!(error.to_string().starts_with(&before), "{error}");
    let mut connection = TcpSocket::new();
    let error = connection.accept(&socket).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(socket.is_open() && !connection.is_open());
}

#[test]
fn extreme_limits_do_what_they_say() {
    let _test = begin();
    let limits = [
        None,
        Some(Duration::MAX),
        Some(Duration::from_secs(u64::MAX / 2)),
        Some(Duration::from_millis(1 << 32)),
        Some(Duration::from_millis((1 << 31) + 1)),
    ];
    for limit in limits {
        let (mut socket, mut peer) = pair();
        socket.timeout(limit);
        assert_eq!(socket.get_timeout(), limit);
        let handle = socket.handle();
        let blocked = block(move || (socket.get_byte(), socket.get_line(), socket)).until_blocked();
        peer.write_all(b"x").unwrap();
        let blocked = blocked.still_blocks();
        handle.close();
        let (byte, line, _socket) = blocked.result();
        assert!(matches!(byte, Ok(Some(b'x'))), "{limit:?}: {byte:?}");
        assert!(matches!(line, Err(Error::Closed)), "{limit:?}: {line:?}");
    }
    for limit in [Duration::ZERO, Duration::from_nanos(1)] {
        let (mut socket, _peer) = pair();
        let (listener, _) = listener();
        let mut connection = TcpSocket::new();
        let ((get, accept), took) = timed(|| {
            (
                socket.timeout(limit).get_line(),
                connection.timeout(limit).accept(&listener),
            )
        });
        assert!(matches!(get, Err(Error::Timeout)), "{limit:?}: {get:?}");
        assert!(matches!(accept, Err(Error::Timeout)), "{limit:?}: {accept:?}");
        assert!(took < PATIENCE, "{limit:?}: {took:?}");
    }
}

#[test]
fn waiting_for_nothing_lasts_until_the_limit() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    crate::support::ends_at_limit(Duration::from_millis(20), |limit| {
        let (result, took) = timed(|| socket.timeout(limit).wait(WaitEvents::empty()));
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        took
    });
    let handle = socket.handle();
    let blocked = block(move || socket.blocking().wait(WaitEvents::empty())).still_blocks();
    handle.close();
    let result = blocked.result();
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
}

// Descriptors and conversions.

#[cfg(target_os = "linux")]
#[test]
fn the_descriptor_of_a_closed_socket_is_refused() {
    let _test = begin();
    let (closed, _peer) = pair();
    assert!(closed.as_raw_fd() >= 0);
    assert_eq!(closed.as_fd().as_raw_fd(), closed.as_raw_fd());
    closed.close();
    for socket in [TcpSocket::new(), closed] {
        assert_eq!(socket.as_raw_fd(), -1, "{socket:?}");
        let refused = [
            SockRef::from(&socket).local_addr().map(drop),
            SockRef::from(&socket).set_keepalive(true),
            SockRef::from(&socket).send(b"abc").map(drop),
            SockRef::from(&socket).shutdown(Shutdown::Both),
            SockRef::from(&socket).take_error().map(drop),
        ];
        for result in refused {
            let error = result.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code::EBADF), "{socket:?}: {error}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_that_is_borrowed_means_no_other_socket() {
    let _test = begin();
    let (socket, mut peer) = pair();
    let fd = socket.as_fd();
    socket.close();
    let mut end = [0];
    assert_eq!(peer.read(&mut end).unwrap(), 0, "the connection is gone");
    let others: Vec<_> = (0..20).map(|_| pair()).collect();
    for (other, other_peer) in &others {
        assert_ne!(other.as_raw_fd(), fd.as_raw_fd());
        assert_ne!(other_peer.as_raw_fd(), fd.as_raw_fd());
    }
    assert!(SockRef::from(&fd).send(b"to nobody").is_err());
}

#[test]
fn std_sockets_go_in_and_come_out() {
    let _test = begin();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = TcpSocket::from(listener);
    assert_eq!(listener.local_addr().unwrap(), addr);
    let client = TcpSocket::from(TcpStream::connect(addr).unwrap());
    let server = listener.accept_new().unwrap();
    let listener = TcpListener::try_from(listener).unwrap();
    let (mut client, mut server) = (
        TcpStream::try_from(client).unwrap(),
        TcpStream::try_from(server).unwrap(),
    );
    client.write_all(b"abc").unwrap();
    let mut came = [0; 3];
    server.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"abc");
    // In blocking mode: these come back when there is something.
    let blocked = block(move || (server.read(&mut [0; 3]).unwrap(), server)).still_blocks();
    client.write_all(b"def").unwrap();
    assert_eq!(blocked.result().0, 3);
    let blocked = block(move || listener.accept().unwrap().1).still_blocks();
    let late = TcpStream::connect(addr).unwrap();
    assert_eq!(blocked.result(), late.local_addr().unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn std_sockets_without_a_port_go_in_and_come_out() {
    let _test = begin();
    let (one, other) = UnixStream::pair().unwrap();
    let (mut one, mut other) = (TcpSocket::from(one), TcpSocket::from(other));
    one.put_all(b"abc\n").unwrap();
    assert_eq!(other.get_line().unwrap().unwrap(), "abc");
    other.put_all(b"unread\n").unwrap();
    let mut one = UnixStream::try_from(one).unwrap();
    let mut came = [0; 7];
    one.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"unread\n");
}

#[test]
fn a_conversion_that_would_lose_bytes_is_refused() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(socket.get_line().unwrap().unwrap(), "one");
    assert_eq!(socket.peek().unwrap(), Some(b't'));
    let error = TcpStream::try_from(socket).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().starts_with("conversion to TcpStream: "), "{error}");
    assert!(error.to_string().contains("read ahead"), "{error}");

    let (mut socket, mut peer) = pair();
    peer.write_all(b"one\n").unwrap();
    assert_eq!(socket.get_line().unwrap().unwrap(), "one");
    peer.write_all(b"two\n").unwrap();
    let mut line = String::new();
    io::BufReader::new(TcpStream::try_from(socket).unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "two\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_conversion_to_another_kind_is_refused() {
    let _test = begin();
    let stream = || {
        let (socket, _) = pair();
        socket
    };
    let unix = || TcpSocket::from(UnixStream::pair().unwrap().0);
    let refused = [
        ("TcpListener", TcpListener::try_from(stream()).map(drop)),
        ("UnixStream", UnixStream::try_from(stream()).map(drop)),
        ("UnixListener", UnixListener::try_from(stream()).map(drop)),
        ("TcpStream", TcpStream::try_from(listener().0).map(drop)),
        ("UnixListener", UnixListener::try_from(listener().0).map(drop)),
        ("TcpStream", TcpStream::try_from(unix()).map(drop)),
        ("TcpListener", TcpListener::try_from(unix()).map(drop)),
    ];
    for (kind, result) in refused {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{kind}: {error:?}");
        assert!(
            error.to_string().starts_with(&format!("conversion to {kind}: ")),
            "{kind}: {error}"
        );
    }
}

#[test]
fn a_failed_socket_is_not_converted() {
    let _test = begin();
    let (mut socket, peer) = pair();
    drop(peer);
    socket.get_all(&mut [0; 3]).unwrap_err();
    let error = TcpStream::try_from(socket).unwrap_err();
    assert!(matches!(error, Error::UnexpectedEof), "{error:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_can_not_be_made_non_blocking_is_in_the_error_state() {
    let _test = begin();
    // A descriptor that has a place in the file system and no more.
    let path = || -> OwnedFd {
        let options = OpenOptions::new().read(true).custom_flags(libc::O_PATH).to_owned();
        options.open("/").unwrap().into()
    };
    let mut sockets = [
        TcpSocket::from(TcpStream::from(path())),
        TcpSocket::from(TcpListener::from(path())),
        TcpSocket::from(UnixStream::from(path())),
    ];
    for socket in &mut sockets {
        assert!(socket.is_error() && !socket.is_open(), "{socket:?}");
        let error = socket.get_byte().unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_eq!(error.code(), code::EBADF, "{error:?}");
    }
    let error = TcpSocket::new().attach(TcpStream::from(path())).unwrap_err();
    assert_eq!(error.to_string(), "attach: bad file descriptor");
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_socket_fails_and_does_not_panic() {
    let _test = begin();
    for (name, operation) in OPERATIONS {
        let file: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into();
        let mut socket = TcpSocket::from(TcpStream::from(file));
        let result = operation(socket.timeout(Duration::from_millis(1)));
        if !name.starts_with("wait") || name == "wait_request" {
            assert!(matches!(result, Err(Error::Io { .. })), "{name}: {result:?}");
            assert_eq!(result.unwrap_err().code(), libc::ENOTSOCK, "{name}");
        }
        assert!(socket.local_addr().is_err() && socket.accept_new().is_err(), "{name}");
    }
}

#[test]
fn attaching_what_is_no_stream_is_a_named_error() {
    let _test = begin();
    let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpSocket::new();
    let error = socket.attach(own.try_clone().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "attach: not a stream socket");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!socket.is_open());
    // Only our descriptor of it is gone.
    own.send_to(b"!", own.local_addr().unwrap()).unwrap();
    assert_eq!(own.recv(&mut [0; 8]).unwrap(), 1);
    let (listener, addr) = server();
    socket.attach(listener).unwrap();
    assert_eq!(socket.local_addr().unwrap(), addr);
}

#[test]
fn a_stream_that_is_neither_connected_nor_listening_says_so() {
    let _test = begin();
    let made = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let mut socket = TcpSocket::new();
    socket.attach(made()).unwrap();
    let failures = [socket.get(&mut [0]).unwrap_err(), socket.put(b"!").unwrap_err()];
    for error in failures {
        assert!(
            matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::BrokenPipe),
            "{error}"
        );
    }
    let error = socket.accept_new().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(socket.incoming().next().unwrap().is_err());
}
