//! What is subscribed, changed, removed and dropped, and how many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wakesock::{AsTcpSocket, SocketEventQueue, SocketId, TcpSocket};

use crate::support::queues::{
    BOTH, READ, WRITE, assert_only, assert_only_closed, assert_silent, block_in, only, queue, until_there,
};
use crate::support::{
    MANY_ARE_SLOW, PATIENCE, begin, block, ends_at_limit, eventually, is_wine, listener, pair, race, timed, unix_pair,
};

#[test]
fn what_is_subscribed_during_a_wait_takes_effect_in_it() {
    let _test = begin();
    let queue = queue();
    for turn in 0..100 {
        let (socket, mut peer) = pair();
        if turn % 2 == 0 {
            peer.write_all(b"x").unwrap();
        }
        let waiting = block_in(&queue);
        queue.subscribe_read(&socket).unwrap();
        if turn % 2 == 1 {
            peer.write_all(b"x").unwrap();
        }
        let events = waiting.result().unwrap();
        assert_eq!((events.len(), events[0].socket_id()), (1, socket.id()), "{events:?}");
        queue.remove(&socket).unwrap();
    }
}

#[test]
fn what_is_enabled_again_or_added_during_a_wait_takes_effect_in_it() {
    let _test = begin();
    let queue = queue();
    let (socket, mut peer) = pair();
    peer.write_all(b"x").unwrap();
    until_there(&socket, 1);
    for _ in 0..100 {
        queue.subscribe_read(&socket).unwrap();
        assert_only(&queue, &socket, READ);
        queue.disable_read(&socket).unwrap();
        assert!(queue.is_subscribed_read(&socket) && queue.is_disabled_read(&socket));
        assert_silent(&queue);
        let waiting = block_in(&queue);
        queue.subscribe_read(&socket).unwrap();
        assert!(!queue.is_disabled_read(&socket));
        assert_eq!(waiting.result().unwrap()[0].events(), READ);
        queue.disable_read(&socket).unwrap();
        let waiting = block_in(&queue);
        queue.subscribe_write(&socket).unwrap();
        assert!(queue.is_disabled_read(&socket) && queue.is_subscribed_write(&socket));
        assert_eq!(waiting.result().unwrap()[0].events(), WRITE);
        queue.remove(&socket).unwrap();
        assert!(!queue.is_subscribed_read(&socket) && !queue.is_subscribed_write(&socket));
    }
}

#[test]
fn what_is_disabled_or_removed_during_a_wait_doesnt_end_it() {
    let _test = begin();
    let queue = queue();
    for turn in 0..4 {
        let (socket, mut peer) = pair();
        queue.subscribe_read(&socket).unwrap();
        let waiting = block_in(&queue);
        if turn % 2 == 0 {
            queue.disable_read(&socket).unwrap();
        } else {
            queue.remove(&socket).unwrap();
        }
        peer.write_all(b"x").unwrap();
        assert!(waiting.still_blocks_until(|| queue.handle().wake()).unwrap().is_empty());
        let _ = queue.remove(&socket);
    }
}

#[test]
fn a_limit_holds_while_others_subscribe() {
    let _test = begin();
    let queue = queue();
    let sockets: Vec<_> = (0..8).map(|_| unix_pair()).collect();
    ends_at_limit(Duration::from_millis(100), |limit| {
        let waiting = {
            let queue = Arc::clone(&queue);
            block(move || timed(|| queue.wait(limit).unwrap()))
        };
        while !waiting.is_finished() {
            for (socket, _) in &sockets {
                queue.subscribe_read(socket).unwrap();
                // So that the thread is in the system, and not kept out of it, in between.
                thread::sleep(Duration::from_millis(1));
                queue.remove(socket).unwrap();
            }
        }
        let (events, took) = waiting.result();
        assert!(events.is_empty(), "{events:?}");
        took
    });
}

#[test]
fn a_wake_is_not_lost_among_subscriptions() {
    let _test = begin();
    let queue = queue();
    let (socket, _peer) = pair();
    let handle = queue.handle();
    for turn in 0..2_000 {
        let own = Arc::clone(&queue);
        let waiting = race(
            move || own.wait(PATIENCE),
            turn % 50 * 20,
            || {
                thread::scope(|scope| {
                    scope.spawn(|| handle.wake());
                    queue.subscribe_read(&socket).unwrap();
                    queue.remove(&socket).unwrap();
                });
            },
        );
        let (events, took) = timed(|| waiting.result().unwrap());
        assert!(events.is_empty() && took < PATIENCE / 2, "turn {turn}: {took:?}");
    }
}

#[test]
fn what_comes_after_a_reader_has_found_the_end_of_it_ends_anothers_wait() {
    let _test = begin();
    let len = b"a line".len();
    for ahead in [false, true] {
        let queue = queue();
        let (mut socket, mut peer) = pair();
        socket.timeout(Duration::ZERO);
        queue.subscribe_read(&socket).unwrap();
        for _ in 0..100 {
            peer.write_all(b"a line").unwrap();
            until_there(&socket, len);
            assert_only(&queue, &socket, READ);
            let waiting = block_in(&queue);
            if ahead {
                for _ in 0..len {
                    socket.get_byte().unwrap();
                }
            } else {
                assert_eq!(socket.get(&mut [0; 64]).unwrap(), len);
            }
            peer.write_all(b"!").unwrap();
            let events = waiting.result().unwrap();
            assert_eq!(events.len(), 1, "{events:?}");
            assert_eq!(events[0].events(), READ, "{events:?}");
            assert_eq!(socket.get_byte().unwrap(), Some(b'!'));
        }
    }
}

#[test]
fn nothing_is_reported_after_a_removal() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    for turn in 0..500 {
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(b"x").unwrap();
        if turn % 3 == 0 {
            assert_only(&queue, &socket, READ);
        }
        queue.remove(&socket).unwrap();
        assert_silent(&queue);
        assert_eq!(socket.timeout(PATIENCE).get_byte().unwrap(), Some(b'x'));
    }
}

#[test]
fn the_newest_token_counts() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::<String>::new().unwrap());
    let (socket, mut peer) = pair();
    queue.subscribe(&socket, READ, "one".to_owned()).unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(only(&queue).token(), "one");
    queue.subscribe(&socket, READ, "two".to_owned()).unwrap();
    assert_eq!(only(&queue).token(), "two");
    queue.disable_read(&socket).unwrap();
    let waiting = block_in(&queue);
    queue.subscribe(&socket, WRITE, "three".to_owned()).unwrap();
    let events = waiting.result().unwrap();
    assert_eq!((events[0].token().as_str(), events[0].events()), ("three", WRITE));
    assert_eq!(queue.len(), 1);
}

#[test]
fn more_sockets_than_the_system_reports_at_once() {
    const COUNT: usize = 1_500;
    let test = begin();
    if test.skip_if(is_wine(), MANY_ARE_SLOW) {
        return;
    }
    let queue = queue();
    let pairs: Vec<_> = (0..COUNT).map(|_| unix_pair()).collect();
    for (socket, _) in &pairs {
        queue.subscribe_read(socket).unwrap();
    }
    for (_, peer) in &pairs {
        (&*peer).write_all(b"x").unwrap();
    }
    let mut seen = std::collections::HashSet::new();
    while seen.len() < COUNT {
        let events = queue.wait(PATIENCE).unwrap();
        assert!(!events.is_empty(), "{} were reported", seen.len());
        seen.extend(events.iter().map(|event| event.socket_id()));
    }
    // Level-triggered: all of them, again.
    assert_eq!(queue.wait(Duration::ZERO).unwrap().len(), COUNT);
}

#[test]
fn one_that_is_ready_is_found_behind_many_that_are_silent() {
    const SILENT: usize = 1_500;
    let _test = begin();
    let queue = queue();
    let pairs: Vec<_> = (0..SILENT + 1).map(|_| unix_pair()).collect();
    let (ready, silent) = pairs.split_last().unwrap();
    for (socket, _) in silent {
        queue.subscribe_read(socket).unwrap();
        queue.disable_read(socket).unwrap();
    }
    queue.subscribe_read(&ready.0).unwrap();
    for (_, peer) in &pairs {
        (&*peer).write_all(b"x").unwrap();
    }
    let events = queue.wait(Duration::ZERO).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].socket_id(), ready.0.id());
}

#[test]
fn sockets_and_queues_are_dropped_in_any_order() {
    let _test = begin();
    for order in 0..6 {
        let (one, mut one_peer) = pair();
        let (two, mut two_peer) = pair();
        let first = queue();
        let second = queue();
        for queue in [&first, &second] {
            queue.subscribe_read(&one).unwrap();
            queue.subscribe_read(&two).unwrap();
        }
        one_peer.write_all(b"x").unwrap();
        two_peer.write_all(b"x").unwrap();
        let two_id = two.id();
        match order {
            0 => drop((one, two, first, second)),
            1 => drop((first, one, second, two)),
            2 => drop((first, second, one, two)),
            3 => {
                drop(first);
                drop(two);
                eventually(
                    || "the other queue reports both".to_owned(),
                    || match second.wait(PATIENCE).unwrap().len() {
                        2 => Ok(()),
                        count => Err(count.to_string()),
                    },
                );
                assert_only(&second, &one, READ);
            }
            4 => {
                drop(two);
                drop(second);
                assert!(first.wait(PATIENCE).unwrap().iter().any(|event| event.is_closed()));
                assert_only(&first, &one, READ);
            }
            _ => {
                drop(one);
                first.remove(&two).unwrap();
                drop(two);
                assert!(only(&first).is_closed());
                assert_silent(&first);
                let closed = second.wait(PATIENCE).unwrap();
                assert!(closed.iter().any(|event| event.socket_id() == two_id), "{closed:?}");
            }
        }
    }
}

#[test]
fn a_socket_may_be_in_several_queues() {
    let _test = begin();
    let queues: Vec<_> = (0..5).map(|_| queue()).collect();
    let (mut socket, mut peer) = pair();
    for queue in &queues {
        queue.subscribe_read_write(&socket).unwrap();
        assert_only(queue, &socket, WRITE);
    }
    queues[4].disable_write(&socket).unwrap();
    for _ in 0..100 {
        peer.write_all(b"x").unwrap();
        assert_only(&queues[4], &socket, READ);
        for queue in &queues[..4] {
            assert_only(queue, &socket, BOTH);
        }
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        assert_silent(&queues[4]);
        for queue in &queues[..4] {
            assert_only(queue, &socket, WRITE);
        }
    }
    queues[0].remove(&socket).unwrap();
    assert_silent(&queues[0]);
    let waiting: Vec<_> = queues[4..].iter().map(block_in).collect();
    socket.close();
    for waiting in waiting {
        assert!(waiting.result().unwrap()[0].is_closed());
    }
    for queue in &queues[1..4] {
        assert_only_closed(queue, socket.id());
    }
    assert_silent(&queues[0]);
}

struct Session {
    socket: TcpSocket,
}

impl AsTcpSocket for Session {
    fn as_tcp_socket(&self) -> &TcpSocket {
        &self.socket
    }
}

#[test]
fn whatever_holds_a_socket_can_be_subscribed() {
    let _test = begin();
    let queue = queue();
    let (socket, mut peer) = pair();
    let shared = Arc::new(socket);
    queue.subscribe_read(&shared).unwrap();
    peer.write_all(b"x").unwrap();
    assert_only(&queue, &shared, READ);
    let boxed = Box::new(Session {
        socket: Arc::into_inner(shared).unwrap(),
    });
    assert!(queue.is_subscribed_read(&boxed));
    queue.subscribe_write(&boxed).unwrap();
    assert_only(&queue, &boxed.socket, BOTH);
    queue.remove(&&*boxed).unwrap();
    assert_silent(&queue);
    let (reader, mut writer) = boxed.socket.split();
    queue.subscribe_read(&reader).unwrap();
    assert_eq!(only(&queue).events(), READ);
    queue.subscribe_write(&writer).unwrap();
    assert_eq!(queue.len(), 1, "both halves are one socket");
    assert_eq!(only(&queue).events(), BOTH);
    queue.disable_read(&writer).unwrap();
    assert_eq!(only(&queue).events(), WRITE);
    writer.put_all(b"y").unwrap();
    let id = reader.id();
    drop(writer);
    assert_eq!(only(&queue).events(), WRITE);
    drop(reader);
    assert_only_closed(&queue, id);
    peer.read_exact(&mut [0]).unwrap();
}

#[test]
fn an_abort_leaves_subscriptions_alone() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    socket.abort();
    assert_silent(&queue);
    peer.write_all(b"x").unwrap();
    assert_only(&queue, &socket, READ);
    queue.subscribe_write(&socket).unwrap();
    assert_only(&queue, &socket, BOTH);
    assert!(socket.get_byte().is_err());
    assert_only(&queue, &socket, BOTH);
    socket.clear_abort();
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    assert_only(&queue, &socket, WRITE);
    socket.abort();
    queue.remove(&socket).unwrap();
    assert_silent(&queue);
}

#[test]
fn a_queue_without_sockets_waits_and_can_be_cleared() {
    let _test = begin();
    let queue = queue();
    assert_eq!(queue.len(), 0);
    queue.clear().unwrap();
    let pairs: Vec<_> = (0..10).map(|_| pair()).collect();
    for (socket, peer) in &pairs {
        queue.subscribe_read_write(socket).unwrap();
        (&*peer).write_all(b"x").unwrap();
    }
    assert_eq!(queue.len(), 10);
    assert_eq!(queue.wait(PATIENCE).unwrap().len(), 10);
    queue.clear().unwrap();
    assert_eq!(queue.len(), 0);
    assert!(!queue.is_subscribed_write(&pairs[3].0));
    assert_silent(&queue);
    queue.subscribe_write(&pairs[3].0).unwrap();
    assert_only(&queue, &pairs[3].0, WRITE);
    let mut events = queue.wait(None).unwrap();
    assert_eq!(queue.wait_into(&mut events, None).unwrap(), 1);
    assert_eq!(events.len(), 1, "what was in it before is gone");
    queue.disable_write(&pairs[3].0).unwrap();
    assert_eq!(queue.wait_into(&mut events, Duration::ZERO).unwrap(), 0);
    assert!(events.is_empty());
}

#[test]
fn a_queue_that_was_told_and_never_looked_is_gone_when_dropped() {
    let _test = begin();
    let (socket, _) = listener();
    let queue = SocketEventQueue::new().unwrap();
    queue.subscribe_read(&socket).unwrap();
    socket.handle().close();
    drop(queue);
}

#[test]
fn a_socket_that_is_given_up_can_be_watched_again() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::<SocketId>::new().unwrap());
    let handle = queue.handle();
    let waiting = Arc::clone(&queue);
    let waiter = block(move || while waiting.wait(None).is_ok() {});
    for turn in 0..2000 {
        let (socket, _peer) = pair();
        queue.subscribe_read(&socket).unwrap();
        let stream = TcpStream::try_from(socket).unwrap();
        let again = TcpSocket::from(stream);
        queue
            .subscribe_read(&again)
            .unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        queue.remove(&again).unwrap();
    }
    handle.close();
    waiter.result();
}
