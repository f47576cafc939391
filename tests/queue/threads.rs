//! Several threads wait in one queue, and others change it meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wakesock::{Error, SocketEventQueue, TcpSocket};

use crate::support::queues::{BOTH, READ, WRITE, assert_only, assert_silent, block_in, queue};
use crate::support::{
    Blocked, LOST_WITH_THREAD, PATIENCE, Stream, begin, block, eventually, is_wine, listener, pair, thread_id,
    unix_pair, until_sleeping,
};

/// Connections by number, each to be read by the thread that is told of it.
type Connections = Arc<Vec<(Mutex<TcpSocket>, Stream)>>;

fn connections(queue: &SocketEventQueue<usize>, count: usize) -> Connections {
    let connections = (0..count).map(|number| {
        let (mut socket, peer) = unix_pair();
        socket.timeout(Duration::ZERO);
        queue.subscribe(&socket, READ, number).unwrap();
        (Mutex::new(socket), peer)
    });
    Arc::new(connections.collect())
}

/// Threads that read one byte for each event, until the queue is closed. Each returns how many.
fn readers(
    count: usize,
    queue: &Arc<SocketEventQueue<usize>>,
    connections: &Connections,
    read: Read,
    total: &Arc<AtomicUsize>,
) -> Vec<Blocked<usize>> {
    (0..count)
        .map(|_| {
            let (queue, connections, total) = (Arc::clone(queue), Arc::clone(connections), Arc::clone(total));
            block(move || {
                let mut own = 0;
                while let Ok(events) = queue.wait(None) {
                    for event in events {
                        let mut socket = connections[*event.token()]
                            .0
                            .try_lock()
                            .expect("another thread is at the same socket");
                        let came = read(&mut socket).expect("an event of what another thread has read");
                        own += came;
                        total.fetch_add(came, SeqCst);
                    }
                }
                own
            })
        })
        .collect()
}

fn until_count(what: &str, total: &AtomicUsize, expected: usize) {
    eventually(
        || format!("{what}: {expected}"),
        || match total.load(SeqCst) {
            count if count == expected => Ok(()),
            count => Err(count.to_string()),
        },
    );
}

/// Says how many bytes it has read.
type Read = fn(&mut TcpSocket) -> Result<usize, Error>;

/// Ways to read one byte, or all that there is.
const READS: [(&str, Read); 4] = [
    ("get", |socket| socket.get(&mut [0; 1])),
    ("get_byte", |socket| {
        socket.get_byte().map(|byte| usize::from(byte.is_some()))
    }),
    ("get with room for more", |socket| socket.get(&mut [0; 100])),
    ("read past the buffer", |socket| {
        socket.read(&mut vec![0; 20_000]).map_err(|_| Error::Timeout)
    }),
];

#[test]
fn each_event_is_taken_by_one_thread_and_none_is_lost() {
    const SOCKETS: usize = 200;
    const ROUNDS: usize = 15;
    let _test = begin();
    for (name, read) in READS {
        let queue = Arc::new(SocketEventQueue::<usize>::new().unwrap());
        let connections = connections(&queue, SOCKETS);
        let total = Arc::new(AtomicUsize::new(0));
        let readers = readers(4, &queue, &connections, read, &total);
        for round in 1..=ROUNDS {
            for (_, peer) in connections.iter() {
                (&*peer).write_all(b"x").unwrap();
            }
            until_count(name, &total, round * SOCKETS);
        }
        queue.handle().close();
        let read: usize = readers.into_iter().map(Blocked::result).sum();
        assert_eq!(read, ROUNDS * SOCKETS);
    }
}

#[test]
fn what_a_thread_leaves_of_an_event_is_reported_when_it_waits_again() {
    const SOCKETS: usize = 20;
    const BYTES: usize = 500;
    let _test = begin();
    for (name, read) in &READS[..2] {
        let queue = Arc::new(SocketEventQueue::<usize>::new().unwrap());
        let connections = connections(&queue, SOCKETS);
        let total = Arc::new(AtomicUsize::new(0));
        let readers = readers(4, &queue, &connections, *read, &total);
        for (_, peer) in connections.iter() {
            (&*peer).write_all(&[7; BYTES]).unwrap();
        }
        // One at a time, and nobody writes any more.
        until_count(name, &total, SOCKETS * BYTES);
        queue.handle().close();
        readers.into_iter().for_each(|thread| {
            thread.result();
        });
    }
}

#[test]
fn a_pool_of_threads_answers_every_request() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 500;
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::<usize>::new().unwrap());
    let connections = connections(&queue, CLIENTS);
    let pool: Vec<_> = (0..4)
        .map(|_| {
            let (queue, connections) = (Arc::clone(&queue), Arc::clone(&connections));
            block(move || {
                while let Ok(events) = queue.wait(None) {
                    for event in events {
                        let mut socket = connections[*event.token()].0.lock();
                        let mut buf = [0; 16];
                        if let Ok(count) = socket.read(&mut buf) {
                            socket.put_all(&buf[..count]).unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    for turn in 0..REQUESTS {
        for (_, peer) in connections.iter() {
            (&*peer).write_all(b"x").unwrap();
        }
        for (_, peer) in connections.iter() {
            let answer = (&*peer).read(&mut [0]);
            assert!(matches!(answer, Ok(1)), "turn {turn}: {answer:?}");
        }
    }
    queue.handle().close();
    pool.into_iter().for_each(|thread| thread.result());
}

#[test]
fn an_event_goes_to_another_when_its_thread_waits_again_behind_that() {
    let _test = begin();
    for limit in [None, Some(Duration::ZERO), Some(Duration::from_millis(1))] {
        let queue = queue();
        let (socket, mut peer) = pair();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(b"x").unwrap();
        assert_only(&queue, &socket, READ);
        let other = block_in(&queue).still_blocks();
        // Either may get it, and one does.
        if queue.wait(limit).unwrap().is_empty() {
            assert_eq!(other.result().unwrap().len(), 1, "{limit:?}");
        } else {
            queue.handle().wake();
            assert!(other.result().is_ok());
        }
    }
}

#[test]
fn what_comes_after_another_queue_has_found_nothing_is_another_event() {
    const EXACTLY: usize = 10_000;
    let _test = begin();
    let (first, second) = (queue(), queue());
    let (mut socket, mut peer) = pair();
    first.subscribe_read(&socket).unwrap();
    second.subscribe_read(&socket).unwrap();
    peer.write_all(&[7; EXACTLY]).unwrap();
    assert_only(&second, &socket, READ);
    assert_only(&first, &socket, READ);
    // A full read says nothing, so the second queue asks the system.
    socket.timeout(PATIENCE).get_all(&mut [0; EXACTLY]).unwrap();
    assert_silent(&second);
    let other = block_in(&first);
    let this = thread_id();
    let writing = block(move || {
        until_sleeping(this);
        peer.write_all(b"x").unwrap();
        peer
    });
    let events = first.wait(PATIENCE).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(other.result().unwrap().len(), 1);
    drop(writing.result());
}

#[test]
fn a_thread_that_ends_leaves_its_event_to_another() {
    let _test = begin();
    for _ in 0..100 {
        let queue = queue();
        let (socket, mut peer) = pair();
        queue.subscribe_read(&socket).unwrap();
        let first = block_in(&queue);
        let second = block_in(&queue);
        peer.write_all(b"x").unwrap();
        // One of them takes it and ends; so the other gets it, too.
        assert_eq!(first.result().unwrap()[0].events(), READ);
        assert_eq!(second.result().unwrap()[0].events(), READ);
    }
}

#[test]
fn an_event_stays_with_its_thread_while_that_lives() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"xy").unwrap();
    assert_only(&queue, &socket, READ);
    let other = block_in(&queue).still_blocks();
    // Partly read: still this thread's.
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    let other = other.still_blocks();
    // Drained: what comes now is another event.
    assert_eq!(socket.get_byte().unwrap(), Some(b'y'));
    peer.write_all(b"z").unwrap();
    assert_eq!(other.result().unwrap()[0].events(), READ);
}

#[test]
fn a_line_stays_with_the_thread_that_has_read_half_of_it() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"half").unwrap();
    assert_only(&queue, &socket, READ);
    socket.timeout(Duration::from_millis(1));
    assert!(socket.get_line().unwrap_err().is_timeout());
    socket.timeout(PATIENCE).clear_error();
    // The system has nothing, which this one sees: that doesn't make the rest its own.
    let other = block_in(&queue).still_blocks();
    peer.write_all(b" a line\n").unwrap();
    let other = other.still_blocks();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("half a line"));
    peer.write_all(b"next").unwrap();
    assert_eq!(other.result().unwrap()[0].events(), READ);
}

#[test]
fn a_large_read_ends_an_event_once() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    for round in 0..20 {
        peer.write_all(b"x").unwrap();
        let first = block_in(&queue);
        assert_eq!(first.result().unwrap()[0].events(), READ, "round {round}");
        // It ends, so the event may be another thread's: this one's, which reads past the buffer.
        assert_only(&queue, &socket, READ);
        let other = block_in(&queue).still_blocks();
        assert_eq!(socket.read(&mut [0; 64 * 1024]).unwrap(), 1);
        let other = other.still_blocks();
        peer.write_all(b"y").unwrap();
        assert_eq!(other.result().unwrap()[0].events(), READ, "round {round}");
        assert_eq!(socket.get_byte().unwrap(), Some(b'y'));
    }
}

#[test]
fn what_comes_to_be_read_is_not_for_the_thread_that_may_write() {
    let _test = begin();
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read_write(&socket).unwrap();
    // This thread is writing, for as long as it likes.
    assert_only(&queue, &socket, WRITE);
    for _ in 0..20 {
        let other = block_in(&queue);
        peer.write_all(b"x").unwrap();
        assert_eq!(other.result().unwrap()[0].events(), READ);
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    }
    assert_only(&queue, &socket, WRITE);
}

#[test]
fn a_socket_that_is_subscribed_again_is_for_whoever_waits() {
    let _test = begin();
    let queue = queue();
    let (socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"x").unwrap();
    for turn in 0..50 {
        // This thread's, until it hands the socket on.
        assert_only(&queue, &socket, READ);
        queue.disable_read(&socket).unwrap();
        let other = block_in(&queue);
        if turn % 2 == 0 {
            queue.subscribe_read(&socket).unwrap();
            assert_eq!(other.result().unwrap()[0].events(), READ);
        } else {
            queue.subscribe_write(&socket).unwrap();
            assert_eq!(other.result().unwrap()[0].events(), WRITE);
            queue.subscribe_read(&socket).unwrap();
            queue.disable_write(&socket).unwrap();
        }
    }
}

#[test]
fn readers_that_disable_and_enable_lose_nothing() {
    const BYTES: usize = 3_000;
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::<usize>::new().unwrap());
    let connections = connections(&queue, 3);
    let total = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (queue, connections, total) = (Arc::clone(&queue), Arc::clone(&connections), Arc::clone(&total));
            block(move || {
                while let Ok(events) = queue.wait(None) {
                    for event in events {
                        let mut socket = connections[*event.token()].0.lock();
                        queue.disable_read(&*socket).unwrap();
                        let count = socket.get(&mut [0; 2]).unwrap_or(0);
                        queue.subscribe(&*socket, READ, *event.token()).unwrap();
                        // Last, since the queue is closed when all is counted.
                        total.fetch_add(count, SeqCst);
                    }
                }
            })
        })
        .collect();
    for _ in 0..BYTES {
        for (_, peer) in connections.iter() {
            (&*peer).write_all(b"x").unwrap();
        }
    }
    until_count("disabling", &total, 3 * BYTES);
    queue.handle().close();
    readers.into_iter().for_each(|thread| thread.result());
}

#[test]
fn what_another_thread_reads_without_being_told_is_not_reported_for_long() {
    let _test = begin();
    let queue = queue();
    let (socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let waiting = {
        let (queue, over) = (Arc::clone(&queue), Arc::clone(&over));
        block(move || {
            while !over.load(SeqCst) {
                queue.wait(Duration::from_millis(1)).unwrap();
            }
        })
    };
    let mut socket = socket;
    socket.timeout(PATIENCE);
    for turn in 0..3_000 {
        peer.write_all(b"xy").unwrap();
        if turn % 2 == 0 {
            socket.get_all(&mut [0; 2]).unwrap();
        } else {
            // All of it, by reads that can't know.
            socket.get_all(&mut [0; 1]).unwrap();
            socket.get_all(&mut [0; 1]).unwrap();
        }
    }
    over.store(true, SeqCst);
    waiting.result();
    // Whatever was reported in between: an operation that finds nothing settles it.
    assert!(socket.timeout(Duration::ZERO).get_byte().unwrap_err().is_timeout());
    assert_silent(&queue);
}

#[test]
fn a_close_is_told_however_it_meets_a_look() {
    const TURNS: usize = 600;
    let _test = begin();
    let queue = queue();
    let closed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(AtomicUsize::new(0));
    let waiting = {
        let (queue, closed, seen) = (Arc::clone(&queue), Arc::clone(&closed), Arc::clone(&seen));
        block(move || {
            while let Ok(events) = queue.wait(None) {
                let gone = events.iter().filter(|event| event.is_closed()).count();
                seen.fetch_add(events.len() - gone, SeqCst);
                closed.fetch_add(gone, SeqCst);
            }
        })
    };
    for turn in 0..TURNS {
        let (mut socket, mut peer) = unix_pair();
        queue.subscribe_read(&socket).unwrap();
        let before = seen.load(SeqCst);
        peer.write_all(b"x").unwrap();
        eventually(
            || format!("turn {turn}: the byte is reported"),
            || (seen.load(SeqCst) > before).then_some(()).ok_or_else(String::new),
        );
        // The queue strikes it out now, and it is closed at this very moment.
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        for _ in 0..turn % 300 {
            std::hint::spin_loop();
        }
        socket.handle().close();
        until_count("closings", &closed, turn + 1);
    }
    queue.handle().close();
    waiting.result();
}

#[test]
fn sockets_come_and_go_while_threads_wait() {
    const WORKERS: usize = 3;
    const LIVES: usize = 400;
    let _test = begin();
    let queue = queue();
    let seen = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(AtomicUsize::new(0));
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (queue, seen, closed) = (Arc::clone(&queue), Arc::clone(&seen), Arc::clone(&closed));
            block(move || {
                while let Ok(events) = queue.wait(None) {
                    let gone = events.iter().filter(|event| event.is_closed()).count();
                    closed.fetch_add(gone, SeqCst);
                    seen.fetch_add(events.len() - gone, SeqCst);
                }
            })
        })
        .collect();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let queue = Arc::clone(&queue);
            block(move || {
                let mut to_be_told = 0;
                for life in 0..LIVES {
                    let (mut socket, mut peer) = unix_pair();
                    queue.subscribe_read(&socket).unwrap();
                    match (life + worker) % 4 {
                        0 => drop(socket),
                        1 => {
                            peer.write_all(b"x").unwrap();
                            queue.disable_read(&socket).unwrap();
                            queue.subscribe_read_write(&socket).unwrap();
                            socket.timeout(PATIENCE).get_all(&mut [0; 1]).unwrap();
                            drop(socket);
                        }
                        2 => {
                            queue.remove(&socket).unwrap();
                            continue;
                        }
                        _ => {
                            let handle = socket.handle();
                            drop(peer);
                            handle.close();
                        }
                    }
                    to_be_told += 1;
                }
                to_be_told
            })
        })
        .collect();
    let to_be_told: usize = workers.into_iter().map(Blocked::result).sum();
    until_count("closings", &closed, to_be_told);
    assert_eq!(queue.len(), 0);
    // Those that have gone may have been too short-lived to be seen ready.
    let before = seen.load(SeqCst);
    let (socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"x").unwrap();
    eventually(
        || format!("more events than {before}"),
        || match seen.load(SeqCst) {
            count if count > before => Ok(()),
            count => Err(count.to_string()),
        },
    );
    queue.handle().close();
    waiting.into_iter().for_each(|thread| thread.result());
}

#[test]
fn nothing_is_reported_after_a_removal_while_another_thread_waits() {
    let _test = begin();
    let queue = Arc::new(SocketEventQueue::<usize>::new().unwrap());
    let removed = Arc::new(AtomicUsize::new(0));
    let waiting = {
        let (queue, removed) = (Arc::clone(&queue), Arc::clone(&removed));
        block(move || {
            loop {
                let before = removed.load(SeqCst);
                let Ok(events) = queue.wait(None) else { return };
                for event in events {
                    assert!(
                        *event.token() > before,
                        "{event:?}, when up to {before} were removed before the wait"
                    );
                }
            }
        })
    };
    let (mut socket, mut peer) = pair();
    socket.timeout(PATIENCE);
    for turn in 1..500 {
        queue.subscribe(&socket, BOTH, turn).unwrap();
        peer.write_all(b"x").unwrap();
        if turn % 3 == 0 {
            thread::yield_now();
        }
        queue.remove(&socket).unwrap();
        removed.store(turn, SeqCst);
        socket.get_all(&mut [0; 1]).unwrap();
    }
    queue.handle().close();
    waiting.result();
}

#[test]
fn threads_behind_the_one_that_polls_take_its_place() {
    let test = begin();
    if test.skip_if(is_wine(), LOST_WITH_THREAD) {
        return;
    }
    let queue = queue();
    let (mut socket, mut peer) = pair();
    queue.subscribe_read(&socket).unwrap();
    for _ in 0..50 {
        let waiting: Vec<_> = (0..4).map(|_| block_in(&queue)).collect();
        for left in (0..4).rev() {
            peer.write_all(b"x").unwrap();
            eventually(
                || format!("{left} go on waiting"),
                || match waiting.iter().filter(|thread| !thread.is_finished()).count() {
                    count if count <= left => Ok(()),
                    count => Err(count.to_string()),
                },
            );
            // Those that end pass it on; so it may be all of them by now.
            let _ = socket.timeout(Duration::ZERO).get(&mut [0; 10]);
        }
        queue.handle().wake();
        for thread in waiting {
            assert!(thread.result().is_ok());
        }
        queue.handle().wake();
        queue.wait(None).unwrap();
    }
}

#[test]
fn what_one_queue_is_told_of_is_not_missed_in_another() {
    const ROUNDS: usize = 500;
    let _test = begin();
    let (mut socket, mut peer) = pair();
    socket.timeout(PATIENCE);
    let queues: Vec<_> = (0..2)
        .map(|_| {
            let (queue, told) = (queue(), Arc::new(AtomicUsize::new(0)));
            queue.subscribe_read(&socket).unwrap();
            let waiting = {
                let (queue, told) = (Arc::clone(&queue), Arc::clone(&told));
                block(move || {
                    while queue.wait(None).is_ok() {
                        told.fetch_add(1, SeqCst);
                    }
                })
            };
            (queue, told, waiting)
        })
        .collect();
    for round in 0..ROUNDS {
        peer.write_all(b"x").unwrap();
        if round % 2 == 0 {
            // Read at once, and nothing is left until the next round.
            assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
            continue;
        }
        for (number, (_, told, _)) in queues.iter().enumerate() {
            // What is there is told again and again.
            let before = told.load(SeqCst);
            eventually(
                || format!("round {round}: queue {number} is told"),
                || match told.load(SeqCst) - before {
                    0..=2 => Err("not often enough".to_owned()),
                    _ => Ok(()),
                },
            );
        }
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    }
    for (queue, _, waiting) in queues {
        queue.handle().close();
        waiting.result();
    }
}

// What one thread was given and has not dealt with.

#[test]
fn a_thread_that_waits_again_lets_go_of_what_it_was_given() {
    let _test = begin();
    for limit in [Duration::ZERO, PATIENCE] {
        let (socket, mut peer) = pair();
        let queue = queue();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(b"unread").unwrap();
        assert_eq!(queue.wait(None).unwrap().len(), 1);
        let waiting = Arc::clone(&queue);
        // It goes to sleep because this thread is at it.
        let other = block(move || waiting.wait(None).unwrap().len()).until_blocked();
        queue.wait(limit).unwrap();
        assert_eq!(other.result(), 1, "{limit:?}");
    }
}

#[test]
fn a_closed_socket_is_reported_though_a_thread_is_still_at_it() {
    let _test = begin();
    for _ in 0..500 {
        let (socket, mut peer) = pair();
        let queue = queue();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(b"unread").unwrap();
        assert_eq!(queue.wait(None).unwrap().len(), 1);
        let waiting = Arc::clone(&queue);
        let other = block(move || waiting.wait(None).unwrap());
        socket.handle().close();
        let events = other.result();
        assert!(events.len() == 1 && events[0].is_closed(), "{events:?}");
    }
}

#[test]
fn a_thread_that_ends_lets_go_of_what_it_was_given() {
    let _test = begin();
    for _ in 0..500 {
        let (socket, mut peer) = pair();
        let queue = queue();
        queue.subscribe_read(&socket).unwrap();
        peer.write_all(b"unread").unwrap();
        let given = Arc::new(AtomicBool::new(false));
        let (waiting, is_given) = (Arc::clone(&queue), Arc::clone(&given));
        let first = block(move || {
            assert_eq!(waiting.wait(None).unwrap().len(), 1);
            is_given.store(true, SeqCst);
        });
        while !given.load(SeqCst) {
            std::hint::spin_loop();
        }
        assert_eq!(queue.wait(None).unwrap().len(), 1);
        first.result();
    }
}

#[test]
fn the_next_client_goes_to_who_has_time() {
    let _test = begin();
    let (listener, addr) = listener();
    let queue = queue();
    queue.subscribe_read(&listener).unwrap();
    let _first = TcpStream::connect(addr).unwrap();
    assert_eq!(queue.wait(None).unwrap().len(), 1);
    let waiting = Arc::clone(&queue);
    let other = block(move || waiting.wait(None).unwrap().len()).until_blocked();
    let _second = TcpStream::connect(addr).unwrap();
    // This thread is at the first client from here on, and doesn't wait again.
    let _client = listener.accept_new().unwrap();
    assert_eq!(other.result(), 1);
}

#[test]
fn what_a_thread_has_read_ahead_stays_with_it() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let queue = queue();
    queue.subscribe_read(&socket).unwrap();
    peer.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(queue.wait(None).unwrap().len(), 1);
    let waiting = Arc::clone(&queue);
    let other = block(move || waiting.wait(None).unwrap().len()).until_blocked();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("one"));
    let other = other.still_blocks();
    // More comes before this thread has taken what there was.
    peer.write_all(b"three\n").unwrap();
    let other = other.still_blocks();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("two"));
    assert_eq!(other.result(), 1);
}
