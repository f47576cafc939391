//! A listener that can't accept is held back by what waits for it: a loop that ignores the error doesn't spin.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use wakesock::{SocketEventQueue, SocketId, SocketWaitEvent, TcpSocket};

use crate::support::queues::{READ, assert_only, assert_only_closed, block_in, queue};
use crate::support::scarce::scarce;
use crate::support::{PATIENCE, begin, block, listener, pair, timed};

/// A listener with a limit of zero and this many clients.
fn with_clients(count: usize) -> (TcpSocket, Vec<TcpStream>) {
    let (mut listener, addr) = listener();
    listener.timeout(Duration::ZERO);
    let clients = (0..count).map(|_| TcpStream::connect(addr).unwrap()).collect();
    (listener, clients)
}

#[track_caller]
fn assert_refused(listener: &TcpSocket) {
    assert_eq!(listener.accept_new().unwrap_err().code(), libc::EMFILE);
}

/// Waits, for as long as it takes, and says how many events there are.
type Wait = fn(&mut Waiting, &TcpSocket) -> usize;

struct Waiting {
    queue: SocketEventQueue<SocketId>,
    kept: SocketWaitEvent,
}

const WAITS: [(&str, Wait); 4] = [
    ("wait", |waiting, _| waiting.queue.wait(PATIENCE).unwrap().len()),
    ("wait_at_most", |waiting, _| {
        waiting.queue.wait_at_most(1, PATIENCE).unwrap().len()
    }),
    ("a SocketWaitEvent", |waiting, _| waiting.kept.wait(PATIENCE).unwrap()),
    ("a SocketWaitEvent made anew", |_, listener| {
        let mut anew = SocketWaitEvent::new();
        anew.add(listener, READ);
        anew.wait(PATIENCE).unwrap()
    }),
];

/// In a thread of its own, which keeps no set for later tests.
fn with_each_wait(run: impl Fn(&str, Wait, &mut Waiting, &TcpSocket, &[TcpStream]) + Send + 'static) {
    block(move || {
        for (name, wait) in WAITS {
            let (listener, clients) = with_clients(3);
            let mut waiting = Waiting {
                queue: SocketEventQueue::new().unwrap(),
                kept: SocketWaitEvent::new(),
            };
            waiting.queue.subscribe_read(&listener).unwrap();
            waiting.kept.add(&listener, READ);
            // All have waited, so that they have what they need.
            WAITS
                .iter()
                .for_each(|(_, wait)| assert_eq!(wait(&mut waiting, &listener), 1));
            run(name, wait, &mut waiting, &listener, &clients);
        }
    })
    .result();
}

/// The length of a pause after so many failures.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(5 << (failures - 1))
}

#[test]
fn a_loop_that_ignores_that_it_cannot_accept_does_not_spin() {
    let _test = begin();
    with_each_wait(|name, wait, waiting, listener, clients| {
        let none = scarce(0);
        for failures in 1..7 {
            let begin = Instant::now();
            while let Ok(_client) = listener.accept_new() {}
            // It is reported again without anything from the network.
            assert_eq!(wait(waiting, listener), 1, "{name}");
            let took = begin.elapsed();
            assert!(took >= pause(failures), "{name}: {took:?} after {failures} failures");
        }
        none.allow_all();
        // No client was lost.
        for client in clients {
            let accepted = listener.accept_new().unwrap();
            assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap(), "{name}");
        }
    });
}

#[test]
fn accepting_goes_on_by_itself_when_descriptors_come_back() {
    let _test = begin();
    with_each_wait(|name, wait, waiting, listener, clients| {
        let none = scarce(0);
        for _ in 0..3 {
            assert_refused(listener);
            assert_eq!(wait(waiting, listener), 1, "{name}");
        }
        assert_refused(listener);
        none.allow_all();
        let mut accepted = Vec::new();
        while accepted.len() < clients.len() {
            assert_eq!(wait(waiting, listener), 1, "{name}: {} accepted", accepted.len());
            while let Ok(client) = listener.accept_new() {
                accepted.push(client);
            }
        }
    });
}

/// Fails so often that the listener is held back for this long from now on.
fn hold_back(listener: &TcpSocket, queue: &SocketEventQueue, failures: u32) -> Duration {
    for _ in 0..failures {
        assert_only(queue, listener, READ);
        assert_refused(listener);
    }
    pause(failures)
}

#[test]
fn after_an_accept_that_worked_the_next_pause_is_a_short_one() {
    let _test = begin();
    let (listener, _clients) = with_clients(10);
    let queue = queue();
    queue.subscribe_read(&listener).unwrap();
    let none = scarce(0);
    let long = hold_back(&listener, &queue, 7);
    none.allow_all();
    for attempt in 0.. {
        drop(listener.accept_new().unwrap());
        let _none = scarce(0);
        let ((), took) = timed(|| {
            assert_refused(&listener);
            assert_only(&queue, &listener, READ);
        });
        assert!(took >= pause(1), "{took:?}");
        // Unless the machine has no time.
        if took < long {
            break;
        }
        assert!(attempt < 5, "{took:?}");
    }
}

#[test]
fn an_accept_that_works_in_another_thread_ends_the_pause() {
    let _test = begin();
    for attempt in 0.. {
        let (listener, _clients) = with_clients(2);
        let queue = queue();
        queue.subscribe_read(&listener).unwrap();
        let none = scarce(0);
        let long = hold_back(&listener, &queue, 7);
        none.allow_all();
        let begin = Instant::now();
        let waiting = block_in(&queue);
        drop(listener.accept_new().unwrap());
        assert_eq!(waiting.result().unwrap().len(), 1);
        if begin.elapsed() < long {
            break;
        }
        assert!(attempt < 5, "it was told after {:?}", begin.elapsed());
    }
}

#[test]
fn what_else_is_in_the_queue_is_not_held_back_and_limits_hold() {
    let _test = begin();
    let (listener, _clients) = with_clients(1);
    let (mut socket, mut peer) = pair();
    let (queue, other) = (queue(), queue());
    for queue in [&queue, &other] {
        queue.subscribe_read(&listener).unwrap();
        queue.subscribe_read(&socket).unwrap();
        assert_only(queue, &listener, READ);
    }
    let none = scarce(0);
    let long = hold_back(&listener, &queue, 7);
    let begin = Instant::now();
    for turn in 0.. {
        peer.write_all(b"x").unwrap();
        // It is held back in all its queues.
        let told = [queue.wait(PATIENCE).unwrap(), other.wait(PATIENCE).unwrap()];
        assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
        let limit = Duration::from_micros(500 * turn);
        let (none_told, took) = timed(|| queue.wait(limit).unwrap());
        if begin.elapsed() > long / 2 {
            // What was told of the listener may have been told in time.
            break;
        }
        for told in told {
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0].socket_id(), socket.id());
        }
        assert!(
            none_told.is_empty() && took >= limit,
            "{none_told:?}, {took:?} of {limit:?}"
        );
    }
    none.allow_all();
}

#[test]
fn a_listener_that_is_held_back_is_subscribed_and_closed_as_any() {
    let _test = begin();
    let (listener, _clients) = with_clients(1);
    let (queue, late) = (queue(), queue());
    queue.subscribe_read(&listener).unwrap();
    let none = scarce(0);
    let long = hold_back(&listener, &queue, 7);
    let begin = Instant::now();
    late.subscribe_read(&listener).unwrap();
    queue.disable_read(&listener).unwrap();
    queue.subscribe_read(&listener).unwrap();
    let told = [&queue, &late].map(|queue| queue.wait(Duration::ZERO).unwrap().len());
    assert!(told == [0, 0] || begin.elapsed() > long / 2, "{told:?}");
    none.allow_all();
    let waiting = block_in(&queue);
    listener.handle().close();
    let events = waiting.result().unwrap();
    assert!(events.len() == 1, "{events:?}");
    // Unless the pause was over before.
    if events[0].is_closed() {
        assert!(queue.wait(Duration::ZERO).unwrap().is_empty());
    } else {
        assert_only_closed(&queue, listener.id());
    }
    assert_only_closed(&late, listener.id());
}
