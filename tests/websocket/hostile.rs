//! Peers that want memory or time: each gets no more than so many bytes, as the thread allocates them, and no more time than
//! the limit.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use wakesock::{Error, Message, Role, Upgrade, WebSocket};

use crate::allocated::most_allocated;
use crate::ends::*;
use crate::support::{PATIENCE, begin, cpu_time, pair, server, thread_id, timed};

const LIMIT: Duration = Duration::from_millis(200);

/// What a thread reads ahead at most where much comes at once, which is 128 KiB, and a little.
const AHEAD: usize = 150_000;

/// Runs what is attacked, and checks that it allocates no more than `bound` meanwhile.
#[track_caller]
fn bounded<T>(attack: &str, bound: usize, run: impl FnOnce() -> T) -> T {
    let (result, most) = most_allocated(run);
    println!("{attack}: {most} bytes");
    assert!(most <= bound, "{attack}: {most} bytes");
    result
}

/// Sends `bytes` again and again, until the other end is closed. Nothing is read.
fn flood(mut peer: TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    thread::spawn(move || while peer.write_all(&bytes).is_ok() {})
}

/// Checks that a flood doesn't outlast a limit, and that it allocates no more than `bound`.
#[track_caller]
fn assert_outlasts(attack: &str, bound: usize, mut socket: WebSocket, peer: TcpStream, bytes: Vec<u8>) {
    let flood = flood(peer, bytes);
    bounded(attack, bound, || {
        for limit in [LIMIT, Duration::ZERO] {
            socket.timeout(limit);
            let (received, took) = timed(|| socket.receive());
            assert_timeout(&received);
            assert!(socket.is_timeout() && took >= limit, "{took:?}");
        }
    });
    drop(socket);
    flood.join().unwrap();
}

#[test]
fn who_pings_for_ever_and_does_not_read_gets_no_memory_and_no_time() {
    let _test = begin();
    for limit in [LIMIT, Duration::ZERO] {
        let (mut socket, mut peer) = end(Role::Server);
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        peer.set_write_timeout(Some(PATIENCE)).unwrap();
        let pings = frame_for(Role::Server, LAST | PING, &[b'!'; 125]).repeat(500);
        let pinging = thread::spawn(move || {
            while !stop.load(SeqCst) {
                if peer.write_all(&pings).is_err() {
                    break;
                }
            }
            peer
        });
        socket.timeout(limit);
        let mut most = 0;
        bounded("pings for ever, unread pongs", AHEAD, || {
            let mut rounds_when_full = 0;
            while rounds_when_full < 3 {
                assert_timeout(&socket.receive());
                most = most.max(socket.unsent());
                rounds_when_full += usize::from(socket.unsent() > 0);
            }
        });
        assert!(most < 300, "{most} bytes");
        enough.store(true, SeqCst);
        socket.timeout(Duration::ZERO);
        while !pinging.is_finished() {
            assert_timeout(&socket.receive());
        }
        let mut peer = pinging.join().unwrap();
        // It still works.
        write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"hello"));
        socket.timeout(PATIENCE);
        assert_eq!(socket.receive().unwrap(), Some(Message::from("hello")));
        assert_eq!(read_frame(&mut peer).unwrap().0, LAST | PONG);
    }
}

#[test]
fn the_newest_ping_is_answered() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    socket.timeout(Duration::ZERO).send_binary(&vec![0; 8 << 20]).unwrap();
    for at in 0..100_u8 {
        write(&mut peer, &frame_for(Role::Server, LAST | PING, &[at]));
    }
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"read"));
    assert_eq!(socket.timeout(PATIENCE).receive().unwrap(), Some(Message::from("read")));
    let flushing = thread::spawn(move || socket.flush().map(|()| socket));
    assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
    assert_eq!(read_frame(&mut peer).unwrap(), (LAST | PONG, false, vec![99]));
    flushing.join().unwrap().unwrap();
}

#[test]
fn a_million_empty_fragments_are_one_message() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    let sending = thread::spawn(move || {
        write(&mut peer, &[TEXT, 0]);
        let empty = [CONTINUATION, 0].repeat(1000);
        for _ in 0..1000 {
            write(&mut peer, &empty);
        }
        write(&mut peer, &frame_for(Role::Client, LAST | CONTINUATION, b"at last"));
        peer
    });
    let received = bounded("a million empty fragments", AHEAD, || socket.receive());
    assert_eq!(received.unwrap(), Some(Message::from("at last")));
    drop(sending.join().unwrap());
}

#[test]
fn empty_fragments_for_ever_do_not_outlast_a_limit() {
    let _test = begin();
    let (socket, mut peer) = end(Role::Client);
    write(&mut peer, &[TEXT, 0]);
    assert_outlasts(
        "empty fragments for ever",
        AHEAD,
        socket,
        peer,
        [CONTINUATION, 0].repeat(1000),
    );
}

#[test]
fn control_frames_between_fragments_for_ever_do_not_outlast_a_limit() {
    let _test = begin();
    for control in [PING, PONG] {
        for role in [Role::Client, Role::Server] {
            let (socket, mut peer) = end(role);
            write(&mut peer, &frame_for(role, TEXT, b"so far"));
            let frames = [
                frame_for(role, LAST | control, &[b'!'; 125]),
                frame_for(role, CONTINUATION, b""),
                frame_for(role, LAST | control, b""),
            ];
            assert_outlasts(
                "control frames between fragments for ever",
                AHEAD,
                socket,
                peer,
                frames.concat().repeat(200),
            );
        }
    }
}

#[test]
fn a_byte_now_and_then_does_not_outlast_a_limit() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, &[LAST | TEXT, 125]);
    let sending = thread::spawn(move || {
        while peer.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    socket.timeout(LIMIT);
    let cpu_before = cpu_time(thread_id());
    let (received, took) = bounded("a byte now and then", AHEAD, || timed(|| socket.receive()));
    let cpu = cpu_time(thread_id()) - cpu_before;
    assert_timeout(&received);
    assert!(took >= LIMIT, "{took:?}");
    assert!(cpu < LIMIT / 2, "it sleeps between the bytes: {cpu:?}");
    drop(socket);
    sending.join().unwrap();
}

#[test]
fn what_is_only_announced_takes_no_memory() {
    let _test = begin();
    // 16 MiB, and 2^62, or as much as a processor of 32 bits has addresses for, where no limit is set.
    for (length, limit) in [(16 << 20, 16 << 20), ((usize::MAX as u64).min(1 << 62), usize::MAX)] {
        for role in [Role::Client, Role::Server] {
            for first in [LAST | BINARY, TEXT] {
                let (mut socket, mut peer) = end(role);
                let masked = if role == Role::Server { 0x80 } else { 0 };
                let mut frame = vec![first, masked | 127];
                frame.extend(u64::to_be_bytes(length));
                frame.extend(b"\0\0\0\0 a few");
                write(&mut peer, &frame);
                socket.max_message(limit).timeout(LIMIT);
                bounded(&format!("{length} bytes announced"), AHEAD, || {
                    assert_timeout(&socket.receive());
                    socket.timeout(Duration::ZERO);
                    assert_timeout(&socket.receive());
                });
            }
        }
    }
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00");
    let received = bounded("2^63 bytes announced", AHEAD, || socket.receive());
    assert!(
        matches!(received, Err(Error::MessageTooLong { limit: 16_777_216 })),
        "{received:?}"
    );
    assert_told(&mut peer, 1009);
}

#[test]
fn a_message_takes_about_as_much_as_it_is_long_however_it_comes() {
    let _test = begin();
    const LENGTH: usize = 300_000;
    for fragment in [1, 100, LENGTH] {
        let (mut socket, mut peer) = end(Role::Client);
        let mut bytes = frame_for(Role::Client, BINARY, b"");
        for _ in 0..LENGTH / fragment {
            bytes.extend(frame_for(Role::Client, CONTINUATION, &vec![b'x'; fragment]));
        }
        bytes.extend(frame_for(Role::Client, LAST | CONTINUATION, b"x"));
        let sending = thread::spawn(move || {
            // It is closed in the middle.
            let _ = peer.write_all(&bytes);
            peer
        });
        socket.max_message(LENGTH);
        let received = bounded(&format!("fragments of {fragment} bytes"), 2 * LENGTH + AHEAD, || {
            socket.receive()
        });
        assert!(matches!(received, Err(Error::MessageTooLong { .. })), "{received:?}");
        drop(sending.join().unwrap());
    }
}

#[test]
fn who_does_not_read_costs_one_message_and_no_more() {
    let _test = begin();
    const LENGTH: usize = 1 << 20;
    let (mut socket, peer) = unix_end(Role::Client);
    let message = vec![b'x'; LENGTH];
    socket.timeout(Duration::ZERO);
    bounded("unsent messages", LENGTH + AHEAD, || {
        socket.send_binary(&message).unwrap();
        for _ in 0..100 {
            assert_timeout(&socket.send_binary(&message));
            assert_timeout(&socket.ping(b"there?"));
        }
    });
    drop(peer);
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

#[test]
fn a_head_without_an_end_takes_no_more_than_a_head_may() {
    let _test = begin();
    for line in ["X: y\r\n".to_owned(), "x".repeat(50_000), "X: \r\n ".to_owned()] {
        let (socket, mut client) = pair();
        write(&mut client, REQUEST.as_bytes());
        let flooding = flood(client, line.clone().into_bytes());
        let read = bounded("a request without an end", AHEAD, || Upgrade::read(socket));
        assert!(
            matches!(read, Err(Error::NotWebSocket { status: Some(431), .. })),
            "{read:?}"
        );
        flooding.join().unwrap();

        let (listener, addr) = server();
        let flooding = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            write(&mut stream, b"HTTP/1.1 101 Switching Protocols\r\n");
            flood(stream, line.into_bytes()).join().unwrap();
        });
        let mut socket = WebSocket::new();
        let connected = bounded("an answer without an end", AHEAD, || {
            socket.connect(&format!("ws://{addr}/"))
        });
        assert!(
            matches!(connected, Err(Error::NotWebSocket { status: None, .. })),
            "{connected:?}"
        );
        flooding.join().unwrap();
    }
}

#[test]
fn many_headers_take_no_more_than_a_head_may() {
    let _test = begin();
    for (count, status) in [(100, None), (200, Some(431)), (2600, Some(431))] {
        let (socket, mut client) = pair();
        let request = format!("{REQUEST}{}\r\n", "X:y\r\n".repeat(count));
        write(&mut client, request.as_bytes());
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let read = bounded(&format!("{count} headers"), 200_000, || Upgrade::read(socket));
        match (read, status) {
            (Ok(upgrade), None) => assert_eq!(upgrade.request().headers().len(), 5 + count),
            (Err(Error::NotWebSocket { status: seen, .. }), status) => assert_eq!(seen, status),
            (read, _) => panic!("{count}: {read:?}"),
        }
        let _ = client.read_to_end(&mut Vec::new());
    }
}

#[test]
fn who_goes_on_after_a_close_frame_gets_no_memory_and_no_time() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, &close_frame_for(Role::Client, 1000, ""));
    let flooding = flood(peer, frame_for(Role::Client, LAST | BINARY, &[0; 10_000]));
    socket.close_limit(LIMIT);
    let (received, took) = bounded("frames behind a close frame", AHEAD, || timed(|| socket.receive()));
    assert_eq!(received.unwrap(), None);
    assert!(took >= LIMIT && !socket.is_open(), "{took:?}");
    flooding.join().unwrap();
}
