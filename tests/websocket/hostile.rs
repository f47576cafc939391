//! Peers that want memory or time.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use wakesock::{Error, Message, Role};

use crate::ends::*;
use crate::support::{PATIENCE, begin, timed};

const LIMIT: Duration = Duration::from_millis(200);

#[test]
fn who_pings_for_ever_and_does_not_read_gets_no_memory_and_no_time() {
    let _test = begin();
    for limit in [LIMIT, Duration::ZERO] {
        let (mut socket, mut peer) = end(Role::Server);
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        peer.set_write_timeout(Some(PATIENCE)).unwrap();
        let pings = frame_for(Role::Server, LAST | PING, &[b'!'; 125]).repeat(500);
        let pinging = thread::spawn(move || {
            while !stop.load(SeqCst) {
                if peer.write_all(&pings).is_err() {
                    break;
                }
            }
            peer
        });
        socket.timeout(limit);
        let mut most = 0;
        let mut rounds_when_full = 0;
        while rounds_when_full < 3 {
            assert_timeout(&socket.receive());
            most = most.max(socket.unsent());
            rounds_when_full += usize::from(socket.unsent() > 0);
        }
        assert!(most < 300, "{most} bytes");
        enough.store(true, SeqCst);
        socket.timeout(Duration::ZERO);
        while !pinging.is_finished() {
            assert_timeout(&socket.receive());
        }
        let mut peer = pinging.join().unwrap();
        // It still works.
        write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"hello"));
        socket.timeout(PATIENCE);
        assert_eq!(socket.receive().unwrap(), Some(Message::from("hello")));
        assert_eq!(read_frame(&mut peer).unwrap().0, LAST | PONG);
    }
}

#[test]
fn the_newest_ping_is_answered() {
    let _test = begin();
    let (mut socket, mut peer) = unix_end(Role::Server);
    socket.timeout(Duration::ZERO).send_binary(&vec![0; 8 << 20]).unwrap();
    for at in 0..100_u8 {
        write(&mut peer, &frame_for(Role::Server, LAST | PING, &[at]));
    }
    write(&mut peer, &frame_for(Role::Server, LAST | TEXT, b"read"));
    assert_eq!(socket.timeout(PATIENCE).receive().unwrap(), Some(Message::from("read")));
    let flushing = thread::spawn(move || socket.flush().map(|()| socket));
    assert_eq!(read_frame(&mut peer).unwrap().2.len(), 8 << 20);
    assert_eq!(read_frame(&mut peer).unwrap(), (LAST | PONG, false, vec![99]));
    flushing.join().unwrap().unwrap();
}

#[test]
fn a_million_empty_fragments_are_one_message() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    let sending = thread::spawn(move || {
        write(&mut peer, &[TEXT, 0]);
        let empty = [CONTINUATION, 0].repeat(1000);
        for _ in 0..1000 {
            write(&mut peer, &empty);
        }
        write(&mut peer, &frame_for(Role::Client, LAST | CONTINUATION, b"at last"));
        peer
    });
    assert_eq!(socket.receive().unwrap(), Some(Message::from("at last")));
    drop(sending.join().unwrap());
}

#[test]
fn empty_fragments_for_ever_do_not_outlast_a_limit() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let sending = thread::spawn(move || {
        let empty = [CONTINUATION, 0].repeat(1000);
        if peer.write_all(&[TEXT, 0]).is_ok() {
            while peer.write_all(&empty).is_ok() {}
        }
    });
    socket.timeout(LIMIT);
    let (received, took) = timed(|| socket.receive());
    assert_timeout(&received);
    assert!(took >= LIMIT, "{took:?}");
    socket.timeout(Duration::ZERO);
    assert_timeout(&socket.receive());
    drop(socket);
    sending.join().unwrap();
}

#[test]
fn a_byte_now_and_then_does_not_outlast_a_limit() {
    let _test = begin();
    let (mut socket, mut peer) = end(Role::Client);
    write(&mut peer, &[LAST | TEXT, 125]);
    let sending = thread::spawn(move || {
        while peer.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    socket.timeout(Duration::from_millis(50));
    let (received, took) = timed(|| socket.receive());
    assert_timeout(&received);
    assert!(took >= Duration::from_millis(50), "{took:?}");
    drop(socket);
    sending.join().unwrap();
}

/// How much memory this process has for itself.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_only_announced_takes_no_memory() {
    let _test = begin();
    let before = resident();
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let (mut socket, mut peer) = end(Role::Client);
        // 16 MiB less one byte.
        write(&mut peer, b"\x82\x7f\x00\x00\x00\x00\x00\xff\xff\xffa few");
        socket.timeout(Duration::ZERO);
        while socket.socket().is_open() && !matches!(socket.receive(), Err(Error::Timeout)) {}
        sockets.push((socket, peer));
    }
    let taken = resident().saturating_sub(before);
    assert!(taken < 100 * 64 * 1024, "{taken} bytes");
}
