//! Both directions at once, from two threads.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use wakesock::{Error, Message, Role};

use crate::ends::*;
use crate::support::{NO_RESETS, PATIENCE, begin, block, is_wine, pattern, reset, timed};

#[test]
fn two_peers_that_both_send_much_do_not_wait_for_each_other() {
    let _test = begin();
    let (server, client) = two_ends();
    let threads = [server, client].map(|socket| {
        let (mut reader, mut writer) = socket.split();
        let sending = thread::spawn(move || {
            for at in 0..8 {
                let mut message = pattern(2 << 20);
                message[0] = at;
                writer.send(message).unwrap();
                writer.ping(&[at]).unwrap();
            }
            writer
        });
        let receiving = thread::spawn(move || {
            for at in 0..8 {
                let message = reader.receive().unwrap().unwrap();
                assert!(message.as_bytes()[0] == at && message.as_bytes().len() == 2 << 20);
            }
            reader
        });
        (sending, receiving)
    });
    // None is dropped before all are done.
    let ends = threads.map(|(sending, receiving)| (sending.join().unwrap(), receiving.join().unwrap()));
    assert!(ends.iter().all(|(writer, _)| writer.is_open()));
}

#[test]
fn a_blocked_reader_goes_on_with_what_a_writer_has_left() {
    let _test = begin();
    let (socket, mut peer) = unix_end(Role::Server);
    let (mut reader, mut writer) = socket.split();
    let blocked = block(move || {
        let received = reader.receive();
        (received, reader)
    })
    .until_blocked();
    let long = pattern(8 << 20);
    writer.timeout(Duration::ZERO).send_binary(&long).unwrap();
    assert!(writer.unsent() > 0 && writer.is_timeout());
    assert!(read_frame(&mut peer).unwrap().2 == long);
    assert!(!blocked.is_finished());
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"got it"));
    let (received, reader) = blocked.result();
    assert_eq!(received.unwrap(), Some(Message::from("got it")));
    assert_eq!(writer.unsent(), 0);
    drop(reader);
}

#[test]
fn a_reader_answers_pings_while_the_writer_is_blocked() {
    let _test = begin();
    let (socket, mut peer) = unix_end(Role::Server);
    let (mut reader, mut writer) = socket.split();
    let sending = block(move || writer.send_binary(&pattern(8 << 20)).map(|()| writer)).until_blocked();
    let receiving = block(move || reader.receive().map(|_| reader));
    write(&mut peer, &frame_for(Role::Server, LAST | PING, b"there?"));
    assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
    assert_eq!(read_frame(&mut peer).unwrap(), (LAST | PONG, false, b"there?".to_vec()));
    let writer = sending.result().unwrap();
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"done"));
    let reader = receiving.result().unwrap();
    assert!(reader.unsplit(writer).unwrap().is_open());
}

#[test]
fn a_writer_closes_while_the_reader_receives() {
    let _test = begin();
    for role in [Role::Client, Role::Server] {
        let (server, client) = two_ends();
        let (closing, mut other) = match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        };
        let (mut reader, mut writer) = closing.split();
        let receiving = block(move || reader.receive()).until_blocked();
        let answering = thread::spawn(move || other.receive());
        writer.close(1000, "").unwrap();
        assert_eq!(writer.close_code(), Some(1000));
        assert!(!writer.is_open());
        assert_eq!(receiving.result().unwrap(), None);
        assert_eq!(answering.join().unwrap().unwrap(), None);
        writer.close(1000, "").unwrap();
    }
}

#[test]
fn a_writer_that_closes_learns_what_the_reader_finds() {
    let _test = begin();
    let (socket, mut peer) = end(Role::Server);
    let (mut reader, mut writer) = socket.split();
    writer.close_limit(None);
    let receiving = block(move || reader.receive()).until_blocked();
    let closing = block(move || writer.close(1000, "")).until_blocked();
    assert_eq!(read_frame(&mut peer).unwrap().0, LAST | CLOSE);
    write(&mut peer, b"\xff\x80\0\0\0\0");
    assert!(matches!(receiving.result(), Err(Error::Protocol { .. })));
    let closed = closing.result();
    assert!(matches!(closed, Err(Error::Protocol { .. })), "{closed:?}");
}

#[test]
fn a_writer_that_closes_learns_that_the_connection_is_gone() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for is_closing_before in [true, false] {
        let (socket, mut peer) = end(Role::Server);
        let (mut reader, mut writer) = socket.split();
        let mut close = move || writer.close_limit(PATIENCE).close(1000, "");
        let receiving = block(move || (reader.receive(), reader)).until_blocked();
        let (received, closed) = if is_closing_before {
            let closing = block(close).until_blocked();
            assert_eq!(read_frame(&mut peer).unwrap().0, LAST | CLOSE);
            reset(peer);
            (receiving.result(), closing.result())
        } else {
            reset(peer);
            (receiving.result(), close())
        };
        let kinds = [received.0.map(drop), closed].map(|result| result.unwrap_err().kind());
        assert_eq!(kinds, [ErrorKind::ConnectionReset; 2]);
    }
}

/// Where a connection that is gone keeps what has come.
#[cfg(unix)]
#[test]
fn a_writer_whose_goodbye_cannot_go_learns_of_the_peers() {
    let _test = begin();
    for has_said_goodbye in [true, false] {
        let (socket, mut peer) = unix_end(Role::Client);
        if has_said_goodbye {
            write(&mut peer, &close_frame_for(Role::Client, 1000, ""));
        }
        drop(peer);
        let (mut reader, mut writer) = socket.split();
        assert!(matches!(writer.send("not taken"), Err(Error::Io { .. })));
        let closing = block(move || writer.close(1000, "")).until_blocked();
        let received = reader.receive();
        let closed = closing.result();
        if has_said_goodbye {
            assert!(
                matches!((&received, &closed), (Ok(None), Ok(()))),
                "{received:?}, {closed:?}"
            );
        } else {
            let ends = (&received, &closed);
            assert!(
                matches!(ends, (Err(Error::UnexpectedEof), Err(Error::UnexpectedEof))),
                "{ends:?}"
            );
        }
    }
}

#[test]
fn a_writer_does_not_wait_for_ever_for_a_reader_that_is_not_there() {
    let _test = begin();
    let (socket, mut peer) = end(Role::Server);
    let (_reader, mut writer) = socket.split();
    write(&mut peer, &close_frame_for(Role::Server, 1000, ""));
    let limit = Duration::from_millis(20);
    let (closed, took) = timed(|| writer.close_limit(limit).close(1000, ""));
    assert_timeout(&closed);
    assert!(took >= limit && !writer.is_open());
}

#[test]
fn the_end_of_one_is_the_end_of_both() {
    let _test = begin();
    let (socket, mut peer) = unix_end(Role::Server);
    let (mut reader, mut writer) = socket.split();
    let handle = reader.handle();
    let receiving = block(move || reader.receive()).until_blocked();
    let sending = block(move || {
        // The first is taken, whatever becomes of it.
        let first = writer.send_binary(&pattern(8 << 20));
        (first, writer.send("more"))
    })
    .until_blocked();
    // Some of the first has come.
    assert_eq!(peer.read(&mut [0]).unwrap(), 1);
    handle.close();
    assert!(matches!(receiving.result(), Err(Error::Closed)));
    let (first, second) = sending.result();
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(second, Err(Error::Closed)), "{second:?}");
}

#[test]
fn each_half_has_its_own_limit() {
    let _test = begin();
    let (socket, _peer) = unix_end(Role::Server);
    let (mut reader, mut writer) = socket.split();
    reader.timeout(Duration::from_millis(1));
    assert_timeout(&reader.receive());
    assert!(writer.is_blocking());
    writer.timeout(Duration::from_millis(1));
    while writer.send_binary(&pattern(100_000)).is_ok() {}
    assert_timeout(&writer.send("more"));
    assert_timeout(&reader.receive());
}

#[test]
fn a_reader_and_a_writer_that_are_cut_short_all_the_time_lose_nothing() {
    let _test = begin();
    let (server, client) = two_ends();
    let is_over = Arc::new(AtomicBool::new(false));
    let count = 300_usize;
    let ends = [server, client].map(|socket| {
        let (mut reader, mut writer) = socket.split();
        let over = Arc::clone(&is_over);
        let sending = thread::spawn(move || {
            writer.timeout(Duration::from_micros(200));
            for at in 0..count {
                let message = vec![at as u8; 1 + at * 97 % 50_000];
                while let Err(error) = writer.send_binary(&message) {
                    assert!(matches!(error, Error::Timeout), "{error}");
                }
            }
            while writer.flush().is_err() {}
            while !over.load(SeqCst) {
                thread::yield_now();
            }
        });
        let receiving = thread::spawn(move || {
            reader.timeout(Duration::from_micros(200));
            for at in 0..count {
                let message = loop {
                    match reader.receive() {
                        Ok(message) => break message.unwrap(),
                        Err(error) => assert!(matches!(error, Error::Timeout), "{error}"),
                    }
                };
                assert!(message.as_bytes() == vec![at as u8; 1 + at * 97 % 50_000], "{at}");
            }
            reader.timeout(PATIENCE);
            reader
        });
        (sending, receiving)
    });
    let readers = ends.map(|(sending, receiving)| (sending, receiving.join().unwrap()));
    is_over.store(true, SeqCst);
    for (sending, _) in readers {
        sending.join().unwrap();
    }
}
