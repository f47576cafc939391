//! What ends, a queue, a subscription or a socket that others watch, leaves nothing behind.

mod support;

use std::net::TcpStream;
use std::sync::Arc;

use support::{begin, block, listener, pair};
use wakesock::{SocketEventQueue, SocketId, TcpSocket};

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
