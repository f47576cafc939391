//! Whatever blocks in a socket is ended by a close or an abort from elsewhere, and nothing else is.

#![allow(unsafe_code, reason = "asks for more descriptors")]

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use wakesock::{Error, ListenOptions, ShutdownRegistry, SocketHandle, TcpSocket, WaitEvents};

#[cfg(target_os = "linux")]
use crate::names::{HOST, Lookups};
use crate::support::every::{LIMITS, assert_failed, every_operation};
use crate::support::full::MUCH;
use crate::support::{
    BlackHole, Blocked, ClosesOnDrop, PATIENCE, assert_sees_end, begin, block, block_on_small_stack, eventually,
    is_refused, is_wine, listener, pair, race, reset, server, thread_id, unix_pair, until_sleeping, unwind,
};

/// Has the descriptor lent, for as long as this lives.
#[cfg(unix)]
fn lend(socket: &TcpSocket) -> impl Sized {
    std::os::fd::AsFd::as_fd(socket)
}

#[cfg(windows)]
fn lend(socket: &TcpSocket) -> impl Sized {
    std::os::windows::io::AsSocket::as_socket(socket)
}

/// It is the same with mio alone: a poll operation that is still being cancelled seems to keep the listener there.
const LET_IN: &str = "under Wine a client may be let in just after its listener was closed";

const ANY_PORT: &str = "127.0.0.1:0";

fn listen_on(addr: SocketAddr) -> Result<TcpSocket, Error> {
    let mut listener = TcpSocket::new();
    listener.listen_on(addr, &ListenOptions::default())?;
    Ok(listener)
}

#[test]
fn closing_ends_every_operation_that_blocks() {
    let _test = begin();
    for limit in LIMITS {
        for (operation, mut socket, _peer) in every_operation(ShutdownRegistry::global()) {
            let handle = socket.handle();
            socket.timeout(limit);
            let blocked = block(move || ((operation.run)(&mut socket), socket)).until_blocked();
            assert!(
                !blocked.is_finished(),
                "{} doesn't block: {:?}",
                operation.name,
                blocked.result().0
            );
            handle.close();
            let (result, socket) = blocked.result();
            assert_failed(&result, &Error::Closed, (operation.name, limit));
            assert!(!socket.is_open() && !handle.is_open(), "{}", operation.name);
        }
    }
}

#[test]
fn aborting_ends_every_operation_that_blocks_and_closes_nothing() {
    let _test = begin();
    for limit in LIMITS {
        for (operation, mut socket, _peer) in every_operation(ShutdownRegistry::global()) {
            let handle = socket.handle();
            socket.timeout(limit);
            let blocked = block(move || ((operation.run)(&mut socket), socket)).until_blocked();
            assert!(!blocked.is_finished(), "{} doesn't block", operation.name);
            handle.abort();
            let (result, mut socket) = blocked.result();
            assert_failed(&result, &Error::Aborted, (operation.name, limit));
            assert!(socket.is_open() && handle.is_open(), "{}", operation.name);
            assert!(socket.is_abort(), "{}", operation.name);
            let again = (operation.run)(&mut socket);
            assert_failed(&again, &Error::Aborted, (operation.name, "again"));
            socket.clear_abort();
            let blocked = block(move || (operation.run)(&mut socket)).until_blocked();
            assert!(!blocked.is_finished(), "{} doesn't go on", operation.name);
            handle.close();
            assert_failed(&blocked.result(), &Error::Closed, operation.name);
        }
    }
}

/// A way to open a connection that blocks without end where nobody answers.
type Opening = fn(&mut TcpSocket, SocketAddr) -> Result<(), Error>;

const OPENINGS: &[(&str, Opening)] = &[
    ("connect", |socket, hole| {
        socket.connect(&hole.ip().to_string(), hole.port())
    }),
    ("connect_to", |socket, hole| socket.connect_to(&[hole, hole])),
    ("wait_connect", |socket, hole| {
        let limit = socket.get_timeout();
        socket.timeout(Duration::ZERO).connect_to(&[hole])?;
        socket.timeout(limit).wait_connect()
    }),
    #[cfg(target_os = "linux")]
    ("name look-up", |socket, hole| socket.connect(HOST, hole.port())),
    #[cfg(target_os = "linux")]
    ("wait_connect, name look-up", |socket, hole| {
        let limit = socket.get_timeout();
        socket.timeout(Duration::ZERO).connect(HOST, hole.port())?;
        socket.timeout(limit).wait_connect()
    }),
];

/// Has each opening block in a socket of its own, and has `end` end it.
fn end_openings(end: fn(&SocketHandle), expected: &Error) {
    let hole = BlackHole::new();
    #[cfg(target_os = "linux")]
    let _held = Lookups::held();
    let (_listener, live) = listener();
    for limit in LIMITS {
        for &(name, open) in OPENINGS {
            let mut socket = TcpSocket::new();
            socket.timeout(limit);
            let (handle, addr) = (socket.handle(), hole.addr());
            let blocked = block(move || (open(&mut socket, addr), socket)).until_blocked();
            assert!(!blocked.is_finished(), "{name} doesn't block");
            end(&handle);
            let (result, mut socket) = blocked.result();
            assert_failed(&result, expected, (name, limit));
            assert!(!socket.is_open(), "{name}");
            socket.clear_abort();
            socket.timeout(PATIENCE).connect_to(&[live]).unwrap();
        }
    }
}

#[test]
fn closing_ends_every_opening_that_blocks() {
    let _test = begin();
    end_openings(SocketHandle::close, &Error::Closed);
}

#[test]
fn aborting_ends_every_opening_that_blocks() {
    let _test = begin();
    end_openings(SocketHandle::abort, &Error::Aborted);
}

#[test]
fn what_had_come_before_the_close_is_handed_over() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let handle = socket.handle();
    peer.write_all(b"abc").unwrap();
    assert_eq!(socket.peek().unwrap(), Some(b'a'));
    let blocked = block(move || (socket.get_bytes(8), socket)).until_blocked();
    handle.close();
    let (came, mut socket) = blocked.result();
    assert_eq!(came.unwrap(), b"abc");
    assert_failed(&socket.get_bytes(8), &Error::Closed, "the next get");
}

#[test]
fn operations_on_a_closed_socket_fail_at_once() {
    let _test = begin();
    for waited in [false, true] {
        for (operation, mut socket, _peer) in every_operation(ShutdownRegistry::global()) {
            if waited {
                socket.timeout(Duration::from_millis(1));
                let _ = socket.wait(WaitEvents::EXCEPTION);
                socket.blocking();
            }
            socket.handle().close();
            for round in 0..2 {
                socket.clear_error();
                let result = (operation.run)(&mut socket);
                assert_failed(&result, &Error::Closed, (operation.name, waited, round));
            }
        }
    }
}

#[test]
fn operations_on_a_socket_that_never_was_open_fail_at_once() {
    let _test = begin();
    for (operation, ..) in every_operation(ShutdownRegistry::global()) {
        let result = (operation.run)(&mut TcpSocket::new());
        assert_failed(&result, &Error::Closed, operation.name);
    }
}

#[test]
fn a_close_just_as_the_operation_begins_ends_it() {
    let _test = begin();
    for round in 0..6 {
        for (operation, mut socket, _peer) in every_operation(ShutdownRegistry::global()) {
            let handle = socket.handle();
            let beginning = race(move || (operation.run)(&mut socket), round * 115, || handle.close());
            let result = beginning.result();
            assert_failed(&result, &Error::Closed, (operation.name, round));
        }
    }
}

#[test]
fn many_closes_of_one_socket_close_one_descriptor() {
    const CLOSERS: usize = 4;
    let _test = begin();
    let done = AtomicBool::new(false);
    let start = Barrier::new(CLOSERS + 1);
    let current = Mutex::new(None::<SocketHandle>);
    thread::scope(|scope| {
        // One that is closed twice would take a bystander's with it.
        let bystander = scope.spawn(|| {
            while !done.load(SeqCst) {
                let (mut one, mut other) = crate::support::stream_pair().unwrap();
                one.write_all(b"mine").unwrap();
                let mut read = [0; 4];
                other.read_exact(&mut read).unwrap();
                assert_eq!(&read, b"mine");
            }
        });
        for _ in 0..CLOSERS {
            scope.spawn(|| {
                for _ in 0..150 {
                    start.wait();
                    let handle = current.lock().unwrap().clone().unwrap();
                    handle.close();
                    handle.close();
                    assert!(!handle.is_open());
                }
            });
        }
        for round in 0..150 {
            let (mut socket, mut peer) = unix_pair();
            *current.lock().unwrap() = Some(socket.handle());
            if round % 3 == 1 {
                let _ = socket.timeout(Duration::from_micros(1)).wait_read();
            }
            start.wait();
            if round % 3 == 2 {
                assert_failed(&socket.blocking().get_byte(), &Error::Closed, round);
            }
            socket.close();
            assert_sees_end(&mut peer);
            assert!(!socket.is_open(), "round {round}");
        }
        done.store(true, SeqCst);
        bystander.join().unwrap();
    });
}

#[test]
fn closing_what_is_not_open_does_nothing() {
    let _test = begin();
    let mut socket = TcpSocket::new();
    socket.close();
    socket.close();
    socket.listen_on(ANY_PORT, &Default::default()).unwrap();
    socket.close();
    socket.close();
    socket.listen_on(ANY_PORT, &Default::default()).unwrap();
    assert!(socket.is_open());
}

#[test]
fn a_close_while_it_opens_is_not_missed() {
    let _test = begin();
    type Open = fn(&mut TcpSocket, &TcpSocket) -> Result<(), Error>;
    let ways: [(&str, Open); 4] = [
        ("listen", |socket, _| socket.listen_on(ANY_PORT, &Default::default())),
        ("connect", |socket, server| socket.connect_to(&[server.local_addr()?])),
        ("attach", |socket, _| {
            socket.attach(crate::support::stream_pair().unwrap().0)
        }),
        ("accept", |socket, server| {
            let client = TcpStream::connect(server.local_addr()?).unwrap();
            let result = socket.accept(server);
            reset(client);
            result
        }),
    ];
    for (name, open) in ways {
        for round in 0..60 {
            let (server, _) = listener();
            let mut socket = TcpSocket::new();
            let handle = socket.handle();
            let start = Barrier::new(2);
            let result = thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..round * 40 {
                        std::hint::spin_loop();
                    }
                    handle.close();
                });
                start.wait();
                open(&mut socket, &server)
            });
            assert!(
                matches!(result, Ok(()) | Err(Error::Closed)),
                "{name}, round {round}: {result:?}"
            );
            assert!(!socket.is_open(), "{name}, round {round}");
            assert_failed(&socket.local_addr(), &Error::Closed, (name, round));
            socket.listen_on(ANY_PORT, &Default::default()).unwrap();
            handle.close();
            assert!(socket.is_open(), "{name}, round {round}: by an old handle");
        }
    }
}

// Handles

#[test]
fn a_handle_of_what_was_open_before_does_nothing() {
    let _test = begin();
    let mut socket = TcpSocket::new();
    socket.listen_on(ANY_PORT, &Default::default()).unwrap();
    let old = socket.handle();
    for how in ["closed", "closed by its handle", "cleared", "left open"] {
        let older = socket.handle();
        match how {
            "closed" => socket.close(),
            "closed by its handle" => older.close(),
            "cleared" => socket.clear(),
            _ => {}
        }
        socket.listen_on(ANY_PORT, &Default::default()).unwrap();
        assert_ne!(older.id(), socket.id(), "{how}");
        assert!(!older.is_open() && !old.is_open(), "{how}");
        for handle in [&old, &older] {
            handle.close();
            handle.abort();
        }
        assert!(socket.is_open() && !socket.is_abort(), "{how}");
        socket.timeout(Duration::ZERO);
        assert_failed(&socket.accept_new(), &Error::Timeout, how);
    }
}

#[test]
fn a_handle_that_was_taken_before_the_opening_ends_it() {
    let _test = begin();
    let mut socket = TcpSocket::new();
    for round in 0..3 {
        let handle = socket.handle();
        assert!(!handle.is_open(), "round {round}");
        socket.listen_on(ANY_PORT, &Default::default()).unwrap();
        assert!(handle.is_open(), "round {round}");
        assert_eq!(handle.id(), socket.id(), "round {round}");
        let blocked = block(move || (socket.accept_new().map(drop), socket)).until_blocked();
        handle.close();
        let (result, returned) = blocked.result();
        assert_failed(&result, &Error::Closed, round);
        socket = returned;
    }
}

#[test]
fn an_opening_that_was_closed_before_fails_and_the_next_one_works() {
    let _test = begin();
    let (server, addr) = listener();
    type Open<'a> = &'a dyn Fn(&mut TcpSocket) -> Result<(), Error>;
    let ways: [(&str, Open<'_>); 6] = [
        ("listen", &|socket| socket.listen(0, 8)),
        ("listen_on", &|socket| socket.listen_on(ANY_PORT, &Default::default())),
        ("connect", &|socket| socket.connect("127.0.0.1", addr.port())),
        ("connect_to", &|socket| socket.connect_to(&[addr])),
        ("attach", &|socket| socket.attach(TcpListener::bind(ANY_PORT).unwrap())),
        ("accept", &|socket| {
            let _client = TcpStream::connect(addr).unwrap();
            socket.accept(&server)
        }),
    ];
    for (name, open) in ways {
        for was_open in [false, true] {
            let mut socket = TcpSocket::new();
            if was_open {
                socket.listen_on(ANY_PORT, &Default::default()).unwrap();
                socket.close();
            }
            let handle = socket.handle();
            handle.close();
            assert_failed(&open(&mut socket), &Error::Closed, (name, was_open));
            assert!(!socket.is_open() && !socket.is_error(), "{name}");
            open(&mut socket).unwrap();
            handle.close();
            assert!(socket.is_open(), "{name}: by an old handle");
        }
    }
}

#[test]
fn a_handle_outlives_a_failed_opening() {
    let _test = begin();
    let holder = TcpListener::bind(ANY_PORT).unwrap();
    let mut socket = TcpSocket::new();
    let handle = socket.handle();
    let taken = socket.listen_on(holder.local_addr().unwrap(), &Default::default());
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
    socket.listen_on(ANY_PORT, &Default::default()).unwrap();
    handle.close();
    assert!(!socket.is_open());
}

#[test]
fn a_handle_taken_after_a_connect_was_closed_speaks_of_the_next_opening() {
    let _test = begin();
    let hole = BlackHole::new();
    for by_handle in [false, true] {
        let mut socket = TcpSocket::new();
        socket.timeout(Duration::ZERO).connect_to(&[hole.addr()]).unwrap();
        let first = socket.handle();
        if by_handle {
            first.close();
        } else {
            socket.close();
        }
        let next = socket.handle();
        assert_ne!(first.id(), next.id(), "by its handle: {by_handle}");
        socket.listen_on(ANY_PORT, &Default::default()).unwrap();
        first.close();
        assert!(socket.is_open() && next.is_open(), "by an old handle");
        next.close();
        assert!(!socket.is_open());
    }
}

#[test]
fn a_connect_that_was_started_and_closed_is_gone() {
    let _test = begin();
    let hole = BlackHole::new();
    let (_server, live) = listener();
    let mut socket = TcpSocket::new();
    for by_handle in [false, true] {
        let start = socket.timeout(Duration::ZERO).connect_to(&[hole.addr()]);
        start.unwrap();
        if by_handle {
            socket.handle().close();
        } else {
            socket.close();
        }
        let finished = socket.blocking().wait_connect();
        assert_failed(&finished, &Error::Closed, by_handle);
        assert_failed(&socket.get_byte(), &Error::Closed, by_handle);
        socket.timeout(PATIENCE).connect_to(&[live]).unwrap();
    }
}

// Idle sockets

#[test]
fn the_peer_sees_the_close_of_an_idle_socket_at_once() {
    let _test = begin();
    for state in ["fresh", "has waited", "lent"] {
        // Made here: on Windows, one that was made elsewhere and is lent keeps its connection, which may be others', too.
        let (server, addr) = server();
        let mut socket = TcpSocket::new();
        socket.connect_to(&[addr]).unwrap();
        let mut peer = server.accept().unwrap().0;
        if state == "has waited" {
            let waited = socket.timeout(Duration::from_millis(1)).get_byte();
            assert_failed(&waited, &Error::Timeout, state);
        }
        let lent = (state == "lent").then(|| lend(&socket));
        socket.handle().close();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_sees_end(&mut peer);
        let _ = lent;
        assert!(!socket.is_open(), "{state}");
    }
}

#[test]
fn the_port_of_an_idle_listener_is_free_as_soon_as_its_handle_has_closed_it() {
    let _test = begin();
    // On Windows, one that is lent keeps its port, as `AsSocket` says.
    let states = ["fresh", "has waited", "lent"];
    let states = &states[..if cfg!(windows) { 2 } else { 3 }];
    for round in 0..50 {
        for &state in states {
            let (mut listener, addr) = listener();
            if state == "has waited" {
                let waited = listener.timeout(Duration::from_micros(1)).accept_new();
                assert_failed(&waited, &Error::Timeout, state);
            }
            let lent = (state == "lent").then(|| lend(&listener));
            listener.handle().close();
            if round % 2 == 0 {
                assert!(is_refused(addr), "{state}: a client is let in");
            }
            listen_on(addr).unwrap_or_else(|error| panic!("{state}, round {round}: {error}"));
            let _ = lent;
        }
    }
}

/// Closes by `close` what all of `blocked` are in. Returns how long it takes until the last one has returned.
fn all_end<T: Debug>(blocked: Vec<Blocked<Result<T, Error>>>, close: impl FnOnce()) -> Duration {
    let blocked: Vec<_> = blocked.into_iter().map(Blocked::until_blocked).collect();
    assert!(!blocked.iter().any(Blocked::is_finished));
    let begun = Instant::now();
    close();
    let mut last = begun;
    for (index, one) in blocked.into_iter().enumerate() {
        let (result, at) = one.result_and_time();
        assert_failed(&result, &Error::Closed, index);
        last = last.max(at);
    }
    last - begun
}

#[test]
fn a_hundred_threads_on_one_listener_all_return() {
    let _test = begin();
    let (listener, addr) = listener();
    let listener = Arc::new(listener);
    let blocked: Vec<_> = (0..100)
        .map(|index| {
            let listener = Arc::clone(&listener);
            let limit = LIMITS[index % 2];
            block_on_small_stack(move || match index % 4 {
                0 | 1 => TcpSocket::new().timeout(limit).accept(&listener),
                2 => listener.accept_new().map(drop),
                _ => listener
                    .incoming()
                    .next()
                    .map_or(Err(Error::Closed), |client| client.map(drop)),
            })
        })
        .collect();
    let took = all_end(blocked, || listener.close());
    assert!(is_refused(addr));
    println!("100 threads on one listener: {took:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_thousand_threads_on_as_many_sockets_all_return() {
    const SOCKETS: usize = 1000;
    let _test = begin();
    let _more = MoreDescriptors::new(4 * SOCKETS as libc::rlim_t + 200);
    let mut peers = Vec::new();
    let mut handles = Vec::new();
    let mut blocked = Vec::new();
    for _ in 0..SOCKETS {
        let (mut socket, peer) = unix_pair();
        handles.push(socket.handle());
        peers.push(peer);
        blocked.push(block_on_small_stack(move || socket.get_byte()));
    }
    let took = all_end(blocked, || handles.iter().for_each(SocketHandle::close));
    println!("{SOCKETS} threads on as many sockets: {took:?}");
}

/// As many descriptors as are asked for, for as long as this lives.
#[cfg(target_os = "linux")]
struct MoreDescriptors(libc::rlimit);

#[cfg(target_os = "linux")]
impl MoreDescriptors {
    fn new(count: libc::rlim_t) -> MoreDescriptors {
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a pointer to a valid `rlimit`.
        let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut before) };
        assert_eq!(result, 0);
        let more = libc::rlimit {
            rlim_cur: before.rlim_cur.max(count),
            ..before
        };
        // SAFETY: a pointer to a valid `rlimit`.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &more) };
        assert_eq!(result, 0, "{count} descriptors are not allowed");
        MoreDescriptors(before)
    }
}

#[cfg(target_os = "linux")]
impl Drop for MoreDescriptors {
    fn drop(&mut self) {
        // SAFETY: a pointer to a valid `rlimit`.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.0) };
    }
}

#[test]
fn the_port_is_free_when_close_returns_even_with_threads_blocked_in_accept() {
    let test = begin();
    if test.skip_if(is_wine(), LET_IN) {
        return;
    }
    let (mut listener, addr) = listener();
    for round in 0..120 {
        let next = thread::scope(|scope| {
            let (send, ids) = mpsc::channel();
            let accepting: Vec<_> = (0..3)
                .map(|_| {
                    let (send, listener) = (send.clone(), &listener);
                    scope.spawn(move || {
                        send.send(thread_id()).unwrap();
                        listener.accept_new()
                    })
                })
                .collect();
            if round % 4 != 0 {
                ids.iter().take(3).for_each(until_sleeping);
            }
            listener.close();
            if round % 2 == 0 {
                assert!(is_refused(addr), "round {round}: a client is let in");
            }
            let next = listen_on(addr).unwrap_or_else(|error| panic!("round {round}: {error}"));
            let client = TcpStream::connect(addr).unwrap();
            let connection = next.accept_new().unwrap();
            assert_eq!(connection.peer_addr().unwrap(), client.local_addr().unwrap());
            reset(client);
            for thread in accepting {
                assert_failed(&thread.join().unwrap(), &Error::Closed, round);
            }
            next
        });
        listener = next;
    }
}

#[test]
fn the_peer_sees_the_end_although_a_thread_was_blocked_in_get() {
    let _test = begin();
    for round in 0..50 {
        let (mut socket, mut peer) = pair();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let handle = socket.handle();
        // The socket is not dropped before the peer has seen it.
        let (seen, until_seen) = mpsc::channel();
        let blocked = block(move || {
            let result = socket.get_byte();
            until_seen.recv().unwrap();
            result
        });
        let blocked = if round % 2 == 0 {
            blocked.until_blocked()
        } else {
            blocked
        };
        handle.close();
        assert_sees_end(&mut peer);
        seen.send(()).unwrap();
        assert_failed(&blocked.result(), &Error::Closed, round);
    }
}

#[test]
fn what_was_sent_before_the_close_arrives() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let handle = socket.handle();
    let sent = block(move || socket.put(&MUCH).map(|sent| (sent, socket)));
    let sent = sent.still_blocks();
    handle.close();
    let (sent, _socket) = sent.result().unwrap();
    let mut came = Vec::new();
    peer.read_to_end(&mut came).unwrap();
    assert_eq!(came.len(), sent, "bytes that arrived");
}

/// Sockets that are closed by some threads while others open new ones.
struct Storm {
    /// The latest sockets that may be closed, most of which are closed already.
    handles: Mutex<VecDeque<SocketHandle>>,
    /// Threads whose sockets are to be closed, and that are not done yet.
    left: AtomicUsize,
    stamps: AtomicU64,
}

type Victim = fn(&Storm, Option<Duration>) -> Error;

impl Storm {
    const VICTIMS: [(&str, Victim); 4] = [
        ("get", Storm::get),
        ("put", Storm::put),
        ("wait", Storm::wait),
        ("accept", Storm::accept),
    ];

    fn stamp(&self) -> [u8; 8] {
        self.stamps.fetch_add(1, SeqCst).to_be_bytes()
    }

    fn give_up(&self, socket: &TcpSocket) {
        let mut handles = self.handles.lock().unwrap();
        handles.push_back(socket.handle());
        if handles.len() > 32 {
            handles.pop_front();
        }
    }

    fn close_all(&self) {
        let handles = self.handles.lock().unwrap().clone();
        handles.iter().for_each(SocketHandle::close);
        thread::yield_now();
    }

    fn until_failed<T: std::fmt::Debug>(mut operation: impl FnMut() -> Result<T, Error>) -> Error {
        loop {
            match operation() {
                Ok(_) => {}
                Err(Error::Timeout) => thread::yield_now(),
                Err(error) => return error,
            }
        }
    }

    fn get(&self, limit: Option<Duration>) -> Error {
        let (mut socket, mut peer) = unix_pair();
        let stamp = self.stamp();
        peer.write_all(&stamp.repeat(4)).unwrap();
        self.give_up(&socket);
        socket.timeout(limit);
        Storm::until_failed(|| {
            let came = socket.get_bytes(8)?;
            assert_eq!(came, stamp, "bytes of another connection");
            Ok(())
        })
    }

    fn put(&self, limit: Option<Duration>) -> Error {
        let (mut socket, _peer) = unix_pair();
        let stamp = self.stamp();
        self.give_up(&socket);
        socket.timeout(limit);
        Storm::until_failed(|| socket.put(&stamp))
    }

    fn wait(&self, limit: Option<Duration>) -> Error {
        let (mut socket, _peer) = unix_pair();
        self.give_up(&socket);
        socket.timeout(limit);
        Storm::until_failed(|| {
            let found = socket.wait(WaitEvents::READ)?;
            panic!("a wait on a silent connection found {found:?}");
            #[expect(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        })
    }

    fn accept(&self, limit: Option<Duration>) -> Error {
        let (mut listener, _) = listener();
        self.give_up(&listener);
        listener.timeout(limit);
        Storm::until_failed(|| {
            let client = listener.accept_new()?;
            panic!("a listener without clients accepted {client:?}");
            #[expect(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        })
    }

    /// What nobody closes, and what so has to work.
    fn undisturbed(&self) {
        let (mut socket, mut peer) = unix_pair();
        let (there, back) = (self.stamp(), self.stamp());
        peer.write_all(&there).unwrap();
        socket.timeout(PATIENCE);
        assert_eq!(socket.get_all_bytes(8).unwrap(), there);
        socket.put_all(&back).unwrap();
        let mut came = [0; 9];
        let count = peer.read(&mut came).unwrap();
        assert_eq!(&came[..count], back, "bytes of another connection");
        socket.timeout(Duration::ZERO);
        assert_failed(&socket.get_byte(), &Error::Timeout, "nothing more was sent");

        let (mut listener, addr) = listener();
        let client = TcpStream::connect(addr).unwrap();
        let connection = listener.timeout(PATIENCE).accept_new().unwrap();
        assert_eq!(connection.peer_addr().unwrap(), client.local_addr().unwrap());
        reset(client);
    }
}

#[test]
fn nothing_of_a_closed_socket_lands_on_one_that_gets_its_number() {
    const ROUNDS: usize = 120;
    let _test = begin();
    let storm = Storm {
        handles: Mutex::default(),
        left: AtomicUsize::new(2 * Storm::VICTIMS.len()),
        stamps: AtomicU64::new(1),
    };
    let storm = &storm;
    thread::scope(|scope| {
        for (name, victim) in Storm::VICTIMS {
            for limit in [None, Some(Duration::ZERO)] {
                scope.spawn(move || {
                    let _done = Done(&storm.left);
                    for round in 0..ROUNDS {
                        let error = victim(storm, limit);
                        assert_failed(&Err::<(), _>(error), &Error::Closed, (name, round));
                    }
                });
            }
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while storm.left.load(SeqCst) > 0 {
                    storm.close_all();
                }
            });
            scope.spawn(|| {
                while storm.left.load(SeqCst) > 0 {
                    storm.undisturbed();
                }
            });
        }
    });
}

/// Counts down, also for a thread that panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn a_socket_that_is_dropped_by_unwinding_is_closed() {
    let _test = begin();
    for waited in [false, true] {
        let (mut socket, mut peer) = unix_pair();
        let thread = thread::spawn(move || {
            if waited {
                let _ = socket.timeout(Duration::from_millis(1)).get_byte();
            }
            unwind();
            drop(socket);
        });
        assert!(thread.join().is_err());
        assert_sees_end(&mut peer);
    }
}

#[test]
fn a_close_from_a_drop_during_unwinding_ends_what_blocks() {
    let _test = begin();
    let (mut socket, _peer) = pair();
    let (listener, addr) = listener();
    let guards = [socket.handle(), listener.handle()].map(ClosesOnDrop);
    let get = block(move || socket.get_byte()).until_blocked();
    let accept = block(move || listener.accept_new()).until_blocked();
    let unwinding = panic::catch_unwind(panic::AssertUnwindSafe(move || {
        let _guards = guards;
        unwind();
    }));
    assert!(unwinding.is_err());
    assert_failed(&get.result(), &Error::Closed, "get");
    assert_failed(&accept.result(), &Error::Closed, "accept");
    assert!(is_refused(addr));
}

#[test]
fn a_close_needs_no_lock_that_a_blocked_worker_holds() {
    let _test = begin();
    let (socket, _peer) = pair();
    let handle = socket.handle();
    let socket = Arc::new(Mutex::new(socket));
    let users = Arc::clone(&socket);
    let worker = block(move || users.lock().unwrap().get_byte()).until_blocked();
    assert!(socket.try_lock().is_err(), "the worker holds no lock");
    handle.close();
    assert_failed(&worker.result(), &Error::Closed, "get under the lock");
    assert!(!socket.lock().unwrap().is_open());
}

#[test]
fn a_close_under_a_lock_does_not_wait_for_workers_that_want_it() {
    const WORKERS: usize = 3;
    let test = begin();
    if test.skip_if(is_wine(), LET_IN) {
        return;
    }
    for round in 0..50 {
        let (listener, addr) = listener();
        let listener = Arc::new(listener);
        let state = Arc::new(Mutex::new(0));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (listener, state) = (Arc::clone(&listener), Arc::clone(&state));
                block(move || {
                    let result = listener.accept_new();
                    *state.lock().unwrap() += 1;
                    result
                })
            })
            .collect();
        let workers: Vec<_> = workers.into_iter().map(|one| one.until_blocked()).collect();
        {
            let state = state.lock().unwrap();
            listener.close();
            assert!(is_refused(addr), "round {round}");
            assert_eq!(*state, 0, "workers that got past the lock");
        }
        for worker in workers {
            assert_failed(&worker.result(), &Error::Closed, round);
        }
        assert_eq!(*state.lock().unwrap(), WORKERS);
    }
}

/// Checks that clients are refused: at once or, under Wine, [soon](LET_IN).
fn assert_refuses(addr: SocketAddr) {
    if is_wine() {
        let refused = || is_refused(addr).then_some(()).ok_or_else(|| LET_IN.to_owned());
        eventually(|| "clients are refused".to_owned(), refused);
    } else {
        assert!(is_refused(addr));
    }
}

/// The threads that a callback was called in.
#[derive(Clone, Default)]
struct Callers(Arc<Mutex<HashSet<thread::ThreadId>>>);

impl Callers {
    fn note(&self) {
        self.0.lock().unwrap().insert(thread::current().id());
    }
}

/// Starts four threads that accept from `listener`, and returns when its callback was called in each: with short steps on a busy
/// machine, none may ever be seen to sleep. A panic is `None`.
fn accepting(
    listener: &Arc<TcpSocket>,
    callers: &Callers,
) -> Vec<crate::support::Blocked<Option<Result<TcpSocket, Error>>>> {
    let workers = (0..4).map(|_| {
        let listener = Arc::clone(listener);
        block(move || panic::catch_unwind(panic::AssertUnwindSafe(|| listener.accept_new())).ok())
    });
    let workers = workers.collect();
    eventually(
        || "the callback is called in each thread".to_owned(),
        || match callers.0.lock().unwrap().len() {
            4 => Ok(()),
            called => Err(format!("{called}")),
        },
    );
    workers
}

#[test]
fn a_worker_may_close_its_listener_under_a_lock_that_the_others_want() {
    let _test = begin();
    for round in 0..20 {
        let (listener, addr) = listener();
        let listener = Arc::new(listener);
        let lock = Arc::new(Mutex::new(()));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (listener, lock) = (Arc::clone(&listener), Arc::clone(&lock));
                block(move || {
                    for client in listener.incoming() {
                        let _held = lock.lock().unwrap();
                        drop(client.unwrap());
                        listener.close();
                        assert!(is_refused(addr));
                    }
                })
            })
            .collect();
        let workers: Vec<_> = workers.into_iter().map(|worker| worker.until_blocked()).collect();
        // More than one may get a client before the first of them closes.
        let clients: Vec<_> = (0..1 + round % 3).map(|_| TcpStream::connect(addr)).collect();
        for worker in workers {
            worker.result();
        }
        clients.into_iter().flatten().for_each(reset);
    }
}

#[test]
fn a_close_from_the_callback_under_a_lock_that_the_others_want_ends_all() {
    let _test = begin();
    for by_handle in [true, false] {
        let (mut listener, addr) = listener();
        let lock = Mutex::new(Weak::<TcpSocket>::new());
        let lock = Arc::new(lock);
        let users = Arc::clone(&lock);
        let callers = Callers::default();
        let called = callers.clone();
        listener.wait_step(Duration::from_millis(20)).when_wait(move |_| {
            called.note();
            let itself = users.lock().unwrap();
            match itself.upgrade() {
                Some(itself) if by_handle => itself.handle().close(),
                Some(itself) => itself.close(),
                None => {}
            }
        });
        let listener = Arc::new(listener);
        let workers = accepting(&listener, &callers);
        *lock.lock().unwrap() = Arc::downgrade(&listener);
        for worker in workers {
            assert_failed(&worker.result().unwrap(), &Error::Closed, by_handle);
        }
        assert_refuses(addr);
    }
}

#[test]
fn a_callback_that_unwinds_may_close_on_its_way() {
    let _test = begin();
    /// A guard that doesn't mind waiting for the others to leave.
    struct ClosesItself(Arc<TcpSocket>);
    impl Drop for ClosesItself {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    for by_handle in [true, false] {
        let (mut listener, addr) = listener();
        let victim = Arc::new(Mutex::new(None::<Arc<TcpSocket>>));
        let taken = Arc::clone(&victim);
        let callers = Callers::default();
        let called = callers.clone();
        listener.wait_step(Duration::from_millis(20)).when_wait(move |_| {
            called.note();
            let Some(itself) = taken.lock().unwrap().take() else {
                return;
            };
            let _one = by_handle.then(|| ClosesOnDrop(itself.handle()));
            let _other = (!by_handle).then(|| ClosesItself(itself));
            unwind();
        });
        let listener = Arc::new(listener);
        let workers = accepting(&listener, &callers);
        *victim.lock().unwrap() = Some(Arc::clone(&listener));
        let results: Vec<_> = workers.into_iter().map(|worker| worker.result()).collect();
        let (ended, unwound): (Vec<_>, Vec<_>) = results.into_iter().partition(Option::is_some);
        assert_eq!((ended.len(), unwound.len()), (3, 1), "by handle: {by_handle}");
        for result in ended.into_iter().flatten() {
            assert_failed(&result, &Error::Closed, by_handle);
        }
        assert_refuses(addr);
    }
}
