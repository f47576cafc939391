//! `ConnectOptions` where a name has several addresses.

// The names are a stand-in's for a function of the C library.
#![cfg(target_os = "linux")]

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wakesock::{ConnectOptions, Error, ShutdownRegistry, TcpSocket};

use crate::names::{HOST, Lookups};
use crate::options::{assert_panics, counted};
use crate::support::every::{ENDS, assert_failed};
use crate::support::races::{assert_connected, attempts};
use crate::support::{BlackHole, PATIENCE, Refusing, begin, descriptors, eventually, server, timed};

#[test]
fn an_address_whose_socket_is_not_prepared_fails_with_that_error_and_the_others_go_on() {
    let _test = begin();
    let (server, addr) = server();
    let ips = [1, 2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    let _lookups = Lookups::finding(&[ips[2], ips[1], ips[0]]);
    let (options, calls) = counted(|call, _| match call {
        2 => Ok(()),
        _ => Err(io::Error::other(format!("no {call}"))),
    });
    let mut socket = TcpSocket::new();
    socket
        .timeout(PATIENCE)
        .connect_with(HOST, addr.port(), &options)
        .unwrap();
    assert_connected(&socket, &server);
    assert_eq!(calls.load(SeqCst), 3);

    // What is not for want of descriptors is not tried again, though its number says so, while another goes on.
    let hole = BlackHole::new();
    let port = hole.addr().port();
    let _lookups = Lookups::finding(&[ips[0], ips[1], ips[2]]);
    let (options, calls) = counted(|call, _| match call {
        0 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EMFILE)),
    });
    let error = socket
        .timeout(Duration::from_millis(600))
        .connect_with(HOST, port, &options)
        .unwrap_err();
    assert_eq!(calls.load(SeqCst), 3);
    assert_eq!(attempts(&error).len(), 3);
    assert!(error.is_timeout());

    let (options, _) = counted(|call, _| Err(io::Error::other(format!("no {call}"))));
    let error = socket.timeout(None).connect_with(HOST, port, &options).unwrap_err();
    let Error::Connect { attempts } = &error else {
        panic!("{error:?}")
    };
    let told: Vec<String> = attempts.iter().map(|(addr, why)| format!("{addr}: {why}")).collect();
    assert_eq!(told, [0, 1, 2].map(|call| format!("{}:{port}: no {call}", ips[call])));
    assert_eq!(error.to_string(), format!("connect to {}", told.join("; ")));
}

#[test]
fn a_panic_of_prepare_drops_the_attempts_that_are_under_way() {
    let _test = begin();
    let hole = BlackHole::new();
    let port = hole.addr().port();
    let _lookups = Lookups::finding(&[IpAddr::V4(Ipv4Addr::LOCALHOST); 3]);
    let registry = ShutdownRegistry::new();
    let mut socket = TcpSocket::with_registry(&registry);
    let (options, _) = counted(|call, _| match call % 3 {
        2 => panic!("as the test wants it"),
        _ => Ok(()),
    });
    assert_panics(&mut socket, &registry, |socket| {
        let _ = socket.timeout(None).connect_with(HOST, port, &options);
    });
    // Begun by one call, and gone on with by others.
    assert_panics(&mut socket, &registry, |socket| {
        socket
            .timeout(Duration::ZERO)
            .connect_with(HOST, port, &options)
            .unwrap();
        while let Err(error) = socket.wait_connect() {
            assert!(matches!(error, Error::Timeout), "{error:?}");
        }
    });
}

#[test]
fn prepare_may_end_what_it_is_called_for() {
    let _test = begin();
    let refusing = Refusing::new();
    let port = refusing.addr().port();
    let _lookups = Lookups::finding(&[IpAddr::V4(Ipv4Addr::LOCALHOST); 3]);
    for limit in [None, Some(PATIENCE)] {
        for (end, expected) in &ENDS {
            let before = descriptors();
            let registry = ShutdownRegistry::new();
            let mut socket = TcpSocket::with_registry(&registry);
            let (handle, of_socket) = (socket.handle(), registry.clone());
            let (options, calls) = counted(move |_, _| {
                end(&handle, &of_socket);
                Ok(())
            });
            let result = socket.timeout(limit).connect_with(HOST, port, &options);
            assert_failed(&result, expected, limit);
            assert_eq!(calls.load(SeqCst), 1, "no more addresses are tried");
            assert_eq!((descriptors(), registry.len()), (before, 0));
            assert!(!socket.is_open() && !socket.is_error());
        }
    }
}

#[test]
fn addresses_of_another_family_than_the_local_one_are_passed_over() {
    let _test = begin();
    let (server, addr) = server();
    let v6: IpAddr = "::1".parse().unwrap();
    let _lookups = Lookups::finding(&[v6, v6, IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let options = ConnectOptions::new().bind("127.0.0.1:0".parse().unwrap());
    let mut socket = TcpSocket::new();
    let (result, took) = timed(|| socket.connect_with(HOST, addr.port(), &options));
    result.unwrap();
    assert!(took < PATIENCE, "{took:?}");
    assert_connected(&socket, &server);
}

#[test]
fn a_short_limit_is_divided_evenly() {
    let _test = begin();
    const LIMIT: Duration = Duration::from_millis(400);
    const COUNT: u32 = 5;
    let hole = BlackHole::new();
    let _lookups = Lookups::finding(&[IpAddr::V4(Ipv4Addr::LOCALHOST); COUNT as usize]);
    eventually(
        || "each address is tried at its time".to_owned(),
        || {
            let starts = Arc::new(Mutex::new(Vec::new()));
            let noted = Arc::clone(&starts);
            let options = ConnectOptions::new().prepare(move |_| {
                noted.lock().unwrap().push(Instant::now());
                Ok(())
            });
            let begin = Instant::now();
            let mut socket = TcpSocket::new();
            let result = socket.timeout(LIMIT).connect_with(HOST, hole.addr().port(), &options);
            assert_failed(&result, &Error::Timeout, LIMIT);
            let starts: Vec<Duration> = starts.lock().unwrap().iter().map(|start| *start - begin).collect();
            let mut turns = starts.iter().zip(0..);
            assert!(turns.all(|(start, turn)| *start >= LIMIT / COUNT * turn), "{starts:?}");
            let is_in_time = starts
                .iter()
                .zip(1..)
                .all(|(start, turn)| *start < LIMIT / COUNT * turn);
            (is_in_time && starts.len() == COUNT as usize)
                .then_some(())
                .ok_or(format!("{starts:?}"))
        },
    );
}
