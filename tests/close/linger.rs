//! Which close waits for unsent data, and which never does.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use wakesock::TcpSocket;

use crate::support::full::MUCH;
use crate::support::{begin, block, cpu_time, eventually, is_wine, listener, pair, thread_id, timed};

const LIMIT: Duration = Duration::from_secs(2);

/// Sends more than the buffers hold, so that closing has something to wait for.
fn fill(socket: &mut TcpSocket) {
    socket.timeout(Duration::from_millis(50));
    let sent = socket.put(&MUCH).unwrap();
    assert!(sent < MUCH.len(), "all of it was sent");
}

fn close_by_handle(mut socket: TcpSocket) -> Duration {
    fill(&mut socket);
    timed(|| socket.handle().close()).1
}

#[test]
fn a_handle_never_lingers() {
    let _test = begin();
    let (socket, _peer) = pair();
    socket.linger(LIMIT).unwrap();
    let took = close_by_handle(socket);
    assert!(took < LIMIT / 2, "{took:?}");
}

#[test]
fn a_handle_never_lingers_for_a_limit_that_the_listener_had() {
    let _test = begin();
    let (listener, addr) = listener();
    listener.linger(LIMIT).unwrap();
    let _peer = TcpStream::connect(addr).unwrap();
    let took = close_by_handle(listener.accept_new().unwrap());
    assert!(took < LIMIT / 2, "{took:?}");
}

#[test]
fn a_handle_never_lingers_for_a_limit_that_was_set_elsewhere() {
    let _test = begin();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = listener.accept().unwrap().0;
    SockRef::from(&stream).set_linger(Some(LIMIT)).unwrap();
    let took = close_by_handle(TcpSocket::from(stream));
    assert!(took < LIMIT / 2, "{took:?}");
}

#[test]
fn close_waits_for_the_limit_and_another_close_waits_with_it_asleep() {
    let test = begin();
    if test.skip_if(is_wine(), "Wine closes without lingering") {
        return;
    }
    let (mut socket, peer) = pair();
    socket.linger(Duration::from_secs(1)).unwrap();
    fill(&mut socket);
    let socket = Arc::new(socket);
    let closers: Vec<_> = (0..2)
        .map(|_| {
            let socket = Arc::clone(&socket);
            block(move || {
                let (_, took) = timed(|| socket.close());
                (took, cpu_time(thread_id()))
            })
        })
        .map(|closer| closer.until_blocked())
        .collect();
    for closer in closers {
        let (took, used) = closer.result();
        assert!(took >= Duration::from_millis(900), "closed after {took:?}");
        assert!(
            used < Duration::from_millis(200),
            "waiting took {used:?} of processor time"
        );
    }
    drop(peer);
}

#[test]
fn close_with_a_limit_of_zero_resets() {
    let _test = begin();
    for by_handle in [false, true] {
        let (mut socket, mut peer) = pair();
        socket.linger(Duration::ZERO).unwrap();
        socket.timeout(Duration::from_millis(1));
        assert!(socket.wait_read().unwrap_err().is_timeout());
        if by_handle {
            socket.handle().close();
        } else {
            socket.close();
        }
        let error = eventually(
            || "the peer sees a reset".to_owned(),
            || peer.write_all(b"x").err().ok_or_else(|| "it can write".to_owned()),
        );
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "by a handle: {by_handle}"
        );
    }
}

#[test]
fn the_longest_limit_is_not_the_shortest() {
    let _test = begin();
    let (socket, _peer) = pair();
    socket.linger(Duration::MAX).unwrap();
    let limit = SockRef::from(&socket).linger().unwrap();
    assert!(limit > Some(Duration::from_secs(1000)), "{limit:?}");
    socket.no_linger().unwrap();
}
