//! `IpAddrInfo`: a look-up never blocks its owner, and a thread that waits for one is ended as any other is.

// The look-ups are a stand-in's for a function of the C library.
#![cfg(target_os = "linux")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use wakesock::{Error, IpAddrFamily, IpAddrInfo, ShutdownRegistry, SocketHandle, TcpSocket};

use crate::names::{HOST, Lookups};
use crate::support::NoDescriptors;
use crate::support::every::{LIMITS, assert_failed};
use crate::support::{
    Blocked, PATIENCE, STILL_BLOCKS, begin, block, ends_at_limit, eventually, own_threads, server, timed,
};

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OTHER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn started(port: u16) -> IpAddrInfo {
    let mut info = IpAddrInfo::new();
    info.start(HOST, port, IpAddrFamily::Any).unwrap();
    info
}

fn until_over(info: &IpAddrInfo) {
    eventually(
        || "the look-up ends".to_owned(),
        || (!info.in_progress()).then_some(()).ok_or_else(|| format!("{info:?}")),
    );
}

/// Waits until there are so many threads: one that was just made has no name yet, and is not counted.
pub(crate) fn until_threads(count: usize) {
    eventually(
        || format!("there are {count} threads"),
        || {
            let now = own_threads();
            (now == count).then_some(()).ok_or(now.to_string())
        },
    );
}

#[test]
fn a_look_up_that_hangs_blocks_nobody() {
    let _test = begin();
    let before = own_threads();
    let lookups = Lookups::held();
    let ((), took) = timed(|| {
        for _ in 0..30 {
            let mut info = started(1);
            assert!(info.in_progress() && info.result().is_none() && info.error().is_none());
            info.start(HOST, 2, IpAddrFamily::V6).unwrap();
            assert!(info.in_progress(), "another");
            info.clear();
            assert!(!info.in_progress() && info.result().is_none() && info.error().is_none());
            info.start(HOST, 3, IpAddrFamily::Any).unwrap();
            let clone = info.clone();
            drop(info);
            assert!(clone.in_progress());
        }
    });
    assert!(took < PATIENCE, "{took:?}");
    // One is under way for all of them, and nobody waits.
    until_threads(before + 1);
    drop(lookups);
}

#[test]
fn a_look_up_that_was_forgotten_changes_nothing_any_more() {
    let _test = begin();
    let before = own_threads();
    let lookups = Lookups::held();
    let mut cleared = started(1);
    cleared.clear();
    let mut another = started(1);
    another.start("127.0.0.1", 2, IpAddrFamily::Any).unwrap();
    until_threads(before + 1);
    lookups.answer(&[V6]);
    until_threads(before);
    assert!(!cleared.in_progress() && cleared.result().is_none() && cleared.error().is_none());
    assert_eq!(another.result(), Some(&[SocketAddr::new(V4, 2)][..]));
}

#[test]
fn a_look_up_tells_what_it_has_found() {
    let _test = begin();
    let lookups = Lookups::held();
    let info = started(80);
    let clone = info.clone();
    lookups.answer(&[V4, V6, OTHER_V4]);
    until_over(&info);
    let found = [V4, V6, OTHER_V4].map(|ip| SocketAddr::new(ip, 80));
    assert_eq!(info.result(), Some(&found[..]), "in the order of the system");
    assert!(info.error().is_none());
    assert_eq!(clone.result(), Some(&found[..]), "a clone shares it");
    let mut changed = clone.clone();
    changed.clear();
    assert_eq!(clone.result(), Some(&found[..]), "and keeps it");
    drop(lookups);
    let unknown = started(80);
    until_over(&unknown);
    assert!(unknown.result().is_none());
    let error = unknown.error().unwrap();
    assert!(
        matches!(&error, Error::Resolve { host, .. } if host == HOST),
        "{error:?}"
    );
    assert_eq!(
        unknown.clone().error().unwrap().to_string(),
        error.to_string(),
        "a clone shares it"
    );
    assert_eq!(info.result(), Some(&found[..]));
}

#[test]
fn execute_blocks_until_it_is_over() {
    let _test = begin();
    let lookups = Lookups::held();
    let blocked = block(|| {
        let mut info = IpAddrInfo::new();
        (info.execute(HOST, 7, IpAddrFamily::Any), info)
    })
    .still_blocks();
    lookups.answer(&[V4]);
    let (result, mut info) = blocked.result();
    result.unwrap();
    assert_eq!(info.result(), Some(&[SocketAddr::new(V4, 7)][..]));
    drop(lookups);
    let error = info.execute(HOST, 7, IpAddrFamily::Any).unwrap_err();
    assert!(
        matches!(&error, Error::Resolve { host, .. } if host == HOST),
        "{error:?}"
    );
    assert!(info.result().is_none() && !info.in_progress());
    assert_eq!(info.error().unwrap().to_string(), error.to_string());
}

#[test]
fn a_look_up_is_waited_for_within_a_limit_and_goes_on() {
    let _test = begin();
    let lookups = Lookups::held();
    let mut info = started(7);
    for limit in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(30)] {
        ends_at_limit(limit, |limit| {
            let (result, took) = timed(|| info.wait(limit));
            assert_failed(&result, &Error::Timeout, limit);
            assert!(info.in_progress() && info.result().is_none() && info.error().is_none());
            took
        });
    }
    for limit in [None, Some(PATIENCE), Some(Duration::MAX)] {
        lookups.hold();
        let mut info = started(7);
        let blocked = block(move || (info.wait(limit), info)).still_blocks();
        lookups.answer(&[V4]);
        let (result, info) = blocked.result();
        result.unwrap();
        assert_eq!(info.result(), Some(&[SocketAddr::new(V4, 7)][..]));
    }
    until_over(&info);
    for limit in [None, Some(Duration::ZERO)] {
        info.wait(limit).unwrap();
    }
    drop(lookups);
    let mut unknown = started(7);
    let error = unknown.wait(None).unwrap_err();
    assert!(
        matches!(&error, Error::Resolve { host, .. } if host == HOST),
        "{error:?}"
    );
    for limit in [None, Some(Duration::ZERO)] {
        assert_failed(&unknown.wait(limit), &error, "again");
    }
    unknown.clear();
    for mut none in [unknown, IpAddrInfo::new()] {
        let error = none.wait(None).unwrap_err();
        assert_eq!(error.to_string(), "wait for a look-up: none was started");
    }
}

#[test]
fn only_shutdown_of_the_global_registry_ends_a_wait_for_a_look_up() {
    let _test = begin();
    let global = ShutdownRegistry::global();
    let lookups = Lookups::held();
    let execute = || {
        block(|| {
            let mut info = IpAddrInfo::new();
            (info.execute(HOST, 7, IpAddrFamily::Any), info)
        })
    };
    let waiting = LIMITS.map(|limit| {
        block(move || {
            let mut info = started(7);
            (info.wait(limit), info)
        })
        .until_blocked()
    });
    let mut blocked: Vec<Blocked<_>> = (0..3).map(|_| execute().until_blocked()).collect();
    blocked.extend(waiting);
    ShutdownRegistry::new().shutdown();
    global.stop_accepting();
    let blocked: Vec<_> = blocked.into_iter().map(Blocked::still_blocks).collect();
    global.shutdown();
    for blocked in blocked {
        let (result, info) = blocked.result();
        assert_failed(&result, &Error::Shutdown, "blocked");
        assert!(info.in_progress(), "the system is still at it");
    }
    let (result, info) = execute().result();
    assert_failed(&result, &Error::Shutdown, "begun after it");
    // What needs no waiting is no concern of the registry's.
    IpAddrInfo::new().execute("::1", 7, IpAddrFamily::Any).unwrap();
    global.reset();
    lookups.answer(&[V4]);
    until_over(&info);
    assert_eq!(info.result(), Some(&[SocketAddr::new(V4, 7)][..]));
    execute().result().0.unwrap();
}

#[test]
fn a_shutdown_just_as_execute_begins_is_not_missed() {
    let _test = begin();
    let global = ShutdownRegistry::global();
    let _held = Lookups::held();
    for round in 0..60 {
        let racing = crate::support::race(
            || IpAddrInfo::new().execute(HOST, 7, IpAddrFamily::Any),
            round * 500,
            || global.shutdown(),
        );
        assert_failed(&racing.result(), &Error::Shutdown, round);
        global.reset();
    }
}

#[test]
fn only_addresses_of_the_family_are_found() {
    let _test = begin();
    let lookups = Lookups::finding(&[V6, V4, OTHER_V4]);
    let find = |host: &str, family| {
        let mut info = IpAddrInfo::new();
        let result = info.execute(host, 9, family);
        result.map(|()| info.result().unwrap().iter().map(SocketAddr::ip).collect::<Vec<_>>())
    };
    assert_eq!(find(HOST, IpAddrFamily::Any).unwrap(), [V6, V4, OTHER_V4]);
    assert_eq!(find(HOST, IpAddrFamily::V4).unwrap(), [V4, OTHER_V4]);
    assert_eq!(find(HOST, IpAddrFamily::V6).unwrap(), [V6]);
    assert_eq!(find("::1", IpAddrFamily::V6).unwrap(), [V6]);
    assert_eq!(find("127.0.0.1", IpAddrFamily::V4).unwrap(), [V4]);
    lookups.answer(&[V4]);
    for (host, family) in [
        (HOST, IpAddrFamily::V6),
        ("127.0.0.1", IpAddrFamily::V6),
        ("::1", IpAddrFamily::V4),
    ] {
        let error = find(host, family).unwrap_err();
        assert_eq!(error.to_string(), format!("resolve {host}: no address of this family"));
    }
}

#[test]
fn without_descriptors_a_look_up_is_waited_for_and_ended() {
    let _test = begin();
    let global = ShutdownRegistry::global();
    let lookups = Lookups::held();
    let execute = || block(|| IpAddrInfo::new().execute(HOST, 7, IpAddrFamily::Any));
    let none = NoDescriptors::but(0);
    for answered in [true, false] {
        lookups.hold();
        let blocked = execute().goes_on_for(STILL_BLOCKS);
        if answered {
            lookups.answer(&[V4]);
            blocked.result().unwrap();
        } else {
            global.shutdown();
            assert_failed(&blocked.result(), &Error::Shutdown, "execute");
            global.reset();
        }
    }
    let info = started(1);
    ends_at_limit(Duration::from_millis(30), |limit| {
        let (result, took) = timed(|| TcpSocket::new().timeout(limit).connect_info(&info));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    drop(none);
}

// connect_info

#[test]
fn a_connect_waits_for_the_look_up() {
    let _test = begin();
    let (server, addr) = server();
    let lookups = Lookups::held();
    let mut info = started(addr.port());
    for limit in LIMITS {
        let looking = info.clone();
        let blocked = block(move || {
            let mut socket = TcpSocket::new();
            (socket.timeout(limit).connect_info(&looking), socket)
        })
        .still_blocks();
        // What its owner does with it is no concern of the thread that connects.
        info.clear();
        lookups.answer(&[V4]);
        let (result, socket) = blocked.result();
        result.unwrap();
        assert_eq!(server.accept().unwrap().1, socket.local_addr().unwrap());
        info = started(addr.port());
        until_over(&info);
        // Over already, and used by more than one.
        for _ in 0..2 {
            let mut socket = TcpSocket::new();
            socket.timeout(limit).connect_info(&info).unwrap();
            assert_eq!(server.accept().unwrap().1, socket.local_addr().unwrap());
        }
        lookups.hold();
        info = started(addr.port());
    }
}

#[test]
fn a_connect_waits_for_the_look_up_no_longer_than_its_limit() {
    let _test = begin();
    let (server, addr) = server();
    let lookups = Lookups::held();
    let info = started(addr.port());
    let mut socket = TcpSocket::new();
    for limit in [1_000, 30_000_000] {
        ends_at_limit(Duration::from_nanos(limit), |limit| {
            let (result, took) = timed(|| socket.timeout(limit).connect_info(&info));
            assert_failed(&result, &Error::Timeout, limit);
            assert!(info.in_progress() && socket.is_timeout() && !socket.is_error());
            took
        });
    }
    socket.timeout(Duration::ZERO).connect_info(&info).unwrap();
    for _ in 0..10 {
        assert_failed(&socket.wait_connect(), &Error::Timeout, "with no time to wait");
    }
    lookups.answer(&[V4]);
    socket.timeout(PATIENCE).wait_connect().unwrap();
    assert_eq!(server.accept().unwrap().1, socket.local_addr().unwrap());
}

#[test]
fn a_connect_that_waits_for_the_look_up_is_ended() {
    let _test = begin();
    let (server, addr) = server();
    let registry = ShutdownRegistry::new();
    let lookups = Lookups::held();
    let info = started(addr.port());
    type End = fn(&SocketHandle, &ShutdownRegistry);
    let ends: [(End, Error); 3] = [
        (|handle, _| handle.close(), Error::Closed),
        (|handle, _| handle.abort(), Error::Aborted),
        (|_, registry| registry.shutdown(), Error::Shutdown),
    ];
    let mut sockets = Vec::new();
    for limit in LIMITS {
        for (end, expected) in &ends {
            let mut socket = TcpSocket::with_registry(&registry);
            let (handle, looking) = (socket.handle(), info.clone());
            let blocked = block(move || (socket.timeout(limit).connect_info(&looking), socket)).until_blocked();
            assert!(!blocked.is_finished(), "{:?}", blocked.result().0);
            end(&handle, &registry);
            let (result, socket) = blocked.result();
            assert_failed(&result, expected, limit);
            assert!(!socket.is_open() && info.in_progress());
            socket.clear_abort();
            registry.reset();
            sockets.push(socket);
        }
    }
    lookups.answer(&[V4]);
    for mut socket in sockets {
        socket.timeout(PATIENCE).connect_info(&info).unwrap();
        assert_eq!(server.accept().unwrap().1, socket.local_addr().unwrap());
    }
}

#[test]
fn a_connect_tells_that_the_look_up_has_failed() {
    let _test = begin();
    let (server, addr) = server();
    let info = started(80);
    let mut socket = TcpSocket::new();
    for round in 0..3 {
        let error = socket.timeout(PATIENCE).connect_info(&info).unwrap_err();
        assert!(
            matches!(&error, Error::Resolve { host, .. } if host == HOST),
            "{error:?}"
        );
        assert!(socket.is_error() && !socket.is_open());
        assert_failed(&socket.get_byte(), &error, round);
    }
    socket.connect_to(&[addr]).unwrap();
    assert_eq!(server.accept().unwrap().1, socket.local_addr().unwrap());
}
