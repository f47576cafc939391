//! The closing handshake: both sides of it, and what can go wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use wakesock::{Error, Message, Role, ShutdownRegistry, TcpSocket, WaitEvents, WebSocket};

use crate::ends::*;
use crate::support::{
    PATIENCE, Stream, begin, block, ends_at_limit, listener, pair_of, pattern, reset, slowness, timed,
};

#[test]
fn either_end_closes_and_the_other_knows_why() {
    let _test = begin();
    for server_closes in [true, false] {
        let (server, client) = two_ends();
        let (mut first, mut second) = if server_closes {
            (server, client)
        } else {
            (client, server)
        };
        let answering = thread::spawn(move || {
            assert_eq!(second.receive().unwrap(), None);
            assert_eq!(second.receive().unwrap(), None);
            assert_eq!(second.close_code(), Some(4321));
            assert_eq!(second.close_reason(), Some("größer"));
            assert!(!second.is_open() && !second.is_error());
            assert!(matches!(second.send("more"), Err(Error::Closed)));
            assert!(!second.wait_message().unwrap());
            second.close(1000, "").unwrap();
        });
        first.close(4321, "größer").unwrap();
        assert!(!first.is_open() && !first.is_error());
        assert_eq!(first.close_code(), Some(4321));
        assert_eq!(first.receive().unwrap(), None);
        first.close(1000, "").unwrap();
        answering.join().unwrap();
    }
}

#[test]
fn both_may_close_at_once() {
    let _test = begin();
    for _ in 0..50 {
        let (mut server, mut client) = two_ends();
        let other = thread::spawn(move || server.close(1001, ""));
        client.close(1000, "").unwrap();
        other.join().unwrap().unwrap();
    }
}

#[test]
fn codes_are_those_that_may_be_sent() {
    let _test = begin();
    // RFC 6455, section 7.4, and the registry that it makes.
    let may_be_sent = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in (0..=1100).chain([1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65_535]) {
        let (mut socket, mut peer) = unix_end(Role::Server);
        socket.close_limit(Duration::ZERO);
        let told = frame_for(Role::Server, LAST | CLOSE, &u16::to_be_bytes(code));
        std::io::Write::write_all(&mut peer, &told).unwrap();
        let received = socket.receive();
        assert_eq!(received.is_ok(), may_be_sent(code), "{code} comes: {received:?}");
        assert_eq!(socket.close_code(), may_be_sent(code).then_some(code));
        let (mut socket, mut peer) = unix_end(Role::Server);
        let sent = socket.start_close(code, "");
        assert_eq!(sent.is_ok(), may_be_sent(code), "{code} is sent: {sent:?}");
        if may_be_sent(code) {
            assert_eq!(read_frame(&mut peer).unwrap().2, u16::to_be_bytes(code));
        }
    }
}

#[test]
fn a_close_frame_without_a_code_has_none() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    write(&mut peer, &frame_for(Role::Server, LAST | CLOSE, b""));
    assert_eq!(socket.receive().unwrap(), None);
    assert_eq!((socket.close_code(), socket.close_reason()), (None, None));
    assert_eq!(read_frame(&mut peer).unwrap(), (LAST | CLOSE, false, vec![]));
}

#[test]
fn what_ends_a_connection_in_time_is_no_timeout() {
    let _test = begin();
    for role in [Role::Server, Role::Client] {
        // A client waits for its server, which doesn't end the connection.
        let goodbye = || {
            let (mut socket, mut peer) = end(role);
            socket.close_limit(Duration::from_millis(1));
            write(&mut peer, &close_frame_for(role, 1000, ""));
            (socket, peer)
        };
        let (mut socket, _peer) = goodbye();
        assert_eq!(socket.receive().unwrap(), None);
        assert!(!socket.is_timeout(), "{role:?}: receive");
        let (mut socket, _peer) = goodbye();
        assert!(!socket.wait_message().unwrap());
        assert!(!socket.is_timeout(), "{role:?}: wait_message");
        let (mut socket, peer) = goodbye();
        peer.shutdown(Shutdown::Write).unwrap();
        socket.close_limit(PATIENCE).close(1000, "").unwrap();
        assert!(!socket.is_timeout(), "{role:?}: close");
        let (mut socket, mut peer) = end(role);
        write(&mut peer, &frame_for(role, 0xff, b""));
        assert!(matches!(socket.receive(), Err(Error::Protocol { .. })));
        assert!(!socket.is_timeout(), "{role:?}: a broken protocol");
    }
    let (listener, addr) = listener();
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"HELO mail.example\r\n\r\n").unwrap();
    let mut socket = WebSocket::new();
    assert!(matches!(
        socket.accept(&listener),
        Err(Error::NotWebSocket { status: Some(400), .. })
    ));
    assert!(!socket.is_timeout(), "accept");
}

#[test]
fn a_goodbye_that_cannot_go_is_not_unsent() {
    let _test = begin();
    let (mut socket, peer) = end(Role::Server);
    socket.send("never read").unwrap();
    drop(peer);
    assert!(socket.wait_message().is_err());
    while socket.send("more").is_ok() {}
    assert!(socket.close(1000, "").is_err());
    assert_eq!((socket.unsent(), socket.wants()), (0, WaitEvents::empty()));
}

#[test]
fn the_server_ends_the_connection_first() {
    let _test = begin();
    let (mut server, mut peer) = end(Role::Server);
    write(&mut peer, &close_frame_for(Role::Server, 1000, ""));
    assert_eq!(server.receive().unwrap(), None);
    assert_told(&mut peer, 1000);

    let (mut client, mut peer) = end(Role::Client);
    write(&mut peer, &close_frame_for(Role::Client, 1000, ""));
    let blocked = block(move || client.receive()).until_blocked();
    assert_eq!(read_frame(&mut peer).unwrap().0, LAST | CLOSE);
    blocked
        .still_blocks_until(move || peer.shutdown(Shutdown::Write).unwrap())
        .unwrap();
}

#[test]
fn a_server_that_breaks_the_connection_off_behind_its_goodbye_makes_no_error() {
    let _test = begin();
    for closes in [false, true] {
        let (mut client, mut peer) = end(Role::Client);
        write(&mut peer, &close_frame_for(Role::Client, 1000, ""));
        let ending = block(move || {
            if closes {
                client.close(1000, "").unwrap();
            } else {
                assert_eq!(client.receive().unwrap(), None);
            }
            client
        });
        let ending = ending.until_blocked();
        assert_eq!(read_frame(&mut peer).unwrap().0, LAST | CLOSE);
        let client = ending.still_blocks_until(move || reset(peer));
        assert!(!client.is_error(), "{:?}", client.error());
    }
}

#[test]
fn a_client_does_not_wait_for_ever_for_a_server_to_end_the_connection() {
    let _test = begin();
    // Within the limit it also has to read the server's goodbye.
    let limit = Duration::from_millis(100) * slowness();
    let (mut client, mut peer) = end(Role::Client);
    client.close_limit(limit);
    write(&mut peer, &close_frame_for(Role::Client, 1000, ""));
    assert_eq!(client.receive().unwrap(), None);
    assert!(!client.is_open());
    let (mut client, mut peer) = end(Role::Client);
    client.close_limit(limit);
    write(&mut peer, &close_frame_for(Role::Client, 1000, ""));
    client.close(1000, "").unwrap();
    assert!(!client.is_open());
}

#[test]
fn a_silent_peer_does_not_outlast_the_limit_of_a_close() {
    let _test = begin();
    for role in [Role::Client, Role::Server] {
        ends_at_limit(Duration::from_millis(20), |limit| {
            let (mut socket, mut peer) = end(role);
            socket.close_limit(limit);
            let (closed, took) = timed(|| socket.close(1000, ""));
            assert_timeout(&closed);
            assert!(!socket.is_open());
            assert_told(&mut peer, 1000);
            took
        });
    }
}

#[test]
fn a_peer_that_never_stops_sending_does_not_outlast_the_limit_of_a_close() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let sending = thread::spawn(move || {
        let message = frame_for(Role::Server, LAST | BINARY, &[0; 100]);
        while std::io::Write::write_all(&mut peer, &message).is_ok() {}
    });
    socket.close_limit(Duration::from_millis(100));
    assert_timeout(&socket.close(1000, ""));
    sending.join().unwrap();
}

#[test]
fn a_peer_that_does_not_read_does_not_outlast_the_limit_of_a_close() {
    let _test = begin();
    let (mut socket, peer) = unix_end(Role::Server);
    socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
    socket.close_limit(Duration::from_millis(20));
    assert_timeout(&socket.close(1000, ""));
    assert!(!socket.is_open());
    drop(peer);
}

#[test]
fn messages_come_up_to_the_peers_answer() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    socket.start_close(1000, "enough").unwrap();
    assert!(matches!(socket.send("more"), Err(Error::Closed)));
    socket.start_close(1001, "once is enough").unwrap();
    assert_eq!(read_frame(&mut peer).unwrap().2, b"\x03\xe8enough");
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"one"));
    write(&mut peer, &frame_for(Role::Server, LAST | PING, b"not answered"));
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"two"));
    write(&mut peer, &close_frame_for(Role::Server, 1000, ""));
    assert_eq!(socket.receive().unwrap(), Some(Message::from("one")));
    assert_eq!(socket.receive().unwrap(), Some(Message::from("two")));
    assert_eq!(socket.receive().unwrap(), None);
    assert!(read_frame(&mut peer).is_none());
}

#[test]
fn a_close_drops_what_still_comes() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    // Half a message has been received.
    let long = frame_for(Role::Server, LAST | BINARY, &pattern(100_000));
    write(&mut peer, &long[..50]);
    assert_timeout(&socket.timeout(Duration::from_millis(1)).receive());
    let answering = thread::spawn(move || {
        write(&mut peer, &long[50..]);
        write(&mut peer, &long);
        write(&mut peer, &close_frame_for(Role::Server, 1000, "too"));
        assert_told(&mut peer, 1000);
    });
    socket.close(1000, "").unwrap();
    assert_eq!(socket.close_reason(), Some("too"));
    answering.join().unwrap();
}

#[test]
fn the_answer_waits_for_room_and_the_program_may_come_back() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
    write(&mut peer, &close_frame_for(Role::Server, 1000, ""));
    assert_timeout(&socket.receive());
    assert_timeout(&socket.receive());
    assert!(socket.is_open());
    socket.timeout(PATIENCE);
    let blocked = block(move || socket.receive()).until_blocked();
    assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
    assert_told(&mut peer, 1000);
    assert_eq!(blocked.result().unwrap(), None);
}

#[test]
fn who_does_not_read_the_answer_gets_no_more_than_its_time() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
    write(&mut peer, &close_frame_for(Role::Server, 1000, ""));
    socket.close_limit(Duration::ZERO);
    assert_eq!(socket.receive().unwrap(), None);
    assert!(!socket.is_open());
}

/// A server's end with a long message unsent, whose peer has said goodbye and reads nothing.
fn stuck_after_goodbye() -> (WebSocket, Stream) {
    let (mut socket, mut peer) = unix_end(Role::Server);
    socket.timeout(Duration::ZERO).send_binary(&pattern(LONG)).unwrap();
    write(&mut peer, &close_frame_for(Role::Server, 4000, ""));
    socket.blocking();
    (socket, peer)
}

const LONG: usize = 8 << 20;

/// Reads the message, and the answer to the goodbye.
fn read_all(mut peer: Stream) {
    assert!(read_frame(&mut peer).unwrap().2 == pattern(LONG));
    assert_told(&mut peer, 4000);
}

#[test]
fn an_answer_takes_no_longer_than_a_close_may_however_long_a_receive_may() {
    let _test = begin();
    type Wait = fn(&mut WebSocket) -> bool;
    let waits: [(&str, Wait); 2] = [
        ("receive", |socket| socket.receive().unwrap().is_none()),
        ("wait_message", |socket| !socket.wait_message().unwrap()),
    ];
    for (name, wait) in waits {
        for limit in [None, Some(PATIENCE)] {
            ends_at_limit(Duration::from_millis(50), |close_limit| {
                let (mut socket, _peer) = stuck_after_goodbye();
                socket.timeout(limit).close_limit(close_limit);
                let (is_closed, took) = timed(|| wait(&mut socket));
                assert!(is_closed && !socket.is_open(), "{name}");
                took
            });
        }
    }
}

#[test]
fn a_close_sends_the_answer_that_a_receive_could_not() {
    let _test = begin();
    let (mut socket, _peer) = stuck_after_goodbye();
    // It takes the peer's goodbye, for which the close may have no time.
    assert_timeout(&socket.timeout(Duration::ZERO).receive());
    assert_timeout(&socket.close_limit(Duration::from_millis(1)).close(1000, ""));
    assert!(socket.is_timeout());
    assert!(matches!(socket.receive(), Ok(None)) && !socket.is_timeout());
    let (socket, _peer) = stuck_after_goodbye();
    let (_reader, mut writer) = socket.split();
    assert_timeout(&writer.close_limit(Duration::from_millis(1)).close(1000, ""));
    assert!(writer.is_timeout(), "of a half");
    for has_ended in [false, true] {
        let (mut socket, peer) = stuck_after_goodbye();
        socket.timeout(Duration::ZERO);
        assert!(matches!(socket.receive(), Err(Error::Timeout)));
        if has_ended {
            peer.shutdown(Shutdown::Write).unwrap();
        }
        let closing = block(move || (socket.close(1000, ""), socket.receive(), socket.close_code())).until_blocked();
        let reading = thread::spawn(move || read_all(peer));
        assert!(matches!(closing.result(), (Ok(()), Ok(None), Some(4000))));
        reading.join().unwrap();
    }
}

#[test]
fn a_writer_that_closes_does_not_cut_the_readers_answer_short() {
    let _test = begin();
    let (socket, peer) = stuck_after_goodbye();
    let (mut reader, mut writer) = socket.split();
    let receiving = block(move || reader.receive()).until_blocked();
    let closing = block(move || writer.close(1000, "")).until_blocked();
    let reading = thread::spawn(move || read_all(peer));
    closing.result().unwrap();
    assert_eq!(receiving.result().unwrap(), None);
    reading.join().unwrap();
}

#[test]
fn a_close_is_ended_by_a_handle_an_abort_and_the_registry() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    type End = fn(&wakesock::SocketHandle, &ShutdownRegistry);
    type Expected = fn(&Error) -> bool;
    let ends: [(End, Expected); 3] = [
        (|handle, _| handle.close(), |error| matches!(error, Error::Closed)),
        (|handle, _| handle.abort(), |error| matches!(error, Error::Aborted)),
        (
            |_, registry| registry.shutdown(),
            |error| matches!(error, Error::Shutdown),
        ),
    ];
    for (end, expected) in ends {
        let (socket, _peer) = pair_of(TcpSocket::with_registry(&registry));
        let mut socket = WebSocket::from_upgraded(socket, Role::Server);
        let handle = socket.handle();
        let blocked = block(move || {
            let closed = socket.close_limit(None).close(1000, "");
            (closed, socket.is_open())
        })
        .until_blocked();
        end(&handle, &registry);
        let (closed, is_open) = blocked.result();
        let error = closed.unwrap_err();
        assert!(expected(&error), "{error}");
        assert!(!is_open);
    }
}

#[test]
fn an_abort_is_lifted_for_a_goodbye() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    socket.abort();
    assert!(matches!(socket.receive(), Err(Error::Aborted)));
    socket.clear_abort();
    socket.close_limit(Duration::from_millis(5));
    assert_timeout(&socket.close(1001, ""));
    assert_told(&mut peer, 1001);

    let (mut socket, mut peer) = end(Role::Server);
    socket.abort();
    assert!(matches!(socket.close(1001, ""), Err(Error::Aborted)));
    assert!(!socket.is_open());
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_peer_that_leaves_without_a_word_is_an_error_of_a_close() {
    let _test = begin();
    let (mut socket, peer) = end(Role::Server);
    drop(peer);
    let closed = socket.close(1000, "");
    assert!(
        matches!(closed, Err(Error::UnexpectedEof | Error::Io { .. })),
        "{closed:?}"
    );
    assert!(!socket.is_open());
}

#[test]
fn a_drop_says_nothing() {
    let _test = begin();
    let (socket, mut peer) = end(Role::Server);
    drop(socket);
    assert!(read_frame(&mut peer).is_none());
}

/// Where a connection that is gone fails to send at once.
#[cfg(unix)]
#[test]
fn a_writers_goodbye_that_cannot_go_is_no_timeout_though_the_reader_does_not_tell_why() {
    let _test = begin();
    let (socket, peer) = unix_end(Role::Client);
    let (_reader, mut writer) = socket.split();
    drop(peer);
    writer.close_limit(Duration::from_millis(1));
    let closed = writer.close(1000, "");
    assert!(matches!(closed, Err(Error::Io { .. })), "{closed:?}");
    assert!(!writer.is_timeout());
}

/// Where a connection that is gone fails to send at once.
#[cfg(unix)]
#[test]
fn a_goodbye_that_cannot_go_is_an_error_that_sticks_as_that_of_a_send_is() {
    let _test = begin();
    let (mut socket, peer) = unix_end(Role::Client);
    drop(peer);
    assert!(matches!(socket.start_close(1000, ""), Err(Error::Io { .. })));
    assert!(matches!(socket.error(), Some(Error::Io { .. })) && socket.unsent() == 0);
}
