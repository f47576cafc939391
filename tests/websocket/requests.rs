//! The opening handshake from the server's side: what it takes for a request, and what it answers to others.

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use wakesock::http::{Response, StatusCode, header};
use wakesock::{Error, Message, ShutdownRegistry, SocketWaitEvent, TcpSocket, Upgrade, WaitEvents, WebSocket};

use crate::ends::*;
use crate::opening::{header as value_of, read_head};
use crate::support::{PATIENCE, begin, block, ends_at_limit, listener, listener_in, pair, timed};

pub(crate) const REQUEST: &str = "GET /chat?room=7 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat.v1, chat.v2\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\nOrigin: https://example.com\r\n\r\n";

/// The end of a server, and a client that has sent `request`.
fn asked(request: &[u8]) -> (TcpSocket, TcpStream) {
    let (socket, mut client) = pair();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(request).unwrap();
    (socket, client)
}

#[test]
fn a_request_is_read_and_answered_as_the_rfc_says() {
    let _test = begin();
    let (socket, mut client) = asked(&[REQUEST.as_bytes(), b"\x81\x82\0\0\0\0hi\x81"].concat());
    let upgrade = Upgrade::read(socket).unwrap();
    assert_eq!(upgrade.request().uri(), "/chat?room=7");
    assert_eq!(upgrade.request().headers()[header::ORIGIN], "https://example.com");
    assert!(format!("{upgrade:?}").contains("/chat"));
    let mut socket = upgrade.accept().unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert_eq!(value_of(&head, "upgrade"), Some("websocket"));
    assert_eq!(value_of(&head, "connection"), Some("Upgrade"));
    // RFC 6455, section 1.3.
    assert_eq!(
        value_of(&head, "sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(value_of(&head, "sec-websocket-protocol"), None);
    assert_eq!(value_of(&head, "sec-websocket-extensions"), None);
    // What came behind the request.
    assert_eq!(socket.receive().unwrap(), Some(Message::from("hi")));
    write(&mut client, b"\x83\0\0\0\0you");
    assert_eq!(socket.receive().unwrap(), Some(Message::from("you")));
}

#[test]
fn lists_in_a_request_may_be_written_in_any_way() {
    let _test = begin();
    let connection = "Connection: keep-alive, Upgrade";
    let upgrade = "Upgrade: websocket";
    for (line, others) in [
        (connection, "Connection: keep-alive\r\nConnection: Upgrade"),
        (connection, "Connection: Upgrade\r\nConnection: keep-alive"),
        (connection, "connection: upgrade,keep-alive"),
        (connection, "Connection: keep-alive,\tUPGRADE"),
        (connection, "Connection: ,, Upgrade ,"),
        (upgrade, "Upgrade: WebSocket"),
        (upgrade, "Upgrade: h2c, websocket"),
        (upgrade, "Upgrade: h2c\r\nUpgrade: websocket"),
    ] {
        let (socket, mut client) = asked(REQUEST.replace(line, others).as_bytes());
        let upgrade = Upgrade::read(socket).unwrap_or_else(|error| panic!("{others}: {error}"));
        drop(upgrade.accept().unwrap());
        let head = read_head(&mut client);
        assert_eq!(
            value_of(&head, "sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{head}"
        );
    }
}

#[test]
fn what_the_program_answers_goes_with_the_handshake() {
    let _test = begin();
    let (socket, mut client) = asked(REQUEST.as_bytes());
    let response = Response::builder()
        .header(header::SEC_WEBSOCKET_PROTOCOL, "chat.v2")
        .header(header::SET_COOKIE, "a=b")
        .header(header::UPGRADE, "something else")
        .header(header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate");
    let socket = Upgrade::read(socket)
        .unwrap()
        .accept_with(response.body(()).unwrap())
        .unwrap();
    assert_eq!(socket.protocol(), Some("chat.v2"));
    let head = read_head(&mut client);
    for (name, value) in [
        ("sec-websocket-protocol", Some("chat.v2")),
        ("set-cookie", Some("a=b")),
        ("upgrade", Some("websocket")),
        ("sec-websocket-extensions", None),
    ] {
        assert_eq!(value_of(&head, name), value, "{head}");
    }
}

#[test]
fn a_protocol_that_was_not_offered_is_the_programs_fault() {
    let _test = begin();
    let answers = [
        Response::builder().header(header::SEC_WEBSOCKET_PROTOCOL, "chat.v3"),
        Response::builder()
            .header(header::SEC_WEBSOCKET_PROTOCOL, "chat.v2")
            .header(header::SEC_WEBSOCKET_PROTOCOL, "chat.v3"),
        Response::builder().status(StatusCode::FORBIDDEN),
    ];
    for answer in answers {
        let (socket, mut client) = asked(REQUEST.as_bytes());
        let upgrade = Upgrade::read(socket).unwrap();
        let error = upgrade.accept_with(answer.body(()).unwrap()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    let (socket, mut client) = asked(REQUEST.as_bytes());
    let error = Upgrade::read(socket).unwrap().refuse(StatusCode::OK).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_program_may_refuse() {
    let _test = begin();
    let (socket, mut client) = asked(REQUEST.as_bytes());
    let upgrade = Upgrade::read(socket).unwrap();
    let mut socket = upgrade.refuse(StatusCode::FORBIDDEN).unwrap();
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    assert!(socket.is_open());
    client.shutdown(Shutdown::Write).unwrap();
    socket.finish(PATIENCE).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_refusal_may_say_more_in_headers() {
    let _test = begin();
    let (socket, mut client) = asked(REQUEST.as_bytes());
    let response = Response::builder()
        .status(StatusCode::FOUND)
        .header(header::LOCATION, "https://example.com/")
        .header(header::SET_COOKIE, "a=b")
        .header(header::SET_COOKIE, "c=d")
        .header(header::CONTENT_LENGTH, "7")
        .header(header::CONNECTION, "keep-alive");
    let upgrade = Upgrade::read(socket).unwrap();
    let socket = upgrade.refuse_with(response.body(()).unwrap()).unwrap();
    drop(socket);
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 302 Found\r\n"), "{head}");
    for (name, value) in [
        ("location", Some("https://example.com/")),
        ("content-length", Some("0")),
        ("connection", Some("close")),
    ] {
        assert_eq!(value_of(&head, name), value, "{head}");
    }
    assert!(head.contains("set-cookie: a=b\r\nset-cookie: c=d\r\n"), "{head}");
}

#[test]
fn who_asks_for_something_else_is_told_and_let_go() {
    let _test = begin();
    let with = |from: &str, to: &str| REQUEST.replace(from, to).into_bytes();
    let cases: [(u16, Vec<u8>); 26] = [
        (426, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec()),
        (426, with("Upgrade: websocket", "Upgrade: h2c")),
        (426, with("Connection: keep-alive, Upgrade", "Connection: keep-alive")),
        (426, with("Version: 13", "Version: 12")),
        (426, with("Sec-WebSocket-Version: 13\r\n", "")),
        (400, with("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")),
        (400, with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "")),
        (426, with("Connection: keep-alive, Upgrade", "Connection: Upgrades")),
        (426, with("Upgrade: websocket", "Upgrade: websockets")),
        // One of two keys would be answered.
        (
            400,
            with("Origin", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin"),
        ),
        (400, with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=")),
        (400, with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25!ZQ==")),
        (400, with("Host: example.com\r\n", "")),
        (400, with("Origin", "Host: example.org\r\nOrigin")),
        (400, with("/chat?room=7", "*")),
        (400, with("/chat?room=7", "example.com:80")),
        (400, with("/chat?room=7", "chat")),
        (400, with("Origin", "Content-Length: 2\r\nOrigin")),
        (400, with("Origin", "Transfer-Encoding: chunked\r\nOrigin")),
        (405, with("GET", "POST")),
        (426, with("HTTP/1.1", "HTTP/1.0")),
        (400, with("Host: ", "Ho st: ")),
        (400, b"HELO mail.example\r\n\r\n".to_vec()),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        (431, with("/chat", &"x".repeat(20_000))),
        (431, with("Origin", &"X: y\r\n".repeat(200))),
    ];
    for (status, request) in cases {
        let (socket, mut client) = asked(&request);
        let text = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let reading = thread::spawn(move || {
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        });
        let error = Upgrade::read(socket).unwrap_err();
        assert!(
            matches!(&error, Error::NotWebSocket { status: Some(told), .. } if *told == status),
            "{text}: {error}"
        );
        let answer = reading.join().unwrap().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answer}");
        let connection = if status == 426 { "upgrade, close" } else { "close" };
        for (name, value) in [
            ("sec-websocket-version", (status == 426).then_some("13")),
            ("upgrade", (status == 426).then_some("websocket")),
            ("connection", Some(connection)),
            ("allow", (status == 405).then_some("GET")),
        ] {
            assert_eq!(value_of(&answer, name), value, "{name} to {text}");
        }
    }
}

#[test]
fn empty_lines_before_a_request_do_not_count_whatever_pieces_they_come_in() {
    let _test = begin();
    for lines in ["\r\n", "\n", "\r\n\r\n\r\n"] {
        for pieces in [1, 2, 3, 1000] {
            let (socket, mut client) = pair();
            client.set_nodelay(true).unwrap();
            let reading = block(move || Upgrade::read(socket).map(|upgrade| upgrade.request().uri().to_string()));
            for piece in format!("{lines}{REQUEST}").as_bytes().chunks(pieces) {
                client.write_all(piece).unwrap();
            }
            assert_eq!(
                reading.result().unwrap(),
                "/chat?room=7",
                "{lines:?}, {pieces} at a time"
            );
        }
    }
}

#[test]
fn who_sends_much_more_learns_why_it_is_refused() {
    let _test = begin();
    let (socket, mut client) = pair();
    let sending = thread::spawn(move || {
        client
            .write_all(b"POST /upload HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n")
            .unwrap();
        client.write_all(&vec![0; 5_000_000]).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(Upgrade::read(socket).is_err());
    assert!(sending.join().unwrap().starts_with("HTTP/1.1 405"));
}

#[test]
fn a_head_may_be_as_long_as_the_program_says() {
    let _test = begin();
    for (most, fits) in [(REQUEST.len(), true), (REQUEST.len() - 1, false)] {
        let (socket, mut client) = asked(REQUEST.as_bytes());
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(Upgrade::read_at_most(socket, most).is_ok(), fits);
        let _ = client.read(&mut [0]);
    }
}

#[test]
fn a_head_without_an_end_does_not_outlast_a_limit() {
    let _test = begin();
    ends_at_limit(Duration::from_millis(20), |limit| {
        let (mut socket, _client) = asked(b"GET / HTTP/1.1\r\n");
        socket.timeout(limit);
        let (read, took) = timed(|| Upgrade::read(socket).map(drop));
        assert_timeout(&read);
        took
    });
    let (mut socket, mut client) = asked(b"GET / HTTP/1.1\r\n");
    socket.timeout(Duration::from_millis(50));
    let sending = thread::spawn(move || {
        while client.write_all(b"X: y\r\n").is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    });
    let (read, took) = timed(|| Upgrade::read(socket).map(drop));
    assert_timeout(&read);
    assert!(took >= Duration::from_millis(50), "{took:?}");
    sending.join().unwrap();
}

#[test]
fn a_head_is_waited_for_without_being_taken_however_it_comes() {
    let _test = begin();
    let head = REQUEST.as_bytes();
    let (mut socket, mut client) = pair();
    socket.timeout(Duration::ZERO);
    let mut set = SocketWaitEvent::new();
    set.add(&socket, WaitEvents::READ);
    for (at, byte) in head.iter().enumerate() {
        assert_timeout(&Upgrade::wait_head(&mut socket));
        assert!(socket.is_timeout());
        assert_eq!(
            set.wait(Duration::ZERO).unwrap(),
            0,
            "what was looked at isn't reported again, at {at}"
        );
        client.write_all(&[*byte]).unwrap();
        assert_eq!(set.wait(PATIENCE).unwrap(), 1, "at {at}");
    }
    for _ in 0..2 {
        Upgrade::wait_head(&mut socket).unwrap();
        assert!(!socket.is_timeout());
        assert_eq!(socket.fill_buf().unwrap(), head);
    }
    Upgrade::read(socket).unwrap().accept().unwrap();

    // What is no request is for `read` to refuse.
    for (junk, status) in [(&b"\x16\x03\x01"[..], 400), (&[b'x'; 17_000], 431)] {
        let (mut socket, mut client) = asked(junk);
        socket.timeout(PATIENCE);
        Upgrade::wait_head(&mut socket).unwrap();
        let refused = Upgrade::read(socket).unwrap_err();
        assert!(
            matches!(refused, Error::NotWebSocket { status: Some(told), .. } if told == status),
            "{refused}"
        );
        let _ = client.read(&mut [0]);
    }
    let (mut socket, client) = asked(b"GET / HTTP/1.1\r\n");
    drop(client);
    assert!(matches!(
        Upgrade::wait_head(socket.blocking()),
        Err(Error::UnexpectedEof)
    ));
}

#[test]
fn a_client_that_leaves_is_the_end_of_a_stream() {
    let _test = begin();
    for request in ["", "GET / HTTP/1.1\r\n"] {
        let (socket, client) = asked(request.as_bytes());
        drop(client);
        let read = Upgrade::read(socket);
        assert!(matches!(read, Err(Error::UnexpectedEof)), "{read:?}");
    }
}

#[test]
fn a_request_that_does_not_come_is_ended_from_elsewhere() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (socket, _client) = pair();
    let handle = socket.handle();
    let blocked = block(move || Upgrade::read(socket).map(drop)).until_blocked();
    handle.close();
    assert!(matches!(blocked.result(), Err(Error::Closed)));

    let (listener, addr) = listener_in(&registry);
    let mut socket = WebSocket::new();
    let blocked = block(move || {
        let accepted = socket.accept(&listener);
        (accepted, socket, listener)
    })
    .until_blocked();
    let _client = TcpStream::connect(addr).unwrap();
    let blocked = blocked.until_blocked();
    registry.shutdown();
    let (accepted, socket, _listener) = blocked.result();
    assert!(matches!(accepted, Err(Error::Shutdown)), "{accepted:?}");
    assert!(!socket.is_open());
}

#[test]
fn an_accept_waits_for_a_client_and_its_request_within_one_limit() {
    let _test = begin();
    let (listener, addr) = listener();
    let mut socket = WebSocket::new();
    socket.timeout(Duration::from_millis(20));
    assert_timeout(&socket.accept(&listener));
    assert!(socket.is_timeout());
    let client = TcpStream::connect(addr).unwrap();
    assert_timeout(&socket.accept(&listener));
    assert!(!socket.is_open() && socket.is_timeout());
    drop(client);
    let handle = listener.handle();
    socket.timeout(None);
    let blocked = block(move || socket.accept(&listener)).until_blocked();
    handle.close();
    assert!(matches!(blocked.result(), Err(Error::Closed)));
}

#[test]
fn an_accept_that_has_failed_takes_the_next_client() {
    let _test = begin();
    let (listener, addr) = listener();
    let mut wrong = TcpStream::connect(addr).unwrap();
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    wrong.shutdown(Shutdown::Write).unwrap();
    let mut socket = WebSocket::new();
    socket.protocols(&["chat.v2", "chat.v1"]);
    assert!(matches!(
        socket.accept(&listener),
        Err(Error::NotWebSocket { status: Some(426), .. })
    ));
    assert!(!socket.is_open() && matches!(socket.error(), Some(Error::NotWebSocket { .. })));
    drop(TcpStream::connect(addr).unwrap());
    assert!(matches!(socket.accept(&listener), Err(Error::UnexpectedEof)));
    assert!(!socket.is_open() && matches!(socket.error(), Some(Error::UnexpectedEof)));
    let mut right = TcpStream::connect(addr).unwrap();
    right.write_all(REQUEST.as_bytes()).unwrap();
    socket.accept(&listener).unwrap();
    assert!(!socket.is_error());
    assert_eq!(socket.protocol(), Some("chat.v2"));
    let head = read_head(&mut right);
    assert_eq!(value_of(&head, "sec-websocket-protocol"), Some("chat.v2"));
    write(&mut right, b"\x81\x82\0\0\0\0hi");
    assert_eq!(socket.receive().unwrap(), Some(Message::from("hi")));
}
