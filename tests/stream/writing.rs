//! Writing: slow readers, peers that go, urgent bytes. `get_and_put.rs` has what `put` returns when.

#![allow(unsafe_code, reason = "looks at what SIGPIPE does")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use wakesock::{Error, Result, ShutdownRegistry, TcpSocket};

use crate::support::full::put_what_fits;
use crate::support::{
    NO_RESETS, PATIENCE, begin, block, cpu_time, ends_at_limit, is_wine, listener, listener_in, pattern, reset,
    send_urgent, timed,
};

/// More than the buffers of both ends hold.
const MUCH: usize = 4 << 20;

const BUFFER: usize = 200_000;

/// A thread that blocks uses less than this in the time that it is watched for.
const HARDLY_ANY: Duration = Duration::from_millis(10);

/// A call that sends, made to report how much was sent.
type Put = fn(&mut TcpSocket, &[u8]) -> Result<usize>;

const PUTS: [(&str, Put); 3] = [
    ("put", TcpSocket::put),
    ("put_all", |socket, data| socket.put_all(data).map(|()| data.len())),
    ("write", |socket, data| {
        socket
            .write(data)
            .map_err(|error| *error.into_inner().unwrap().downcast::<Error>().unwrap())
    }),
];

/// A connection with buffers of a fixed size: they don't grow with what is sent.
fn fixed_pair() -> (TcpSocket, TcpStream) {
    fixed_pair_in(ShutdownRegistry::global())
}

fn fixed_pair_in(registry: &ShutdownRegistry) -> (TcpSocket, TcpStream) {
    let (listener, addr) = listener_in(registry);
    let peer = TcpStream::connect(addr).unwrap();
    peer.set_nodelay(true).unwrap();
    SockRef::from(&peer).set_recv_buffer_size(BUFFER).unwrap();
    let socket = listener.accept_new().unwrap();
    SockRef::from(&socket).set_send_buffer_size(BUFFER).unwrap();
    (socket, peer)
}

fn read_to_end(mut peer: TcpStream) -> Vec<u8> {
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut came = Vec::new();
    peer.read_to_end(&mut came).unwrap();
    came
}

/// Puts again and again until that has moved `len` bytes or fails.
fn put_much(put: Put, socket: &mut TcpSocket, len: usize) -> Result<()> {
    let data = pattern(len);
    let mut sent = 0;
    while sent < len {
        sent += put(socket, &data[sent..])?;
    }
    Ok(())
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { .. }) && matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

#[test]
fn put_all_that_runs_out_of_time_says_exactly_how_much_was_sent() {
    let _test = begin();
    let data = pattern(MUCH);
    let (mut socket, mut peer) = fixed_pair();
    let mut sent = 0;
    for _ in 0..3 {
        let result = socket.timeout(Duration::from_millis(20)).put_all(&data[sent..]);
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        assert!(socket.is_timeout() && socket.is_error(), "{socket:?}");
        let done = socket.done();
        assert!(matches!(socket.put(b"x"), Err(Error::Timeout)), "it is sticky");
        assert_eq!(socket.done(), 0, "of the put that failed");
        socket.clear_error();
        let mut came = vec![0; done];
        peer.read_exact(&mut came).unwrap();
        assert!(came == data[sent..sent + done], "not the {done} bytes after {sent}");
        sent += done;
    }
    assert!(sent > 0);
    socket.close();
    assert_eq!(read_to_end(peer), b"", "more than was said to be sent");
}

#[test]
fn more_than_the_buffers_hold_arrives_at_a_slow_reader() {
    let _test = begin();
    for (name, put) in PUTS {
        let (mut socket, mut peer) = fixed_pair();
        let blocked = block(move || match name {
            "write" => put_much(put, &mut socket, MUCH),
            _ => put(&mut socket, &pattern(MUCH)).map(|sent| assert_eq!(sent, MUCH, "{name}")),
        });
        let blocked = blocked.still_blocks();
        let mut came = Vec::new();
        let mut part = vec![0; 100_000];
        loop {
            let count = peer.read(&mut part).unwrap();
            if count == 0 {
                break;
            }
            came.extend_from_slice(&part[..count]);
            std::thread::yield_now();
        }
        blocked.result().unwrap();
        assert!(came == pattern(MUCH), "{name}: {} bytes came", came.len());
    }
}

/// SIGPIPE with its deadly default, for as long as this lives: the runtime of Rust's test programs ignores it.
#[cfg(target_os = "linux")]
struct DeadlySigpipe {
    before: libc::sighandler_t,
}

#[cfg(target_os = "linux")]
impl DeadlySigpipe {
    fn new() -> DeadlySigpipe {
        // SAFETY: no handler is involved.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        DeadlySigpipe { before }
    }
}

#[cfg(target_os = "linux")]
impl Drop for DeadlySigpipe {
    fn drop(&mut self) {
        // SAFETY: it was in force before.
        unsafe { libc::signal(libc::SIGPIPE, self.before) };
    }
}

/// As it was before, and is to be.
#[cfg(target_os = "linux")]
const UNTOUCHED: (libc::sighandler_t, bool, bool) = (libc::SIG_DFL, false, false);

/// Where there is no SIGPIPE.
#[cfg(not(target_os = "linux"))]
struct DeadlySigpipe;

#[cfg(not(target_os = "linux"))]
impl DeadlySigpipe {
    fn new() -> DeadlySigpipe {
        DeadlySigpipe
    }
}

#[cfg(not(target_os = "linux"))]
const UNTOUCHED: [bool; 0] = [];

#[cfg(not(target_os = "linux"))]
fn signal_state() -> [bool; 0] {
    UNTOUCHED
}

/// What SIGPIPE does, and which signals the calling thread blocks or has pending.
#[cfg(target_os = "linux")]
fn signal_state() -> (libc::sighandler_t, bool, bool) {
    // SAFETY: zeroes are valid for both types.
    let (mut action, mut mask): (libc::sigaction, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: pointers to valid values, and null where nothing is to be changed.
    let result = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action) };
    assert_eq!(result, 0);
    // SAFETY: as above.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &mut mask) };
    assert_eq!(result, 0);
    // SAFETY: a pointer to a valid set.
    let blocked = unsafe { libc::sigismember(&mask, libc::SIGPIPE) } == 1;
    // SAFETY: as above.
    let result = unsafe { libc::sigpending(&mut mask) };
    assert_eq!(result, 0);
    // SAFETY: as above.
    let pending = unsafe { libc::sigismember(&mask, libc::SIGPIPE) } == 1;
    (action.sa_sigaction, blocked, pending)
}

#[test]
fn a_peer_that_is_gone_is_an_error_and_no_sigpipe() {
    let _test = begin();
    let _deadly = DeadlySigpipe::new();
    let before = signal_state();
    assert_eq!(before, UNTOUCHED);
    for (name, put) in PUTS {
        for with_reset in [false, true] {
            let (mut socket, peer) = fixed_pair();
            if with_reset {
                reset(peer);
            } else {
                drop(peer);
            }
            let mut failures = 0;
            // The first may be what makes the peer answer with a reset.
            for _ in 0..10 {
                if let Err(error) = put(&mut socket, b"are you there?") {
                    assert!(is_gone(&error), "{name}: {error:?}");
                    failures += 1;
                    socket.clear_error();
                }
            }
            assert!(failures >= 9, "{name}: {failures} of 10 failed");
            let _ = socket.shutdown();
        }
        let (mut socket, _peer) = fixed_pair();
        socket.shutdown().unwrap();
        let result = put(&mut socket, b"after the end");
        assert!(
            matches!(&result, Err(error) if error.kind() == ErrorKind::BrokenPipe),
            "{name}: {result:?}"
        );
    }
    assert_eq!(signal_state(), before);
}

#[test]
fn a_peer_that_goes_while_a_put_blocks_is_an_error_and_no_sigpipe() {
    let _test = begin();
    let _deadly = DeadlySigpipe::new();
    for (name, put) in PUTS {
        let (mut socket, peer) = fixed_pair();
        let blocked = block(move || (put_much(put, &mut socket, MUCH), signal_state())).still_blocks();
        // With all that it never read: so it resets.
        drop(peer);
        let (result, state) = blocked.result();
        assert!(matches!(&result, Err(error) if is_gone(error)), "{name}: {result:?}");
        assert_eq!(state, UNTOUCHED, "{name}");
    }
}

/// Checks that the thread blocks and does nothing in the meantime.
fn assert_rests<T>(blocked: crate::support::Blocked<T>, what: &str) -> crate::support::Blocked<T> {
    let blocked = blocked.until_blocked();
    let before = cpu_time(blocked.task());
    let blocked = blocked.still_blocks();
    let used = cpu_time(blocked.task()) - before;
    assert!(
        used < HARDLY_ANY,
        "{what}: used {used:?} of the processor while it blocked"
    );
    blocked
}

#[test]
fn an_urgent_byte_does_not_end_a_get() {
    let _test = begin();
    for before in [true, false] {
        for len in [6, 20_000] {
            let (mut socket, mut peer) = fixed_pair();
            if before {
                send_urgent(&peer, b'!');
            }
            let blocked = block(move || socket.get_bytes(len));
            let blocked = assert_rests(blocked, "before any byte");
            if !before {
                send_urgent(&peer, b'!');
            }
            let blocked = assert_rests(blocked, "after the urgent byte");
            peer.write_all(&pattern(len)).unwrap();
            assert_eq!(blocked.result().unwrap(), pattern(len), "urgent before: {before}");
        }
    }
}

#[test]
fn an_urgent_byte_does_not_end_a_put() {
    let _test = begin();
    for (name, put) in PUTS {
        for before in [true, false] {
            let (mut socket, mut peer) = fixed_pair();
            if before {
                send_urgent(&peer, b'!');
            }
            let blocked = block(move || (put_much(put, &mut socket, MUCH), socket)).until_blocked();
            if !before {
                send_urgent(&peer, b'!');
            }
            let blocked = assert_rests(blocked, name);
            let reader = block(move || {
                let mut came = vec![0; MUCH];
                peer.read_exact(&mut came).map(|()| (came, peer))
            });
            let (result, _socket) = blocked.result();
            result.unwrap();
            let (came, _peer) = reader.result().unwrap();
            assert!(came == pattern(MUCH), "{name}");
        }
    }
}

#[test]
fn an_urgent_byte_does_not_stretch_the_limit_of_a_put() {
    let _test = begin();
    let (mut socket, peer) = fixed_pair();
    send_urgent(&peer, b'!');
    let more = pattern(MUCH);
    ends_at_limit(Duration::from_millis(20), |limit| {
        let (result, took) = timed(|| socket.timeout(limit).put_all(&more));
        assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
        socket.clear_error();
        took
    });
}

#[test]
fn an_urgent_byte_does_not_end_a_wait() {
    let _test = begin();
    for before in [true, false] {
        let (mut socket, mut peer) = fixed_pair();
        if before {
            send_urgent(&peer, b'!');
        }
        let blocked = block(move || (socket.wait_read(), socket)).until_blocked();
        if !before {
            send_urgent(&peer, b'!');
        }
        let blocked = assert_rests(blocked, "wait_read");
        peer.write_all(b"abc").unwrap();
        let (result, mut socket) = blocked.result();
        result.unwrap();
        assert_eq!(socket.get_all_bytes(3).unwrap(), b"abc");
    }
}

#[test]
fn an_urgent_byte_before_the_accept_changes_nothing() {
    let _test = begin();
    let (listener, addr) = listener();
    let handle = listener.handle();
    let mut peer = TcpStream::connect(addr).unwrap();
    peer.write_all(b"ab").unwrap();
    send_urgent(&peer, b'!');
    peer.write_all(b"cd").unwrap();
    let mut socket = listener.accept_new().unwrap();
    assert_eq!(socket.get_all_bytes(4).unwrap(), b"abcd");
    let blocked = block(move || listener.accept_new().map(drop)).until_blocked();
    send_urgent(&peer, b'!');
    let blocked = assert_rests(blocked, "accept");
    handle.close();
    let result = blocked.result();
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    peer.write_all(b"ef").unwrap();
    assert_eq!(socket.get_all_bytes(2).unwrap(), b"ef");
}

#[test]
fn an_urgent_byte_in_the_middle_of_data_loses_none() {
    let _test = begin();
    for warm in [false, true] {
        for (first, second) in [
            (1, 1),
            (3, 3),
            (8_192, 3),
            (8_191, 8_192),
            (3, 20_000),
            (20_000, 20_000),
        ] {
            for len in [2, first + second] {
                let (mut socket, mut peer) = fixed_pair();
                if warm {
                    // So the socket has a waiter, and the wait that is next reports all at once.
                    let blocked = block(move || (socket.get_byte(), socket)).until_blocked();
                    peer.write_all(b".").unwrap();
                    let (result, back) = blocked.result();
                    assert_eq!(result.unwrap(), Some(b'.'));
                    socket = back;
                }
                let data = pattern(first + second);
                peer.write_all(&data[..first]).unwrap();
                send_urgent(&peer, b'!');
                peer.write_all(&data[first..]).unwrap();
                let blocked = block(move || {
                    let mut came = Vec::new();
                    while came.len() < first + second {
                        came.extend(socket.get_all_bytes(len.min(first + second - came.len())).unwrap());
                    }
                    (came, socket)
                });
                let (came, mut socket) = blocked.result();
                assert!(
                    came == data,
                    "{first} and {second} by {len}: {} bytes that differ",
                    came.len()
                );
                let blocked = block(move || socket.get_line());
                let blocked = if first == 3 {
                    assert_rests(blocked, "after it")
                } else {
                    blocked.until_blocked()
                };
                peer.write_all(b"on it goes\n").unwrap();
                assert_eq!(blocked.result().unwrap().unwrap(), "on it goes");
            }
        }
    }
}

#[test]
fn an_urgent_byte_at_the_end_does_not_hide_the_end_of_file() {
    let _test = begin();
    for later in [false, true] {
        let (mut socket, mut peer) = fixed_pair();
        let blocked = block(move || {
            let came = socket.get_bytes(100);
            (came, socket.get_bytes(100))
        });
        let blocked = if later { blocked.until_blocked() } else { blocked };
        peer.write_all(b"abc").unwrap();
        send_urgent(&peer, b'!');
        peer.shutdown(Shutdown::Write).unwrap();
        let (came, end) = blocked.result();
        assert_eq!((came.unwrap(), end.unwrap()), (b"abc".to_vec(), vec![]));
    }
}

#[test]
fn closing_delivers_what_is_unsent() {
    let _test = begin();
    for how in ["close", "handle", "drop", "clear", "shut down"] {
        let registry = ShutdownRegistry::new();
        let (mut socket, peer) = fixed_pair_in(&registry);
        let sent = put_what_fits(&mut socket);
        match how {
            "close" => socket.close(),
            "handle" => socket.handle().close(),
            "drop" => drop(socket),
            "clear" => socket.clear(),
            _ => registry.shutdown(),
        }
        let came = read_to_end(peer);
        assert_eq!(came.len(), sent, "{how}");
    }
}

#[test]
fn closing_with_no_linger_time_resets() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for how in ["close", "handle", "drop", "shut down"] {
        let registry = ShutdownRegistry::new();
        let (mut socket, mut peer) = fixed_pair_in(&registry);
        socket.linger(Duration::ZERO).unwrap();
        socket.put_all(b"abc").unwrap();
        match how {
            "close" => socket.close(),
            "handle" => socket.handle().close(),
            "drop" => drop(socket),
            _ => registry.shutdown(),
        }
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{how}");
    }
    let (mut socket, peer) = fixed_pair();
    socket.linger(Duration::ZERO).unwrap();
    socket.no_linger().unwrap();
    socket.put_all(b"abc").unwrap();
    socket.close();
    assert_eq!(read_to_end(peer), b"abc", "lingering again");
}

#[test]
fn after_shutdown_reading_goes_on() {
    let _test = begin();
    let (mut socket, mut peer) = fixed_pair();
    socket.put_all(b"request").unwrap();
    socket.shutdown().unwrap();
    let mut request = String::new();
    peer.read_to_string(&mut request).unwrap();
    assert_eq!(request, "request");
    assert!(socket.is_open() && !socket.is_eof(), "{socket:?}");
    let blocked = block(move || (socket.get_line(), socket)).still_blocks();
    peer.write_all(b"answer\nmore").unwrap();
    drop(peer);
    let (line, mut socket) = blocked.result();
    assert_eq!(line.unwrap().unwrap(), "answer");
    assert_eq!(socket.get_bytes(100).unwrap(), b"more");
    assert_eq!(socket.get_bytes(100).unwrap(), b"");
}

#[test]
fn a_put_after_shutdown_does_not_end_the_reading() {
    let _test = begin();
    let (mut socket, mut peer) = fixed_pair();
    socket.shutdown().unwrap();
    let error = socket.put_all(b"too late").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error:?}");
    assert_eq!(socket.done(), 0);
    peer.write_all(b"answer").unwrap();
    drop(peer);
    assert_eq!(socket.get_bytes(100).unwrap(), b"answer");
    assert_eq!(socket.get_bytes(100).unwrap(), b"");
    assert!(matches!(socket.put(b"x"), Err(Error::Io { .. })), "it is sticky");
}

#[test]
fn the_standard_librarys_writers_work() {
    let _test = begin();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpSocket::new();
    socket.connect_to(&[server.local_addr().unwrap()]).unwrap();
    let (peer, _) = server.accept().unwrap();
    let reader = block(move || read_to_end(peer));
    write!(socket, "{} and ", 1).unwrap();
    socket.write_all(&pattern(MUCH)).unwrap();
    socket.flush().unwrap();
    drop(socket);
    let came = reader.result();
    assert!(
        came.starts_with(b"1 and ") && came[6..] == pattern(MUCH),
        "{} bytes came",
        came.len()
    );
}
