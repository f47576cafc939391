//! The opening handshake from the client's side: what it asks for, what it takes for an answer, and what ends it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wakesock::{Error, Message, Result, ShutdownRegistry, SocketHandle, TcpSocket, Upgrade, WaitEvents, WebSocket};

use crate::ends::*;
use crate::support::queues::queue;
use crate::support::{
    BlackHole, NO_RESETS, PATIENCE, assert_tells, begin, block, ends_at_limit, is_wine, listener, reset, server, timed,
};

/// Reads the head of a request.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The answer of a server that agrees.
pub(crate) fn agreement(head: &str) -> String {
    let accept = tungstenite::handshake::derive_accept_key(header(head, "sec-websocket-key").unwrap().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// A server that reads one request, and answers what `answer` makes of it. It gives the request, and the connection.
pub(crate) fn answering(
    answer: impl FnOnce(&str) -> Vec<u8> + Send + 'static,
) -> (String, JoinHandle<(String, TcpStream)>) {
    let (listener, addr) = server();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        stream.write_all(&answer(&head)).unwrap();
        (head, stream)
    });
    (format!("ws://{addr}/path?query"), thread)
}

#[test]
fn a_client_asks_for_what_it_was_told_to() {
    let _test = begin();
    let (url, server) = answering(|head| agreement(head).into_bytes());
    let mut socket = WebSocket::new();
    socket.header("Cookie", "a=b").header("X-Some", "thing");
    socket.connect(&url).unwrap();
    let (head, _stream) = server.join().unwrap();
    assert!(head.starts_with("GET /path?query HTTP/1.1\r\n"), "{head}");
    let authority = socket.peer_addr().unwrap().to_string();
    for (name, value) in [
        ("host", authority.as_str()),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("cookie", "a=b"),
        ("x-some", "thing"),
    ] {
        assert_eq!(header(&head, name), Some(value), "{head}");
    }
    assert_eq!(header(&head, "sec-websocket-key").unwrap().len(), 24);
    for name in ["sec-websocket-protocol", "sec-websocket-extensions", "origin"] {
        assert_eq!(header(&head, name), None, "{head}");
    }
    assert_eq!(socket.protocol(), None);
}

#[test]
fn headers_of_one_name_are_all_sent_but_of_those_of_the_handshake_one() {
    let _test = begin();
    let (url, server) = answering(|head| agreement(head).into_bytes());
    let mut socket = WebSocket::new();
    socket.header("X-Some", "thing").header("x-some", "more");
    socket.header("Host", "first.example").header("Host", "second.example");
    for name in ["Sec-WebSocket-Key", "Connection", "Upgrade", "Sec-WebSocket-Version"] {
        socket.header(name, "the program's").header(name, "again");
    }
    socket.header("Sec-WebSocket-Extensions", "x-unknown");
    socket.connect(&url).unwrap();
    let (head, _stream) = server.join().unwrap();
    let values = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values("x-some"), ["thing", "more"]);
    assert_eq!(values("host"), ["second.example"]);
    assert_eq!(values("connection"), ["Upgrade"]);
    assert_eq!(values("upgrade"), ["websocket"]);
    assert_eq!(values("sec-websocket-version"), ["13"]);
    assert_eq!(values("sec-websocket-key").len(), 1);
    assert_eq!(values("sec-websocket-extensions").len(), 0);
}

#[test]
fn each_request_has_another_key() {
    let _test = begin();
    let keys = [(); 2].map(|()| {
        let (url, server) = answering(|head| agreement(head).into_bytes());
        WebSocket::new().connect(&url).unwrap();
        let head = server.join().unwrap().0;
        header(&head, "sec-websocket-key").unwrap().to_owned()
    });
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn what_comes_behind_the_answer_is_received() {
    let _test = begin();
    let (url, server) = answering(|head| [agreement(head).as_bytes(), b"\x81\x02hi\x81"].concat());
    let mut socket = WebSocket::new();
    socket.connect(&url).unwrap();
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    assert_eq!(queue.wait(PATIENCE).unwrap().len(), 1);
    assert_eq!(socket.receive().unwrap(), Some(Message::from("hi")));
    let (_, mut stream) = server.join().unwrap();
    write(&mut stream, b"\x03you");
    assert_eq!(socket.receive().unwrap(), Some(Message::from("you")));
}

#[test]
fn what_only_informs_is_passed_over_up_to_the_answer() {
    let _test = begin();
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    for hints in [1, 20, 21, 1000] {
        let (url, server) = answering(move |head| {
            let hints = "HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &HINT.repeat(hints);
            [hints.as_bytes(), agreement(head).as_bytes(), b"\x81\x02hi"].concat()
        });
        let mut socket = WebSocket::new();
        let connected = socket.max_head(1000).connect(&url);
        if hints <= 20 {
            connected.unwrap();
            assert_eq!(socket.receive().unwrap(), Some(Message::from("hi")));
        } else {
            // It informs about more than an answer may be long.
            assert!(
                matches!(connected, Err(Error::NotWebSocket { status: Some(103), .. })),
                "{hints}: {connected:?}"
            );
        }
        drop(server.join());
    }
}

#[test]
fn an_answer_that_is_not_an_agreement_is_told_by_its_status() {
    let _test = begin();
    type Answer = fn(&str) -> Vec<u8>;
    fn without(name: &str, head: &str) -> Vec<u8> {
        let agreement = agreement(head);
        let lines = agreement.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        lines.collect::<String>().into_bytes()
    }
    fn with(line: &str, head: &str) -> Vec<u8> {
        agreement(head)
            .replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"))
            .into_bytes()
    }
    let cases: [(&str, Option<u16>, Answer); 13] = [
        ("404", Some(404), |_| {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()
        }),
        ("200", Some(200), |_| b"HTTP/1.1 200 OK\r\n\r\n<html>".to_vec()),
        ("http://elsewhere/", Some(302), |_| {
            b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n".to_vec()
        }),
        ("another key", Some(101), |head| {
            agreement(&head.replace("ec-websocket-key: ", "ec-websocket-key: x")).into_bytes()
        }),
        ("another key", Some(101), |head| without("Sec-WebSocket-Accept", head)),
        ("something else", Some(101), |head| without("Upgrade", head)),
        ("something else", Some(101), |head| without("Connection", head)),
        ("permessage-deflate", Some(101), |head| {
            with("Sec-WebSocket-Extensions: permessage-deflate", head)
        }),
        ("chat", Some(101), |head| with("Sec-WebSocket-Protocol: chat", head)),
        ("no HTTP", None, |_| b"\x16\x03\x01 and so on".to_vec()),
        ("HTTP", None, |_| b"220 mail.example ESMTP\r\n\r\n".to_vec()),
        ("HTTP", None, |_| b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        ("longer than 1000 bytes", None, |_| {
            [b"HTTP/1.1 101 OK\r\n", &[b'x'; 1000][..]].concat()
        }),
    ];
    for (what, expected, answer) in cases {
        let (url, server) = answering(answer);
        let mut socket = WebSocket::new();
        let error = socket.max_head(1000).connect(&url).unwrap_err();
        match &error {
            Error::NotWebSocket { status, why } => {
                assert_eq!(*status, expected, "{what}: {error}");
                assert!(why.contains(what), "{what}: {error}");
            }
            error => panic!("{what}: {error}"),
        }
        assert!(!socket.is_open() && socket.is_error(), "{what}");
        assert!(matches!(socket.receive(), Err(Error::NotWebSocket { .. })), "{what}");
        // The server sees the end.
        let (_, mut stream) = server.join().unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "{what}");
    }
}

#[test]
fn one_of_the_protocols_that_were_offered_may_be_chosen() {
    let _test = begin();
    for (answer, expected) in [("b", true), ("c", false), ("a, b", false)] {
        let (url, server) = answering(move |head| {
            assert_eq!(header(head, "sec-websocket-protocol"), Some("a, b"));
            let line = format!("\r\nSec-WebSocket-Protocol: {answer}\r\n\r\n");
            agreement(head).replace("\r\n\r\n", &line).into_bytes()
        });
        let mut socket = WebSocket::new();
        let connected = socket.protocols(&["a", "b"]).connect(&url);
        assert_eq!(connected.is_ok(), expected, "{answer}: {connected:?}");
        assert_eq!(socket.protocol(), expected.then_some(answer));
        drop(server.join().unwrap());
    }
}

#[test]
fn a_server_that_leaves_is_the_end_of_a_stream() {
    let _test = begin();
    let (listener, addr) = server();
    let leaving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 101").unwrap();
    });
    let connected = WebSocket::new().connect(&format!("ws://{addr}"));
    assert!(matches!(connected, Err(Error::UnexpectedEof)), "{connected:?}");
    leaving.join().unwrap();
}

#[test]
fn a_reset_in_a_handshake_names_whom_it_was_with() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    let (server, addr) = server();
    let server = thread::spawn(move || {
        for handshakes in 0..2 {
            let (mut stream, _) = server.accept().unwrap();
            let head = read_head(&mut stream);
            if handshakes == 1 {
                stream.write_all(agreement(&head).as_bytes()).unwrap();
                // The goodbye.
                stream.read_exact(&mut [0]).unwrap();
            }
            reset(stream);
        }
    });
    let url = format!("ws://{addr}/");
    let mut socket = WebSocket::new();
    let told = socket.connect(&url).unwrap_err().to_string();
    assert_tells(&told, &format!("connect to {addr}: "), "connection reset by peer");
    socket.connect(&url).unwrap();
    let told = socket.close(1000, "").unwrap_err().to_string();
    assert_tells(&told, &format!("close with {addr}: "), "connection reset by peer");
    server.join().unwrap();
}

#[test]
fn headers_that_cannot_be_sent_are_refused_before_anything_is() {
    let _test = begin();
    for (name, value) in [("bad name", "x"), ("", "x"), ("Cookie", "a\r\nX: y"), ("Cookie", "a\0")] {
        let mut socket = WebSocket::new();
        socket.header(name, value);
        let error = socket.connect("ws://127.0.0.1:1/").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name}: {error}");
        assert!(error.to_string().contains(&name.to_lowercase()), "{error}");
    }
    for protocol in ["a\nb", "a, b", "a b", "", "\u{df}", "\"a\"", "a\0"] {
        let mut socket = WebSocket::new();
        let error = socket.protocols(&[protocol]).connect("ws://127.0.0.1:1/").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{protocol:?}: {error}");
    }
}

#[test]
fn a_refused_connection_is_the_error_of_a_connect() {
    let _test = begin();
    let mut socket = WebSocket::new();
    let error = socket.connect("ws://127.0.0.1:1/").unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let error = socket.connect("ws://no-such-host.invalid/").unwrap_err();
    assert!(matches!(error, Error::Resolve { .. }), "{error}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_there_is_no_wss() {
    let _test = begin();
    let (listener, addr) = server();
    let error = WebSocket::new().connect(&format!("wss://{addr}/")).unwrap_err();
    assert!(matches!(error, Error::NotWebSocket { status: None, .. }), "{error}");
    drop(listener);
}

/// Where a connect is held up.
enum Held {
    InTcp(BlackHole),
    InTheAnswer(TcpListener),
}

impl Held {
    fn all() -> [Held; 2] {
        [Held::InTcp(BlackHole::new()), Held::InTheAnswer(server().0)]
    }

    fn url(&self) -> String {
        let addr: SocketAddr = match self {
            Held::InTcp(hole) => hole.addr(),
            Held::InTheAnswer(listener) => listener.local_addr().unwrap(),
        };
        format!("ws://{addr}/")
    }
}

#[test]
fn a_connect_is_over_at_its_limit_wherever_it_is() {
    let _test = begin();
    for held in Held::all() {
        ends_at_limit(Duration::from_millis(20), |limit| {
            let mut socket = WebSocket::new();
            let (connected, took) = timed(|| socket.timeout(limit).connect(&held.url()));
            assert!(connected.as_ref().is_err_and(Error::is_timeout), "{connected:?}");
            assert!(!socket.is_open() && socket.is_timeout() && !socket.is_error());
            assert!(matches!(socket.receive(), Err(Error::Closed)));
            // One that was only begun goes on.
            socket.timeout(Duration::ZERO).connect(&held.url()).unwrap();
            assert!(!socket.is_timeout());
            for limit in [Duration::ZERO, Duration::from_millis(1)] {
                assert_timeout(&socket.timeout(limit).wait_connect());
                assert!(socket.is_timeout() && !socket.is_error());
            }
            took
        });
    }
}

#[test]
fn an_answer_byte_by_byte_does_not_outlast_a_limit() {
    let _test = begin();
    let (listener, addr) = server();
    let slow = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    });
    let mut socket = WebSocket::new();
    socket.timeout(Duration::from_millis(50));
    let (connected, took) = timed(|| socket.connect(&format!("ws://{addr}/")));
    assert_timeout(&connected);
    assert!(took >= Duration::from_millis(50), "{took:?}");
    slow.join().unwrap();
}

#[test]
fn a_connect_is_ended_from_elsewhere_wherever_it_is() {
    let _test = begin();
    type End = fn(&SocketHandle, &ShutdownRegistry);
    type Expected = fn(&Error) -> bool;
    let ends: [(End, Expected); 3] = [
        (|handle, _| handle.close(), |error| matches!(error, Error::Closed)),
        (|handle, _| handle.abort(), |error| matches!(error, Error::Aborted)),
        (
            |_, registry| registry.shutdown(),
            |error| matches!(error, Error::Shutdown),
        ),
    ];
    for held in Held::all() {
        for (end, expected) in ends {
            let registry = ShutdownRegistry::new();
            let mut socket = WebSocket::with_registry(&registry);
            let handle = socket.handle();
            let url = held.url();
            let blocked = block(move || {
                let connected = socket.connect(&url);
                (connected, socket)
            })
            .until_blocked();
            end(&handle, &registry);
            let (connected, socket) = blocked.result();
            let error = connected.unwrap_err();
            assert!(expected(&error), "{error}");
            assert!(!socket.is_open() && !socket.is_error());
        }
    }
}

#[test]
fn a_connect_that_may_not_wait_is_finished_by_another_call() {
    let _test = begin();
    let (listener, addr) = listener();
    let serving = thread::spawn(move || WebSocket::upgrade(listener.accept_new().unwrap()));
    let mut socket = WebSocket::new();
    socket
        .timeout(Duration::ZERO)
        .connect(&format!("ws://{addr}/"))
        .unwrap();
    assert!(matches!(socket.receive(), Err(Error::Closed)));
    assert!(matches!(socket.send("too early"), Err(Error::Closed)));
    socket.timeout(PATIENCE).wait_connect().unwrap();
    socket.wait_connect().unwrap();
    let mut other = serving.join().unwrap().unwrap();
    assert_goes(&mut socket, &mut other, "hello");
}

#[test]
fn a_connect_is_made_by_a_queue_whatever_pieces_the_answer_comes_in() {
    let _test = begin();
    let (listener, addr) = server();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in agreement(&read_head(&mut stream)).bytes() {
            stream.write_all(&[byte]).unwrap();
        }
        stream
    });
    let mut socket = WebSocket::new();
    socket
        .timeout(Duration::ZERO)
        .connect(&format!("ws://{addr}/"))
        .unwrap();
    let queue = queue();
    let mut wants = WaitEvents::empty();
    loop {
        if wants != WaitEvents::READ | socket.wants() {
            wants = WaitEvents::READ | socket.wants();
            queue.subscribe(&socket, wants, socket.id()).unwrap();
        }
        assert_eq!(queue.wait(PATIENCE).unwrap().len(), 1);
        match socket.wait_connect() {
            Ok(()) => break,
            Err(Error::Timeout) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let mut stream = serving.join().unwrap();
    socket.send("hello").unwrap();
    assert_eq!(read_frame(&mut stream).unwrap().2, b"hello");
}

#[test]
fn a_connect_that_is_under_way_can_be_given_up() {
    let _test = begin();
    let (listener, addr) = server();
    let url = format!("ws://{addr}/");
    let mut socket = WebSocket::new();
    socket.timeout(Duration::ZERO).connect(&url).unwrap();
    assert!(matches!(socket.close(1000, ""), Err(Error::Closed)));
    assert!(!socket.is_open());
    socket.connect(&url).unwrap();
    // Another one takes its place.
    let (url, other) = answering(|head| agreement(head).into_bytes());
    socket.timeout(PATIENCE).connect(&url).unwrap();
    drop(other.join().unwrap());
    socket
        .timeout(Duration::ZERO)
        .connect(&format!("ws://{addr}/"))
        .unwrap();
    let (reader, writer) = socket.split();
    assert!(!reader.is_open() && !writer.is_open());
    drop(listener);
}

#[test]
fn a_socket_that_was_used_connects_again() {
    let _test = begin();
    let (listener, addr) = listener();
    let url = format!("ws://{addr}/");
    let serving = thread::spawn(move || -> Result<()> {
        for _ in 0..3 {
            let mut socket = WebSocket::upgrade(listener.accept_new()?)?;
            socket.begin_text(b"half a mess")?;
            socket.finish(b"age")?;
            // Half a frame, or a fault.
            drop(socket);
        }
        Ok(())
    });
    let mut socket = WebSocket::new();
    for _ in 0..3 {
        socket.connect(&url).unwrap();
        assert_eq!(socket.receive().unwrap(), Some(Message::from("half a message")));
        assert!(socket.receive().is_err());
        let _ = socket.begin_text(b"never finished");
    }
    serving.join().unwrap().unwrap();
}

#[test]
fn both_ends_of_this_crate_agree_on_everything() {
    let _test = begin();
    let (listener, addr) = listener();
    let serving = thread::spawn(move || {
        let upgrade = Upgrade::read(listener.accept_new().unwrap()).unwrap();
        assert_eq!(upgrade.request().uri(), "/a?b=c");
        assert_eq!(upgrade.request().headers()["cookie"], "d=e");
        (upgrade.accept().unwrap(), listener)
    });
    let mut client = WebSocket::new();
    client
        .header("Cookie", "d=e")
        .connect(&format!("ws://localhost:{}/a?b=c#d", addr.port()))
        .unwrap();
    let (mut server, _listener) = serving.join().unwrap();
    assert_goes(&mut client, &mut server, "hello");
    assert_goes(&mut server, &mut client, vec![1, 2, 3]);
}

#[test]
fn a_registry_that_stops_lets_an_open_be_finished() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (url, server) = answering(|head| agreement(head).into_bytes());
    let mut socket = WebSocket::with_registry(&registry);
    registry.stop_accepting();
    socket.connect(&url).unwrap();
    drop(server.join().unwrap());
    assert!(!TcpSocket::with_registry(&registry).is_open());
}
