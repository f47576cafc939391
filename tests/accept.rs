//! When clients come, when none do, and which thread gets them.
//!
//! Alone since it stands in for accept4(2).

#![allow(
    unsafe_code,
    reason = "stands in for accept4(2), and asks how many clients are waiting"
)]

mod support;

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::every::{OF_LISTENERS, assert_failed};
#[cfg(target_os = "linux")]
use support::handlers::set_errno;
#[cfg(target_os = "linux")]
use support::is_emulated;
use support::scripted::{Plug, Scripted};
use support::{
    LOST_WITH_THREAD, NO_RESETS, PATIENCE, assert_sees_end, begin, block, ends_at_limit, eventually, is_wine, listener,
    listener_in, pair, reset, timed,
};
use wakesock::{Error, ShutdownRegistry, TcpSocket};

/// Returns when `count` clients are in the listener's queue.
#[cfg(target_os = "linux")]
fn until_pending(listener: &TcpSocket, count: u32) {
    eventually(
        || format!("{count} clients are pending"),
        || {
            let pending = queued(listener);
            (pending == count).then_some(()).ok_or_else(|| pending.to_string())
        },
    );
}

/// How many connections wait at the listener, by TCP_INFO: what `tcpi_unacked` is of a listener.
#[cfg(target_os = "linux")]
fn queued(listener: &TcpSocket) -> u32 {
    if is_emulated() {
        return queued_in_table(listener);
    }
    // SAFETY: numbers all, of which zero is one.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&info) as libc::socklen_t;
    let (fd, place) = (listener.as_raw_fd(), &raw mut info);
    // SAFETY: the pointers are to a `tcp_info` and to its size.
    let result = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, place.cast(), &mut len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    info.tcpi_unacked
}

/// Does without TCP_INFO, which an emulator may not know, but reads all connections of the system, in proc_pid_net(5):
/// what `rx_queue` is of a listener.
#[cfg(target_os = "linux")]
fn queued_in_table(listener: &TcpSocket) -> u32 {
    const LISTENING: &str = "0A";
    let port = format!(":{:04X}", listener.local_addr().unwrap().port());
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/self/net/{table}")));
    let lines = tables.iter().flatten().flat_map(|table| table.lines());
    let queues = lines.filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (local.ends_with(&port) && state == LISTENING).then_some(queues)
    });
    let received = queues
        .filter_map(|queues| queues.split_once(':'))
        .map(|both| both.1)
        .next();
    u32::from_str_radix(received.expect("the listener is there"), 16).expect("a hexadecimal number")
}

/// Returns when there are clients in the listener's queue, or none: how many, only Linux says.
#[cfg(not(target_os = "linux"))]
fn until_pending(listener: &TcpSocket, count: u32) {
    eventually(
        || format!("{count} clients are pending"),
        || {
            let is_any = support::is_readable(listener);
            (is_any == (count > 0)).then_some(()).ok_or_else(|| is_any.to_string())
        },
    );
}

/// A client that is in the listener's queue as the only one.
fn pending_client(listener: &TcpSocket) -> TcpStream {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    until_pending(listener, 1);
    client
}

fn assert_connected(connection: &TcpSocket, client: &TcpStream) {
    assert_eq!(connection.peer_addr().unwrap(), client.local_addr().unwrap());
    assert_eq!(connection.local_addr().unwrap(), client.peer_addr().unwrap());
}

#[test]
fn a_pending_client_is_accepted_with_no_time_to_wait() {
    let _test = begin();
    let (mut listener, _) = listener();
    listener.timeout(Duration::ZERO);
    let client = pending_client(&listener);
    assert_connected(&listener.accept_new().unwrap(), &client);
    let client = pending_client(&listener);
    assert_connected(&listener.incoming().next().unwrap().unwrap(), &client);
    let client = pending_client(&listener);
    let mut connection = TcpSocket::new();
    connection.timeout(Duration::ZERO).accept(&listener).unwrap();
    assert_connected(&connection, &client);
}

#[test]
fn a_client_that_comes_later_is_accepted_when_it_comes() {
    let _test = begin();
    let (listener, addr) = listener();
    let listener = Arc::new(listener);
    let accepting = Arc::clone(&listener);
    let blocked = block(move || accepting.accept_new()).still_blocks();
    let client = TcpStream::connect(addr).unwrap();
    assert_connected(&blocked.result().unwrap(), &client);

    let accepting = Arc::clone(&listener);
    let blocked = block(move || {
        let mut connection = TcpSocket::new();
        connection.accept(&accepting).map(|()| connection)
    });
    let blocked = blocked.still_blocks();
    let client = TcpStream::connect(addr).unwrap();
    assert_connected(&blocked.result().unwrap(), &client);
}

#[test]
fn accept_without_a_client_ends_at_its_limit() {
    let _test = begin();
    let (mut listener, _) = listener();
    for operation in OF_LISTENERS {
        ends_at_limit(Duration::from_millis(5), |limit| {
            listener.timeout(limit);
            let (result, took) = timed(|| (operation.run)(&mut listener));
            assert_failed(&result, &Error::Timeout, operation.name);
            took
        });
    }
}

#[test]
fn accept_works_after_it_timed_out() {
    let _test = begin();
    let (mut listener, _) = listener();
    for limit in [Duration::ZERO, Duration::from_millis(2)] {
        for operation in OF_LISTENERS {
            listener.timeout(limit);
            let result = (operation.run)(&mut listener);
            assert_failed(&result, &Error::Timeout, (operation.name, limit));
            assert!(!listener.is_error(), "{}: it is sticky", operation.name);
            let client = pending_client(&listener);
            let connection = listener.timeout(PATIENCE).accept_new();
            assert_connected(&connection.unwrap(), &client);
        }
    }
}

#[test]
fn incoming_goes_on_after_a_timeout() {
    let _test = begin();
    let (mut listener, _) = listener();
    listener.timeout(Duration::ZERO);
    let mut incoming = listener.incoming();
    let nobody = incoming.next().unwrap();
    assert!(matches!(nobody, Err(Error::Timeout)), "{nobody:?}");
    let client = pending_client(&listener);
    assert_connected(&incoming.next().unwrap().unwrap(), &client);
}

#[test]
fn accept_goes_by_the_limit_of_the_socket_it_is_called_on() {
    let _test = begin();
    let (mut listener, addr) = listener();
    let short = Duration::from_millis(2);
    listener.timeout(None);
    let result = TcpSocket::new().timeout(short).accept(&listener);
    assert_failed(&result, &Error::Timeout, "a limit of its own");

    listener.timeout(Duration::ZERO);
    let blocked = block(move || TcpSocket::new().accept(&listener)).still_blocks();
    let _client = TcpStream::connect(addr).unwrap();
    blocked.result().unwrap();
}

#[test]
fn each_client_goes_to_exactly_one_of_many_threads() {
    const CLIENTS: usize = 400;
    let _test = begin();
    let (listener, addr) = listener();
    let accepted = Mutex::new(Vec::new());
    let clients: Vec<SocketAddr> = thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for client in listener.incoming() {
                    let mut client = client.unwrap();
                    let addr = client.peer_addr().unwrap();
                    accepted.lock().unwrap().push(addr);
                    client.put_all(addr.to_string().as_bytes()).unwrap();
                }
            });
        }
        let clients = (0..CLIENTS).map(|_| {
            let mut client = TcpStream::connect(addr).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut greeting = String::new();
            client.read_to_string(&mut greeting).unwrap();
            let own = client.local_addr().unwrap();
            assert_eq!(greeting, own.to_string());
            own
        });
        let clients = clients.collect();
        listener.close();
        clients
    });
    let accepted = accepted.into_inner().unwrap();
    assert_eq!(accepted.len(), CLIENTS, "clients that were accepted");
    let accepted: HashSet<_> = accepted.into_iter().collect();
    assert_eq!(accepted, clients.into_iter().collect());
}

#[test]
fn clients_that_come_at_once_go_to_as_many_blocked_threads() {
    const THREADS: usize = 8;
    let _test = begin();
    let (listener, addr) = listener();
    let listener = Arc::new(listener);
    for round in 0..40 {
        let blocked: Vec<_> = (0..THREADS)
            .map(|_| {
                let listener = Arc::clone(&listener);
                block(move || listener.accept_new())
            })
            .collect();
        let blocked: Vec<_> = blocked.into_iter().map(|one| one.until_blocked()).collect();
        let clients: Vec<_> = (0..THREADS).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let accepted: HashSet<_> = blocked
            .into_iter()
            .map(|one| one.result().unwrap().peer_addr().unwrap())
            .collect();
        assert_eq!(accepted.len(), THREADS, "round {round}: {accepted:?}");
        clients.into_iter().for_each(reset);
    }
}

#[test]
fn all_limits_of_threads_on_one_listener_run_at_the_same_time() {
    let _test = begin();
    let (listener, _) = listener();
    ends_at_limit(Duration::from_millis(40), |limit| {
        thread::scope(|scope| {
            let accepting: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| timed(|| TcpSocket::new().timeout(limit).accept(&listener))))
                .collect();
            let mut longest = Duration::ZERO;
            for thread in accepting {
                let (result, took) = thread.join().unwrap();
                assert_failed(&result, &Error::Timeout, limit);
                assert!(took >= limit, "a limit of {limit:?} was over after {took:?}");
                longest = longest.max(took);
            }
            longest
        })
    });
}

#[test]
fn a_limit_holds_behind_a_thread_that_has_none() {
    let _test = begin();
    let (listener, addr) = listener();
    let listener = Arc::new(listener);
    let first = Arc::clone(&listener);
    let first = block(move || first.accept_new()).until_blocked();
    ends_at_limit(Duration::from_millis(5), |limit| {
        let (result, took) = timed(|| TcpSocket::new().timeout(limit).accept(&listener));
        assert_failed(&result, &Error::Timeout, limit);
        took
    });
    let client = TcpStream::connect(addr).unwrap();
    assert_connected(&first.result().unwrap(), &client);
}

#[test]
fn a_client_is_not_lost_when_the_thread_in_front_times_out() {
    let test = begin();
    if test.skip_if(is_wine(), LOST_WITH_THREAD) {
        return;
    }
    let (listener, addr) = listener();
    let listener = Arc::new(listener);
    for round in 0..100_u32 {
        let limit = Duration::from_micros(2000);
        let begun = Instant::now();
        let in_front = Arc::clone(&listener);
        let in_front = block(move || {
            let mut connection = TcpSocket::new();
            let result = connection.timeout(limit).accept(&in_front);
            result.map(|()| connection)
        });
        let behind = Arc::clone(&listener);
        let behind = block(move || behind.accept_new());
        // The client comes around the moment at which the turn changes hands.
        let comes = limit - Duration::from_micros(500) + Duration::from_micros(10) * round;
        while begun.elapsed() < comes {
            thread::yield_now();
        }
        let first = TcpStream::connect(addr).unwrap();
        match in_front.result() {
            Err(error) => {
                assert!(matches!(error, Error::Timeout), "round {round}: {error:?}");
                assert_connected(&behind.result().unwrap(), &first);
            }
            Ok(connection) => {
                assert_connected(&connection, &first);
                let second = TcpStream::connect(addr).unwrap();
                assert_connected(&behind.result().unwrap(), &second);
                reset(second);
            }
        }
        reset(first);
    }
}

#[test]
fn closing_ends_every_accept_and_incoming() {
    let _test = begin();
    ends_with(&Error::Closed, |listener, _| listener.handle().close());
}

#[test]
fn stop_accepting_ends_every_accept_and_incoming() {
    let _test = begin();
    ends_with(&Error::Shutdown, |_, registry| registry.stop_accepting());
}

fn ends_with(expected: &Error, end: fn(&TcpSocket, &ShutdownRegistry)) {
    let registry = ShutdownRegistry::new();
    let (listener, _) = listener_in(&registry);
    let listener = Arc::new(listener);
    let accepts: Vec<_> = (0..9)
        .map(|index| {
            let listener = Arc::clone(&listener);
            block(move || match index % 3 {
                0 => Some(listener.accept_new().map(drop)),
                1 => Some(TcpSocket::new().accept(&listener)),
                _ => listener.incoming().next().map(|client| client.map(drop)),
            })
        })
        .collect();
    let accepts: Vec<_> = accepts.into_iter().map(|one| one.until_blocked()).collect();
    assert!(!accepts.iter().any(|one| one.is_finished()));
    end(&listener, &registry);
    for (index, accept) in accepts.into_iter().enumerate() {
        match accept.result() {
            Some(result) => assert_failed(&result, expected, index),
            None => assert_eq!(index % 3, 2),
        }
    }
    assert_failed(&listener.accept_new(), expected, "accept_new afterwards");
    let afterwards = TcpSocket::new().accept(&listener);
    assert_failed(&afterwards, expected, "accept afterwards");
    let mut incoming = listener.incoming();
    assert!(incoming.next().is_none() && incoming.next().is_none());
}

#[test]
fn accepting_from_what_is_no_listener_fails() {
    let _test = begin();
    let never_open = TcpSocket::new();
    assert_failed(&never_open.accept_new(), &Error::Closed, "accept_new");
    let result = TcpSocket::new().accept(&never_open);
    assert_failed(&result, &Error::Closed, "accept");
    assert!(never_open.incoming().next().is_none());
    let (connection, _peer) = pair();
    let result = TcpSocket::new().accept(&connection);
    assert!(
        matches!(&result, Err(Error::Io { .. })),
        "accept from a connection: {result:?}"
    );
}

#[test]
fn a_client_that_reset_before_it_was_accepted_disturbs_nobody() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    let (mut listener, addr) = listener();
    listener.timeout(PATIENCE);
    for with_limits in [false, true] {
        let gone = pending_client(&listener);
        let gone_addr = gone.local_addr().unwrap();
        reset(gone);
        let mut good = TcpStream::connect(addr).unwrap();
        good.write_all(b"!").unwrap();
        // Systems may pass over the one that is gone, or hand it out.
        let mut connection = TcpSocket::new();
        connection.timeout(with_limits.then_some(PATIENCE));
        connection.accept(&listener).unwrap();
        if connection
            .peer_addr()
            .is_ok_and(|addr| addr == good.local_addr().unwrap())
        {
            assert_eq!(connection.get_byte().unwrap(), Some(b'!'));
            continue;
        }
        let byte = connection.get_byte();
        let reset = matches!(&byte, Err(error) if error.kind() == ErrorKind::ConnectionReset);
        assert!(reset, "a read from {gone_addr}, which has reset: {byte:?}");
        let mut connection = listener.accept_new().unwrap();
        assert_connected(&connection, &good);
        assert_eq!(connection.get_byte().unwrap(), Some(b'!'));
    }
}

thread_local! {
    /// How many clients are to be gone at the very moment at which this thread accepts them.
    static ABORTED: Cell<u32> = const { Cell::new(0) };
}

/// Stands in for the C library's: Linux hands out connections that were reset, other systems fail so.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
extern "C" fn accept4(
    fd: libc::c_int,
    addr: *mut libc::sockaddr,
    len: *mut libc::socklen_t,
    flags: libc::c_int,
) -> libc::c_int {
    let left = ABORTED.get();
    if left > 0 {
        ABORTED.set(left - 1);
        set_errno(libc::ECONNABORTED);
        return -1;
    }
    type Real =
        unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t, libc::c_int) -> libc::c_int;
    static REAL: std::sync::atomic::AtomicPtr<libc::c_void> = std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
    // SAFETY: the C library's function of that name is of this type.
    let real: Real = unsafe { std::mem::transmute(support::resolve(&REAL, c"accept4")) };
    // SAFETY: as the caller says.
    unsafe { real(fd, addr, len, flags) }
}

#[cfg(target_os = "linux")]
#[test]
fn connections_that_are_aborted_while_they_are_accepted_are_passed_over() {
    let _test = begin();
    let (mut listener, _) = listener();
    for limit in [None, Some(PATIENCE)] {
        listener.timeout(limit);
        let client = pending_client(&listener);
        ABORTED.set(3);
        assert_connected(&listener.accept_new().unwrap(), &client);
        assert_eq!(ABORTED.get(), 0, "aborted connections that are left");
    }
}

#[test]
fn connections_that_are_aborted_without_end_are_passed_over_within_the_limit() {
    let _test = begin();
    let (listener, _) = listener();
    ends_at_limit(Duration::from_millis(10), |limit| {
        ABORTED.set(20_000_000);
        let (result, took) = timed(|| TcpSocket::new().timeout(limit).accept(&listener));
        let left = ABORTED.replace(0);
        assert_failed(&result, &Error::Timeout, limit);
        assert!(left > 0, "they were all tried, for {took:?}");
        took
    });
}

#[test]
fn closing_ends_an_accept_from_which_connections_are_aborted_without_end() {
    let _test = begin();
    let (listener, _) = listener();
    let handle = listener.handle();
    let accepting = block(move || {
        ABORTED.set(u32::MAX);
        listener.accept_new()
    });
    handle.close();
    assert_failed(&accepting.result(), &Error::Closed, "accept");
}

#[test]
fn an_accepted_socket_lives_on_after_its_listener() {
    let _test = begin();
    let (listener, _) = listener();
    let mut client = pending_client(&listener);
    let mut connection = listener.accept_new().unwrap();
    drop(listener);
    client.write_all(b"ping\n").unwrap();
    assert_eq!(connection.get_line().unwrap().as_deref(), Some("ping"));
    connection.put_all(b"pong").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong");
    let blocked = block(move || (connection.get_byte(), connection)).still_blocks();
    client.write_all(b"!").unwrap();
    assert_eq!(blocked.result().0.unwrap(), Some(b'!'));
}

#[test]
fn an_accepted_socket_takes_over_raw_wait_and_registry_but_no_limits() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let waits = Scripted::new([]);
    let mut listener = TcpSocket::with_registry(&registry);
    listener.set_raw_wait(Arc::new(Plug(Arc::clone(&waits))));
    listener.listen_on("127.0.0.1:0", &Default::default()).unwrap();
    listener.timeout(Duration::from_secs(77));
    let _clients = [pending_client(&listener)];
    let new = listener.accept_new().unwrap();
    let _clients = [pending_client(&listener)];
    let mut own = TcpSocket::new();
    own.timeout(Duration::from_secs(88));
    own.accept(&listener).unwrap();

    assert_eq!(new.get_timeout(), None);
    assert_eq!(own.get_timeout(), Some(Duration::from_secs(88)));
    assert_eq!(listener.get_timeout(), Some(Duration::from_secs(77)));
    assert_eq!(registry.len(), 3, "{registry:?}");
    assert_eq!(ShutdownRegistry::global().len(), 0);
    assert_eq!(waits.made(), 0, "waiters before the first wait");
    let blocked = [new, own].map(|mut connection| {
        let result = connection.timeout(Duration::from_millis(1)).get_byte();
        assert_failed(&result, &Error::Timeout, "nothing sent");
        block(move || connection.blocking().get_byte()).until_blocked()
    });
    assert_eq!(waits.made(), 2, "waiters that were made");
    registry.shutdown();
    for one in blocked {
        assert_failed(&one.result(), &Error::Shutdown, "in the registry");
    }
}

#[test]
fn accept_closes_what_was_open_before() {
    let _test = begin();
    let (listener, _) = listener();
    let (mut connection, mut before) = pair();
    before.set_read_timeout(Some(PATIENCE)).unwrap();
    before.write_all(b"unread").unwrap();
    assert_eq!(connection.peek().unwrap(), Some(b'u'));
    let mut client = pending_client(&listener);
    client.write_all(b"new").unwrap();
    connection.accept(&listener).unwrap();
    assert_connected(&connection, &client);
    assert_eq!(connection.get_all_bytes(3).unwrap(), b"new");
    assert_sees_end(&mut before);
}

#[test]
fn closing_the_accepting_socket_does_not_end_the_wait() {
    let _test = begin();
    let (listener, addr) = listener();
    let mut connection = TcpSocket::new();
    let handle = connection.handle();
    let blocked = block(move || (connection.accept(&listener), connection, listener));
    let blocked = blocked.until_blocked();
    handle.close();
    let blocked = blocked.still_blocks();
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (result, mut connection, listener) = blocked.result();
    assert_failed(&result, &Error::Closed, "what was closed before it was open");
    assert_sees_end(&mut client);

    let client = pending_client(&listener);
    connection.accept(&listener).unwrap();
    assert_connected(&connection, &client);
}

#[test]
fn hundreds_of_pending_clients_all_come_out_in_order() {
    const CLIENTS: u32 = 400;
    let _test = begin();
    let (mut listener, addr) = listener();
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|count| {
            let client = TcpStream::connect(addr).unwrap();
            until_pending(&listener, count);
            client
        })
        .collect();
    listener.timeout(Duration::ZERO);
    for client in &clients {
        assert_connected(&listener.accept_new().unwrap(), client);
    }
    assert_failed(&listener.accept_new(), &Error::Timeout, "one more");
    clients.into_iter().for_each(reset);
}

#[test]
fn threads_that_accept_while_clients_come_and_close_leave_nobody_out() {
    const CLIENTS: usize = 200;
    let _test = begin();
    let (listener, addr) = listener();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let accepting: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| listener.incoming().flatten().count()))
            .collect();
        let coming: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    for index in 0..CLIENTS {
                        let mut client = TcpStream::connect(addr).unwrap();
                        client.set_read_timeout(Some(PATIENCE)).unwrap();
                        if index % 2 == 0 {
                            assert_sees_end(&mut client);
                        }
                    }
                })
            })
            .collect();
        coming.into_iter().for_each(|thread| thread.join().unwrap());
        until_pending(&listener, 0);
        listener.close();
        let accepted: usize = accepting.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(accepted, 2 * CLIENTS, "clients that were accepted");
    });
}

#[test]
fn incoming_of_a_listener_that_could_not_be_opened_says_why_and_ends() {
    let _test = begin();
    let (taken, addr) = listener();
    let mut second = TcpSocket::new();
    assert!(second.listen_on(addr, &Default::default()).is_err());
    let items: Vec<_> = second.incoming().take(10).collect();
    assert_eq!(items.len(), 1, "{items:?}");
    let error = items[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
    drop(taken);
}
