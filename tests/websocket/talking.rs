//! Messages, fragments and pings, and what becomes of them at a limit.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use wakesock::{Error, Message, Role, WebSocket};

use crate::allocated::with_no_larger;
use crate::ends::*;
use crate::support::{PATIENCE, STILL_BLOCKS, begin, block, pattern};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

#[test]
fn messages_of_all_lengths_go_both_ways() {
    let _test = begin();
    let (mut server, mut client) = two_ends();
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
        let data = pattern(len);
        assert_goes(&mut client, &mut server, data.clone());
        assert_goes(&mut server, &mut client, data);
        let text = "ö".repeat(len / 2);
        assert_goes(&mut client, &mut server, text.as_str());
        assert_goes(&mut server, &mut client, text);
    }
}

#[test]
fn long_messages_go_both_ways() {
    let _test = begin();
    let (mut server, mut client) = two_ends();
    let data = pattern(16 << 20);
    let expected = data.clone();
    let echo = thread::spawn(move || {
        let message = server.receive().unwrap().unwrap();
        assert!(message.as_bytes() == expected);
        server.send(message).unwrap();
        server
    });
    client.send_binary(&data).unwrap();
    assert!(client.receive().unwrap().unwrap().as_bytes() == data);
    assert!(echo.join().unwrap().is_open());
}

#[test]
fn only_a_client_masks_and_each_time_anew() {
    let _test = begin();
    for role in ROLES {
        let (mut socket, mut peer) = end(role);
        socket.send("hello").unwrap();
        let (first, is_masked, payload) = read_frame(&mut peer).unwrap();
        assert_eq!((first, &payload[..]), (LAST | TEXT, &b"hello"[..]));
        assert_eq!(is_masked, role == Role::Client);
    }
}

#[test]
fn fragments_make_up_a_message_whatever_comes_between_them() {
    let _test = begin();
    for role in ROLES {
        let (mut socket, mut peer) = end(role);
        let mut bytes = frame_for(role, TEXT, "gr\u{f6}".as_bytes());
        bytes.extend(frame_for(role, LAST | PING, b"1"));
        // Half a letter.
        bytes.extend(frame_for(role, CONTINUATION, &"\u{df}".as_bytes()[..1]));
        bytes.extend(frame_for(role, LAST | PONG, b"unasked"));
        bytes.extend(frame_for(role, CONTINUATION, b""));
        bytes.extend(frame_for(role, LAST | CONTINUATION, &"\u{df}er".as_bytes()[1..]));
        write(&mut peer, &bytes);
        assert_eq!(socket.receive().unwrap(), Some(Message::from("größer")));
        assert_eq!(socket.pong(), Some(&b"unasked"[..]));
        assert_eq!(socket.last_pong(), socket.pong());
        assert_eq!(read_frame(&mut peer).unwrap().2, b"1");
    }
}

#[test]
fn fragments_are_sent_as_they_are_given() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    socket.begin_text("gr\u{f6}".as_bytes()).unwrap();
    socket.append(&"\u{df}".as_bytes()[..1]).unwrap();
    socket.ping(b"between").unwrap();
    socket.finish(&"\u{df}er".as_bytes()[1..]).unwrap();
    for (first, payload) in [
        (TEXT, "gr\u{f6}".as_bytes()),
        (CONTINUATION, &"\u{df}".as_bytes()[..1]),
        (LAST | PING, b"between"),
        (LAST | CONTINUATION, &"\u{df}er".as_bytes()[1..]),
    ] {
        assert_eq!(read_frame(&mut peer).unwrap(), (first, false, payload.to_vec()));
    }
}

#[test]
fn what_must_not_be_sent_is_not_and_harms_nothing() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    let refused = |operation: &str, result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::InvalidInput),
            "{error}"
        );
        assert!(error.to_string().starts_with(&format!("{operation}: ")), "{error}");
    };
    refused("append", socket.append(b"of nothing"));
    refused("finish", socket.finish(b"of nothing"));
    refused("ping", socket.ping(&[0; 126]));
    refused("begin", socket.begin_text(b"\xff"));
    socket.begin_text(b"hel").unwrap();
    refused("begin", socket.begin_text(b""));
    refused("begin", socket.begin_binary(b""));
    refused("send", socket.send("another"));
    refused("append", socket.append(b"\xff"));
    refused("finish", socket.finish("ö".as_bytes().split_at(1).0));
    refused("close", socket.close(1005, ""));
    refused("close", socket.start_close(999, ""));
    refused("close", socket.close(1000, &"x".repeat(124)));
    assert!(!socket.is_error() && socket.is_open());
    socket.finish(b"lo").unwrap();
    assert_eq!(read_frame(&mut peer).unwrap().2, b"hel");
    assert_eq!(read_frame(&mut peer).unwrap().2, b"lo");
}

/// Frames of all kinds, and the messages in them.
fn all_kinds(role: Role) -> (Vec<u8>, Vec<Message>) {
    let long = pattern(300);
    let mut bytes = frame_for(role, LAST | TEXT, "größer".as_bytes());
    bytes.extend(frame_for(role, LAST | PING, b"1"));
    bytes.extend(frame_for(role, BINARY, &[1]));
    bytes.extend(frame_for(role, LAST | PING, b""));
    bytes.extend(frame_for(role, CONTINUATION, b""));
    bytes.extend(frame_for(role, LAST | CONTINUATION, &[2, 3]));
    bytes.extend(frame_for(role, LAST | TEXT, b""));
    bytes.extend(frame_for(role, LAST | BINARY, &long));
    let messages = vec![
        Message::from("größer"),
        Message::from(vec![1, 2, 3]),
        Message::from(""),
        Message::from(long),
    ];
    (bytes, messages)
}

#[test]
fn a_limit_between_any_two_bytes_loses_nothing() {
    let _test = begin();
    for role in ROLES {
        for limit in [0, 1, 2, 3].map(Duration::from_millis) {
            let (mut socket, mut peer) = end(role);
            let (bytes, expected) = all_kinds(role);
            socket.timeout(limit);
            let mut received = Vec::new();
            let mut timeouts = 0;
            for byte in bytes {
                peer.write_all(&[byte]).unwrap();
                match socket.receive() {
                    Ok(message) => received.extend(message),
                    Err(Error::Timeout) => timeouts += 1,
                    Err(error) => panic!("{role:?}, {limit:?}: {error}"),
                }
            }
            socket.timeout(PATIENCE);
            while received.len() < expected.len() {
                received.extend(socket.receive().unwrap());
            }
            assert_eq!(received, expected, "{role:?}, {limit:?}");
            assert!(timeouts > 100, "{timeouts}");
            assert_eq!(read_frame(&mut peer).unwrap().2, b"1");
            assert_eq!(read_frame(&mut peer).unwrap().2, b"");
        }
    }
}

#[test]
fn an_abort_in_the_middle_of_a_frame_loses_nothing() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    let frame = frame_for(Role::Server, LAST | TEXT, b"hello");
    for at in 1..frame.len() {
        write(&mut peer, &frame[..at]);
        let handle = socket.handle();
        let blocked = block(move || {
            let received = socket.receive();
            (received, socket)
        })
        .until_blocked();
        handle.abort();
        let received;
        (received, socket) = blocked.result();
        assert!(matches!(received, Err(Error::Aborted)), "{received:?}");
        assert!(matches!(socket.receive(), Err(Error::Aborted)));
        socket.clear_abort();
        write(&mut peer, &frame[at..]);
        assert_eq!(socket.receive().unwrap(), Some(Message::from("hello")));
    }
}

#[test]
fn what_was_taken_is_sent_once_and_what_was_not_taken_never() {
    let _test = begin();
    for limit in [0, 1, 3].map(Duration::from_millis) {
        let (mut socket, mut peer) = unix_end(Role::Server);
        socket.timeout(limit);
        let message = pattern(30_000);
        let mut taken = 0_u8;
        loop {
            match socket.send_binary(&[&[taken][..], &message].concat()) {
                Ok(()) => taken += 1,
                Err(error) => {
                    assert!(matches!(error, Error::Timeout), "{error}");
                    assert!(socket.is_timeout() && !socket.is_error());
                    break;
                }
            }
        }
        assert!(socket.unsent() > 0 && !socket.wants().is_empty());
        assert_timeout(&socket.flush());
        assert_timeout(&socket.send("not taken"));
        let reader = thread::spawn(move || {
            for at in 0..taken {
                let (_, _, payload) = read_frame(&mut peer).unwrap();
                assert_eq!(payload[0], at);
                assert_eq!(payload.len(), 30_001);
            }
            assert_eq!(read_frame(&mut peer).unwrap().2, b"taken");
        });
        socket.timeout(PATIENCE).flush().unwrap();
        assert!(socket.unsent() == 0 && socket.wants().is_empty());
        socket.send("taken").unwrap();
        reader.join().unwrap();
    }
}

#[test]
fn a_receive_sends_what_is_unsent() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    let long = pattern(8 << 20);
    socket.timeout(Duration::ZERO).send_binary(&long).unwrap();
    assert!(socket.unsent() > 0);
    socket.timeout(PATIENCE);
    let blocked = block(move || socket.receive()).until_blocked();
    let (_, _, payload) = read_frame(&mut peer).unwrap();
    assert!(payload == long);
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"got it"));
    assert_eq!(blocked.result().unwrap(), Some(Message::from("got it")));
}

#[test]
fn a_receive_goes_on_while_nothing_can_be_sent() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    socket.timeout(Duration::ZERO).send_binary(&pattern(8 << 20)).unwrap();
    socket.timeout(PATIENCE);
    for at in 0..100_u8 {
        write(&mut peer, &frame_for(Role::Server, LAST | BINARY, &[at]));
        assert_eq!(socket.receive().unwrap(), Some(Message::from(vec![at])));
    }
    assert!(socket.unsent() > 0);
}

#[test]
fn the_peers_end_in_a_message_is_an_error_that_sticks() {
    let _test = begin();
    for role in ROLES {
        let frame = frame_for(role, LAST | TEXT, b"hello");
        for at in 0..frame.len() {
            let (mut socket, mut peer) = end(role);
            write(&mut peer, &frame[..at]);
            drop(peer);
            for _ in 0..3 {
                let received = socket.receive();
                assert!(matches!(received, Err(Error::UnexpectedEof)), "{received:?}");
                assert!(socket.is_error());
                socket.clear_error();
            }
        }
    }
}

#[test]
fn what_follows_a_message_can_be_read_by_others() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, b"\x81\x02hi\x81\x03you");
    assert_eq!(socket.receive().unwrap(), Some(Message::from("hi")));
    assert_eq!(socket.socket().buffer(), b"\x81\x03you");
}

#[test]
fn nobody_sends_or_receives_on_what_is_not_open() {
    let _test = begin();
    let mut socket = WebSocket::new();
    assert!(matches!(socket.receive(), Err(Error::Closed)));
    assert!(matches!(socket.wait_message(), Err(Error::Closed)));
    assert!(matches!(socket.send("hello"), Err(Error::Closed)));
    assert!(matches!(socket.flush(), Err(Error::Closed)));
    assert!(matches!(socket.close(1000, ""), Err(Error::Closed)));
}

#[test]
fn a_global_limit_ends_a_receive_and_sticks() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, &[0x81]);
    socket.global_timeout(Duration::from_millis(5));
    assert!(matches!(socket.receive(), Err(Error::GlobalTimeout)));
    assert!(matches!(socket.receive(), Err(Error::GlobalTimeout)));
    socket.no_global_timeout().clear_error();
    write(&mut peer, b"\x01!");
    assert_eq!(socket.receive().unwrap(), Some(Message::from("!")));
}

#[test]
fn a_global_limit_sticks_also_if_it_is_over_between_two_frames() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let pings = frame_for(Role::Server, LAST | PING, b"").repeat(10_000);
    let pinging = thread::spawn(move || while peer.write_all(&pings).is_ok() {});
    for _ in 0..20 {
        socket.global_timeout(Duration::from_millis(1));
        assert!(matches!(socket.receive(), Err(Error::GlobalTimeout)));
        assert!(matches!(socket.error(), Some(Error::GlobalTimeout)));
        socket.no_global_timeout().clear_error();
    }
    drop(socket);
    pinging.join().unwrap();
}

#[test]
fn a_callback_is_called_while_a_receive_waits_and_may_abort_it() {
    let _test = begin();
    let (mut socket, _peer) = end(Role::Client);
    socket.when_wait(|waiting| {
        if waiting.elapsed() > Duration::from_millis(20) {
            waiting.abort();
        }
    });
    assert!(matches!(socket.receive(), Err(Error::Aborted)));
    socket.clear_abort();
    socket.clear_when_wait().timeout(STILL_BLOCKS);
    assert_timeout(&socket.receive());
}

#[test]
fn a_callback_is_told_how_much_of_a_message_has_come() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    socket.when_wait(|waiting| {
        if waiting.done() == 5000 {
            waiting.abort();
        }
    });
    let frame = frame_for(Role::Client, LAST | BINARY, &pattern(10_000));
    write(&mut peer, &frame[..frame.len() - 5000]);
    assert!(matches!(socket.receive(), Err(Error::Aborted)));
}

#[test]
fn a_callback_is_told_how_much_of_a_message_has_gone() {
    let _test = begin();
    for role in ROLES {
        // More than the system takes while the peer doesn't read.
        let message = pattern(16 << 20);
        let (mut socket, _peer) = end(role);
        let told = Arc::new(AtomicUsize::new(usize::MAX));
        socket.when_wait({
            let told = Arc::clone(&told);
            move |waiting| {
                if told.swap(waiting.done(), Relaxed) == waiting.done() {
                    waiting.abort();
                }
            }
        });
        socket.send_binary(&message).unwrap();
        let left = socket.unsent();
        assert_eq!(told.load(Relaxed), message.len() - left, "{role:?}");
        // What goes on with it counts for itself.
        socket.clear_abort();
        told.store(usize::MAX, Relaxed);
        assert!(matches!(socket.flush(), Err(Error::Aborted)));
        assert_eq!(told.load(Relaxed), left - socket.unsent(), "{role:?}");
    }
}

#[test]
fn what_there_was_no_memory_for_is_received_once_there_is_some() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Server);
    let message = pattern(200_000);
    for (at, part) in message.chunks(1000).enumerate() {
        let opcode = if at == 0 { BINARY } else { CONTINUATION };
        let last = if at == 199 { LAST } else { 0 };
        write(&mut peer, &frame_for(Role::Server, last | opcode, part));
    }
    let refused = with_no_larger(100_000, || socket.receive());
    assert!(
        matches!(&refused, Err(Error::Io { source, .. }) if source.kind() == ErrorKind::OutOfMemory),
        "{refused:?}"
    );
    assert!(socket.receive().unwrap().unwrap().as_bytes() == message);
}
