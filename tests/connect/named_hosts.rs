//! Connecting to a name that has several addresses: RFC 8305, "Happy Eyeballs".

// The names are a stand-in's for a function of the C library.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "texts of the C library")]

use std::ffi::CStr;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, IpAddrFamily, IpAddrInfo, ListenOptions, TcpSocket};

use crate::names::{HOST, Lookups};
use crate::support::every::assert_failed;
use crate::support::races::{DELAY, assert_connected, attempts, takes};
use crate::support::{BlackHole, Blocked, PATIENCE, begin, block, ends_at_limit, eventually, timed};

const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is made of a port that `make` may find taken.
fn with_free_port<T>(mut make: impl FnMut(u16) -> std::io::Result<T>) -> (T, u16) {
    eventually(
        || "a port that is free in all places".to_owned(),
        || {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .unwrap()
                .port();
            make(port).map(|made| (made, port)).map_err(|error| error.to_string())
        },
    )
}

/// A port that refuses on every address, for as long as the socket lives.
fn refusing_everywhere() -> (socket2::Socket, u16) {
    with_free_port(|port| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)).into())?;
        Ok(socket)
    })
}

#[test]
fn the_families_of_a_name_take_turns() {
    let _test = begin();
    let (_refusing, port) = refusing_everywhere();
    let other_v6: IpAddr = "::ffff:127.0.0.2".parse().unwrap();
    let [v4_2, v4_3] = [2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    for (found, in_turns) in [
        (vec![V6, other_v6, V4, v4_2, v4_3], vec![V6, V4, other_v6, v4_2, v4_3]),
        (vec![V4, v4_2, V6, other_v6], vec![V4, V6, v4_2, other_v6]),
        (vec![v4_2, V4], vec![v4_2, V4]),
    ] {
        let _lookups = Lookups::finding(&found);
        let expected: Vec<_> = in_turns
            .into_iter()
            .map(|ip| (SocketAddr::new(ip, port), ErrorKind::ConnectionRefused))
            .collect();
        let mut socket = TcpSocket::new();
        assert_eq!(attempts(&socket.connect(HOST, port).unwrap_err()), expected);
        let mut info = IpAddrInfo::new();
        info.execute(HOST, port, IpAddrFamily::Any).unwrap();
        assert_eq!(attempts(&socket.connect_info(&info).unwrap_err()), expected);
        socket.timeout(Duration::ZERO);
        let result = socket.connect(HOST, port);
        let error = result
            .and_then(|()| socket.timeout(PATIENCE).wait_connect())
            .unwrap_err();
        assert_eq!(attempts(&error), expected);
    }
}

#[test]
fn a_dead_ipv6_costs_a_name_250_ms() {
    let _test = begin();
    let (hole, port) = with_free_port(|port| BlackHole::at(SocketAddr::new(V6, port)));
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    // With many more of the dead family before the first of the other.
    let _lookups = Lookups::finding(&[V6, V6, V6, V6, V4]);
    takes(DELAY, DELAY * 2, || {
        let mut socket = TcpSocket::new();
        socket.timeout(PATIENCE).connect(HOST, port).unwrap();
        assert_connected(&socket, &server);
    });
    drop(hole);
}

#[test]
fn one_limit_is_over_the_look_up_and_all_addresses() {
    let _test = begin();
    let hole = BlackHole::new();
    let ips = [V4; 5];
    ends_at_limit(Duration::from_millis(300), |limit| {
        let lookups = Lookups::held();
        let port = hole.addr().port();
        let begun = Instant::now();
        let blocked: Blocked<_> = block(move || {
            let mut socket = TcpSocket::new();
            timed(|| socket.timeout(limit).connect(HOST, port))
        });
        // Half of the limit for each.
        thread::sleep((limit / 2).saturating_sub(begun.elapsed()));
        lookups.answer(&ips);
        let (result, took) = blocked.result();
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    let _held = Lookups::held();
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| TcpSocket::new().timeout(limit).connect(HOST, 1));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
}

#[test]
fn with_no_time_to_wait_a_look_up_goes_on_into_a_race() {
    let _test = begin();
    let (hole, port) = with_free_port(|port| BlackHole::at(SocketAddr::new(V4, port)));
    let server = TcpListener::bind((IpAddr::from([127, 0, 0, 2]), port)).unwrap();
    let lookups = Lookups::held();
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect(HOST, port).unwrap();
    for _ in 0..100 {
        assert_failed(&socket.wait_connect(), &Error::Timeout, "the look-up is held");
    }
    lookups.answer(&[hole.addr().ip(), IpAddr::from([127, 0, 0, 2])]);
    eventually(
        || "it connects".to_owned(),
        || match socket.wait_connect() {
            Err(Error::Timeout) => Err("timeout".to_owned()),
            result => {
                result.unwrap();
                Ok(())
            }
        },
    );
    assert_connected(&socket, &server);

    drop(lookups);
    let error = socket
        .timeout(Duration::ZERO)
        .connect(HOST, port)
        .and_then(|()| socket.timeout(PATIENCE).wait_connect())
        .unwrap_err();
    assert!(
        matches!(&error, Error::Resolve { host, .. } if host == HOST),
        "{error:?}"
    );
    // One that connects while nobody looks.
    drop(TcpStream::connect(server.local_addr().unwrap()).unwrap());
}

#[test]
fn why_a_name_is_not_found_is_told_by_the_kind() {
    let _test = begin();
    for (number, kind) in [
        (libc::EAI_NONAME, Some(ErrorKind::NotFound)),
        (libc::EAI_NODATA, Some(ErrorKind::NotFound)),
        (libc::EAI_AGAIN, Some(ErrorKind::ResourceBusy)),
        (libc::EAI_MEMORY, Some(ErrorKind::OutOfMemory)),
        (libc::EAI_FAIL, None),
        (libc::EAI_SYSTEM, None),
    ] {
        let _lookups = Lookups::failing(number);
        let failures = [
            TcpSocket::new().connect(HOST, 80),
            IpAddrInfo::new().execute(HOST, 80, IpAddrFamily::Any),
            TcpSocket::new().listen_on((HOST, 80), &ListenOptions::new()),
            TcpSocket::new().listen_on(format!("{HOST}:80"), &ListenOptions::new()),
        ];
        for failure in failures {
            let error = failure.unwrap_err();
            assert!(
                matches!(&error, Error::Resolve { host, .. } if host == HOST),
                "{error:?}"
            );
            if number == libc::EAI_SYSTEM {
                assert_eq!(error.to_string(), format!("resolve {HOST}: too many open files"));
                assert_eq!(error.code(), libc::EMFILE);
                continue;
            }
            // SAFETY: a plain call.
            let text = unsafe { libc::gai_strerror(number) };
            // SAFETY: it is a C string, for any number.
            let text = unsafe { CStr::from_ptr(text) };
            let text = text.to_str().unwrap().to_lowercase();
            assert_eq!(error.to_string().to_lowercase(), format!("resolve {HOST}: {text}"));
            match kind {
                Some(kind) => assert_eq!(error.kind(), kind, "{text}"),
                None => assert!(
                    ![ErrorKind::NotFound, ErrorKind::ResourceBusy].contains(&error.kind()),
                    "{text}"
                ),
            }
            let (kind, error) = (error.kind(), std::io::Error::from(error));
            assert_eq!(error.kind(), kind, "{text}");
        }
    }
}
