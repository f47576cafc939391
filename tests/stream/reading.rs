//! Reading: bytes that are there, come later, or never do. `get_and_put.rs` has what `get` returns when.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wakesock::{Error, MioWait, RawWait, Result, ShutdownRegistry, TcpSocket, WaitEvents, WaitSource, Waiter, Wake};

use crate::support::{NO_RESETS, PATIENCE, Random, begin, block, is_wine, pair, pattern, reset, timed};

/// A read of so many bytes: what it handed over.
type Get = fn(&mut TcpSocket, usize) -> Result<Vec<u8>>;

fn get(socket: &mut TcpSocket, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let count = socket.get(&mut buf)?;
    buf.truncate(count);
    Ok(buf)
}

fn get_all(socket: &mut TcpSocket, len: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; len];
    socket.get_all(&mut buf)?;
    Ok(buf)
}

const GET_ALLS: [(&str, Get, usize); 4] = [
    ("get_all of a few", get_all, 100),
    ("get_all of many", get_all, 20_000),
    ("get_all_bytes of a few", TcpSocket::get_all_bytes, 100),
    ("get_all_bytes of very many", TcpSocket::get_all_bytes, 600_000),
];

/// Less than this takes what need not wait for anything.
const SOON: Duration = Duration::from_secs(4);

/// Each call that reads, made to report how much came.
type Count = fn(&mut TcpSocket) -> Result<usize>;

const READS: [(&str, Count); 8] = [
    ("get", |socket| get(socket, 10).map(|bytes| bytes.len())),
    ("get, large", |socket| get(socket, 20_000).map(|bytes| bytes.len())),
    ("get_bytes", |socket| socket.get_bytes(10).map(|bytes| bytes.len())),
    ("get_byte", |socket| socket.get_byte().map(|byte| byte.iter().len())),
    ("peek", |socket| socket.peek().map(|byte| byte.iter().len())),
    ("term", |socket| socket.term().map(|byte| byte.iter().len())),
    ("get_line", |socket| socket.get_line().map(|line| line.iter().len())),
    ("read", |socket| ours(socket.read(&mut [0; 10]))),
];

/// The crate's error inside one of the standard library's.
fn ours<T>(result: io::Result<T>) -> Result<T> {
    result.map_err(|error| {
        let inner = error.into_inner().expect("an error of the crate's");
        *inner.downcast::<Error>().unwrap()
    })
}

fn assert_reset<T: std::fmt::Debug>(result: &Result<T>, context: &str) {
    assert!(
        matches!(result, Err(error) if error.kind() == ErrorKind::ConnectionReset),
        "{context}: {result:?}"
    );
}

#[test]
fn data_that_is_there_comes_at_once() {
    let _test = begin();
    for (name, read) in READS {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"0123456789\n").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let (result, took) = timed(|| read(socket.timeout(PATIENCE)));
        assert!(matches!(result, Ok(1..)), "{name}: {result:?}");
        assert!(took < PATIENCE, "{name}: {took:?}");
        let (mut socket, mut peer) = pair();
        peer.write_all(&pattern(20_000)).unwrap();
        peer.write_all(b"\n").unwrap();
        socket.wait_read().unwrap();
        let result = read(socket.timeout(Duration::ZERO));
        assert!(
            matches!(result, Ok(1..) | Err(Error::InvalidUtf8)),
            "{name}, limit zero: {result:?}"
        );
    }
}

#[test]
fn a_limit_of_zero_finds_what_has_come_since() {
    let _test = begin();
    for (name, read) in READS {
        let (mut socket, mut peer) = pair();
        socket.timeout(Duration::ZERO);
        for turn in 0..3 {
            let nothing = read(&mut socket);
            assert!(
                matches!(nothing, Err(Error::Timeout)),
                "{name}, turn {turn}: {nothing:?}"
            );
            socket.clear_error();
            peer.write_all(&pattern(20_000)).unwrap();
            crate::support::eventually(
                || format!("{name} finds what has come, turn {turn}"),
                || {
                    let result = read(&mut socket);
                    socket.clear_error();
                    result.map_err(|error| error.to_string())
                },
            );
            while socket.get_bytes(100_000).is_ok() {}
        }
    }
}

#[test]
fn data_that_comes_later_comes_when_it_comes() {
    let _test = begin();
    for (name, read) in READS {
        for limit in [None, Some(PATIENCE), Some(Duration::MAX)] {
            let (mut socket, mut peer) = pair();
            let blocked = block(move || (read(socket.timeout(limit)), socket));
            let blocked = if limit.is_none() {
                blocked.still_blocks()
            } else {
                blocked.until_blocked()
            };
            peer.write_all(b"012345678\n").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let (result, _socket) = blocked.result();
            assert!(matches!(result, Ok(1..)), "{name}, {limit:?}: {result:?}");
        }
    }
}

#[test]
fn a_timeout_takes_nothing() {
    let _test = begin();
    for (name, read) in READS {
        let (mut socket, mut peer) = pair();
        for limit in [0, 1, 1_000_000] {
            let result = read(socket.timeout(Duration::from_nanos(limit)));
            assert!(matches!(result, Err(Error::Timeout)), "{name}, {limit} ns: {result:?}");
            assert!(socket.is_timeout(), "{name}");
            socket.clear_error();
        }
        peer.write_all(b"abcdef\n").unwrap();
        assert_eq!(get_all(socket.blocking(), 7).unwrap(), b"abcdef\n", "after {name}");
    }
}

#[test]
fn what_a_wait_has_seen_can_be_read() {
    let _test = begin();
    for (name, read) in READS {
        for waiting in ["wait_read", "wait for all", "wait_request"] {
            let (mut socket, mut peer) = pair();
            peer.write_all(b"warm up\n").unwrap();
            assert_eq!(socket.get_line().unwrap().unwrap(), "warm up");
            let blocked = block(move || {
                let result = match waiting {
                    "wait_read" => socket.wait_read(),
                    "wait for all" => socket.wait(WaitEvents::READ | WaitEvents::EXCEPTION).map(drop),
                    _ => socket.wait_request().map(drop),
                };
                (result, socket)
            });
            let blocked = blocked.until_blocked();
            peer.write_all(&pattern(20_000)).unwrap();
            let (result, mut socket) = blocked.result();
            result.unwrap();
            let (result, took) = timed(|| read(socket.timeout(SOON)));
            assert!(matches!(result, Ok(1..)), "{name} after {waiting}: {result:?}");
            assert!(took < SOON, "{name} after {waiting}: slept over it, {took:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_end_of_file_that_a_wait_has_seen_can_be_read() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"warm up\n").unwrap();
    assert_eq!(socket.get_line().unwrap().unwrap(), "warm up");
    let blocked = block(move || (socket.wait_read(), socket)).until_blocked();
    // Held back until they leave together.
    socket2::SockRef::from(&peer).set_tcp_cork(true).unwrap();
    peer.write_all(b"abc").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let (result, mut socket) = blocked.result();
    result.unwrap();
    let (result, took) = timed(|| get(socket.timeout(SOON), 100));
    assert_eq!(result.unwrap(), b"abc");
    assert!(
        took < SOON && !socket.is_timeout(),
        "slept over the end of file, {took:?}"
    );
    assert_eq!(get(&mut socket, 100).unwrap(), b"");
}

/// Does something once, when a wait begins.
#[derive(Clone, Default)]
struct Meddling(Arc<Mutex<Option<Act>>>);

type Act = Box<dyn FnOnce() + Send>;

impl Meddling {
    fn at_next_wait(&self, act: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(act));
    }
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meddling")
    }
}

struct MeddlingWaiter {
    meddling: Meddling,
    real: Box<dyn Waiter>,
}

impl RawWait for Meddling {
    fn waiter(&self, socket: WaitSource<'_>, events: WaitEvents) -> io::Result<Box<dyn Waiter>> {
        Ok(Box::new(MeddlingWaiter {
            meddling: self.clone(),
            real: MioWait::default().waiter(socket, events)?,
        }))
    }
}

impl Waiter for MeddlingWaiter {
    fn wait(&mut self, events: WaitEvents, timeout: Option<Duration>) -> io::Result<WaitEvents> {
        if let Some(act) = self.meddling.0.lock().unwrap().take() {
            act();
        }
        self.real.wait(events, timeout)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.real.waker()
    }
}

#[test]
fn data_that_comes_together_with_an_end_is_read_after_it() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let meddling = Meddling::default();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    for end in ["abort", "stop"] {
        let mut socket = TcpSocket::with_registry(&registry);
        socket.set_raw_wait(Arc::new(meddling.clone()));
        socket.connect_to(&[server.local_addr().unwrap()]).unwrap();
        let (mut peer, _) = server.accept().unwrap();
        peer.write_all(b"warm up\n").unwrap();
        assert_eq!(socket.get_line().unwrap().unwrap(), "warm up");
        let (handle, stopped) = (socket.handle(), registry.clone());
        let mut writer = peer.try_clone().unwrap();
        meddling.at_next_wait(move || {
            writer.write_all(b"x").unwrap();
            match end {
                "abort" => handle.abort(),
                _ => stopped.stop_accepting(),
            }
        });
        if end == "abort" {
            let result = socket.get_byte();
            assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
            socket.clear_abort();
        } else {
            let result = socket.wait_request();
            assert!(matches!(result, Ok(true)), "{result:?}");
        }
        let (result, took) = timed(|| socket.timeout(SOON).get_byte());
        assert!(matches!(result, Ok(Some(b'x'))), "{end}: {result:?}");
        assert!(took < SOON, "{end}: slept over it, {took:?}");
    }
}

#[test]
fn end_of_file_again_and_again() {
    let _test = begin();
    for (name, read) in READS {
        let (mut socket, peer) = pair();
        peer.shutdown(Shutdown::Write).unwrap();
        for turn in 0..5 {
            assert_eq!(read(&mut socket).unwrap(), 0, "{name}, turn {turn}");
            assert!(
                socket.is_eof() && socket.is_open() && !socket.is_error(),
                "{name}: {socket:?}"
            );
        }
        for (other, read) in READS {
            assert_eq!(read(&mut socket).unwrap(), 0, "{other} after {name}");
        }
        socket.put_all(b"still writable").unwrap();
    }
}

#[test]
fn reset_is_reset_and_never_end_of_file() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for (name, read) in READS {
        for blocked_before in [false, true] {
            let (mut socket, peer) = pair();
            let (result, mut socket) = if blocked_before {
                let blocked = block(move || (read(&mut socket), socket)).until_blocked();
                reset(peer);
                blocked.result()
            } else {
                reset(peer);
                (read(&mut socket), socket)
            };
            assert_reset(&result, name);
            assert!(matches!(result, Err(Error::Io { .. })), "{name}: {result:?}");
            assert!(socket.is_error() && socket.is_open(), "{name}: {socket:?}");
            for (other, read) in READS {
                assert_reset(&read(&mut socket), other);
            }
        }
    }
}

#[test]
fn reset_is_not_end_of_file_after_clear_error_either() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for (name, read) in READS {
        let (mut socket, peer) = pair();
        reset(peer);
        assert_reset(&read(&mut socket), name);
        socket.clear_error();
        let again = read(&mut socket);
        assert!(!matches!(again, Ok(0)), "{name}: {again:?}");
    }
}

#[test]
fn reset_that_a_put_was_told_is_not_end_of_file_to_a_get() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"half of the answ").unwrap();
    reset(peer);
    assert_reset(&socket.put(b"?"), "put");
    socket.clear_error();
    let mut came = Vec::new();
    let end = loop {
        match socket.get_bytes(100) {
            Ok(bytes) if bytes.is_empty() => break Ok(()),
            Ok(bytes) => came.extend(bytes),
            Err(error) => break Err(error),
        }
    };
    assert!(b"half of the answ".starts_with(&came), "{came:?}");
    assert!(end.is_err(), "end of file after {} bytes", came.len());
}

#[test]
fn the_end_of_file_is_behind_all_data() {
    let _test = begin();
    for len in [1, 3, 8_191, 8_192, 8_193, 16_384, 100_000] {
        let (mut socket, mut peer) = pair();
        let sent = pattern(len);
        let expected = sent.clone();
        let writer = block(move || peer.write_all(&sent));
        assert_eq!(socket.peek().unwrap(), Some(expected[0]));
        writer.result().unwrap();
        assert!(!socket.is_eof(), "{len}: there is more to read");
        let mut came = Vec::new();
        socket.read_to_end(&mut came).unwrap();
        assert!(came == expected, "{len}: {} bytes came", came.len());
        assert!(socket.is_eof() && !socket.is_error(), "{len}: {socket:?}");
        assert_eq!(socket.get_byte().unwrap(), None);
    }
}

#[test]
fn a_socket_that_can_give_nothing_more_is_at_its_end() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    let (mut socket, peer) = pair();
    assert!(!socket.is_eof());
    socket.abort();
    assert!(socket.is_eof(), "aborted");
    socket.clear_abort();
    assert!(!socket.is_eof(), "no longer aborted");
    reset(peer);
    assert_reset(&socket.get_byte(), "get_byte");
    assert!(socket.is_eof(), "failed");
    let (socket, _peer) = pair();
    socket.close();
    assert!(socket.is_eof(), "closed");
    assert!(TcpSocket::new().is_eof(), "never open");
}

#[test]
fn get_fills_its_buffer_over_any_split_of_the_stream() {
    let _test = begin();
    let data = pattern(7);
    let (mut socket, mut peer) = pair();
    for splits in 0..1 << (data.len() - 1) {
        let mut parts = split(&data, splits);
        let last = parts.pop().unwrap();
        let mut blocked = block(move || (get(&mut socket, 7), socket));
        for part in parts {
            blocked = blocked.until_blocked();
            peer.write_all(part).unwrap();
        }
        peer.write_all(last).unwrap();
        let (result, back) = blocked.result();
        assert_eq!(result.unwrap(), data, "split {splits:b}");
        socket = back;
    }
}

/// Cuts `data` behind each byte whose bit in `splits` is set.
fn split(data: &[u8], splits: usize) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for end in 1..=data.len() {
        if end == data.len() || splits >> (end - 1) & 1 == 1 {
            parts.push(&data[begin..end]);
            begin = end;
        }
    }
    parts
}

#[test]
fn get_all_is_all_or_nothing_over_any_split_of_the_stream() {
    let _test = begin();
    let data = pattern(7);
    let (mut socket, mut peer) = pair();
    for (name, get_all, _) in GET_ALLS {
        for splits in 0..1 << (data.len() - 1) {
            let parts = split(&data, splits);
            let (last, parts) = parts.split_last().unwrap();
            for part in parts {
                peer.write_all(part).unwrap();
                let result = get_all(socket.timeout(Duration::ZERO), 7);
                assert!(
                    matches!(result, Err(Error::Timeout)),
                    "{name}, split {splits:b}: {result:?}"
                );
                assert!(socket.is_error() && socket.is_timeout(), "{name}: {socket:?}");
                assert!(matches!(socket.get_byte(), Err(Error::Timeout)), "{name}: it is sticky");
                socket.clear_error();
            }
            peer.write_all(last).unwrap();
            assert_eq!(get_all(socket.blocking(), 7).unwrap(), data, "{name}, split {splits:b}");
            assert_eq!(socket.done(), 7, "{name}");
        }
    }
}

#[test]
fn a_get_all_that_fails_leaves_what_came() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for (name, get_all, len) in GET_ALLS {
        let came = pattern(len - 1);
        for end in ["timeout", "end of file", "reset"] {
            let (mut socket, mut peer) = pair();
            peer.write_all(&came[..len / 2]).unwrap();
            let result;
            if end == "timeout" {
                peer.write_all(&came[len / 2..]).unwrap();
                result = get_all(socket.timeout(Duration::from_millis(30)), len);
                assert!(matches!(result, Err(Error::Timeout)), "{name}: {result:?}");
            } else {
                let blocked = block(move || (get_all(&mut socket, len), socket)).until_blocked();
                peer.write_all(&came[len / 2..]).unwrap();
                let blocked = blocked.until_blocked();
                match end {
                    "end of file" => peer.shutdown(Shutdown::Write).unwrap(),
                    _ => reset(peer),
                }
                (result, socket) = blocked.result();
            }
            match end {
                "timeout" => {}
                "end of file" => assert!(matches!(result, Err(Error::UnexpectedEof)), "{name}: {result:?}"),
                _ => assert_reset(&result, name),
            }
            assert!(socket.is_error(), "{name}, {end}: it is sticky");
            let again = get_all(&mut socket, 1).unwrap_err();
            assert_eq!(again.to_string(), result.unwrap_err().to_string(), "{name}, {end}");
            socket.clear_error();
            assert_eq!(socket.get_byte().unwrap(), Some(came[0]), "{name}, {end}");
            let rest = get_all(&mut socket, len - 2).unwrap_or_else(|error| panic!("{name}, {end}: {error}"));
            assert!(rest == came[1..], "{name}, {end}: not what came");
        }
    }
}

#[test]
fn a_length_that_nobody_sends_costs_nothing() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"abc").unwrap();
    let result = socket.timeout(Duration::from_millis(1)).get_all_bytes(usize::MAX);
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
    socket.clear_error();
    assert_eq!(socket.get_bytes(usize::MAX).unwrap(), b"abc");
}

#[test]
fn big_transfers_arrive_whole_over_any_split() {
    let _test = begin();
    let data = Arc::new(pattern(300_000));
    let sizes = [61, 4_096, 8_191, 8_192, 8_193, 65_536, 300_000];
    for sent_at_once in sizes {
        for got_at_once in sizes {
            let (mut socket, mut peer) = pair();
            let sent = Arc::clone(&data);
            let writer = block(move || sent.chunks(sent_at_once).try_for_each(|part| peer.write_all(part)));
            for expected in data.chunks(got_at_once) {
                let came = get(&mut socket, got_at_once.min(expected.len())).unwrap();
                assert!(
                    came == expected,
                    "sent by {sent_at_once}, got by {got_at_once}: {} bytes that differ",
                    came.len()
                );
            }
            assert_eq!(socket.get_byte().unwrap(), None, "by {sent_at_once} and {got_at_once}");
            writer.result().unwrap();
        }
    }
}

#[test]
fn a_peeked_byte_is_still_to_be_read() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"abcdef").unwrap();
    for expected in b"abcd" {
        for _ in 0..3 {
            assert_eq!(socket.peek().unwrap(), Some(*expected));
            assert_eq!(socket.term().unwrap(), Some(*expected));
            assert_eq!(socket.done(), 0, "a peek moves nothing");
        }
        assert_eq!(socket.get_byte().unwrap(), Some(*expected));
        assert_eq!(socket.done(), 1);
    }
    assert_eq!(socket.peek().unwrap(), Some(b'e'));
    let mut rest = [0; 2];
    socket.get_all(&mut rest).unwrap();
    assert_eq!(&rest, b"ef");
}

#[test]
fn what_is_taken_from_the_buffer_is_an_operation_like_others() {
    let _test = begin();
    type Take = fn(&mut TcpSocket) -> Result<u8>;
    fn ours<T>(result: io::Result<T>) -> Result<T> {
        result.map_err(|error| *error.into_inner().unwrap().downcast().unwrap())
    }
    let ways: [(&str, Take); 5] = [
        ("get_byte", |socket| Ok(socket.get_byte()?.unwrap())),
        ("get", |socket| Ok(get(socket, 1)?[0])),
        ("get_all", |socket| Ok(get_all(socket, 1)?[0])),
        ("read", |socket| {
            let mut byte = [0];
            assert_eq!(ours(socket.read(&mut byte))?, 1);
            Ok(byte[0])
        }),
        ("fill_buf", |socket| {
            let byte = ours(socket.fill_buf())?[0];
            socket.consume(1);
            Ok(byte)
        }),
    ];
    for (way, take) in ways {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"abcdef").unwrap();
        assert_eq!(socket.get_byte().unwrap(), b'a'.into());

        socket.timeout(Duration::ZERO);
        assert!(socket.wait(WaitEvents::empty()).unwrap_err().is_timeout() && socket.is_timeout());
        assert_eq!(take(&mut socket).unwrap(), b'b', "{way}");
        assert!(!socket.is_timeout(), "{way}");

        socket.abort();
        assert!(matches!(take(&mut socket), Err(Error::Aborted)), "{way}");
        assert_eq!(socket.done(), 0, "{way}");
        socket.clear_abort();
        assert_eq!(take(&mut socket).unwrap(), b'c', "{way}");

        socket.handle().close();
        assert!(matches!(take(&mut socket), Err(Error::Closed)), "{way}");
    }
}

#[test]
fn what_is_in_the_buffer_is_not_given_in_the_error_state() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"abcdef").unwrap();
    assert_eq!(socket.get_byte().unwrap(), b'a'.into());
    socket.timeout(Duration::ZERO);
    assert!(socket.get_line().unwrap_err().is_timeout());
    assert!(socket.get_byte().unwrap_err().is_timeout(), "sticky");
    // Not an operation: nothing can fail, and nothing is forgiven.
    socket.consume(1);
    assert!(socket.get_byte().unwrap_err().is_timeout());
    assert!(get(&mut socket, 1).unwrap_err().is_timeout());
    assert!(socket.fill_buf().is_err());
    socket.clear_error();
    assert_eq!(get(&mut socket, 4).unwrap(), b"cdef");
}

#[test]
fn all_ways_to_read_can_be_mixed() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    peer.write_all(b"line one\r\nline two\nGET/3abcdefghij\0klm\nrest")
        .unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.get_line().unwrap().unwrap(), "line one");
    let mut line = String::new();
    assert_eq!(socket.read_line(&mut line).unwrap(), 9);
    assert_eq!(line, "line two\n");
    let mut word = [0; 3];
    socket.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"GET");
    assert_eq!(socket.peek().unwrap(), Some(b'/'));
    assert_eq!(socket.get_bytes(2).unwrap(), b"/3");
    assert_eq!(socket.fill_buf().unwrap()[0], b'a');
    socket.consume(1);
    assert_eq!(socket.get_byte().unwrap(), Some(b'b'));
    let mut until = Vec::new();
    socket.read_until(0, &mut until).unwrap();
    assert_eq!(until, b"cdefghij\0");
    assert_eq!(socket.get_line_bytes(3).unwrap().unwrap(), b"klm");
    socket.read_to_end(&mut until).unwrap();
    assert_eq!(until, b"cdefghij\0rest");
    assert_eq!(socket.fill_buf().unwrap(), b"");
}

#[test]
fn read_returns_as_soon_as_there_is_something() {
    let _test = begin();
    for size in [100, 100_000] {
        let (mut socket, mut peer) = pair();
        let mut buf = vec![0; size];
        let blocked = block(move || {
            let result = socket.read(&mut buf);
            (result, buf, socket)
        });
        let blocked = blocked.until_blocked();
        peer.write_all(b"abc").unwrap();
        let (result, buf, mut socket) = blocked.result();
        assert_eq!(result.unwrap(), 3);
        assert_eq!(&buf[..3], b"abc");
        let error = socket.timeout(Duration::ZERO).read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        socket.close();
        assert_eq!(socket.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(socket.fill_buf().unwrap_err().kind(), ErrorKind::NotConnected);
    }
}

/// Sends `data` in random pieces, with an urgent byte somewhere that is no part of it, and closes.
fn send_in_pieces(mut peer: TcpStream, data: &[u8], mut random: Random) {
    let urgent = random.below(2 * data.len());
    let mut sent = 0;
    while sent < data.len() {
        let size = match random.below(4) {
            0 => 1,
            1 => 1 + random.below(20),
            2 => 1 + random.below(500),
            _ => 1 + random.below(10_000),
        };
        let end = data.len().min(sent + size);
        peer.write_all(&data[sent..end]).unwrap();
        if (sent..end).contains(&urgent) {
            crate::support::send_urgent(&peer, b'!');
        }
        sent = end;
        if random.below(8) == 0 {
            thread::yield_now();
        }
    }
}

/// What a reader has before it: the model.
struct Expected<'a> {
    rest: &'a [u8],
}

impl Expected<'_> {
    fn took(&mut self, bytes: &[u8], what: &str) {
        assert!(
            self.rest.starts_with(bytes),
            "{what}: {} bytes that are not the next of {} left",
            bytes.len(),
            self.rest.len()
        );
        self.rest = &self.rest[bytes.len()..];
    }

    fn line(&self) -> Option<&[u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        Some(&self.rest[..=end])
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// One random read, held against the model. It may time out and never fails otherwise.
fn random_read(socket: &mut TcpSocket, expected: &mut Expected<'_>, random: &mut Random) {
    socket.timeout(Duration::from_micros([0, 1, 50, 500, 3_000][random.below(5)]));
    let len = [1, 3, 50, 2_000, 8_192, 20_000][random.below(6)] + random.below(3);
    let left = expected.rest.len();
    match random.below(9) {
        kind @ (0 | 1) => {
            let result = if kind == 0 {
                get(socket, len)
            } else {
                socket.get_bytes(len)
            };
            match result {
                Ok(bytes) => {
                    expected.took(&bytes, "get");
                    let short = bytes.len() < len;
                    assert!(
                        !short || socket.is_timeout() || expected.rest.is_empty(),
                        "get: {} of {len}, {left} left",
                        bytes.len()
                    );
                }
                Err(error) => assert!(matches!(error, Error::Timeout), "get: {error:?}"),
            }
        }
        kind @ (2 | 3) => match if kind == 2 {
            get_all(socket, len)
        } else {
            socket.get_all_bytes(len)
        } {
            Ok(bytes) => {
                assert_eq!(bytes.len(), len);
                expected.took(&bytes, "get_all");
            }
            Err(Error::Timeout) => {}
            Err(Error::UnexpectedEof) => assert!(left < len, "get_all: {left} left, {len} wanted"),
            Err(error) => panic!("get_all: {error:?}"),
        },
        4 => match socket.get_byte() {
            Ok(Some(byte)) => expected.took(&[byte], "get_byte"),
            Ok(None) => assert_eq!(left, 0, "get_byte: end of file"),
            Err(error) => assert!(matches!(error, Error::Timeout), "get_byte: {error:?}"),
        },
        5 => match socket.peek() {
            Ok(byte) => assert_eq!(byte, expected.rest.first().copied(), "peek"),
            Err(error) => assert!(matches!(error, Error::Timeout), "peek: {error:?}"),
        },
        6 => match socket.get_line_bytes(len) {
            Ok(None) => assert_eq!(left, 0, "get_line_bytes: end of file"),
            Ok(Some(line)) => {
                let whole = expected.line().expect("get_line_bytes: a line where none is").to_vec();
                assert!(
                    line == without_end(&whole) && line.len() <= len,
                    "get_line_bytes: not the line"
                );
                expected.took(&whole, "get_line_bytes");
            }
            Err(Error::Timeout) => {}
            Err(Error::LineTooLong { limit }) => {
                assert_eq!(limit, len);
                let actual = expected.line().map_or(left, |line| without_end(line).len());
                assert!(actual > len, "get_line_bytes: {actual} are not more than {len}");
            }
            Err(Error::UnexpectedEof) => {
                assert!(expected.line().is_none(), "get_line_bytes: there is a line")
            }
            Err(error) => panic!("get_line_bytes: {error:?}"),
        },
        7 => {
            let mut buf = vec![0; len];
            match ours(socket.read(&mut buf)) {
                Ok(0) => assert_eq!(left, 0, "read: end of file"),
                Ok(count) => expected.took(&buf[..count], "read"),
                Err(error) => assert!(matches!(error, Error::Timeout), "read: {error:?}"),
            }
        }
        _ => match ours(socket.fill_buf().map(<[u8]>::to_vec)) {
            Ok(bytes) => {
                assert!(!bytes.is_empty() || left == 0, "fill_buf: end of file");
                let taken = random.below(bytes.len() + 1);
                expected.took(&bytes[..taken], "fill_buf");
                socket.consume(taken);
            }
            Err(error) => assert!(matches!(error, Error::Timeout), "fill_buf: {error:?}"),
        },
    }
    socket.clear_error();
}

#[test]
fn a_random_mix_of_reads_gives_the_stream() {
    let _test = begin();
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let data: Vec<u8> = (0..1 + random.below(100_000))
            .map(|_| match random.below(40) {
                0 => b'\n',
                1 => b'\r',
                _ => random.next() as u8,
            })
            .collect();
        let data = Arc::new(data);
        let (mut socket, peer) = pair();
        let sent = Arc::clone(&data);
        let pieces = Random::new(seed + 1_000_000);
        let writer = block(move || send_in_pieces(peer, &sent, pieces));
        let mut expected = Expected { rest: &data };
        let mut reads = 0;
        while !expected.rest.is_empty() {
            random_read(&mut socket, &mut expected, &mut random);
            reads += 1;
            assert!(reads < 1_000_000, "seed {seed}: {} never come", expected.rest.len());
        }
        let end = socket.timeout(PATIENCE).get_byte();
        assert!(matches!(end, Ok(None)), "seed {seed}: {end:?}");
        writer.result();
    }
}
