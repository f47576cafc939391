//! The opening handshake over a connection that stands.

use std::thread;
use std::time::Duration;

use wakesock::{Error, Role, ShutdownRegistry, TcpSocket, WaitEvents, WebSocket};

use crate::ends::*;
use crate::opening::{agreement, header, read_head};
use crate::support::queues::queue;
use crate::support::{PATIENCE, begin, block, pair, pair_of};

const URL: &str = "ws://chat.example:8080/room?id=7";

/// A connection that has a peer which isn't at its URL, and that peer.
fn tunnel() -> (TcpSocket, TcpSocket) {
    let (near, far) = pair();
    (near, far.into())
}

#[test]
fn the_url_says_what_is_asked_for_and_the_connection_where() {
    let _test = begin();
    let (connection, mut peer) = tunnel();
    let serving = thread::spawn(move || {
        let head = read_head(&mut peer);
        peer.put_all(agreement(&head).as_bytes()).unwrap();
        (head, peer)
    });
    let mut socket = WebSocket::new();
    socket.header("Cookie", "a=b");
    socket.connect_over(connection, URL).unwrap();
    let (head, peer) = serving.join().unwrap();
    assert!(head.starts_with("GET /room?id=7 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("chat.example:8080"));
    assert_eq!(header(&head, "cookie"), Some("a=b"));
    assert_goes(&mut socket, &mut WebSocket::from_upgraded(peer, Role::Server), "hello");
}

#[cfg(unix)]
#[test]
fn a_connection_of_unix_will_do() {
    let _test = begin();
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let serving = thread::spawn(move || WebSocket::upgrade(TcpSocket::from(far)));
    let mut socket = WebSocket::new();
    socket.connect_over(near.into(), URL).unwrap();
    let mut peer = serving.join().unwrap().unwrap();
    assert_goes(&mut socket, &mut peer, "there");
    assert_goes(&mut peer, &mut socket, "and back");
}

#[test]
fn limits_and_handles_are_those_of_the_connection() {
    let _test = begin();
    let (mut connection, peer) = tunnel();
    connection.timeout(Duration::from_millis(5));
    let mut socket = WebSocket::new();
    socket.timeout(PATIENCE);
    assert!(matches!(socket.connect_over(connection, URL), Err(Error::Timeout)));
    assert!(!socket.is_open() && !socket.is_error());
    drop(peer);

    let registry = ShutdownRegistry::new();
    for end in [Ending::Close, Ending::Abort, Ending::Shutdown] {
        let (mut connection, _peer) = pair_of(TcpSocket::with_registry(&registry));
        connection.timeout(PATIENCE);
        let handle = connection.handle();
        let opening = block(move || WebSocket::new().connect_over(connection, URL)).until_blocked();
        match end {
            Ending::Close => handle.close(),
            Ending::Abort => handle.abort(),
            Ending::Shutdown => registry.shutdown(),
        }
        let error = opening.result().unwrap_err();
        let is_expected = match end {
            Ending::Close => matches!(error, Error::Closed),
            Ending::Abort => matches!(error, Error::Aborted),
            Ending::Shutdown => matches!(error, Error::Shutdown),
        };
        assert!(is_expected, "{error}");
    }
}

#[derive(Clone, Copy)]
enum Ending {
    Close,
    Abort,
    Shutdown,
}

#[test]
fn one_that_may_not_wait_is_finished_in_a_queue() {
    let _test = begin();
    let (mut connection, mut peer) = tunnel();
    connection.timeout(Duration::ZERO);
    let mut socket = WebSocket::new();
    socket.connect_over(connection, URL).unwrap();
    assert!(matches!(socket.send("too early"), Err(Error::Closed)));
    let queue = queue();
    queue
        .subscribe(&socket, WaitEvents::READ | socket.wants(), socket.id())
        .unwrap();
    assert!(matches!(socket.wait_connect(), Err(Error::Timeout)));
    let head = read_head(&mut peer);
    peer.put_all(agreement(&head).as_bytes()).unwrap();
    assert_eq!(queue.wait(PATIENCE).unwrap().len(), 1);
    socket.wait_connect().unwrap();
    let mut peer = WebSocket::from_upgraded(peer, Role::Server);
    assert_goes(&mut peer, &mut socket, "hello");
}

#[test]
fn what_fails_closes_the_connection() {
    let _test = begin();
    let (connection, mut peer) = tunnel();
    let mut socket = WebSocket::new();
    let wrong = socket.connect_over(connection, "http://example.com/");
    assert!(matches!(wrong, Err(Error::NotWebSocket { status: None, .. })));
    assert!(!socket.is_open() && socket.is_error());
    assert_eq!(peer.get(&mut [0]).unwrap(), 0);

    // The next one is another.
    let (connection, mut peer) = tunnel();
    let serving = thread::spawn(move || {
        read_head(&mut peer);
        peer.put_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let refused = socket.connect_over(connection, URL);
    assert!(matches!(refused, Err(Error::NotWebSocket { status: Some(403), .. })));
    assert!(!socket.is_open());
    serving.join().unwrap();
    let closed = socket.connect_over(TcpSocket::new(), URL);
    assert!(matches!(closed, Err(Error::Closed)));
}

#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
#[test]
fn tls_is_begun_where_it_is_asked_for_and_is_not_there() {
    use crate::support::certificates::{client_config, server_config};

    let _test = begin();
    for is_there in [false, true] {
        let (mut connection, mut peer) = tunnel();
        connection.timeout(PATIENCE);
        let serving = thread::spawn(move || {
            peer.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
            WebSocket::upgrade(peer).unwrap()
        });
        if is_there {
            connection.start_tls("localhost", &client_config()).unwrap();
        }
        let mut socket = WebSocket::new();
        socket
            .tls(&client_config())
            .connect_over(connection, "wss://localhost/")
            .unwrap();
        assert!(socket.socket().is_tls());
        let mut peer = serving.join().unwrap();
        assert_goes(&mut socket, &mut peer, "hello");
        assert_goes(&mut peer, &mut socket, "back");
    }
}

#[cfg(all(feature = "tls-ring", any(target_os = "linux", target_env = "gnu")))]
#[test]
fn a_handshake_of_tls_that_is_not_over_is_gone_on_with() {
    use crate::support::certificates::{client_config, server_config};

    let _test = begin();
    let (mut connection, mut peer) = tunnel();
    let started = connection
        .timeout(Duration::ZERO)
        .start_tls("localhost", &client_config());
    assert!(matches!(started, Err(Error::Timeout)));
    let mut socket = WebSocket::new();
    socket.connect_over(connection, "wss://localhost/").unwrap();
    // There would always be room for what can't be sent yet.
    assert!(socket.wants().is_empty());
    let serving = thread::spawn(move || {
        peer.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
        WebSocket::upgrade(peer).unwrap()
    });
    socket.timeout(PATIENCE).wait_connect().unwrap();
    assert_goes(&mut socket, &mut serving.join().unwrap(), "hello");
}
