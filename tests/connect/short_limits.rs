//! A race of several addresses with little time: each is tried, and the error tells what they have come to.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use wakesock::{Error, TcpSocket};

use crate::support::every::assert_failed;
use crate::support::races::{DELAY, assert_connected, attempts};
use crate::support::{BlackHole, Refusing, begin, ends_at_limit, eventually, server, timed};

/// Shorter than the first address alone is given.
const SHORT: Duration = Duration::from_millis(100);

/// Connects within a limit that is long enough, unless the machine is busy: then it may try again.
#[track_caller]
fn connects_within(limit: Duration, mut connect: impl FnMut(&mut TcpSocket) -> Result<(), Error>) -> TcpSocket {
    eventually(
        || format!("it connects within {limit:?}"),
        || {
            let mut socket = TcpSocket::new();
            match connect(&mut socket) {
                Ok(()) => Ok(socket),
                Err(error) if error.is_timeout() => Err(error.to_string()),
                Err(error) => panic!("{error:?}"),
            }
        },
    )
}

/// Checks that the limit has ended the connect, and what each address has come to: `failed` are those that refused.
#[track_caller]
fn assert_ran_out(socket: &TcpSocket, error: &Error, addrs: &[SocketAddr], failed: &[SocketAddr]) {
    assert!(error.is_timeout() && socket.is_timeout(), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    assert!(!socket.is_open() && socket.is_error(), "{socket:?}");
    let expected = addrs.iter().map(|addr| match failed.contains(addr) {
        true => (*addr, ErrorKind::ConnectionRefused),
        false => (*addr, ErrorKind::TimedOut),
    });
    assert_eq!(attempts(error), expected.collect::<Vec<_>>());
}

#[test]
fn a_short_limit_tries_all_addresses() {
    let test = begin();
    if test.skip_if(cfg!(windows), "there a refusal takes two seconds") {
        return;
    }
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (server, live) = server();
    let (slow, dead) = (hole.addr(), refusing.addr());
    for (addrs, limit) in [
        (vec![slow, live], SHORT),
        (vec![slow, slow, slow, live], SHORT),
        (vec![slow, dead, slow, dead, live, slow], SHORT),
        (vec![slow, live], DELAY * 3 / 2),
        ([vec![slow; 9], vec![live]].concat(), DELAY * 2),
    ] {
        let connected = connects_within(limit, |socket| socket.timeout(limit).connect_to(&addrs));
        assert_connected(&connected, &server);
        let connected = connects_within(limit, |socket| {
            socket.when_wait(|_| {}).timeout(limit).connect_to(&addrs)
        });
        assert_connected(&connected, &server);
        let connected = connects_within(limit, |socket| {
            let result = socket.global_timeout(limit).connect_to(&addrs);
            socket.no_global_timeout();
            result
        });
        assert_connected(&connected, &server);
        let connected = connects_within(limit, |socket| {
            socket.timeout(Duration::ZERO).connect_to(&addrs)?;
            socket.timeout(limit).wait_connect()
        });
        assert_connected(&connected, &server);
    }
}

#[test]
fn a_limit_that_is_long_enough_leaves_each_address_its_250_ms() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    for limit in [DELAY * 3, DELAY * 100, Duration::MAX] {
        let (connected, took) = timed(|| {
            let mut socket = TcpSocket::new();
            socket.timeout(limit).connect_to(&[hole.addr(), live]).unwrap();
            socket
        });
        assert!(took >= DELAY, "{limit:?}: {took:?}");
        assert_connected(&connected, &server);
    }
}

#[test]
fn a_limit_that_is_over_before_any_has_failed_is_a_timeout() {
    let _test = begin();
    let hole = BlackHole::new();
    let mut socket = TcpSocket::new();
    for count in [1, 2, 100] {
        let addrs = vec![hole.addr(); count];
        for limit in [Duration::from_nanos(1), SHORT] {
            ends_at_limit(limit, |limit| {
                let (result, took) = timed(|| socket.timeout(limit).connect_to(&addrs));
                assert_failed(&result, &Error::Timeout, (count, limit));
                assert!(socket.is_timeout() && !socket.is_error(), "{socket:?}");
                took
            });
        }
        socket.timeout(None).global_timeout(SHORT);
        assert_failed(&socket.connect_to(&addrs), &Error::GlobalTimeout, count);
        assert!(socket.is_timeout() && socket.is_error(), "{socket:?}");
        socket.no_global_timeout();
    }
}

#[test]
fn a_limit_that_is_over_after_some_have_failed_tells_what_each_has_come_to() {
    let test = begin();
    if test.skip_if(cfg!(windows), "there a refusal takes two seconds") {
        return;
    }
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (slow, dead) = (hole.addr(), refusing.addr());
    let mut socket = TcpSocket::new();
    for addrs in [vec![dead, slow], vec![slow, dead], vec![slow, dead, dead, slow, slow]] {
        let (error, took) = eventually(
            || "there is time for the dead one".to_owned(),
            || match timed(|| socket.timeout(SHORT).connect_to(&addrs)) {
                (Err(Error::Timeout), _) => Err("timeout".to_owned()),
                (result, took) => Ok((result.unwrap_err(), took)),
            },
        );
        assert!(took >= SHORT, "{took:?}");
        assert_ran_out(&socket, &error, &addrs, &[dead]);
        assert_eq!(error.code(), -1);
        let told: Vec<String> = addrs
            .iter()
            .map(|addr| match *addr == dead {
                true => format!("{addr}: connection refused"),
                false => format!("{addr}: timed out"),
            })
            .collect();
        assert_eq!(error.to_string(), format!("connect to {}", told.join("; ")));
        // It is sticky, as every failed opening is.
        assert_failed(&socket.get_byte(), &error, "get_byte");
        assert!(socket.is_timeout());
    }
}

#[test]
fn what_was_not_tried_any_more_is_named_too() {
    let test = begin();
    if test.skip_if(cfg!(windows), "there a refusal takes two seconds") {
        return;
    }
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (slow, dead) = (hole.addr(), refusing.addr());
    for others in [slow, dead] {
        let addrs = [vec![dead], vec![others; 99]].concat();
        let mut socket = TcpSocket::new();
        let error = socket.timeout(Duration::from_nanos(1)).connect_to(&addrs).unwrap_err();
        assert!(error.is_timeout() && socket.is_timeout(), "{error:?}");
        let attempts = attempts(&error);
        assert_eq!(attempts.iter().map(|attempt| attempt.0).collect::<Vec<_>>(), addrs);
        assert_eq!(attempts[0].1, ErrorKind::ConnectionRefused, "the first is tried");
        assert_eq!(
            attempts[99].1,
            ErrorKind::TimedOut,
            "and not all, when the time is over"
        );
    }
}

#[test]
fn the_limit_that_was_over_is_named_right() {
    let test = begin();
    if test.skip_if(cfg!(windows), "there a refusal takes two seconds") {
        return;
    }
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let addrs = [refusing.addr(), hole.addr()];
    let long = Some(Duration::from_secs(300));
    for (own, global, expected, code) in [
        (Some(SHORT), long, Error::Timeout, -1),
        (long, Some(SHORT), Error::GlobalTimeout, -1_000_000),
        (None, Some(SHORT), Error::GlobalTimeout, -1_000_000),
    ] {
        let mut socket = TcpSocket::new();
        socket.timeout(own).global_timeout(global);
        let (result, took) = timed(|| socket.connect_to(&addrs));
        assert!(took >= SHORT, "{took:?}");
        let error = result.unwrap_err();
        assert_ran_out(&socket, &error, &addrs, &addrs[..1]);
        assert_eq!(error.code(), code);
        let Error::Connect { attempts } = &error else {
            panic!("{error:?}")
        };
        let inner = attempts[1].1.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        assert_eq!(inner.unwrap().to_string(), expected.to_string());
    }
}

#[test]
fn a_race_that_goes_on_from_look_to_look_has_not_run_out_of_time() {
    let test = begin();
    if test.skip_if(cfg!(windows), "there a refusal takes two seconds") {
        return;
    }
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (server, live) = server();
    let addrs = [refusing.addr(), hole.addr(), live];
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(&addrs).unwrap();
    for limit in [Duration::ZERO, Duration::from_nanos(1)] {
        let result = socket.timeout(limit).wait_connect();
        if result.is_ok() {
            break; // The machine is busy.
        }
        assert_failed(
            &result,
            &Error::Timeout,
            "one has failed, and the others are being tried",
        );
        assert!(socket.is_timeout() && !socket.is_error(), "{socket:?}");
    }
    socket.timeout(None).wait_connect().unwrap();
    assert_connected(&socket, &server);

    // The limit of a whole run of operations ends it.
    let addrs = [refusing.addr(), hole.addr(), hole.addr()];
    socket.timeout(Duration::ZERO).connect_to(&addrs).unwrap();
    assert_failed(&socket.wait_connect(), &Error::Timeout, "nobody answers");
    let error = socket.timeout(None).global_timeout(SHORT).wait_connect().unwrap_err();
    assert_ran_out(&socket, &error, &addrs, &addrs[..1]);
    socket.clear_error();
    socket.no_global_timeout();
    assert_failed(&socket.wait_connect(), &Error::Closed, "nothing is being made any more");
}
