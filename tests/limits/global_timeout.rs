//! A limit over a run of operations.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, TcpSocket};
#[cfg(target_os = "linux")]
use wakesock::{IpAddrFamily, IpAddrInfo};

#[cfg(target_os = "linux")]
use crate::names::{HOST, Lookups};
#[cfg(target_os = "linux")]
use crate::support::BlackHole;
use crate::support::every::{OF_CONNECTIONS, OF_LISTENERS, Operation, assert_failed};
use crate::support::{
    Blocked, PATIENCE, assert_sees_end, begin, block, ends_at_limit, eventually, listener, pair, pattern, timed,
};

const SHORT: Duration = Duration::from_millis(30);
const AGES: Duration = Duration::from_secs(300);

/// Runs `operation` under a limit over all, and checks that this ends it. Gives how long that took, from before the
/// limit was set.
#[track_caller]
fn runs_out(
    socket: &mut TcpSocket,
    limit: Duration,
    operation: impl FnOnce(&mut TcpSocket) -> Result<(), Error>,
) -> Duration {
    socket.no_global_timeout().clear_error();
    let (result, took) = timed(|| operation(socket.global_timeout(limit)));
    assert_failed(&result, &Error::GlobalTimeout, limit);
    assert!(took >= limit, "a limit of {limit:?} over all was over after {took:?}");
    took
}

/// All that blocks, with a socket of its own for each: the names, and what they block on.
fn every() -> Vec<(Operation, TcpSocket, Option<TcpStream>)> {
    let of_listeners = OF_LISTENERS
        .into_iter()
        // It goes by the limits of another socket, and has its own test.
        .filter(|operation| operation.name != "accept")
        .map(|operation| (operation, listener().0, None));
    let of_connections = OF_CONNECTIONS.into_iter().map(|operation| {
        let (socket, peer) = pair();
        (operation, socket, Some(peer))
    });
    of_listeners.chain(of_connections).collect()
}

/// Whether the socket itself is changed by the operation, and so can be in the error state.
fn keeps_errors(operation: &Operation) -> bool {
    !matches!(operation.name, "accept_new" | "incoming")
}

/// Runs it again where the system had made room for a bit more, so that some of it was done.
fn until_failed(socket: &mut TcpSocket, operation: &Operation) -> Result<(), Error> {
    loop {
        (operation.run)(socket)?;
    }
}

#[test]
fn it_ends_every_operation_at_the_moment_and_not_before() {
    let _test = begin();
    let threads: Vec<Blocked<()>> = every()
        .into_iter()
        .map(|(operation, mut socket, peer)| {
            block(move || {
                for own in [None, Some(AGES), Some(Duration::MAX)] {
                    socket.timeout(own);
                    ends_at_limit(SHORT, |limit| runs_out(&mut socket, limit, operation.run));
                    if keeps_errors(&operation) {
                        assert!(
                            socket.is_error() && socket.is_timeout(),
                            "{}: {socket:?}",
                            operation.name
                        );
                    }
                    let (again, _) = timed(|| (operation.run)(&mut socket));
                    assert_failed(&again, &Error::GlobalTimeout, (operation.name, own, "again"));
                }
                drop(peer);
            })
        })
        .collect();
    threads.into_iter().for_each(Blocked::result);
}

#[test]
fn it_ends_every_operation_while_a_callback_is_set() {
    let _test = begin();
    let threads: Vec<Blocked<()>> = every()
        .into_iter()
        .map(|(operation, mut socket, peer)| {
            block(move || {
                let calls = Arc::new(AtomicUsize::new(0));
                let counted = Arc::clone(&calls);
                socket.wait_step(SHORT / 10).when_wait(move |_| {
                    counted.fetch_add(1, SeqCst);
                });
                ends_at_limit(SHORT, |limit| {
                    let took = runs_out(&mut socket, limit, operation.run);
                    // A thread that the system has kept from running until it was over has not waited.
                    if calls.load(SeqCst) > 0 { took } else { took + limit }
                });
                drop(peer);
            })
        })
        .collect();
    threads.into_iter().for_each(Blocked::result);
}

#[test]
fn the_nearer_limit_wins_and_is_named() {
    let _test = begin();
    let threads: Vec<Blocked<()>> = every()
        .into_iter()
        .map(|(operation, mut socket, peer)| {
            block(move || {
                socket.timeout(SHORT).global_timeout(AGES);
                let (result, took) = timed(|| until_failed(&mut socket, &operation));
                assert_failed(&result, &Error::Timeout, operation.name);
                assert!(took >= SHORT, "{}: {took:?}", operation.name);
                socket.timeout(Duration::ZERO).clear_error();
                let result = until_failed(&mut socket, &operation);
                assert_failed(&result, &Error::Timeout, (operation.name, "no time to wait"));

                socket.timeout(AGES);
                runs_out(&mut socket, SHORT, operation.run);
                // Once it is over, it is the nearer one whatever the other.
                for own in [Duration::ZERO, Duration::from_nanos(1), AGES] {
                    socket.timeout(own).clear_error();
                    let result = (operation.run)(&mut socket);
                    assert_failed(&result, &Error::GlobalTimeout, (operation.name, own));
                }
                drop(peer);
            })
        })
        .collect();
    threads.into_iter().for_each(Blocked::result);
}

#[test]
fn zero_is_over_at_once_and_the_longest_never() {
    let _test = begin();
    for (operation, mut socket, mut peer) in every() {
        // Something is there, so that some would not have to wait.
        if let Some(peer) = &mut peer {
            peer.write_all(b"line\n").unwrap();
        }
        runs_out(&mut socket, Duration::ZERO, operation.run);
        socket.clear_error();
        for limit in [Some(Duration::MAX), None] {
            let (mut socket, _peer) = match &peer {
                Some(_) => {
                    let (socket, peer) = pair();
                    (socket, Some(peer))
                }
                None => (listener().0, None),
            };
            socket.global_timeout(limit);
            let handle = socket.handle();
            let blocked = block(move || (operation.run)(&mut socket)).until_blocked();
            assert!(
                !blocked.is_finished(),
                "{}, {limit:?}: {:?}",
                operation.name,
                blocked.result()
            );
            handle.close();
            assert_failed(&blocked.result(), &Error::Closed, (operation.name, limit));
        }
    }
}

#[test]
fn a_limit_that_was_set_again_begins_again() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    ends_at_limit(SHORT, |limit| {
        socket.no_global_timeout().clear_error();
        socket.global_timeout(limit);
        for _ in 0..3 {
            let result = socket.timeout(limit / 2).get_byte();
            // A busy machine may be late for the one, and so for the other.
            assert!(result.as_ref().is_err_and(Error::is_timeout), "{result:?}");
            socket.clear_error();
            socket.global_timeout(limit);
        }
        socket.timeout(None);
        runs_out(&mut socket, limit, |socket| socket.get_byte().map(drop))
    });
}

// Many short operations.

type Short = (&'static str, fn(&mut TcpSocket) -> Result<(), Error>);

/// What ends each time that a bit of a line has come.
const SHORT_ONES: [Short; 7] = [
    ("get", |socket| socket.get(&mut [0]).map(drop)),
    ("get_byte", |socket| socket.get_byte().map(drop)),
    ("get_bytes", |socket| socket.get_bytes(2).map(drop)),
    ("get_line", |socket| socket.get_line().map(drop)),
    ("get_all", |socket| socket.get_all(&mut [0; 2])),
    ("wait_read", |socket| {
        socket.wait_read()?;
        socket.get_byte().map(drop)
    }),
    ("wait_request", |socket| {
        assert!(socket.wait_request()?);
        socket.get_byte().map(drop)
    }),
];

/// A peer that sends a bit every millisecond.
fn dripping() -> (TcpSocket, Blocked<()>) {
    let (socket, mut peer) = pair();
    let feeding = block(move || {
        while peer.write_all(b"x\n").is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    (socket, feeding)
}

#[test]
fn many_short_operations_end_together() {
    let _test = begin();
    for (name, run) in SHORT_ONES {
        let (mut socket, feeding) = dripping();
        socket.timeout(PATIENCE);
        let mut most = 0;
        eventually(
            || format!("more than three of {name} in a run"),
            || {
                ends_at_limit(SHORT * 2, |limit| {
                    let mut done = 0;
                    let took = runs_out(&mut socket, limit, |socket| {
                        loop {
                            run(socket)?;
                            done += 1;
                        }
                    });
                    most = most.max(done);
                    took
                });
                (most > 3).then_some(()).ok_or(most.to_string())
            },
        );
        drop(socket);
        feeding.result();
    }
}

#[test]
fn operations_that_never_wait_end_together() {
    let _test = begin();
    for (name, run) in SHORT_ONES {
        let (mut socket, mut peer) = pair();
        let feeding = block(move || while peer.write_all(&b"x\n".repeat(4096)).is_ok() {});
        ends_at_limit(SHORT, |limit| {
            runs_out(&mut socket, limit, |socket| {
                loop {
                    run(socket).inspect_err(|error| assert!(error.is_timeout(), "{name}: {error:?}"))?;
                }
            })
        });
        drop(socket);
        feeding.result();
    }
}

#[test]
fn what_is_in_the_buffer_does_not_outlast_it() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"one\ntwo\nthree\n").unwrap();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("one"));
    socket.global_timeout(Duration::ZERO);
    for (name, run) in SHORT_ONES {
        assert_failed(&run(&mut socket), &Error::GlobalTimeout, name);
        socket.clear_error();
        assert_failed(&run(&mut socket), &Error::GlobalTimeout, (name, "still"));
    }
    assert_failed(&socket.get_line(), &Error::GlobalTimeout, "sticky");
    socket.no_global_timeout();
    assert_failed(&socket.get_line(), &Error::GlobalTimeout, "lifted, not forgotten");
    socket.clear_error();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("two"), "nothing is lost");
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("three"));
}

#[test]
fn what_is_in_the_buffer_does_not_outlast_it_byte_by_byte() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let mut limit = SHORT;
    loop {
        peer.write_all(b"abcdef").unwrap();
        socket.global_timeout(limit);
        let end = Instant::now() + limit;
        // On a busy machine the time may be up before the first byte is there.
        let first = socket.get_byte();
        thread::sleep(end.saturating_duration_since(Instant::now()));
        assert_failed(&socket.get_byte(), &Error::GlobalTimeout, limit);
        socket.no_global_timeout().clear_error();
        let taken = usize::from(first.is_ok());
        assert_eq!(socket.get_all_bytes(6 - taken).unwrap(), &b"abcdef"[taken..]);
        if first.is_ok() {
            break;
        }
        limit *= 2;
    }
}

#[test]
fn one_operation_that_never_waits_is_ended() {
    let _test = begin();
    // A read of more than comes in time.
    let (mut socket, mut peer) = pair();
    let data = pattern(1 << 20);
    let period = data.len() / 251 * 251;
    let feeding = block(move || while peer.write_all(&data[..period]).is_ok() {});
    let mut at = 0;
    while at == 0 {
        ends_at_limit(SHORT, |limit| {
            socket.no_global_timeout().clear_error();
            let (result, took) = timed(|| socket.global_timeout(limit).get_bytes(usize::MAX));
            let bytes = match result {
                Ok(bytes) => bytes,
                // A busy machine may let it begin too late.
                Err(error) => {
                    assert!(matches!(error, Error::GlobalTimeout), "{error:?}");
                    Vec::new()
                }
            };
            assert!(socket.is_timeout() && socket.is_error());
            assert_failed(&socket.get_bytes(1), &Error::GlobalTimeout, "the next");
            for (index, byte) in bytes.iter().enumerate() {
                assert_eq!(usize::from(*byte), (at + index) % 251, "byte {index} behind {at}");
            }
            at += bytes.len();
            took
        });
    }
    drop(socket);
    feeding.result();

    // A write of more than goes in time.
    let (mut socket, mut peer) = pair();
    let reading = block(move || {
        let mut buf = vec![0; 1 << 16];
        let mut count = 0;
        loop {
            match peer.read(&mut buf).unwrap() {
                0 => return count,
                some => count += some,
            }
        }
    });
    let much = vec![1; 1 << 28];
    let mut sent = 0;
    for all in [false, true] {
        ends_at_limit(SHORT, |limit| {
            socket.no_global_timeout().clear_error();
            socket.global_timeout(limit);
            let begun = Instant::now();
            loop {
                let result = if all {
                    socket.put_all(&much).map(|()| much.len())
                } else {
                    socket.put(&much)
                };
                sent += socket.done();
                match result {
                    Ok(count) if count == much.len() => continue,
                    Ok(_) => assert!(!all && socket.is_timeout() && socket.is_error()),
                    Err(error) => assert!(matches!(error, Error::GlobalTimeout), "{error:?}"),
                }
                break;
            }
            let took = begun.elapsed();
            assert_failed(&socket.put(b"x"), &Error::GlobalTimeout, "the next");
            took.max(limit)
        });
    }
    drop(socket);
    assert_eq!(reading.result(), sent, "exactly what it says was sent");
}

#[test]
fn some_of_it_is_handed_over_and_the_next_fails() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    let mut buf = [0; 8];
    eventually(
        || "it begins before its time is up".to_owned(),
        || {
            socket.no_global_timeout().clear_error();
            let (result, took) = timed(|| socket.global_timeout(SHORT).get(&mut buf));
            assert!(took >= SHORT && socket.is_timeout() && socket.is_error(), "{took:?}");
            match result {
                Ok(count) => {
                    assert_eq!(count, 3);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            }
        },
    );
    assert_eq!(socket.done(), 3);
    assert_failed(&socket.get(&mut buf), &Error::GlobalTimeout, "the next");
    assert!(socket.is_timeout());
    let read = std::io::Read::read(&mut socket, &mut buf).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::TimedOut);

    // All or nothing: it is put back.
    socket.no_global_timeout().clear_error();
    peer.write_all(b"defg").unwrap();
    assert_failed(
        &socket.global_timeout(SHORT).get_all(&mut buf),
        &Error::GlobalTimeout,
        "get_all",
    );
    assert_failed(&socket.get_line(), &Error::GlobalTimeout, "sticky");
    socket.no_global_timeout().clear_error();
    assert_failed(
        &socket.global_timeout(SHORT).get_line(),
        &Error::GlobalTimeout,
        "get_line",
    );
    socket.no_global_timeout().clear_error();
    peer.write_all(b"h\n").unwrap();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("defgh"));
    assert!(!socket.is_timeout());
}

#[test]
fn both_halves_are_under_it() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    let begun = Instant::now();
    socket.global_timeout(SHORT);
    let (mut reader, mut writer) = socket.split();
    assert_failed(&reader.get_byte(), &Error::GlobalTimeout, "the reader");
    assert!(begun.elapsed() >= SHORT);
    assert_failed(&writer.put(b"x"), &Error::GlobalTimeout, "the writer");
}

// Accepting.

#[test]
fn an_accept_goes_by_the_accepting_socket() {
    let _test = begin();
    let (mut server, addr) = listener();
    let mut socket = TcpSocket::new();
    for own in [None, Some(AGES)] {
        socket.timeout(own);
        ends_at_limit(SHORT, |limit| {
            runs_out(&mut socket, limit, |socket| socket.accept(&server))
        });
        assert!(socket.is_error() && socket.is_timeout() && !socket.is_open());
        assert!(!server.is_error(), "{server:?}");
    }
    socket.timeout(SHORT).global_timeout(AGES);
    assert_failed(&socket.accept(&server), &Error::Timeout, "its own is nearer");

    // A client that is there makes no difference, and is not lost.
    let client = TcpStream::connect(addr).unwrap();
    socket.global_timeout(Duration::ZERO);
    assert_failed(&socket.accept(&server), &Error::GlobalTimeout, "with a client");
    server.global_timeout(Duration::ZERO);
    socket.no_global_timeout();
    socket.accept(&server).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), client.local_addr().unwrap());
}

#[test]
fn an_accept_new_goes_by_the_listener() {
    let _test = begin();
    let (mut server, addr) = listener();
    let client = TcpStream::connect(addr).unwrap();
    server.global_timeout(Duration::ZERO);
    assert_failed(&server.accept_new(), &Error::GlobalTimeout, "with a client");
    let mut incoming = server.incoming();
    let first = incoming.next();
    assert!(matches!(first, Some(Err(Error::GlobalTimeout))), "{first:?}");
    assert!(incoming.next().is_none() && incoming.next().is_none(), "it has ended");
    server.no_global_timeout();
    let mut connection = server.accept_new().unwrap();
    assert_eq!(connection.peer_addr().unwrap(), client.local_addr().unwrap());
    // The limits are the listener's.
    drop(client);
    assert!(matches!(connection.get_byte(), Ok(None)));

    // Clients that go on coming don't lift it.
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&over);
    let clients = block(move || {
        while !done.load(SeqCst) {
            drop(TcpStream::connect(addr));
        }
    });
    ends_at_limit(SHORT, |limit| {
        server.global_timeout(limit);
        let begun = Instant::now();
        let mut incoming = server.incoming();
        let last = incoming.find(Result::is_err);
        assert!(matches!(last, Some(Err(Error::GlobalTimeout))), "{last:?}");
        assert!(incoming.next().is_none());
        // From a moment after it was set.
        begun.elapsed().max(limit)
    });
    over.store(true, SeqCst);
    clients.result();
}

#[test]
fn threads_that_accept_end_together() {
    let _test = begin();
    let (mut server, _) = listener();
    let begun = Instant::now();
    server.global_timeout(SHORT);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let result = server.accept_new().map(drop);
                    (result, begun.elapsed())
                })
            })
            .collect();
        for thread in threads {
            let (result, took) = thread.join().unwrap();
            assert_failed(&result, &Error::GlobalTimeout, took);
            assert!(took >= SHORT, "{took:?}");
        }
    });
}

// Connecting.

#[cfg(target_os = "linux")]
#[test]
fn a_connect_is_under_it() {
    let _test = begin();
    let hole = BlackHole::new();
    let addr = hole.addr();
    let _lookups = Lookups::held();
    let mut info = IpAddrInfo::new();
    info.start(HOST, 1, IpAddrFamily::Any).unwrap();
    type Connect<'a> = (&'a str, Box<dyn Fn(&mut TcpSocket) -> Result<(), Error> + 'a>);
    let ways: [Connect<'_>; 6] = [
        ("connect_to one", Box::new(|socket| socket.connect_to(&[addr]))),
        ("connect_to many", Box::new(|socket| socket.connect_to(&[addr; 10]))),
        ("connect", Box::new(|socket| socket.connect("127.0.0.1", addr.port()))),
        ("connect, look-up", Box::new(|socket| socket.connect(HOST, addr.port()))),
        ("connect_info", Box::new(|socket| socket.connect_info(&info))),
        (
            "wait_connect",
            Box::new(|socket| {
                let own = socket.get_timeout();
                socket.timeout(Duration::ZERO).connect_to(&[addr; 3])?;
                socket.timeout(own).wait_connect()
            }),
        ),
    ];
    let mut socket = TcpSocket::new();
    for (name, connect) in &ways {
        for callback in [false, true] {
            if callback {
                socket.when_wait(|_| {});
            } else {
                socket.clear_when_wait();
            }
            for own in [None, Some(AGES)] {
                socket.timeout(own);
                ends_at_limit(SHORT, |limit| runs_out(&mut socket, limit, connect));
                assert!(
                    socket.is_error() && socket.is_timeout() && !socket.is_open(),
                    "{name}: {socket:?}"
                );
            }
            socket.timeout(SHORT).global_timeout(AGES);
            let (result, took) = timed(|| connect(&mut socket));
            assert_failed(&result, &Error::Timeout, name);
            assert!(took >= SHORT && !socket.is_error(), "{name}: {took:?}");
        }
        socket.timeout(None);
        runs_out(&mut socket, Duration::ZERO, connect);
    }
    // Longer than the first address alone is given.
    socket.timeout(None).clear_when_wait();
    ends_at_limit(Duration::from_millis(300), |limit| {
        runs_out(&mut socket, limit, |socket| socket.connect_to(&[addr; 10]))
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_would_stand_at_once_is_not_made_after_it() {
    let _test = begin();
    let (server, addr) = listener();
    let lookups = Lookups::finding(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let mut info = IpAddrInfo::new();
    info.execute("127.0.0.1", addr.port(), IpAddrFamily::Any).unwrap();
    let path = std::env::temp_dir().join(format!("wakesock-global-timeout-{}", std::process::id()));
    let mut local = TcpSocket::new();
    local.listen_path(&path, 5).unwrap();
    type Connect<'a> = (&'a str, Box<dyn Fn(&mut TcpSocket) -> Result<(), Error> + 'a>);
    let ways: [Connect<'_>; 6] = [
        ("connect_to", Box::new(|socket| socket.connect_to(&[addr]))),
        ("connect", Box::new(|socket| socket.connect("127.0.0.1", addr.port()))),
        ("connect, look-up", Box::new(|socket| socket.connect(HOST, addr.port()))),
        ("connect_info", Box::new(|socket| socket.connect_info(&info))),
        ("connect_path", Box::new(|socket| socket.connect_path(&path))),
        (
            "wait_connect",
            Box::new(|socket| {
                socket.no_global_timeout().timeout(Duration::ZERO).connect_to(&[addr])?;
                socket.global_timeout(Duration::ZERO).timeout(None).wait_connect()
            }),
        ),
    ];
    for (name, connect) in &ways {
        for own in [None, Some(Duration::ZERO), Some(AGES)] {
            let mut socket = TcpSocket::new();
            socket.timeout(own).global_timeout(Duration::ZERO);
            for _ in 0..3 {
                assert_failed(&connect(&mut socket), &Error::GlobalTimeout, (name, own));
                assert!(socket.is_error() && socket.is_timeout() && !socket.is_open() || *name == "wait_connect");
            }
            socket.no_global_timeout().clear_error();
            socket.timeout(PATIENCE).connect_to(&[addr]).unwrap();
        }
    }
    std::fs::remove_file(&path).unwrap();
    drop(lookups);
    drop(server);
}

#[test]
fn clear_lifts_it() {
    let _test = begin();
    let (server, addr) = listener();
    let mut socket = TcpSocket::new();
    socket.connect_to(&[addr]).unwrap();
    runs_out(&mut socket, Duration::ZERO, |socket| socket.get_byte().map(drop));
    socket.clear();
    assert!(!socket.is_error() && !socket.is_timeout());
    socket.connect_to(&[addr]).unwrap();
    let mut first = server.accept_new().unwrap();
    assert!(matches!(first.get_byte(), Ok(None)), "the one before");
    let mut peer = server.accept_new().unwrap();
    peer.put_all(b"x").unwrap();
    assert_eq!(socket.get_byte().unwrap(), Some(b'x'));
    // But opening it again doesn't.
    runs_out(&mut socket, Duration::ZERO, |socket| socket.get_byte().map(drop));
    socket.close();
    assert_failed(&socket.connect_to(&[addr]), &Error::GlobalTimeout, "opened again");
    assert_sees_end(&mut peer);
}
