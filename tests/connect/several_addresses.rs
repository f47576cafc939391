//! Connecting where there are several addresses, which race: RFC 8305, "Happy Eyeballs".

#![allow(unsafe_code, reason = "stands in for epoll_ctl(2)")]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, IpAddrInfo, ShutdownRegistry, SocketHandle, TcpSocket};

use crate::support::every::{ENDS, LIMITS, assert_failed};
use crate::support::races::{DELAY, assert_connected, attempts, takes};
use crate::support::scripted::{Plug, Scripted, Step};
use crate::support::{
    BlackHole, PARKER, PATIENCE, Random, Refusing, begin, block, code, descriptors, ends_at_limit, eventually, race,
    server, timed,
};
#[cfg(target_os = "linux")]
use crate::support::{Handler, NoDescriptors, POLLED, STILL_BLOCKS, send_signal, signals_that_came};

/// Waits until a race has so many attempts under way, beside the two descriptors of its poll.
fn until_under_way(before: usize, attempts: usize) {
    eventually(
        || format!("{attempts} attempts are under way, beside {before} descriptors"),
        || {
            let now = descriptors();
            (now >= before + attempts + PARKER).then_some(()).ok_or(now.to_string())
        },
    );
}

// The delay.

#[test]
fn the_second_address_is_tried_after_250_ms_and_not_before() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    let before = descriptors();
    for limit in [None, Some(PATIENCE), Some(Duration::MAX)] {
        takes(DELAY, DELAY * 3 / 2, || {
            let mut socket = TcpSocket::new();
            socket.timeout(limit).connect_to(&[hole.addr(), live]).unwrap();
            assert_eq!(descriptors(), before + 1, "the loser and the poll are gone");
            assert_connected(&socket, &server);
        });
        assert_eq!(descriptors(), before);
    }
}

#[test]
fn each_address_has_its_250_ms() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    let before = descriptors();
    takes(DELAY * 2, DELAY * 3, || {
        let mut socket = TcpSocket::new();
        socket.connect_to(&[hole.addr(), hole.addr(), live, live]).unwrap();
        assert_eq!(descriptors(), before + 1, "the losers and the poll are gone");
        assert_connected(&socket, &server);
    });
}

#[test]
fn an_address_that_refuses_is_followed_by_the_next_at_once() {
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (dead, (server, live)) = (refusing.addr(), server());
    takes(Duration::ZERO, DELAY, || {
        let mut socket = TcpSocket::new();
        socket.connect_to(&[dead, dead, dead, live]).unwrap();
        assert_connected(&socket, &server);
    });
    // With one still under way, too; and where the system knows without asking anybody.
    let nobodys = "255.255.255.255:1".parse().unwrap();
    for dead in [dead, nobodys] {
        takes(DELAY, DELAY * 2, || {
            let mut socket = TcpSocket::new();
            socket.connect_to(&[hole.addr(), dead, dead, live]).unwrap();
            assert_connected(&socket, &server);
        });
    }
}

#[test]
fn an_address_that_answers_is_the_only_one_tried() {
    let _test = begin();
    let (first, addr) = server();
    let (second, other) = server();
    second.set_nonblocking(true).unwrap();
    for _ in 0..100 {
        let mut socket = TcpSocket::new();
        socket.connect_to(&[addr, other]).unwrap();
        assert_connected(&socket, &first);
        let tried = second.accept();
        assert!(
            matches!(&tried, Err(error) if error.kind() == ErrorKind::WouldBlock),
            "{tried:?}"
        );
    }
}

#[test]
fn a_late_answer_of_the_first_address_wins() {
    let _test = begin();
    let others = BlackHole::new();
    let firsts = [None, Some(PATIENCE)].map(|limit| (limit, BlackHole::new()));
    let before = descriptors();
    let blocked = firsts.each_ref().map(|(limit, first)| {
        let (limit, addrs) = (*limit, [first.addr(), others.addr(), others.addr()]);
        block(move || {
            let mut socket = TcpSocket::new();
            let result = socket.timeout(limit).connect_to(&addrs);
            (result, socket)
        })
    });
    // With another poll for the second of them.
    until_under_way(before, 2 * 3 + PARKER);
    for (_, first) in &firsts {
        first.relieve();
    }
    let sockets = blocked.map(|blocked| {
        let (result, socket) = blocked.result();
        result.unwrap();
        socket
    });
    for (socket, (limit, first)) in sockets.iter().zip(&firsts) {
        assert_eq!(socket.peer_addr().unwrap(), first.addr(), "{limit:?}");
    }
    assert_eq!(descriptors(), before + 2, "the losers and the polls are gone");
}

// Nobody answers.

#[test]
fn when_all_fail_the_error_names_each_with_its_own_cause() {
    let _test = begin();
    let refusing = Refusing::new();
    let addrs = [
        "255.255.255.255:1".parse().unwrap(),
        refusing.addr(),
        "[::ffff:255.255.255.255]:1".parse().unwrap(),
        "127.0.0.1:0".parse().unwrap(),
    ];
    let mut socket = TcpSocket::new();
    let before = descriptors();
    let error = socket.connect_to(&addrs).unwrap_err();
    assert_eq!(descriptors(), before);
    let Error::Connect { attempts } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(attempts.len(), addrs.len(), "{error:?}");
    let mut texts = Vec::new();
    for ((tried, source), addr) in attempts.iter().zip(addrs) {
        assert_eq!(*tried, addr, "{error:?}");
        let alone = TcpSocket::new().connect_to(&[addr]).unwrap_err();
        assert_eq!(source.raw_os_error(), Some(alone.code()), "{addr}: {error:?}");
        texts.push(alone.to_string().replace("connect to ", ""));
    }
    assert_ne!(
        texts[0].split_once(": "),
        texts[1].split_once(": "),
        "causes that differ"
    );
    assert_eq!(error.to_string(), format!("connect to {}", texts.join("; ")));
    assert_eq!(socket.error_desc(), error.to_string());
}

#[test]
fn the_error_keeps_the_order_though_the_first_fails_last() {
    let _test = begin();
    let refusing = Refusing::new();
    let before = descriptors();
    let hole = BlackHole::new();
    let addrs = [hole.addr(), refusing.addr(), refusing.addr()];
    let blocked = block(move || {
        let mut socket = TcpSocket::new();
        (socket.timeout(PATIENCE).connect_to(&addrs), socket)
    })
    .still_blocks();
    // A client that asks again there is refused.
    drop(hole);
    let (result, _socket) = blocked.result();
    let refused = addrs.map(|addr| (addr, ErrorKind::ConnectionRefused));
    assert_eq!(attempts(&result.unwrap_err()), refused);
    assert_eq!(descriptors(), before);
}

#[test]
fn no_address_at_all_is_an_error() {
    let _test = begin();
    let (server, live) = server();
    for limit in [None, Some(Duration::ZERO), Some(PATIENCE)] {
        let mut socket = TcpSocket::new();
        socket.timeout(limit);
        for connect in [
            (|socket| socket.connect_to(&[])) as fn(&mut TcpSocket) -> wakesock::Result<()>,
            |socket| socket.connect_info(&IpAddrInfo::new()),
        ] {
            let error = connect(&mut socket).unwrap_err();
            assert_eq!(attempts(&error), [], "{error:?}");
            assert_eq!(error.to_string(), "connect to no address");
            assert_failed(&socket.get(&mut [0]), &error, limit);
            socket.timeout(PATIENCE).connect_to(&[live]).unwrap();
            assert_connected(&socket, &server);
            socket.timeout(limit);
        }
    }
}

// One limit.

#[test]
fn one_limit_is_over_all_addresses_and_never_early() {
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (slow, dead) = (hole.addr(), refusing.addr());
    let before = descriptors();
    let mut socket = TcpSocket::new();
    for (addrs, limit) in [
        (vec![slow; 20], 1),
        (vec![slow; 20], 30_000),
        (vec![slow; 20], 600_000),
        (vec![slow, slow], 400_000),
        (vec![dead, slow, dead, dead, slow], 300_000),
        (vec![slow, dead], 300_000),
    ] {
        ends_at_limit(Duration::from_micros(limit), |limit| {
            let (result, took) = timed(|| socket.timeout(limit).connect_to(&addrs));
            let error = result.unwrap_err();
            assert!(error.is_timeout() && socket.is_timeout(), "{limit:?}: {error:?}");
            assert!(!socket.is_open());
            assert_eq!(socket.is_error(), addrs.contains(&dead), "{error:?}");
            assert_eq!(descriptors(), before, "{limit:?}");
            took
        });
    }
}

/// Checks that the socket can connect again.
#[track_caller]
fn assert_usable(socket: &mut TcpSocket, registry: &ShutdownRegistry, server: &TcpListener) {
    registry.reset();
    socket.clear_abort();
    let live = server.local_addr().unwrap();
    socket.timeout(PATIENCE).connect_to(&[live]).unwrap();
    assert_connected(socket, server);
    socket.close();
}

#[test]
fn a_race_that_blocks_is_ended() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, _) = server();
    let addr = hole.addr();
    let before = descriptors();
    let ways = LIMITS
        .into_iter()
        .flat_map(|limit| ENDS.iter().map(move |end| (limit, end)));
    let blocked: Vec<_> = ways
        .map(|(limit, end)| {
            let registry = ShutdownRegistry::new();
            let mut socket = TcpSocket::with_registry(&registry);
            let handle = socket.handle();
            let blocked = block(move || (socket.timeout(limit).connect_to(&[addr; 3]), socket));
            (limit, end, registry, handle, blocked)
        })
        .collect();
    eventually(
        || "three attempts of each are under way, beside its poll".to_owned(),
        || {
            let now = descriptors();
            (now >= before + blocked.len() * (3 + PARKER))
                .then_some(())
                .ok_or(now.to_string())
        },
    );
    for (limit, (end, expected), registry, handle, blocked) in blocked {
        let before = descriptors();
        end(&handle, &registry);
        let (result, mut socket) = blocked.result();
        assert_failed(&result, expected, limit);
        assert!(!socket.is_open() && !socket.is_timeout(), "{socket:?}");
        assert_eq!(descriptors(), before - 3 - PARKER, "{expected:?}");
        assert_eq!(registry.len(), 0, "{expected:?}");
        assert_usable(&mut socket, &registry, &server);
    }
}

/// Goes on with a race that nobody answers, with no time to wait.
#[track_caller]
fn look_without_waiting(socket: &mut TcpSocket) {
    let result = socket.timeout(Duration::ZERO).wait_connect();
    assert_failed(&result, &Error::Timeout, "nobody answers");
    assert!(socket.is_timeout() && !socket.is_open() && !socket.is_error());
}

/// Goes on with no time to wait until so many attempts are under way.
fn poll_until_under_way(socket: &mut TcpSocket, before: usize, attempts: usize) {
    eventually(
        || format!("{attempts} attempts are under way, beside {before} descriptors"),
        || {
            look_without_waiting(socket);
            let now = descriptors();
            (now >= before + attempts).then_some(()).ok_or(now.to_string())
        },
    );
}

#[test]
fn a_race_that_nobody_waits_for_is_ended() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, _) = server();
    let before = descriptors();
    let laters = [Some(Duration::ZERO), None, Some(PATIENCE)];
    let ways = laters
        .into_iter()
        .flat_map(|later| ENDS.iter().map(move |end| (later, end)));
    let mut racing: Vec<_> = ways
        .map(|(later, end)| {
            let registry = ShutdownRegistry::new();
            let mut socket = TcpSocket::with_registry(&registry);
            socket.timeout(Duration::ZERO).connect_to(&[hole.addr(); 4]).unwrap();
            (later, end, registry, socket)
        })
        .collect();
    let count = racing.len();
    eventually(
        || "four attempts of each are under way".to_owned(),
        || {
            racing.iter_mut().for_each(|race| look_without_waiting(&mut race.3));
            let now = descriptors();
            (now >= before + 4 * count).then_some(()).ok_or(now.to_string())
        },
    );
    for (later, (end, expected), registry, mut socket) in racing {
        let before = descriptors();
        end(&socket.handle(), &registry);
        let result = socket.timeout(later).wait_connect();
        assert_failed(&result, expected, later);
        assert!(descriptors() + 4 <= before, "{expected:?}");
        assert_usable(&mut socket, &registry, &server);
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn closing_the_socket_lets_go_of_a_race_at_once() {
    let _test = begin();
    let first = BlackHole::new();
    let (server, _) = server();
    let before = descriptors();
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(&[first.addr(); 3]).unwrap();
    poll_until_under_way(&mut socket, before, 3);
    socket.close();
    assert!(descriptors() <= before + PARKER, "but for the poll, all are gone");
    assert_failed(&socket.wait_connect(), &Error::Closed, "after close");
    assert_eq!(descriptors(), before);
    assert_usable(&mut socket, ShutdownRegistry::global(), &server);

    for way in [drop::<TcpSocket> as fn(TcpSocket), |mut socket| socket.clear()] {
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO).connect_to(&[first.addr(); 3]).unwrap();
        poll_until_under_way(&mut socket, before, 3);
        way(socket);
        assert_eq!(descriptors(), before);
    }
}

#[test]
fn a_race_that_is_ended_just_as_it_succeeds_leaves_a_connection_or_nothing() {
    let _test = begin();
    let refusing = Refusing::new();
    let (server, live) = server();
    server.set_nonblocking(true).unwrap();
    let dead = refusing.addr();
    let registry = ShutdownRegistry::new();
    let before = descriptors();
    for (end, expected) in &ENDS {
        let (mut failed, mut succeeded) = (0, 0);
        let mut delay = 0;
        let begun = Instant::now();
        // On a very busy machine each race takes as long as the other thread waits for a processor.
        while failed + succeeded < 300 && (begun.elapsed() < PATIENCE || failed == 0 || succeeded == 0) {
            let mut socket = TcpSocket::with_registry(&registry);
            let (handle, addrs) = (socket.handle(), [dead, dead, live, dead]);
            let racing = race(
                move || (socket.connect_to(&addrs), socket),
                delay,
                || end(&handle, &registry),
            );
            let (result, mut socket) = racing.result();
            match &result {
                Ok(()) => {
                    succeeded += 1;
                    delay = delay * 3 / 4;
                    socket.timeout(PATIENCE);
                    assert_failed(&socket.wait_read(), expected, "a connection that was ended");
                }
                Err(_) => {
                    failed += 1;
                    delay += delay / 2 + 100;
                    assert_failed(&result, expected, delay);
                    assert!(!socket.is_open(), "{socket:?}");
                }
            }
            drop(socket);
            // Room for the next in the queue.
            while server.accept().is_ok() {}
            assert_eq!(descriptors(), before, "{result:?}");
            assert_eq!(registry.len(), 0, "{result:?}");
            registry.reset();
        }
        assert!(
            failed > 0 && succeeded > 0,
            "not a race: {failed} failed, {succeeded} succeeded"
        );
    }
}

#[test]
fn a_race_that_is_ended_just_as_the_second_wins_leaves_a_connection_or_nothing() {
    let _test = begin();
    let hole = BlackHole::new();
    let (_server, live) = server();
    let before = descriptors();
    let slow = hole.addr();
    let ends = ENDS.map(|(end, expected)| {
        block(move || {
            let registry = ShutdownRegistry::new();
            let (mut failed, mut succeeded) = (0, 0);
            // How long after the second attempt has begun.
            let mut after = Duration::ZERO;
            let mut rounds = 0;
            while rounds < 6 || failed == 0 || succeeded == 0 {
                rounds += 1;
                assert!(rounds < 60, "not a race: {failed} failed, {succeeded} succeeded");
                let mut socket = TcpSocket::with_registry(&registry);
                let handle = socket.handle();
                let begun = Instant::now();
                let blocked = block(move || (socket.connect_to(&[slow, live]), socket));
                thread::sleep((DELAY + after).saturating_sub(begun.elapsed()));
                end(&handle, &registry);
                let (result, socket) = blocked.result();
                if result.is_ok() {
                    succeeded += 1;
                    after = after * 3 / 4;
                } else {
                    failed += 1;
                    after += after / 2 + Duration::from_micros(200);
                    assert_failed(&result, &expected, after);
                    assert!(!socket.is_open(), "{socket:?}");
                }
                drop(socket);
                registry.reset();
            }
        })
    });
    ends.into_iter().for_each(|end| end.result());
    assert_eq!(descriptors(), before);
}

#[cfg(target_os = "linux")]
#[test]
fn signals_change_no_race() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    for flags in [0, libc::SA_RESTART] {
        let _handler = Handler::counting(libc::SIGUSR1, flags);
        let (addrs, before) = ([hole.addr(), hole.addr(), live], signals_that_came());
        takes(DELAY * 2, DELAY * 8, || {
            let blocked = block(move || {
                let mut socket = TcpSocket::new();
                (socket.timeout(PATIENCE).connect_to(&addrs), socket)
            });
            while !blocked.is_finished() {
                let arrived = signals_that_came();
                send_signal(blocked.task(), libc::SIGUSR1);
                while signals_that_came() == arrived && !blocked.is_finished() {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(1));
            }
            let (result, socket) = blocked.result();
            result.unwrap();
            assert_connected(&socket, &server);
        });
        assert!(signals_that_came() > before + 10, "they arrive");
    }
}

#[test]
fn with_no_time_to_wait_a_race_goes_on_from_look_to_look() {
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (server, live) = server();
    let addrs = [refusing.addr(), hole.addr(), hole.addr(), live];
    let before = descriptors();
    takes(DELAY * 2, DELAY * 3, || {
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO);
        socket.connect_to(&addrs).unwrap();
        assert!(!socket.is_open(), "{socket:?}");
        eventually(
            || "it connects".to_owned(),
            || {
                socket.wait_connect().map_err(|error| {
                    assert!(matches!(error, Error::Timeout) && socket.is_timeout());
                    error.to_string()
                })
            },
        );
        assert_eq!(descriptors(), before + 1, "the losers and the poll are gone");
        assert_connected(&socket, &server);
        socket.wait_connect().unwrap();
    });
    // Started with none, waited for with some, and with all.
    for limit in [Some(PATIENCE), None] {
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO).connect_to(&addrs).unwrap();
        socket.timeout(limit).wait_connect().unwrap();
        assert_connected(&socket, &server);
    }
}

#[test]
fn with_no_time_to_wait_nothing_waits() {
    let _test = begin();
    let hole = BlackHole::new();
    takes(Duration::ZERO, DELAY / 5, || {
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO).connect_to(&[hole.addr(); 3]).unwrap();
        for _ in 0..100 {
            assert_failed(&socket.wait_connect(), &Error::Timeout, "nobody answers");
        }
    });
}

#[test]
fn a_race_that_was_started_with_no_time_to_wait_tells_who_failed() {
    let _test = begin();
    let refusing = Refusing::new();
    let hole = BlackHole::new();
    let (server, _) = server();
    let addrs = [hole.addr(), refusing.addr(), hole.addr()];
    let before = descriptors();
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(&addrs).unwrap();
    poll_until_under_way(&mut socket, before, 2);
    drop(hole);
    let error = eventually(
        || "it tells that all have failed".to_owned(),
        || match socket.wait_connect() {
            Err(Error::Timeout) => Err("timeout".to_owned()),
            result => Ok(result.unwrap_err()),
        },
    );
    let refused = addrs.map(|addr| (addr, ErrorKind::ConnectionRefused));
    assert_eq!(attempts(&error), refused);
    assert!(socket.is_error() && !socket.is_timeout());
    assert_failed(&socket.wait_connect(), &error, "it is sticky");
    socket.clear_error();
    assert_failed(&socket.wait_connect(), &Error::Closed, "nothing is being made any more");
    assert_usable(&mut socket, ShutdownRegistry::global(), &server);

    let dead = refusing.addr();
    let error = socket
        .timeout(Duration::ZERO)
        .connect_to(&[dead, dead])
        .and_then(|()| socket.timeout(PATIENCE).wait_connect())
        .unwrap_err();
    assert_eq!(attempts(&error), [(dead, ErrorKind::ConnectionRefused); 2]);
}

#[test]
fn a_race_calls_back_and_can_be_ended_from_there() {
    let _test = begin();
    const STEP: Duration = Duration::from_millis(20);
    let hole = BlackHole::new();
    let (server, live) = server();
    let before = descriptors();

    let calls = Arc::new(AtomicUsize::new(0));
    let mut socket = TcpSocket::new();
    let counted = Arc::clone(&calls);
    socket.wait_step(STEP).when_wait(move |waiting| {
        let calls = counted.fetch_add(1, SeqCst) as u32;
        assert!(waiting.elapsed() >= STEP * (calls + 1));
    });
    socket.connect_to(&[hole.addr(), live]).unwrap();
    assert!(calls.load(SeqCst) >= 1, "not once in {DELAY:?}");
    assert_connected(&socket, &server);

    socket.when_wait(|waiting| {
        if waiting.elapsed() >= DELAY + STEP {
            waiting.abort();
        }
    });
    let (result, took) = timed(|| socket.timeout(PATIENCE).connect_to(&[hole.addr(); 3]));
    assert_failed(&result, &Error::Aborted, took);
    assert!(took >= DELAY + STEP, "{took:?}");
    socket.clear_abort();
    let own = descriptors();
    assert_eq!(own, before);

    socket.close();
    let handle = socket.handle();
    socket.when_wait(move |waiting| {
        if waiting.elapsed() >= DELAY + STEP {
            handle.close();
        }
    });
    assert_failed(
        &socket.connect_to(&[hole.addr(); 3]),
        &Error::Closed,
        "from the callback",
    );

    socket.when_wait(|_| {});
    ends_at_limit(DELAY + STEP, |limit| {
        let (result, took) = timed(|| socket.timeout(limit).connect_to(&[hole.addr(); 3]));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    assert_eq!(descriptors(), before);
}

#[test]
fn a_callback_that_panics_in_a_race_leaves_the_socket_usable() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    let before = descriptors();
    let mut socket = TcpSocket::new();
    let addrs = [hole.addr(), hole.addr(), live];
    for again in [false, true] {
        socket.when_wait(|waiting| assert!(waiting.elapsed() < DELAY, "as the test wants it"));
        let panicking = panic::catch_unwind(AssertUnwindSafe(|| socket.connect_to(&addrs)));
        assert!(panicking.is_err() && !socket.is_open());
        socket.clear_when_wait();
        if again {
            // What was being tried is still being tried.
            socket.timeout(PATIENCE).wait_connect().unwrap();
        } else {
            socket.close();
            assert_failed(&socket.wait_connect(), &Error::Closed, "after close");
            socket.connect_to(&[live]).unwrap();
        }
        assert_connected(&socket, &server);
        socket.close();
        assert_eq!(descriptors(), before);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_for_which_there_is_no_descriptor_is_tried_again() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    let addrs = [hole.addr(), live];
    // The first one, with a poll and without.
    for free in [1 + PARKER, 1, 2] {
        let mut socket = TcpSocket::new();
        let none = NoDescriptors::but(free);
        let blocked = block(move || (socket.timeout(PATIENCE).connect_to(&addrs), socket));
        if free == 2 {
            // Enough for both, if none is for a poll, which takes more than one.
            let (result, socket) = blocked.result();
            result.unwrap();
            drop(none);
            assert_connected(&socket, &server);
            continue;
        }
        let blocked = blocked.goes_on_for(DELAY + STILL_BLOCKS);
        none.allow_all();
        let (result, socket) = blocked.result();
        result.unwrap();
        drop(none);
        assert_connected(&socket, &server);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_for_which_there_is_no_descriptor_is_tried_when_the_first_has_failed() {
    let _test = begin();
    let hole = BlackHole::new();
    let (server, live) = server();
    let addrs = [hole.addr(), live];
    let none = NoDescriptors::but(1 + PARKER);
    let mut socket = TcpSocket::new();
    let blocked = block(move || (socket.timeout(PATIENCE).connect_to(&addrs), socket));
    let blocked = blocked.goes_on_for(DELAY + STILL_BLOCKS);
    drop(hole);
    let (result, socket) = blocked.result();
    result.unwrap();
    drop(none);
    assert_connected(&socket, &server);
}

#[cfg(target_os = "linux")]
#[test]
fn with_no_descriptor_at_all_every_address_is_named() {
    let _test = begin();
    let (server, live) = server();
    let mut socket = TcpSocket::new();
    let none = NoDescriptors::but(0);
    for limit in [None, Some(Duration::ZERO), Some(PATIENCE)] {
        let error = socket.timeout(limit).connect_to(&[live, live]).unwrap_err();
        let Error::Connect { attempts } = &error else {
            panic!("{error:?}")
        };
        let codes: Vec<_> = attempts.iter().map(|(addr, why)| (*addr, why.raw_os_error())).collect();
        assert_eq!(codes, [(live, Some(libc::EMFILE)); 2]);
    }
    drop(none);
    socket.connect_to(&[live]).unwrap();
    assert_connected(&socket, &server);
}

#[cfg(target_os = "linux")]
#[test]
fn limits_and_ends_hold_without_a_poll() {
    let _test = begin();
    let hole = BlackHole::new();
    let addrs = [hole.addr(); 2];
    let mut socket = TcpSocket::new();
    for (end, expected) in &ENDS {
        let registry = ShutdownRegistry::new();
        let mut socket = TcpSocket::with_registry(&registry);
        let handle = socket.handle();
        let none = NoDescriptors::but(1);
        let blocked = block(move || socket.connect_to(&addrs)).goes_on_for(STILL_BLOCKS);
        end(&handle, &registry);
        assert_failed(&blocked.result(), expected, "without a poll");
        drop(none);
    }
    let none = NoDescriptors::but(1);
    ends_at_limit(Duration::from_millis(300), |limit| {
        let (result, took) = timed(|| socket.timeout(limit).connect_to(&addrs));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    drop(none);
}

/// Whether epoll(7) has no room for another socket: `max_user_watches`.
#[cfg(target_os = "linux")]
static NO_WATCHES: AtomicBool = AtomicBool::new(false);
#[cfg(target_os = "linux")]
static REFUSED_WATCHES: AtomicUsize = AtomicUsize::new(0);

/// Stands in for the C library's.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_ctl(
    epoll: libc::c_int,
    operation: libc::c_int,
    fd: libc::c_int,
    event: *mut libc::epoll_event,
) -> libc::c_int {
    // SAFETY: what is given is an event, or nothing where something is taken out.
    let event_given = unsafe { event.as_ref() };
    let waits_for_writing = event_given.is_some_and(|event| event.events & libc::EPOLLOUT as u32 != 0);
    if operation == libc::EPOLL_CTL_ADD && waits_for_writing && NO_WATCHES.load(SeqCst) {
        REFUSED_WATCHES.fetch_add(1, SeqCst);
        errno::set_errno(errno::Errno(libc::ENOSPC));
        return -1;
    }
    // SAFETY: as the caller says.
    unsafe { libc::syscall(libc::SYS_epoll_ctl, epoll, operation, fd, event) as libc::c_int }
}

/// Runs `run` while no more can be watched for something to write.
#[cfg(target_os = "linux")]
pub(crate) fn without_watches<T>(run: impl FnOnce() -> T) -> T {
    struct Refusing;
    impl Drop for Refusing {
        fn drop(&mut self) {
            NO_WATCHES.store(false, SeqCst);
        }
    }
    NO_WATCHES.store(true, SeqCst);
    let _refusing = Refusing;
    run()
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_is_found_though_the_attempts_can_not_be_watched() {
    let test = begin();
    if test.skip_if(POLLED, "poll(2) can watch anything") {
        return;
    }
    let (first, others) = (BlackHole::new(), BlackHole::new());
    let addrs = [first.addr(), others.addr(), others.addr()];
    let before = descriptors();
    NO_WATCHES.store(true, SeqCst);
    let blocked = block(move || {
        let mut socket = TcpSocket::new();
        (socket.connect_to(&addrs), socket)
    });
    until_under_way(before, 3);
    first.relieve();
    let (result, socket) = blocked.result();
    NO_WATCHES.store(false, SeqCst);
    result.unwrap();
    assert_eq!(socket.peer_addr().unwrap(), addrs[0]);
    assert!(REFUSED_WATCHES.load(SeqCst) > 0);
}

// A raw wait of the user's.

#[test]
fn a_race_is_won_whatever_the_waiter_does() {
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (slow, dead) = (hole.addr(), refusing.addr());
    let steps = [
        Step::Early,
        Step::Lie,
        Step::Short,
        Step::Fail(ErrorKind::Interrupted),
        Step::FailOs(code::ENOMEM),
    ];
    let races = steps.map(|step| {
        block(move || {
            let (server, live) = server();
            let script = Scripted::alternating(step);
            let mut socket = TcpSocket::new();
            for addrs in [vec![dead, live], vec![slow, live], vec![slow, dead, dead, live]] {
                socket.set_raw_wait(Arc::new(Plug(Arc::clone(&script))));
                socket.timeout(PATIENCE).connect_to(&addrs).unwrap();
                assert_connected(&socket, &server);
            }
            // The last one is waited for in the socket's own waiter.
            let before = script.waits();
            ends_at_limit(Duration::from_millis(30), |limit| {
                let (result, took) = timed(|| socket.timeout(limit).connect_to(&[dead, slow]));
                let error = result.unwrap_err();
                assert!(error.is_timeout(), "{step:?}: {error:?}");
                took
            });
            assert!(script.waits() > before, "{step:?}");
            let error = socket.timeout(PATIENCE).connect_to(&[dead, dead]).unwrap_err();
            assert_eq!(attempts(&error).len(), 2, "{error:?}");
        })
    });
    races.into_iter().for_each(|race| race.result());
}

#[test]
fn a_waiter_that_fails_fails_the_address_that_is_waited_for() {
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (server, live) = server();
    let addrs = [refusing.addr(), hole.addr()];
    let script = Scripted::new([Step::Fail(ErrorKind::Other)]);
    let mut socket = TcpSocket::new();
    socket.set_raw_wait(Arc::new(Plug(script)));
    let error = socket.timeout(PATIENCE).connect_to(&addrs).unwrap_err();
    assert_eq!(
        attempts(&error),
        [(addrs[0], ErrorKind::ConnectionRefused), (addrs[1], ErrorKind::Other)]
    );
    socket.connect_to(&[live]).unwrap();
    assert_connected(&socket, &server);
}

// All together.

#[test]
fn whatever_happens_in_whatever_order_nothing_is_left() {
    const STEPS: usize = 110;
    let _test = begin();
    let (hole, refusing) = (BlackHole::new(), Refusing::new());
    let (server, live) = server();
    server.set_nonblocking(true).unwrap();
    let places = [hole.addr(), refusing.addr(), live];
    let registry = ShutdownRegistry::new();
    let before = descriptors();
    let over = Arc::new(AtomicBool::new(false));
    let current: Arc<Mutex<Option<SocketHandle>>> = Arc::default();
    // Ends whatever is going on now and then, beside what the socket's owner does.
    let (done, of_now) = (Arc::clone(&over), Arc::clone(&current));
    let meddling = block(move || {
        let mut random = Random::new(7);
        while !done.load(SeqCst) {
            thread::sleep(Duration::from_micros(random.below(3_000) as u64));
            match &*of_now.lock().unwrap() {
                Some(handle) if random.below(2) == 0 => handle.close(),
                Some(handle) => handle.abort(),
                None => {}
            }
        }
    });
    for seed in 0..5 {
        let mut random = Random::new(seed);
        let mut socket = TcpSocket::with_registry(&registry);
        let (mut connected, mut failed) = (0, 0);
        for step in 0..STEPS {
            let limits = [Duration::ZERO, Duration::from_millis(2), DELAY * 5 / 4];
            let limit = limits[[0, 0, 0, 1, 1, 1, 1, 2][random.below(8)]];
            let result = match random.below(12) {
                0..4 => {
                    let addrs: Vec<_> = (0..random.below(5)).map(|_| places[random.below(3)]).collect();
                    socket.timeout(limit).connect_to(&addrs)
                }
                4..7 => socket.timeout(limit).wait_connect(),
                7 => {
                    socket.close();
                    Ok(())
                }
                8 => {
                    // In turn with the meddler, or alone.
                    let handle = (random.below(2) == 0).then(|| socket.handle());
                    *current.lock().unwrap() = handle;
                    Ok(())
                }
                9 => {
                    registry.shutdown();
                    registry.reset();
                    Ok(())
                }
                10 => {
                    socket.clear();
                    Ok(())
                }
                _ => {
                    socket.clear_abort();
                    socket.clear_error();
                    Ok(())
                }
            };
            match &result {
                Ok(()) | Err(Error::Timeout | Error::Closed | Error::Aborted | Error::Shutdown) => {}
                Err(Error::Connect { attempts }) => {
                    failed += 1;
                    let has_failed = |(addr, why): &(_, Arc<std::io::Error>)| match why.kind() {
                        ErrorKind::ConnectionRefused => *addr == places[1],
                        ErrorKind::TimedOut => why.raw_os_error().is_none(),
                        _ => false,
                    };
                    assert!(attempts.iter().all(has_failed), "{result:?}");
                }
                Err(error) => panic!("seed {seed}, step {step}: {error:?}"),
            }
            match socket.peer_addr() {
                Ok(addr) => {
                    connected += 1;
                    assert_eq!(addr, live, "seed {seed}, step {step}");
                }
                Err(Error::Closed | Error::Shutdown) => {}
                // The server is rid of those that it accepts.
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotConnected, "{error:?}"),
            }
            while let Ok((peer, _)) = server.accept() {
                drop(peer);
            }
            let own = descriptors() - before;
            // A socket for each address, what it blocks in, and two of the socket itself.
            assert!(own <= 4 + PARKER + 2, "seed {seed}, step {step}: {own} descriptors");
        }
        assert!(
            connected > 0 && failed > 0,
            "seed {seed}: {connected} connected, {failed} failed"
        );
        *current.lock().unwrap() = None;
        socket.clear();
        assert_eq!(descriptors(), before, "seed {seed}");
        assert_eq!(registry.len(), 0, "seed {seed}");
        socket.timeout(PATIENCE).connect_to(&[places[0], live]).unwrap();
        drop(socket);
        assert_eq!(descriptors(), before, "seed {seed}");
    }
    over.store(true, SeqCst);
    meddling.result();
}
