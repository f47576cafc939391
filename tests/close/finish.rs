//! What the peer gets of an answer, when there is something that nobody reads any more.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wakesock::{Error, ShutdownRegistry, TcpSocket};

use crate::support::every::{ENDS, assert_failed};
use crate::support::{
    NO_RESETS, PATIENCE, begin, block, ends_at_limit, is_wine, listener, pair, pair_of, reset, timed,
};

const LONG: Duration = Duration::from_secs(60);

/// Reads all, but not at once: what it doesn't read stays in the system for a while.
fn read_slowly(peer: &mut TcpStream) -> std::io::Result<usize> {
    let mut buf = [0; 4096];
    let mut count = 0;
    loop {
        match peer.read(&mut buf)? {
            0 => return Ok(count),
            more => count += more,
        }
        if count % (64 << 10) < 4096 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn an_answer_arrives_whole_though_more_had_come_that_nobody_has_read() {
    let _test = begin();
    for (unread, answer) in [(1, 1), (7, 300_000), (50_000, 2_000_000)] {
        let (mut socket, mut peer) = pair();
        peer.write_all(&vec![1; unread]).unwrap();
        socket.wait_read().unwrap();
        let client = block(move || read_slowly(&mut peer));
        socket.put_all(&vec![2; answer]).unwrap();
        socket.finish(LONG).unwrap();
        assert!(!socket.is_open());
        assert_eq!(client.result().unwrap(), answer, "{unread} bytes unread");
    }
}

#[test]
fn its_limit_holds_whatever_linger_says() {
    let _test = begin();
    for is_aborted in [false, true] {
        let (mut socket, peer) = pair();
        socket.linger(LONG).unwrap();
        // More than the system takes while the peer doesn't read: so something is unsent when it closes.
        socket.timeout(Duration::from_millis(10));
        socket.put_all(&vec![2; 64 << 20]).unwrap_err();
        if is_aborted {
            socket.abort();
        }
        let (finished, took) = timed(|| socket.finish(Duration::from_millis(10)));
        finished.unwrap_err();
        assert!(took < LONG / 2, "{took:?}");
        drop(peer);
    }
}

#[test]
fn an_answer_arrives_whole_while_the_request_still_comes() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let client = block(move || {
        // As many clients, it reads only when it has sent all.
        peer.write_all(&vec![1; 5_000_000])?;
        let mut answer = String::new();
        peer.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    assert_eq!(socket.get_bytes(10).unwrap(), [1; 10]);
    socket.put_all(b"413 too large").unwrap();
    socket.finish(LONG).unwrap();
    assert_eq!(client.result().unwrap(), "413 too large");
}

#[test]
fn it_waits_for_the_peers_end_no_longer_than_its_limit() {
    let _test = begin();
    let lasting = |mut socket: TcpSocket, limit| {
        let (result, took) = timed(|| socket.finish(limit));
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        assert!(socket.is_timeout() && !socket.is_open());
        took
    };
    ends_at_limit(Duration::from_millis(20), |limit| {
        let (mut socket, _peer) = pair();
        // Its own limit is not this one.
        socket.timeout(Duration::from_millis(1));
        lasting(socket, limit)
    });
    let (socket, mut peer) = pair();
    lasting(socket, Duration::ZERO);
    assert!(matches!(peer.read(&mut [0]), Ok(0)), "the peer sees the end");
    // What is there already takes no time.
    let (mut socket, mut peer) = pair();
    peer.write_all(&[0; 30_000]).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut all = 0;
    while all < 30_000 {
        all = socket.wait_read().map(|()| peek_len(&socket)).unwrap();
    }
    socket.finish(Duration::ZERO).unwrap();
}

/// How much is there.
fn peek_len(socket: &TcpSocket) -> usize {
    let mut room = [std::mem::MaybeUninit::uninit(); 40_000];
    SockRef::from(socket).peek(&mut room).unwrap()
}

#[test]
fn a_peer_that_never_stops_sending_keeps_it_up_no_longer_than_its_limit() {
    let _test = begin();
    for limit in [Duration::ZERO, Duration::from_millis(50)] {
        let (mut socket, mut peer) = pair();
        let flood = block(move || while peer.write_all(&[0; 65_536]).is_ok() {});
        socket.wait_read().unwrap();
        let result = socket.finish(limit);
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        flood.result();
    }
}

#[test]
fn it_is_ended_from_elsewhere_and_closes_whatever_has_ended_it() {
    let _test = begin();
    for (end, expected) in ENDS {
        let registry = ShutdownRegistry::new();
        let (mut socket, mut peer) = pair_of(TcpSocket::with_registry(&registry));
        let handle = socket.handle();
        let blocked = block(move || (socket.finish(LONG), socket)).until_blocked();
        assert!(matches!(peer.read(&mut [0]), Ok(0)), "the stream has ended");
        end(&handle, &registry);
        let (result, socket) = blocked.result();
        assert_failed(&result, &expected, "finish");
        assert!(!socket.is_open());
    }
}

#[test]
fn the_limit_of_a_run_of_operations_holds_for_it() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    socket.global_timeout(Duration::from_millis(5));
    let result = socket.finish(LONG);
    assert!(matches!(result, Err(Error::GlobalTimeout)), "{result:?}");
    assert!(!socket.is_open());
}

#[test]
fn its_callback_is_called_while_it_waits() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    socket.when_wait(move |waiting| {
        if seen.fetch_add(1, SeqCst) == 2 {
            waiting.abort();
        }
    });
    let result = socket.finish(LONG);
    assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
    assert_eq!(calls.load(SeqCst), 3);
}

#[test]
fn a_connection_that_the_peer_has_reset_is_an_error() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    let (mut socket, peer) = pair();
    reset(peer);
    socket.wait_read().unwrap();
    let error = socket.finish(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(!socket.is_open());
}

#[test]
fn it_works_in_the_error_state() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"an endless line").unwrap();
    socket.timeout(Duration::from_millis(1)).get_line().unwrap_err();
    assert!(socket.is_error());
    let client = block(move || read_slowly(&mut peer));
    socket.finish(LONG).unwrap();
    assert_eq!(client.result().unwrap(), 0);
}

#[test]
fn what_has_no_stream_to_end_is_a_named_error() {
    let _test = begin();
    let (mut socket, peer) = pair();
    drop(peer);
    socket.finish(LONG).unwrap();
    assert!(matches!(socket.finish(LONG), Err(Error::Closed)), "a second time");
    assert!(matches!(TcpSocket::new().finish(LONG), Err(Error::Closed)));

    let (mut listener, addr) = listener();
    let error = listener.finish(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
    assert!(error.to_string().starts_with(&format!("finish on {addr}: ")), "{error}");
    let _client = TcpStream::connect(addr).unwrap();
    listener.timeout(PATIENCE).accept_new().unwrap();
}
