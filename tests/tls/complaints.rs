//! What users of other libraries have complained about, as far as it is about TLS: each test has the number of its complaint.
//!
//! | number | complaint |
//! |---|---|
//! | 1 | a read that has timed out leaves the connection broken |
//! | 2 | who cancels a read closes the connection |
//! | 3 | a close blocks while the peer doesn't read |
//! | 4 | a close doesn't end a read; limits of writes don't hold for the handshake |
//! | 5 | both ends write much and nobody reads: a deadlock |
//! | 6 | a stream can't be read and written by two threads at once |
//! | 7 | something to read is in a buffer, and no wait says so |
//! | 8 | the end of a message stays unsent until the next one |
//! | 9 | a connect has no limit, and no signal ends it |
//! | 10 | limits are ignored in handshakes, or end them for good |
//! | 11 | one client that doesn't go on with its handshake stops all others |
//! | 12 | the end of a stream waits for a silent peer for ever |
//! | 13 | a thread that reads can't be ended; a close with something unread hangs |
//! | 15 | a stream that was cut off is taken for one that has ended, or the other way round |
//! | 16 | a length that is only announced takes memory |
//! | 17 | what came in plain text behind STARTTLS is believed |
//!
//! Number 14 is about WebSockets only, as is more of 1, 2, 9, 12, 13 and 16. Number 16 is in `memory`.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use wakesock::rustls::{self, InvalidMessage};
use wakesock::{Error, ShutdownRegistry, SocketEventQueue, SocketHandle, SocketWaitEvent, TcpSocket, WaitEvents};

use crate::ends::{pair, plain_pair, unix_pair};
use crate::peer::{Peer, at_once, over_tcp, shake, tls_error};
use crate::support::certificates::{NAME, client_config, server_config};
use crate::support::{BlackHole, PATIENCE, begin, block, in_a_thread, in_handler, listener, server, std_pair};

/// A limit that is over soon.
const SOON: Duration = Duration::from_millis(30);

/// A server under TLS, between which and its peer nothing is ever under way, and that peer.
fn at_once_under_tls() -> (TcpSocket, Peer) {
    let (mut server, stream) = at_once();
    let mut peer = Peer::client(&client_config(), stream);
    assert!(matches!(server.start_tls_server(&server_config()), Err(Error::Timeout)));
    shake(&mut server, &mut peer, |_| true).unwrap();
    peer.take();
    (server, peer)
}

/// Puts until no more goes, and something is taken and unsent.
fn put_until_stuck(socket: &mut TcpSocket) -> usize {
    let before = socket.get_timeout();
    socket.timeout(Duration::ZERO);
    let mut count = 0;
    loop {
        match socket.put(&[b'x'; 100_000]) {
            Ok(more) => count += more,
            Err(Error::Timeout) => break,
            other => panic!("{other:?}"),
        }
    }
    socket.timeout(before);
    assert!(socket.unsent() > 0);
    count
}

#[test]
fn number_1_a_limit_between_any_two_bytes_breaks_nothing() {
    let _test = begin();
    let (mut server, mut peer) = at_once_under_tls();
    let mut said = Vec::new();
    for part in ["hel", "lo\n", "and ", "more\n"] {
        peer.connection.writer().write_all(part.as_bytes()).unwrap();
        said.extend(peer.said());
    }
    let mut came = Vec::new();
    for byte in said {
        match server.get_bytes(100) {
            Ok(bytes) => came.extend(bytes),
            Err(error) => assert!(matches!(error, Error::Timeout), "{error:?}"),
        }
        assert!(server.is_timeout() && !server.is_error());
        peer.send(&[byte]);
    }
    came.extend(server.get_bytes(100).unwrap());
    assert_eq!(String::from_utf8(came).unwrap(), "hello\nand more\n");
}

#[test]
fn number_2_a_read_that_was_aborted_goes_on_afterwards() {
    let _test = begin();
    let (mut client, mut server) = pair();
    client.put_all(b"hel").unwrap();
    let handle = server.handle();
    let reading = block(move || {
        server.timeout(None);
        let result = server.get_all_bytes(6);
        (server, result)
    });
    let (mut server, result) = reading.still_blocks_until(|| handle.abort());
    assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
    server.clear_abort();
    client.put_all(b"lo\n").unwrap();
    assert_eq!(server.get_line().unwrap().as_deref(), Some("hello"));
    server.put_all(b"world\n").unwrap();
    assert_eq!(client.get_line().unwrap().as_deref(), Some("world"));
}

#[test]
fn number_3_a_close_waits_for_nobody() {
    let _test = begin();
    type End = fn(TcpSocket);
    let ends: [End; 2] = [|socket| socket.close(), drop];
    for end in ends {
        let (mut client, server) = unix_pair();
        put_until_stuck(&mut client);
        block(move || end(client)).result();
        drop(server);
        // In the handshake, too.
        let (mut client, server) = plain_pair();
        client.timeout(Duration::ZERO);
        assert!(matches!(client.start_tls(NAME, &client_config()), Err(Error::Timeout)));
        block(move || end(client)).result();
        drop(server);
    }
}

#[test]
fn number_4_a_close_ends_reads_and_writes_and_limits_hold_for_the_handshake_in_them() {
    let _test = begin();
    let (_client, mut server) = pair();
    let handle = server.handle();
    let reading = block(move || server.blocking().get(&mut [0; 1]));
    let result = reading.still_blocks_until(|| handle.close());
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");

    type Operation = fn(&mut TcpSocket) -> Result<(), Error>;
    let operations: [Operation; 4] = [
        |socket| socket.put(b"hello").map(drop),
        |socket| socket.get(&mut [0; 1]).map(drop),
        |socket| socket.wait_write(),
        |socket| socket.wait_tls(),
    ];
    for operation in operations {
        // The peer says nothing.
        let (mut client, _server) = plain_pair();
        client.timeout(Duration::ZERO);
        assert!(matches!(client.start_tls(NAME, &client_config()), Err(Error::Timeout)));
        client.timeout(SOON);
        let begun = Instant::now();
        let result = operation(&mut client);
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        assert!(begun.elapsed() >= SOON && client.is_timeout() && !client.is_error());
        let handle = client.handle();
        let blocked = block(move || operation(client.blocking()));
        let result = blocked.still_blocks_until(|| handle.close());
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    }
}

#[test]
fn number_5_what_cant_be_sent_keeps_nobody_from_reading() {
    let _test = begin();
    let (mut client, mut server) = unix_pair();
    let counts = [put_until_stuck(&mut client), put_until_stuck(&mut server)];
    thread::scope(|scope| {
        for (socket, count) in [(client, counts[1]), (server, counts[0])] {
            scope.spawn(move || {
                let mut socket = socket;
                // Both go on with the same call, and neither flushes.
                assert!(socket.get_all_bytes(count).unwrap().iter().all(|byte| *byte == b'x'));
                socket.flush().unwrap();
            });
        }
    });
}

#[test]
fn number_5_a_read_with_a_limit_of_zero_takes_what_there_is_while_nothing_can_be_sent() {
    let _test = begin();
    let (mut client, mut server) = unix_pair();
    server.put_all(b"hello").unwrap();
    put_until_stuck(&mut client);
    client.timeout(Duration::ZERO);
    assert_eq!(client.get_bytes(5).unwrap(), b"hello");
    assert!(client.unsent() > 0);
}

#[test]
fn number_6_one_thread_reads_while_another_writes() {
    let _test = begin();
    let (client, server) = pair();
    let (mut reader, mut writer) = client.split();
    let (mut theirs, mut their_writer) = server.split();
    let handle = writer.handle();
    let reading = block(move || {
        let line = reader.get_line();
        (line, reader.get_line())
    })
    .still_blocks();
    // Much more than is on its way without a reader, and nobody's lock holds it up.
    let much = block(move || {
        writer.put_all(&vec![b'x'; 8 << 20]).unwrap();
        writer.put_all(&vec![b'x'; 64 << 20])
    });
    assert_eq!(theirs.get_all_bytes(8 << 20).unwrap().len(), 8 << 20);
    their_writer.put_all(b"hello\n").unwrap();
    let much = much.still_blocks();
    // Both block. One call ends both.
    handle.close();
    let (line, then) = reading.result();
    assert_eq!(line.unwrap().as_deref(), Some("hello"));
    assert!(matches!(then, Err(Error::Closed)), "{then:?}");
    let much = much.result();
    assert!(matches!(much, Err(Error::Closed)), "{much:?}");
}

#[test]
fn number_7_whatever_is_in_a_buffer_is_reported() {
    let _test = begin();
    // The thread's set of sockets goes with it.
    in_a_thread(whatever_is_in_a_buffer_is_reported);
}

fn whatever_is_in_a_buffer_is_reported() {
    let (mut server, mut peer) = at_once_under_tls();
    let queue = SocketEventQueue::<()>::new().unwrap();
    queue.subscribe(&server, WaitEvents::READ, ()).unwrap();
    let is_reported = |server: &mut TcpSocket| {
        let queued = !queue.wait(Duration::ZERO).unwrap().is_empty();
        let mut set = SocketWaitEvent::new();
        set.add(server, WaitEvents::READ);
        let in_set = set.wait(Duration::ZERO).unwrap() > 0;
        let waited = server.wait_read().is_ok();
        assert_eq!((queued, in_set), (waited, waited));
        waited
    };
    // Many records in one segment, of which each has more than one line, and each line is read alone.
    for record in 0..50 {
        let lines = format!("{record}\n{record}\n{record}\n");
        peer.connection.writer().write_all(lines.as_bytes()).unwrap();
    }
    let said = peer.said();
    peer.send(&said);
    for line in 0..150 {
        assert!(is_reported(&mut server), "line {line}");
        assert_eq!(server.get_line().unwrap(), Some((line / 3).to_string()));
    }
    // One early report is allowed, a second is not.
    let _ = queue.wait(Duration::ZERO).unwrap();
    assert!(matches!(server.get(&mut [0; 1]), Err(Error::Timeout)));
    assert!(!is_reported(&mut server));
    // The end is something, too.
    peer.connection.send_close_notify();
    let said = peer.said();
    peer.send(&said);
    assert!(is_reported(&mut server));
    assert_eq!(server.get(&mut [0; 1]).unwrap(), 0);
    assert!(is_reported(&mut server));
}

#[test]
fn number_8_the_end_of_what_was_put_is_sent_by_whatever_comes_next() {
    let _test = begin();
    type Next = fn(&mut TcpSocket);
    let nexts: [Next; 6] = [
        |socket| assert_eq!(socket.get_byte().unwrap(), Some(b'!')),
        |socket| assert_eq!(socket.peek().unwrap(), Some(b'!')),
        |socket| socket.wait_read().unwrap(),
        |socket| assert!(socket.wait_request().unwrap()),
        |socket| socket.put_all(b"").unwrap_or_else(|error| panic!("{error}")),
        |socket| socket.flush().unwrap(),
    ];
    for next in nexts {
        let (mut client, mut server) = unix_pair();
        let count = put_until_stuck(&mut client);
        assert_eq!(client.wants(), WaitEvents::WRITE);
        // The answer comes when all has arrived.
        let answering = block(move || {
            let all = server.get_all_bytes(count).unwrap();
            server.put_all(b"!").unwrap();
            (server, all.len())
        });
        next(&mut client);
        if client.unsent() > 0 {
            // Nothing was to be put, which sends nothing.
            client.flush().unwrap();
        }
        assert_eq!(answering.result().1, count);
        assert_eq!((client.unsent(), client.wants()), (0, WaitEvents::empty()));
    }
    // And by a queue that watches what the socket wants.
    let (mut client, mut server) = unix_pair();
    let count = put_until_stuck(&mut client);
    let queue = SocketEventQueue::<()>::new().unwrap();
    queue.subscribe(&client, WaitEvents::READ | client.wants(), ()).unwrap();
    let reading = block(move || (server.get_all_bytes(count).unwrap().len(), server));
    client.timeout(Duration::ZERO);
    while client.unsent() > 0 {
        assert!(!queue.wait(PATIENCE).unwrap().is_empty());
        let _ = client.flush();
    }
    assert_eq!(reading.result().0, count);
}

/// What ends an operation from elsewhere, and whether that is its error.
type Ending = (End, fn(&Error) -> bool);
type End = fn(&SocketHandle, &ShutdownRegistry, i32);

const ENDINGS: [Ending; 5] = [
    (|handle, _, _| handle.close(), |error| matches!(error, Error::Closed)),
    (|handle, _, _| handle.abort(), |error| matches!(error, Error::Aborted)),
    (
        |_, registry, _| registry.shutdown(),
        |error| matches!(error, Error::Shutdown),
    ),
    (
        |handle, _, task| in_handler(task, &|| handle.close()),
        |error| matches!(error, Error::Closed),
    ),
    (
        |_, registry, task| in_handler(task, &|| registry.shutdown()),
        |error| matches!(error, Error::Shutdown),
    ),
];

#[test]
fn number_9_one_limit_holds_for_connecting_and_the_handshake_and_each_ending_ends_it() {
    let _test = begin();
    // Who doesn't answer at all, and who doesn't go on with the handshake.
    let hole = BlackHole::new();
    let (_silent, silent) = server();
    for addr in [hole.addr(), silent] {
        let connect = move |client: &mut TcpSocket| {
            client.connect_to(&[addr])?;
            client.start_tls(NAME, &client_config())
        };
        let mut client = TcpSocket::new();
        client.global_timeout(SOON);
        let begun = Instant::now();
        let error = connect(&mut client).unwrap_err();
        assert!(error.is_timeout() && client.is_timeout(), "{error:?}");
        assert!(begun.elapsed() >= SOON);
        for (end, is_expected) in ENDINGS {
            let registry = ShutdownRegistry::new();
            let mut client = TcpSocket::with_registry(&registry);
            let handle = client.handle();
            client.tls_limit(None);
            let connecting = block(move || connect(&mut client));
            let task = connecting.task();
            let result = connecting.still_blocks_until(|| end(&handle, &registry, task));
            assert!(result.as_ref().is_err_and(is_expected), "{result:?}");
        }
    }
}

#[test]
fn number_10_a_limit_in_the_handshake_is_told_and_the_handshake_goes_on() {
    let _test = begin();
    let (mut client, mut server) = plain_pair();
    client.timeout(SOON);
    let mut begun = Instant::now();
    let mut result = client.start_tls(NAME, &client_config());
    for _ in 0..3 {
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::Timeout) && error.kind() == ErrorKind::TimedOut,
            "{error:?}"
        );
        assert!(begun.elapsed() >= SOON && client.is_timeout() && !client.is_error());
        begun = Instant::now();
        result = client.wait_tls();
    }
    client.timeout(PATIENCE);
    thread::scope(|scope| {
        scope.spawn(|| server.start_tls_server(&server_config()).unwrap());
        client.wait_tls().unwrap();
    });
    // One that is over for all of it isn't lifted by going on.
    let (mut client, _server) = plain_pair();
    client.tls_limit(SOON);
    let begun = Instant::now();
    let error = client.start_tls(NAME, &client_config()).unwrap_err();
    assert!(matches!(error, Error::HandshakeTimeout), "{error:?}");
    assert!(begun.elapsed() >= SOON);
    client.clear_error();
    assert!(matches!(client.wait_tls(), Err(Error::HandshakeTimeout)));
}

#[test]
fn number_11_a_client_that_doesnt_go_on_holds_up_no_other() {
    let _test = begin();
    let (listener, addr) = listener();
    let mut silent = TcpStream::connect(addr).unwrap();
    silent.write_all(&[22, 3, 1]).unwrap();
    let _first = listener.accept_new().unwrap();
    let client = block(move || {
        let mut client = TcpSocket::new();
        client.timeout(PATIENCE).connect_to(&[addr]).unwrap();
        client.start_tls(NAME, &client_config()).unwrap();
        client.get_line()
    });
    let mut second = listener.accept_new().unwrap();
    second.timeout(PATIENCE).start_tls_server(&server_config()).unwrap();
    second.put_all(b"hello\n").unwrap();
    assert_eq!(client.result().unwrap().as_deref(), Some("hello"));
}

#[test]
fn number_12_the_end_of_a_stream_waits_for_a_silent_peer_no_longer_than_it_may() {
    let _test = begin();
    // Who doesn't answer the goodbye, who doesn't even read, and who is in the middle of a handshake.
    let (client, server) = pair();
    let (mut stuck, other) = unix_pair();
    put_until_stuck(&mut stuck);
    let (mut shaking, third) = plain_pair();
    shaking.timeout(Duration::ZERO);
    assert!(matches!(shaking.start_tls(NAME, &client_config()), Err(Error::Timeout)));
    for mut socket in [client, stuck, shaking] {
        let begun = Instant::now();
        let result = block(move || (socket.finish(SOON), socket.is_open())).result();
        assert!(matches!(result, (Err(Error::Timeout), false)), "{result:?}");
        assert!(begun.elapsed() >= SOON);
    }
    drop((server, other, third));
}

#[test]
fn number_13_a_thread_that_reads_or_shakes_hands_is_ended_whatever_is_unread() {
    let _test = begin();
    for (end, is_expected) in ENDINGS {
        for is_shaking in [false, true] {
            let registry = ShutdownRegistry::new();
            let (own, peer) = std_pair();
            let mut server = TcpSocket::with_registry(&registry);
            server.attach(own).unwrap();
            let mut client = TcpSocket::from(peer);
            client.timeout(PATIENCE);
            if !is_shaking {
                thread::scope(|scope| {
                    scope.spawn(|| client.start_tls(NAME, &client_config()).unwrap());
                    server.start_tls_server(&server_config()).unwrap();
                });
                // A part of what is waited for.
                client.put_all(b"some").unwrap();
            }
            let handle = server.handle();
            let reading = block(move || {
                let result = match is_shaking {
                    true => server.start_tls_server(&server_config()),
                    false => server.get_all_bytes(5).map(drop),
                };
                // With that unread.
                server.close();
                result
            });
            let task = reading.task();
            let result = reading.still_blocks_until(|| end(&handle, &registry, task));
            assert!(result.as_ref().is_err_and(is_expected), "{result:?}");
            if !is_shaking {
                // Who was only aborted says goodbye when it closes.
                let is_polite = matches!(result, Err(Error::Aborted));
                let seen = client.get(&mut [0; 1]);
                assert_eq!(seen.is_ok_and(|count| count == 0), is_polite);
            }
        }
    }
}

#[test]
fn number_15_an_end_that_was_said_is_told_from_one_that_was_not() {
    let _test = begin();
    // Between two records, and in the middle of one.
    for (is_said, left) in [(true, 0), (false, 0), (false, 3)] {
        let (mut server, mut peer) = at_once_under_tls();
        peer.connection.writer().write_all(b"all that there is").unwrap();
        let mut said = peer.said();
        if is_said {
            peer.connection.send_close_notify();
            said.extend(peer.said());
        }
        if left > 0 {
            peer.connection.writer().write_all(b"and more").unwrap();
            said.extend(&peer.said()[..left]);
        }
        peer.send(&said);
        peer.end();
        assert_eq!(server.get_bytes(100).unwrap(), b"all that there is");
        let then = server.get(&mut [0; 1]);
        match is_said {
            true => {
                assert!(matches!(then, Ok(0)) && server.is_eof() && !server.is_error());
                server.put_all(b"bye").unwrap();
            }
            false => {
                assert!(matches!(then, Err(Error::Truncated)), "{then:?}");
                assert_eq!(server.error().unwrap().kind(), ErrorKind::UnexpectedEof);
                server.clear_error();
                server.allow_truncation(true);
                assert_eq!(server.get(&mut [0; 1]).unwrap(), 0);
            }
        }
    }
}

#[test]
fn number_17_what_was_slipped_in_before_tls_is_an_error_and_never_data() {
    let _test = begin();
    // A client that has asked for STARTTLS: behind the answer is what somebody in between has added to it.
    let (mut client, mut peer) = over_tcp();
    peer.write_all(b"220 ready\r\n250-evil\r\n250 AUTH PLAIN\r\n").unwrap();
    assert_eq!(client.get_line().unwrap().as_deref(), Some("220 ready"));
    let (_, error) = tls_error(client.start_tls(NAME, &client_config()));
    assert_eq!(error, rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
    assert!(matches!(client.get_line(), Err(Error::Tls { .. })));
    client.clear_error();
    assert!(
        matches!(client.get_line(), Err(Error::Tls { .. })),
        "not afterwards either"
    );
    // And a server, before whose client somebody has spoken.
    let (mut server, mut peer) = over_tcp();
    peer.write_all(b"STARTTLS\r\nMAIL FROM:<evil@server.test>\r\n").unwrap();
    assert_eq!(server.get_line().unwrap().as_deref(), Some("STARTTLS"));
    server.put_all(b"220 ready\r\n").unwrap();
    let (_, error) = tls_error(server.start_tls_server(&server_config()));
    assert_eq!(error, rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType));
    server.clear_error();
    assert!(matches!(server.get_line(), Err(Error::Tls { .. })));
    // What was read ahead and is TLS is taken as such.
    let (mut server, stream) = over_tcp();
    let mut peer = Peer::client(&client_config(), stream);
    let hello = peer.said();
    peer.send(&hello);
    assert_eq!(server.peek_all(3).unwrap()[0], 22);
    let shaking = block(move || server.start_tls_server(&server_config()).map(|()| server));
    while !shaking.is_finished() {
        peer.take();
        let said = peer.said();
        peer.send(&said);
    }
    shaking.result().unwrap();
}
