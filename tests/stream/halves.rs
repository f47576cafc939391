//! Halves of a connection, in two threads.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wakesock::{
    Error, MioWait, RawWait, Result, ShutdownRegistry, SocketHandle, TcpReader, TcpSocket, TcpWriter, ThreadWait,
};

use crate::support::every::{assert_failed, inner};
use crate::support::full::{MUCH, fill};
use crate::support::{
    BlackHole, ClosesOnDrop, NO_RESETS, PATIENCE, Random, Stream, assert_sees_end, begin, block, descriptors,
    ends_at_limit, eventually, is_wine, listener, pair, pattern, reset, timed, unix_pair, unix_pair_in, unwind,
};

const STEP: Duration = Duration::from_millis(1);

type Reading = fn(&mut TcpReader) -> Result<()>;
type Writing = fn(&mut TcpWriter) -> Result<()>;

/// What blocks while the peer sends nothing.
const READINGS: [(&str, Reading); 13] = [
    ("get", |reader| reader.get(&mut [0; 8]).map(drop)),
    ("get_bytes, much", |reader| reader.get_bytes(1 << 20).map(drop)),
    ("get_byte", |reader| reader.get_byte().map(drop)),
    ("peek", |reader| reader.peek().map(drop)),
    ("term", |reader| reader.term().map(drop)),
    ("get_all", |reader| reader.get_all(&mut [0; 8])),
    ("get_all_bytes", |reader| reader.get_all_bytes(8).map(drop)),
    ("get_line", |reader| reader.get_line().map(drop)),
    ("get_line_bytes", |reader| reader.get_line_bytes(80).map(drop)),
    ("Read::read", |reader| reader.read(&mut [0; 8]).map(drop).map_err(inner)),
    ("BufRead::fill_buf", |reader| reader.fill_buf().map(drop).map_err(inner)),
    ("wait_read", TcpReader::wait_read),
    ("wait_request", |reader| reader.wait_request().map(drop)),
];

/// What blocks while the peer reads nothing.
const WRITINGS: [(&str, Writing); 4] = [
    ("put", |writer| {
        writer.put(&MUCH)?;
        writer.put(&MUCH).map(drop)
    }),
    ("put_all", |writer| writer.put_all(&MUCH)),
    ("Write::write", |writer| {
        loop {
            writer.write(&MUCH).map_err(inner)?;
        }
    }),
    ("wait_write", |writer| {
        let limit = writer.get_timeout();
        loop {
            writer.wait_write()?;
            let sent = writer.timeout(Duration::ZERO).put(&MUCH);
            writer.timeout(limit);
            match sent {
                Ok(_) | Err(Error::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
    }),
];

fn raw_waits() -> [Arc<dyn RawWait>; 2] {
    [Arc::new(MioWait::default()), Arc::new(ThreadWait::default())]
}

/// A connection that waits in `raw_wait`.
fn connected_in(raw_wait: &Arc<dyn RawWait>) -> (TcpSocket, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpSocket::new();
    socket.set_raw_wait(Arc::clone(raw_wait));
    socket.connect_to(&[server.local_addr().unwrap()]).unwrap();
    (socket, server.accept().unwrap().0)
}

/// Checks that the peer is neither sent anything nor told an end.
#[track_caller]
fn assert_sees_nothing(peer: &Stream) {
    peer.set_nonblocking(true).unwrap();
    let seen = (&mut &*peer).read(&mut [0; 1]);
    assert!(
        matches!(&seen, Err(error) if error.kind() == ErrorKind::WouldBlock),
        "the peer sees {seen:?}"
    );
    peer.set_nonblocking(false).unwrap();
}

#[track_caller]
fn assert_reset<T: std::fmt::Debug>(result: &Result<T>, what: impl std::fmt::Debug) {
    assert!(
        matches!(result, Err(error) if error.kind() == ErrorKind::ConnectionReset),
        "{what:?}: {result:?}"
    );
}

#[test]
fn both_halves_block_at_once_and_each_is_woken_by_its_own_work() {
    let _test = begin();
    for raw_wait in raw_waits() {
        for reading_first in [true, false] {
            let (socket, mut peer) = connected_in(&raw_wait);
            let (mut reader, mut writer) = socket.split();
            let get = block(move || (reader.get_bytes(3), reader)).until_blocked();
            let put = block(move || (writer.put_all(&MUCH), writer)).until_blocked();
            let mut came = vec![0; MUCH.len()];
            if reading_first {
                peer.write_all(b"abc").unwrap();
                assert_eq!(get.result().0.unwrap(), b"abc", "{raw_wait:?}");
                let put = put.still_blocks();
                peer.read_exact(&mut came).unwrap();
                put.result().0.unwrap();
            } else {
                peer.read_exact(&mut came).unwrap();
                let (result, _writer) = put.result();
                result.unwrap();
                let get = get.still_blocks();
                peer.write_all(b"abc").unwrap();
                assert_eq!(get.result().0.unwrap(), b"abc", "{raw_wait:?}");
            }
            assert!(came == *MUCH, "{raw_wait:?}: other bytes arrived");
        }
    }
}

/// Sends all of `data`, in calls, pieces and limits of all kinds.
fn send_all(writer: &mut TcpWriter, data: &[u8], mut random: Random) {
    let mut sent = 0;
    while sent < data.len() {
        let len = [1, 100, 8_192, 70_000, 500_000][random.below(5)];
        let piece = &data[sent..data.len().min(sent + len)];
        writer.timeout([None, Some(Duration::ZERO), Some(STEP)][random.below(3)]);
        let result = match random.below(3) {
            0 => writer.put(piece),
            1 => writer.put_all(piece).map(|()| piece.len()),
            _ => writer.write(piece).map_err(inner),
        };
        match result {
            Ok(count) => assert_eq!(count, writer.done()),
            Err(error) => assert!(matches!(error, Error::Timeout), "at {sent}: {error:?}"),
        }
        sent += writer.done();
        writer.clear_error();
    }
}

/// Reads what has to be `expected`, in calls, pieces and limits of all kinds.
fn receive_all(reader: &mut TcpReader, expected: &[u8], mut random: Random) {
    let mut rest = expected;
    while !rest.is_empty() {
        let len = [1, 100, 8_192, 70_000, 500_000][random.below(5)].min(rest.len());
        reader.timeout([None, Some(Duration::ZERO), Some(STEP)][random.below(3)]);
        let result = match random.below(5) {
            0 => reader.get_bytes(len),
            1 => reader.get_all_bytes(len),
            2 => reader.get_byte().map(|byte| byte.into_iter().collect()),
            3 => {
                let mut part = vec![0; len];
                let count = reader.read(&mut part).map_err(inner);
                count.map(|count| part[..count].to_vec())
            }
            _ => {
                let part = reader.fill_buf().map(|part| part[..len.min(part.len())].to_vec());
                part.inspect(|part| reader.consume(part.len())).map_err(inner)
            }
        };
        match result {
            Ok(part) => {
                assert!(!part.is_empty(), "the end of file, {} bytes early", rest.len());
                assert!(rest.starts_with(&part), "not what is next, {} from the end", rest.len());
                rest = &rest[part.len()..];
            }
            Err(error) => assert!(
                matches!(error, Error::Timeout),
                "{} from the end: {error:?}",
                rest.len()
            ),
        }
        reader.clear_error();
    }
    let end = reader.blocking().get_byte();
    assert!(matches!(end, Ok(None)), "after all of it: {end:?}");
}

#[test]
fn an_echo_comes_back_whole_through_halves_in_two_threads() {
    let _test = begin();
    let data = pattern(4 << 20);
    for raw_wait in raw_waits() {
        let (socket, peer) = connected_in(&raw_wait);
        let (mut reader, mut writer) = socket.split();
        let mut echo = TcpSocket::from(peer);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut part = vec![0; 30_000];
                loop {
                    let count = echo.read(&mut part).unwrap();
                    if count == 0 {
                        break;
                    }
                    echo.put_all(&part[..count]).unwrap();
                }
                echo.shutdown().unwrap();
            });
            scope.spawn(|| {
                send_all(&mut writer, &data, Random::new(1));
                writer.shutdown().unwrap();
            });
            // Not here: what `ThreadWait` waits in stays with its thread.
            scope.spawn(|| receive_all(&mut reader, &data, Random::new(2)));
        });
    }
}

#[test]
fn streams_in_both_directions_at_once_come_whole() {
    let _test = begin();
    let there = pattern(3 << 20);
    let back: Vec<u8> = there.iter().map(|byte| !byte).collect();
    for raw_wait in raw_waits() {
        let (socket, peer) = connected_in(&raw_wait);
        let (mut reader, mut writer) = socket.split();
        let (mut far_reader, mut far_writer) = TcpSocket::from(peer).split();
        thread::scope(|scope| {
            scope.spawn(|| {
                send_all(&mut writer, &there, Random::new(3));
                writer.shutdown().unwrap();
            });
            scope.spawn(|| {
                send_all(&mut far_writer, &back, Random::new(4));
                far_writer.shutdown().unwrap();
            });
            scope.spawn(|| receive_all(&mut far_reader, &there, Random::new(5)));
            scope.spawn(|| receive_all(&mut reader, &back, Random::new(6)));
        });
    }
}

/// What ends a connection from elsewhere, and what blocked operations then return.
type End = fn(&SocketHandle, &ShutdownRegistry);

const ENDS: [(&str, End, Error); 3] = [
    ("close", |handle, _| handle.close(), Error::Closed),
    ("abort", |handle, _| handle.abort(), Error::Aborted),
    ("shutdown", |_, registry| registry.shutdown(), Error::Shutdown),
];

#[test]
fn an_end_from_elsewhere_ends_both_halves() {
    let _test = begin();
    for (index, (reading, read)) in READINGS.into_iter().enumerate() {
        let (writing, write) = WRITINGS[index % WRITINGS.len()];
        for (how, end, expected) in ENDS {
            for by_reader in [true, false] {
                let what = (reading, writing, how, by_reader);
                let registry = ShutdownRegistry::new();
                let (socket, _peer) = unix_pair_in(&registry);
                let (mut reader, mut writer) = socket.split();
                let handle = if by_reader { reader.handle() } else { writer.handle() };
                let read = block(move || (read(&mut reader), reader)).until_blocked();
                let write = block(move || (write(&mut writer), writer)).until_blocked();
                assert!(
                    !read.is_finished() && !write.is_finished(),
                    "{what:?}: it doesn't block"
                );
                end(&handle, &registry);
                let (result, reader) = read.result();
                assert_failed(&result, &expected, what);
                let (result, writer) = write.result();
                assert_failed(&result, &expected, what);
                for is_open in [reader.is_open(), writer.is_open(), handle.is_open()] {
                    assert_eq!(is_open, how == "abort", "{what:?}");
                }
                assert!(!reader.is_timeout() && !writer.is_timeout(), "{what:?}");
            }
        }
    }
}

#[test]
fn a_half_ends_the_other() {
    let _test = begin();
    for how in ["close", "abort"] {
        for (name, write) in WRITINGS {
            let (socket, _peer) = unix_pair();
            let (reader, mut writer) = socket.split();
            let blocked = block(move || (write(&mut writer), writer)).until_blocked();
            let expected = if how == "close" {
                reader.close();
                Error::Closed
            } else {
                reader.abort();
                Error::Aborted
            };
            let (result, writer) = blocked.result();
            assert_failed(&result, &expected, (name, how));
            assert_eq!((reader.is_open(), reader.is_abort()), (how == "abort", how == "abort"));
            assert_eq!((writer.is_open(), writer.is_abort()), (how == "abort", how == "abort"));
        }
        for (name, read) in READINGS {
            let (socket, mut peer) = unix_pair();
            let (mut reader, writer) = socket.split();
            let blocked = block(move || (read(&mut reader), reader)).until_blocked();
            if how == "close" {
                writer.close();
                assert_sees_end(&mut peer);
                assert_failed(&blocked.result().0, &Error::Closed, name);
                continue;
            }
            writer.abort();
            let (result, mut reader) = blocked.result();
            assert_failed(&result, &Error::Aborted, name);
            reader.clear_abort();
            assert!(!writer.is_abort(), "{name}: an abort is the connection's");
            peer.write_all(b"on it goes").unwrap();
            assert_eq!(reader.get_all_bytes(10).unwrap(), b"on it goes", "{name}");
        }
    }
}

#[test]
fn a_short_limit_of_the_reader_leaves_the_writer_blocked() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (mut reader, mut writer) = socket.split();
    let put = block(move || (writer.put_all(&MUCH), writer)).until_blocked();
    ends_at_limit(Duration::from_millis(20), |limit| {
        let (result, took) = timed(|| reader.timeout(limit).get_byte());
        assert_failed(&result, &Error::Timeout, "get_byte");
        took
    });
    for _ in 0..50 {
        assert_failed(&reader.timeout(STEP).get_byte(), &Error::Timeout, "get_byte");
    }
    reader.global_timeout(STEP);
    assert_failed(&reader.blocking().get_byte(), &Error::GlobalTimeout, "get_byte");
    let put = put.still_blocks();
    let mut came = vec![0; MUCH.len()];
    peer.read_exact(&mut came).unwrap();
    let (result, writer) = put.result();
    result.unwrap();
    assert!(!writer.is_timeout() && !writer.is_error() && writer.done() == MUCH.len());
    assert!(came == *MUCH, "other bytes arrived");
}

#[test]
fn a_short_limit_of_the_writer_leaves_the_reader_blocked() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (mut reader, mut writer) = socket.split();
    fill(&mut writer);
    let get = block(move || (reader.get_bytes(3), reader)).until_blocked();
    ends_at_limit(Duration::from_millis(20), |limit| {
        let (result, took) = timed(|| writer.timeout(limit).put(b"no room"));
        assert_failed(&result, &Error::Timeout, "put");
        took
    });
    for _ in 0..50 {
        assert_failed(&writer.timeout(STEP).put(b"no room"), &Error::Timeout, "put");
    }
    writer.global_timeout(STEP);
    assert_failed(&writer.blocking().put(b"no room"), &Error::GlobalTimeout, "put");
    let get = get.still_blocks();
    peer.write_all(b"abc").unwrap();
    let (came, reader) = get.result();
    assert_eq!(came.unwrap(), b"abc");
    assert!(!reader.is_timeout() && !reader.is_error() && reader.done() == 3);
}

#[test]
fn a_long_limit_of_one_half_does_not_stretch_the_others() {
    let _test = begin();
    let (mut socket, _peer) = unix_pair();
    socket.timeout(Duration::from_secs(300));
    let (mut reader, mut writer) = socket.split();
    let handle = reader.handle();
    fill(&mut writer);
    let get = block(move || reader.get_byte()).until_blocked();
    ends_at_limit(Duration::from_millis(20), |limit| {
        timed(|| writer.timeout(limit).put(b"no room")).1
    });
    assert!(!get.is_finished(), "{:?}", get.result());
    handle.close();
    assert_failed(&get.result(), &Error::Closed, "get_byte");
}

#[test]
fn what_became_of_an_operation_is_known_to_its_half_only() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (mut reader, mut writer) = socket.split();
    peer.write_all(b"abc").unwrap();
    assert_failed(&reader.timeout(STEP).get_line(), &Error::Timeout, "get_line");
    assert!(reader.is_error() && reader.is_timeout() && reader.is_eof());
    assert!(!writer.is_error() && !writer.is_timeout() && writer.error_desc().is_empty());
    assert_eq!(writer.put(b"a request").unwrap(), 9);
    assert_eq!((writer.done(), reader.done()), (9, 0));
    assert!(reader.is_error() && reader.is_timeout(), "{reader:?}");
    reader.clear_error();
    fill(&mut writer);
    assert_failed(&writer.timeout(STEP).put_all(b"no room"), &Error::Timeout, "put_all");
    assert_eq!(reader.get_bytes(3).unwrap(), b"abc");
    assert!(!reader.is_error() && !reader.is_timeout() && reader.done() == 3 && !reader.is_eof());
    assert!(writer.is_error() && writer.is_timeout() && writer.done() == 0);
    assert_eq!(writer.error_desc(), "timed out");
    assert_failed(&writer.put(b"x"), &Error::Timeout, "it is sticky");
    writer.clear_error();
    assert!(!writer.is_error());
}

// What goes with which half.

/// Runs what takes several steps, most times, until it has called back.
fn until_called_back(calls: &AtomicUsize, mut run: impl FnMut()) {
    calls.store(0, SeqCst);
    eventually(
        || "it calls back".to_owned(),
        || {
            run();
            (calls.load(SeqCst) > 0).then_some(()).ok_or_else(String::new)
        },
    );
}

#[test]
fn halves_begin_with_the_limits_of_their_socket() {
    let _test = begin();
    let (mut socket, _peer) = unix_pair();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let limit = Duration::from_millis(20);
    socket.timeout(limit).wait_step(STEP).when_wait(move |_| {
        counted.fetch_add(1, SeqCst);
    });
    let (mut reader, mut writer) = socket.split();
    assert_eq!((reader.get_timeout(), reader.get_wait_step()), (Some(limit), STEP));
    assert_eq!((writer.get_timeout(), writer.get_wait_step()), (Some(limit), STEP));
    assert!(!reader.is_blocking() && !writer.is_blocking());
    let mut get = || {
        let (result, took) = timed(|| reader.get_byte());
        assert_failed(&result, &Error::Timeout, "get_byte");
        assert!(took >= limit, "the reader's limit was over after {took:?}");
    };
    fill(&mut writer);
    let mut put = || {
        let (result, took) = timed(|| writer.put(b"no room"));
        assert_failed(&result, &Error::Timeout, "put");
        assert!(took >= limit, "the writer's limit was over after {took:?}");
    };
    until_called_back(&calls, &mut get);
    until_called_back(&calls, &mut put);
    reader.clear_when_wait();
    calls.store(0, SeqCst);
    assert_failed(&reader.get_byte(), &Error::Timeout, "get_byte");
    assert_eq!(calls.load(SeqCst), 0, "the reader's callback was cleared");
    // But not the writer's.
    until_called_back(&calls, put);
    writer.blocking().wait_step(limit);
    assert_eq!((reader.get_timeout(), reader.get_wait_step()), (Some(limit), STEP));
}

#[test]
fn a_global_limit_goes_on_in_both_halves() {
    let _test = begin();
    let (mut socket, _peer) = unix_pair();
    let limit = Duration::from_millis(60);
    let ((mut reader, mut writer), took) = timed(|| {
        socket.global_timeout(limit);
        let (mut reader, mut writer) = socket.split();
        fill(&mut writer);
        assert_failed(&reader.get_byte(), &Error::GlobalTimeout, "get_byte");
        (reader, writer)
    });
    assert!(took >= limit, "it was over after {took:?}");
    // It was over for the writer at the same moment.
    let result = writer.timeout(PATIENCE).put(b"no room");
    assert_failed(&result, &Error::GlobalTimeout, "put");
    reader.no_global_timeout().clear_error();
    assert_failed(&reader.timeout(STEP).get_byte(), &Error::Timeout, "get_byte");
    writer.clear_error();
    assert_failed(
        &writer.put(b"no room"),
        &Error::GlobalTimeout,
        "lifted for the reader only",
    );
}

#[test]
fn an_error_goes_with_the_half_of_its_direction() {
    let _test = begin();
    let too_long = Error::LineTooLong { limit: 3 };
    for (of_reading, of_writing) in [(true, false), (false, true), (true, true)] {
        let (mut socket, mut peer) = unix_pair();
        peer.write_all(b"too long\n").unwrap();
        if of_writing {
            socket.global_timeout(Duration::ZERO);
            assert_failed(&socket.put(b"x"), &Error::GlobalTimeout, "put");
            socket.no_global_timeout();
        }
        if of_reading {
            assert_failed(&socket.get_line_bytes(3), &too_long, "get_line_bytes");
        }
        let (mut reader, mut writer) = socket.split();
        assert_eq!((reader.is_error(), writer.is_error()), (of_reading, of_writing));
        if of_reading {
            assert_failed(&reader.get_byte(), &too_long, "get_byte");
            reader.clear_error();
        }
        assert_eq!(reader.get_line().unwrap().as_deref(), Some("too long"));
        if of_writing {
            assert_failed(&writer.put(b"x"), &Error::GlobalTimeout, "put");
            assert_failed(&writer.shutdown(), &Error::GlobalTimeout, "shutdown");
            writer.clear_error();
        }
        writer.put_all(b"x").unwrap();
        let mut came = [0; 2];
        assert_eq!(peer.read(&mut came).unwrap(), 1, "of what failed nothing was sent");
    }
}

#[test]
fn what_was_read_ahead_goes_with_the_reader_and_back() {
    let _test = begin();
    let (mut socket, mut peer) = pair();
    let mut expected = pattern(100_000);
    expected.retain(|byte| *byte != b'\n');
    peer.write_all(b"first line\n").unwrap();
    peer.write_all(&expected).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.get_line().unwrap().as_deref(), Some("first line"));
    // All of it is in the buffer: there is no other line.
    assert_failed(
        &socket.get_line_bytes(usize::MAX),
        &Error::UnexpectedEof,
        "get_line_bytes",
    );
    socket.clear_error();
    let mut came = Vec::new();
    for turn in 0..10 {
        came.extend(socket.get_bytes(3).unwrap());
        let (mut reader, writer) = socket.split();
        assert_eq!(reader.peek().unwrap(), Some(expected[came.len()]), "turn {turn}");
        came.extend(reader.get_bytes(5_000).unwrap());
        assert!(!reader.is_eof(), "turn {turn}");
        socket = reader.unsplit(writer).unwrap();
    }
    let (mut reader, writer) = socket.split();
    reader.read_to_end(&mut came).unwrap();
    assert!(
        came == expected,
        "{} bytes came, {} were sent",
        came.len(),
        expected.len()
    );
    let mut socket = reader.unsplit(writer).unwrap();
    assert!(socket.is_eof(), "the end of file was forgotten");
    assert_eq!(socket.get_byte().unwrap(), None);
    assert!(socket.split().0.is_eof(), "and again");
}

#[test]
fn halves_of_different_connections_do_not_join_and_come_back_unharmed() {
    let _test = begin();
    let (one, mut ones_peer) = unix_pair();
    let (other, mut others_peer) = unix_pair();
    ones_peer.write_all(b"abcd").unwrap();
    let (mut reader, own_writer) = one.split();
    let (own_reader, writer) = other.split();
    assert_eq!(reader.peek().unwrap(), Some(b'a'));
    let ids = (reader.id(), writer.id());
    let refused = reader.unsplit(writer).unwrap_err();
    assert_eq!(refused.to_string(), "halves of different connections");
    let (mut reader, mut writer) = refused.into_halves();
    assert_eq!((reader.id(), writer.id()), ids);
    assert_eq!(reader.get_bytes(2).unwrap(), b"ab");
    writer.put_all(b"x").unwrap();
    assert_eq!(others_peer.read(&mut [0; 2]).unwrap(), 1);
    assert_sees_nothing(&ones_peer);
    let mut one = reader.unsplit(own_writer).unwrap();
    let mut other = own_reader.unsplit(writer).unwrap();
    assert_eq!(one.get_bytes(2).unwrap(), b"cd");
    other.put_all(b"y").unwrap();
    drop(other);
    assert_eq!(others_peer.read(&mut [0; 2]).unwrap(), 1);
    assert_sees_end(&mut others_peer);
    assert!(one.is_open());
}

#[test]
fn joined_halves_have_the_readers_limits() {
    let _test = begin();
    let (mut socket, _peer) = unix_pair();
    socket.timeout(PATIENCE).global_timeout(PATIENCE);
    let (mut reader, mut writer) = socket.split();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    reader
        .timeout(Duration::from_millis(20))
        .wait_step(STEP)
        .no_global_timeout()
        .when_wait(move |_| {
            counted.fetch_add(1, SeqCst);
        });
    writer
        .timeout(Duration::ZERO)
        .wait_step(PATIENCE)
        .global_timeout(Duration::ZERO)
        .when_wait(|_| panic!("the writer's"));
    let mut socket = reader.unsplit(writer).unwrap();
    assert_eq!(socket.get_timeout(), Some(Duration::from_millis(20)));
    assert_eq!(socket.get_wait_step(), STEP);
    until_called_back(&calls, || {
        assert_failed(&socket.get_byte(), &Error::Timeout, "get_byte");
    });
}

#[test]
fn joined_halves_have_the_error_of_each_in_its_direction() {
    let _test = begin();
    for (of_reader, of_writer) in [(false, false), (true, false), (false, true), (true, true)] {
        let (socket, mut peer) = unix_pair();
        let (mut reader, mut writer) = socket.split();
        peer.write_all(b"abcd\n").unwrap();
        let mut expected = None;
        if of_writer {
            writer.global_timeout(Duration::ZERO);
            assert_failed(&writer.put(b"x"), &Error::GlobalTimeout, "put");
            expected = Some(Error::GlobalTimeout);
        }
        if of_reader {
            expected = Some(Error::LineTooLong { limit: 3 });
            let result = reader.get_line_bytes(3);
            assert_failed(&result, expected.as_ref().unwrap(), "get_line_bytes");
        }
        let mut socket = reader.unsplit(writer).unwrap();
        assert_eq!(
            socket.error().map(Error::to_string),
            expected.as_ref().map(Error::to_string)
        );
        if of_reader {
            assert_failed(&socket.get_byte(), expected.as_ref().unwrap(), "get_byte");
        }
        if of_writer {
            assert_failed(&socket.put(b"x"), &Error::GlobalTimeout, "put");
        }
        socket.clear_error();
        assert_eq!(socket.get_line().unwrap().as_deref(), Some("abcd"));
        socket.put_all(b"x").unwrap();
    }
}

#[test]
fn a_socket_can_be_split_again_and_opened_again() {
    let _test = begin();
    let (mut socket, mut peer) = unix_pair();
    for turn in 0..20_u8 {
        let (mut reader, mut writer) = socket.split();
        peer.write_all(&[turn]).unwrap();
        let get = block(move || (reader.get_byte(), reader));
        writer.put_all(&[turn]).unwrap();
        let (came, reader) = get.result();
        assert_eq!(came.unwrap(), Some(turn));
        let mut echo = [0; 2];
        assert_eq!((peer.read(&mut echo).unwrap(), echo[0]), (1, turn));
        socket = reader.unsplit(writer).unwrap();
        assert!(socket.is_open());
    }
    let id = socket.id();
    let (reader, writer) = socket.split();
    writer.close();
    let mut socket = reader.unsplit(writer).unwrap();
    assert!(!socket.is_open() && socket.id() == id);
    assert_sees_end(&mut peer);
    let (server, addr) = listener();
    socket.connect_to(&[addr]).unwrap();
    let mut far = server.accept_new().unwrap();
    let (mut reader, writer) = socket.split();
    assert_ne!(reader.id(), id);
    far.put_all(b"a").unwrap();
    assert_eq!(reader.get_byte().unwrap(), Some(b'a'));
    drop((reader, writer));
    assert_eq!(far.get_byte().unwrap(), None);
}

#[test]
fn a_joined_connection_can_be_given_to_the_standard_library() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (mut reader, mut writer) = socket.split();
    assert_failed(&reader.timeout(STEP).get_byte(), &Error::Timeout, "get_byte");
    writer.put_all(b"abc").unwrap();
    let handle = writer.handle();
    let mut stream = Stream::try_from(reader.unsplit(writer).unwrap()).unwrap();
    assert!(!handle.is_open());
    handle.close();
    stream.write_all(b"def").unwrap();
    drop(stream);
    let mut came = Vec::new();
    peer.read_to_end(&mut came).unwrap();
    assert_eq!(came, b"abcdef");
}

// A reset.

#[test]
fn a_reset_that_the_writer_was_told_is_one_for_the_reader() {
    let _test = begin();
    for (name, read) in READINGS {
        if name == "wait_read" {
            continue;
        }
        for joined in [false, true] {
            let (socket, mut peer) = pair();
            let (mut reader, mut writer) = socket.split();
            peer.write_all(b"half of the answ").unwrap();
            reset(peer);
            assert_reset(&writer.put(b"?"), "put");
            assert!(writer.is_error() && !reader.is_error());
            if joined {
                writer.clear_error();
                reader = reader.unsplit(writer).unwrap().split().0;
            }
            let mut came = Vec::new();
            // What had come may be gone with the reset.
            while let Ok(Some(byte)) = reader.get_byte() {
                came.push(byte);
            }
            assert!(b"half of the answ".starts_with(&came), "{came:?}");
            for turn in 0..2 {
                reader.clear_error();
                assert_reset(&read(&mut reader), (name, joined, turn));
            }
        }
    }
}

#[test]
fn a_reset_while_both_halves_block_is_never_an_end_of_file() {
    let test = begin();
    if test.skip_if(is_wine(), NO_RESETS) {
        return;
    }
    for round in 0..200 {
        let (socket, peer) = pair();
        SockRef::from(&socket).set_send_buffer_size(10_000).unwrap();
        let (mut reader, mut writer) = socket.split();
        let get = block(move || reader.get_bytes(100)).until_blocked();
        let put = block(move || writer.put_all(&MUCH)).until_blocked();
        reset(peer);
        assert_reset(&get.result(), ("get_bytes", round));
        assert!(matches!(put.result(), Err(Error::Io { .. })));
    }
}

// Dropping.

#[test]
fn dropping_one_half_changes_nothing_for_the_other_or_the_peer() {
    let _test = begin();
    for waited in [false, true] {
        let (socket, mut peer) = unix_pair();
        let (mut reader, mut writer) = socket.split();
        if waited {
            fill(&mut writer);
            assert_failed(&writer.timeout(STEP).put(b"no room"), &Error::Timeout, "put");
            peer.set_nonblocking(true).unwrap();
            while peer.read(&mut [0; 8_192]).is_ok() {}
            peer.set_nonblocking(false).unwrap();
        }
        let handle = reader.handle();
        let get = block(move || (reader.get_bytes(3), reader)).until_blocked();
        drop(writer);
        let get = get.still_blocks();
        assert!(handle.is_open());
        assert_sees_nothing(&peer);
        peer.write_all(b"abc").unwrap();
        let (came, reader) = get.result();
        assert_eq!(came.unwrap(), b"abc");
        drop(reader);
        assert!(!handle.is_open());
        assert_sees_end(&mut peer);

        let (socket, mut peer) = unix_pair();
        let (mut reader, mut writer) = socket.split();
        if waited {
            assert_failed(&reader.timeout(STEP).get_byte(), &Error::Timeout, "get_byte");
        }
        let handle = writer.handle();
        let put = block(move || (writer.put_all(&MUCH), writer)).until_blocked();
        drop(reader);
        let put = put.still_blocks();
        assert!(handle.is_open());
        let mut came = vec![0; MUCH.len()];
        peer.read_exact(&mut came).unwrap();
        let (result, writer) = put.result();
        result.unwrap();
        assert!(came == *MUCH, "other bytes arrived");
        assert_sees_nothing(&peer);
        drop(writer);
        assert!(!handle.is_open());
        assert_sees_end(&mut peer);
    }
}

#[test]
fn halves_that_are_dropped_at_the_same_time_close_the_connection() {
    let _test = begin();
    for round in 0..200 {
        let (socket, mut peer) = unix_pair();
        let (reader, writer) = socket.split();
        let racing = crate::support::race(move || drop(reader), round * 7, || drop(writer));
        racing.result();
        assert_sees_end(&mut peer);
    }
}

// A borrowed descriptor.

/// Whether the number is that of an open descriptor.
#[cfg(target_os = "linux")]
fn is_taken(number: i32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}

/// Checks that nobody else gets the descriptor's number, and that it leads nowhere.
#[cfg(target_os = "linux")]
fn assert_stays_dead(fd: BorrowedFd<'_>, what: impl std::fmt::Debug) {
    let number = fd.as_raw_fd();
    let others: Vec<_> = (0..20).map(|_| crate::support::stream_pair().unwrap()).collect();
    for (one, other) in &others {
        assert!(
            one.as_raw_fd() != number && other.as_raw_fd() != number,
            "{what:?}: {number} is another's"
        );
    }
    assert!(is_taken(number), "{what:?}: {number} is free");
    let sent = SockRef::from(&fd).send(b"?");
    assert!(sent.is_err(), "{what:?}: {sent:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_that_one_half_lends_keeps_its_number_while_the_other_closes() {
    let _test = begin();
    for waited in [false, true] {
        for by in ["half", "handle", "half that is dropped"] {
            let what = (waited, by);
            let (socket, mut peer) = unix_pair();
            let (mut reader, writer) = socket.split();
            let mut writer = Some(writer);
            if waited {
                assert_failed(&reader.timeout(STEP).get_byte(), &Error::Timeout, "get_byte");
            }
            let lent = reader.as_fd();
            match (by, &writer) {
                ("half", Some(writer)) => writer.close(),
                ("handle", Some(writer)) => writer.handle().close(),
                _ => {
                    let writer = writer.take();
                    block(move || writer.as_ref().map(TcpWriter::close)).result();
                }
            }
            assert_sees_end(&mut peer);
            assert_stays_dead(lent, what);
            let number = lent.as_raw_fd();
            assert!(!reader.is_open() && reader.as_raw_fd() == -1, "{what:?}");
            drop((reader, writer));
            assert!(!is_taken(number), "{what:?}: {number} is still taken");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_that_the_writer_lends_outlives_the_reader() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (reader, writer) = socket.split();
    let lent = writer.as_fd();
    drop(reader);
    assert_eq!(SockRef::from(&lent).send(b"abc").unwrap(), 3);
    assert_eq!(peer.read(&mut [0; 5]).unwrap(), 3);
    writer.close();
    assert_sees_end(&mut peer);
    assert_stays_dead(lent, "writer");
    let number = lent.as_raw_fd();
    drop(writer);
    assert!(!is_taken(number), "{number} is still taken");
}

#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_that_is_lent_just_as_the_other_half_closes_is_dead_or_none() {
    let _test = begin();
    for round in 0..300 {
        let (socket, mut peer) = unix_pair();
        let (reader, writer) = socket.split();
        let mut lent = None;
        let close = move || {
            writer.close();
            writer
        };
        let closing = crate::support::race(close, round * 3, || lent = Some(reader.as_fd()));
        let (_writer, lent) = (closing.result(), lent.unwrap());
        assert_sees_end(&mut peer);
        let sent = SockRef::from(&lent).send(b"?");
        assert!(sent.is_err(), "round {round}: {sent:?}");
        let (one, other) = crate::support::stream_pair().unwrap();
        assert!(
            one.as_raw_fd() != lent.as_raw_fd() && other.as_raw_fd() != lent.as_raw_fd(),
            "round {round}: {lent:?} is another's"
        );
    }
}

// What isn't open.

fn assert_not_open(reader: &mut TcpReader, writer: &mut TcpWriter, what: &str) {
    assert!(!reader.is_open() && !writer.is_open(), "{what}");
    #[cfg(target_os = "linux")]
    assert_eq!((reader.as_raw_fd(), writer.as_raw_fd()), (-1, -1), "{what}");
    for (name, read) in READINGS {
        reader.clear_error();
        assert_failed(&read(reader), &Error::Closed, (name, what));
    }
    for (name, write) in WRITINGS {
        writer.clear_error();
        assert_failed(&write(writer), &Error::Closed, (name, what));
    }
    assert_failed(&writer.shutdown(), &Error::Closed, what);
    assert_failed(&reader.local_addr(), &Error::Closed, what);
    reader.clear_error();
    writer.clear_error();
}

#[test]
fn halves_of_what_is_not_open_are_not_open_either() {
    let _test = begin();
    let (server, addr) = listener();
    for what in ["never open", "closed", "closed by its handle", "listening, then closed"] {
        let mut socket = TcpSocket::new();
        let mut peer = None;
        match what {
            "never open" => {}
            "listening, then closed" => {
                socket.listen_on("127.0.0.1:0", &Default::default()).unwrap();
                socket.close();
            }
            _ => {
                let (connected, far) = unix_pair();
                peer = Some(far);
                if what == "closed" {
                    connected.close();
                } else {
                    connected.handle().close();
                }
                socket = connected;
            }
        }
        let (mut reader, mut writer) = socket.split();
        assert_not_open(&mut reader, &mut writer, what);
        if let Some(peer) = &mut peer {
            assert_sees_end(peer);
        }
        let mut socket = reader.unsplit(writer).unwrap();
        socket.connect_to(&[addr]).unwrap();
        assert!(server.accept_new().unwrap().is_open() && socket.is_open(), "{what}");
    }
}

#[test]
fn splitting_gives_a_connection_up_that_is_still_being_made() {
    let _test = begin();
    let hole = BlackHole::new();
    let before = descriptors();
    let mut socket = TcpSocket::new();
    socket.timeout(Duration::ZERO).connect_to(&[hole.addr()]).unwrap();
    assert!(descriptors() > before);
    let (mut reader, mut writer) = socket.split();
    assert_eq!(descriptors(), before);
    assert_not_open(reader.blocking(), writer.blocking(), "connecting");
    let mut socket = reader.unsplit(writer).unwrap();
    let (server, addr) = listener();
    socket.blocking().connect_to(&[addr]).unwrap();
    socket.put_all(b"a").unwrap();
    assert_eq!(server.accept_new().unwrap().get_byte().unwrap(), Some(b'a'));
}

#[test]
fn halves_of_an_aborted_socket_are_aborted() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    socket.abort();
    let (mut reader, mut writer) = socket.split();
    assert_failed(&reader.get_byte(), &Error::Aborted, "get_byte");
    assert_failed(&writer.put(b"a"), &Error::Aborted, "put");
    writer.clear_abort();
    peer.write_all(b"a").unwrap();
    assert_eq!(reader.get_byte().unwrap(), Some(b'a'));
}

// The registry.

#[test]
fn halves_are_one_connection_that_is_finished_when_the_second_goes() {
    let _test = begin();
    for reader_first in [true, false] {
        let registry = ShutdownRegistry::new();
        let (socket, mut peer) = unix_pair_in(&registry);
        let (reader, writer) = socket.split();
        assert_eq!(registry.len(), 1);
        let draining = registry.clone();
        let drain = block(move || draining.drain(PATIENCE)).until_blocked();
        let (mut reader, mut writer) = (Some(reader), Some(writer));
        if reader_first {
            reader.take();
        } else {
            writer.take();
        }
        let drain = drain.still_blocks();
        assert_eq!(registry.len(), 1);
        drop((reader, writer));
        assert_sees_end(&mut peer);
        let drained = drain.result();
        assert_eq!((drained.finished, drained.forced), (1, 0), "{drained:?}");
        assert_eq!(registry.len(), 0);
    }
}

#[test]
fn a_drain_forces_both_halves_as_one_connection() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (socket, _peer) = unix_pair_in(&registry);
    let (mut reader, mut writer) = socket.split();
    let get = block(move || reader.get_byte()).until_blocked();
    let put = block(move || writer.put_all(&MUCH)).until_blocked();
    let drained = registry.drain(Duration::from_millis(10));
    assert_eq!((drained.finished, drained.forced), (0, 1), "{drained:?}");
    assert_failed(&get.result(), &Error::Shutdown, "get_byte");
    assert_failed(&put.result(), &Error::Shutdown, "put_all");
}

#[test]
fn a_wait_for_a_request_on_the_reader_ends_when_the_registry_stops() {
    let _test = begin();
    let registry = ShutdownRegistry::new();
    let (socket, mut peer) = unix_pair_in(&registry);
    let (mut reader, mut writer) = socket.split();
    peer.write_all(b"request").unwrap();
    assert!(reader.wait_request().unwrap(), "one has come");
    assert_eq!(reader.get_bytes(7).unwrap(), b"request");
    let put = block(move || (writer.put_all(&MUCH), writer)).until_blocked();
    let request = block(move || (reader.wait_request(), reader)).still_blocks();
    registry.stop_accepting();
    let (result, mut reader) = request.result();
    assert!(matches!(result, Ok(false)), "{result:?}");
    let put = put.still_blocks();
    peer.write_all(b"late").unwrap();
    assert!(reader.wait_request().unwrap(), "one that has come is served");
    assert_eq!(reader.get_bytes(4).unwrap(), b"late", "the connection goes on");
    let mut came = vec![0; MUCH.len()];
    peer.read_exact(&mut came).unwrap();
    put.result().0.unwrap();
}

#[test]
fn a_half_may_be_closed_from_the_callback_of_the_other() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (mut reader, writer) = socket.split();
    reader.wait_step(STEP).when_wait(move |_| writer.close());
    let get = block(move || (reader.get_byte(), reader));
    let (result, _reader) = get.result();
    assert_failed(&result, &Error::Closed, "get_byte");
    assert_sees_end(&mut peer);

    let (socket, mut peer) = unix_pair();
    let (reader, mut writer) = socket.split();
    writer.wait_step(STEP).when_wait(move |_| reader.close());
    let put = block(move || (writer.put_all(&MUCH), writer));
    let (result, _writer) = put.result();
    assert_failed(&result, &Error::Closed, "put_all");
    peer.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_close_from_the_callback_of_one_half_ends_both() {
    let _test = begin();
    for by_reader in [true, false] {
        let (socket, _peer) = unix_pair();
        let (mut reader, mut writer) = socket.split();
        let handle = reader.handle();
        // Not before both block. Whoever is called back in short steps may never be seen to sleep.
        let (calls, both_block) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (called, may_close) = (Arc::clone(&calls), Arc::clone(&both_block));
        let close = move |_: &wakesock::Waiting<'_>| {
            called.fetch_add(1, SeqCst);
            if may_close.load(SeqCst) {
                handle.close();
            }
        };
        if by_reader {
            reader.wait_step(STEP).when_wait(close);
        } else {
            writer.wait_step(STEP).when_wait(close);
        }
        let mut get = block(move || reader.get_byte());
        let mut put = block(move || writer.put_all(&MUCH));
        match by_reader {
            true => put = put.until_blocked(),
            false => get = get.until_blocked(),
        }
        eventually(
            || "the callback is called".to_owned(),
            || (calls.load(SeqCst) > 0).then_some(()).ok_or_else(String::new),
        );
        both_block.store(true, SeqCst);
        assert_failed(&get.result(), &Error::Closed, ("get_byte", by_reader));
        assert_failed(&put.result(), &Error::Closed, ("put_all", by_reader));
    }
}

#[test]
fn a_close_by_one_half_needs_no_lock_that_the_other_is_blocked_under() {
    let _test = begin();
    let (socket, _peer) = unix_pair();
    let (reader, writer) = socket.split();
    let writer = Arc::new(Mutex::new(writer));
    let users = Arc::clone(&writer);
    let put = block(move || users.lock().unwrap().put_all(&MUCH)).until_blocked();
    assert!(writer.try_lock().is_err(), "the worker holds no lock");
    reader.close();
    assert_failed(&put.result(), &Error::Closed, "put_all under the lock");
    assert!(!writer.lock().unwrap().is_open());
}

#[test]
fn a_callback_of_one_half_may_want_a_lock_under_which_the_other_closes() {
    let _test = begin();
    for round in 0..20 {
        let users_lock = Arc::new(Mutex::new(()));
        let wanting = Arc::new(AtomicUsize::new(0));
        let (socket, _peer) = unix_pair();
        let (mut reader, writer) = socket.split();
        reader.wait_step(STEP).when_wait({
            let (users_lock, wanting) = (Arc::clone(&users_lock), Arc::clone(&wanting));
            move |_| {
                wanting.fetch_add(1, SeqCst);
                drop(users_lock.lock().unwrap());
            }
        });
        let held = users_lock.lock().unwrap();
        let get = block(move || reader.get_byte());
        eventually(
            || "the callback wants the lock".to_owned(),
            || (wanting.load(SeqCst) > 0).then_some(()).ok_or_else(String::new),
        );
        let get = get.until_blocked();
        if round % 2 == 0 {
            writer.close();
        } else {
            writer.handle().close();
            drop(writer);
        }
        drop(held);
        assert_failed(&get.result(), &Error::Closed, round);
    }
}

#[test]
fn a_half_that_is_dropped_by_unwinding_leaves_the_other() {
    let _test = begin();
    let (socket, mut peer) = unix_pair();
    let (mut reader, mut writer) = socket.split();
    let put = block(move || (writer.put_all(&MUCH), writer)).until_blocked();
    let thread = thread::spawn(move || {
        let _ = reader.timeout(STEP).get_byte();
        unwind();
        drop(reader);
    });
    assert!(thread.join().is_err());
    let put = put.still_blocks();
    peer.read_exact(&mut vec![0; MUCH.len()]).unwrap();
    let (result, writer) = put.result();
    result.unwrap();
    assert_sees_nothing(&peer);
    let thread = thread::spawn(move || {
        let _writer = writer;
        unwind();
    });
    assert!(thread.join().is_err());
    assert_sees_end(&mut peer);
}

#[test]
fn a_close_from_a_drop_during_unwinding_ends_both_halves() {
    let _test = begin();
    let (socket, _peer) = unix_pair();
    let (mut reader, mut writer) = socket.split();
    let guard = ClosesOnDrop(writer.handle());
    let get = block(move || reader.get_byte()).until_blocked();
    let put = block(move || writer.put_all(&MUCH)).until_blocked();
    let unwinding = panic::catch_unwind(panic::AssertUnwindSafe(move || {
        let _guard = guard;
        unwind();
    }));
    assert!(unwinding.is_err());
    assert_failed(&get.result(), &Error::Closed, "get_byte");
    assert_failed(&put.result(), &Error::Closed, "put_all");
}
