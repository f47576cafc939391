//! Connecting to an address that answers, refuses, or stays silent.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use wakesock::{Error, TcpSocket};

use crate::support::{
    BlackHole, PATIENCE, Refusing, assert_tells, begin, block, code, descriptors, ends_at_limit, server, timed,
};
#[cfg(target_os = "linux")]
use crate::support::{Handler, send_signal, signals_that_came};

/// A socket whose connection to `hole` has been started and is not finished.
fn started(hole: &BlackHole) -> TcpSocket {
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(&[hole.addr()]).unwrap();
    assert!(!socket.is_open(), "the black hole answered");
    socket
}

/// A connection of which both ends say the same.
fn assert_connected(socket: &mut TcpSocket, server: &TcpListener) {
    let (mut peer, from) = server.accept().unwrap();
    assert_eq!(socket.local_addr().unwrap(), from);
    assert_eq!(socket.peer_addr().unwrap(), server.local_addr().unwrap());
    socket.timeout(PATIENCE).put_all(b"ping").unwrap();
    let mut ping = [0; 4];
    peer.read_exact(&mut ping).unwrap();
    assert_eq!(&ping, b"ping");
    peer.write_all(b"pong").unwrap();
    assert_eq!(socket.get_all_bytes(4).unwrap(), b"pong");
}

#[test]
fn the_connection_stands_when_connect_returns() {
    let _test = begin();
    let (server, addr) = server();
    let mut socket = TcpSocket::new();
    for limit in [None, Some(PATIENCE), Some(Duration::MAX)] {
        socket.timeout(limit).connect("127.0.0.1", addr.port()).unwrap();
        assert!(socket.is_open() && !socket.is_eof() && !socket.is_error());
        assert_connected(&mut socket, &server);
        socket.timeout(limit).connect("localhost", addr.port()).unwrap();
        assert_connected(&mut socket, &server);
        socket.timeout(limit).connect_to(&[addr]).unwrap();
        assert_connected(&mut socket, &server);
    }
}

#[test]
fn refused_is_refused_at_once_and_not_a_timeout() {
    let _test = begin();
    let refusing = Refusing::new();
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::from_secs(30));
    let (error, took) = timed(|| socket.connect("127.0.0.1", refusing.addr().port()).unwrap_err());
    assert!(took < PATIENCE, "{took:?}");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(error.code(), code::ECONNREFUSED);
    let before = format!("connect to {}: ", refusing.addr());
    assert_tells(&error.to_string(), &before, "connection refused");
    assert!(!error.is_timeout() && !error.is_closed() && !socket.is_timeout());
    assert!(socket.is_error() && !socket.is_open(), "{socket:?}");
    assert_eq!(socket.error_desc(), error.to_string());
}

#[test]
fn a_failed_connect_is_forgotten_by_the_next() {
    let _test = begin();
    let refusing = Refusing::new();
    let (server, addr) = server();
    let mut socket = TcpSocket::new();
    for _ in 0..50 {
        socket.connect_to(&[refusing.addr()]).unwrap_err();
        socket.connect_to(&[addr]).unwrap();
        assert!(!socket.is_error(), "{socket:?}");
        assert_connected(&mut socket, &server);
    }
}

/// A connect that runs out of time hasn't failed.
#[track_caller]
fn assert_timed_out(result: &Result<(), Error>, socket: &TcpSocket) {
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
    assert!(
        socket.is_timeout() && !socket.is_open() && !socket.is_error(),
        "{socket:?}"
    );
}

#[test]
fn a_black_hole_is_a_timeout_and_never_early() {
    let _test = begin();
    let hole = BlackHole::new();
    let mut socket = TcpSocket::new();
    for limit in [1_000, 20_000_000] {
        ends_at_limit(Duration::from_nanos(limit), |limit| {
            let (result, took) = timed(|| socket.timeout(limit).connect_to(&[hole.addr()]));
            assert_timed_out(&result, &socket);
            took
        });
    }
}

#[test]
fn a_late_answer_is_still_an_answer() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let mut from_zero = started(&hole);
    let blocked = block(move || TcpSocket::new().timeout(PATIENCE).connect_to(&[addr])).until_blocked();
    let begin = Instant::now();
    hole.relieve();
    blocked.result().unwrap();
    from_zero.timeout(PATIENCE).wait_connect().unwrap();
    assert_eq!(from_zero.peer_addr().unwrap(), addr);
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
}

#[test]
fn a_dead_first_address_falls_through_to_a_live_one() {
    let _test = begin();
    let dead = [Refusing::new(), Refusing::new()];
    let (server, addr) = server();
    let before = descriptors();
    let mut socket = TcpSocket::new();
    socket.connect_to(&[dead[0].addr(), dead[1].addr(), addr]).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), addr);
    assert!(
        descriptors() <= before + 3,
        "more than a socket and its waiter: {}",
        descriptors() - before
    );
    assert_connected(&mut socket, &server);
}

#[test]
fn an_ipv4_address_in_the_clothes_of_ipv6_is_connected_to() {
    let _test = begin();
    let (server, addr) = server();
    let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), addr.port());
    let mut socket = TcpSocket::new();
    socket.timeout(PATIENCE).connect_to(&[mapped]).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), mapped);
    assert_eq!(server.accept().unwrap().1.port(), socket.local_addr().unwrap().port());
}

#[test]
fn the_error_names_all_attempts() {
    let _test = begin();
    let dead = [Refusing::new(), Refusing::new(), Refusing::new()];
    let addrs = dead.each_ref().map(Refusing::addr);
    let error = TcpSocket::new().connect_to(&addrs).unwrap_err();
    let Error::Connect { attempts } = &error else {
        panic!("{error:?}")
    };
    let tried: Vec<SocketAddr> = attempts.iter().map(|attempt| attempt.0).collect();
    assert_eq!(tried, addrs);
    for (addr, why) in attempts {
        assert_eq!(why.kind(), ErrorKind::ConnectionRefused, "{addr}");
        assert!(error.to_string().contains(&format!("{addr}: ")), "{error}");
    }
    let told = addrs.map(|addr| format!("{addr}: connection refused")).join("; ");
    assert_tells(&error.to_string(), "connect to ", &told);
}

#[test]
fn no_address_is_an_error() {
    let _test = begin();
    let error = TcpSocket::new().connect_to(&[]).unwrap_err();
    assert!(
        matches!(&error, Error::Connect { attempts } if attempts.is_empty()),
        "{error:?}"
    );
}

#[test]
fn one_limit_covers_all_addresses() {
    let _test = begin();
    let holes = [BlackHole::new(), BlackHole::new()];
    let refusing = Refusing::new();
    let addrs = [refusing.addr(), holes[0].addr(), holes[1].addr()];
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| TcpSocket::new().timeout(limit).connect_to(&addrs));
        let error = result.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        took
    });
}

#[test]
fn an_unknown_host_is_named() {
    let _test = begin();
    let mut socket = TcpSocket::new();
    let error = socket.connect("no-such-host.invalid", 80).unwrap_err();
    assert!(
        matches!(&error, Error::Resolve { host, .. } if host == "no-such-host.invalid"),
        "{error:?}"
    );
    assert!(
        error.to_string().starts_with("resolve no-such-host.invalid: "),
        "{error}"
    );
    assert!(socket.is_error() && !socket.is_open());
}

#[test]
fn closing_ends_a_connect() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let before = descriptors();
    for limit in [None, Some(PATIENCE), Some(Duration::MAX)] {
        let mut socket = TcpSocket::new();
        let handle = socket.handle();
        let blocked = block(move || {
            let result = socket.timeout(limit).connect_to(&[addr]);
            (result, socket)
        });
        let blocked = blocked.still_blocks();
        assert!(!handle.is_open());
        handle.close();
        let (result, socket) = blocked.result();
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
        assert!(!socket.is_open() && !socket.is_error(), "{socket:?}");
        assert_eq!(descriptors(), before, "descriptors that a closed connect left");
    }
}

#[test]
fn closing_ends_a_connect_at_any_moment() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let before = descriptors();
    for turn in 0..200 {
        let mut socket = TcpSocket::new();
        let handle = socket.handle();
        let blocked = block(move || (socket.connect_to(&[addr]), socket));
        for _ in 0..turn * 50 {
            std::hint::spin_loop();
        }
        handle.close();
        let (result, mut socket) = blocked.result();
        assert!(matches!(result, Err(Error::Closed)), "turn {turn}: {result:?}");
        assert_eq!(descriptors(), before, "turn {turn}");
        assert!(
            socket.timeout(Duration::ZERO).connect_to(&[addr]).is_ok(),
            "turn {turn}"
        );
    }
}

#[test]
fn aborting_ends_a_connect_and_leaves_the_socket_usable() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let (server, live) = server();
    let before = descriptors();
    for turn in 0..100 {
        let mut socket = TcpSocket::new();
        let handle = socket.handle();
        let mut blocked = block(move || (socket.connect_to(&[addr]), socket));
        if turn % 2 == 0 {
            blocked = blocked.until_blocked();
        }
        handle.abort();
        let (result, mut socket) = blocked.result();
        assert!(matches!(result, Err(Error::Aborted)), "turn {turn}: {result:?}");
        assert!(socket.is_abort() && !socket.is_open(), "turn {turn}: {socket:?}");
        assert_eq!(descriptors(), before, "turn {turn}");
        socket.clear_abort();
        socket.connect_to(&[live]).unwrap();
        assert_connected(&mut socket, &server);
    }
}

/// Runs `connect` against `end` many times, so that `end` comes before, during and after it: gives how often it failed
/// and how often it succeeded.
fn race(
    mut check: impl FnMut(wakesock::Result<()>, TcpSocket) -> bool,
    end: impl Fn(&wakesock::SocketHandle),
    addr: SocketAddr,
) -> (usize, usize) {
    let (mut failed, mut succeeded) = (0, 0);
    let mut spins = 0;
    for _ in 0..400 {
        let mut socket = TcpSocket::new();
        let handle = socket.handle();
        let progress = Arc::new(AtomicUsize::new(0));
        let begun = Arc::clone(&progress);
        let blocked = block(move || {
            begun.store(1, SeqCst);
            (socket.connect_to(&[addr]), socket)
        });
        // Later after a failure, earlier after a success: so it stays close to where one becomes the other.
        while spins > 0 && progress.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..spins {
            std::hint::spin_loop();
        }
        end(&handle);
        let (result, socket) = blocked.result();
        if check(result, socket) {
            succeeded += 1;
            spins = spins * 3 / 4;
        } else {
            failed += 1;
            spins += spins / 2 + 100;
        }
    }
    (failed, succeeded)
}

#[test]
fn closing_just_as_it_succeeds_leaves_nothing() {
    let _test = begin();
    let (server, addr) = server();
    server.set_nonblocking(true).unwrap();
    let before = descriptors();
    let seen = race(
        |result, socket| {
            assert!(!socket.is_open(), "{result:?}: {socket:?}");
            drop(socket);
            assert_eq!(descriptors(), before, "{result:?}");
            while let Ok((mut peer, _)) = server.accept() {
                peer.set_nonblocking(false).unwrap();
                assert!(!matches!(peer.read(&mut [0]), Ok(1..)), "the peer was sent something");
            }
            assert!(matches!(result, Ok(()) | Err(Error::Closed)), "{result:?}");
            result.is_ok()
        },
        |handle| handle.close(),
        addr,
    );
    assert!(seen.0 > 0 && seen.1 > 0, "not a race: (failed, succeeded) = {seen:?}");
}

#[test]
fn aborting_just_as_it_succeeds_leaves_a_connection_or_nothing() {
    let _test = begin();
    let (server, addr) = server();
    let before = descriptors();
    let seen = race(
        |result, mut socket| {
            assert!(socket.is_abort(), "{result:?}");
            assert_eq!(socket.is_open(), result.is_ok(), "{result:?}");
            socket.clear_abort();
            if result.is_ok() {
                while server.accept().unwrap().1 != socket.local_addr().unwrap() {}
                socket.timeout(PATIENCE);
                assert!(matches!(socket.get_byte(), Ok(None)), "{socket:?}");
            } else {
                assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
            }
            drop(socket);
            assert_eq!(descriptors(), before, "{result:?}");
            result.is_ok()
        },
        |handle| handle.abort(),
        addr,
    );
    assert!(seen.0 > 0 && seen.1 > 0, "not a race: (failed, succeeded) = {seen:?}");
}

#[test]
fn closing_before_it_begins_fails_the_next_opening_only() {
    let _test = begin();
    let (server, addr) = server();
    let mut socket = TcpSocket::new();
    let handle = socket.handle();
    handle.close();
    let result = socket.connect_to(&[addr]);
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    handle.close();
    socket.connect_to(&[addr]).unwrap();
    handle.close();
    handle.abort();
    assert_connected(&mut socket, &server);
}

#[test]
fn closing_during_the_look_up_ends_it() {
    let _test = begin();
    for turn in 0..20 {
        let mut socket = TcpSocket::new();
        let handle = socket.handle();
        let blocked = block(move || socket.connect("no-such-host.invalid", 80));
        if turn % 2 == 0 {
            while !blocked.is_finished() && !crate::support::is_sleeping(blocked.task()) {}
        }
        handle.close();
        let result = blocked.result();
        assert!(
            matches!(result, Err(Error::Closed | Error::Resolve { .. })),
            "turn {turn}: {result:?}"
        );
    }
    let mut socket = TcpSocket::new();
    socket.handle().close();
    let result = socket.connect("no-such-host.invalid", 80);
    assert!(matches!(result, Err(Error::Closed)), "closed before: {result:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_meanwhile_changes_nothing() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let _handler = Handler::counting(libc::SIGUSR1, 0);
    let before = signals_that_came();
    let mut socket = TcpSocket::new();
    let handle = socket.handle();
    let mut blocked = block(move || socket.timeout(PATIENCE).connect_to(&[addr]));
    for sent in 1..=20 {
        blocked = blocked.until_blocked();
        send_signal(blocked.task(), libc::SIGUSR1);
        crate::support::eventually(
            || "the signal arrives".to_owned(),
            || {
                (signals_that_came() == before + sent)
                    .then_some(())
                    .ok_or(String::new())
            },
        );
    }
    let blocked = blocked.still_blocks();
    handle.close();
    let result = blocked.result();
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
}

#[test]
fn a_zero_limit_starts_and_wait_connect_finishes() {
    let _test = begin();
    let (server, addr) = server();
    let mut socket = TcpSocket::new();
    for connect in [
        (|socket, addr| TcpSocket::connect_to(socket, &[addr])) as fn(&mut TcpSocket, SocketAddr) -> _,
        |socket, addr| socket.connect("127.0.0.1", addr.port()),
        |socket, addr| socket.connect("localhost", addr.port()),
    ] {
        socket.timeout(Duration::ZERO);
        connect(&mut socket, addr).unwrap();
        socket.timeout(PATIENCE).wait_connect().unwrap();
        assert!(socket.is_open(), "{socket:?}");
        socket.wait_connect().unwrap();
        assert_connected(&mut socket, &server);
    }
}

#[test]
fn wait_connect_tells_why_it_failed() {
    let _test = begin();
    let dead = [Refusing::new(), Refusing::new()];
    let mut socket = TcpSocket::new();
    let begun = socket
        .timeout(Duration::ZERO)
        .connect_to(&dead.each_ref().map(Refusing::addr));
    let error = begun
        .and_then(|()| socket.timeout(PATIENCE).wait_connect())
        .unwrap_err();
    assert!(
        matches!(&error, Error::Connect { attempts } if attempts.len() == 2),
        "{error:?}"
    );
    let mut socket = TcpSocket::new();
    let begun = socket.timeout(Duration::ZERO).connect("no-such-host.invalid", 80);
    let error = begun
        .and_then(|()| socket.timeout(PATIENCE).wait_connect())
        .unwrap_err();
    assert!(matches!(error, Error::Resolve { .. }), "{error:?}");
    let never = TcpSocket::new().wait_connect();
    assert!(matches!(never, Err(Error::Closed)), "{never:?}");
}

#[test]
fn wait_connect_has_a_limit_and_can_be_repeated() {
    let _test = begin();
    let hole = BlackHole::new();
    let mut socket = started(&hole);
    let result = socket.wait_connect();
    assert!(matches!(result, Err(Error::Timeout)), "zero: {result:?}");
    for _ in 0..3 {
        ends_at_limit(Duration::from_millis(20), |limit| {
            let (result, took) = timed(|| socket.timeout(limit).wait_connect());
            assert_timed_out(&result, &socket);
            took
        });
    }
}

#[test]
fn closing_and_aborting_end_wait_connect() {
    let _test = begin();
    let hole = BlackHole::new();
    let before = descriptors();
    for abort in [false, true] {
        let mut socket = started(&hole);
        let handle = socket.handle();
        let blocked = block(move || (socket.blocking().wait_connect(), socket)).still_blocks();
        if abort {
            handle.abort();
        } else {
            handle.close();
        }
        let (result, mut socket) = blocked.result();
        match abort {
            true => assert!(matches!(result, Err(Error::Aborted)), "{result:?}"),
            false => assert!(matches!(result, Err(Error::Closed)), "{result:?}"),
        }
        assert_eq!(descriptors(), before, "{result:?}");
        socket.clear_abort();
        let later = socket.wait_connect();
        assert!(
            matches!(later, Err(Error::Closed)),
            "there is nothing to wait for: {later:?}"
        );
    }
}

#[test]
fn a_started_connection_goes_with_its_socket() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, addr) = server();
    let before = descriptors();
    drop(started(&hole));
    assert_eq!(descriptors(), before, "dropped");
    let mut socket = started(&hole);
    socket.clear();
    assert_eq!(descriptors(), before, "cleared");
    let mut socket_again = started(&hole);
    socket_again.connect_to(&[addr]).unwrap();
    assert_connected(&mut socket_again, &server);
    let closed = started(&hole);
    closed.close();
    drop((closed, socket_again, socket));
    assert_eq!(descriptors(), before, "opened anew, and closed");
}

#[test]
fn extreme_limits_do_what_they_say() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    for limit in [Duration::from_nanos(1), Duration::from_micros(1)] {
        let result = TcpSocket::new().timeout(limit).connect_to(&[addr]);
        assert!(matches!(result, Err(Error::Timeout)), "{limit:?}: {result:?}");
    }
    // The first two are too many milliseconds for 31 bits, and for 32.
    for limit in [
        Duration::from_millis(1 << 31),
        Duration::from_millis(1 << 32),
        Duration::MAX,
    ] {
        let mut socket = TcpSocket::new();
        let handle = socket.handle();
        let blocked = block(move || socket.timeout(limit).connect_to(&[addr])).until_blocked();
        let before = crate::support::cpu_time(blocked.task());
        let blocked = blocked.still_blocks();
        let used = crate::support::cpu_time(blocked.task()) - before;
        assert!(used < Duration::from_millis(10), "{limit:?}: spins, {used:?}");
        handle.close();
        let result = blocked.result();
        assert!(matches!(result, Err(Error::Closed)), "{limit:?}: {result:?}");
    }
}
