//! What a queue reports of a socket, and for how long.

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use wakesock::{SocketEventQueue, TcpSocket, WaitEvents};

use crate::support::full::fill;
use crate::support::queues::{
    BOTH, EXCEPTION, READ, WRITE, assert_only, assert_silent, block_in, only, queue, until_there,
};
use crate::support::{
    NO_RESETS, PATIENCE, begin, cpu_time, ends_at_limit, eventually, is_wine, listener, pair, reset, send_urgent, timed,
};

#[test]
fn with_no_time_a_wait_returns_at_once() {
    let _test = begin();
    let queue = queue();
    let (socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    let begin = Instant::now();
    for _ in 0..1000 {
        assert_silent(&queue);
    }
    assert!(begin.elapsed() < PATIENCE);
    peer.write_all(b"x").unwrap();
    eventually(
        || "the byte is found without waiting".to_owned(),
        || match queue.wait(Duration::ZERO).unwrap().len() {
            1 => Ok(()),
            count => Err(format!("{count} events")),
        },
    );
}

#[test]
fn a_limit_holds_and_is_never_early() {
    let _test = begin();
    let queue = queue();
    let (socket, _peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    for micros in [1, 300, 1_000, 1_900, 20_000] {
        ends_at_limit(Duration::from_micros(micros), |limit| {
            let (events, took) = timed(|| queue.wait(limit).unwrap());
            assert!(events.is_empty(), "{events:?}");
            took
        });
    }
}

#[test]
fn a_limit_holds_behind_another_thread_that_waits() {
    let _test = begin();
    let queue = queue();
    let first = block_in(&queue);
    for limit in [Duration::ZERO, Duration::from_micros(700), Duration::from_millis(20)] {
        ends_at_limit(limit, |limit| {
            let (events, took) = timed(|| queue.wait(limit).unwrap());
            assert!(events.is_empty(), "{events:?}");
            took
        });
    }
    let first = first.still_blocks();
    queue.handle().wake();
    assert!(first.result().unwrap().is_empty());
}

#[test]
fn a_wake_before_the_wait_ends_it_once() {
    let _test = begin();
    let queue = queue();
    for wakes in [1, 2, 100] {
        for _ in 0..wakes {
            queue.handle().wake();
        }
        assert!(queue.wait(None).unwrap().is_empty());
        let waiting = block_in(&queue);
        assert!(waiting.still_blocks_until(|| queue.handle().wake()).unwrap().is_empty());
    }
}

#[test]
fn a_wake_during_the_wait_ends_it_and_many_are_one() {
    let _test = begin();
    let queue = queue();
    for _ in 0..20 {
        let waiting = block_in(&queue);
        for _ in 0..10 {
            queue.handle().wake();
        }
        assert!(waiting.result().unwrap().is_empty());
        // The last of them may have come after the end of that wait.
        assert_silent(&queue);
        assert_silent(&queue);
    }
    let waiting = block_in(&queue);
    assert!(waiting.still_blocks_until(|| queue.handle().wake()).unwrap().is_empty());
}

#[test]
fn one_wake_ends_one_of_several_waits() {
    let _test = begin();
    let queue = queue();
    let waiting: Vec<_> = (0..3).map(|_| block_in(&queue)).collect();
    for woken in 1..=3 {
        queue.handle().wake();
        eventually(
            || format!("{woken} of 3 have returned"),
            || match waiting.iter().filter(|thread| thread.is_finished()).count() {
                count if count == woken => Ok(()),
                count => Err(count.to_string()),
            },
        );
    }
    for thread in waiting {
        assert!(thread.result().unwrap().is_empty());
    }
}

#[test]
fn a_wake_hides_no_event() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    for turn in 0..200 {
        peer.write_all(b"x").unwrap();
        queue.handle().wake();
        eventually(
            || format!("turn {turn}: the byte is reported"),
            || match queue.wait(None).unwrap().len() {
                1 => Ok(()),
                count => {
                    queue.handle().wake();
                    Err(count.to_string())
                }
            },
        );
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        assert_silent(&queue);
        assert_silent(&queue);
    }
}

#[test]
fn what_was_not_read_is_reported_again() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(&[7; 20_000]).unwrap();
    let mut left: usize = 20_000;
    while left > 0 {
        for _ in 0..3 {
            assert_only(&queue, &socket, READ);
        }
        left -= socket
            .timeout(PATIENCE)
            .get(&mut [0; 7_000][..left.min(7_000)])
            .unwrap();
    }
    assert_silent(&queue);
}

/// A way to take what is there, of which the last byte is `\n`.
type Drain = fn(&mut TcpSocket, usize);

const DRAINS: [(&str, Drain); 9] = [
    ("a get that finds nothing", |socket, len| {
        assert_eq!(socket.get(&mut vec![0; len + 1]).unwrap(), len);
        assert!(socket.is_timeout());
    }),
    ("a get of what is there", |socket, len| {
        socket.get_all(&mut vec![0; len]).unwrap();
    }),
    ("a read of what is there", |socket, len| {
        socket.read_exact(&mut vec![0; len]).unwrap();
    }),
    ("a read with room for more", |socket, len| {
        let mut left = len;
        while left > 0 {
            left -= socket.read(&mut vec![0; len + 10_000]).unwrap();
        }
    }),
    ("a get of each byte", |socket, len| {
        for _ in 0..len {
            assert!(socket.get_byte().unwrap().is_some());
        }
    }),
    ("get_line", |socket, len| {
        assert_eq!(socket.get_line_bytes(len).unwrap().unwrap().len(), len - 1);
    }),
    ("a peek and a get", |socket, len| {
        socket.peek().unwrap();
        socket.get_all(&mut vec![0; len]).unwrap();
    }),
    ("fill_buf and consume", |socket, len| {
        let mut left = len;
        while left > 0 {
            let count = socket.fill_buf().unwrap().len();
            socket.consume(count);
            left -= count;
        }
    }),
    ("wait_request and a get", |socket, len| {
        assert!(socket.wait_request().unwrap());
        socket.get_all(&mut vec![0; len]).unwrap();
    }),
];

#[test]
fn what_was_drained_is_not_reported_and_what_comes_then_is() {
    let _test = begin();
    for (name, drain) in DRAINS {
        for len in [1, 100, 8_192, 10_000] {
            let queue = queue();
            let (mut socket, mut peer) = pair();
            queue.subscribe_read(&socket).unwrap();
            for turn in 0..5 {
                let mut bytes = vec![b'x'; len];
                bytes[len - 1] = b'\n';
                peer.write_all(&bytes).unwrap();
                // All of it, before it is looked at.
                until_there(&socket, len);
                if turn != 2 {
                    assert_only(&queue, &socket, READ);
                }
                socket.timeout(Duration::ZERO);
                drain(&mut socket, len);
                let events = queue.wait(Duration::ZERO).unwrap();
                assert!(
                    events.is_empty(),
                    "{len} bytes drained by {name}, turn {turn}: {events:?}"
                );
            }
        }
    }
}

/// A way to read ahead, of `a\nb\n`, that leaves `b\n` or all of it in the socket's own buffer.
type ReadAhead = fn(&mut TcpSocket);

const READS_AHEAD: [(&str, ReadAhead); 8] = [
    ("peek", |socket| assert_eq!(socket.peek().unwrap(), Some(b'a'))),
    ("term", |socket| assert_eq!(socket.term().unwrap(), Some(b'a'))),
    ("get_byte", |socket| assert_eq!(socket.get_byte().unwrap(), Some(b'a'))),
    ("get", |socket| assert_eq!(socket.get(&mut [0; 3]).unwrap(), 3)),
    ("get_line", |socket| {
        assert_eq!(socket.get_line().unwrap().as_deref(), Some("a"));
    }),
    ("get_line that fails", |socket| {
        assert!(socket.get_line_bytes(0).is_err());
        socket.clear_error();
    }),
    ("fill_buf", |socket| {
        assert_eq!(socket.fill_buf().unwrap(), b"a\nb\n");
        socket.consume(2);
    }),
    ("wait_request", |socket| assert!(socket.wait_request().unwrap())),
];

#[test]
fn bytes_that_the_socket_has_read_ahead_count() {
    let _test = begin();
    for (name, read_ahead) in READS_AHEAD {
        // What the queue knows before.
        for knows in ["the event", "the socket", "nothing"] {
            let queue = queue();
            let (mut socket, mut peer) = pair();
            if knows != "nothing" {
                queue.subscribe_read(&socket).unwrap();
            }
            peer.write_all(b"a\nb\n").unwrap();
            until_there(&socket, 4);
            if knows == "the event" {
                assert_only(&queue, &socket, READ);
            }
            socket.timeout(Duration::ZERO);
            read_ahead(&mut socket);
            if knows == "nothing" {
                queue.subscribe_read(&socket).unwrap();
            }
            for _ in 0..2 {
                let events = queue.wait(Duration::from_millis(200)).unwrap();
                let seen: Vec<_> = events.iter().map(|event| (event.socket_id(), event.events())).collect();
                assert_eq!(seen, [(socket.id(), READ)], "{name}, when the queue knew {knows}");
            }
            while socket.get_byte().is_ok() {}
            assert_silent(&queue);
        }
    }
}

#[test]
fn reading_ahead_ends_a_wait_of_another_thread() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    queue.disable_read(&socket).unwrap();
    peer.write_all(b"a\nb\n").unwrap();
    until_there(&socket, 4);
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("a"));
    let waiting = block_in(&queue);
    queue.subscribe_read(&socket).unwrap();
    assert_eq!(waiting.result().unwrap()[0].events(), READ);
}

#[test]
fn pipelined_lines_are_reported_until_the_last() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all("line\n".repeat(1000).as_bytes()).unwrap();
    socket.timeout(PATIENCE);
    for _ in 0..1000 {
        assert_only(&queue, &socket, READ);
        assert_eq!(socket.get_line().unwrap().as_deref(), Some("line"));
    }
    assert_silent(&queue);
}

#[test]
fn a_listener_is_reported_while_clients_wait() {
    let _test = begin();
    let queue = queue();
    let (mut listener, addr) = listener();
    listener.timeout(Duration::ZERO);
    queue.subscribe_read(&listener).unwrap();
    assert_silent(&queue);
    for accept_until_nothing in [false, true] {
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for _ in &clients {
            for _ in 0..2 {
                assert_only(&queue, &listener, READ);
            }
            listener.accept_new().unwrap();
        }
        if accept_until_nothing {
            assert!(listener.accept_new().unwrap_err().is_timeout());
        }
        assert_silent(&queue);
    }
}

#[test]
fn a_socket_is_writable_until_the_buffers_are_full_and_when_the_peer_has_read() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_write(&socket).unwrap();
    for turn in 0..3 {
        for _ in 0..2 {
            assert_only(&queue, &socket, WRITE);
        }
        fill(&mut socket);
        assert_silent(&queue);
        if turn == 1 {
            let waiting = block_in(&queue).still_blocks();
            read_all_there(&mut peer);
            assert_eq!(waiting.result().unwrap()[0].events(), WRITE);
        } else {
            read_all_there(&mut peer);
        }
    }
}

/// Reads until there is nothing for a moment.
fn read_all_there(peer: &mut TcpStream) {
    peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buf = vec![0; 1 << 20];
    while peer.read(&mut buf).is_ok_and(|count| count > 0) {}
}

#[test]
fn a_short_write_means_full_buffers() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_write(&socket).unwrap();
    socket.timeout(Duration::ZERO);
    let mut sent = 0;
    loop {
        let event = queue.wait(Duration::ZERO).unwrap();
        if event.is_empty() {
            break;
        }
        sent += socket.write(&vec![0; 1 << 20]).unwrap();
    }
    assert!(sent > 0);
    read_all_there(&mut peer);
    assert_only(&queue, &socket, WRITE);
}

#[test]
fn reading_and_writing_are_independent() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    assert_silent(&queue);
    queue.subscribe_write(&socket).unwrap();
    assert_only(&queue, &socket, WRITE);
    peer.write_all(b"x").unwrap();
    until_there(&socket, 1);
    assert_only(&queue, &socket, BOTH);
    fill(&mut socket);
    assert_only(&queue, &socket, READ);
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    assert_silent(&queue);
    peer.write_all(b"x").unwrap();
    assert_only(&queue, &socket, READ);
    read_all_there(&mut peer);
    eventually(
        || "writable and readable".to_owned(),
        || match only(&queue).events() {
            BOTH => Ok(()),
            events => Err(format!("{events:?}")),
        },
    );
    queue.disable_read(&socket).unwrap();
    assert_only(&queue, &socket, WRITE);
    queue.subscribe_read(&socket).unwrap();
    queue.disable_write(&socket).unwrap();
    assert_only(&queue, &socket, READ);
}

#[test]
fn a_half_close_is_something_to_read() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read_write(&socket).unwrap();
    assert_only(&queue, &socket, WRITE);
    queue.disable_write(&socket).unwrap();
    peer.write_all(b"x").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    for _ in 0..2 {
        assert_only(&queue, &socket, READ);
    }
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    for _ in 0..2 {
        assert_only(&queue, &socket, READ);
        assert_eq!(socket.get_byte().unwrap(), None);
    }
}

/// Returns when the queue reports `events` of `socket`.
fn until_reported(queue: &SocketEventQueue, socket: &TcpSocket, events: WaitEvents) {
    eventually(
        || format!("{events:?} is reported"),
        || {
            let seen = only(queue);
            assert_eq!(seen.socket_id(), socket.id());
            (seen.events() == events).then_some(()).ok_or(format!("{seen:?}"))
        },
    );
}

#[test]
fn a_hang_up_and_a_reset_are_events_of_all_kinds() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for wanted in [READ, WRITE, BOTH] {
        for is_reset in [false, true] {
            let queue = queue();
            let (socket, peer) = pair();
            queue.subscribe_read_write(&socket).unwrap();
            assert_only(&queue, &socket, WRITE);
            if !wanted.contains(READ) {
                queue.disable_read(&socket).unwrap();
            }
            if !wanted.contains(WRITE) {
                queue.disable_write(&socket).unwrap();
            }
            if is_reset {
                reset(peer);
            } else {
                socket.shutdown().unwrap();
                drop(peer);
            }
            // Windows calls a hang-up something to read.
            let told = if cfg!(windows) && !is_reset {
                wanted
            } else {
                wanted | EXCEPTION
            };
            until_reported(&queue, &socket, told);
            until_reported(&queue, &socket, told);
            queue.remove(&socket).unwrap();
            assert_silent(&queue);
        }
    }
}

// Elsewhere queues need not know of urgent data.
#[cfg(target_os = "linux")]
#[test]
fn an_urgent_byte_is_an_exception_for_those_who_want_it() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe(&socket, READ | EXCEPTION, socket.id()).unwrap();
    send_urgent(&peer, b'!');
    for _ in 0..2 {
        assert_only(&queue, &socket, EXCEPTION);
    }
    let event = only(&queue);
    assert!(event.is_triggered_exception() && !event.is_triggered_read() && !event.is_triggered_write());
    peer.write_all(b"x").unwrap();
    eventually(
        || "the byte behind it is reported".to_owned(),
        || match only(&queue).is_triggered_read() {
            true => Ok(()),
            false => Err("nothing".to_owned()),
        },
    );
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    assert_silent(&queue);
}

#[test]
fn what_is_not_wanted_or_silent_makes_no_wait_spin() {
    let _test = begin();
    let queue = queue();
    let (urgent, peer) = pair();
    queue.subscribe_read(&urgent).unwrap();
    send_urgent(&peer, b'!');
    let (mut ended, mut end) = pair();
    queue.subscribe_read(&ended).unwrap();
    queue.disable_read(&ended).unwrap();
    end.write_all(b"x").unwrap();
    end.shutdown(Shutdown::Write).unwrap();
    let (broken, breaking) = pair();
    queue.subscribe_read_write(&broken).unwrap();
    queue.disable_read_write(&broken).unwrap();
    reset(breaking);
    let (mut full, _full_peer) = pair();
    fill(&mut full);
    queue.subscribe_write(&full).unwrap();
    let waiting = block_in(&queue);
    let before = cpu_time(waiting.task());
    let waiting = waiting.still_blocks();
    let used = cpu_time(waiting.task()) - before;
    assert!(used < Duration::from_millis(20), "{used:?} of processor time");
    // They are all still watched.
    queue.subscribe_read(&ended).unwrap();
    let events = waiting.result().unwrap();
    assert_eq!((events.len(), events[0].socket_id()), (1, ended.id()), "{events:?}");
    assert_eq!(ended.get_byte().unwrap(), Some(b'x'));
}

#[test]
fn an_event_answers_for_each_kind_of_readiness() {
    let _test = begin();
    let (socket, mut peer) = pair();
    let queue = queue();
    queue.subscribe_read_write(&socket).unwrap();
    let event = only(&queue);
    assert!(event.is_triggered_write() && !event.is_triggered_read() && !event.is_triggered_exception());
    peer.write_all(b"x").unwrap();
    eventually(
        || "the byte is reported".to_owned(),
        || {
            let event = only(&queue);
            match event.is_triggered_write() && event.is_triggered_read() {
                true => Ok(()),
                false => Err(format!("{event:?}")),
            }
        },
    );
}
