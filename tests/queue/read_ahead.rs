//! What a socket has read ahead counts as readable, whichever operation has read it.

use std::io::Write;
use std::time::Duration;

use wakesock::{Error, SocketEventQueue, SocketId};

use crate::support::{begin, pair};

#[test]
fn a_request_that_was_waited_for_is_readable() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let queue = SocketEventQueue::<SocketId>::new().unwrap();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"request\n").unwrap();
    assert!(queue.wait(None).unwrap()[0].is_triggered_read());
    assert!(socket.wait_request().unwrap());
    let events = queue.wait(Duration::ZERO).unwrap();
    assert!(events.len() == 1 && events[0].is_triggered_read(), "{events:?}");
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("request"));
    assert!(queue.wait(Duration::ZERO).unwrap().is_empty());
}

#[test]
fn a_line_that_is_not_whole_yet_is_not_reported_again_and_again() {
    let _test = begin();
    for sent in [&b"hel"[..], b"first\nhel"] {
        let (mut socket, mut peer) = pair();
        let queue = SocketEventQueue::<SocketId>::new().unwrap();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(sent).unwrap();
        socket.timeout(Duration::ZERO);
        loop {
            assert_eq!(queue.wait(None).unwrap().len(), 1);
            match socket.get_line() {
                Ok(line) => assert_eq!(line.as_deref(), Some("first")),
                Err(error) => {
                    assert!(matches!(error, Error::Timeout), "{error}");
                    break;
                }
            }
        }
        socket.clear_error();
        let events = queue.wait(Duration::ZERO).unwrap();
        assert!(events.is_empty(), "{events:?}");
        peer.write_all(b"lo\n").unwrap();
        assert!(queue.wait(None).unwrap()[0].is_triggered_read());
        assert_eq!(socket.get_line().unwrap().as_deref(), Some("hello"));
    }
}

#[test]
fn a_part_of_what_get_all_wants_is_not_reported_again_and_again() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let queue = SocketEventQueue::<SocketId>::new().unwrap();
    queue.subscribe_read(&socket).unwrap();
    socket.timeout(Duration::ZERO);
    for (sent, part) in [(&b"1234"[..], true), (b"56", true), (b"78", false)] {
        peer.write_all(sent).unwrap();
        assert_eq!(queue.wait(None).unwrap().len(), 1, "after {sent:?}");
        let mut record = [0; 8];
        let result = socket.get_all(&mut record);
        if part {
            assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
            socket.clear_error();
        } else {
            assert_eq!(&record, b"12345678");
        }
        let events = queue.wait(Duration::ZERO).unwrap();
        assert!(events.is_empty(), "{events:?}");
    }
}

#[test]
fn a_line_that_is_refused_stays_readable() {
    let _test = begin();
    for sent in [&b"far too long"[..], b"far too long\n", b"\xff\n"] {
        let (mut socket, mut peer) = pair();
        let queue = SocketEventQueue::<SocketId>::new().unwrap();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(sent).unwrap();
        socket.timeout(Duration::ZERO);
        assert_eq!(queue.wait(None).unwrap().len(), 1);
        if sent[0] == 0xff {
            assert!(matches!(socket.get_line(), Err(Error::InvalidUtf8)));
        } else {
            assert!(matches!(socket.get_line_bytes(3), Err(Error::LineTooLong { .. })));
        }
        let events = queue.wait(Duration::ZERO).unwrap();
        assert!(events.len() == 1 && events[0].is_triggered_read(), "{events:?}");
    }
}

#[test]
fn single_bytes_are_readable_to_the_last() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let queue = SocketEventQueue::<SocketId>::new().unwrap();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"abc").unwrap();
    for byte in b"abc" {
        assert!(queue.wait(None).unwrap()[0].is_triggered_read());
        assert_eq!(socket.get_byte().unwrap(), Some(*byte));
    }
    let events = queue.wait(Duration::ZERO).unwrap();
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_byte_of_what_was_left_makes_the_rest_readable() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let queue = SocketEventQueue::<SocketId>::new().unwrap();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"abc").unwrap();
    assert!(queue.wait(None).unwrap()[0].is_triggered_read());
    socket.timeout(Duration::ZERO);
    assert!(socket.get_all_bytes(4).unwrap_err().is_timeout());
    socket.clear_error();
    assert!(queue.wait(Duration::ZERO).unwrap().is_empty());
    assert_eq!(socket.get_byte().unwrap(), Some(b'a'));
    let events = queue.wait(Duration::ZERO).unwrap();
    assert!(events.len() == 1 && events[0].is_triggered_read(), "{events:?}");
}
