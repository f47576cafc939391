//! Several threads wait in one queue: what one of them was given and has not dealt with is lost by none.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use support::{PATIENCE, begin, block, listener, pair};
use wakesock::{SocketEventQueue, SocketId};

type Queue = Arc<SocketEventQueue<SocketId>>;

fn queue() -> Queue {
    Arc::new(SocketEventQueue::new().unwrap())
}

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
