//! What a socket has read ahead counts as readable, whichever operation has read it.

use std::io::{BufRead, Read, Write};
use std::time::Duration;

use wakesock::{Error, SocketEventQueue, SocketId};

use crate::support::queues::{block_in, queue};
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

#[test]
fn what_is_put_back_is_reported_and_wakes_a_thread_that_waits() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    for whole in [true, false] {
        let waiting = block_in(&queue);
        socket.unread(b"ab");
        let events = waiting.result().unwrap();
        assert!(events.len() == 1 && events[0].is_triggered_read(), "{events:?}");
        if whole {
            assert_eq!(socket.get_all_bytes(2).unwrap(), b"ab");
        } else {
            assert_eq!(socket.get_byte().unwrap(), Some(b'a'));
            let events = queue.wait(Duration::ZERO).unwrap();
            assert!(events.len() == 1 && events[0].is_triggered_read(), "{events:?}");
            assert_eq!(socket.get_byte().unwrap(), Some(b'b'));
        }
        let events = queue.wait(Duration::ZERO).unwrap();
        assert!(events.is_empty(), "{events:?}");
    }
    socket.unread(b"");
    let events = queue.wait(Duration::ZERO).unwrap();
    assert!(events.is_empty(), "nothing was put back: {events:?}");
    // Of a socket that is subscribed afterwards, and of a part that wasn't reported.
    socket.timeout(Duration::ZERO).unread(b"c");
    let other = crate::support::queues::queue();
    other.subscribe_read(&socket).unwrap();
    assert_eq!(other.wait(Duration::ZERO).unwrap().len(), 1);
    assert!(socket.get_all_bytes(2).unwrap_err().is_timeout());
    socket.clear_error();
    assert!(other.wait(Duration::ZERO).unwrap().is_empty());
    socket.unread(b"b");
    assert_eq!(other.wait(Duration::ZERO).unwrap().len(), 1);
    assert_eq!(socket.get_all_bytes(2).unwrap(), b"bc");
}

#[test]
fn a_part_of_what_is_looked_for_is_not_reported_again_and_again() {
    let _test = begin();
    type Look = fn(&mut wakesock::TcpSocket) -> bool;
    let looks: [(&str, Look); 4] = [
        ("peek_all", |socket| socket.peek_all(6).is_ok()),
        ("read_exact", |socket| socket.read_exact(&mut [0; 6]).is_ok()),
        ("read_line", |socket| socket.read_line(&mut String::new()).is_ok()),
        ("read_until", |socket| socket.read_until(b'\n', &mut Vec::new()).is_ok()),
    ];
    for (name, look) in looks {
        let (mut socket, mut peer) = pair();
        let queue = SocketEventQueue::<SocketId>::new().unwrap();
        queue.subscribe_read(&socket).unwrap();
        socket.timeout(Duration::ZERO);
        for sent in [&b"hel"[..], b"lo\n"] {
            peer.write_all(sent).unwrap();
            assert_eq!(queue.wait(None).unwrap().len(), 1, "{name}");
            assert_eq!(look(&mut socket), sent.ends_with(b"\n"), "{name}");
            let events = queue.wait(Duration::ZERO).unwrap();
            let stays = name == "peek_all" && sent.ends_with(b"\n");
            assert_eq!(events.len(), usize::from(stays), "{name}: {events:?}");
        }
    }
}

#[test]
fn what_is_left_of_a_part_that_was_hidden_is_reported() {
    let _test = begin();
    type Take = fn(&mut wakesock::TcpSocket);
    let takes: [(&str, Take); 4] = [
        ("read_exact", |socket| socket.read_exact(&mut [0; 3]).unwrap()),
        ("get_byte", |socket| assert_eq!(socket.get_byte().unwrap(), Some(b'h'))),
        ("get", |socket| assert_eq!(socket.get(&mut [0; 2]).unwrap(), 2)),
        ("read", |socket| assert_eq!(socket.read(&mut [0; 1]).unwrap(), 1)),
    ];
    for (name, take) in takes {
        let (mut socket, mut peer) = pair();
        let queue = SocketEventQueue::<SocketId>::new().unwrap();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(b"hello, world").unwrap();
        assert_eq!(queue.wait(None).unwrap().len(), 1);
        socket.timeout(Duration::ZERO).peek().unwrap();
        assert!(socket.peek_all(20).is_err());
        socket.unread(b"");
        assert!(
            queue.wait(Duration::ZERO).unwrap().is_empty(),
            "{name}: the part is hidden"
        );
        take(&mut socket);
        let events = queue.wait(Duration::ZERO).unwrap();
        assert_eq!(events.len(), 1, "{name}: {:?} is there", socket.buffer());
    }
}
